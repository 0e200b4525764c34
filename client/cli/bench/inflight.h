/* inflight.h - operations on single lines, many in flight, every answer checked */
#ifndef CXE_BENCH_INFLIGHT_H
#define CXE_BENCH_INFLIGHT_H

#include "bench.h"

enum inflight_mix {
    INFLIGHT_READ,
    INFLIGHT_WRITE,
    INFLIGHT_CAS,
    INFLIGHT_MIXED, /* of ten operations seven reads, two writes, a CAS */
    INFLIGHT_MIXES,
};
extern const char *const inflight_mix_names[INFLIGHT_MIXES];

struct inflight;

/* For random lines of a region from bench_region_make, in which nobody else writes. */
int inflight_open(struct cxe_connection *connection, struct cxe_region *region,
                  struct inflight **inflight_out);
void inflight_close(struct inflight *inflight); /* NULL is allowed */

/* What it does from now on, and how many at once; nothing is in flight. */
int inflight_set(struct inflight *inflight, enum inflight_mix mix, unsigned depth);

/* How many more may be started now. */
unsigned inflight_room(const struct inflight *inflight);

/* Starts one, whose latency counts from `start_ns`. There is room. */
int inflight_start(struct inflight *inflight, uint64_t start_ns);

/* Sends what was started, and takes what has come: adds it to *sample, which has room for it, with its
 * latencies unless sample->latencies_ns is NULL. */
int inflight_take(struct inflight *inflight, struct bench_sample *sample);

/* Probes: as many in flight as may be, each replaced as soon as it is done. The first notes latencies. */
int inflight_latency_run(void *inflight, uint64_t duration_ns, struct bench_sample *sample);
int inflight_rate_run(void *inflight, uint64_t duration_ns, struct bench_sample *sample);

#endif
