/* region_reclaim.c - how regions end: deleted, or ephemeral and forgotten; and how their memory comes back
 *
 * A deleted region is out of sight at once, but workers may be amid an operation on it. When all have passed,
 * its page table is walked, a bounded part at a time, and each frame let go of. Only then the slot is free
 * again.
 */
#include <errno.h>
#include <stdlib.h>

#include "check.h"
#include "coherence.h"
#include "pool.h"
#include "quiesce.h"
#include "region_internal.h"

#define TEARDOWN_PAGES      4096 /* of page tables walked in one call of regions_maintain: some 50 us */
#define CHECKS              64   /* of ephemeral regions looked at */
#define EPHEMERAL_NS        (REGION_EPHEMERAL_S * NS_PER_S)
#define EPHEMERAL_CHECK_NS  (EPHEMERAL_NS / 4) /* so one lives 60 to 75 s after its last use */
#define MUTEX_TAKEN_WAIT_NS NS_PER_MS

void regions_list_push(struct regions *regions, struct list *list, uint32_t index)
{
    struct record *record = &regions->records[index];

    record->list_next = NONE;
    record->list_prev = list->tail;
    if (list->tail == NONE)
        list->head = index;
    else
        regions->records[list->tail].list_next = index;
    list->tail = index;
}

void regions_list_remove(struct regions *regions, struct list *list, uint32_t index)
{
    const struct record *record = &regions->records[index];

    if (record->list_prev == NONE)
        list->head = record->list_next;
    else
        regions->records[record->list_prev].list_next = record->list_next;
    if (record->list_next == NONE)
        list->tail = record->list_prev;
    else
        regions->records[record->list_next].list_prev = record->list_prev;
}

void regions_watch(struct regions *regions, uint32_t index, uint64_t now_ns)
{
    struct record *record = &regions->records[index];

    record->used_ns = now_ns;
    record->check_ns = now_ns + EPHEMERAL_CHECK_NS;
    regions_list_push(regions, &regions->ephemeral, index);
    fetch_add_relaxed(&regions->busy, 1);
}

void regions_delete_locked(struct regions *regions, struct region *region)
{
    struct account *account = &regions->accounts[region->tenant];
    uint32_t index = region_index(regions, region);
    struct record *record = &regions->records[index];

    /* First: a worker that finds the region gone lets go of its agents' bindings, which must have been posted
     * by then. */
    regions_end_coherence(regions, index);
    store_release(&region->generation, 0);
    record->ticket = quiesce_retire(regions->quiesce);
    record->torn_down = 0;
    regions_name_remove(regions, index);
    region_family_leave(regions, index);
    fetch_sub_relaxed(&account->used_pages, region->pages);
    fetch_sub_relaxed(&account->regions, 1);
    account->slots[index / 64] &= ~(1ull << index % 64);
    if (region->flags & REGION_EPHEMERAL)
        regions_list_remove(regions, &regions->ephemeral, index);
    else
        fetch_add_relaxed(&regions->busy, 1);
    regions_list_push(regions, &regions->dying, index);
}

/* Lets go of one page; returns the promises that end with it. */
static uint64_t drop_page(struct regions *regions, struct region *region, uint64_t page)
{
    uint32_t value = region->table[page];
    bool promised = !region_is_clone(region);
    uint32_t left;

    region->table[page] = 0;
    if (value == 0 || value == ENTRY_POISON)
        return promised ? 1 : 0;
    left = pool_unref(regions->pool, value & ~ENTRY_SHARED, promised);
    return pool_ref_count(left) == 0 ? 1 : 0; /* what others still name keeps its promise */
}

static void finish_slot(struct regions *regions, struct region *region)
{
    uint32_t index = region_index(regions, region);

    regions_table_free(regions, region, region->table, region->pages);
    region->table = region->few;
    coherence_close(regions->records[index].coherence);
    regions->records[index].coherence = NULL;
    regions_list_remove(regions, &regions->dying, index);
    fetch_sub_relaxed(&regions->busy, 1);
    if (regions->records[index].generation <
        UINT32_MAX) /* else the slot is spent: no handle ever comes again */
        regions_list_push(regions, &regions->free, index);
}

/* Walks at most `budget` pages of the oldest dying region, whom nobody can see any more; returns what is
 * left. */
static uint64_t tear_down(struct regions *regions, uint32_t index, uint64_t budget)
{
    struct region *region = &regions->slots[index];
    struct record *record = &regions->records[index];
    uint64_t promises = 0;

    while (record->torn_down < region->pages && budget > 0) {
        promises += drop_page(regions, region, record->torn_down++);
        budget--;
    }
    pool_unpromise(regions->pool, promises);
    if (record->torn_down == region->pages)
        finish_slot(regions, region);
    return budget;
}

void regions_drain_locked(struct regions *regions, unsigned worker)
{
    if (regions->dying.head == NONE)
        return;
    if (!quiesce_passed(regions->quiesce, regions->records[regions->dying.tail].ticket))
        quiesce_wait(regions->quiesce, worker);
    while (regions->dying.head != NONE)
        tear_down(regions, regions->dying.head, UINT64_MAX);
}

int regions_promise_locked(struct regions *regions, unsigned worker, uint64_t pages)
{
    if (pool_promise(regions->pool, pages))
        return 0;
    regions_drain_locked(regions, worker);
    return pool_promise(regions->pool, pages) ? 0 : -ENOSPC;
}

static void reclaim(struct regions *regions)
{
    uint64_t budget = TEARDOWN_PAGES;

    while (budget > 0 && regions->dying.head != NONE) {
        uint32_t index = regions->dying.head;

        if (!quiesce_passed(regions->quiesce, regions->records[index].ticket))
            return;
        budget = tear_down(regions, index, budget);
    }
}

/* Looks at the ephemeral region whose turn it is. */
static void check_ephemeral(struct regions *regions, uint32_t index, uint64_t now_ns)
{
    struct region *region = &regions->slots[index];
    struct record *record = &regions->records[index];

    if (load_relaxed(&region->touched)) {
        store_relaxed(&region->touched, 0);
        record->used_ns = now_ns;
    }
    if (now_ns - record->used_ns >= EPHEMERAL_NS) {
        regions_delete_locked(regions, region);
        return;
    }
    record->check_ns = now_ns + EPHEMERAL_CHECK_NS;
    regions_list_remove(regions, &regions->ephemeral, index);
    regions_list_push(regions, &regions->ephemeral, index); /* so the list stays sorted by check_ns */
}

static void expire(struct regions *regions, uint64_t now_ns)
{
    for (unsigned i = 0; i < CHECKS && regions->ephemeral.head != NONE; i++) {
        if (regions->records[regions->ephemeral.head].check_ns > now_ns)
            return;
        check_ephemeral(regions, regions->ephemeral.head, now_ns);
    }
}

static uint64_t next_call(const struct regions *regions, uint64_t now_ns)
{
    uint64_t check_ns;

    if (regions->dying.head != NONE)
        return now_ns;
    if (regions->ephemeral.head == NONE)
        return UINT64_MAX;
    check_ns = regions->records[regions->ephemeral.head].check_ns;
    return check_ns > now_ns ? check_ns : now_ns;
}

uint64_t regions_maintain(struct regions *regions, unsigned worker, uint64_t now_ns)
{
    uint64_t next_ns, rest_ns;

    if (load_relaxed(&regions->busy) == 0)
        return UINT64_MAX;
    if (pthread_mutex_trylock(&regions->mutex) != 0)
        return now_ns + MUTEX_TAKEN_WAIT_NS;
    quiesce_pass(regions->quiesce, worker);
    expire(regions, now_ns);
    reclaim(regions);
    rest_ns = regions_rest_coherent(regions, now_ns);
    next_ns = next_call(regions, now_ns);
    regions_unlock(regions);
    return rest_ns < next_ns ? rest_ns : next_ns;
}
