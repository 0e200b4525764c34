/* slots.h - the server's half of exactly-once: what each slot was asked last, and what was answered
 *
 * Request `seq` of a session occupies slot seq mod SESSION_SLOTS; the client sends seq + SESSION_SLOTS only
 * when seq is answered. So the request that finds its slot at
 *
 *   seq - SESSION_SLOTS   is new: execute it,
 *   seq                   is a repeat: its answer was lost or is late. If it changed anything, the remembered
 * answer is sent; if it only read, it is executed again (the client lets nothing that depends on it out
 *                         before the answer, see client/lane_order.h),
 *   more than seq         is a late duplicate of something answered and acknowledged: ignore it,
 *   anything else         breaks the window: the peer is broken.
 *
 * A request that is to be executed may have to wait (slots_park): its repeats are recognised until it is done
 * and recorded. A repeat that only reads may wait too, while the answer to the first comes through late after
 * all and the client goes on to seq + SESSION_SLOTS: nobody wants that repeat any more.
 *
 * Pure: no I/O, no clock. Source of the idea: the session and slot table of NFSv4.1 (RFC 8881, 2.10.6).
 */
#ifndef CXE_SESSION_SLOTS_H
#define CXE_SESSION_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "limits.h"

struct slot {
    uint64_t seq;    /* the last request executed here; 0: none yet */
    uint64_t digest; /* of its body, if it changed anything */
    uint64_t parked; /* the request that is being executed here and waits; 0: none */
    uint64_t parked_digest;
    uint16_t done;        /* the answer: how far it got, */
    uint16_t value_bytes; /* the length of its values, */
    uint8_t status;       /* and what stopped it */
    bool mutates;
    uint8_t values[SLOT_RECORD_BYTES];
};

struct slots {
    struct slot slots[SESSION_SLOTS];
};

enum slot_verdict {
    SLOT_EXECUTE,   /* new, or a repeat that only reads */
    SLOT_SUPERSEDE, /* the same, but first give up what waits in its slot */
    SLOT_REMEMBER,  /* answer what slots_recall gives */
    SLOT_WAITS,     /* it is being executed, and waits */
    SLOT_IGNORE,
    SLOT_BROKEN, /* the window or the digest does not fit: close the session */
};

/* All slots empty. (Zeroed memory is that already.) */
void slots_init(struct slots *slots);

/* What to do with request `seq`. `digest` is slots_digest of its body if it mutates, else 0. */
enum slot_verdict slots_judge(const struct slots *slots, uint64_t seq, bool mutates, uint64_t digest);

/* The request, judged SLOT_EXECUTE or SLOT_SUPERSEDE, waits. */
void slots_park(struct slots *slots, uint64_t seq, uint64_t digest);
/* Nobody waits in that slot any more. */
void slots_unpark(struct slots *slots, uint64_t seq);

/* Remembers what was answered to a request just executed, which waits no longer. `values` are copied if it
 * mutates (at most SLOT_RECORD_BYTES); else only that it was executed. */
void slots_record(struct slots *slots, uint64_t seq, bool mutates, uint64_t digest, uint16_t done,
                  uint8_t status, const void *values, uint16_t value_bytes);

/* The slot of a request judged SLOT_REMEMBER. */
const struct slot *slots_recall(const struct slots *slots, uint64_t seq);

/* The number above those of all requests that were begun. */
uint64_t slots_beyond(const struct slots *slots);

/* Tells two requests under one number apart. */
uint64_t slots_digest(const void *body, size_t body_bytes);

/* Invariants: slot i holds a seq congruent to i; a record fits. */
bool slots_valid(const struct slots *slots);

#endif
