/* mapping.c - cxe_map and its kin: arguments checked, then the pager */
#include "pager_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "error.h"

/* ---- cxe_map ---- */

static int check_range(const struct cxe_region *region, struct cxe_map_options *options)
{
    uint64_t bytes = cxe_region_bytes(region);

    if (options->offset % PAGE_BYTES || options->bytes % PAGE_BYTES)
        return fail(-EINVAL, "a mapping's offset and bytes must be multiples of %d", PAGE_BYTES);
    if (options->offset >= bytes || options->bytes > bytes - options->offset)
        return fail(-ERANGE, "offset %" PRIu64 " and bytes %" PRIu64 " leave the region's %" PRIu64 " bytes",
                    options->offset, options->bytes, bytes);
    if (!options->bytes)
        options->bytes = bytes - options->offset;
    if (options->bytes / PAGE_BYTES >= UINT32_MAX)
        return fail(-EINVAL, "a mapping holds less than %" PRIu64 " bytes",
                    (uint64_t)UINT32_MAX * PAGE_BYTES);
    return 0;
}

static int check_local(struct cxe_map_options *options)
{
    if (!options->local_bytes) {
        options->local_bytes = options->bytes / 4;
        if (options->local_bytes < CXE_LOCAL_BYTES_MIN)
            options->local_bytes = CXE_LOCAL_BYTES_MIN;
    }
    if (options->local_bytes < CXE_LOCAL_BYTES_MIN)
        return fail(-EINVAL,
                    "local_bytes is %" PRIu64 "; at least %d are needed, since one instruction can need "
                    "several pages at once",
                    options->local_bytes, CXE_LOCAL_BYTES_MIN);
    return 0;
}

static int check_mode(const struct cxe_region *region, struct cxe_map_options *options)
{
    bool safe = connection_async_signal_safe(region->connection);

    switch (options->fault_mode) {
    case CXE_FAULT_AUTO:
        options->fault_mode = safe ? CXE_FAULT_INLINE : CXE_FAULT_THREAD;
        return 0;
    case CXE_FAULT_INLINE:
        if (!safe)
            return fail(-EINVAL,
                        "the fault mode \"inline\" needs a transport that works in a signal handler, "
                        "which \"%s\" does not; use \"thread\"",
                        region->connection->transport);
        return 0;
    case CXE_FAULT_THREAD:
        return 0;
    }
    return fail(-EINVAL, "fault_mode %d is none of enum cxe_fault_mode", (int)options->fault_mode);
}

static int check_policy(const struct cxe_map_options *options)
{
    const uint32_t known = CXE_MAP_READ_ONLY | CXE_MAP_NO_PREFETCH | CXE_MAP_NO_CLEANER | CXE_MAP_WHOLE_PAGES;

    if (options->flags & ~known)
        return fail(-EINVAL, "flags 0x%x: only those of enum cxe_map_flags are known", options->flags);
    if ((unsigned)options->gone_policy > CXE_GONE_FAIL_FAST)
        return fail(-EINVAL, "gone_policy %d is none of enum cxe_gone_policy", (int)options->gone_policy);
    if (options->gone_policy == CXE_GONE_DEADLINE && !options->gone_deadline_ns)
        return fail(-EINVAL, "the policy \"deadline\" needs gone_deadline_ns");
    if ((uintptr_t)options->address % PAGE_BYTES)
        return fail(-EINVAL, "address %p is not a multiple of %d", options->address, PAGE_BYTES);
    return 0;
}

static int check_options(const struct cxe_region *region, struct cxe_map_options *options)
{
    int rc = check_range(region, options);

    if (!rc)
        rc = check_local(options);
    if (!rc)
        rc = check_mode(region, options);
    if (!rc)
        rc = check_policy(options);
    if (!rc && (region->flags & CXE_REGION_SEALED) && !(options->flags & CXE_MAP_READ_ONLY))
        rc = fail(-EACCES, "region \"%s\" is sealed: map it with CXE_MAP_READ_ONLY", region->name);
    return rc;
}

static void forget_mapping(struct cxe_region *region)
{
    fetch_sub_relaxed(&region->connection->mappings, 1);
    store_release(&region->mappings, 0u);
}

int pager_map(struct cxe_region *region, const struct cxe_map_options *options,
              const struct pager_options *more, void **address_out)
{
    struct cxe_map_options complete = options ? *options : (struct cxe_map_options){0};
    uint32_t unmapped = 0;
    struct pager *pager;
    int rc = check_options(region, &complete);

    if (rc)
        return rc;
    if (!cas_acq_rel(&region->mappings, &unmapped, 1u))
        return fail(-EBUSY, "region \"%s\" is mapped already", region->name);
    fetch_add_relaxed(&region->connection->mappings, 1);
    rc = pager_open(region, &complete, more, &pager);
    if (rc) {
        forget_mapping(region);
        return rc;
    }
    *address_out = pager_address(pager);
    return 0;
}

int cxe_map(struct cxe_region *region, const struct cxe_map_options *options, void **address_out)
{
    return pager_map(region, options, NULL, address_out);
}

static int sync_failed(int error, const void *address)
{
    if (error == -EOWNERDEAD)
        return fail(
            error,
            "stores to the mapping at %p are lost: its lease ran out, and others may have changed the "
            "same pages since (CXE_ADVICE_REFRESH fetches them again)",
            address);
    return fail(
        error,
        "changes of the mapping at %p cannot be written back: %s (they stay; CXE_ADVICE_DISCARD gives "
        "them up)",
        address, strerror(-error));
}

int cxe_unmap(void *address)
{
    struct pager *pager = pager_find(address);

    if (!pager || pager_address(pager) != address)
        return fail(-EINVAL, "%p is not the start of a mapping", address);
    struct cxe_region *region = pager->region;
    int rc = pager_close(pager);
    if (rc)
        return sync_failed(rc, address);
    forget_mapping(region);
    return 0;
}

/* ---- ranges of a mapping ---- */

struct span {
    struct pager *pager;
    uint32_t first, count; /* pages; those the range touches */
};

static int span_of(const void *address, size_t bytes, struct span *span_out)
{
    struct pager *pager = pager_find(address);
    uint64_t offset = pager ? (uintptr_t)address - (uintptr_t)pager->base : 0;

    if (!pager || bytes > pager->bytes - offset)
        return fail(-ERANGE, "%zu bytes from %p are not inside one mapping", bytes, address);
    span_out->pager = pager;
    span_out->first = (uint32_t)(offset / PAGE_BYTES);
    span_out->count = (uint32_t)((offset + bytes + PAGE_BYTES - 1) / PAGE_BYTES) - span_out->first;
    return 0;
}

int cxe_sync(void *address, size_t bytes)
{
    struct span span = {0};
    sigset_t saved;
    int rc = span_of(address, bytes, &span);

    if (rc)
        return rc;
    pager_begin(span.pager, &saved);
    rc = writeback_range(span.pager, span.first, bytes ? span.count : 0);
    pager_end(span.pager, &saved);
    return rc ? sync_failed(rc, address) : 0;
}

int cxe_prefetch(void *address, size_t bytes)
{
    struct span span = {0};
    sigset_t saved;
    int rc = span_of(address, bytes, &span);

    if (rc || !bytes)
        return rc;
    pager_begin(span.pager, &saved);
    prefetch_range(span.pager, span.first, span.count);
    pager_end(span.pager, &saved);
    return 0;
}

static int advise(const struct span *span, enum cxe_advice advice)
{
    int rc = 0;

    switch (advice) {
    case CXE_ADVICE_NORMAL:
    case CXE_ADVICE_SEQUENTIAL:
    case CXE_ADVICE_RANDOM:
        prefetch_advise(span->pager, span->first, span->count, advice);
        return 0;
    case CXE_ADVICE_COLD:
        rc = writeback_range(span->pager, span->first, span->count);
        if (!rc)
            range_refresh(span->pager, span->first, span->count);
        return rc;
    case CXE_ADVICE_REFRESH:
        range_refresh(span->pager, span->first, span->count);
        return 0;
    case CXE_ADVICE_DISCARD:
        range_give_up(span->pager, span->first, span->count);
        return 0;
    }
    return -EINVAL;
}

int cxe_advise(void *address, size_t bytes, enum cxe_advice advice)
{
    struct span span = {0};
    sigset_t saved;
    int rc = span_of(address, bytes, &span);

    if (rc || !bytes)
        return rc;
    pager_begin(span.pager, &saved);
    rc = advise(&span, advice);
    pager_end(span.pager, &saved);
    if (rc == -EINVAL)
        return fail(rc, "advice %d is none of enum cxe_advice", (int)advice);
    return rc ? sync_failed(rc, address) : 0;
}

int cxe_map_info(const void *address, struct cxe_map_info *info_out)
{
    struct pager *pager = pager_find(address);

    if (!pager)
        return fail(-ERANGE, "%p is not inside a mapping", address);
    const struct pager_counters *counters = &pager->counters;
    *info_out = (struct cxe_map_info){
        .bytes = pager->bytes,
        .local_bytes = pager->local_bytes,
        .resident_bytes = (pager->cache_pages - (uint64_t)load_relaxed(&pager->free_pages)) * PAGE_BYTES,
        .dirty_bytes = (uint64_t)load_relaxed(&pager->dirty_pages) * PAGE_BYTES,
        .faults = load_relaxed(&counters->faults),
        .fetched_pages = load_relaxed(&counters->fetched_pages),
        .prefetched_pages = load_relaxed(&counters->prefetched_pages),
        .prefetch_used_pages = load_relaxed(&counters->prefetch_used_pages),
        .evicted_pages = load_relaxed(&counters->evicted_pages),
        .written_pages = load_relaxed(&counters->written_pages),
        .written_lines = load_relaxed(&counters->written_lines),
        .poisoned_pages = load_relaxed(&counters->poisoned_pages),
        .fault_p50_ns = histogram_quantile(&pager->fault_ns, 0.5),
        .fault_p99_ns = histogram_quantile(&pager->fault_ns, 0.99),
        .fault_mode = pager->mode,
        .coherent = pager->snooper,
        .snoops = load_relaxed(&counters->snoops),
        .given_up_pages = load_relaxed(&counters->given_up_pages),
        .fenced = load_relaxed(&counters->fenced),
    };
    return 0;
}
