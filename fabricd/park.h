/* park.h - requests that have to wait: their bodies, values and how far they got
 *
 * Owned by one worker. What a request waits with must stay where it is from the moment it begins to wait, so
 * every request is executed with the waiter of a spare `struct parked`, which becomes its own if it has to
 * wait.
 */
#ifndef FABRICD_PARK_H
#define FABRICD_PARK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "coherence.h"
#include "executor.h"
#include "timers.h"

/* At one worker. A tenant gets no more than is left for all others together: so however many park what they
 * can, there is something left for the next. */
#define PARK_REQUESTS_MAX 65536
#define PARK_BYTES_MAX    (64u << 20)

struct session;

struct parked {
    struct coherence_waiter waiter; /* first */
    struct timer timer;             /* when to run it again in any case */
    struct session *session;        /* the caller's; NULL: not parked */
    bool dropped;                   /* it only waits to come out of the mailbox */
    uint16_t tenant;
    uint64_t seq;
    uint64_t digest;
    bool mutates;
    size_t body_bytes, values_bytes;
    uint8_t *body, *values;
    struct execution execution;
    struct parked *next, **link; /* of the session's */
};

struct park_use {
    uint32_t count;
    uint64_t bytes;
};

struct park {
    unsigned worker;
    struct parked *spare;
    struct park_use all;
    struct park_use *tenants; /* by id */
};

/* -ENOMEM. */
int park_init(struct park *park, unsigned worker);
/* Nothing is parked. */
void park_fini(struct park *park);

/* The waiter for the execution of a request of the tenant; NULL: too much waits already. */
struct coherence_waiter *park_waiter(struct park *park, uint16_t tenant);

/* The request that was just executed with that waiter waits: copies it, with room for values_bytes, of which
 * execution->result_bytes are there (and as much of the present operation's as it has; so all are copied).
 * NULL: no memory; the waiter is free again. */
struct parked *park_keep(struct park *park, uint16_t tenant, struct parked **list, const uint8_t *body,
                         size_t body_bytes, const uint8_t *values, size_t values_bytes,
                         const struct execution *execution);

/* It is over: it leaves its session's list and whatever it waits for. Freed, now or when it comes out of the
 * mailbox (park_came_out). Its timer is the caller's to cancel before. */
void park_drop(struct park *park, struct parked *parked);

/* Its waiter came out of the mailbox. False: nobody waits for it any more; it may be gone now. */
bool park_came_out(struct parked *parked);

#endif
