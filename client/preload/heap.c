/* heap.c - see heap.h */
#include "heap.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "atomic.h"
#include "check.h"
#include "stub.h"

#define CLASS_MIN   5  /* 32 bytes */
#define CLASS_COUNT 29 /* up to all of it */
#define PAGES       (HEAP_BYTES / PAGE_BYTES)

static_assert(1ull << (CLASS_COUNT - 1) == HEAP_BYTES, "the largest block is the heap");

struct free_block {
    struct free_block *next;
};

uintptr_t heap_base;

static uint32_t taken; /* the lock; all that follows is under it */
static struct free_block *lists[CLASS_COUNT];
static uint8_t class_of[PAGES]; /* of the blocks in a page, or of the one that begins there */
static size_t next_page;        /* no page from here on was used yet */

void heap_lock(void)
{
    uint32_t expected = 0;

    while (!cas_acquire(&taken, &expected, 1u)) {
        expected = 0;
        sched_yield();
    }
}

void heap_unlock(void)
{
    store_release(&taken, 0u);
}

static unsigned class_for(size_t bytes)
{
    unsigned class = CLASS_MIN;

    while (class < CLASS_COUNT && (size_t)1 << class < bytes)
        class ++;
    return class;
}

static bool reserve(void)
{
    long base;

    if (heap_base)
        return true;
    base = stub_call6(SYS_mmap, 0, HEAP_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base < 0)
        return false;
    heap_base = (uintptr_t)base;
    return true;
}

/* Fresh pages for a block of this class, or for many if it is smaller than a page. */
static char *cut_pages(unsigned class)
{
    size_t bytes = (size_t)1 << class;
    size_t count = bytes < PAGE_BYTES ? 1 : bytes / PAGE_BYTES;
    char *first;

    if (!reserve() || count > PAGES - next_page)
        return NULL;
    first = (char *)heap_base + next_page * PAGE_BYTES;
    class_of[next_page] = (uint8_t) class;
    next_page += count;
    return first;
}

static void put(unsigned class, void *memory)
{
    struct free_block *block = memory;

    block->next = lists[class];
    lists[class] = block;
}

static void refill(unsigned class)
{
    char *page = cut_pages(class);
    size_t step = (size_t)1 << class;

    if (!page)
        return;
    put(class, page);
    for (size_t at = step; at < PAGE_BYTES; at += step)
        put(class, page + at);
}

/* Blocks lie at multiples of their size, or of a page. */
void *heap_alloc(size_t bytes, size_t alignment)
{
    unsigned class = class_for(bytes > alignment ? bytes : alignment);
    struct free_block *block;

    if (class >= CLASS_COUNT || alignment > PAGE_BYTES)
        return NULL;
    heap_lock();
    if (!lists[class])
        refill(class);
    block = lists[class];
    if (block)
        lists[class] = block->next;
    heap_unlock();
    return block;
}

static unsigned class_at(const void *memory)
{
    unsigned class = class_of[((uintptr_t)memory - heap_base) / PAGE_BYTES];

    CHECK(class >= CLASS_MIN);
    return class;
}

void heap_free(void *memory)
{
    heap_lock();
    put(class_at(memory), memory);
    heap_unlock();
}

size_t heap_usable_bytes(const void *memory)
{
    return (size_t)1 << class_at(memory);
}
