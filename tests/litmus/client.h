/* client.h - what a litmus process has at each server, and how it does a thread's operations in each mode */
#ifndef TESTS_LITMUS_CLIENT_H
#define TESTS_LITMUS_CLIENT_H

#include "daemon.h"
#include "shapes.h"

#define CLIENT_SERVERS 2
#define CLIENT_REGION  "litmus"

/* One server, over one kind of path. */
struct target {
    struct cxe_connection *connection;
    struct cxe_region *region;
    struct cxe_queue *queue;
    uint8_t *mapped; /* a coherent mapping; NULL: none */
};

struct client {
    struct target clean[CLIENT_SERVERS], faulty[CLIENT_SERVERS];
};

/* A thread's operations in the order to do them, and where their block lies. */
struct work {
    const struct shape_op *ops;
    unsigned count;
    unsigned thread;
    enum shape_mode mode;
    enum shape_placement placement;
    uint64_t block; /* offset in the region */
    bool faulty;
    uint8_t *registers; /* SHAPE_REGISTERS_MAX of them */
};

/* Connects to both servers, twice: over a clean path, and over one with the faults given. Negative errno,
 * with a sentence in cxe_last_error. */
int client_open(struct client *client, const struct daemon daemons[CLIENT_SERVERS], const char *fault);

/* Of one that is open and has no mappings. */
void client_close(struct client *client);

/* The modes with mappings need this first. -EPERM, -ENOSYS: there is no userfaultfd here; and other errors.
 */
int client_map(struct client *client);

/* Takes copies of the pages that the variables lie on, so that there is something to be taken away. */
void client_touch(struct client *client, const struct work *work, unsigned vars);

/* Does the work. Negative errno. */
int client_work(struct client *client, const struct work *work);

#endif
