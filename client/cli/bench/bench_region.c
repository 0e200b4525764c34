/* bench_region.c - the region that is measured, full of what a reader can check; see bench.h */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"

#define FILL_BYTES (64 * 1024)

static int fill(struct cxe_region *region, uint64_t bytes)
{
    uint8_t *buffer = calloc(1, FILL_BYTES);
    int error = buffer ? 0 : -ENOMEM;

    for (uint64_t offset = 0; !error && offset < bytes; offset += FILL_BYTES) {
        for (uint64_t at = 0; at < FILL_BYTES; at += CXE_LINE_BYTES) {
            const uint64_t word = bench_word_at(offset + at);

            memcpy(buffer + at, &word, sizeof(word));
        }
        error = cxe_write(region, offset, buffer, FILL_BYTES);
    }
    free(buffer);
    return error;
}

int bench_region_make_empty(struct cxe_connection *connection, uint64_t bytes, uint32_t flags,
                            struct cxe_region **region_out)
{
    char name[CXE_NAME_BYTES];
    int error;

    snprintf(name, sizeof(name), "bench-%d-%jx", getpid(), (uintmax_t)clock_now_ns());
    error = cxe_region_create(connection, name, bytes, CXE_REGION_EPHEMERAL | flags, region_out);
    return error ? bench_fail_call(error, "creating a region to measure") : 0;
}

int bench_region_make(struct cxe_connection *connection, uint64_t bytes, uint32_t flags,
                      struct cxe_region **region_out)
{
    int error = bench_region_make_empty(connection, bytes, flags, region_out);

    if (error)
        return error;
    error = fill(*region_out, bytes);
    if (!error)
        return 0;
    bench_fail_call(error, "filling the region");
    bench_region_drop(connection, *region_out);
    return error;
}

void bench_region_drop(struct cxe_connection *connection, struct cxe_region *region)
{
    struct cxe_region_info info;
    const bool known = cxe_region_stat(region, &info) == 0;

    cxe_region_close(region);
    if (known)
        cxe_region_delete(connection, info.name);
}

int bench_map(const struct bench_options *options, struct cxe_region *region,
              const struct cxe_map_options *map, void **memory_out)
{
    int error;

    bench_unpin();
    error = cxe_map(region, map, memory_out);
    bench_pin(options->client_cpu);
    return error;
}
