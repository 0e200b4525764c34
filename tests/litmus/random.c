/* random.c - see random.h */
#include "random.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"

uint64_t random_seed(void)
{
    const char *given = getenv("CXE_TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : clock_now_ns();

    printf("seed %" PRIu64 " (CXE_TEST_SEED=%" PRIu64 " repeats it)\n", seed, seed);
    fflush(stdout);
    return seed;
}
