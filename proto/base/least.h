/* least.h - the less and the more of two numbers */
#ifndef CXE_BASE_LEAST_H
#define CXE_BASE_LEAST_H

#include <stdint.h>

static inline uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t most(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Never wraps: what ends after the end of time never ends. */
static inline uint64_t sum_or_max(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

#endif
