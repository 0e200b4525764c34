/* pager_evict.c - the bounded cache: what leaves when something must come in
 *
 * Anonymous memory under userfaultfd shows user space no access bits: who reads a present page leaves no
 * trace, and to take its mapping away just to see the next access costs a fault of its own, a quarter of what
 * a fetch costs. So the policy uses what it sees for nothing: the order of arrival, and which pages come back
 * soon after they were evicted. That is 2Q with queues of arrival order: newcomers stand in `probation`; one
 * that returns while its eviction is still among the latest (a ghost: the page's word remembers the number of
 * its eviction, no list) goes to `hot`. Victims come from probation as long as it exceeds its quarter, so a
 * scan passes through it and leaves the hot pages alone. Within the batch at the head, clean pages go first:
 * they cost no network.
 */
#include "pager_internal.h"

#include <errno.h>

/* A batch of queue entries, sorted out by what can be done with them. */
struct batch {
    struct ring *ring;
    uint32_t clean[BATCH_PAGES], clean_count; /* DROPPING by now */
    uint32_t dirty[BATCH_PAGES], dirty_count;
    uint32_t other[BATCH_PAGES], other_count; /* pinned, or somebody is at it */
};

/* ---- rings; under queue_lock ---- */

static void ring_push(struct ring *ring, uint32_t page)
{
    CHECK(ring->count < ring->capacity);
    ring->pages[(ring->head + ring->count++) & (ring->capacity - 1)] = page;
}

static void ring_push_front(struct ring *ring, uint32_t page)
{
    CHECK(ring->count < ring->capacity);
    ring->head--;
    ring->count++;
    ring->pages[ring->head & (ring->capacity - 1)] = page;
}

static uint32_t ring_pop(struct ring *ring)
{
    uint32_t page = ring->pages[ring->head & (ring->capacity - 1)];

    ring->head++;
    ring->count--;
    return page;
}

/* An entry of a page that is gone: forget it. False if the page is of use after all. */
static bool forget_stale(struct pager *pager, uint32_t page)
{
    uint64_t word = load_acquire(&pager->words[page]);

    while (page_state(word) == PAGE_ABSENT || page_state(word) == PAGE_POISONED)
        if (page_claim(pager, page, &word, word & ~PAGE_QUEUED))
            return true;
    return false;
}

/* Discarded pages leave entries behind. The ring has room for twice the cache, so when it is full half of it
 * is stale. */
static void ring_compact(struct pager *pager, struct ring *ring)
{
    for (uint32_t n = ring->count; n; n--) {
        uint32_t page = ring_pop(ring);

        if (!forget_stale(pager, page))
            ring_push(ring, page);
    }
}

void evict_enqueue(struct pager *pager, uint32_t page, bool hot)
{
    struct ring *ring = hot ? &pager->hot : &pager->probation;
    uint64_t word = load_relaxed(&pager->words[page]);

    /* Whoever sets the flag puts it in. If it is set, a stale entry serves. */
    do {
        if (word & PAGE_QUEUED)
            return;
    } while (!page_claim(pager, page, &word, word | PAGE_QUEUED));
    spin_lock(&pager->queue_lock);
    if (ring->count + BATCH_PAGES * (WRITEBACKS + 2) >= ring->capacity)
        ring_compact(pager, ring);
    ring_push(ring, page);
    spin_unlock(&pager->queue_lock);
}

bool evict_is_ghost(const struct pager *pager, uint64_t word)
{
    uint32_t left_by = page_extra(word);

    return left_by && load_relaxed(&pager->evictions) - left_by < pager->cache_pages / 2;
}

/* ---- room ---- */

bool evict_reserve_try(struct pager *pager, int32_t keep_free)
{
    int32_t have = load_relaxed(&pager->free_pages);

    while (have > keep_free)
        if (cas_acq_rel(&pager->free_pages, &have, have - 1))
            return true;
    return false;
}

void evict_unreserve(struct pager *pager, uint32_t pages)
{
    fetch_add_acq_rel(&pager->free_pages, (int32_t)pages);
}

void pages_sort(uint32_t *pages, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        uint32_t page = pages[i], at = i;

        for (; at && pages[at - 1] > page; at--)
            pages[at] = pages[at - 1];
        pages[at] = page;
    }
}

void evict_drop(struct pager *pager, const uint32_t *pages, uint32_t count_)
{
    if (!count_)
        return;
    uffd_drop(pager, pages, count_);
    evict_release(pager, pages, count_);
}

void evict_release(struct pager *pager, const uint32_t *pages, uint32_t count_)
{
    uint32_t stamp = fetch_add_relaxed(&pager->evictions, count_);

    for (uint32_t i = 0; i < count_; i++)
        page_leave(pager, pages[i], PAGE_ABSENT, stamp ? stamp : 1, PAGE_HOT | PAGE_OWNED, 0);
    evict_unreserve(pager, count_);
    count(&pager->counters.evicted_pages, count_);
}

void evict_overdraw(struct pager *pager)
{
    fetch_sub_acq_rel(&pager->free_pages, 1);
}

/* ---- batches ---- */

static void sort_out(struct pager *pager, struct batch *batch, uint32_t page)
{
    uint64_t word = load_acquire(&pager->words[page]);

    for (;;) {
        bool pinned = word & PAGE_PIN_MASK;

        if (page_state(word) == PAGE_ABSENT || page_state(word) == PAGE_POISONED) {
            if (page_claim(pager, page, &word, word & ~PAGE_QUEUED))
                return;
        } else if (page_state(word) == PAGE_CLEAN && !pinned) {
            if (page_claim(pager, page, &word, page_with(word, PAGE_DROPPING, 0) & ~PAGE_QUEUED)) {
                batch->clean[batch->clean_count++] = page;
                return;
            }
        } else if (page_state(word) == PAGE_DIRTY && !pinned && !(word & PAGE_SENDING)) {
            batch->dirty[batch->dirty_count++] = page;
            return;
        } else {
            batch->other[batch->other_count++] = page;
            return;
        }
    }
}

static void requeue(struct pager *pager, struct ring *ring, const uint32_t *pages, uint32_t n)
{
    spin_lock(&pager->queue_lock);
    for (uint32_t i = 0; i < n; i++)
        ring_push(ring, pages[i]);
    spin_unlock(&pager->queue_lock);
}

/* Takes up to `most` pages from the head, and drops what is clean. */
static void take_batch(struct pager *pager, uint32_t most, struct batch *batch)
{
    uint32_t pages[BATCH_PAGES], n = 0;

    batch->clean_count = batch->dirty_count = batch->other_count = 0;
    spin_lock(&pager->queue_lock);
    bool probation = pager->probation.count > pager->probation_pages || !pager->hot.count;
    batch->ring = probation ? &pager->probation : &pager->hot;
    while (n < most && batch->ring->count)
        pages[n++] = ring_pop(batch->ring);
    spin_unlock(&pager->queue_lock);

    for (uint32_t i = 0; i < n; i++)
        sort_out(pager, batch, pages[i]);
    pages_sort(batch->clean, batch->clean_count);
    evict_drop(pager, batch->clean, batch->clean_count);
    requeue(pager, batch->ring, batch->other, batch->other_count);
}

static void put_back_dirty(struct pager *pager, struct batch *batch)
{
    spin_lock(&pager->queue_lock);
    for (uint32_t i = batch->dirty_count; i; i--)
        ring_push_front(batch->ring, batch->dirty[i - 1]);
    spin_unlock(&pager->queue_lock);
}

static int write_out(struct pager *pager, struct batch *batch, uint64_t deadline_ns)
{
    uint32_t dropped, kept = 0;

    pages_sort(batch->dirty, batch->dirty_count);
    int rc = writeback_drop(pager, batch->dirty, batch->dirty_count, deadline_ns, &dropped);
    for (uint32_t i = 0; i < batch->dirty_count; i++)
        if (!(dropped >> i & 1))
            batch->dirty[kept++] = batch->dirty[i];
    requeue(pager, batch->ring, batch->dirty, kept);
    return rc < 0 ? rc : (int)(batch->dirty_count - kept);
}

static int drop_clean(struct pager *pager, uint32_t most, struct batch *batch)
{
    take_batch(pager, most, batch);
    put_back_dirty(pager, batch);
    return (int)batch->clean_count;
}

int evict_batch(struct pager *pager, uint64_t deadline_ns)
{
    struct batch batch;
    int rc = 0;

    if (!pager_write_enter_try(pager)) {
        rc = drop_clean(pager, BATCH_PAGES, &batch);
        if (!rc && !pager_is_forking(pager))
            pager_write_wait(pager);
        return rc;
    }
    take_batch(pager, BATCH_PAGES, &batch);
    if (batch.clean_count > BATCH_PAGES / 4)
        put_back_dirty(pager, &batch);
    else if (batch.dirty_count)
        rc = write_out(pager, &batch, deadline_ns);
    pager_write_leave(pager);
    return rc < 0 && !batch.clean_count ? rc : (int)batch.clean_count + (rc > 0 ? rc : 0);
}

void evict_ahead(struct pager *pager, uint32_t most)
{
    struct batch batch;

    if (load_relaxed(&pager->free_pages) >= evict_spare_pages(pager))
        return;
    drop_clean(pager, most, &batch);
    if (batch.dirty_count > batch.clean_count)
        thread_call_cleaner(pager);
}

/* Makes some room, or waits a little for it. -ENOSPC: a fork under way stops the write-backs; then it may be
 * a few places too many, for a moment. */
static int make_room(struct pager *pager, uint64_t deadline_ns, unsigned *tries)
{
    if (!print_needed(pager) && print_close_empty(pager))
        return 0;
    int rc = evict_batch(pager, deadline_ns);
    if (rc > 0)
        return 0;
    if (rc == 0 && pager_is_forking(pager))
        return -ENOSPC;
    if (rc < 0 && (pager_error_is_final(rc) || pager->policy == CXE_GONE_FAIL_FAST))
        return rc;
    if (deadline_ns != UINT64_MAX && clock_now_ns() >= deadline_ns)
        return -ETIMEDOUT;
    pager_backoff(tries);
    return 0;
}

/* All or nothing: who waits for room may hold none, see pager_write_wait. */
static bool reserve_all_try(struct pager *pager, bool page, uint32_t *print)
{
    if (print && *print == PRINT_NONE && (*print = print_take(pager, false)) == PRINT_NONE)
        return false;
    if (!page || evict_reserve_try(pager, 0))
        return true;
    if (print) {
        print_give(pager, *print);
        *print = PRINT_NONE;
    }
    return false;
}

/* Dirty data is never given up to make room: if it cannot be written back it stays, and the access that needs
 * the room fails instead. */
int evict_reserve(struct pager *pager, uint64_t deadline_ns, bool page, uint32_t *print)
{
    unsigned tries = 0;
    int rc = 0;

    while (!rc && !reserve_all_try(pager, page, print))
        rc = make_room(pager, deadline_ns, &tries);
    if (rc != -ENOSPC)
        return rc;
    if (print)
        *print = print_take(pager, true);
    if (page && !evict_reserve_try(pager, 0))
        evict_overdraw(pager);
    return 0;
}
