/* timers.h - what is due when: a heap of times, in its users' memory
 *
 * Pure; one thread's. To set a timer cannot fail.
 */
#ifndef FABRICD_TIMERS_H
#define FABRICD_TIMERS_H

#include <stdbool.h>
#include <stdint.h>

/* Zeroed: not set. */
struct timer {
    uint64_t due_ns;
    uint8_t kind; /* the user's */
    bool set;
    struct timer *child, *next; /* its first child, its next sibling */
    struct timer *before;       /* its previous sibling, or its parent */
};

/* Zeroed: empty. */
struct timers {
    struct timer *first; /* the root */
};

/* Sets it, whether it was set or not. */
void timers_set(struct timers *timers, struct timer *timer, uint64_t due_ns);
void timers_cancel(struct timers *timers, struct timer *timer);

/* When the first is due; UINT64_MAX: none is set. */
static inline uint64_t timers_next_ns(const struct timers *timers)
{
    return timers->first ? timers->first->due_ns : UINT64_MAX;
}

/* Takes the first, if it is due. */
struct timer *timers_due(struct timers *timers, uint64_t now_ns);

bool timers_valid(const struct timers *timers);

#endif
