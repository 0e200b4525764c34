/* test_operations.c - the client library against a real server over loopback, also with a bad network in
 * between */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "connection.h"
#include "limits.h"
#include "server.h"

#define REGION_BYTES (1ull << 20)

/* One row: what lies between client and server. */
struct path {
    char name[24];
    char transport[16];
    char fault[64];
    enum cxe_encryption encryption;
};

static struct path paths[] = {
    {"plain", "eth", "", CXE_ENCRYPTION_OFF},
    {"encrypted", "eth", "", CXE_ENCRYPTION_DEFAULT},
    {"bad network", "eth", "drop=10%,dup=10%,reorder=10%,seed=7", CXE_ENCRYPTION_DEFAULT},
    {"damaging network", "eth", "corrupt=5%,seed=11", CXE_ENCRYPTION_OFF},
    {"libfabric", "ofi:tcp", "", CXE_ENCRYPTION_DEFAULT},
};

struct bench {
    struct server server;
    struct cxe_connection *connection;
    struct cxe_region *region;
};

static void set_up(struct bench *bench, const struct path *path)
{
    memset(bench, 0, sizeof(*bench));
    bench->server.transport = path->transport;
    server_start(&bench->server);
    bench->connection = server_connect(&bench->server, path->fault[0] ? path->fault : NULL, path->encryption);
    cr_assert_eq(cxe_region_create(bench->connection, "test", REGION_BYTES, 0, &bench->region), 0, "%s: %s",
                 path->name, cxe_last_error());
}

static void tear_down(struct bench *bench)
{
    cr_assert_eq(cxe_region_close(bench->region), 0);
    cr_assert_eq(cxe_disconnect(bench->connection), 0);
    server_stop(&bench->server);
}

#define FOR_EACH_PATH(suite, name)                                                        \
    ParameterizedTestParameters(suite, name)                                              \
    {                                                                                     \
        return cr_make_param_array(struct path, paths, sizeof(paths) / sizeof(paths[0])); \
    }                                                                                     \
    ParameterizedTest(struct path *path, suite, name)

static unsigned start_seed(void)
{
    unsigned seed = (unsigned)time(NULL);

    fprintf(stderr, "seed %u\n", seed);
    srandom(seed);
    return seed;
}

static void fill(uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)random();
}

/* ---- blocking operations ---- */

FOR_EACH_PATH(operations, what_was_written_is_read)
{
    static uint8_t model[REGION_BYTES], buffer[REGION_BYTES];
    struct bench bench;

    start_seed();
    set_up(&bench, path);
    fill(model, sizeof(model));
    cr_assert_eq(cxe_write(bench.region, 0, model, sizeof(model)), 0, "%s", cxe_last_error());
    for (int i = 0; i < 40; i++) {
        size_t bytes = (1 + (size_t)random() % 200) * LINE_BYTES;
        uint64_t offset = (uint64_t)random() % ((REGION_BYTES - bytes) / LINE_BYTES) * LINE_BYTES;

        fill(model + offset, bytes);
        cr_assert_eq(cxe_write(bench.region, offset, model + offset, bytes), 0, "%s", cxe_last_error());
    }
    cr_assert_eq(cxe_read(bench.region, 0, buffer, sizeof(buffer)), 0, "%s", cxe_last_error());
    cr_assert_arr_eq(buffer, model, sizeof(model));
    tear_down(&bench);
}

FOR_EACH_PATH(operations, masked_writes_touch_only_their_bytes)
{
    uint8_t model[LINE_BYTES] = {0}, line[LINE_BYTES], seen[LINE_BYTES];
    struct bench bench;

    start_seed();
    set_up(&bench, path);
    for (int i = 0; i < 50; i++) {
        uint64_t mask = (uint64_t)random() << 33 ^ (uint64_t)random() << 12 ^ (uint64_t)random();

        fill(line, sizeof(line));
        for (int j = 0; j < LINE_BYTES; j++)
            if (mask >> j & 1)
                model[j] = line[j];
        cr_assert_eq(cxe_write_masked(bench.region, 128, line, mask), 0, "%s", cxe_last_error());
    }
    cr_assert_eq(cxe_read(bench.region, 128, seen, sizeof(seen)), 0);
    cr_assert_arr_eq(seen, model, sizeof(model));
    tear_down(&bench);
}

FOR_EACH_PATH(operations, every_addition_counts_once)
{
    struct bench bench;
    uint64_t one = 1, old, total;

    set_up(&bench, path);
    for (uint64_t i = 0; i < 300; i++) {
        cr_assert_eq(cxe_fetch(bench.region, CXE_FETCH_ADD, 8, 8, &one, &old), 0, "%s", cxe_last_error());
        cr_assert_eq(old, i, "an addition was lost or doubled");
    }
    cr_assert_eq(cxe_cas(bench.region, 8, 8, &one, &one, &total), 0);
    cr_assert_eq(total, 300);
    tear_down(&bench);
}

FOR_EACH_PATH(operations, a_cas_swaps_only_what_it_expects)
{
    struct bench bench;
    uint8_t zero[16] = {0}, desired[16], old[16];

    set_up(&bench, path);
    memset(desired, 0x5a, sizeof(desired));
    cr_assert_eq(cxe_cas(bench.region, 32, 16, zero, desired, old), 0);
    cr_assert_arr_eq(old, zero, 16);
    cr_assert_eq(cxe_cas(bench.region, 32, 16, zero, desired, old), 0);
    cr_assert_arr_eq(old, desired, 16, "the second one must see what the first one left");
    tear_down(&bench);
}

/* ---- queues ---- */

static unsigned poll_all(struct cxe_queue *queue, unsigned expected)
{
    struct cxe_completion completions[64];
    unsigned done = 0;

    while (done < expected) {
        int count = cxe_queue_wait(queue, completions, 64, 20 * NS_PER_S);

        cr_assert_gt(count, 0, "%s", cxe_last_error());
        for (int i = 0; i < count; i++)
            cr_assert_eq(completions[i].result, 0, "%d", completions[i].result);
        done += (unsigned)count;
    }
    return done;
}

FOR_EACH_PATH(queue, operations_on_one_line_keep_their_order)
{
    enum { ROUNDS = 400 };
    static uint64_t seen[ROUNDS][8];
    struct bench bench;
    struct cxe_queue *queue;

    set_up(&bench, path);
    cr_assert_eq(cxe_queue_open(bench.connection, 2 * ROUNDS, &queue), 0, "%s", cxe_last_error());
    for (uint64_t i = 0; i < ROUNDS; i++) {
        uint64_t line[8] = {i + 1, [7] = ~i};

        cr_assert_eq(cxe_queue_write(queue, bench.region, 4096, line, sizeof(line), NULL), 0);
        cr_assert_eq(cxe_queue_read(queue, bench.region, 4096, seen[i], sizeof(seen[i]), NULL), 0);
    }
    poll_all(queue, 2 * ROUNDS);
    for (uint64_t i = 0; i < ROUNDS; i++) {
        cr_assert_eq(seen[i][0], i + 1, "read %llu saw %llu", (unsigned long long)i,
                     (unsigned long long)seen[i][0]);
        cr_assert_eq(seen[i][7], ~i, "torn");
    }
    cxe_queue_close(queue);
    tear_down(&bench);
}

FOR_EACH_PATH(queue, a_fence_keeps_what_is_behind_it_behind)
{
    struct bench bench;
    struct cxe_queue *queue;
    static uint64_t page[512], seen[512];

    set_up(&bench, path);
    cr_assert_eq(cxe_queue_open(bench.connection, 64, &queue), 0);
    for (uint64_t i = 0; i < 20; i++) {
        for (int j = 0; j < 512; j++)
            page[j] = i;
        cr_assert_eq(cxe_queue_write(queue, bench.region, 0, page, sizeof(page), NULL), 0);
        cr_assert_eq(cxe_queue_fence(queue), 0);
        cr_assert_eq(cxe_queue_read(queue, bench.region, 0, seen, sizeof(seen), NULL), 0);
        poll_all(queue, 2);
        cr_assert_arr_eq(seen, page, sizeof(page));
    }
    cxe_queue_close(queue);
    tear_down(&bench);
}

/* Random operations on a small region, pipelined, against a model: lines are independent, each in order. */
FOR_EACH_PATH(queue, pipelined_operations_match_a_model)
{
    enum { OPERATIONS = 3000, LINES = 64 };
    static uint64_t model[LINES][8], seen[OPERATIONS][8], expected[OPERATIONS][8];
    static bool reads[OPERATIONS];
    struct cxe_completion completions[64];
    struct bench bench;
    struct cxe_queue *queue;
    unsigned started = 0, done = 0;

    start_seed();
    set_up(&bench, path);
    memset(model, 0, sizeof(model));
    cr_assert_eq(cxe_queue_open(bench.connection, 256, &queue), 0);
    while (done < OPERATIONS) {
        while (started < OPERATIONS) {
            unsigned line = (unsigned)random() % LINES;
            uint64_t offset = line * LINE_BYTES, operand = (uint64_t)random(), next[8];
            int error;

            memcpy(next, model[line], sizeof(next));
            reads[started] = false;
            switch (random() % 3) {
            case 0:
                reads[started] = true;
                memcpy(expected[started], next, sizeof(next));
                error = cxe_queue_read(queue, bench.region, offset, seen[started], LINE_BYTES, NULL);
                break;
            case 1:
                for (int i = 0; i < 8; i++)
                    next[i] = operand + (uint64_t)i;
                error = cxe_queue_write(queue, bench.region, offset, next, LINE_BYTES, NULL);
                break;
            default:
                next[3] += operand;
                error = cxe_queue_fetch(queue, bench.region, CXE_FETCH_ADD, offset + 24, 8, &operand,
                                        &seen[started][0], NULL);
                break;
            }
            if (error == -EAGAIN)
                break;
            cr_assert_eq(error, 0, "%s", cxe_last_error());
            memcpy(model[line], next, sizeof(next));
            started++;
        }
        int count = cxe_queue_wait(queue, completions, 64, 20 * NS_PER_S);
        cr_assert_gt(count, 0, "%s", cxe_last_error());
        for (int i = 0; i < count; i++)
            cr_assert_eq(completions[i].result, 0);
        done += (unsigned)count;
    }
    for (unsigned i = 0; i < OPERATIONS; i++)
        if (reads[i])
            cr_assert_arr_eq(seen[i], expected[i], LINE_BYTES, "operation %u", i);
    cxe_queue_close(queue);
    tear_down(&bench);
}

/* ---- errors ---- */

Test(operations, wrong_arguments_are_named_and_change_nothing)
{
    struct bench bench;
    uint8_t line[2 * LINE_BYTES] = {0};
    uint64_t word = 0;
    struct cxe_region *other;

    set_up(&bench, &paths[1]);
    cr_assert_eq(cxe_read(bench.region, 1, line, LINE_BYTES), -EINVAL);
    cr_assert(strstr(cxe_last_error(), "64"));
    cr_assert_eq(cxe_read(bench.region, 0, line, 63), -EINVAL);
    cr_assert_eq(cxe_read(bench.region, REGION_BYTES, line, LINE_BYTES), -ERANGE);
    cr_assert_eq(cxe_write(bench.region, REGION_BYTES - LINE_BYTES, line, sizeof(line)), -ERANGE);
    cr_assert_eq(cxe_write(bench.region, UINT64_MAX - 63, line, LINE_BYTES), -ERANGE);
    cr_assert_eq(cxe_cas(bench.region, 4, 8, &word, &word, &word), -EINVAL);
    cr_assert_eq(cxe_cas(bench.region, 0, 3, &word, &word, &word), -EINVAL);
    cr_assert_eq(cxe_fetch(bench.region, CXE_SWAP, 0, 16, line, line), -EINVAL);
    cr_assert_eq(cxe_read(bench.region, 0, line, 0), 0, "nothing is a fine amount");
    cr_assert_eq(cxe_region_create(bench.connection, "test", 4096, 0, &other), -EEXIST);
    cr_assert_eq(cxe_region_create(bench.connection, "a b", 4096, 0, &other), -EINVAL);
    cr_assert_eq(cxe_region_create(bench.connection, "odd", 4097, 0, &other), -EINVAL);
    cr_assert_eq(cxe_region_create(bench.connection, "huge", 1ull << 40, 0, &other), -ENOSPC);
    cr_assert_eq(cxe_region_open(bench.connection, "absent", &other), -ENOENT);
    cr_assert_eq(cxe_disconnect(bench.connection), -EBUSY);
    tear_down(&bench);
}

Test(operations, a_deleted_region_is_stale_and_a_sealed_one_read_only)
{
    struct bench bench;
    uint8_t line[LINE_BYTES] = {1};
    uint64_t word = 0;

    set_up(&bench, &paths[1]);
    cr_assert_eq(cxe_region_seal(bench.region), 0);
    cr_assert_eq(cxe_write(bench.region, 0, line, sizeof(line)), -EACCES);
    cr_assert_eq(cxe_cas(bench.region, 0, 8, &word, &word, &word), -EACCES);
    cr_assert_eq(cxe_read(bench.region, 0, line, sizeof(line)), 0);
    cr_assert_eq(line[0], 0);
    cr_assert_eq(cxe_region_delete(bench.connection, "test"), 0);
    cr_assert_eq(cxe_read(bench.region, 0, line, sizeof(line)), -ESTALE);
    tear_down(&bench);
}

Test(queue, one_refused_operation_does_not_take_its_neighbours_along)
{
    struct bench bench;
    struct cxe_queue *queue;
    struct cxe_region *sealed;
    struct cxe_completion completions[8];
    uint8_t line[LINE_BYTES] = {42}, seen[LINE_BYTES];
    int results[6] = {1, 1, 1, 1, 1, 1}, done = 0;

    set_up(&bench, &paths[1]);
    cr_assert_eq(cxe_region_create(bench.connection, "sealed", 4096, 0, &sealed), 0);
    cr_assert_eq(cxe_region_seal(sealed), 0);
    cr_assert_eq(cxe_queue_open(bench.connection, 8, &queue), 0);
    for (int i = 0; i < 6; i++)
        cr_assert_eq(cxe_queue_write(queue, i == 1 || i == 4 ? sealed : bench.region,
                                     (uint64_t)i * LINE_BYTES, line, LINE_BYTES, &results[i]),
                     0);
    while (done < 6) {
        int count = cxe_queue_wait(queue, completions, 8, NS_PER_S);

        cr_assert_gt(count, 0);
        for (int i = 0; i < count; i++)
            *(int *)completions[i].context = completions[i].result;
        done += count;
    }
    for (int i = 0; i < 6; i++)
        cr_assert_eq(results[i], i == 1 || i == 4 ? -EACCES : 0, "operation %d: %d", i, results[i]);
    cr_assert_eq(cxe_read(bench.region, 5 * LINE_BYTES, seen, LINE_BYTES), 0);
    cr_assert_arr_eq(seen, line, LINE_BYTES);
    cxe_queue_close(queue);
    cxe_region_close(sealed);
    tear_down(&bench);
}

/* Its user may be busy with the first completions for long. */
Test(queue, an_operation_leaves_though_not_all_completions_were_taken)
{
    const uint64_t give_up_ns = clock_now_ns() + 60 * NS_PER_S;
    uint8_t line[LINE_BYTES] = {42}, seen[LINE_BYTES] = {0};
    struct cxe_completion completion;
    struct cxe_queue *queue;
    struct bench bench;

    set_up(&bench, &paths[1]);
    cr_assert_eq(cxe_queue_open(bench.connection, 8, &queue), 0);
    for (uint64_t i = 1; i <= 4; i++)
        cr_assert_eq(cxe_queue_write(queue, bench.region, i * LINE_BYTES, line, LINE_BYTES, NULL), 0);
    cr_assert_eq(cxe_queue_wait(queue, &completion, 0, 60 * NS_PER_S), 0, "all are done, none is taken");
    cr_assert_eq(cxe_queue_write(queue, bench.region, 0, line, LINE_BYTES, NULL), 0);
    cr_assert_eq(cxe_queue_poll(queue, &completion, 1), 1);
    while (seen[0] != 42) {
        cr_assert_lt(clock_now_ns(), give_up_ns, "what was started before cxe_queue_poll did not leave");
        cr_assert_eq(cxe_read(bench.region, 0, seen, LINE_BYTES), 0);
    }
    cxe_queue_close(queue);
    tear_down(&bench);
}

/* What stood behind the refused operation in its frame leaves under a new number, maybe after a loss or two;
 * what was started later on the same line still comes after it. */
Test(queue, what_a_refusal_left_undone_stays_ahead_of_what_came_later)
{
    enum { ROUNDS = 60, STEPS = 6 };
    struct path lossy = {"lossy", "eth", "drop=20%,seed=5", CXE_ENCRYPTION_DEFAULT};
    struct cxe_completion completions[STEPS];
    struct cxe_region *sealed;
    struct cxe_queue *queue;
    struct bench bench;
    uint64_t line[8] = {0};

    set_up(&bench, &lossy);
    cr_assert_eq(cxe_region_create(bench.connection, "sealed", 4096, 0, &sealed), 0);
    cr_assert_eq(cxe_region_seal(sealed), 0);
    cr_assert_eq(cxe_queue_open(bench.connection, STEPS, &queue), 0);
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        for (uint64_t i = 1; i <= 3; i++) /* now requests are in flight, so the next ones share a frame */
            cr_assert_eq(cxe_queue_write(queue, bench.region, i * LINE_BYTES, line, sizeof(line), NULL), 0);
        cr_assert_eq(cxe_queue_write(queue, sealed, 0, line, sizeof(line), NULL), 0);
        line[0] = 2 * round;
        cr_assert_eq(cxe_queue_write(queue, bench.region, 0, line, sizeof(line), NULL), 0);
        cxe_queue_flush(queue);
        line[0] = 2 * round + 1;
        cr_assert_eq(cxe_queue_write(queue, bench.region, 0, line, sizeof(line), NULL), 0);
        for (int done = 0; done < STEPS;) {
            int count = cxe_queue_wait(queue, completions, STEPS, 20 * NS_PER_S);

            cr_assert_gt(count, 0, "%s", cxe_last_error());
            done += count;
        }
        cr_assert_eq(cxe_read(bench.region, 0, line, sizeof(line)), 0);
        cr_assert_eq(line[0], 2 * round + 1, "the earlier write was done last, in round %u", (unsigned)round);
    }
    cxe_queue_close(queue);
    cxe_region_close(sealed);
    tear_down(&bench);
}

/* The library is made to believe that the region is longer than it is: the last frame of the write fails. */
Test(operations, a_write_that_fails_half_way_is_unknown_and_one_that_fails_at_once_is_not_done)
{
    static uint8_t lines[REGION_BYTES + PAGE_BYTES], seen[LINE_BYTES];
    struct bench bench;

    set_up(&bench, &paths[0]);
    memset(lines, 7, sizeof(lines));
    bench.region->bytes = sizeof(lines);
    cr_assert_eq(cxe_write(bench.region, REGION_BYTES - LINE_BYTES, lines, 2 * LINE_BYTES), -ERANGE);
    cr_assert_eq(cxe_read(bench.region, REGION_BYTES - LINE_BYTES, seen, sizeof(seen)), 0);
    cr_assert_eq(seen[0], 0, "one operation in one frame is done or not");
    cr_assert_eq(cxe_write(bench.region, 0, lines, sizeof(lines)), -CXE_EUNKNOWN);
    cr_assert_eq(cxe_read(bench.region, 0, seen, sizeof(seen)), 0);
    cr_assert_eq(seen[0], 7);
    tear_down(&bench);
}

/* ---- threads ---- */

enum { ADDERS = 4, ADDITIONS = 500 };

static void *adder(void *region)
{
    uint64_t one = 1, old;

    for (int i = 0; i < ADDITIONS; i++)
        cr_assert_eq(cxe_fetch(region, CXE_FETCH_ADD, 0, 8, &one, &old), 0, "%s", cxe_last_error());
    return NULL;
}

Test(operations, threads_share_the_lanes)
{
    struct bench bench;
    pthread_t threads[ADDERS];
    uint64_t line[8];

    set_up(&bench, &paths[1]);
    for (int i = 0; i < ADDERS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, adder, bench.region), 0);
    for (int i = 0; i < ADDERS; i++)
        pthread_join(threads[i], NULL);
    cr_assert_eq(cxe_read(bench.region, 0, line, sizeof(line)), 0);
    cr_assert_eq(line[0], ADDERS * ADDITIONS);
    tear_down(&bench);
}
