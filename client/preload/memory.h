/* memory.h - mmap and its kin over the pool's mapping
 *
 * Large private anonymous mappings are cut out of the one mapping that the pager keeps. Small ones, shared
 * ones, executable ones, stacks and whatever wants an address of its own stay with the kernel, as does
 * everything when the pool is full.
 */
#ifndef CXE_PRELOAD_MEMORY_H
#define CXE_PRELOAD_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct memory_options {
    void *base; /* of the mapping */
    size_t bytes;
    size_t threshold_bytes; /* smaller mappings stay local */
    bool strict;            /* -ENOMEM instead of local memory when the pool is full */
};

struct memory_counts {
    uint64_t taken_bytes;      /* in use now */
    uint64_t taken_bytes_most; /* at any time */
    uint64_t fallback_count;   /* mappings that should have been on the pool and did not fit */
    uint64_t fallback_bytes;
};

/* Until then, everything goes to the kernel. -ENOMEM. */
int memory_start(const struct memory_options *options);

/* Async-signal-safe. */
void memory_counts(struct memory_counts *counts_out);

/* Around fork: nobody else changes anything in between. */
void memory_lock(void);
void memory_unlock(void);

/* As the system calls: a result or a negative errno. */
long memory_map(void *address, size_t bytes, int protection, int flags, int fd, long offset);
long memory_unmap(void *address, size_t bytes);
long memory_remap(void *address, size_t old_bytes, size_t new_bytes, int flags, void *new_address);
long memory_protect(void *address, size_t bytes, int protection);
long memory_advise(void *address, size_t bytes, int advice);

#endif
