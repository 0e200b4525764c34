/* pool_memory.h - for the programs that run under `cxe run` here: memory that is surely remote
 *
 * remote_alloc gives memory on the pool; remote_cold makes sure that none of it is local, so that the next
 * access by the kernel would fail.
 */
#ifndef POOL_MEMORY_H
#define POOL_MEMORY_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <unistd.h>
#include <sys/mman.h>

#define WINDOW_BASE  0x200000000000ull
#define WINDOW_BYTES (1ull << 44)

#define EXPECT(condition)                                                                                \
    do {                                                                                                 \
        if (!(condition)) {                                                                              \
            fprintf(stderr, "%s:%d: %s (errno: %s)\n", __FILE__, __LINE__, #condition, strerror(errno)); \
            _exit(1);                                                                                    \
        }                                                                                                \
    } while (0)

static inline int is_remote(const void *address)
{
    return (uintptr_t)address - WINDOW_BASE < WINDOW_BYTES;
}

static inline void remote_cold(void *memory, size_t bytes)
{
    uintptr_t first = (uintptr_t)memory & ~4095ul, end = ((uintptr_t)memory + bytes + 4095) & ~4095ul;

    EXPECT(madvise((void *)first, end - first, MADV_PAGEOUT) == 0);
}

static inline void *remote_alloc(size_t bytes)
{
    size_t room = bytes < 65536 ? 65536 : (bytes + 4095) & ~4095ul;
    void *memory = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    EXPECT(memory != MAP_FAILED);
    EXPECT(is_remote(memory));
    return memory;
}

/* A copy of some bytes, on the pool and nowhere else. */
static inline void *remote_copy(const void *bytes, size_t count)
{
    void *memory = remote_alloc(count);

    memcpy(memory, bytes, count);
    remote_cold(memory, count);
    return memory;
}

static inline char *remote_text(const char *text)
{
    return remote_copy(text, strlen(text) + 1);
}

#endif
