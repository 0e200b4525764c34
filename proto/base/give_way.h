/* give_way.h - a thread that spins offers its core to others, unless they keep it for long
 *
 * Whom we wait for may need this very core: then offering it is the fastest way to an answer, and comes back
 * in a moment. Somebody who only computes keeps it for a whole slice of the scheduler instead, some
 * milliseconds, for a wait of some microseconds. So after an offer that was dear there is none for a while,
 * and for twice as long after each that was dear again. Where many wait as we do an offer may be dear by
 * accident: who then kept the core for long would make the others' offers dear, and they in turn his.
 */
#ifndef CXE_BASE_GIVE_WAY_H
#define CXE_BASE_GIVE_WAY_H

#include <sched.h>
#include <stdint.h>

#include "atomic.h"
#include "clock.h"

#define GIVE_WAY_DEAR_NS   (2 * NS_PER_MS) /* more than dozens of those who wait as we do need in turn */
#define GIVE_WAY_REST_NS   (2 * NS_PER_MS) /* doubled with every dear offer in a row, */
#define GIVE_WAY_DOUBLINGS 6               /* so that who computes gets a few hundredths of our time */

struct give_way {
    uint64_t back_ns; /* from the newest offer */
    uint64_t not_before_ns;
    unsigned dear; /* offers in a row; at most GIVE_WAY_DOUBLINGS */
};

/* Returns what time it is then; `now_ns` is what time it is. */
static inline uint64_t give_way(struct give_way *way, uint64_t now_ns)
{
    uint64_t back_ns;

    if (now_ns < way->not_before_ns) {
        cpu_relax();
        return now_ns;
    }
    sched_yield();
    way->back_ns = back_ns = clock_now_ns();
    if (back_ns <= now_ns + GIVE_WAY_DEAR_NS) {
        way->dear = 0;
        return back_ns;
    }
    way->not_before_ns = back_ns + (GIVE_WAY_REST_NS << way->dear);
    if (way->dear < GIVE_WAY_DOUBLINGS)
        way->dear++;
    return back_ns;
}

#endif
