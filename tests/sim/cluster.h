/* cluster.h - the server of a simulation: fabricd's workers and memory on a simulated host */
#ifndef TESTS_SIM_CLUSTER_H
#define TESTS_SIM_CLUSTER_H

#include "core.h"
#include "cxe.h"
#include "sim_net.h"
#include "worker.h"

#define SERVER_WORKERS_MAX 3

struct server {
    struct net_host host;
    struct address address;
    unsigned workers;
    uint64_t idle_timeout_ns, lease_ns;
    bool plain; /* no encryption */
    /* Its process. */
    bool up;
    struct core core;
    struct worker *worker[SERVER_WORKERS_MAX];
    struct noise_keypair key; /* stays */
    char key_text[64];        /* as a client is told it */
    char address_text[32];
    uint8_t cookie_secret[32];
    uint64_t tenants_generation;
    uint64_t incarnations;
};

/* Set workers, the times and plain first. Once. */
void server_init(struct server *server, unsigned number);

/* Boots it, in a thread of its host; returns when it serves. By the director. */
void server_start(struct server *server);
/* As SIGTERM: clients are told. */
void server_stop(struct server *server);
/* As SIGKILL. */
void server_kill(struct server *server);

/* Looks at the invariants of everything that is not in the middle of something. */
void server_check(const struct server *server);

/* A connection to it; by a thread of the client's host. 0 or as cxe_connect. */
int server_connect(const struct server *server, uint64_t timeout_ns, unsigned lanes,
                   struct cxe_connection **connection_out);

/* The same for a client's lanes, held by nobody. */
void connection_check(const struct cxe_connection *connection);

#endif
