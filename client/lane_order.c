/* lane_order.c - operations on one line keep their order
 *
 * Requests in flight may be executed in any order, so two operations on one line must never be in two of
 * them. (In one they may: a request runs in the order it is written.) This table says which request holds a
 * line. It is a hash of 8-entry buckets, a cache line each. An entry is dead as soon as its request is
 * answered, which the window knows, so nothing is ever removed. A full bucket answers "taken": a wait too
 * many, never a reordering.
 */
#include "lane_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ORDER_BUCKETS 4096
#define ORDER_WAYS    8

/* The hashes stand together, to be compared at once. The low half of a request's number is enough: at most
 * SESSION_SLOTS are in flight. */
typedef uint32_t ways __attribute__((vector_size(ORDER_WAYS * sizeof(uint32_t))));

struct order_bucket {
    ways hashes;
    uint32_t seqs[ORDER_WAYS];
};
static_assert(sizeof(struct order_bucket) == 64, "a bucket is a cache line");

struct order {
    uint64_t barrier; /* nothing numbered above it leaves before everything up to it is answered */
    struct order_bucket buckets[ORDER_BUCKETS];
};

int order_open(struct order **order_out)
{
    struct order *order =
        mmap(NULL, sizeof(*order), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    if (order == MAP_FAILED)
        return -ENOMEM;
    *order_out = order;
    return 0;
}

void order_close(struct order *order)
{
    if (order)
        munmap(order, sizeof(*order));
}

static uint64_t hash_line(uint64_t region, uint64_t line)
{
    uint64_t hash = (region * 0x9E3779B97F4A7C15u) ^ (line * 0xD6E8FEB86659FD93u);

    hash ^= hash >> 32;
    return hash * 0xD6E8FEB86659FD93u;
}

static bool alive(const struct window *window, uint32_t seq)
{
    const struct window_slot *slot = &window->slots[seq % SESSION_SLOTS];

    return slot->in_flight && (uint32_t)slot->seq == seq;
}

static bool holds(const struct order_bucket *bucket, uint32_t line_hash)
{
    ways equal = (ways)(bucket->hashes == line_hash);
    uint64_t halves[4];

    memcpy(halves, &equal, sizeof(halves));
    return (halves[0] | halves[1] | halves[2] | halves[3]) != 0;
}

/* The line's own entry where it has a living one. `*way_out` is then set. */
static bool find_living(const struct order_bucket *bucket, const struct window *window, uint32_t line_hash,
                        unsigned *way_out)
{
    if (!holds(bucket, line_hash))
        return false;
    for (unsigned way = 0; way < ORDER_WAYS; way++)
        if (bucket->hashes[way] == line_hash && alive(window, bucket->seqs[way])) {
            *way_out = way;
            return true;
        }
    return false;
}

/* False: the line is taken by another request, or the bucket is full of living entries. */
static bool claim_line(struct order_bucket *bucket, const struct window *window, uint32_t line_hash,
                       uint32_t seq)
{
    unsigned way;

    if (find_living(bucket, window, line_hash, &way))
        return bucket->seqs[way] == seq;
    for (way = 0; way < ORDER_WAYS; way++) {
        if (alive(window, bucket->seqs[way]))
            continue;
        bucket->hashes[way] = line_hash;
        bucket->seqs[way] = seq;
        return true;
    }
    return false;
}

bool order_claim(struct order *order, const struct window *window, uint64_t region, uint64_t offset,
                 uint32_t lines, uint64_t seq)
{
    if (window->oldest <= order->barrier && seq > order->barrier)
        return false;
    for (uint32_t i = 0; i < lines; i++) {
        uint64_t hash = hash_line(region, offset / LINE_BYTES + i);

        if (!claim_line(&order->buckets[hash % ORDER_BUCKETS], window, (uint32_t)(hash >> 32), (uint32_t)seq))
            return false; /* those claimed so far stay claimed by `seq`: at worst a wait too many */
    }
    return true;
}

void order_prefetch(const struct order *order, uint64_t region, uint64_t offset)
{
    __builtin_prefetch(&order->buckets[hash_line(region, offset / LINE_BYTES) % ORDER_BUCKETS], 1);
}

void order_barrier(struct order *order, uint64_t seq)
{
    if (seq > order->barrier)
        order->barrier = seq;
}

void order_reset(struct order *order)
{
    order->barrier = 0;
}
