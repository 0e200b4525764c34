/* test_channel.c - nothing lost, nothing doubled, order of each sender; interrupted pushes and pops */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "atomic.h"
#include "cxe_sync.h"
#include "fake_region.h"
#include "limits.h"

#define REGION_BYTES 65536
#define OFFSET       64
#define ITEMS        4
#define SENDERS      3
#define RECEIVERS    3

static struct cxe_region *region;
static const uint32_t lengths[] = {1, 8, 48, 49, 112, 113, 1000};
#define LENGTHS (sizeof(lengths) / sizeof(lengths[0]))

static void set_up(void)
{
    unsigned seed = (unsigned)time(NULL);

    fprintf(stderr, "seed %u\n", seed);
    region = fake_region_open(REGION_BYTES, seed);
    cr_assert_eq(cxe_channel_init(region, OFFSET, 8, ITEMS), 0, "%s", cxe_last_error());
}

static void tear_down(void)
{
    fake_region_close(region);
}

TestSuite(channel, .init = set_up, .fini = tear_down, .timeout = 120);

static struct cxe_channel *open_channel(void)
{
    struct cxe_channel *channel;

    cr_assert_eq(cxe_channel_open(region, OFFSET, &channel), 0, "%s", cxe_last_error());
    return channel;
}

static void close_channel(struct cxe_channel *channel)
{
    cr_assert_eq(cxe_channel_close(channel), 0, "%s", cxe_last_error());
}

static void push(struct cxe_channel *channel, uint64_t item)
{
    cr_assert_eq(cxe_channel_push(channel, &item, 0), 0, "%s", cxe_last_error());
}

static void expect_pop(struct cxe_channel *channel, uint64_t expected)
{
    uint64_t item;

    cr_assert_eq(cxe_channel_pop(channel, &item, 0), 0, "%s", cxe_last_error());
    cr_assert_eq(item, expected);
}

/* ---- by hand ---- */

Test(channel, items_come_out_in_the_order_they_went_in)
{
    struct cxe_channel *channel = open_channel(), *other = open_channel();
    uint64_t item = 99;

    for (uint64_t round = 0; round < 5; round++) {
        cr_assert_eq(cxe_channel_pop(channel, &item, 0), -ETIMEDOUT, "it is empty");
        for (uint64_t i = 0; i < ITEMS; i++)
            push(i % 2 ? channel : other, round * 10 + i);
        cr_assert_eq(cxe_channel_push(other, &item, 0), -ETIMEDOUT, "it is full");
        cr_assert_eq(cxe_channel_push(channel, &item, NS_PER_MS), -ETIMEDOUT);
        for (uint64_t i = 0; i < ITEMS; i++)
            expect_pop(i % 3 ? channel : other, round * 10 + i);
    }
    close_channel(channel);
    close_channel(other);
}

Test(channel, items_of_every_length_arrive_whole)
{
    for (unsigned i = 0; i < LENGTHS; i++) {
        uint8_t item[1000], got[1000];
        struct cxe_channel *channel;

        cr_assert_eq(cxe_channel_init(region, OFFSET, lengths[i], ITEMS), 0);
        channel = open_channel();
        cr_assert_eq(cxe_channel_item_bytes(channel), lengths[i]);
        for (unsigned round = 0; round < 2 * ITEMS; round++) {
            memset(got, 0xEE, sizeof(got));
            for (uint32_t j = 0; j < lengths[i]; j++)
                item[j] = (uint8_t)(round + 7 * j + (j >> 8));
            cr_assert_eq(cxe_channel_push(channel, item, 0), 0);
            cr_assert_eq(cxe_channel_pop(channel, got, 0), 0);
            cr_assert_arr_eq(got, item, lengths[i]);
            cr_assert(lengths[i] == sizeof(got) || got[lengths[i]] == 0xEE, "it wrote beyond");
        }
        close_channel(channel);
    }
}

Test(channel, misuse_is_refused)
{
    struct cxe_channel *channel;

    cr_assert_eq(cxe_channel_init(region, OFFSET, 0, 1), -EINVAL);
    cr_assert_eq(cxe_channel_init(region, OFFSET, 1, 0), -EINVAL);
    cr_assert_eq(cxe_channel_init(region, OFFSET, CXE_CHANNEL_ITEM_MAX + 1, 1), -EINVAL);
    cr_assert_eq(cxe_channel_init(region, OFFSET, 64, REGION_BYTES / 128), -ERANGE);
    cr_assert_eq(cxe_channel_init(region, 1, 8, 1), -EINVAL);
    cr_assert_eq(cxe_channel_open(region, 32768, &channel), -EINVAL, "there is none");
    cr_assert_eq(cxe_channel_bytes(48, 10), 13 * CXE_LINE_BYTES);
    cr_assert_eq(cxe_channel_bytes(49, 10), 23 * CXE_LINE_BYTES);
}

/* ---- interrupted ---- */

Test(channel, a_push_that_claimed_and_could_not_write_comes_in_later)
{
    struct cxe_channel *sender = open_channel(), *receiver = open_channel();
    uint64_t item = 1;

    fake_region_fail(region, -ETIMEDOUT);
    fake_region_fail_next(region, -CXE_EUNKNOWN, true);
    cr_assert_eq(cxe_channel_push(sender, &item, 0), -CXE_EUNKNOWN);
    cr_assert_eq(cxe_channel_close(sender), -ETIMEDOUT);
    fake_region_fail(region, 0);
    cr_assert_eq(cxe_channel_pop(receiver, &item, 0), -ETIMEDOUT);
    push(sender, 2);
    expect_pop(receiver, 1);
    expect_pop(receiver, 2);
    close_channel(sender);
    close_channel(receiver);
}

Test(channel, a_push_that_did_not_even_claim_comes_in_later)
{
    struct cxe_channel *sender = open_channel(), *receiver = open_channel();
    uint64_t item = 1;

    fake_region_fail(region, -ETIMEDOUT);
    fake_region_fail_next(region, -CXE_EUNKNOWN, false);
    cr_assert_eq(cxe_channel_push(sender, &item, 0), -CXE_EUNKNOWN);
    fake_region_fail(region, 0);
    push(receiver, 5);
    push(sender, 6);
    expect_pop(receiver, 5);
    expect_pop(receiver, 1);
    expect_pop(receiver, 6);
    cr_assert_eq(cxe_channel_pop(receiver, &item, 0), -ETIMEDOUT);
    close_channel(sender);
    close_channel(receiver);
}

Test(channel, a_pop_that_claimed_and_could_not_read_loses_nothing)
{
    struct cxe_channel *sender = open_channel(), *receiver = open_channel(), *other = open_channel();
    uint64_t item;

    push(sender, 1);
    push(sender, 2);
    fake_region_fail(region, -ETIMEDOUT);
    fake_region_fail_next(region, -CXE_EUNKNOWN, true);
    cr_assert_eq(cxe_channel_pop(receiver, &item, 0), -ETIMEDOUT);
    fake_region_fail(region, 0);
    cr_assert_eq(cxe_channel_close(receiver), -EBUSY, "it has an item");
    expect_pop(other, 2);
    expect_pop(receiver, 1);
    cr_assert_eq(cxe_channel_pop(receiver, &item, 0), -ETIMEDOUT, "once only");
    close_channel(sender);
    close_channel(receiver);
    close_channel(other);
}

/* ---- many at once ---- */

struct flow {
    unsigned goal;       /* of each sender */
    uint64_t received;   /* of all */
    unsigned char *seen; /* by item */
    bool faults;
};

struct party {
    struct flow *flow;
    unsigned number, seed;
    uint64_t last[SENDERS]; /* of each sender: the last of its items that this receiver got, and 1 */
    pthread_t thread;
};

static uint64_t random_timeout_ns(unsigned *seed)
{
    return (uint64_t)rand_r(seed) % 200000;
}

static void *send_items(void *argument)
{
    struct party *party = argument;
    struct cxe_channel *channel = open_channel();

    for (uint64_t i = 0; i < party->flow->goal; i++) {
        const uint64_t item = party->number * (uint64_t)party->flow->goal + i;
        int error;

        do /* unknown: it comes in with the next call */
            error = cxe_channel_push(channel, &item, random_timeout_ns(&party->seed));
        while (error == -ETIMEDOUT);
        cr_assert(error == 0 || (party->flow->faults && error == -CXE_EUNKNOWN), "%d: %s", error,
                  cxe_last_error());
    }
    while (cxe_channel_close(channel) != 0)
        cr_assert(party->flow->faults);
    return NULL;
}

static void note_item(struct party *party, uint64_t item)
{
    struct flow *flow = party->flow;
    const uint64_t sender = item / flow->goal, index = item % flow->goal;

    cr_assert_lt(sender, SENDERS);
    cr_assert_geq(index + 1, party->last[sender] + 1, "items of one sender changed order");
    party->last[sender] = index + 1;
    cr_assert_eq(__atomic_fetch_add(&flow->seen[item], 1, __ATOMIC_RELAXED), 0, "item %ju came twice",
                 (uintmax_t)item);
}

static void *receive_items(void *argument)
{
    struct party *party = argument;
    struct cxe_channel *channel = open_channel();
    struct flow *flow = party->flow;

    while (load_relaxed(&flow->received) < (uint64_t)flow->goal * SENDERS) {
        uint64_t item;
        int error = cxe_channel_pop(channel, &item, random_timeout_ns(&party->seed));

        if (error) {
            cr_assert(error == -ETIMEDOUT || (flow->faults && error == -CXE_EUNKNOWN), "%d", error);
            continue;
        }
        note_item(party, item);
        fetch_add_relaxed(&flow->received, 1);
    }
    while (cxe_channel_close(channel) != 0)
        cr_assert(flow->faults);
    return NULL;
}

static void run_flow(unsigned goal, bool faults)
{
    struct flow flow = {.goal = goal, .seen = calloc(SENDERS, goal), .faults = faults};
    struct party senders[SENDERS], receivers[RECEIVERS];

    for (unsigned i = 0; i < SENDERS; i++) {
        senders[i] = (struct party){.flow = &flow, .number = i, .seed = i + (unsigned)time(NULL)};
        pthread_create(&senders[i].thread, NULL, send_items, &senders[i]);
    }
    for (unsigned i = 0; i < RECEIVERS; i++) {
        receivers[i] = (struct party){.flow = &flow, .seed = 77 + i + (unsigned)time(NULL)};
        pthread_create(&receivers[i].thread, NULL, receive_items, &receivers[i]);
    }
    for (unsigned i = 0; i < SENDERS; i++)
        pthread_join(senders[i].thread, NULL);
    for (unsigned i = 0; i < RECEIVERS; i++)
        pthread_join(receivers[i].thread, NULL);
    cr_assert_eq(flow.received, (uint64_t)SENDERS * goal);
    for (unsigned i = 0; i < SENDERS * goal; i++)
        cr_assert_eq(flow.seen[i], 1, "item %u", i);
    free(flow.seen);
}

Test(channel, many_senders_and_receivers_lose_and_double_nothing)
{
    run_flow(2000, false);
}

Test(channel, unknown_outcomes_lose_and_double_nothing)
{
    fake_region_faults(region, (struct fake_faults){.unknown_done = 50, .unknown_lost = 50, .not_done = 30});
    run_flow(1000, true);
}

Test(channel, a_ring_of_one_item_works)
{
    cr_assert_eq(cxe_channel_init(region, OFFSET, 8, 1), 0);
    run_flow(300, false);
}
