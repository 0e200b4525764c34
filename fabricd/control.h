/* control.h - HTTP for operators: figures over TCP, figures and orders over a UNIX socket
 *
 * GET /metrics everywhere; GET /status, GET /regions, POST /reload and POST /drain on the UNIX socket only,
 * whose mode (0660) says who may. One thread to each listener, apart from the workers; a few connections,
 * little memory and a short patience, so that whoever misuses them hurts nobody else.
 */
#ifndef FABRICD_CONTROL_H
#define FABRICD_CONTROL_H

#include <stddef.h>

#include "transport.h"

#define CONTROL_CONNECTIONS_MAX         16
#define CONTROL_CONNECTION_MEMORY_BYTES 16384
#define CONTROL_TIMEOUT_S               10 /* a connection on which nothing moves is closed */

struct control;
struct metrics_source;

struct control_options {
    const char *socket_path;       /* NULL: no UNIX socket */
    const struct address *metrics; /* NULL: no TCP */
    struct metrics_source *source; /* borrowed */
    /* Reads the configuration again. 0, or a negative errno with a sentence in `why`. The control thread. */
    int (*reload)(void *context, char *why, size_t why_bytes);
    /* Begins a drain; returns at once. The control thread. */
    void (*drain)(void *context);
    void *context;
};

/* Binds and starts. A socket file that nobody answers on is replaced; one with a live daemon behind it is
 * refused. Negative errno, with a sentence in `why`. */
int control_open(const struct control_options *options, struct control **control_out, char *why,
                 size_t why_bytes);

/* Ends the threads and removes the socket file, if it is still ours. */
void control_close(struct control *control);

#endif
