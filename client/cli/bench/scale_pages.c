/* scale_pages.c - faults of a mapping with more and more local pages, without and with evictions; see scale.h
 */
#include <stdlib.h>
#include <unistd.h>

#include "clock.h"
#include "limits.h"
#include "scale.h"
#include "server_usage.h"

struct page_scale {
    struct scale_bench *bench;
    const volatile uint64_t *memory;
    uint64_t next; /* page */
    uint64_t wrong;
};

/* The next page in sequence, which was never there. Nobody ever wrote the region. */
static int touch_one(void *context)
{
    struct page_scale *scale = context;

    scale->wrong |= scale->memory[scale->next++ * (PAGE_BYTES / sizeof(uint64_t))];
    return scale->wrong ? bench_fail(-EBADMSG, "a page that was never written is not zero") : 0;
}

static int touch_until(struct page_scale *scale, uint64_t pages)
{
    int error = 0;

    while (!error && scale->next < pages)
        error = touch_one(scale);
    return error;
}

/* Local memory for `items` pages: three quarters come in, then as many as evict others. */
static int measure_mapping(struct page_scale *scale, struct scale_cost costs[3], uint64_t items)
{
    struct scale_bench *bench = scale->bench;
    const unsigned rounds = bench->options->rounds;
    const uint64_t timed = (uint64_t)rounds * bench->chunk, filled = items / 4 * 3;
    double values[BENCH_ROUNDS_MAX];
    uint64_t before = 0, after = 0;
    int error = usage_resident_bytes(getpid(), &before);

    if (!error)
        error = touch_until(scale, filled > timed ? filled - timed : 0);
    if (!error)
        error = scale_time(bench, touch_one, scale, values);
    if (error)
        return error;
    scale_report(bench, &costs[0], items, values, rounds);
    error = usage_resident_bytes(getpid(), &after);
    values[0] = ((double)after - (double)before) / (double)scale->next;
    if (!error)
        scale_report(bench, &costs[2], items, values, 1);
    if (!error)
        error = touch_until(scale, items + items / 8);
    if (!error)
        error = scale_time(bench, touch_one, scale, values);
    if (!error)
        scale_report(bench, &costs[1], items, values, rounds);
    return error;
}

static int measure_point(struct scale_bench *bench, struct cxe_connection *connection,
                         struct scale_cost costs[3], uint64_t items)
{
    const uint64_t pages = items + items / 4 + SCALE_FIRST;
    const struct cxe_map_options map = {.local_bytes = items * PAGE_BYTES, .flags = CXE_MAP_NO_PREFETCH};
    struct page_scale scale = {.bench = bench};
    struct cxe_region *region;
    void *memory;
    int error = bench_region_make_empty(connection, pages * PAGE_BYTES, 0, &region);

    if (error)
        return error;
    error = cxe_map(region, &map, &memory);
    if (error) {
        bench_fail_call(error, "cxe_map");
    } else {
        scale.memory = memory;
        error = measure_mapping(&scale, costs, items);
        if (cxe_unmap(memory) != 0 && !error)
            error = bench_fail_call(-EIO, "cxe_unmap");
    }
    bench_region_drop(connection, region);
    return error;
}

int scale_pages(struct scale_bench *bench)
{
    static const char plot[] = "Time by number of cached pages";
    struct scale_cost costs[] = {
        {.what = "page_fault", .plot = plot, .unit = "us"},
        {.what = "page_fault_and_eviction", .plot = plot, .unit = "us"},
        {.what = "page_memory", .plot = "Memory of the client by number of cached pages", .unit = "B"},
    };
    struct cxe_connection *connection;
    int error = cxe_connect(bench->link->connect, &connection);

    if (error)
        return bench_fail_call(error, "connecting");
    for (uint64_t items = SCALE_FIRST; !error && items <= bench->options->items; items *= 10)
        error = measure_point(bench, connection, costs, items);
    cxe_disconnect(connection);
    return error;
}
