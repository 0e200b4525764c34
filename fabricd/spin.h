/* spin.h - waiting for another thread that will be done in a moment */
#ifndef FABRICD_SPIN_H
#define FABRICD_SPIN_H

#include <sched.h>

#include "atomic.h"

#define SPINS_BEFORE_YIELD 256

/* One turn of a waiting loop; `spins` counts the turns, from 0. Gives the core away now and then, since
 * whoever we wait for may have been preempted on it. */
static inline void spin_pause(unsigned *spins)
{
    if (++*spins % SPINS_BEFORE_YIELD == 0)
        sched_yield();
    else
        cpu_relax();
}

#endif
