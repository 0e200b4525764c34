/* space.c - see space.h */
#include "space.h"

#include <errno.h>

#include "check.h"

#define WORD_PAGES 64

size_t space_words_bytes(size_t pages)
{
    return (pages + WORD_PAGES - 1) / WORD_PAGES * sizeof(uint64_t);
}

static size_t word_count(const struct space *space)
{
    return space_words_bytes(space->pages) / sizeof(uint64_t);
}

/* The bits of word `word` that lie in [first, end). */
static uint64_t word_mask(size_t word, size_t first, size_t end)
{
    size_t low = word * WORD_PAGES;
    uint64_t mask = UINT64_MAX;

    if (first > low)
        mask &= UINT64_MAX << (first - low);
    if (end < low + WORD_PAGES)
        mask &= UINT64_MAX >> (low + WORD_PAGES - end);
    return mask;
}

static void set_bits(struct space *space, size_t first, size_t end, bool taken)
{
    for (size_t word = first / WORD_PAGES; word * WORD_PAGES < end; word++) {
        uint64_t mask = word_mask(word, first, end);
        uint64_t old = space->words[word];

        space->words[word] = taken ? old | mask : old & ~mask;
        space->taken_pages -= (size_t)__builtin_popcountll(old & mask);
        space->taken_pages += taken ? (size_t)__builtin_popcountll(mask) : 0;
    }
}

/* The first page at or after `from` whose bit is `taken`; space->pages if there is none. */
static size_t find_bit(const struct space *space, size_t from, bool taken)
{
    size_t words = word_count(space);

    for (size_t word = from / WORD_PAGES; word < words; word++) {
        uint64_t bits = taken ? space->words[word] : ~space->words[word];

        bits &= word_mask(word, from, space->pages);
        if (bits)
            return word * WORD_PAGES + (size_t)__builtin_ctzll(bits);
    }
    return space->pages;
}

void space_init(struct space *space, uint64_t *words, size_t pages)
{
    *space = (struct space){.words = words, .pages = pages};
}

int space_take(struct space *space, size_t count, size_t *first_out)
{
    size_t first = find_bit(space, space->first_free_word * WORD_PAGES, false);

    space->first_free_word = first / WORD_PAGES;
    while (first < space->pages && count <= space->pages - first) {
        size_t end = find_bit(space, first, true);

        if (end - first >= count) {
            set_bits(space, first, first + count, true);
            *first_out = first;
            return 0;
        }
        first = find_bit(space, end, false);
    }
    return -ENOMEM;
}

int space_take_at(struct space *space, size_t first, size_t count)
{
    CHECK(count <= space->pages && first <= space->pages - count);
    if (find_bit(space, first, true) < first + count)
        return -EEXIST;
    set_bits(space, first, first + count, true);
    return 0;
}

void space_give(struct space *space, size_t first, size_t count)
{
    CHECK(count <= space->pages && first <= space->pages - count);
    set_bits(space, first, first + count, false);
    if (first / WORD_PAGES < space->first_free_word)
        space->first_free_word = first / WORD_PAGES;
}

bool space_taken(const struct space *space, size_t first, size_t count)
{
    CHECK(count <= space->pages && first <= space->pages - count);
    return find_bit(space, first, false) >= first + count;
}

bool space_valid(const struct space *space)
{
    size_t taken = 0;

    for (size_t word = 0; word < word_count(space); word++) {
        if (space->words[word] & ~word_mask(word, 0, space->pages))
            return false;
        if (word < space->first_free_word && space->words[word] != UINT64_MAX)
            return false;
        taken += (size_t)__builtin_popcountll(space->words[word]);
    }
    return taken == space->taken_pages;
}
