/* test_spin.c - a worker that looks for frames offers its core, and what others do there is not its work */
#include <criterion/criterion.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "atomic.h"
#include "clock.h"
#include "server.h"

#define AWAY_NS (40 * NS_PER_MS)
#define ROUNDS  200
#define ENOUGH  5

static bool others_want_it; /* atomic */
static unsigned offers;     /* atomic: how often they got it */

/* In the place of libc's: the worker, who is not the main thread, is away for long. */
int sched_yield(void)
{
    const struct timespec away = {.tv_nsec = AWAY_NS};

    if (!load_relaxed(&others_want_it) || syscall(SYS_gettid) == getpid())
        return (int)syscall(SYS_sched_yield);
    fetch_add_relaxed(&offers, 1u);
    return nanosleep(&away, NULL);
}

static uint64_t busy_ns(const struct server *server)
{
    return load_relaxed(&worker_counters(server->worker)->busy_ns);
}

/* The frame comes while others have the core. */
static void ask_when_away(struct cxe_region *region)
{
    const struct timespec pause = {.tv_nsec = AWAY_NS / 4};
    uint8_t line[LINE_BYTES];

    for (unsigned i = 0; i < 64; i++) /* so often that it looks for more */
        cr_assert_eq(cxe_read(region, 0, line, sizeof(line)), 0);
    store_relaxed(&others_want_it, true);
    nanosleep(&pause, NULL);
    cr_assert_eq(cxe_read(region, 0, line, sizeof(line)), 0);
    store_relaxed(&others_want_it, false);
}

Test(spin, time_given_to_others_is_not_counted_as_work, .timeout = 120)
{
    static struct server server;
    struct cxe_connection *connection;
    struct cxe_region *region;
    uint64_t before_ns;

    server_start(&server);
    connection = server_connect(&server, NULL, CXE_ENCRYPTION_DEFAULT);
    cr_assert_eq(cxe_region_create(connection, "r", 4096, 0, &region), 0);
    before_ns = busy_ns(&server);
    for (unsigned round = 0; round < ROUNDS && load_relaxed(&offers) < ENOUGH; round++)
        ask_when_away(region);
    if (load_relaxed(&offers) < ENOUGH)
        cr_skip_test("the machine is too slow for the worker to wait for frames awake");
    cr_assert_lt(busy_ns(&server) - before_ns, ENOUGH * AWAY_NS / 2);
    cxe_region_close(region);
    cr_assert_eq(cxe_disconnect(connection), 0);
    server_stop(&server);
}
