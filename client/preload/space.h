/* space.h - which pages of the pool's mapping are in use: what mmap and munmap need of an address space
 *
 * Pages, one bit each, in memory of its own: nothing here touches the pool. Not thread-safe.
 */
#ifndef CXE_PRELOAD_SPACE_H
#define CXE_PRELOAD_SPACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct space {
    uint64_t *words; /* bit set: the page is taken */
    size_t pages;
    size_t taken_pages;
    size_t first_free_word; /* no word before it has a free page */
};

/* Bytes of `words` for that many pages. */
size_t space_words_bytes(size_t pages);

/* `words` is zeroed memory of space_words_bytes(pages); the caller's. All pages are free. */
void space_init(struct space *space, uint64_t *words, size_t pages);

/* Takes `count` (> 0) free pages in a row, the lowest there are. -ENOMEM: nowhere so many in a row. */
int space_take(struct space *space, size_t count, size_t *first_out);

/* Takes these very pages. -EEXIST: one of them is taken; then none is. */
int space_take_at(struct space *space, size_t first, size_t count);

/* Frees pages; those that are free already stay so. */
void space_give(struct space *space, size_t first, size_t count);

/* True if all of them are taken. */
bool space_taken(const struct space *space, size_t first, size_t count);

/* The counters agree with the bits. For tests. */
bool space_valid(const struct space *space);

#endif
