/* allocate.c - see allocate.h */
#include "allocate.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "heap.h"
#include "limits.h"

#define INTERPOSED __attribute__((visibility("default")))

#define ALIGNMENT 16 /* of what malloc returns */

void *malloc(size_t bytes);
void *calloc(size_t count, size_t bytes);
void *realloc(void *memory, size_t bytes);
void free(void *memory);
int posix_memalign(void **memory_out, size_t alignment, size_t bytes);
void *aligned_alloc(size_t alignment, size_t bytes);
void *memalign(size_t alignment, size_t bytes);
size_t malloc_usable_size(void *memory);

/* The program's. */
static struct {
    void *(*malloc)(size_t);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    void (*free)(void *);
    int (*posix_memalign)(void **, size_t, size_t);
    void *(*aligned_alloc)(size_t, size_t);
    void *(*memalign)(size_t, size_t);
    size_t (*malloc_usable_size)(void *);
} next;

static _Thread_local unsigned inside;
static bool found;

void library_enter(void)
{
    inside++;
}

void library_leave(void)
{
    inside--;
}

static void find(const char *name, void *into)
{
    void *symbol = dlsym(RTLD_NEXT, name);

    memcpy(into, &symbol, sizeof(symbol));
}

/* At the first call, before there are threads. What dlsym itself allocates comes from the heap. */
static void find_all(void)
{
    library_enter();
    find("malloc", &next.malloc);
    find("calloc", &next.calloc);
    find("realloc", &next.realloc);
    find("free", &next.free);
    find("posix_memalign", &next.posix_memalign);
    find("aligned_alloc", &next.aligned_alloc);
    find("memalign", &next.memalign);
    find("malloc_usable_size", &next.malloc_usable_size);
    found = true;
    library_leave();
}

static bool is_library(void)
{
    if (__builtin_expect(inside != 0, 0))
        return true;
    if (__builtin_expect(!found, 0))
        find_all();
    return false;
}

static void *from_heap(size_t bytes, size_t alignment)
{
    void *memory = heap_alloc(bytes, alignment);

    if (!memory)
        errno = ENOMEM;
    return memory;
}

INTERPOSED void *malloc(size_t bytes)
{
    return is_library() ? from_heap(bytes, ALIGNMENT) : next.malloc(bytes);
}

INTERPOSED void *calloc(size_t count, size_t bytes)
{
    size_t total;
    void *memory;

    if (!is_library())
        return next.calloc(count, bytes);
    if (__builtin_mul_overflow(count, bytes, &total))
        total = SIZE_MAX;
    memory = from_heap(total, ALIGNMENT);
    return memory ? memset(memory, 0, total) : NULL;
}

INTERPOSED void free(void *memory)
{
    if (heap_owns(memory))
        heap_free(memory);
    else if (memory && (found || !is_library()))
        next.free(memory);
}

INTERPOSED void *realloc(void *memory, size_t bytes)
{
    size_t old_bytes;
    void *moved;

    if (!memory)
        return malloc(bytes);
    if (!heap_owns(memory))
        return next.realloc(memory, bytes);
    old_bytes = heap_usable_bytes(memory);
    if (bytes && bytes <= old_bytes)
        return memory;
    moved = bytes ? malloc(bytes) : NULL;
    if (moved)
        memcpy(moved, memory, old_bytes);
    if (moved || !bytes)
        heap_free(memory);
    return moved;
}

INTERPOSED int posix_memalign(void **memory_out, size_t alignment, size_t bytes)
{
    void *memory;

    if (!is_library())
        return next.posix_memalign(memory_out, alignment, bytes);
    if (alignment % sizeof(void *) || (alignment & (alignment - 1)) || alignment == 0)
        return EINVAL;
    memory = heap_alloc(bytes, alignment);
    if (!memory)
        return ENOMEM;
    *memory_out = memory;
    return 0;
}

INTERPOSED void *aligned_alloc(size_t alignment, size_t bytes)
{
    return is_library() ? from_heap(bytes, alignment) : next.aligned_alloc(alignment, bytes);
}

INTERPOSED void *memalign(size_t alignment, size_t bytes)
{
    return is_library() ? from_heap(bytes, alignment) : next.memalign(alignment, bytes);
}

INTERPOSED size_t malloc_usable_size(void *memory)
{
    if (heap_owns(memory))
        return heap_usable_bytes(memory);
    return is_library() ? 0 : next.malloc_usable_size(memory);
}
