/* worker_internal.h - what worker.c (the loop) and worker_frame.c (what a frame does) share */
#ifndef FABRICD_WORKER_INTERNAL_H
#define FABRICD_WORKER_INTERNAL_H

#include <pthread.h>

#include "executor.h"
#include "poller.h"
#include "session.h"
#include "worker.h"

struct worker {
    struct worker_options options;
    struct endpoint *endpoints[WORKER_LISTEN_MAX];
    struct address addresses[WORKER_LISTEN_MAX];
    struct session_table *sessions;
    struct handshake_server handshake;
    struct poller *poller;
    int wake_fd; /* eventfd: worker_stop and worker_drain end a sleep */
    pthread_t thread;
    bool started;
    uint64_t tenants_seen; /* options.tenants_generation when the sessions were last looked through */
    uint64_t last_frame_ns;
    uint64_t gap_ns;          /* smoothed time between bursts: is spinning worth it? */
    uint64_t housekeeping_ns; /* due then, however busy */
    unsigned burst;           /* frames taken in this round of the loop, for DevLoad */
    struct worker_counters counters;
    bool stopping;            /* written by worker_stop, read by the thread: atomic */
    bool draining;            /* written by worker_drain: atomic */
    uint64_t last_request_ns; /* written by the thread, read by worker_quiet: atomic */
    uint8_t received[FRAME_BYTES_MAX] __attribute__((aligned(64)));
    uint8_t sent[FRAME_BYTES_MAX] __attribute__((aligned(64)));
};

/* The worker is the only writer of its counters: no locked instruction is needed, only untorn stores. */
#define COUNT(worker, name, amount) \
    store_relaxed(&(worker)->counters.name, (worker)->counters.name + (uint64_t)(amount))

/* Does what a datagram asks for, and answers it. It lies in worker->received. */
void worker_frame(struct worker *worker, unsigned endpoint_index, const struct address *from,
                  size_t frame_bytes, uint64_t now_ns);

/* Ends a session; `tell`: the client gets a CLOSE. */
void worker_end_session(struct worker *worker, struct session *session, bool tell, uint64_t now_ns);

#endif
