/* mapped.c - see mapped.h */
#include "mapped.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "clock.h"
#include "connection.h"
#include "pager_internal.h"
#include "pager_snoop.h"
#include "sim_kernel.h"

/* What was done to a page since it came into memory. */
struct diary {
    uint64_t *numbers;
    uint32_t count, room;
};

struct mapped {
    unsigned client;
    uint64_t handle;
    uint8_t *base;
    uint64_t bytes;
    struct pager *pager;
    struct diary *diaries; /* of each page */
};

/* ---- diaries ---- */

static void note(struct diary *diary, uint64_t number)
{
    if (diary->count == diary->room) {
        diary->room = diary->room ? 2 * diary->room : 16;
        diary->numbers = realloc(diary->numbers, diary->room * sizeof(*diary->numbers));
        CHECK(diary->numbers);
    }
    diary->numbers[diary->count++] = number;
}

static void page_installed(void *context, uint32_t page)
{
    ((struct mapped *)context)->diaries[page].count = 0;
}

static void page_lost(void *context, uint32_t page)
{
    struct diary *diary = &((struct mapped *)context)->diaries[page];

    sim_note("page %u lost, with %u accesses", page, diary->count);
    oracle_lose(diary->numbers, diary->count);
    diary->count = 0;
}

void mapped_lost(struct mapped *mapped)
{
    for (uint32_t page = 0; page < mapped->bytes / PAGE_BYTES; page++)
        page_lost(mapped, page);
}

/* ---- open and close ---- */

int mapped_open(unsigned client, struct cxe_region *region, const struct cxe_map_options *options,
                struct mapped **mapped_out)
{
    struct mapped *mapped = calloc(1, sizeof(*mapped));
    struct kernel_watcher watcher = {page_installed, page_lost, mapped};
    void *address;
    int error = cxe_map(region, options, &address);

    CHECK(mapped);
    if (error) {
        free(mapped);
        return error;
    }
    mapped->client = client;
    mapped->handle = region->handle;
    mapped->base = address;
    mapped->bytes = cxe_region_bytes(region);
    mapped->pager = pager_find(address);
    mapped->diaries = calloc(mapped->bytes / PAGE_BYTES, sizeof(*mapped->diaries));
    CHECK(mapped->diaries);
    kernel_watch(address, &watcher);
    *mapped_out = mapped;
    return 0;
}

int mapped_close(struct mapped *mapped)
{
    int error = cxe_unmap(mapped->base);

    if (error)
        return error;
    for (uint32_t page = 0; page < mapped->bytes / PAGE_BYTES; page++)
        free(mapped->diaries[page].numbers);
    free(mapped->diaries);
    free(mapped);
    return 0;
}

/* ---- accesses ---- */

/* Is the lease over, by the client's own clock? Until the library finds that out, loads may show what was
 * there before; see cxe_map. */
static bool beyond_lease(const struct mapped *mapped)
{
    return mapped->pager->snooper && sim_clock_ns() >= mapped->pager->snooper->valid_until_ns;
}

/* The instruction; nobody runs meanwhile. */
static uint64_t execute(enum oracle_kind kind, uint64_t *word, uint64_t number, uint64_t expected,
                        uint64_t (*decode)(uint64_t word))
{
    uint64_t saw = decode(*word);

    if (kind == ORACLE_ADD)
        ++*word;
    else if (kind == ORACLE_WRITE || kind == ORACLE_SWAP || (kind == ORACLE_CAS && saw == expected))
        *word = number;
    return saw;
}

int mapped_run(struct mapped *mapped, enum oracle_kind kind, uint64_t offset, uint32_t place,
               uint64_t expected, uint64_t (*decode)(uint64_t word), uint64_t *saw_out)
{
    uint64_t number = oracle_begin(mapped->client, mapped->handle, place, kind, expected);
    uint8_t *address = mapped->base + offset;
    int error = kernel_access(address, kind != ORACLE_READ);

    if (error) {
        oracle_end(number, ORACLE_NOT_DONE, 0);
        return error;
    }
    *saw_out = execute(kind, (uint64_t *)(void *)address, number, expected, decode);
    oracle_end(number, ORACLE_DONE, *saw_out);
    note(&mapped->diaries[offset / PAGE_BYTES], number);
    if (beyond_lease(mapped))
        oracle_lose(&number, 1);
    sim_step();
    return 0;
}

int mapped_sync(struct mapped *mapped, uint64_t offset, uint64_t bytes)
{
    return cxe_sync(mapped->base + offset, bytes);
}

int mapped_advise(struct mapped *mapped, uint64_t offset, uint64_t bytes, enum cxe_advice advice)
{
    return cxe_advise(mapped->base + offset, bytes, advice);
}

int mapped_prefetch(struct mapped *mapped, uint64_t offset, uint64_t bytes)
{
    return cxe_prefetch(mapped->base + offset, bytes);
}

void mapped_check(struct mapped *mapped)
{
    const char *broken = pager_valid(mapped->pager);

    if (broken)
        sim_fail("the pager's invariant is broken: %s", broken);
}
