/* histogram.h - latencies in log-linear buckets: fixed memory, no allocation, about 1.6 % resolution */
#ifndef CXE_BASE_HISTOGRAM_H
#define CXE_BASE_HISTOGRAM_H

#include <stdint.h>

/* Debian 12 packages no histogram library for C, hence these few lines. The layout is that of HdrHistogram
 * with 64 sub-buckets to each power of two: values below 64 are exact, larger ones are off by at most 1/64.
 */
#define HISTOGRAM_SUB_BITS 6
#define HISTOGRAM_BUCKETS  ((64 - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS)

struct histogram {
    uint64_t count;
    uint64_t sum;
    uint64_t max;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

/* Adds one value. Async-signal-safe; several threads may add at once (relaxed atomics). */
void histogram_add(struct histogram *histogram, uint64_t value);

/* The smallest recorded bucket bound that at least `quantile` (0..1) of the values do not exceed; 0 if empty.
 */
uint64_t histogram_quantile(const struct histogram *histogram, double quantile);

/* Adds what `from` holds to `into`. */
void histogram_merge(struct histogram *into, const struct histogram *from);

#endif
