/* heap.h - a small allocator for what the client library and the libraries below it allocate
 *
 * Their memory must not be on the pool: whoever serves a fault would wait for himself. And between the
 * handlers of a fork the program's allocator is locked, while the child must connect. So what is allocated
 * inside the library comes from here, and is told apart by its address when it is freed (allocate.c).
 *
 * Powers of two, each with a list of free blocks; nothing is given back to the kernel.
 */
#ifndef CXE_PRELOAD_HEAP_H
#define CXE_PRELOAD_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HEAP_BYTES (256ull << 20)

extern uintptr_t heap_base; /* 0: nothing was allocated yet */

static inline bool heap_owns(const void *memory)
{
    return __builtin_expect(heap_base && (uintptr_t)memory - heap_base < HEAP_BYTES, 0);
}

/* `alignment` is a power of two, at most a page. NULL: there is no room. Any thread. */
void *heap_alloc(size_t bytes, size_t alignment);
void heap_free(void *memory);

/* At least what was asked for. */
size_t heap_usable_bytes(const void *memory);

/* Around fork. */
void heap_lock(void);
void heap_unlock(void);

#endif
