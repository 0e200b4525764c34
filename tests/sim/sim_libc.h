/* sim_libc.h - the simulated C library; see sim_libc.c */
#ifndef TESTS_SIM_LIBC_H
#define TESTS_SIM_LIBC_H

#include <stdint.h>

/* Before sim_begin, and before libsodium is initialised: random numbers come from the seed. */
void sim_libc_begin(uint64_t seed);

#endif
