/* bench_idle.c - what does a fabricd take of the machine while nobody asks it for anything?
 *
 * CPU with more and more sessions that do nothing; memory beside the pool, all of which was written; memory
 * of a session whose window was used in full, so that every answer it must remember is there. See bench.h.
 */
#include "bench.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "bench_report.h"
#include "clock.h"
#include "limits.h"
#include "server_usage.h"

#define SESSIONS_MOST  1000
#define LANES          2 /* sessions of the connection itself, the fewest there are; each queue is another */
#define GOAL_SESSIONS  100
#define GOAL_PER_CENT  1
#define GOAL_SESSION   64   /* KiB */
#define GOAL_BESIDE    64   /* MiB, and */
#define GOAL_OF_POOL   0.02 /* of the pool */
#define FILL_UNIT      (64ull << 10)
#define KIB            1024.0
#define MIB            (1024.0 * 1024.0)
#define WINDOW_REPEATS (SESSION_SLOTS + 1)
#define ANSWER_WAIT_NS (30 * NS_PER_S)

/* A connection has two sessions, so there is none with one. */
static const unsigned points[] = {0, LANES, GOAL_SESSIONS, SESSIONS_MOST};

struct idle_bench {
    const struct bench_options *options;
    struct bench_report *report;
    const struct bench_link *link;
    struct cxe_connection *connection; /* NULL: there is no session at all */
    struct cxe_region *region;
    struct cxe_queue *queues[SESSIONS_MOST];
    unsigned sessions;
    uint64_t counter; /* the word that every window was used for */
};

/* ---- sessions ---- */

/* Every slot of the session's window is used, with a change, whose answer the server has to remember. */
static int use_window(struct idle_bench *bench, struct cxe_queue *queue)
{
    for (unsigned i = 0; i < WINDOW_REPEATS; i++) {
        const uint64_t desired = bench->counter + 1;
        struct cxe_completion done;
        uint64_t old;
        int error =
            cxe_queue_cas(queue, bench->region, 0, sizeof(old), &bench->counter, &desired, &old, NULL);

        if (!error)
            error = cxe_queue_wait(queue, &done, 1, ANSWER_WAIT_NS) == 1 ? done.result : -ETIMEDOUT;
        if (error)
            return bench_fail(error, "using a session: errno %d", -error);
        if (old != bench->counter)
            return bench_fail(-EBADMSG, "cas: found %ju where %ju was left", (uintmax_t)old,
                              (uintmax_t)bench->counter);
        bench->counter = desired;
    }
    return 0;
}

static int connect_first(struct idle_bench *bench)
{
    struct cxe_connect_options connect = *bench->link->connect;
    int error;

    connect.lanes = LANES;
    error = cxe_connect(&connect, &bench->connection);
    if (error)
        return bench_fail_call(error, "connecting");
    error = bench_region_make(bench->connection, 16 * PAGE_BYTES, 0, &bench->region);
    if (error)
        return error;
    bench->counter = bench_word_at(0);
    bench->sessions = LANES;
    return 0;
}

static int grow(struct idle_bench *bench, unsigned sessions)
{
    int error = sessions > 0 && !bench->connection ? connect_first(bench) : 0;

    while (!error && bench->sessions < sessions) {
        struct cxe_queue **queue = &bench->queues[bench->sessions];

        error = cxe_queue_open(bench->connection, 1, queue);
        if (error)
            return bench_fail_call(error, "opening a session");
        bench->sessions++;
        error = use_window(bench, *queue);
    }
    return error;
}

static void end_sessions(struct idle_bench *bench)
{
    while (bench->sessions > LANES)
        cxe_queue_close(bench->queues[--bench->sessions]);
    if (bench->region)
        bench_region_drop(bench->connection, bench->region);
    if (bench->connection)
        cxe_disconnect(bench->connection);
}

/* ---- CPU ---- */

/* Of a server of our own the kernel tells; another says so itself, which takes it a moment. */
static int read_cpu(struct idle_bench *bench, uint64_t *cpu_ns_out)
{
    struct cxe_server_info info;
    int error;

    if (bench->link->server_pid)
        return usage_cpu_ns(bench->link->server_pid, cpu_ns_out);
    error = cxe_server_info(bench->connection, &info);
    if (error)
        return bench_fail_call(error, "asking the server");
    *cpu_ns_out = info.cpu_ns;
    return 0;
}

static int rest(struct idle_bench *bench, uint64_t duration_ns, double *per_cent_out)
{
    const struct timespec duration = {(time_t)(duration_ns / NS_PER_S), (long)(duration_ns % NS_PER_S)};
    const uint64_t begin_ns = clock_now_ns();
    uint64_t before = 0, after = 0;
    int error = read_cpu(bench, &before);

    if (error)
        return error;
    nanosleep(&duration, NULL);
    error = read_cpu(bench, &after);
    *per_cent_out = 100 * (double)(after - before) / (double)(clock_now_ns() - begin_ns);
    return error;
}

static int measure_cpu(struct idle_bench *bench)
{
    const unsigned rounds = bench->options->rounds;
    double values[BENCH_ROUNDS_MAX], ignored = 0;
    char name[96];
    const struct bench_series series = {.plot = "CPU of an idle fabricd",
                                        .label = bench->link->name,
                                        .x_label = "idle sessions",
                                        .x = bench->sessions};
    const struct bench_value value = {
        .name = name,
        .unit = "% of a CPU",
        .values = values,
        .count = rounds,
        .value_goal = bench->sessions == GOAL_SESSIONS ? GOAL_PER_CENT : 0,
        .series = &series,
        .note = "",
    };
    const uint64_t duration_ns = bench->options->figure_ns / (rounds + 1);
    int error = rest(bench, duration_ns, &ignored); /* what came before ends in it */

    for (unsigned i = 0; !error && i < rounds; i++)
        error = rest(bench, duration_ns, &values[i]);
    snprintf(name, sizeof(name), "%s.idle_sessions_%u", bench->link->name, bench->sessions);
    if (!error && bench_wanted(bench->options, name))
        bench_report_value(bench->report, &value);
    return error;
}

/* ---- memory ---- */

static void report_memory(struct idle_bench *bench, const char *what, const char *unit, double amount,
                          double goal)
{
    char name[96];
    const struct bench_value value = {
        .name = name, .unit = unit, .values = &amount, .count = 1, .value_goal = goal, .note = ""};

    snprintf(name, sizeof(name), "%s.%s", bench->link->name, what);
    if (bench_wanted(bench->options, name))
        bench_report_value(bench->report, &value);
}

/* Writes the whole pool, then nobody is connected any more. */
static int fill_pool(struct idle_bench *bench, uint64_t *pool_bytes_out)
{
    struct cxe_connection *connection;
    struct cxe_server_info info;
    struct cxe_region *region;
    int error = cxe_connect(bench->link->connect, &connection);

    if (error)
        return bench_fail_call(error, "connecting");
    error = cxe_server_info(connection, &info);
    if (error)
        bench_fail_call(error, "asking the server");
    else
        error = bench_region_make(connection, info.pool_free_bytes / FILL_UNIT * FILL_UNIT, 0, &region);
    if (!error)
        bench_region_drop(connection, region);
    cxe_disconnect(connection);
    *pool_bytes_out = error ? 0 : info.pool_bytes;
    return error;
}

/* ---- all of it ---- */

static int measure_sessions(struct idle_bench *bench, unsigned sessions)
{
    int error = grow(bench, sessions);

    return error ? error : measure_cpu(bench);
}

static int measure(struct idle_bench *bench)
{
    const uint64_t most = usage_sessions_most(bench->link);
    const pid_t pid = bench->link->server_pid;
    uint64_t pool_bytes = 0, alone_bytes = 0, all_bytes = 0;
    int error = pid ? fill_pool(bench, &pool_bytes) : 0;

    if (!error && pid)
        error = usage_resident_bytes(pid, &alone_bytes);
    for (unsigned i = 0; !error && i < sizeof(points) / sizeof(points[0]); i++) {
        if (points[i] == 0 && !pid)
            continue; /* it takes a session to ask */
        if (points[i] > most)
            report_say(bench->report, "%s.idle_sessions_%u: left out: there can be %ju", bench->link->name,
                       points[i], (uintmax_t)most);
        else
            error = measure_sessions(bench, points[i]);
    }
    if (error || !pid)
        return error;
    error = usage_resident_bytes(pid, &all_bytes);
    if (error)
        return error;
    report_memory(bench, "memory_beside_pool", "MiB", ((double)alone_bytes - (double)pool_bytes) / MIB,
                  GOAL_BESIDE + GOAL_OF_POOL * (double)pool_bytes / MIB);
    report_memory(bench, "memory_of_session", "KiB",
                  ((double)all_bytes - (double)alone_bytes) / bench->sessions / KIB, GOAL_SESSION);
    return 0;
}

int bench_idle(const struct bench_options *options, struct bench_report *report,
               const struct bench_link *link, struct cxe_connection *connection)
{
    struct idle_bench *bench = calloc(1, sizeof(*bench));
    int error;

    (void)connection; /* there is none: see struct bench */
    if (!bench)
        return bench_fail(-ENOMEM, "no memory");
    *bench = (struct idle_bench){.options = options, .report = report, .link = link};
    error = measure(bench);
    end_sessions(bench);
    free(bench);
    return error;
}
