/* test_wait.c - waiting for a word to change, without asking again and again */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "atomic.h"
#include "clock.h"
#include "connection.h"
#include "lane_internal.h"
#include "server.h"

#define WAITERS 40 /* more than a session has slots */

static struct server server;
static struct cxe_connection *connection;
static struct cxe_region *region;

static void set_up(void)
{
    server.worker_count = 2;
    server_start(&server);
    connection = server_connect(&server, NULL, CXE_ENCRYPTION_DEFAULT);
    cr_assert_eq(cxe_region_create(connection, "r", 65536, 0, &region), 0);
}

static void tear_down(void)
{
    cxe_region_close(region);
    cr_assert_eq(cxe_disconnect(connection), 0);
    server_stop(&server);
}

TestSuite(wait, .init = set_up, .fini = tear_down, .timeout = 120);

static void store(uint64_t offset, uint64_t value)
{
    uint64_t old;

    cr_assert_eq(cxe_fetch(region, CXE_SWAP, offset, 8, &value, &old), 0, "%s", cxe_last_error());
}

static int wait_for(uint64_t expected, uint64_t timeout_ns, uint64_t *value_out)
{
    return cxe_wait(region, 0, 8, &expected, timeout_ns, value_out);
}

Test(wait, what_has_changed_already_is_told_at_once)
{
    uint64_t value = 0;

    store(0, 7);
    cr_assert_eq(wait_for(6, 0, &value), 0, "%s", cxe_last_error());
    cr_assert_eq(value, 7);
    cr_assert_eq(wait_for(5, UINT64_MAX, &value), 0);
}

Test(wait, it_ends_with_its_time)
{
    uint64_t before_ns = clock_now_ns(), value = 9;

    cr_assert_eq(wait_for(0, 0, &value), -ETIMEDOUT);
    cr_assert_eq(wait_for(0, 100 * NS_PER_MS, &value), -ETIMEDOUT);
    cr_assert_geq(clock_now_ns() - before_ns, 100 * NS_PER_MS);
    cr_assert_eq(value, 9, "written only on success");
}

struct waiter {
    pthread_t thread;
    uint64_t offset, value;
    int error;
};

static unsigned waiting;

static void *wait_for_change(void *argument)
{
    struct waiter *waiter = argument;
    uint64_t zero = 0;

    fetch_add_relaxed(&waiting, 1);
    waiter->error = cxe_wait(region, waiter->offset, 8, &zero, 60 * NS_PER_S, &waiter->value);
    return NULL;
}

static void start_waiters(struct waiter *waiters, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        waiters[i].offset = 8 * (uint64_t)(i % 4); /* four words of one line */
        cr_assert_eq(pthread_create(&waiters[i].thread, NULL, wait_for_change, &waiters[i]), 0);
    }
    while (load_relaxed(&waiting) < count)
        usleep(1000);
    usleep(100000); /* most of them are parked by now; it is right either way */
}

Test(wait, a_change_wakes_all_who_wait_for_it_and_nobody_else)
{
    static struct waiter waiters[WAITERS];
    unsigned lanes = 0;

    start_waiters(waiters, WAITERS);
    for (uint64_t word = 0; word < 4; word++) {
        store(8 * word, 100 + word);
        for (unsigned i = (unsigned)word; i < WAITERS; i += 4) {
            pthread_join(waiters[i].thread, NULL);
            cr_assert_eq(waiters[i].error, 0, "%d", waiters[i].error);
            cr_assert_eq(waiters[i].value, 100 + word, "woken for another's word");
        }
    }
    for (const struct lane *lane = connection->resting; lane; lane = lane->next_resting)
        lanes++;
    cr_assert_leq(lanes, WAITERS);
    cr_assert_geq(lanes, 1, "the lanes are kept");
}

Test(wait, writes_wake_as_atomics_do)
{
    struct waiter waiters[2] = {0};
    uint64_t line[8] = {5, 0};

    start_waiters(waiters, 2);
    cr_assert_eq(cxe_write(region, 0, line, sizeof(line)), 0, "%s", cxe_last_error());
    pthread_join(waiters[0].thread, NULL);
    line[1] = 6;
    cr_assert_eq(cxe_write_masked(region, 0, line, 0xff00), 0, "%s", cxe_last_error());
    pthread_join(waiters[1].thread, NULL);
    for (unsigned i = 0; i < 2; i++) {
        cr_assert_eq(waiters[i].error, 0, "%d", waiters[i].error);
        cr_assert_eq(waiters[i].value, 5 + i);
    }
}

Test(wait, who_waits_holds_nobody_up)
{
    struct waiter waiters[8] = {0};
    uint64_t line[8];

    start_waiters(waiters, 8);
    for (int i = 0; i < 500; i++)
        cr_assert_eq(cxe_read(region, 4096, line, sizeof(line)), 0, "%s", cxe_last_error());
    for (uint64_t word = 0; word < 4; word++)
        store(8 * word, 1);
    for (unsigned i = 0; i < 8; i++)
        pthread_join(waiters[i].thread, NULL);
}

Test(wait, a_deleted_region_wakes_its_waiters)
{
    struct waiter waiter = {0};

    start_waiters(&waiter, 1);
    cr_assert_eq(cxe_region_delete(connection, "r"), 0, "%s", cxe_last_error());
    pthread_join(waiter.thread, NULL);
    cr_assert_eq(waiter.error, -ESTALE, "%d", waiter.error);
}

Test(wait, a_server_that_restarts_wakes_its_waiters)
{
    struct waiter waiter = {0};

    start_waiters(&waiter, 1);
    server_restart(&server);
    pthread_join(waiter.thread, NULL);
    cr_assert_eq(waiter.error, -ESTALE, "%d", waiter.error);
}

Test(wait, a_wait_that_is_given_up_leaves_nothing_behind)
{
    uint64_t value, closed;

    connection->timeout_ns = 2 * NS_PER_S;
    closed = load_relaxed(&worker_counters(server.workers[0])->sessions_closed) +
             load_relaxed(&worker_counters(server.workers[1])->sessions_closed);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(wait_for(0, 10 * NS_PER_MS, &value), -ETIMEDOUT);
    cr_assert_eq(load_relaxed(&worker_counters(server.workers[0])->sessions_closed) +
                     load_relaxed(&worker_counters(server.workers[1])->sessions_closed),
                 closed, "the server said itself that the time was over");
    worker_stop(server.workers[0]);
    worker_stop(server.workers[1]);
    cr_assert_eq(wait_for(0, UINT64_MAX, &value), -ETIMEDOUT, "it is not there any more");
    cr_assert_null(connection->resting, "a lane on which something still travels");
}
