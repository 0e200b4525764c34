/* directory_entries.c - the directory's memory: heads for all pages, entries for those that are cached */
#include "directory_internal.h"

#include <errno.h>
#include <sys/mman.h>

#include "check.h"

#define SLAB_STEP_BYTES 65536

static size_t heads_bytes(const struct entries *entries)
{
    return (entries->pages + GROUP_PAGES - 1) / GROUP_PAGES * sizeof(entries->heads[0]);
}

static size_t slab_bytes(const struct entries *entries)
{
    size_t bytes = entries->pages * sizeof(struct entry);

    return (bytes + SLAB_STEP_BYTES - 1) / SLAB_STEP_BYTES * SLAB_STEP_BYTES;
}

int entries_open(struct entries *entries, uint64_t pages)
{
    *entries = (struct entries){.pages = pages};
    entries->heads = mmap(NULL, heads_bytes(entries), PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (entries->heads == MAP_FAILED)
        return -ENOMEM;
    entries->slab = mmap(NULL, slab_bytes(entries), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (entries->slab != MAP_FAILED)
        return 0;
    munmap(entries->heads, heads_bytes(entries));
    return -ENOMEM;
}

void entries_close(struct entries *entries)
{
    munmap(entries->slab, slab_bytes(entries));
    munmap(entries->heads, heads_bytes(entries));
}

uint64_t entry_word(const struct entry *entry)
{
    return entry->word[0] | (uint64_t)entry->word[1] << 32;
}

void entry_set(struct entry *entry, uint64_t word)
{
    entry->word[0] = (uint32_t)word;
    entry->word[1] = (uint32_t)(word >> 32);
}

/* Where the number of the page's entry stands; 0 stands there if it has none. */
static uint32_t *find_link(const struct entries *entries, uint64_t page)
{
    uint32_t *link = &entries->heads[page / GROUP_PAGES];

    while (*link && word_tag(entry_word(&entries->slab[*link - 1])) != page % GROUP_PAGES)
        link = &entries->slab[*link - 1].next;
    return link;
}

struct entry *entries_find(const struct entries *entries, uint64_t page)
{
    uint32_t number = *find_link(entries, page);

    return number ? &entries->slab[number - 1] : NULL;
}

/* The slab never moves: its address space is there, and becomes memory as it is needed. */
static int slab_grow(struct entries *entries)
{
    if (mprotect((char *)entries->slab + entries->usable_bytes, SLAB_STEP_BYTES, PROT_READ | PROT_WRITE) < 0)
        return -ENOMEM;
    entries->usable_bytes += SLAB_STEP_BYTES;
    return 0;
}

static int entry_alloc(struct entries *entries, uint32_t *number_out)
{
    if (entries->freed) {
        *number_out = entries->freed;
        entries->freed = entries->slab[*number_out - 1].next;
        return 0;
    }
    if ((entries->used + 1) * sizeof(struct entry) > entries->usable_bytes && slab_grow(entries) < 0)
        return -ENOMEM;
    *number_out = ++entries->used;
    return 0;
}

int entries_add(struct entries *entries, uint64_t page, uint64_t word)
{
    uint32_t *head = &entries->heads[page / GROUP_PAGES], number;
    struct entry *entry;

    CHECK(word_tag(word) == page % GROUP_PAGES);
    if (entry_alloc(entries, &number) < 0)
        return -ENOMEM;
    entry = &entries->slab[number - 1];
    entry_set(entry, word);
    entry->next = *head;
    *head = number;
    entries->count++;
    return 0;
}

void entries_remove(struct entries *entries, uint64_t page)
{
    uint32_t *link = find_link(entries, page), number = *link;
    struct entry *entry;

    CHECK(number);
    entry = &entries->slab[number - 1];
    *link = entry->next;
    entry->next = entries->freed;
    entries->freed = number;
    if (--entries->count == 0) {
        /* A slab that was large goes back to the kernel; a small one is worth less than the call. */
        if (entries->used > SLAB_STEP_BYTES / sizeof(struct entry))
            madvise(entries->slab, slab_bytes(entries), MADV_DONTNEED);
        entries->used = entries->freed = 0;
    }
}

void entries_forget(struct entries *entries)
{
    /* Private anonymous memory reads as zeros afterwards. Locked memory cannot be given back so. */
    if (madvise(entries->heads, heads_bytes(entries), MADV_DONTNEED) < 0)
        return;
    madvise(entries->slab, slab_bytes(entries), MADV_DONTNEED);
    entries->used = entries->freed = entries->count = 0;
}

uint64_t entries_bytes(const struct entries *entries)
{
    return heads_bytes(entries) + entries->used * sizeof(struct entry);
}
