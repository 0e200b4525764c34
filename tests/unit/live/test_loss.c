/* test_loss.c - what callers are told when the server restarts, forgets them, or refuses them: never a silent
 * repeat */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "atomic.h"
#include "clock.h"
#include "connection.h"
#include "fault.h"
#include "lane_internal.h"
#include "limits.h"
#include "server.h"
#include "session.h"

static struct server server;

static void stop(void)
{
    server_stop(&server);
}

TestSuite(loss, .timeout = 60);

Test(loss, after_a_restart_regions_are_gone_and_say_so)
{
    struct cxe_connection *connection;
    struct cxe_region *region, *again;
    struct cxe_server_info before, after;
    uint8_t line[LINE_BYTES] = {7};

    server_start(&server);
    connection = server_connect(&server, NULL, CXE_ENCRYPTION_DEFAULT);
    cr_assert_eq(cxe_region_create(connection, "r", 4096, 0, &region), 0);
    cr_assert_eq(cxe_write(region, 0, line, sizeof(line)), 0);
    cr_assert_eq(cxe_server_info(connection, &before), 0);
    server_restart(&server);
    cr_assert_eq(cxe_read(region, 0, line, sizeof(line)), -ESTALE, "%s", cxe_last_error());
    cr_assert_eq(cxe_region_open(connection, "r", &again), -ENOENT);
    cr_assert_eq(cxe_region_create(connection, "r", 4096, 0, &again), 0, "%s", cxe_last_error());
    cr_assert_eq(cxe_read(region, 0, line, sizeof(line)), -ESTALE,
                 "the old handle never names the new region");
    cr_assert_eq(cxe_server_info(connection, &after), 0);
    cxe_region_close(again);
    cxe_region_close(region);
    cr_assert_eq(cxe_disconnect(connection), 0);
    stop();
}

/* Adds for as long as it takes until something is reported; counts what was reported done. */
struct additions {
    struct cxe_region *region;
    uint64_t done;
    int error;
    bool stop;
    bool ended_well; /* because of `stop` */
};

static void *add_until_told(void *argument)
{
    struct additions *additions = argument;
    uint64_t one = 1, old;

    while (!load_acquire(&additions->stop)) {
        additions->error = cxe_fetch(additions->region, CXE_FETCH_ADD, 0, 8, &one, &old);
        if (additions->error || old != additions->done)
            return NULL;
        store_release(&additions->done, additions->done + 1);
    }
    additions->ended_well = true;
    return NULL;
}

Test(loss, an_atomic_in_flight_at_a_restart_is_unknown_or_not_done)
{
    struct cxe_connection *connection;
    struct additions additions = {0};
    pthread_t thread;

    server_start(&server);
    connection = server_connect(&server, "delay=0..1ms,seed=3", CXE_ENCRYPTION_DEFAULT);
    cr_assert_eq(cxe_region_create(connection, "r", 4096, 0, &additions.region), 0);
    cr_assert_eq(pthread_create(&thread, NULL, add_until_told, &additions), 0);
    while (load_acquire(&additions.done) < 20)
        usleep(1000);
    server_restart(&server);
    pthread_join(thread, NULL);
    cr_assert(additions.error == -CXE_EUNKNOWN || additions.error == -ESTALE, "told %d", additions.error);
    cxe_region_close(additions.region);
    cr_assert_eq(cxe_disconnect(connection), 0);
    stop();
}

/* A server keeps a session for 5 seconds only if the client says nothing. */
Test(loss, a_session_may_be_used_long_after_it_was_opened)
{
    struct cxe_connection *connection;
    struct cxe_completion completion;
    struct cxe_region *region;
    struct cxe_queue *queue;
    uint8_t line[LINE_BYTES] = {9};

    server_start(&server);
    connection = server_connect(&server, "drop=10%,seed=1", CXE_ENCRYPTION_DEFAULT);
    cr_assert_eq(cxe_region_create(connection, "r", 4096, 0, &region), 0);
    cr_assert_eq(cxe_queue_open(connection, 4, &queue), 0);
    usleep((SESSION_UNCONFIRMED_NS + NS_PER_S) / NS_PER_US);
    cr_assert_eq(cxe_queue_write(queue, region, 0, line, sizeof(line), NULL), 0);
    cr_assert_eq(cxe_queue_wait(queue, &completion, 1, 20 * NS_PER_S), 1);
    cr_assert_eq(completion.result, 0, "%d", completion.result);
    cr_assert_eq(load_relaxed(&worker_counters(server.worker)->sessions_closed), 0);
    cxe_queue_close(queue);
    cxe_region_close(region);
    cr_assert_eq(cxe_disconnect(connection), 0);
    stop();
}

/* The server's CLOSE came while nobody looked. A write that follows it is not sent into the void. */
Test(loss, a_write_after_a_close_that_nobody_heard_is_done)
{
    struct cxe_connection *connection;
    struct cxe_region *region;
    uint8_t line[LINE_BYTES] = {9};

    server.idle_timeout_ns = 50 * NS_PER_MS;
    server_start(&server);
    connection = server_connect(&server, NULL, CXE_ENCRYPTION_DEFAULT);
    cr_assert_eq(cxe_region_create(connection, "r", 4096, 0, &region), 0);
    for (int i = 0; i < 3; i++) {
        while (load_relaxed(&worker_counters(server.worker)->sessions) > 0)
            usleep(1000);
        usleep(100000); /* long enough for the lane to look before it sends */
        cr_assert_eq(cxe_write(region, 0, line, sizeof(line)), 0, "%s", cxe_last_error());
    }
    cxe_region_close(region);
    cr_assert_eq(cxe_disconnect(connection), 0);
    stop();
}

/* Takes `from` away, and gives the route to the server the source address `to`. */
static void readdress(const char *from, const char *to)
{
    char command[256];

    snprintf(command, sizeof(command),
             "ip address add %s/32 dev lo && ip address delete %s/32 dev lo && "
             "ip route replace local 127.0.0.1 dev lo table local src %s",
             to, from, to);
    cr_assert_eq(system(command), 0);
}

Test(loss, a_client_whose_address_changes_goes_on)
{
    struct cxe_connection *connection;
    struct additions additions = {0};
    pthread_t thread;
    uint64_t goal;

    if (unshare(CLONE_NEWNET) < 0)
        cr_skip_test("network namespaces are not permitted here");
    if (system("ip link set lo up && ip address add 10.9.0.1/32 dev lo &&"
               "ip route replace local 127.0.0.1 dev lo table local src 10.9.0.1") != 0)
        cr_skip_test("ip (Debian package iproute2) is not installed");
    server_start(&server);
    connection = server_connect(&server, NULL, CXE_ENCRYPTION_DEFAULT);
    cr_assert_eq(cxe_region_create(connection, "r", 4096, 0, &additions.region), 0);
    cr_assert_eq(pthread_create(&thread, NULL, add_until_told, &additions), 0);
    for (int i = 0; i < 3; i++) {
        while (load_acquire(&additions.done) < 100 * (uint64_t)(i + 1))
            usleep(1000);
        readdress(i % 2 ? "10.9.0.2" : "10.9.0.1", i % 2 ? "10.9.0.1" : "10.9.0.2");
        goal = load_acquire(&additions.done) + 100;
        while (load_acquire(&additions.done) < goal)
            usleep(1000);
    }
    store_release(&additions.stop, true);
    pthread_join(thread, NULL);
    cr_assert(additions.ended_well, "told %d, or an addition was done twice", additions.error);
    cxe_region_close(additions.region);
    cr_assert_eq(cxe_disconnect(connection), 0);
    stop();
}

Test(loss, a_forgotten_session_is_replaced_without_a_word)
{
    struct cxe_connection *connection;
    struct cxe_region *region;
    uint8_t line[LINE_BYTES] = {9}, seen[LINE_BYTES];

    server.idle_timeout_ns = 50 * NS_PER_MS;
    server_start(&server);
    connection = server_connect(&server, NULL, CXE_ENCRYPTION_DEFAULT);
    cr_assert_eq(cxe_region_create(connection, "r", 4096, 0, &region), 0);
    cr_assert_eq(cxe_write(region, 0, line, sizeof(line)), 0);
    usleep(300000);
    cr_assert_eq(cxe_read(region, 0, seen, sizeof(seen)), 0, "%s", cxe_last_error());
    cr_assert_arr_eq(seen, line, sizeof(line));
    cxe_region_close(region);
    cr_assert_eq(cxe_disconnect(connection), 0);
    stop();
}

Test(loss, sessions_of_a_removed_tenant_end)
{
    struct cxe_connect_options options = {.timeout_ns = 300 * NS_PER_MS};
    struct cxe_connection *connection, *refused;
    struct cxe_region *region;
    uint8_t line[LINE_BYTES];

    server_start(&server);
    options.server = server.address;
    options.server_key = server.key_text;
    cr_assert_eq(cxe_connect(&options, &connection), 0);
    cr_assert_eq(cxe_region_create(connection, "r", 4096, 0, &region), 0);
    store_release(&server.tenants_refuse, true);
    store_release(&server.tenants_generation, 1);
    usleep(50000);
    cr_assert_lt(cxe_read(region, 0, line, sizeof(line)), 0, "its key is nobody's");
    cr_assert_eq(cxe_connect(&options, &refused), -EKEYREJECTED, "%s", cxe_last_error());
    cxe_region_close(region);
    cr_assert_eq(cxe_disconnect(connection), 0);
    stop();
}

Test(loss, a_server_that_is_away_is_waited_for_and_then_reported)
{
    struct cxe_connect_options options = {.timeout_ns = 400 * NS_PER_MS};
    struct cxe_connection *connection;
    struct cxe_region *region;
    uint8_t line[LINE_BYTES] = {1};
    uint64_t before_ns;
    int error;

    server_start(&server);
    options.server = server.address;
    options.server_key = server.key_text;
    cr_assert_eq(cxe_connect(&options, &connection), 0);
    cr_assert_eq(cxe_region_create(connection, "r", 4096, 0, &region), 0);
    stop();
    before_ns = clock_now_ns();
    cr_assert_eq(cxe_read(region, 0, line, sizeof(line)), -ETIMEDOUT);
    cr_assert_geq(clock_now_ns() - before_ns, options.timeout_ns);
    error = cxe_write(region, 0, line, sizeof(line));
    cr_assert(error == -ETIMEDOUT || error == -CXE_EUNKNOWN, "told %d", error);
    cxe_region_close(region);
    cr_assert_eq(cxe_disconnect(connection), 0);
    cr_assert_eq(cxe_connect(&options, &connection), -ECONNREFUSED, "%s", cxe_last_error());
}

static uint64_t thread_cpu_ns(void)
{
    struct timespec used;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * NS_PER_S + (uint64_t)used.tv_nsec;
}

static void wait_without_work(const char *transport)
{
    struct cxe_connect_options options = {.timeout_ns = NS_PER_S, .transport = transport};
    struct cxe_connection *connection;
    struct cxe_region *region;
    uint8_t line[LINE_BYTES];
    uint64_t before_ns;

    server.transport = transport;
    server_start(&server);
    options.server = server.address;
    options.server_key = server.key_text;
    cr_assert_eq(cxe_connect(&options, &connection), 0);
    cr_assert_eq(cxe_region_create(connection, "r", 4096, 0, &region), 0);
    stop();
    before_ns = thread_cpu_ns();
    cr_assert_eq(cxe_read(region, 0, line, sizeof(line)), -ETIMEDOUT);
    cr_assert_lt(thread_cpu_ns() - before_ns, NS_PER_S / 5, "it spun");
    cxe_region_close(region);
    cr_assert_eq(cxe_disconnect(connection), 0);
}

Test(loss, who_waits_for_a_server_that_is_away_sleeps)
{
    wait_without_work("eth");
}

Test(loss, who_waits_for_a_server_that_is_away_sleeps_over_libfabric)
{
    wait_without_work("ofi:tcp");
}

/* A connection of two lanes with a short timeout, and a region, whose first lines are 1. */
static void connect_with_cable(struct cxe_connection **connection_out, struct cxe_region **region_out)
{
    struct cxe_connect_options options = {.timeout_ns = 300 * NS_PER_MS, .lanes = 2, .fault = "seed=1"};
    uint64_t lines[4][8] = {{1}, {1}, {1}, {1}};

    server_start(&server);
    options.server = server.address;
    options.server_key = server.key_text;
    cr_assert_eq(cxe_connect(&options, connection_out), 0);
    cr_assert_eq(cxe_region_create(*connection_out, "r", 4096, 0, region_out), 0);
    cr_assert_eq(cxe_write(*region_out, 0, lines, sizeof(lines)), 0);
}

/* The later write goes over another lane, as another thread's would. */
Test(loss, a_write_given_up_never_happens_after_a_later_one)
{
    struct cxe_connection *connection;
    struct cxe_region *region;
    struct lane *lane, *other;
    uint64_t line[8] = {2};
    struct op read = {.opcode = OP_MEM_RD, .line_count = 1, .result = line};
    struct op write = {.opcode = OP_MEM_WR, .line_count = 1, .operand = line};

    connect_with_cable(&connection, &region);
    read.region = write.region = region->handle;
    for (int i = 0; i < 2; i++)
        fault_cut(connection->lanes[i]->endpoint, FAULT_CUT_OUT);
    cr_assert_eq(cxe_write(region, 0, line, sizeof(line)), -CXE_EUNKNOWN);
    for (int i = 0; i < 2; i++)
        fault_cut(connection->lanes[i]->endpoint, FAULT_CUT_NONE);
    lane = connection->lanes[connection->lanes[0]->window.in_flight == 0];
    other = connection->lanes[connection->lanes[0]->window.in_flight != 0];
    line[0] = 3;
    lane_hold(other);
    cr_assert_eq(lane_run(other, &write, clock_now_ns() + 5 * NS_PER_S), 0);
    lane_release(other);
    lane_hold(lane);
    for (int i = 0; i < 10; i++) {
        cr_assert_eq(lane_run(lane, &read, clock_now_ns() + 5 * NS_PER_S), 0);
        cr_assert_eq(line[0], 3, "the write that was given up came back");
        usleep(30000);
    }
    lane_release(lane);
    cxe_region_close(region);
    cr_assert_eq(cxe_disconnect(connection), 0);
    stop();
}

Test(loss, what_never_left_its_frame_is_not_done)
{
    static const int expected[4] = {-CXE_EUNKNOWN, -CXE_EUNKNOWN, -ETIMEDOUT, -ETIMEDOUT};
    uint64_t line[8] = {2}, lines[4][8], deadline_ns;
    struct cxe_connection *connection;
    struct cxe_region *region;
    struct lane *lane;
    struct op writes[4];

    connect_with_cable(&connection, &region);
    deadline_ns = clock_now_ns() + 10 * NS_PER_S;
    cr_assert_eq(lane_open(connection, LANE_QUEUE, deadline_ns, &lane), 0);
    fault_cut(lane->endpoint, FAULT_CUT_OUT);
    for (uint64_t i = 0; i < 4; i++) { /* two leave at once, the others wait in a frame for more to come */
        writes[i] = (struct op){.opcode = OP_MEM_WR,
                                .line_count = 1,
                                .region = region->handle,
                                .offset = i * LINE_BYTES,
                                .operand = line};
        lane_post(lane, &writes[i]);
    }
    for (int i = 0; i < 4; i++)
        cr_assert_eq(lane_cancel(lane, &writes[i]), expected[i], "write %d", i);
    cr_assert(lane_valid(lane));
    fault_cut(lane->endpoint, FAULT_CUT_NONE);
    writes[0] = (struct op){.opcode = OP_MEM_RD, .line_count = 4, .region = region->handle, .result = lines};
    cr_assert_eq(lane_run(lane, &writes[0], deadline_ns), 0);
    cr_assert_eq(lines[2][0], 1, "not done, it was said");
    cr_assert_eq(lines[3][0], 1, "not done, it was said");
    lane_close(lane, true);
    cxe_region_close(region);
    cr_assert_eq(cxe_disconnect(connection), 0);
    stop();
}

/* An answer ends the wait for it: the time until the next question is no silence. */
Test(loss, idleness_is_not_the_servers_silence)
{
    struct cxe_connect_options options = {.timeout_ns = 300 * NS_PER_MS, .fault = "delay=2ms,seed=1"};
    struct cxe_connection *connection;
    struct cxe_completion completion;
    struct cxe_region *region;
    struct cxe_queue *queue;
    uint8_t line[LINE_BYTES] = {1};
    uint64_t hellos;
    int count;

    server_start(&server);
    options.server = server.address;
    options.server_key = server.key_text;
    cr_assert_eq(cxe_connect(&options, &connection), 0);
    cr_assert_eq(cxe_region_create(connection, "r", 4096, 0, &region), 0);
    cr_assert_eq(cxe_queue_open(connection, 1, &queue), 0);
    cr_assert_eq(cxe_queue_write(queue, region, 0, line, sizeof(line), NULL), 0);
    cr_assert_eq(cxe_queue_wait(queue, &completion, 1, 5 * NS_PER_S), 1);
    hellos = load_relaxed(&worker_counters(server.worker)->handshake_hellos);
    usleep(600000);
    cr_assert_eq(cxe_queue_write(queue, region, 0, line, sizeof(line), NULL), 0);
    while ((count = cxe_queue_poll(queue, &completion, 1)) == 0)
        ;
    cr_assert_eq(count, 1);
    cr_assert_eq(completion.result, 0, "given up at once: %d", completion.result);
    cr_assert_eq(load_relaxed(&worker_counters(server.worker)->handshake_hellos), hellos,
                 "it doubted a session that was merely not used");
    cxe_queue_close(queue);
    cxe_region_close(region);
    cr_assert_eq(cxe_disconnect(connection), 0);
    stop();
}

/* The lane shakes hands before it sends anything, in vain: then the handshake is what is not answered. */
Test(loss, silence_counts_also_before_anything_could_be_sent)
{
    struct cxe_connection *connection;
    struct op read = {.opcode = OP_MEM_RD, .line_count = 1};
    uint8_t line[LINE_BYTES];
    struct lane *lane;

    server_start(&server);
    connection = server_connect(&server, NULL, CXE_ENCRYPTION_DEFAULT);
    lane = connection->lanes[0];
    read.result = line;
    stop();
    lane_hold(lane);
    lane->link.heard_ns -= 3600 * NS_PER_S; /* too long ago to trust the session */
    cr_assert_eq(lane_run(lane, &read, clock_now_ns() + 50 * NS_PER_MS), -ETIMEDOUT);
    lane_post(lane, &read);
    cr_assert_eq(lane_wait(lane, &read, clock_now_ns() + 100 * NS_PER_MS), -ETIMEDOUT);
    cr_assert_geq(lane_silence_ns(lane), 100 * NS_PER_MS);
    cr_assert_eq(lane_cancel(lane, &read), -ETIMEDOUT);
    lane_release(lane);
    cr_assert_eq(cxe_disconnect(connection), 0);
}

Test(loss, encryption_is_never_dropped_by_itself)
{
    struct cxe_connect_options options = {.encryption = CXE_ENCRYPTION_OFF, .timeout_ns = NS_PER_S};
    struct cxe_connection *connection;

    server.cipher_mask = 1u << RECORD_CIPHER_AES256GCM | 1u << RECORD_CIPHER_CHACHA20POLY1305;
    server_start(&server);
    options.server = server.address;
    options.server_key = server.key_text;
    cr_assert_eq(cxe_connect(&options, &connection), -EACCES, "%s", cxe_last_error());
    server_stop(&server);
    server.cipher_mask = 1u << RECORD_CIPHER_PLAIN;
    server_start(&server);
    options.server = server.address;
    options.encryption = CXE_ENCRYPTION_DEFAULT;
    cr_assert_eq(cxe_connect(&options, &connection), -EACCES, "%s", cxe_last_error());
    stop();
}
