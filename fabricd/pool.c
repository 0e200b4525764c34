/* pool.c - frames, their stacks, and the promises; see pool.h */
#include "pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "atomic.h"
#include "check.h"
#include "racy.h"
#include "spin.h"

#define ALLOC_TURNS_MAX (1u << 24) /* of spin_pause: seconds; then the ledgers are wrong */

/* The stacks are Treiber's. The tag in the upper half grows with each change, so that a compare-and-swap
 * fails if the head went away and came back; a frame's link may be read while it is no longer on the stack,
 * which is harmless: the memory stays, and the tag has changed. */
static void push(uint64_t *stack, uint32_t *links, uint32_t frame)
{
    uint64_t head = load_relaxed(stack), next;

    do {
        store_relaxed(&links[frame], (uint32_t)head);
        next = ((head >> 32) + 1) << 32 | frame;
    } while (!cas_acq_rel(stack, &head, next));
}

static uint32_t pop(uint64_t *stack, uint32_t *links)
{
    uint64_t head = load_acquire(stack), next;

    do {
        if ((uint32_t)head == 0)
            return 0;
        next = ((head >> 32) + 1) << 32 | load_relaxed(&links[(uint32_t)head]);
    } while (!cas_acq_rel(stack, &head, next));
    return (uint32_t)head;
}

bool pool_promise(struct pool *pool, uint64_t pages)
{
    uint64_t promised = load_relaxed(&pool->promised);

    do {
        if (pages > pool->pages - promised)
            return false;
    } while (!cas_acq_rel(&pool->promised, &promised, promised + pages));
    return true;
}

void pool_unpromise(struct pool *pool, uint64_t pages)
{
    uint64_t before = fetch_sub_acq_rel(&pool->promised, pages);

    CHECK(before >= pages);
}

uint64_t pool_free_bytes(const struct pool *pool)
{
    return (pool->pages - load_relaxed(&pool->promised)) * PAGE_BYTES;
}

static uint32_t take_fresh(struct pool *pool)
{
    uint64_t frame = load_relaxed(&pool->fresh);

    do {
        if (frame > pool->frames)
            return 0;
    } while (!cas_acq_rel(&pool->fresh, &frame, frame + 1));
    return (uint32_t)frame;
}

static uint32_t take_dirty(struct pool *pool)
{
    uint32_t frame = pop(&pool->dirty_stack, pool->links);

    if (frame)
        racy_zero_frame(pool_frame(pool, frame));
    return frame;
}

uint32_t pool_alloc(struct pool *pool, uint32_t refs)
{
    unsigned turns = 0;
    uint32_t frame;

    for (;;) {
        frame = pop(&pool->free_stack, pool->links);
        if (!frame)
            frame = take_fresh(pool);
        if (!frame)
            frame = take_dirty(pool);
        if (frame)
            break;
        CHECK(turns < ALLOC_TURNS_MAX); /* another worker is carrying the frame from dirty to free */
        spin_pause(&turns);
    }
    CHECK(load_relaxed(&pool->refs[frame]) == 0);
    store_release(&pool->refs[frame], refs);
    return frame;
}

void pool_put_clean(struct pool *pool, uint32_t frame)
{
    store_relaxed(&pool->refs[frame], 0);
    push(&pool->free_stack, pool->links, frame);
}

void pool_put_dirty(struct pool *pool, uint32_t frame)
{
    store_relaxed(&pool->refs[frame], 0);
    push(&pool->dirty_stack, pool->links, frame);
}

void pool_ref(struct pool *pool, uint32_t frame)
{
    uint32_t before = fetch_add_relaxed(&pool->refs[frame], 1);

    CHECK(pool_ref_count(before) > 0);
}

uint32_t pool_unref(struct pool *pool, uint32_t frame, bool uncharge)
{
    uint32_t refs = load_relaxed(&pool->refs[frame]), left;

    do {
        CHECK(pool_ref_count(refs) > 0);
        left = refs - 1;
        if (uncharge)
            left &= ~POOL_CHARGED;
    } while (!cas_acq_rel(&pool->refs[frame], &refs, left));
    if (pool_ref_count(left) == 0)
        pool_put_dirty(pool, frame);
    return left;
}

bool pool_wipe(struct pool *pool, unsigned budget)
{
    while (budget-- > 0) {
        uint32_t frame = take_dirty(pool);

        if (!frame)
            return false;
        push(&pool->free_stack, pool->links, frame);
    }
    return (uint32_t)load_relaxed(&pool->dirty_stack) != 0;
}

static bool frame_is_zero(const struct pool *pool, uint32_t frame)
{
    const uint8_t *bytes = pool_frame(pool, frame);

    return bytes[0] == 0 && memcmp(bytes, bytes + 1, PAGE_BYTES - 1) == 0;
}

/* Marks the frames of a stack in `seen`; false if one is in use, unwiped though it should be, or there twice.
 */
static bool stack_valid(const struct pool *pool, uint64_t stack, bool wiped, uint8_t *seen)
{
    for (uint32_t frame = (uint32_t)stack; frame != 0; frame = pool->links[frame]) {
        if (frame > pool->frames || frame >= pool->fresh || seen[frame] || pool->refs[frame] != 0)
            return false;
        if (wiped && !frame_is_zero(pool, frame))
            return false;
        seen[frame] = 1;
    }
    return true;
}

static bool frames_valid(const struct pool *pool, const uint8_t *on_stack)
{
    for (uint32_t frame = 1; frame <= pool->frames; frame++) {
        bool in_use = pool_ref_count(pool->refs[frame]) > 0, fresh = frame >= pool->fresh;

        if (in_use + fresh + on_stack[frame] != 1)
            return false;
        if (!in_use && pool->refs[frame] != 0)
            return false;
        for (unsigned block = 0; block < PAGE_BLOCKS; block++)
            if (pool->versions[frame][block] & 1)
                return false;
    }
    return true;
}

bool pool_valid(const struct pool *pool)
{
    uint8_t *on_stack = calloc(pool->frames + 1ull, 1);
    bool valid;

    CHECK(on_stack != NULL);
    valid = pool->promised <= pool->pages && stack_valid(pool, pool->free_stack, true, on_stack) &&
            stack_valid(pool, pool->dirty_stack, false, on_stack) && frames_valid(pool, on_stack);
    free(on_stack);
    return valid;
}
