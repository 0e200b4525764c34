/* zipf_law.h - ranks by Zipf's law with exponent 0.99, as YCSB draws them
 *
 * Rejection-inversion, which needs no table: Hoermann, Derflinger, Rejection-Inversion to Generate Variates
 * from Monotone Discrete Distributions (1996).
 */
#ifndef CXE_BENCH_ZIPF_LAW_H
#define CXE_BENCH_ZIPF_LAW_H

#include <stdint.h>

struct zipf {
    uint64_t count;
    double h_first, h_last, s;
};

/* Ranks 1..count. */
struct zipf zipf_of(uint64_t count);
uint64_t zipf_next(const struct zipf *zipf, uint64_t *state);

#endif
