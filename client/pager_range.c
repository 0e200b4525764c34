/* pager_range.c - whole ranges at the program's request: pin, discard, refresh, give up */
#include "pager_internal.h"

#include <errno.h>
#include <string.h>

/* ---- pins ---- */

static bool pin_room(struct pager *pager)
{
    uint32_t pinned = load_relaxed(&pager->pinned_pages);

    while (pinned < pager->cache_pages / 2)
        if (cas_acq_rel(&pager->pinned_pages, &pinned, pinned + 1))
            return true;
    return false;
}

/* True when it is pinned; else the page must be brought into the state first. */
static bool pin_try(struct pager *pager, uint32_t page, bool write)
{
    uint64_t word = load_acquire(&pager->words[page]);

    while (page_state(word) == PAGE_DIRTY || (page_state(word) == PAGE_CLEAN && !write)) {
        if ((word & PAGE_PIN_MASK) == PAGE_PIN_MASK)
            return false;
        if (page_claim(pager, page, &word, word + PAGE_PIN_ONE))
            return true;
    }
    return false;
}

/* The pin is counted already. */
static int pin_counted(struct pager *pager, uint32_t page, bool write)
{
    struct fault fault = {.pager = pager, .page = page, .write = write, .waited = true};
    unsigned tries = 0;

    fault.deadline_ns = pager_deadline_ns(pager, pager->policy == CXE_GONE_WAIT ? 0 : clock_now_ns());
    while (!pin_try(pager, page, write)) {
        int rc = fault_resolve(&fault);

        if (rc) {
            fetch_sub_relaxed(&pager->pinned_pages, 1u);
            return rc;
        }
        if (tries++)
            pager_backoff(&tries);
    }
    return 0;
}

static int pin_page(struct pager *pager, uint32_t page, bool write)
{
    return pin_room(pager) ? pin_counted(pager, page, write) : -EAGAIN;
}

static void unpin_page(struct pager *pager, uint32_t page)
{
    uint64_t old = fetch_sub_acq_rel(&pager->words[page], PAGE_PIN_ONE);

    CHECK(old & PAGE_PIN_MASK);
    fetch_sub_relaxed(&pager->pinned_pages, 1u);
}

static void unpin_pages(struct pager *pager, uint32_t first, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        unpin_page(pager, first + i);
}

/* The pages that `bytes` from `address` on touch, as far as the mapping goes. */
static uint32_t pages_of(struct pager *pager, const void *address, size_t bytes, uint32_t *first_out)
{
    uint64_t offset = (uintptr_t)address - (uintptr_t)pager->base;
    uint64_t end = bytes > pager->bytes - offset ? pager->bytes : offset + bytes;

    *first_out = (uint32_t)(offset / PAGE_BYTES);
    return (uint32_t)((end + PAGE_BYTES - 1) / PAGE_BYTES) - *first_out;
}

ssize_t pager_pin(void *address, size_t bytes, bool write)
{
    struct pager *pager = pager_find(address);
    uint32_t first, most, n = 0;
    sigset_t saved;
    int rc = 0;

    if (!pager || !bytes)
        return -EINVAL;
    uint64_t room = pager->bytes - ((uintptr_t)address - (uintptr_t)pager->base);
    if (pager->mode == CXE_FAULT_THREAD) /* the kernel's faults are served as well */
        return (ssize_t)(bytes < room ? bytes : room);
    if (pager->snooper) /* others must not have to wait for a system call */
        return -EAGAIN;
    most = pages_of(pager, address, bytes, &first);
    if (most > pager->cache_pages / 4)
        most = pager->cache_pages / 4;
    pager_begin(pager, &saved);
    while (n < most && (rc = pin_page(pager, first + n, write)) == 0)
        n++;
    pager_end(pager, &saved);
    if (!n)
        return rc;
    uint64_t reach = (uint64_t)n * PAGE_BYTES - (uintptr_t)address % PAGE_BYTES;
    return (ssize_t)(bytes < reach ? bytes : reach);
}

void pager_unpin(void *address, size_t bytes)
{
    struct pager *pager = pager_find(address);
    uint32_t first;

    if (!pager || !bytes || pager->mode == CXE_FAULT_THREAD)
        return;
    uint32_t n = pages_of(pager, address, bytes, &first);
    unpin_pages(pager, first, n);
}

/* ---- discard ---- */

struct drop_list {
    uint32_t pages[BATCH_PAGES], count;
};

static void drop_flush(struct pager *pager, struct drop_list *list, uint64_t set)
{
    if (!list->count)
        return;
    uffd_drop(pager, list->pages, list->count);
    for (uint32_t i = 0; i < list->count; i++)
        page_leave(pager, list->pages[i], PAGE_ABSENT, 0, PAGE_HOT | PAGE_OWNED, set);
    evict_unreserve(pager, list->count);
    list->count = 0;
}

/* A system call of another thread has it: it cannot go, but its content can. One pin more on it takes no
 * room, so none is asked for. */
static void wipe_pinned(struct pager *pager, uint32_t page)
{
    fetch_add_relaxed(&pager->pinned_pages, 1u);
    if (pin_counted(pager, page, true))
        return;
    memset(page_address(pager, page), 0, PAGE_BYTES);
    unpin_page(pager, page);
}

/* The queue entry stays behind, stale, hence QUEUED too. */
static bool discard_claim(struct pager *pager, uint32_t page, uint64_t word)
{
    bool dirty = page_state(word) == PAGE_DIRTY;
    uint32_t print = page_extra(word);

    if ((word & PAGE_SENDING) || !page_claim(pager, page, &word, page_with(word, PAGE_DROPPING, 0)))
        return false;
    if (dirty) {
        print_give(pager, print);
        fetch_sub_relaxed(&pager->dirty_pages, 1u);
    }
    count(&pager->counters.discarded_pages, 1);
    return true;
}

/* Takes it back from the bulk read that it belongs to. False: it is to be looked at again. */
static bool stop_fetching(struct pager *pager, uint32_t page, uint64_t word)
{
    if (page_extra(word))
        prefetch_take_back(pager, page, word);
    return false;
}

/* True when the page is dealt with; in the list, if it is to be dropped. */
static bool discard_step(struct pager *pager, uint32_t page, struct drop_list *list)
{
    uint64_t word = load_acquire(&pager->words[page]);

    switch (page_state(word)) {
    case PAGE_ABSENT:
        return page_claim(pager, page, &word, page_with(word, PAGE_ABSENT, 0) | PAGE_ZERO);
    case PAGE_POISONED:
        if (!page_claim(pager, page, &word, page_with(word, PAGE_DROPPING, 0)))
            return false;
        uffd_unpoison(pager, page);
        page_leave(pager, page, PAGE_ABSENT, 0, 0, PAGE_ZERO);
        return true;
    case PAGE_CLEAN:
    case PAGE_DIRTY:
        if (word & PAGE_PIN_MASK) {
            wipe_pinned(pager, page);
            return true;
        }
        if (!discard_claim(pager, page, word))
            return false;
        list->pages[list->count++] = page;
        return true;
    case PAGE_FETCHING:
        return stop_fetching(pager, page, word);
    case PAGE_BUSY:
    case PAGE_CLEANING:
    case PAGE_DROPPING:
        return false;
    }
    return false;
}

/* `set`: the flags of what was dropped. */
static void drop_range(struct pager *pager, uint32_t first, uint32_t n,
                       bool (*step)(struct pager *, uint32_t, struct drop_list *), uint64_t set)
{
    struct drop_list list = {.count = 0};

    for (uint32_t page = first; page < first + n; page++) {
        unsigned tries = 0;

        while (!step(pager, page, &list)) {
            drop_flush(pager, &list, set); /* own nothing while waiting */
            pager_backoff(&tries);
        }
        if (list.count == BATCH_PAGES)
            drop_flush(pager, &list, set);
    }
    drop_flush(pager, &list, set);
}

void range_discard(struct pager *pager, uint32_t first, uint32_t n)
{
    drop_range(pager, first, n, discard_step, PAGE_ZERO);
}

int pager_discard(void *address, size_t bytes)
{
    struct pager *pager = pager_find(address);
    uint64_t first, end;
    sigset_t saved;

    if (!pager)
        return -ERANGE;
    if (pager->snooper)
        return -EOPNOTSUPP;
    uint64_t offset = (uintptr_t)address - (uintptr_t)pager->base;
    if (bytes > pager->bytes - offset)
        return -ERANGE;
    first = (offset + PAGE_BYTES - 1) / PAGE_BYTES;
    end = (offset + bytes) / PAGE_BYTES;
    if (end <= first)
        return 0;
    pager_begin(pager, &saved);
    range_discard(pager, (uint32_t)first, (uint32_t)(end - first));
    pager_end(pager, &saved);
    return 0;
}

/* ---- refresh ---- */

/* True when the page is dealt with, as above. What is being fetched was maybe read before the program asked
 * for what is there now. */
static bool refresh_step(struct pager *pager, uint32_t page, struct drop_list *list)
{
    uint64_t word = load_acquire(&pager->words[page]);

    switch (page_state(word)) {
    case PAGE_POISONED:
        if ((word & PAGE_SENDING) || !page_claim(pager, page, &word, page_with(word, PAGE_DROPPING, 0)))
            return false;
        uffd_unpoison(pager, page);
        page_leave(pager, page, PAGE_ABSENT, 0, PAGE_LOST, 0);
        return true;
    case PAGE_CLEAN:
        if (word & PAGE_PIN_MASK)
            return true;
        if (!page_claim(pager, page, &word, page_with(word, PAGE_DROPPING, 0)))
            return false;
        list->pages[list->count++] = page;
        return true;
    case PAGE_FETCHING:
        return stop_fetching(pager, page, word);
    case PAGE_ABSENT:
    case PAGE_DIRTY:
    case PAGE_BUSY:
    case PAGE_CLEANING:
    case PAGE_DROPPING:
        return true;
    }
    return true;
}

void range_refresh(struct pager *pager, uint32_t first, uint32_t n)
{
    drop_range(pager, first, n, refresh_step, 0);
}

/* ---- give up ---- */

/* True when the page is dealt with, as above. What is on its way to the server is looked at when that is
 * over: it may be clean then. */
static bool give_up_step(struct pager *pager, uint32_t page, struct drop_list *list)
{
    uint64_t word = load_acquire(&pager->words[page]);

    switch (page_state(word)) {
    case PAGE_DIRTY:
        if (word & PAGE_PIN_MASK)
            return true;
        if (!discard_claim(pager, page, word))
            return false;
        list->pages[list->count++] = page;
        return true;
    case PAGE_ABSENT:
    case PAGE_POISONED:
    case PAGE_CLEAN:
    case PAGE_FETCHING:
        return refresh_step(pager, page, list);
    case PAGE_BUSY:
    case PAGE_CLEANING:
    case PAGE_DROPPING:
        return false;
    }
    return true;
}

void range_give_up(struct pager *pager, uint32_t first, uint32_t n)
{
    drop_range(pager, first, n, give_up_step, 0);
}
