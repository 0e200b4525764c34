/* server.h - a whole server inside the test's process, on a port of the kernel's choice */
#ifndef TESTS_LIVE_SERVER_H
#define TESTS_LIVE_SERVER_H

#include <stdbool.h>

#include "core.h"
#include "cxe.h"
#include "worker.h"

#define SERVER_WORKERS_MAX 4

struct server {
    struct core core;
    struct worker *worker; /* the first */
    struct worker *workers[SERVER_WORKERS_MAX];
    unsigned worker_count; /* 0: one */
    struct noise_keypair key;
    uint8_t cookie_secret[32];
    uint64_t tenants_generation;
    bool tenants_refuse; /* nobody is welcome any more */
    uint64_t idle_timeout_ns;
    uint64_t lease_ns; /* 0: 60 s, so that nobody is fenced on a slow machine */
    uint16_t port;     /* 0: the kernel's choice */
    char address[32];
    char key_text[64];
    const char *transport; /* NULL: eth */
    uint8_t cipher_mask;   /* 0: all */
};

/* Starts it. Set the options above first; zeroed ones are defaults. */
void server_start(struct server *server);
void server_stop(struct server *server);
/* The same address and key, another incarnation, an empty pool. */
void server_restart(struct server *server);

/* A connection to it, with these faults (NULL: none). */
struct cxe_connection *server_connect(struct server *server, const char *fault,
                                      enum cxe_encryption encryption);

/* A region "r" of 64 KiB, made over the connection, and what the wire calls it. */
struct cxe_region *server_region(struct cxe_connection *connection, uint64_t *handle_out);

#endif
