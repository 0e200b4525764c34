/* region_access.c - see region_access.h */
#include "region_access.h"

#include <errno.h>
#include <string.h>

#include "line.h"
#include "pool.h"
#include "region_internal.h"

/* The region, if its lines are nobody else's business. NULL: see why_not. */
static inline struct region *find_plain(const struct region_caller *caller, uint64_t handle)
{
    struct region *region = region_at(caller->regions, caller->tenant, handle);
    uint8_t flags;

    if (!region)
        return NULL;
    flags = load_relaxed(&region->flags);
    if (__builtin_expect(flags & (REGION_EPHEMERAL | REGION_COHERENT), 0)) {
        region_touch(region);
        if (flags & REGION_COHERENT)
            return NULL;
    }
    return region;
}

static int why_not(const struct region_caller *caller, uint64_t handle)
{
    return region_find(caller->regions, caller->tenant, handle) ? -EREMOTE : -ESTALE;
}

static bool in_range(const struct region *region, uint64_t offset, uint64_t bytes)
{
    uint64_t region_bytes =
        load_acquire(&region->pages) * PAGE_BYTES; /* before its table: see regions_grow */

    return offset <= region_bytes && bytes <= region_bytes - offset;
}

/* Reads the lines of one page. */
static int read_page(struct pool *pool, const uint32_t *entry, unsigned first, unsigned count,
                     uint8_t *bytes_out)
{
    for (;;) {
        uint32_t value = load_acquire(entry);

        if (value == 0) {
            memset(bytes_out, 0, (size_t)count * LINE_BYTES);
            return 0;
        }
        if (value == ENTRY_POISON)
            return -EHWPOISON;
        line_read(pool, value & ~ENTRY_SHARED, first, count, bytes_out);
        /* line_read ends with an acquire, so a frame that was another's while we copied shows here. */
        if (__builtin_expect(load_relaxed(entry) == value, 1))
            return 0;
    }
}

static inline __attribute__((always_inline)) int read_lines(const struct regions *regions,
                                                            const struct region *region,
                                                            struct region_place place, unsigned lines,
                                                            uint8_t *bytes_out)
{
    uint64_t page = place.offset / PAGE_BYTES;
    unsigned first = place.offset / LINE_BYTES % PAGE_LINES;
    const uint32_t *table;

    if (place.offset % LINE_BYTES != 0)
        return -EINVAL;
    if (!in_range(region, place.offset, (uint64_t)lines * LINE_BYTES))
        return -ERANGE;
    table = load_acquire(&region->table);
    while (lines > 0) {
        unsigned part = lines < PAGE_LINES - first ? lines : PAGE_LINES - first;
        int error = read_page(regions->pool, &table[page], first, part, bytes_out);

        if (error)
            return error;
        lines -= part;
        bytes_out += part * LINE_BYTES;
        first = 0;
        page++;
    }
    return 0;
}

int region_read(const struct region_caller *caller, struct region_place place, unsigned lines,
                uint8_t *bytes_out)
{
    const struct region *region = find_plain(caller, place.handle);

    if (!region)
        return why_not(caller, place.handle);
    return read_lines(caller->regions, region, place, lines, bytes_out);
}

int region_read_locked(const struct region_caller *caller, struct region_place place, unsigned lines,
                       uint8_t *bytes_out)
{
    const struct region *region = region_find(caller->regions, caller->tenant, place.handle);

    return region ? read_lines(caller->regions, region, place, lines, bytes_out) : -ESTALE;
}

int region_check(const struct region_caller *caller, struct region_place place, uint64_t bytes,
                 uint64_t align)
{
    const struct region *region = region_find(caller->regions, caller->tenant, place.handle);

    if (!region)
        return -ESTALE;
    if (place.offset % align != 0)
        return -EINVAL;
    return in_range(region, place.offset, bytes) ? 0 : -ERANGE;
}

static bool entry_is_own(uint32_t value)
{
    return value != 0 && !(value & ENTRY_SHARED) && value != ENTRY_POISON;
}

static int check_write(const struct region *region, struct region_place place, uint64_t bytes, uint64_t align)
{
    if (place.offset % align != 0)
        return -EINVAL;
    if (load_relaxed(&region->flags) & REGION_SEALED)
        return -EACCES;
    return in_range(region, place.offset, bytes) ? 0 : -ERANGE;
}

/* Makes pages first..last the region's own. On failure, *page_out is the one that is not. */
static int own_pages(struct regions *regions, struct region *region, uint64_t first, uint64_t last,
                     uint64_t *page_out)
{
    const uint32_t *table = load_acquire(&region->table);

    *page_out = first;
    if (__builtin_expect(load_relaxed(&region->flags) & REGION_FROZEN, 0))
        return -EBUSY;
    for (uint64_t page = first; page <= last; page++) {
        int error = entry_is_own(load_acquire(&table[page])) ? 0 : region_own_page(regions, region, page);

        if (error) {
            *page_out = page;
            return error;
        }
    }
    return 0;
}

/* Finds the region and makes every page of the range its own, so that nothing can fail once the first byte is
 * written. On success, the pages stay so until the caller's worker passes. */
static inline __attribute__((always_inline)) int prepare(const struct region_caller *caller,
                                                         struct region_place place, uint64_t bytes,
                                                         uint64_t align, bool coherent,
                                                         struct region **region_out)
{
    struct regions *regions = caller->regions;

    for (;;) {
        struct region *region =
            coherent ? region_find(regions, caller->tenant, place.handle) : find_plain(caller, place.handle);
        uint64_t page;
        int error;

        if (!region)
            return coherent ? -ESTALE : why_not(caller, place.handle);
        error = check_write(region, place, bytes, align);
        if (error)
            return error;
        error = own_pages(regions, region, place.offset / PAGE_BYTES, (place.offset + bytes - 1) / PAGE_BYTES,
                          &page);
        if (__builtin_expect(!error, 1)) {
            *region_out = region;
            return 0;
        }
        if (error != -EBUSY && error != -ENOSPC)
            return error;
        error = region_own_page_slowly(regions, caller->worker, caller->tenant, place.handle, page);
        if (error)
            return error;
        /* We may have been offline, so what we knew of the region and its other pages is past. */
    }
}

static uint32_t own_frame(const struct region *region, uint64_t page)
{
    return load_relaxed(&load_relaxed(&region->table)[page]);
}

int region_prepare(const struct region_caller *caller, struct region_place place, uint64_t bytes,
                   uint64_t align, struct region **region_out)
{
    return prepare(caller, place, bytes, align, true, region_out);
}

void region_store_prepared(const struct region_caller *caller, const struct region *region,
                           struct region_place place, unsigned lines, const uint8_t *masks,
                           const uint8_t *bytes)
{
    uint64_t page = place.offset / PAGE_BYTES;
    unsigned first = place.offset / LINE_BYTES % PAGE_LINES;
    struct pool *pool = caller->regions->pool;

    while (lines > 0) {
        unsigned part = lines < PAGE_LINES - first ? lines : PAGE_LINES - first;
        uint32_t frame = own_frame(region, page);

        if (masks) {
            line_write_masked(pool, frame, first, part, masks, bytes);
            masks += part * 8;
        } else {
            line_write(pool, frame, first, part, bytes);
        }
        lines -= part;
        bytes += part * LINE_BYTES;
        first = 0;
        page++;
    }
}

static int write_lines(const struct region_caller *caller, struct region_place place, unsigned lines,
                       const uint8_t *masks, const uint8_t *bytes)
{
    struct region *region;
    int error = prepare(caller, place, (uint64_t)lines * LINE_BYTES, LINE_BYTES, false, &region);

    if (!error)
        region_store_prepared(caller, region, place, lines, masks, bytes);
    return error;
}

int region_write(const struct region_caller *caller, struct region_place place, unsigned lines,
                 const uint8_t *bytes)
{
    return write_lines(caller, place, lines, NULL, bytes);
}

int region_write_masked(const struct region_caller *caller, struct region_place place, unsigned lines,
                        const uint8_t *masks, const uint8_t *bytes)
{
    return write_lines(caller, place, lines, masks, bytes);
}

void region_atomic_prepared(const struct region_caller *caller, const struct region *region,
                            struct region_place place, enum opcode opcode, unsigned width_log2,
                            const struct wire_word *operands, struct wire_word *old_out)
{
    line_atomic(caller->regions->pool, own_frame(region, place.offset / PAGE_BYTES),
                (unsigned)(place.offset % PAGE_BYTES), opcode, width_log2, operands, old_out);
}

int region_atomic(const struct region_caller *caller, struct region_place place, enum opcode opcode,
                  unsigned width_log2, const struct wire_word *operands, struct wire_word *old_out)
{
    uint64_t width = 1ull << width_log2;
    struct region *region;
    int error = prepare(caller, place, width, width, false, &region);

    if (!error)
        region_atomic_prepared(caller, region, place, opcode, width_log2, operands, old_out);
    return error;
}

const uint32_t *region_prefetch_entry(const struct region_caller *caller, struct region_place place)
{
    const struct region *region = region_find(caller->regions, caller->tenant, place.handle);
    const uint32_t *entry;

    if (!region || !in_range(region, place.offset, LINE_BYTES))
        return NULL;
    entry = &load_acquire(&region->table)[place.offset / PAGE_BYTES];
    __builtin_prefetch(entry);
    return entry;
}

void region_prefetch_line(const struct region_caller *caller, const uint32_t *entry, uint64_t offset)
{
    const struct pool *pool = caller->regions->pool;
    uint32_t frame;

    if (!entry)
        return;
    frame = load_relaxed(entry) & ~ENTRY_SHARED;
    if (frame == 0 || frame == ENTRY_POISON)
        return;
    __builtin_prefetch(&pool->versions[frame]);
    __builtin_prefetch(pool_frame(pool, frame) + offset % PAGE_BYTES);
}
