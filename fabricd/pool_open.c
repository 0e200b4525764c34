/* pool_open.c - getting the pool's memory from the kernel, or saying clearly why not; see pool.h */
#include "pool.h"

#include <errno.h>
#include <inttypes.h>
#include <numa.h>
#include <numaif.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "atomic.h"
#include "check.h"
#include "pool_memory.h"
#include "units.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14; older headers lack it */
#endif

#define PREFAULT_CHUNK_BYTES (64ull << 20)
#define META_FRAME_BYTES     (PAGE_BLOCKS * sizeof(uint32_t) + 2 * sizeof(uint32_t))

static_assert(POOL_PAGES_MAX <= 1ull << 31, "a frame number leaves a bit of a page-table entry free");

struct sentence {
    char *text;
    size_t bytes;
};

static int __attribute__((format(printf, 3, 4)))
refuse(struct sentence why, int error, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(why.text, why.bytes, format, arguments);
    va_end(arguments);
    return error;
}

static int refuse_short(struct sentence why, const char *what, uint64_t wanted, uint64_t available,
                        const char *source)
{
    char wanted_text[32], available_text[32];

    return refuse(why, -ENOMEM,
                  "%s needs %s (%" PRIu64 " bytes), but only %s (%" PRIu64
                  " bytes) can be had according to %s",
                  what, units_format_bytes(wanted, wanted_text, sizeof(wanted_text)), wanted,
                  units_format_bytes(available, available_text, sizeof(available_text)), available, source);
}

static int check_size(const struct pool_options *options, struct sentence why)
{
    uint64_t frames = options->bytes / PAGE_BYTES + options->workers;

    if (options->bytes == 0 || options->bytes % PAGE_BYTES != 0)
        return refuse(why, -EINVAL, "the pool's size is %" PRIu64 " bytes, expected a multiple of %d above 0",
                      options->bytes, PAGE_BYTES);
    if (options->bytes / PAGE_BYTES > POOL_PAGES_MAX || frames > POOL_PAGES_MAX - 2)
        return refuse(why, -EINVAL, "the pool's size is %" PRIu64 " bytes, expected less than %" PRIu64,
                      options->bytes, (uint64_t)POOL_PAGES_MAX * PAGE_BYTES);
    return 0;
}

static int check_nodes(const struct pool_options *options, uint64_t wanted, struct sentence why)
{
    struct pool_memory memory;

    if (options->node_mask == 0)
        return 0;
    if (numa_available() < 0)
        return refuse(why, -EINVAL,
                      "the pool is to be bound to NUMA nodes, but this kernel has no NUMA support");
    for (unsigned node = 0; node < NUMA_NODES_MAX; node++)
        if ((options->node_mask >> node & 1) && numa_node_size64((int)node, NULL) <= 0)
            return refuse(why, -EINVAL,
                          "the pool is to be bound to NUMA node %u, but there is no such node with memory",
                          node);
    if (options->policy == POOL_PREFERRED || options->huge_pages)
        return 0;
    pool_memory_of_nodes("", options->node_mask, &memory);
    if (memory.bytes < wanted)
        return refuse_short(why, "the pool on its NUMA nodes", wanted, memory.bytes, memory.source);
    return 0;
}

static int check_huge(uint64_t *map_bytes, struct sentence why)
{
    uint64_t pages, page_bytes;

    pool_memory_huge("", &pages, &page_bytes);
    if (page_bytes == 0)
        return refuse(why, -EINVAL, "the pool is to be of huge pages, but this kernel has none");
    *map_bytes = (*map_bytes + page_bytes - 1) / page_bytes * page_bytes;
    if (pages < *map_bytes / page_bytes)
        return refuse(why, -ENOMEM,
                      "the pool needs %" PRIu64 " huge pages of %" PRIu64 " KiB, but only %" PRIu64
                      " are free (raise vm.nr_hugepages)",
                      *map_bytes / page_bytes, page_bytes / 1024, pages);
    return 0;
}

static int check_memory(uint64_t wanted, struct sentence why)
{
    struct pool_memory memory;

    pool_memory_available("", &memory);
    if (memory.bytes < wanted)
        return refuse_short(why, "the pool with its tables", wanted, memory.bytes, memory.source);
    return 0;
}

static int bind_nodes(const struct pool *pool, const struct pool_options *options, struct sentence why)
{
    static const int modes[] = {
        [POOL_BIND] = MPOL_BIND, [POOL_INTERLEAVE] = MPOL_INTERLEAVE, [POOL_PREFERRED] = MPOL_PREFERRED};
    unsigned long mask = options->node_mask;

    if (mask == 0)
        return 0;
    if (options->policy == POOL_PREFERRED)
        mask &= -mask;
    if (mbind(pool->map, pool->map_bytes, modes[options->policy], &mask, NUMA_NODES_MAX + 1, 0) != 0)
        return refuse(why, -errno, "binding the pool to its NUMA nodes failed: %s", strerror(errno));
    return 0;
}

static int map_frames(struct pool *pool, const struct pool_options *options, struct sentence why)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

    pool->map = mmap(NULL, pool->map_bytes, PROT_READ | PROT_WRITE,
                     flags | (options->huge_pages ? MAP_HUGETLB : 0), -1, 0);
    if (pool->map == MAP_FAILED)
        return refuse(why, -errno, "mapping %zu bytes for the pool failed: %s", pool->map_bytes,
                      strerror(errno));
    if (madvise(pool->map, pool->map_bytes, MADV_DONTDUMP) != 0) {
        int error = -errno;

        munmap(pool->map, pool->map_bytes);
        return refuse(why, error, "keeping the pool out of core dumps failed: %s", strerror(-error));
    }
    if (!options->huge_pages)
        madvise(pool->map, pool->map_bytes, MADV_HUGEPAGE); /* fewer TLB misses where the kernel has it */
    pool->origin = (uint8_t *)pool->map - PAGE_BYTES;
    return 0;
}

static int map_meta(struct pool *pool, struct sentence why)
{
    uint64_t slots = pool->frames + 1ull;

    pool->meta = mmap(NULL, pool->meta_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pool->meta == MAP_FAILED)
        return refuse(why, -errno, "mapping %zu bytes for the pool's tables failed: %s", pool->meta_bytes,
                      strerror(errno));
    pool->versions = pool->meta;
    pool->refs = (uint32_t *)(pool->versions + slots);
    pool->links = pool->refs + slots;
    return 0;
}

static int check_options(const struct pool_options *options, struct pool *pool, struct sentence why)
{
    uint64_t map_bytes, wanted;
    int error = check_size(options, why);

    if (error)
        return error;
    pool->pages = options->bytes / PAGE_BYTES;
    pool->frames = (uint32_t)(pool->pages + options->workers);
    map_bytes = (uint64_t)pool->frames * PAGE_BYTES;
    if (options->huge_pages && (error = check_huge(&map_bytes, why)) != 0)
        return error;
    pool->map_bytes = map_bytes;
    pool->meta_bytes = (pool->frames + 1ull) * META_FRAME_BYTES;
    wanted = pool->meta_bytes + (options->huge_pages ? 0 : map_bytes);
    error = check_memory(wanted, why);
    return error ? error : check_nodes(options, wanted, why);
}

int pool_open(const struct pool_options *options, char *why, size_t why_bytes, struct pool **pool_out)
{
    struct sentence sentence = {why, why_bytes};
    struct pool *pool = aligned_alloc(64, sizeof(*pool));
    int error;

    CHECK(options->workers > 0 && options->workers <= WORKERS_MAX);
    if (!pool)
        return refuse(sentence, -ENOMEM, "out of memory");
    memset(pool, 0, sizeof(*pool));
    pool->fresh = 1;
    error = check_options(options, pool, sentence);
    if (error)
        goto free_pool;
    error = map_frames(pool, options, sentence);
    if (error)
        goto free_pool;
    error = bind_nodes(pool, options, sentence);
    if (error)
        goto unmap_frames;
    error = map_meta(pool, sentence);
    if (error)
        goto unmap_frames;
    *pool_out = pool;
    return 0;

unmap_frames:
    munmap(pool->map, pool->map_bytes);
free_pool:
    free(pool);
    return error;
}

void pool_close(struct pool *pool)
{
    if (!pool)
        return;
    munmap(pool->meta, pool->meta_bytes);
    munmap(pool->map, pool->map_bytes);
    free(pool);
}

/* MADV_POPULATE_WRITE reports a failure where touching the page would be a SIGBUS; before Linux 5.14 it is
 * unknown, and touching must do. */
static int populate(uint8_t *start, size_t bytes)
{
    while (madvise(start, bytes, MADV_POPULATE_WRITE) != 0) {
        if (errno == EINTR || errno == EAGAIN)
            continue;
        if (errno != EINVAL)
            return -errno;
        for (size_t at = 0; at < bytes; at += PAGE_BYTES)
            fetch_add_relaxed(&start[at], 0);
        return 0;
    }
    return 0;
}

/* Chunks are counted over both mappings, the frames first. */
static int populate_chunk(struct pool *pool, uint64_t at, uint64_t end)
{
    if (at >= pool->map_bytes)
        return populate((uint8_t *)pool->meta + (at - pool->map_bytes), end - at);
    return populate((uint8_t *)pool->map + at, end - at);
}

static uint64_t chunk_end(const struct pool *pool, uint64_t at, uint64_t total)
{
    uint64_t limit = at < pool->map_bytes ? pool->map_bytes : total;

    return limit - at < PREFAULT_CHUNK_BYTES ? limit : at + PREFAULT_CHUNK_BYTES;
}

int pool_prefault(struct pool *pool,
                  void (*progress)(void *context, uint64_t done_bytes, uint64_t total_bytes), void *context)
{
    uint64_t total = pool->map_bytes + pool->meta_bytes, at = load_relaxed(&pool->prefault_next);

    while (at < total) {
        uint64_t end = chunk_end(pool, at, total), done;
        int error;

        if (!cas_acq_rel(&pool->prefault_next, &at, end))
            continue;
        error = populate_chunk(pool, at, end);
        if (error)
            return error;
        done = fetch_add_relaxed(&pool->prefault_done, end - at) + end - at;
        if (progress)
            progress(context, done, total);
        at = load_relaxed(&pool->prefault_next);
    }
    return 0;
}
