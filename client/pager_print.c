/* pager_print.c - what a page was when it became dirty, in an eighth of its size
 *
 * To send only the lines that changed, a page must be compared with what it was. A copy (a "twin") doubles
 * the memory of a dirty page; so only a few pages could have one, and the rest would be written back whole. A
 * fingerprint of 8 bytes for each line costs an eighth, so every page has its own.
 *
 * Two different lines have the same fingerprint with a probability of at most 2^-64, whatever the lines are,
 * since the hash is strongly universal and its key is random, private to the mapping, and never shown: this
 * is the multilinear family of Lemire and Kaser ("Strongly universal string hashing is fast", 2014), modulo
 * 2^128 with the upper half as the result. A missed change is thus about as likely as a forged record of the
 * session. It is two multiplications for each 8 bytes.
 */
#include "pager_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "error.h"

#define WORDS (LINE_BYTES / 8)

int print_init(struct pager *pager)
{
    if (getrandom(pager->print_key, sizeof(pager->print_key), 0) != sizeof(pager->print_key))
        return fail(-errno, "no random numbers from the kernel: %s", strerror(errno));
    for (uint32_t i = 0; i < pager->print_count; i++)
        pager->print_free[i] = pager->print_count - i;
    pager->print_free_count = pager->print_count;
    return 0;
}

/* Pages of a mapping are read here while they are write-protected: that no thread writes then is the kernel's
 * doing, of which ThreadSanitizer knows nothing. */
#define PROTECTED_BY_KERNEL __attribute__((no_sanitize("thread")))

typedef uint64_t word __attribute__((may_alias)); /* whatever the program keeps there */

PROTECTED_BY_KERNEL static uint64_t print_of(const unsigned __int128 key[WORDS + 1], const uint8_t *line)
{
    const word *words = (const void *)line;
    unsigned __int128 sum = key[WORDS];

    for (unsigned i = 0; i < WORDS; i++)
        sum += key[i] * words[i];
    return (uint64_t)(sum >> 64);
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
    return &pager->prints[print - 1];
}

void print_set(struct pager *pager, uint32_t print, const uint8_t *page)
{
    for (unsigned i = 0; i < PAGE_LINES; i++)
        at(pager, print)->lines[i] = print_of(pager->print_key, page + i * LINE_BYTES);
    at(pager, print)->force = 0;
}

/* There are as many as pages; only where a fork has let in a few pages too many there may be none. */
uint32_t print_take(struct pager *pager, const uint8_t *page)
{
    uint32_t print = PRINT_NONE;

    spin_lock(&pager->print_lock);
    if (pager->print_free_count)
        print = pager->print_free[--pager->print_free_count];
    spin_unlock(&pager->print_lock);
    if (print != PRINT_NONE)
        print_set(pager, print, page);
    return print;
}

void print_give(struct pager *pager, uint32_t print)
{
    if (print == PRINT_NONE || print == PRINT_ZERO)
        return;
    spin_lock(&pager->print_lock);
    CHECK(pager->print_free_count < pager->print_count);
    pager->print_free[pager->print_free_count++] = print;
    spin_unlock(&pager->print_lock);
}

void print_force(struct pager *pager, uint32_t print, uint64_t lines)
{
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

uint64_t print_changed(struct pager *pager, uint32_t print, const uint8_t *page)
{
    uint64_t changed = 0;

    if (print == PRINT_NONE)
        return UINT64_MAX;
    if (print == PRINT_ZERO) {
        for (unsigned i = 0; i < PAGE_LINES; i++)
            changed |= (uint64_t)!is_zero(page + i * LINE_BYTES) << i;
        return changed;
    }
    for (unsigned i = 0; i < PAGE_LINES; i++)
        if (print_of(pager->print_key, page + i * LINE_BYTES) != at(pager, print)->lines[i])
            changed |= 1ull << i;
    return changed | at(pager, print)->force;
}
