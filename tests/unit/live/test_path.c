/* test_path.c - frames above some length vanish: what is long travels in pieces, exactly once */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "atomic.h"
#include "clock.h"
#include "connection.h"
#include "lane.h"
#include "limits.h"
#include "server.h"

#define BYTES (256 << 10)
#define LINES (BYTES / LINE_BYTES)

static struct server server;
static struct cxe_connection *connection, *other;
static struct cxe_region *region;
static uint8_t data[BYTES], back[BYTES];

/* Through `connection` nothing above 1300 bytes gets, through `other` everything. */
static void start(void)
{
    server_start(&server);
    connection = server_connect(&server, "longest=1300,seed=1", CXE_ENCRYPTION_DEFAULT);
    other = server_connect(&server, NULL, CXE_ENCRYPTION_DEFAULT);
    cr_assert_eq(cxe_region_create(connection, "r", BYTES, 0, &region), 0, "%s", cxe_last_error());
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 7 + i / 251);
}

static void stop(void)
{
    cr_expect_eq(cxe_region_close(region), 0);
    cr_expect_eq(cxe_disconnect(connection), 0);
    cr_expect_eq(cxe_disconnect(other), 0);
    server_stop(&server);
}

TestSuite(path, .init = start, .fini = stop, .timeout = 120);

static void expect_data_seen_by_others(void)
{
    struct cxe_region *same;

    cr_assert_eq(cxe_region_open(other, "r", &same), 0);
    memset(back, 0, sizeof(back));
    cr_assert_eq(cxe_read(same, 0, back, BYTES), 0);
    cr_assert_arr_eq(back, data, BYTES);
    cxe_region_close(same);
}

Test(path, long_writes_and_reads_arrive)
{
    struct cxe_connection_info info;

    cr_assert_eq(cxe_write(region, 0, data, BYTES), 0, "%s", cxe_last_error());
    cr_assert_eq(cxe_read(region, 0, back, BYTES), 0, "%s", cxe_last_error());
    cr_assert_arr_eq(back, data, BYTES);
    expect_data_seen_by_others();
    cr_assert_eq(cxe_connection_info(connection, &info), 0);
    cr_assert_gt(info.retransmits, 0, "nothing was too long");
}

/* One operation with masks on many lines: the masks stand in front of all lines, and are cut with them. */
Test(path, masks_stay_with_their_lines)
{
    uint64_t masks[LINES];
    struct op op = {.opcode = OP_MEM_WR_PTL,
                    .line_count = LINES,
                    .region = region->handle,
                    .operand = data,
                    .masks = masks};
    struct lane *lane = lane_acquire(connection);
    int result;

    for (size_t i = 0; i < LINES; i++)
        masks[i] = 0x0123456789abcdefu * (i + 1);
    result = lane_run(lane, &op, clock_now_ns() + 60 * NS_PER_S);
    lane_release(lane);
    cr_assert_eq(result, 0);
    for (size_t i = 0; i < BYTES; i++)
        if (!(masks[i / LINE_BYTES] >> (i % LINE_BYTES) & 1))
            data[i] = 0;
    expect_data_seen_by_others();
}

/* Additions and writes that share frames with long ones; one of them is refused. */
Test(path, each_operation_of_a_long_frame_is_done_once)
{
    enum { ROUNDS = 40, CHUNK = 1024 };
    struct cxe_completion completions[3 * ROUNDS];
    struct cxe_region *sealed;
    struct cxe_queue *queue;
    uint64_t one = 1, old[ROUNDS];
    size_t count = 0;
    int got;

    cr_assert_eq(cxe_region_create(connection, "sealed", PAGE_BYTES, 0, &sealed), 0);
    cr_assert_eq(cxe_region_seal(sealed), 0);
    cr_assert_eq(cxe_queue_open(connection, 3 * ROUNDS, &queue), 0);
    for (uint64_t i = 0; i < ROUNDS; i++) {
        uint64_t at = (i + 1) * CHUNK;

        cr_assert_eq(cxe_queue_write(queue, region, at, data + at, CHUNK, NULL), 0);
        cr_assert_eq(cxe_queue_fetch(queue, region, CXE_FETCH_ADD, 0, 8, &one, &old[i], NULL), 0);
        cr_assert_eq(cxe_queue_write(queue, sealed, 0, data, LINE_BYTES, &old[i]), 0);
    }
    while (count < 3 * ROUNDS) {
        got = cxe_queue_wait(queue, completions, 3 * ROUNDS, 60 * NS_PER_S);
        cr_assert_gt(got, 0);
        for (int i = 0; i < got; i++)
            cr_assert_eq(completions[i].result, completions[i].context ? -EACCES : 0);
        count += (size_t)got;
    }
    cxe_queue_close(queue);
    for (uint64_t i = 0; i < ROUNDS; i++)
        cr_assert_eq(old[i], i);
    cr_assert_eq(cxe_read(region, 0, back, (ROUNDS + 1) * CHUNK), 0);
    cr_assert_arr_eq(back + CHUNK, data + CHUNK, ROUNDS * CHUNK);
    cxe_region_close(sealed);
}

/* ---- requests that wait at the server ---- */

enum { PAGES = 4 };
static struct cxe_region *mapped, *shared;
static uint8_t *memory;
static bool enough;

/* `other` maps what `connection` reads and writes by operations. */
static void begin_sharing(void)
{
    cr_assert_eq(cxe_region_create(other, "shared", PAGES * PAGE_BYTES, CXE_REGION_SHARED, &mapped), 0);
    cr_assert_eq(cxe_region_open(connection, "shared", &shared), 0);
    cr_assert_eq(cxe_map(mapped, NULL, (void **)&memory), 0, "%s", cxe_last_error());
}

static void end_sharing(void)
{
    cr_assert_eq(cxe_unmap(memory), 0);
    cxe_region_close(mapped);
    cxe_region_close(shared);
}

Test(path, what_waits_for_an_owner_arrives)
{
    begin_sharing();
    for (unsigned round = 1; round <= 12; round++) {
        memset(memory, (int)round, PAGES * PAGE_BYTES); /* its owner now */
        cr_assert_eq(cxe_read(shared, 0, back, PAGES * PAGE_BYTES), 0, "%s", cxe_last_error());
        for (size_t i = 0; i < PAGES * PAGE_BYTES; i++)
            cr_assert_eq(back[i], round);
        memset(memory, 0, PAGES * PAGE_BYTES);
        cr_assert_eq(cxe_write(shared, 0, data + round, PAGES * PAGE_BYTES), 0, "%s", cxe_last_error());
        cr_assert_arr_eq(memory, data + round, PAGES * PAGE_BYTES);
    }
    end_sharing();
}

static void *own_all_the_time(void *nothing)
{
    for (uint8_t value = 0; !load_relaxed(&enough); value++)
        for (unsigned page = 0; page < PAGES; page++)
            store_relaxed(&memory[page * PAGE_BYTES], value);
    return nothing;
}

/* Whatever is read has to wait. The answer to what waited does not say which record of the request it is to.
 */
Test(path, what_waits_for_an_owner_every_time_arrives_as_well)
{
    pthread_t owner;

    begin_sharing();
    cr_assert_eq(pthread_create(&owner, NULL, own_all_the_time, NULL), 0);
    for (unsigned round = 0; round < 12; round++)
        cr_assert_eq(cxe_read(shared, 0, back, PAGES * PAGE_BYTES), 0, "%s", cxe_last_error());
    store_relaxed(&enough, true);
    pthread_join(owner, NULL);
    end_sharing();
}

/* ---- the verdict ---- */

static uint64_t spell_ns(const struct cxe_connection *judged)
{
    return load_relaxed(&judged->narrow_ns);
}

/* It may have been bad luck, so the first verdict is short. Each time it has to be given again it is longer,
 * since to find it out stops what is long for a second. Answers that are long are lost by another failing of
 * the path than requests that are, and do not speak for them. */
Test(path, the_longer_it_has_been_narrow_the_less_often_it_is_tried)
{
    const struct timespec moment = {.tv_nsec = 5 * NS_PER_MS};
    uint64_t first_ns, until_ns;

    cr_assert_eq(cxe_write(region, 0, data, 8192), 0, "%s", cxe_last_error());
    first_ns = spell_ns(connection);
    cr_assert_gt(first_ns, 0, "nothing was too long");
    cr_assert_leq(first_ns, 2 * NS_PER_S);
    until_ns = load_relaxed(&connection->narrow_until_ns);
    while (clock_now_ns() <= until_ns)
        nanosleep(&moment, NULL);
    cr_assert_eq(cxe_write(region, 0, data, 8192), 0, "%s", cxe_last_error());
    cr_assert_gt(spell_ns(connection), first_ns);
}

Test(path, a_frame_that_is_as_long_and_gets_through_proves_the_verdict_wrong)
{
    struct cxe_region *same;

    cr_assert_eq(cxe_region_open(other, "r", &same), 0);
    store_relaxed(&other->narrow_ns, 600 * NS_PER_S);
    store_relaxed(&other->narrow_ways, (uint32_t)WAY_THERE);
    store_relaxed(&other->narrow_until_ns, clock_now_ns()); /* it is over */
    cr_assert_eq(cxe_read(same, 0, back, 8192), 0);
    cr_expect_eq(spell_ns(other), 600 * NS_PER_S, "a long answer says nothing of long requests");
    cr_assert_eq(cxe_write(same, 0, data, 8192), 0);
    cr_expect_eq(spell_ns(other), 0);
    cxe_region_close(same);
}
