/* pager_valid.c - the invariants of docs/PAGER.md as code, for tests */
#include "pager_internal.h"

#include <stdlib.h>
#include <string.h>

struct census {
    struct pager *pager;
    uint8_t *queued; /* how often each page stands in a queue */
    uint8_t *prints; /* how often each print is used */
    uint32_t resident, used, dirty, pins;
};

static const char *check_word(struct census *census, uint32_t page)
{
    struct pager *pager = census->pager;
    uint64_t word = load_acquire(&pager->words[page]);
    enum page_state state = page_state(word);
    uint32_t extra = page_extra(word);

    if (state == PAGE_BUSY || state == PAGE_CLEANING || state == PAGE_DROPPING || (word & PAGE_SENDING))
        return "I2: nobody is inside, so no page is in a passing state";
    if (state == PAGE_FETCHING && (!extra || pager->fetches[extra - 1].owner != FETCH_FLYING))
        return "I3: a page is FETCHING only for a bulk read in flight";
    if ((word & PAGE_ZERO) && state != PAGE_ABSENT && state != PAGE_CLEAN && state != PAGE_POISONED)
        return "I4: only an absent, a clean or a poisoned page is known to be zeros";
    if ((state == PAGE_CLEAN || state == PAGE_DIRTY) != uffd_page_present(pager, page) &&
        state != PAGE_POISONED)
        return "I5: a page is in memory if its state says so, and only then";
    if ((state == PAGE_CLEAN || state == PAGE_DIRTY) && census->queued[page] != 1)
        return "I6: a page in memory stands in one queue, once";
    if (!(word & PAGE_QUEUED) != !census->queued[page])
        return "I6: a page is marked as queued if it is";
    if (state == PAGE_DIRTY && extra != PRINT_NONE) {
        if (extra > pager->shelf_count * SHELF_PRINTS || census->prints[extra - 1]++)
            return "I7: a set of fingerprints has one page";
    }
    if ((word & PAGE_OWNED) && (!pager->snooper || (state != PAGE_CLEAN && state != PAGE_DIRTY)))
        return "I9: only a page in memory of a coherent mapping is owned";
    if (pager->snooper && state == PAGE_DIRTY && !(word & PAGE_OWNED))
        return "I9: a dirty page of a coherent mapping is owned";
    if (pager->snooper && (word & (PAGE_ZERO | PAGE_SERVER_ZERO | PAGE_PIN_MASK)))
        return "I10: of a coherent mapping no page is known to be zeros, and none is pinned";
    if ((word & PAGE_SNOOPED) && state != PAGE_FETCHING)
        return "I10: only what is on its way can be no longer true";
    census->resident += state != PAGE_ABSENT && state != PAGE_POISONED;
    census->used += page_used(word);
    census->dirty += state == PAGE_DIRTY;
    census->pins += (word & PAGE_PIN_MASK) >> PAGE_PIN_SHIFT;
    return NULL;
}

static void count_ring(struct census *census, const struct ring *ring)
{
    for (uint32_t i = 0; i < ring->count; i++)
        census->queued[ring->pages[(ring->head + i) & (ring->capacity - 1)]]++;
}

static const char *check_totals(struct census *census)
{
    struct pager *pager = census->pager;
    uint32_t shelves = pager->shelf_count - pager->shelves_free_count;

    for (uint32_t i = 0; i < pager->shelf_count * SHELF_PRINTS; i++)
        if (census->prints[i] != (pager->shelves[i / SHELF_PRINTS].used >> i % SHELF_PRINTS & 1))
            return "I7: every set of fingerprints is either free or some page's";
    if (pager->free_pages < 0 ||
        census->resident + shelves + (uint32_t)pager->free_pages != pager->cache_pages)
        return "I1: pages in memory, coming in or going out, shelves and free places make up the cache";
    if (census->used != pager->used_pages)
        return "I8: pages in use are counted";
    if (census->dirty != pager->dirty_pages)
        return "I8: dirty pages are counted";
    if (census->pins != pager->pinned_pages)
        return "I8: pins are counted";
    return NULL;
}

const char *pager_valid(struct pager *pager)
{
    struct census census = {.pager = pager};
    const char *broken = NULL;

    gate_close(&pager->gate);
    if (pager->snooper)
        snoop_pause(pager);
    census.queued = calloc(pager->page_count, 1);
    census.prints = calloc(pager->shelf_count * SHELF_PRINTS + 1, 1);
    if (!census.queued || !census.prints)
        broken = "no memory to check the invariants";
    if (!broken) {
        count_ring(&census, &pager->probation);
        count_ring(&census, &pager->hot);
    }
    for (uint32_t i = 0; !broken && i < pager->page_count; i++)
        broken = check_word(&census, i);
    if (!broken)
        broken = check_totals(&census);
    if (pager->snooper)
        snoop_resume(pager);
    gate_open(&pager->gate);
    free(census.queued);
    free(census.prints);
    return broken;
}
