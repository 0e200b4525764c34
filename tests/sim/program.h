/* program.h - what a simulated client does: random operations by several threads, told to the oracle */
#ifndef TESTS_SIM_PROGRAM_H
#define TESTS_SIM_PROGRAM_H

#include "cluster.h"

struct client {
    struct net_host host;
    unsigned number;
    const struct server *server;
    uint64_t until_ns;   /* stops working then */
    uint64_t timeout_ns; /* of its operations */
    uint64_t pause_ns;   /* between bursts of operations, at most */
    unsigned threads;
    struct dice dice;
    unsigned region_pages; /* the same for all clients; a multiple of 4, at least 8 */
    bool shared;           /* regions are coherent: clients map what others use */
    /* Its own. */
    struct sim_thread *main;
    struct cxe_connection *connection; /* NULL: none, or being made or ended */
    struct mapped *mapped;             /* NULL: nothing is mapped */
    struct cxe_region *mapped_region;
    unsigned mapped_number;
    unsigned faults_in_a_row; /* accesses to the mapping that came to nothing */
    bool stuck;               /* it cannot let go of its mapping: only its end helps */
    uint64_t operations, accesses, faults, reconnects;
    uint64_t woken; /* waits that took long, and ended with another value */
};

/* Starts its process; set the fields up to `dice` first. */
void client_start(struct client *client);
/* As SIGKILL. What it was doing will be nobody's knowledge. */
void client_kill(struct client *client);

/* Reads everything there is, through a connection of its own; by a thread of a host whose network works. */
void client_read_all(struct client *client);

#endif
