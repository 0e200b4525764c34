/* sim_kernel.c - see sim_kernel.h, and the comments in client/pager_internal.h on the functions replaced here
 */
#include "sim_kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "broken.h"
#include "pager_internal.h"
#include "sim.h"

#define RANGES_MAX 4096

enum { PRESENT = 1, PROTECTED = 2, POISONED = 4 };

struct range {
    uint8_t *base;
    uint32_t pages;
    uint8_t *bits;
    struct kernel_watcher watcher;
};

static struct range ranges[RANGES_MAX];
static unsigned range_count;

static struct range *find(const void *base)
{
    for (unsigned i = range_count; i-- > 0;)
        if (ranges[i].base == base)
            return &ranges[i];
    CHECK(!"a range that was never registered");
    return NULL;
}

void kernel_watch(const void *base, const struct kernel_watcher *watcher)
{
    find(base)->watcher = *watcher;
}

int kernel_access(void *address, bool write)
{
    struct pager *pager = pager_find(address);
    uint32_t page = (uint32_t)(((uint8_t *)address - pager->base) / PAGE_BYTES);
    const uint8_t *bits = &find(pager->base)->bits[page];

    for (;;) {
        uint8_t now = *bits;
        int error;

        if (now & POISONED)
            return -EFAULT;
        if ((now & PRESENT) && !(write && (now & PROTECTED)))
            return 0;
        sim_step(); /* into the handler */
        error = fault_handle(pager, address, write, !(now & PRESENT));
        sim_step(); /* and back */
        if (error)
            return error;
    }
}

/* ---- in the place of pager_uffd.c ---- */

int uffd_open(enum cxe_fault_mode mode, int *fd_out, bool *has_poison_out)
{
    (void)mode;
    *fd_out = open("/dev/null", O_RDWR | O_CLOEXEC); /* to have a number */
    *has_poison_out = true;
    return *fd_out < 0 ? -errno : 0;
}

int uffd_register(int fd, void *base, uint64_t bytes)
{
    struct range *range = &ranges[range_count];

    (void)fd;
    CHECK(range_count < RANGES_MAX);
    range_count++;
    *range = (struct range){.base = base, .pages = (uint32_t)(bytes / PAGE_BYTES)};
    range->bits = calloc(range->pages, 1);
    return range->bits ? 0 : -ENOMEM;
}

int uffd_install(struct pager *pager, uint32_t page, const uint8_t *data, uint32_t count, bool protect,
                 uint32_t *done_out)
{
    struct range *range = find(pager->base);

    sim_step();
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *bits = &range->bits[page + i];

        if (i > 0 && count > 1)
            sim_step();
        if (*bits & PRESENT)
            continue; /* EEXIST */
        memcpy(page_address(pager, page + i), data + (size_t)i * PAGE_BYTES, PAGE_BYTES);
        *bits = PRESENT | (protect ? PROTECTED : 0);
        if (range->watcher.installed)
            range->watcher.installed(range->watcher.context, page + i);
    }
    *done_out = count;
    sim_step();
    return 0;
}

int uffd_protect(struct pager *pager, uint32_t page, uint32_t count, bool protect)
{
    uint8_t *bits = find(pager->base)->bits;

    sim_step();
    for (uint32_t i = page; i < page + count; i++)
        if (bits[i] & PRESENT)
            bits[i] = PRESENT | (protect ? PROTECTED : 0);
    sim_step();
    return 0;
}

/* Who fetches a page in vain loses nothing: it had left long before. */
int uffd_poison(struct pager *pager, uint32_t page)
{
    struct range *range = find(pager->base);
    bool fetching = page_state(load_relaxed(&pager->words[page])) == PAGE_FETCHING;

    sim_step();
    if (range->bits[page] & PRESENT)
        return -EEXIST;
    range->bits[page] = POISONED;
    if (!fetching && range->watcher.lost)
        range->watcher.lost(range->watcher.context, page);
    sim_step();
    return 0;
}

void uffd_unpoison(struct pager *pager, uint32_t page)
{
    uffd_drop(pager, &page, 1);
}

void uffd_wake(struct pager *pager, uint32_t page)
{
    (void)pager;
    (void)page;
}

/* The memory is filled with what no program wrote, so that a look without asking would show. */
void uffd_drop(struct pager *pager, const uint32_t *pages, uint32_t count)
{
    uint8_t *bits = find(pager->base)->bits;

    sim_step();
    for (uint32_t i = 0; i < count; i++) {
        if (broken_page_stays())
            continue;
        bits[pages[i]] = 0;
        memset(page_address(pager, pages[i]), 0xee, PAGE_BYTES);
    }
    sim_step();
}

bool uffd_vector_advice_works(void)
{
    return true;
}

/* Nor may a look at memory that was given back. */
void memory_drop(struct pager *pager, uint8_t *base, const uint32_t *pages, uint32_t count)
{
    (void)pager;
    for (uint32_t i = 0; i < count; i++)
        memset(base + (uint64_t)pages[i] * PAGE_BYTES, 0xee, PAGE_BYTES);
}

bool uffd_page_present(struct pager *pager, uint32_t page)
{
    return find(pager->base)->bits[page] & PRESENT;
}
