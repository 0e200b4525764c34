/* random.h - numbers of the tests' own, with a seed that is printed */
#ifndef TESTS_RANDOM_H
#define TESTS_RANDOM_H

#include <stdint.h>

/* $CXE_TEST_SEED, else one from the clock. Printed, so that a failure can be repeated. */
uint64_t random_seed(void);

/* The next number of the sequence whose state is *state. Source: splitmix64, Steele et al. 2014. */
static inline uint64_t random_next(uint64_t *state)
{
    uint64_t mixed = *state += 0x9E3779B97F4A7C15u;

    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9u;
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EBu;
    return mixed ^ mixed >> 31;
}

#endif
