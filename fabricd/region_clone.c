/* region_clone.c - copy-on-write: who owns a page, and what a full pool does to clones
 *
 * A frame that several entries name is never written: its reference count is at least 2, and only an entry
 * that is alone may drop ENTRY_SHARED. Charges: a frame named by a promised region (an origin) is covered by
 * that promise and carries POOL_CHARGED; any other frame in use is promised one by one. So frames in use
 * never exceed promises, whichever of origin and clones is written, deleted or copied first: origin copies F
 * to G    G takes over the charge, F gets a promise of its own clone copies F to G     G gets a promise of
 * its own origin is deleted       its promise ends, but for one page for each frame that clones still name
 *   last name of a frame    an uncharged frame's own promise ends with it
 * There is one origin in a family at most: clones of clones are clones.
 */
#include <errno.h>

#include "check.h"
#include "pool.h"
#include "quiesce.h"
#include "racy.h"
#include "region_internal.h"
#include "spin.h"

/* The first write to a page. -EAGAIN: the entry changed meanwhile. */
static int attach_frame(struct regions *regions, struct region *region, uint32_t *entry)
{
    bool clone = region_is_clone(region);
    uint32_t frame, expected = 0;

    if (clone && !pool_promise(regions->pool, 1))
        return -ENOSPC;
    frame = pool_alloc(regions->pool, clone ? 1 : 1 | POOL_CHARGED);
    if (cas_acq_rel(entry, &expected, frame)) {
        fetch_add_relaxed(&region_record(regions, region)->resident_pages, 1);
        return 0;
    }
    pool_put_clean(regions->pool, frame);
    if (clone)
        pool_unpromise(regions->pool, 1);
    return -EAGAIN;
}

/* Lets go of a frame that the region's entry no longer names. */
static void drop_frame(struct regions *regions, uint32_t frame, bool by_clone)
{
    uint32_t left = pool_unref(regions->pool, frame, !by_clone);

    if (pool_ref_count(left) == 0)
        pool_unpromise(regions->pool, 1);
}

/* A write to a page that others name too. -EAGAIN: the entry changed meanwhile. */
static int copy_frame(struct regions *regions, struct region *region, uint32_t *entry, uint32_t value)
{
    struct pool *pool = regions->pool;
    bool clone = region_is_clone(region);
    uint32_t old = value & ~ENTRY_SHARED, new;

    if (!pool_promise(pool, 1))
        return -ENOSPC;
    new = pool_alloc(pool, clone ? 1 : 1 | POOL_CHARGED);
    racy_copy_frame(pool_frame(pool, new), pool_frame(pool, old));
    if (cas_acq_rel(entry, &value, new)) {
        drop_frame(regions, old, clone);
        return 0;
    }
    pool_put_dirty(pool, new);
    pool_unpromise(pool, 1);
    return -EAGAIN;
}

static int own_shared(struct regions *regions, struct region *region, uint32_t *entry, uint32_t value)
{
    uint32_t refs = load_acquire(&regions->pool->refs[value & ~ENTRY_SHARED]);

    /* Alone, we stay so: only a clone of this region could name the frame anew, and it would wait for us. If
     * the entry is out of date, so may `refs` be, but then the swap fails. */
    if (pool_ref_count(refs) == 1)
        return cas_acq_rel(entry, &value, value & ~ENTRY_SHARED) ? 0 : -EAGAIN;
    return copy_frame(regions, region, entry, value);
}

int region_own_page(struct regions *regions, struct region *region, uint64_t page)
{
    uint32_t *entry = &load_acquire(&region->table)[page];
    int error;

    do {
        uint32_t value = load_acquire(entry);

        if (value == ENTRY_POISON)
            return -EHWPOISON;
        if (value == 0)
            error = attach_frame(regions, region, entry);
        else if (value & ENTRY_SHARED)
            error = own_shared(regions, region, entry, value);
        else
            error = 0;
    } while (error == -EAGAIN);
    return error;
}

/* Takes the frame of an origin's page away from its clones. A clone that reads it just now finds its entry
 * changed after the copy; one that copies it for a write fails to swap its entry. */
static void poison_sharers(struct regions *regions, uint32_t origin, uint64_t page)
{
    uint32_t shared = load_acquire(&regions->slots[origin].table[page]);

    for (uint32_t i = regions->records[origin].family_next; i != origin;
         i = regions->records[i].family_next) {
        struct region *clone = &regions->slots[i];
        uint32_t expected = shared;

        if (page >= clone->pages || !cas_acq_rel(&clone->table[page], &expected, ENTRY_POISON))
            continue;
        fetch_sub_relaxed(&regions->records[i].resident_pages, 1);
        drop_frame(regions, shared & ~ENTRY_SHARED, true);
    }
}

int region_own_page_slowly(struct regions *regions, unsigned worker, uint16_t tenant, uint64_t handle,
                           uint64_t page)
{
    unsigned spins = 0;
    struct region *region;
    int error = -ESTALE;

    regions_lock(regions, worker);
    regions_drain_locked(regions, worker);
    region = region_find(regions, tenant, handle);
    if (region && page < region->pages) {
        error = region_own_page(regions, region, page);
        while (error == -ENOSPC && !region_is_clone(region)) {
            poison_sharers(regions, region_index(regions, region), page);
            error = region_own_page(regions, region, page);
            if (error) /* a clone's writer is about to see that it lost */
                spin_pause(&spins);
        }
    }
    regions_unlock(regions);
    return error;
}

static void family_join(struct regions *regions, uint32_t index, uint32_t member)
{
    struct record *record = &regions->records[index], *after = &regions->records[member];

    record->family_next = after->family_next;
    record->family_prev = member;
    regions->records[after->family_next].family_prev = index;
    after->family_next = index;
}

void region_family_leave(struct regions *regions, uint32_t index)
{
    struct record *record = &regions->records[index];

    regions->records[record->family_next].family_prev = record->family_prev;
    regions->records[record->family_prev].family_next = record->family_next;
    record->family_next = record->family_prev = index;
}

/* Lets the clone (not yet public) name every page of its source (frozen). */
static void share_pages(struct regions *regions, struct region *source, struct region *clone)
{
    struct record *record = region_record(regions, clone);

    for (uint64_t page = 0; page < source->pages; page++) {
        uint32_t value = load_acquire(&source->table[page]);

        if (value == 0)
            continue; /* writing it would make a page of the clone's table exist for nothing */
        if (value == ENTRY_POISON) {
            clone->table[page] = ENTRY_POISON;
            continue;
        }
        pool_ref(regions->pool, value & ~ENTRY_SHARED);
        store_release(&source->table[page], value | ENTRY_SHARED);
        clone->table[page] = value | ENTRY_SHARED;
        record->resident_pages++;
    }
}

static int clone_locked(struct regions *regions, unsigned worker, uint16_t tenant, uint64_t handle,
                        const struct region_spec *spec, struct region_info *info_out)
{
    struct region *source, *clone;
    int error;

    source = region_find(regions, tenant, handle);
    if (!source)
        return -ESTALE;
    if (regions_mapped_locked(regions, source))
        return -EBUSY;
    error = regions_reserve(regions, worker, tenant, spec, source->pages, REGION_IS_CLONE, &clone);
    if (error)
        return error;
    regions_freeze(regions, worker, source);
    share_pages(regions, source, clone);
    family_join(regions, region_index(regions, clone), region_index(regions, source));
    regions_publish(regions, clone);
    regions_thaw(source);
    regions_fill_info(regions, clone, info_out);
    return 0;
}

int regions_clone(struct regions *regions, unsigned worker, uint16_t tenant, uint64_t handle,
                  const struct region_spec *spec, struct region_info *info_out)
{
    int error = regions_check_spec(spec, (spec->flags & REGION_EPHEMERAL) != 0);

    if (error)
        return error;
    if (spec->bytes != 0 || (spec->flags & ~(uint32_t)REGION_PUBLIC))
        return -EINVAL;
    regions_lock(regions, worker);
    error = clone_locked(regions, worker, tenant, handle, spec, info_out);
    regions_unlock(regions);
    return error;
}
