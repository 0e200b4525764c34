/* racy.h - copies that may race with writers; the only place where that is allowed
 *
 * A seqlock's reader copies data that a writer may be changing, then finds out from the version and copies
 * again. In C11 such a copy must be made of relaxed atomics between fences. Those keep the compiler from
 * using vectors, so release builds copy plainly: the fences on both sides are compiler barriers too, and what
 * a torn copy holds is never looked at. ThreadSanitizer knows no fences; for it the words are acquired and
 * released one by one, which orders as much without them.
 */
#ifndef FABRICD_RACY_H
#define FABRICD_RACY_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "atomic.h"
#include "limits.h"

#if defined(__SANITIZE_THREAD__)
#define RACY_WORDWISE 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RACY_WORDWISE 1
#endif
#endif

/* The shared side is 8-byte aligned and `bytes` a multiple of 8; the private side may lie anywhere. */
#ifdef RACY_WORDWISE

static inline void racy_load(void *private, const void *shared, size_t bytes)
{
    const uint64_t *from = shared;

    for (size_t i = 0; i < bytes / 8; i++) {
        uint64_t word = load_acquire(&from[i]);

        memcpy((char *)private + i * 8, &word, 8);
    }
}

static inline void racy_store(void *shared, const void *private, size_t bytes)
{
    uint64_t *to = shared;

    for (size_t i = 0; i < bytes / 8; i++) {
        uint64_t word;

        memcpy(&word, (const char *)private + i * 8, 8);
        store_release(&to[i], word);
    }
}

#define racy_fence_acquire() ((void)0)
#define racy_fence_release() ((void)0)

#else

static inline __attribute__((always_inline)) void racy_load(void *private, const void *shared, size_t bytes)
{
    memcpy(private, shared, bytes);
}

static inline __attribute__((always_inline)) void racy_store(void *shared, const void *private, size_t bytes)
{
    memcpy(shared, private, bytes);
}

#define racy_fence_acquire() fence_acquire()
#define racy_fence_release() fence_release()

#endif

/* Copies a whole frame to a frame that nobody else knows yet. */
static inline void racy_copy_frame(void *to, const void *from)
{
    for (size_t at = 0; at < PAGE_BYTES; at += LINE_BYTES) {
        uint8_t line[LINE_BYTES];

        racy_load(line, (const uint8_t *)from + at, LINE_BYTES);
        racy_store((uint8_t *)to + at, line, LINE_BYTES);
    }
}

/* Wipes a frame that late readers may still be copying from, in vain. */
static inline void racy_zero_frame(void *shared)
{
#ifdef RACY_WORDWISE
    static const uint8_t zeros[PAGE_BYTES];

    racy_store(shared, zeros, PAGE_BYTES);
#else
    memset(shared, 0, PAGE_BYTES);
#endif
}

#endif
