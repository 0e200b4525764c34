/* sim_net.h - the network between simulated hosts; it stands behind transport.h
 *
 * A datagram from A to B meets the weather of A's way out and of B's way in. It travels to an address, not to
 * an endpoint: one that was under way when a server was killed reaches the server's next life. A server's
 * workers share an address as eth.h says, the session's number choosing the worker.
 */
#ifndef TESTS_SIM_NET_H
#define TESTS_SIM_NET_H

#include "sim.h"
#include "transport.h"

/* Chances in parts per million, of each datagram. */
struct net_weather {
    uint32_t drop_ppm, double_ppm, corrupt_ppm, reorder_ppm;
    uint32_t late_ppm; /* a copy arrives up to LATE_NS later, when everybody has forgotten it */
    uint64_t delay_low_ns, delay_high_ns;
    bool cut; /* nothing passes */
};
#define NET_LATE_NS    (3 * NS_PER_S)
#define NET_REORDER_NS (2 * NS_PER_MS)

/* A machine. Zeroed but for the name, and never moved. */
struct net_host {
    struct sim_node node; /* first: the node of its threads */
    struct net_weather out, in;
    bool silent; /* who sends to a port where nobody listens hears nothing (the machine is off) */
};

struct net_counts {
    uint64_t frames, dropped, doubled, corrupted, reordered, late, cut, refused, lost, rebound;
};

void net_begin(uint64_t seed, uint32_t frame_bytes_max);

/* The host's endpoints are gone, as when its process was killed. */
void net_kill_host(struct net_host *host);

/* From now on the host's clients have other addresses (as behind a NAT that forgot). What is under way to the
 * old ones is lost. */
void net_rebind(struct net_host *host);

struct net_counts net_counts(void);

#endif
