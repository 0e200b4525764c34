/* scale.h - what the parts of cxe bench scale share */
#ifndef CXE_BENCH_SCALE_H
#define CXE_BENCH_SCALE_H

#include "bench.h"

#define SCALE_FIRST 1000 /* items at the first point; then ten times as many, and so on */

/* A cost, and what it was at the first point: the floor of those that follow. */
struct scale_cost {
    const char *what; /* "region_create" */
    const char *plot; /* "Time by number of regions" */
    const char *unit;
    double first[BENCH_ROUNDS_MAX];
    unsigned first_count; /* 0: there was no point yet */
};

struct scale_bench {
    const struct bench_options *options;
    struct bench_report *report;
    const struct bench_link *link;
    uint64_t random;
    unsigned chunk; /* of what is timed together: a round's */
};

/* One point: `values` are those of the rounds (or one). */
void scale_report(struct scale_bench *bench, struct scale_cost *cost, uint64_t items, const double *values,
                  unsigned count);

/* Times each of the rounds: a chunk of calls of `once`. Values are us a call. */
int scale_time(struct scale_bench *bench, int (*once)(void *context), void *context, double *values);

/* Resident memory of the server; 0: unknown. Negative errno: it could not be read. */
int scale_server_bytes(const struct scale_bench *bench, uint64_t *bytes_out);

int scale_regions(struct scale_bench *bench);
int scale_sessions(struct scale_bench *bench);
int scale_pages(struct scale_bench *bench);

#endif
