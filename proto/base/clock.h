/* clock.h - monotonic time; nothing in the project looks at the wall clock */
#ifndef CXE_BASE_CLOCK_H
#define CXE_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#include "limits.h"

/* Nanoseconds of CLOCK_MONOTONIC. Async-signal-safe, does not enter the kernel (vDSO). */
static inline uint64_t clock_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

#endif
