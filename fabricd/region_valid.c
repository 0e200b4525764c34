/* region_valid.c - the invariants of regions, frames and accounts, as code */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "coherence.h"
#include "pool.h"
#include "quiesce.h"
#include "region_internal.h"

/* What the page tables say, to compare with what the ledgers say. */
struct tally {
    uint32_t *refs; /* of each frame, as in struct pool */
    uint64_t promised;
    uint64_t table_entries;
    uint32_t slots; /* alive or dying */
};

static bool entry_valid(const struct regions *regions, const struct region *region, uint32_t value,
                        struct tally *tally)
{
    bool clone = region_is_clone(region);
    uint32_t frame = value & ~ENTRY_SHARED;

    if (value == ENTRY_POISON)
        return clone;
    if (frame == 0 || frame > regions->pool->frames)
        return false;
    if (!clone && (tally->refs[frame] & POOL_CHARGED))
        return false; /* two promised regions in one family */
    tally->refs[frame] = (tally->refs[frame] + 1) | (clone ? 0 : POOL_CHARGED);
    return (value & ENTRY_SHARED) || pool_ref_count(regions->pool->refs[frame]) == 1;
}

/* A region's pages from `first` on (a dying one's are gone before). */
static bool table_valid(const struct regions *regions, const struct region *region, uint64_t first,
                        struct tally *tally)
{
    uint64_t resident = 0;

    for (uint64_t page = first; page < region->pages; page++) {
        uint32_t value = region->table[page];

        if (value != 0 && !entry_valid(regions, region, value, tally))
            return false;
        resident += value != 0 && value != ENTRY_POISON;
    }
    if (!region_is_clone(region))
        tally->promised += region->pages - first;
    if (region->table != region->few)
        tally->table_entries += region->pages;
    tally->slots++;
    return first > 0 || resident == region_record(regions, region)->resident_pages;
}

static bool region_valid(struct regions *regions, uint32_t index, struct account *sums)
{
    const struct region *region = &regions->slots[index];
    const struct record *record = &regions->records[index];

    if (region->generation != record->generation || (region->flags & REGION_FROZEN))
        return false;
    if (record->name[0] != '\0' && *regions_name_link(regions, region->tenant, record->name) != index + 1)
        return false;
    if (!(regions->accounts[region->tenant].slots[index / 64] >> index % 64 & 1))
        return false;
    if (regions->records[record->family_next].family_prev != index)
        return false;
    if (record->coherence ? !coherence_valid(record->coherence) : (region->flags & REGION_COHERENT))
        return false;
    sums[region->tenant].used_pages += region->pages;
    sums[region->tenant].regions++;
    return true;
}

/* The frames in use are those that entries name, and what no promised region names is promised by itself. */
static bool frames_valid(const struct pool *pool, struct tally *tally)
{
    for (uint32_t frame = 1; frame <= pool->frames; frame++) {
        if (pool->refs[frame] != tally->refs[frame])
            return false;
        if (tally->refs[frame] != 0 && !(tally->refs[frame] & POOL_CHARGED))
            tally->promised++;
    }
    return tally->promised == pool->promised;
}

static bool accounts_valid(const struct regions *regions, const struct account *sums)
{
    for (unsigned tenant = 0; tenant <= UINT16_MAX; tenant++)
        if (regions->accounts[tenant].used_pages != sums[tenant].used_pages ||
            regions->accounts[tenant].regions != sums[tenant].regions)
            return false;
    return true;
}

static uint32_t list_length(const struct regions *regions, const struct list *list)
{
    uint32_t length = 0;

    for (uint32_t i = list->head; i != NONE; i = regions->records[i].list_next)
        length++;
    return length;
}

static bool coherent_valid(const struct regions *regions, uint32_t *count_out)
{
    *count_out = 0;
    for (uint32_t i = regions->coherent, before = NONE; i != NONE; i = regions->records[i].coherent_next) {
        if (!(regions->slots[i].flags & REGION_COHERENT) || regions->slots[i].generation == 0 ||
            regions->records[i].coherent_prev != before)
            return false;
        before = i;
        ++*count_out;
    }
    return true;
}

static bool slots_valid(struct regions *regions, struct account *sums, struct tally *tally)
{
    for (uint32_t i = 0; i < regions->slots_used; i++) {
        const struct region *region = &regions->slots[i];

        if (region->generation == 0)
            continue;
        if (!region_valid(regions, i, sums) || !table_valid(regions, region, 0, tally))
            return false;
    }
    for (uint32_t i = regions->dying.head; i != NONE; i = regions->records[i].list_next)
        if (!table_valid(regions, &regions->slots[i], regions->records[i].torn_down, tally))
            return false;
    return true;
}

bool regions_valid(struct regions *regions)
{
    struct tally tally = {.refs = calloc(regions->pool->frames + 1ull, sizeof(uint32_t))};
    struct account *sums = calloc(UINT16_MAX + 1, sizeof(*sums));
    uint32_t coherent;
    bool valid;

    CHECK(tally.refs && sums);
    regions_lock(regions, QUIESCE_NO_WORKER);
    valid = slots_valid(regions, sums, &tally) && frames_valid(regions->pool, &tally) &&
            accounts_valid(regions, sums) && tally.table_entries == regions->table_entries &&
            tally.slots + list_length(regions, &regions->free) == regions->slots_used &&
            coherent_valid(regions, &coherent) &&
            regions->busy ==
                coherent + list_length(regions, &regions->dying) + list_length(regions, &regions->ephemeral);
    regions_unlock(regions);
    free(sums);
    free(tally.refs);
    return valid;
}
