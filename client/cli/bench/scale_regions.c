/* scale_regions.c - making, opening and reading regions, and their memory on the server; see scale.h */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "clock.h"
#include "limits.h"
#include "scale.h"

struct region_scale {
    struct scale_bench *bench;
    struct cxe_connection *connection;
    struct cxe_region **regions;
    uint64_t count;
    uint64_t run; /* a part of the names */
};

static void name_of(const struct region_scale *scale, uint64_t number, char name[CXE_NAME_BYTES])
{
    snprintf(name, CXE_NAME_BYTES, "scale-%d-%jx-%ju", getpid(), (uintmax_t)scale->run, (uintmax_t)number);
}

static uint64_t any(struct region_scale *scale)
{
    return bench_random(&scale->bench->random) % scale->count;
}

static int create_one(void *context)
{
    struct region_scale *scale = context;
    char name[CXE_NAME_BYTES];
    int error;

    name_of(scale, scale->count, name);
    error = cxe_region_create(scale->connection, name, PAGE_BYTES, CXE_REGION_EPHEMERAL,
                              &scale->regions[scale->count]);
    if (error)
        return bench_fail_call(error, "creating a region");
    scale->count++;
    return 0;
}

static int open_one(void *context)
{
    struct region_scale *scale = context;
    struct cxe_region *region;
    char name[CXE_NAME_BYTES];
    int error;

    name_of(scale, any(scale), name);
    error = cxe_region_open(scale->connection, name, &region);
    if (error)
        return bench_fail_call(error, "opening a region");
    cxe_region_close(region);
    return 0;
}

static int read_one(void *context)
{
    struct region_scale *scale = context;
    uint8_t line[CXE_LINE_BYTES];
    int error = cxe_read(scale->regions[any(scale)], 0, line, sizeof(line));

    return error ? bench_fail_call(error, "reading a region") : 0;
}

static int measure_point(struct region_scale *scale, struct scale_cost costs[4], uint64_t items,
                         uint64_t empty_bytes)
{
    struct scale_bench *bench = scale->bench;
    const unsigned rounds = bench->options->rounds;
    int (*const once[])(void *context) = {create_one, open_one, read_one};
    double values[BENCH_ROUNDS_MAX];
    uint64_t bytes = 0;
    int error = 0;

    while (!error && scale->count + rounds * bench->chunk < items)
        error = create_one(scale);
    for (unsigned i = 0; !error && i < 3; i++) {
        error = scale_time(bench, once[i], scale, values);
        if (!error)
            scale_report(bench, &costs[i], items, values, rounds);
    }
    if (!error)
        error = scale_server_bytes(bench, &bytes);
    values[0] = ((double)bytes - (double)empty_bytes) / (double)items;
    if (!error && empty_bytes > 0)
        scale_report(bench, &costs[3], items, values, 1);
    return error;
}

static int measure(struct region_scale *scale)
{
    static const char plot[] = "Time by number of regions";
    struct scale_cost costs[] = {
        {.what = "region_create", .plot = plot, .unit = "us"},
        {.what = "region_open", .plot = plot, .unit = "us"},
        {.what = "region_read", .plot = plot, .unit = "us"},
        {.what = "region_memory", .plot = "Memory of the server by number", .unit = "B"},
    };
    uint64_t empty_bytes;
    int error = scale_server_bytes(scale->bench, &empty_bytes);

    for (uint64_t items = SCALE_FIRST; !error && items <= scale->bench->options->items; items *= 10)
        error = measure_point(scale, costs, items, empty_bytes);
    return error;
}

int scale_regions(struct scale_bench *bench)
{
    struct region_scale scale = {.bench = bench, .run = clock_now_ns()};
    int error = cxe_connect(bench->link->connect, &scale.connection);

    if (error)
        return bench_fail_call(error, "connecting");
    scale.regions = calloc(bench->options->items, sizeof(struct cxe_region *));
    error = scale.regions ? measure(&scale) : bench_fail(-ENOMEM, "no memory for the regions");
    while (scale.count > 0)
        cxe_region_close(scale.regions[--scale.count]); /* they are EPHEMERAL: the server drops them */
    free(scale.regions);
    cxe_disconnect(scale.connection);
    return error;
}
