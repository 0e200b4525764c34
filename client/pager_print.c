/* pager_print.c - what a page was when it became dirty, in an eighth of its size
 *
 * To send only the lines that changed, a page must be compared with what it was. A copy (a "twin") doubles
 * the memory of a dirty page; so only a few pages could have one, and the rest would be written back whole. A
 * fingerprint of 8 bytes for each line costs an eighth, so every page can have its own, where that is worth
 * it (print_needed). They are kept on shelves: a shelf takes the place of a page in the cache, for as long as
 * one of its seven sets is in use. So a program that only reads has the whole cache for its pages.
 *
 * Two different lines have the same fingerprint with a probability of about 2^-64: it is XXH3 with a secret
 * that is random, private to the mapping, and never shown, so that nobody can look for lines that share one.
 * A missed change is thus about as likely as a forged record of the session.
 */
#include "pager_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#ifndef __SANITIZE_THREAD__ /* which must not see it read a page: PROTECTED_BY_KERNEL below */
#define XXH_INLINE_ALL
#endif
#include <xxhash.h>

#include "error.h"
#include "least.h"

#define WORDS (LINE_BYTES / 8)

static_assert(PRINT_SECRET_BYTES >= XXH3_SECRET_SIZE_MIN, "the secret of the fingerprints");

int print_init(struct pager *pager)
{
    if (getrandom(pager->print_secret, sizeof(pager->print_secret), 0) != sizeof(pager->print_secret))
        return fail(-errno, "no random numbers from the kernel: %s", strerror(errno));
    for (uint32_t i = 0; i < pager->shelf_count; i++)
        pager->shelves_free[i] = pager->shelf_count - 1 - i;
    pager->shelves_free_count = pager->shelf_count;
    return 0;
}

/* ---- shelves; under print_lock ---- */

#define SHELF_FULL ((1u << SHELF_PRINTS) - 1)

static void list_shelf(struct pager *pager, uint32_t number)
{
    struct shelf *shelf = &pager->shelves[number];

    shelf->prev = 0;
    shelf->next = pager->shelf_open;
    if (shelf->next)
        pager->shelves[shelf->next - 1].prev = number + 1;
    pager->shelf_open = number + 1;
}

static void unlist_shelf(struct pager *pager, uint32_t number)
{
    struct shelf *shelf = &pager->shelves[number];

    if (shelf->next)
        pager->shelves[shelf->next - 1].prev = shelf->prev;
    if (shelf->prev)
        pager->shelves[shelf->prev - 1].next = shelf->next;
    else
        pager->shelf_open = shelf->next;
}

/* Another shelf, in a place of the cache. */
static void open_shelf(struct pager *pager, bool by_force)
{
    if (pager->shelves_warm_count) {
        list_shelf(pager, pager->shelves_warm[--pager->shelves_warm_count]);
        return;
    }
    if (!pager->shelves_free_count)
        return;
    if (!evict_reserve_try(pager, 0)) {
        if (!by_force)
            return;
        evict_overdraw(pager);
    }
    list_shelf(pager, pager->shelves_free[--pager->shelves_free_count]);
}

static uint32_t take_from(struct pager *pager, uint32_t number)
{
    struct shelf *shelf = &pager->shelves[number];
    uint32_t i = (uint32_t)__builtin_ctz(~shelf->used);

    shelf->used |= 1u << i;
    if (shelf->used == SHELF_FULL)
        unlist_shelf(pager, number);
    return number * (uint32_t)SHELF_PRINTS + i + 1;
}

static void give_to(struct pager *pager, uint32_t number, uint32_t i)
{
    struct shelf *shelf = &pager->shelves[number];

    CHECK(shelf->used & 1u << i);
    if (shelf->used == SHELF_FULL)
        list_shelf(pager, number);
    shelf->used &= ~(1u << i);
    if (shelf->used)
        return;
    unlist_shelf(pager, number);
    pager->shelves_warm[pager->shelves_warm_count++] = number;
}

/* Of more empty shelves than may keep their places takes some out. Returns how many. */
static uint32_t take_empty(struct pager *pager, uint32_t most, uint32_t numbers[BATCH_PAGES])
{
    uint32_t n;

    if (pager->shelves_warm_count <= most)
        return 0;
    n = (uint32_t)least(BATCH_PAGES, pager->shelves_warm_count);
    pager->shelves_warm_count -= n;
    memcpy(numbers, pager->shelves_warm + pager->shelves_warm_count, n * sizeof(*numbers));
    return n;
}

/* The memory first: the next one to take the shelf writes to it. */
static void close_shelves(struct pager *pager, uint32_t *numbers, uint32_t n)
{
    pages_sort(numbers, n);
    memory_drop(pager, pager->prints, numbers, n);
    spin_lock(&pager->print_lock);
    memcpy(pager->shelves_free + pager->shelves_free_count, numbers, n * sizeof(*numbers));
    pager->shelves_free_count += n;
    spin_unlock(&pager->print_lock);
    evict_unreserve(pager, n);
}

/* ---- fingerprints ---- */

/* Pages of a mapping are read here while they are write-protected: that no thread writes then is the kernel's
 * doing, of which ThreadSanitizer knows nothing. */
#define PROTECTED_BY_KERNEL __attribute__((no_sanitize("thread")))

typedef uint64_t word __attribute__((may_alias)); /* whatever the program keeps there */

static uint64_t print_of(const struct pager *pager, const uint8_t *line)
{
    return XXH3_64bits_withSecret(line, LINE_BYTES, pager->print_secret, sizeof(pager->print_secret));
}

#ifdef __SANITIZE_THREAD__ /* which looks into memcpy, too */
PROTECTED_BY_KERNEL static void copy_words(word *to, const word *from)
{
    for (unsigned i = 0; i < PAGE_BYTES / sizeof(*to); i++)
        to[i] = from[i];
}
#endif

void page_copy(uint8_t *to, const uint8_t *page)
{
#ifdef __SANITIZE_THREAD__
    copy_words((void *)to, (const void *)page);
#else
    memcpy(to, page, PAGE_BYTES);
#endif
}

static struct print *at(struct pager *pager, uint32_t print)
{
    uint8_t *shelf = pager->prints + (uint64_t)((print - 1) / SHELF_PRINTS) * PAGE_BYTES;

    return (struct print *)(void *)shelf + (print - 1) % SHELF_PRINTS;
}

void print_set(struct pager *pager, uint32_t print, const uint8_t *page)
{
    if (print == PRINT_NONE)
        return;
    for (unsigned i = 0; i < PAGE_LINES; i++)
        at(pager, print)->lines[i] = print_of(pager, page + i * LINE_BYTES);
    at(pager, print)->force = 0;
}

uint32_t print_take(struct pager *pager, bool by_force)
{
    uint32_t print = PRINT_NONE;

    spin_lock(&pager->print_lock);
    if (!pager->shelf_open)
        open_shelf(pager, by_force);
    if (pager->shelf_open)
        print = take_from(pager, pager->shelf_open - 1);
    spin_unlock(&pager->print_lock);
    return print;
}

/* With print_lock held, which it lets go of: if there are more than `most` empty shelves, some go. */
static uint32_t unlock_and_close(struct pager *pager, uint32_t most)
{
    uint32_t empty[BATCH_PAGES], n = take_empty(pager, most, empty);

    spin_unlock(&pager->print_lock);
    if (n)
        close_shelves(pager, empty, n);
    return n;
}

void print_give(struct pager *pager, uint32_t print)
{
    if (print == PRINT_NONE)
        return;
    spin_lock(&pager->print_lock);
    give_to(pager, (print - 1) / (uint32_t)SHELF_PRINTS, (print - 1) % (uint32_t)SHELF_PRINTS);
    unlock_and_close(pager, pager->shelves_warm_most);
}

uint32_t print_close_empty(struct pager *pager)
{
    spin_lock(&pager->print_lock);
    return unlock_and_close(pager, 0);
}

void print_force(struct pager *pager, uint32_t print, uint64_t lines)
{
    if (print != PRINT_NONE)
        at(pager, print)->force |= lines;
}

static bool is_zero(const uint8_t *line)
{
    const word *words = (const void *)line;
    uint64_t any = 0;

    for (unsigned i = 0; i < WORDS; i++)
        any |= words[i];
    return !any;
}

uint64_t lines_not_zero(const uint8_t *page)
{
    uint64_t found = 0;

    for (unsigned i = 0; i < PAGE_LINES; i++)
        found |= (uint64_t)!is_zero(page + i * LINE_BYTES) << i;
    return found;
}

uint64_t print_changed(struct pager *pager, uint32_t print, const uint8_t *page)
{
    uint64_t changed = 0;

    if (print == PRINT_NONE)
        return UINT64_MAX;
    for (unsigned i = 0; i < PAGE_LINES; i++)
        if (print_of(pager, page + i * LINE_BYTES) != at(pager, print)->lines[i])
            changed |= 1ull << i;
    return changed | at(pager, print)->force;
}
