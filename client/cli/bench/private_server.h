/* private_server.h - a fabricd of our own, on loopback, for as long as it is needed */
#ifndef CXE_BENCH_PRIVATE_SERVER_H
#define CXE_BENCH_PRIVATE_SERVER_H

#include <sys/types.h>

#include "cxe.h"

#define PRIVATE_SERVER_PATH_BYTES 256

struct private_server {
    pid_t pid;
    char directory[PRIVATE_SERVER_PATH_BYTES]; /* its key and its control socket */
    char address[32];                          /* for cxe_connect_options */
    char public_key[PRIVATE_SERVER_PATH_BYTES + 16];
};

/* Starts the fabricd that lies beside this program, one worker, pinned to `cpu` (-1: not), taking encrypted
 * and plain sessions; its cache agents have this lease ("200ms"; NULL: the default). 0 or negative errno;
 * bench_failure says why. Call private_server_stop in either case. */
int private_server_start(const char *transport, const char *lease, int cpu, struct private_server *server);

/* Connects as soon as it answers. */
int private_server_connect(const struct private_server *server, const struct cxe_connect_options *options,
                           struct cxe_connection **connection_out);

/* Ends it and removes its files. */
void private_server_stop(struct private_server *server);

#endif
