/* executor.h - runs the operations of a checked request against the regions, in order
 *
 * One executor serves all workers. The data path (lines and atomics) takes no lock and allocates nothing;
 * control operations run under the regions' mutex. The executor knows neither sessions nor sockets.
 */
#ifndef FABRICD_EXECUTOR_H
#define FABRICD_EXECUTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire.h"

struct coherence_waiter;
struct executor;
struct pool;
struct quiesce;
struct regions;

struct executor_options {
    struct pool *pool;
    struct regions *regions;
    struct quiesce *quiesce;
    /* Answers SERVER_STAT: `info` comes filled with what the pool and the regions know (pool_bytes,
     * pool_free_bytes, quota_bytes, used_bytes, regions); the rest is the caller's. May be NULL. Any worker.
     */
    void (*fill_server_info)(void *context, uint16_t tenant, struct wire_server_info *info);
    void *context;
};

/* Whose request it is. */
struct requester {
    unsigned worker; /* the caller's number in the quiescence; only one thread uses it, and is online there */
    uint16_t tenant;
    uint32_t session; /* its name */
    uint64_t now_ns;
    /* Of this request alone, see coherence.h. NULL: nothing more may wait at this worker; operations that
     * might have to are then refused with BUSY. */
    struct coherence_waiter *waiter;
};

/* How far a request got. Zeroed: not begun. */
struct execution {
    uint16_t done;         /* operations done: all of them, or those before the one that failed */
    uint8_t status;        /* enum wire_status of operation number `done`; STATUS_OK if all were done */
    uint32_t result_bytes; /* bytes of values the done ones left in values_out */
    /* What the done ones were, for the counters. */
    uint32_t read_lines, written_lines, atomics, controls, snoop_answers;
    /* What agents were given: by the first of such operations, and whether others were given something too.
     */
    struct grant {
        uint64_t region;
        uint32_t agent;      /* 0: nothing */
        uint16_t snoop_next; /* the id that its next snoop had */
        bool several;
    } grant;
    /* How far the present one is. */
    uint16_t lines_done;
    uint32_t body_bytes_done; /* where it stands in the body, behind the header */
    uint64_t deadline_ns;     /* WAIT: when it ends in any case; 0: it has not begun */
};

/* The pool, the regions and the quiescence are borrowed and must outlive the executor. -ENOMEM. */
int executor_open(const struct executor_options *options, struct executor **executor_out);
void executor_close(struct executor *executor);

/* Executes a REQUEST body, header included, that codec_check_request accepted. Operations run in order and
 * the first that fails ends the request; none leaves half an effect. `values_out` has room for
 * request_summary.result_bytes and need not be aligned. Does not block on the data path; a control operation
 * may wait for the other workers' current requests (REGION_CLONE).
 *
 * 0: it is over. -EINPROGRESS: it has to wait, and is to be run again, with the same arguments and the values
 * and the execution as they are now, when its waiter came back, or at execution.deadline_ns if that is not 0.
 * Whoever does not want to run it again calls coherence_leave. */
int executor_run(struct executor *executor, const struct requester *requester, const uint8_t *body,
                 size_t body_bytes, uint8_t *values_out, struct execution *execution);

/* Bounded work between requests (some 100 us): wipes freed frames, deletes ephemeral regions whose time has
 * come. Returns when it wants to be called again, in the time of `now_ns` (CLOCK_MONOTONIC): `now_ns` if work
 * is left, UINT64_MAX if nothing is pending on this worker. Call it once before each sleep, while online. */
uint64_t executor_maintain(struct executor *executor, unsigned worker, uint64_t now_ns);

#endif
