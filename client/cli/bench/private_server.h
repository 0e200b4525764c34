/* private_server.h - a fabricd of our own, on loopback, for as long as it is needed */
#ifndef CXE_BENCH_PRIVATE_SERVER_H
#define CXE_BENCH_PRIVATE_SERVER_H

#include <stdint.h>
#include <sys/types.h>

#include "cxe.h"

#define PRIVATE_SERVER_PATH_BYTES 256

struct private_server {
    pid_t pid;
    char directory[PRIVATE_SERVER_PATH_BYTES]; /* its key and its control socket */
    char address[32];                          /* for cxe_connect_options */
    char public_key[PRIVATE_SERVER_PATH_BYTES + 16];
};

struct private_server_options {
    const char *transport;
    const char *lease;   /* of its cache agents, "200ms"; NULL: the default */
    uint64_t pool_bytes; /* 0: PRIVATE_POOL_BYTES */
    int cpu;             /* -1: not pinned */
};
#define PRIVATE_POOL_BYTES (160ull << 20) /* the region that is measured, and room to spare */

/* Starts the fabricd that lies beside this program, one worker, taking encrypted and plain sessions. 0 or
 * negative errno; bench_failure says why. Call private_server_stop in either case. */
int private_server_start(const struct private_server_options *options, struct private_server *server);

/* Connects as soon as it answers. */
int private_server_connect(const struct private_server *server, const struct cxe_connect_options *options,
                           struct cxe_connection **connection_out);

/* Ends it and removes its files. */
void private_server_stop(struct private_server *server);

#endif
