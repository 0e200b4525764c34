/* pool.h - the memory that is served, as frames of one page each, and who may have how much of it
 *
 * Two ledgers are kept apart. *Promises* are numbers: a region is promised its pages when it is made, so that
 * a later write never fails for want of memory. *Frames* are attached at the first write. As long as every
 * frame in use is covered by a promise, a frame can always be had, so pool_alloc does not fail.
 *
 * A frame is in one of these states:
 *   fresh   never used, zero from the kernel         refs = 0
 *   free    wiped, on the free stack                 refs = 0
 *   dirty   let go of, on the dirty stack            refs = 0
 *   in use  refs page-table entries name it          refs > 0
 * and moves fresh | free -> in use -> dirty -> free. Nothing but pool_wipe leads from dirty to free.
 */
#ifndef FABRICD_POOL_H
#define FABRICD_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "limits.h"

enum pool_policy { POOL_BIND, POOL_INTERLEAVE, POOL_PREFERRED };

struct pool_options {
    uint64_t bytes;          /* a multiple of PAGE_BYTES, > 0 */
    unsigned workers;        /* threads that allocate; each gets one frame on top, see pool_alloc */
    uint64_t node_mask;      /* bit n: NUMA node n; 0: wherever the kernel likes */
    enum pool_policy policy; /* over the nodes of node_mask; PREFERRED means the lowest one */
    bool huge_pages;         /* from the reserved huge pages (vm.nr_hugepages), or not at all */
};

/* In a frame's reference word: a promise covers this frame. The lower bits count the entries that name it. */
#define POOL_CHARGED (1u << 31)

/* Frames are numbered from 1; 0 is none. The layout is open for the data path's sake: change nothing here but
 * through the functions below and those of line.h. */
struct pool {
    uint8_t *origin;                   /* frame f is at origin + f * PAGE_BYTES */
    uint32_t (*versions)[PAGE_BLOCKS]; /* of frame f: see line.h */
    uint32_t *refs;                    /* of frame f: POOL_CHARGED | count; any thread, atomic */
    uint32_t *links;                   /* of frame f: the next one on its stack */
    uint64_t pages;                    /* that can be promised */
    uint32_t frames;                   /* pages, and one for each worker */
    void *map, *meta;
    size_t map_bytes, meta_bytes;
    uint64_t prefault_next, prefault_done; /* bytes; any thread, atomic */
    _Alignas(64) uint64_t free_stack;      /* tag << 32 | frame */
    _Alignas(64) uint64_t dirty_stack;     /* tag << 32 | frame */
    _Alignas(64) uint64_t fresh;           /* the first frame never used */
    _Alignas(64) uint64_t promised;        /* pages; never above `pages` */
};

/* Reserves the memory; no page of it exists before pool_prefault or its first use. Refuses, with one sentence
 * in `why`, what could not be had in full: -EINVAL (size, nodes), -ENOMEM (bytes wanted and available are
 * named), or what the kernel said. Memory is kept out of core dumps. */
int pool_open(const struct pool_options *options, char *why, size_t why_bytes, struct pool **pool_out);
void pool_close(struct pool *pool);

/* Makes every page of the pool and its tables exist now. Several threads may call this at once and share the
 * work; each returns when no chunk is left to take. `progress` (may be NULL) is called from any of them.
 * Blocks for about 0.3 s a GiB. -ENOMEM, -EHWPOISON. */
int pool_prefault(struct pool *pool,
                  void (*progress)(void *context, uint64_t done_bytes, uint64_t total_bytes), void *context);

/* Takes a promise of `pages`, or returns false and takes nothing. Any thread; does not block. */
bool pool_promise(struct pool *pool, uint64_t pages);
void pool_unpromise(struct pool *pool, uint64_t pages);

/* Bytes that are neither in use nor promised. Any thread. */
uint64_t pool_free_bytes(const struct pool *pool);

/* A wiped frame, its reference word set to `refs`. The caller holds a promise for it. Never fails: promises
 * do not exceed the pool's pages, and each worker may hold one frame more than promised for a moment (a frame
 * it is wiping, or the copy it loses a race with), which is why there are as many frames more. Any worker. */
uint32_t pool_alloc(struct pool *pool, uint32_t refs);

/* Gives a frame back that was allocated and not changed since. */
void pool_put_clean(struct pool *pool, uint32_t frame);
/* Gives a frame back that nobody will write any more; late readers find out by themselves. */
void pool_put_dirty(struct pool *pool, uint32_t frame);

/* Counts one more entry naming a frame that the caller's own entry keeps in use. */
void pool_ref(struct pool *pool, uint32_t frame);

/* Counts one entry less and, if `uncharge`, takes the charge off. At zero the frame becomes dirty. Returns
 * the reference word that is left. */
uint32_t pool_unref(struct pool *pool, uint32_t frame, bool uncharge);

/* Wipes up to `budget` dirty frames (about 0.1 us each). True if more are left. Any worker. */
bool pool_wipe(struct pool *pool, unsigned budget);

/* The invariants, as code; looks at every frame, so for tests, and while no other thread touches the pool. */
bool pool_valid(const struct pool *pool);

static inline uint8_t *pool_frame(const struct pool *pool, uint32_t frame)
{
    return pool->origin + (uint64_t)frame * PAGE_BYTES;
}

static inline uint32_t pool_ref_count(uint32_t refs)
{
    return refs & ~POOL_CHARGED;
}

#endif
