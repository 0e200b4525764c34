/* histogram.c - see histogram.h */
#include "histogram.h"

#include "atomic.h"

#define SUB_COUNT (1u << HISTOGRAM_SUB_BITS)

static unsigned bucket_of(uint64_t value)
{
    unsigned shift;

    if (value < SUB_COUNT)
        return (unsigned)value;
    shift = 63u - (unsigned)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
    return ((shift + 1) << HISTOGRAM_SUB_BITS) + (unsigned)((value >> shift) - SUB_COUNT);
}

/* The largest value that falls into the bucket. */
static uint64_t bucket_bound(unsigned bucket)
{
    unsigned shift;

    if (bucket < SUB_COUNT)
        return bucket;
    shift = (bucket >> HISTOGRAM_SUB_BITS) - 1;
    return (((uint64_t)(bucket & (SUB_COUNT - 1)) + SUB_COUNT + 1) << shift) - 1;
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
    uint64_t seen = load_relaxed(&histogram->max);

    fetch_add_relaxed(&histogram->count, 1);
    fetch_add_relaxed(&histogram->sum, value);
    fetch_add_relaxed(&histogram->buckets[bucket_of(value)], 1);
    while (value > seen && !cas_acq_rel(&histogram->max, &seen, value))
        ;
}

uint64_t histogram_quantile(const struct histogram *histogram, double quantile)
{
    uint64_t count = load_relaxed(&histogram->count), seen = 0;
    uint64_t rank = (uint64_t)(quantile * (double)count);

    if (count == 0)
        return 0;
    if (rank >= count)
        rank = count - 1;
    for (unsigned bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
        seen += load_relaxed(&histogram->buckets[bucket]);
        if (seen > rank) {
            uint64_t bound = bucket_bound(bucket), max = load_relaxed(&histogram->max);
            return bound < max ? bound : max;
        }
    }
    return load_relaxed(&histogram->max);
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    into->count += load_relaxed(&from->count);
    into->sum += load_relaxed(&from->sum);
    if (load_relaxed(&from->max) > into->max)
        into->max = load_relaxed(&from->max);
    for (unsigned bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++)
        into->buckets[bucket] += load_relaxed(&from->buckets[bucket]);
}
