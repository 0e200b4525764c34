/* test_print.c - fingerprints take room of the cache while there are any, and no longer */
#include <criterion/criterion.h>

#include <string.h>

#include "fixture.h"
#include "least.h"
#include "pager_internal.h"

#define PLACES (CXE_LOCAL_BYTES_MIN / PAGE)

static uint8_t *start(struct cxe_region **region_out)
{
    const struct cxe_map_options options = {.flags = CXE_MAP_NO_PREFETCH | CXE_MAP_NO_CLEANER};

    *region_out = fake_start(MIB);
    return map_region(*region_out, CXE_LOCAL_BYTES_MIN, options);
}

static uint32_t shelves_of(const uint8_t *memory)
{
    const struct pager *pager = pager_find(memory);

    return pager->shelf_count - pager->shelves_free_count;
}

Test(print, nothing_is_kept_of_pages_that_are_only_read)
{
    struct cxe_region *region;
    uint8_t *memory = start(&region);
    uint64_t most_bytes = 0;

    for (unsigned i = 0; i < MIB / PAGE; i++) {
        cr_assert_eq(memory[i * PAGE], fake_byte(i * PAGE));
        cr_assert_eq(shelves_of(memory), 0);
        most_bytes = most(most_bytes, info_of(memory).resident_bytes);
    }
    cr_assert_geq(most_bytes, (PLACES - pager_find(memory)->low_pages) * PAGE);
    finish(region, memory);
}

Test(print, seven_pages_share_a_shelf_and_the_last_takes_it_down)
{
    struct cxe_region *region;
    uint8_t *memory = start(&region);

    for (unsigned i = 0; i < 2 * SHELF_PRINTS; i++) {
        memory[i * PAGE + 70] = 1;
        cr_assert_eq(shelves_of(memory), i / SHELF_PRINTS + 1);
    }
    check_valid(memory);
    for (unsigned i = 0; i < 2 * SHELF_PRINTS; i += 2) /* places on both */
        cr_assert_eq(cxe_sync(memory + i * PAGE, PAGE), 0);
    cr_assert_eq(shelves_of(memory), 2);
    for (unsigned i = 0; i < 2 * SHELF_PRINTS; i += 2) /* and they are filled first */
        memory[i * PAGE + 70] = 2;
    cr_assert_eq(shelves_of(memory), 2);
    check_valid(memory);
    cr_assert_eq(cxe_sync(memory, MIB), 0);
    cr_assert_eq(shelves_of(memory), 0);
    check_valid(memory);
    finish(region, memory);
}

/* Pages that were fetched to be stored to, and were not, are not sent; nor is more than the line of those
 * that were, however little room there is. */
Test(print, only_lines_that_were_stored_to_are_ever_sent)
{
    const struct cxe_map_options options = {.flags = CXE_MAP_NO_CLEANER};
    struct cxe_region *region = fake_start(8 * MIB);
    uint8_t *memory = map_region(region, 512 * PAGE, options);
    unsigned stores = 0;

    for (unsigned begin = 0; begin + 300 <= 8 * MIB / PAGE; begin += 400)
        for (unsigned i = begin; i < begin + 300; i++, stores++)
            memory[i * PAGE + 70]++;
    check_valid(memory);
    cr_assert_eq(cxe_sync(memory, 8 * MIB), 0);
    cr_assert_eq(info_of(memory).written_lines, stores);
    finish(region, memory);
}

Test(print, where_every_page_is_changed_an_eighth_is_shelves)
{
    struct cxe_region *region;
    uint8_t *memory = start(&region);

    for (unsigned i = 0; i < MIB / PAGE; i++) {
        memory[i * PAGE + 70] = (uint8_t)i;
        cr_assert_leq(shelves_of(memory), PLACES / SHELF_PRINTS + 1);
    }
    check_valid(memory);
    cr_assert_eq(cxe_sync(memory, MIB), 0);
    for (unsigned i = 0; i < MIB / PAGE; i++)
        cr_assert_eq(memory[i * PAGE + 70], (uint8_t)i);
    finish(region, memory);
}

/* ---- a new region, which nobody else uses ---- */

static uint8_t *start_new(struct cxe_region **region_out)
{
    const struct cxe_map_options options = {.flags = CXE_MAP_NO_PREFETCH};

    *region_out = fake_start(4 * MIB);
    memset(fake_memory(*region_out), 0, 4 * MIB);
    return map_zeros_under(*region_out, CXE_LOCAL_BYTES_MIN, options);
}

Test(print, what_fits_stays_here_however_often_it_is_changed)
{
    struct cxe_region *region;
    uint8_t *memory = start_new(&region);

    for (unsigned round = 1; round < 50; round++)
        for (unsigned i = 0; i < PLACES; i++) {
            memory[i * PAGE + 70]++;
            cr_assert_eq(memory[i * PAGE + 70], round);
        }
    cr_assert_eq(fake->reads, 0);
    cr_assert_eq(fake->written_lines, 0);
    cr_assert_eq(info_of(memory).dirty_bytes, PLACES * PAGE);
    check_valid(memory);
    finish(region, memory);
}

/* It was too much, and is not any more: what is left comes to stay. */
Test(print, what_fits_again_stays_again)
{
    struct cxe_region *region;
    uint8_t *memory = start_new(&region);
    uint64_t reads;

    for (unsigned i = 0; i < 2 * 4 * MIB / PAGE; i++)
        memory[i % (4 * MIB / PAGE) * PAGE + 70] = 1;
    cr_assert_gt(shelves_of(memory), 0);
    cr_assert_eq(pager_discard(memory + PLACES * PAGE, 4 * MIB - PLACES * PAGE), 0);
    for (unsigned round = 0; round < 4; round++) {
        reads = fake->reads;
        for (unsigned i = 0; i < PLACES; i++)
            cr_assert_eq(memory[i * PAGE + 70]++, round + 1);
    }
    cr_assert_eq(fake->reads, reads, "the last round had all of it here");
    cr_assert_eq(shelves_of(memory), 0);
    check_valid(memory);
    finish(region, memory);
}

/* Up to twice what fits, changed pages are written whole: an eighth more of them are here. Beyond that it is
 * better to send fewer lines. */
Test(print, far_more_than_fits_has_fingerprints)
{
    struct cxe_region *region;
    uint8_t *memory = start_new(&region);

    for (unsigned round = 1; round < 3; round++)
        for (unsigned i = 0; i < 2 * PLACES; i++) {
            memory[i * PAGE + 70]++;
            cr_assert_eq(shelves_of(memory), 0);
        }
    for (unsigned i = 0; i < 4 * MIB / PAGE; i++)
        memory[i * PAGE + 70]++;
    cr_assert_eq(cxe_sync(memory, 4 * MIB), 0);
    fake->written_lines = 0;
    for (unsigned i = 0; i < 4 * MIB / PAGE; i++)
        memory[i * PAGE + 70]++;
    cr_assert_gt(shelves_of(memory), 0);
    cr_assert_eq(cxe_sync(memory, 4 * MIB), 0);
    cr_assert_eq(fake->written_lines, 4 * MIB / PAGE);
    check_valid(memory);
    finish(region, memory);
}

/* Pages of zeros that were only read have places, too: with them not all fits. */
Test(print, zeros_that_are_read_count)
{
    struct cxe_region *region;
    uint8_t *memory = start_new(&region);
    const struct pager *pager = pager_find(memory);
    unsigned spared = 0;

    for (unsigned i = 0; i < PLACES / 2; i++)
        memory[i * PAGE + 70] = 1;
    cr_assert_eq(evict_spare_pages(pager), 0);
    for (unsigned i = 0; i < PLACES; i++)
        cr_assert_eq(memory[i * PAGE], 0);
    cr_assert_eq(evict_spare_pages(pager), 0);
    for (unsigned i = 0; i < 4 * MIB / PAGE; i++) {
        cr_assert_eq(memory[i * PAGE], 0);
        spared += evict_spare_pages(pager) > 0;
    }
    cr_assert_gt(spared, 0);
    check_valid(memory);
    for (unsigned i = 0; i < PLACES / 2; i++)
        cr_assert_eq(memory[i * PAGE + 70], 1);
    finish(region, memory);
}
