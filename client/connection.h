/* connection.h - what a connection is made of; the client library's own view */
#ifndef CXE_CLIENT_CONNECTION_H
#define CXE_CLIENT_CONNECTION_H

#include <pthread.h>

#include "cxe.h"
#include "lane.h"
#include "noise.h"
#include "transport.h"

/* On which of its ways a frame is long: as a request, as the answer to one. */
enum way { WAY_THERE = 1, WAY_BACK = 2 };

struct cxe_connection {
    struct address server;
    uint8_t server_public[NOISE_KEY_BYTES];
    struct noise_keypair self;
    char transport[32];
    char fault[256];
    bool encrypted;
    uint64_t timeout_ns;
    uint32_t frame_bytes_max;
    unsigned lane_count;
    struct lane *lanes[CXE_LANES_MAX];
    uint32_t mappings;        /* regions mapped over its lanes; relaxed */
    uint32_t offering;        /* threads that stream, and let others of us have the core; relaxed */
    uint32_t lingering;       /* lanes with something cancelled that may still be done; atomic */
    uint32_t users;           /* regions and queues open on it */
    uint64_t narrow_until_ns; /* the path was seen to lose long frames: no lane sends any before; relaxed */
    uint64_t narrow_ns;       /* for how long that held; 0: it was wrong, or never so; relaxed */
    uint32_t narrow_ways;     /* on which ways the frames were long: enum way; relaxed */

    /* Lanes of threads that wait for a word to change: a request that the server keeps waiting blocks the
     * window of its session, so each has one of its own. These are the ones nobody waits on. */
    pthread_mutex_t resting_mutex;
    struct lane *resting;
};

struct cxe_region {
    struct cxe_connection *connection;
    uint64_t handle;
    uint64_t bytes; /* relaxed: grows */
    uint32_t flags;
    uint32_t mappings; /* 0 or 1 */
    char name[CXE_NAME_BYTES];
};

/* The deadline of an operation that starts now. */
uint64_t connection_deadline_ns(const struct cxe_connection *connection);

/* Runs one operation on a shared lane and waits for it; returns its outcome. Blocks all signals meanwhile if
 * anything is mapped: a handler that touches a mapping could need the very lane that its thread holds. */
int connection_run(struct cxe_connection *connection, struct op *op);

/* A lane to wait on, the caller's until he gives it back, or (if something still travels on it) closes it.
 * Errors as for lane_open. */
int connection_take_waiting(struct cxe_connection *connection, struct lane **lane_out);
void connection_give_waiting(struct cxe_connection *connection, struct lane *lane);

/* True if page faults can be served in a signal handler over this connection's transport. */
bool connection_async_signal_safe(const struct cxe_connection *connection);

/* The same server and keys, other sessions: for the child of a fork, which must not use its parent's. */
int connection_reopen(const struct cxe_connection *connection, struct cxe_connection **connection_out);

/* Frees a connection inherited over fork without a word to the server: the sessions are the parent's. */
void connection_abandon(struct cxe_connection *connection);

#endif
