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
#include <sys/mman.h>

#define ORDER_BUCKETS 4096
#define ORDER_WAYS    8

/* The low half of the request's number is enough: at most SESSION_SLOTS are in flight. */
struct order_entry {
    uint32_t line_hash;
    uint32_t seq;
};

struct order {
    uint64_t barrier; /* nothing numbered above it leaves before everything up to it is answered */
    struct order_entry entries[ORDER_BUCKETS][ORDER_WAYS];
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

static bool alive(const struct window *window, const struct order_entry *entry)
{
    const struct window_slot *slot = &window->slots[entry->seq % SESSION_SLOTS];

    return slot->in_flight && (uint32_t)slot->seq == entry->seq;
}

/* A place for the line in its bucket, or NULL: taken by another request, or the bucket is full of living
 * entries. The hashes are compared first: whether an entry lives is asked of few. */
static struct order_entry *place_for(struct order_entry *bucket, const struct window *window,
                                     uint32_t line_hash, uint32_t seq)
{
    for (unsigned way = 0; way < ORDER_WAYS; way++)
        if (bucket[way].line_hash == line_hash && alive(window, &bucket[way]))
            return bucket[way].seq == seq ? &bucket[way] : NULL;
    for (unsigned way = 0; way < ORDER_WAYS; way++)
        if (!alive(window, &bucket[way]))
            return &bucket[way];
    return NULL;
}

bool order_claim(struct order *order, const struct window *window, uint64_t region, uint64_t offset,
                 uint32_t lines, uint64_t seq)
{
    if (window->oldest <= order->barrier && seq > order->barrier)
        return false;
    for (uint32_t i = 0; i < lines; i++) {
        uint64_t hash = hash_line(region, offset / LINE_BYTES + i);
        uint32_t line_hash = (uint32_t)(hash >> 32);
        struct order_entry *entry =
            place_for(order->entries[hash % ORDER_BUCKETS], window, line_hash, (uint32_t)seq);

        if (!entry)
            return false; /* those claimed so far stay claimed by `seq`: at worst a wait too many */
        *entry = (struct order_entry){.line_hash = line_hash, .seq = (uint32_t)seq};
    }
    return true;
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
