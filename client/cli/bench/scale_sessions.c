/* scale_sessions.c - clients that come, that ask now and then, and their memory on the server; see scale.h */
#include <stdio.h>
#include <stdlib.h>

#include "bench_report.h"
#include "least.h"
#include "limits.h"
#include "scale.h"
#include "server_usage.h"

#define SESSIONS_MOST 10000 /* at most */
#define SESSIONS_EACH 2     /* of a connection, the fewest there are */
#define LINES_PAGES   16

struct session_scale {
    struct scale_bench *bench;
    char region_name[CXE_NAME_BYTES];
    struct bench_client *clients;
    uint64_t count; /* clients; each has SESSIONS_EACH sessions */
    uint64_t most;
};

static int connect_one(void *context)
{
    struct session_scale *scale = context;
    struct cxe_connect_options connect = *scale->bench->link->connect;
    int error;

    connect.lanes = SESSIONS_EACH;
    error = bench_client_connect(&connect, scale->region_name, &scale->clients[scale->count]);
    if (!error)
        scale->count++;
    return error;
}

static int read_one(void *context)
{
    struct session_scale *scale = context;
    const uint64_t number = bench_random(&scale->bench->random) % scale->count;
    uint64_t line[CXE_LINE_BYTES / sizeof(uint64_t)];
    int error = cxe_read(scale->clients[number].region, 0, line, sizeof(line));

    if (error)
        return bench_fail_call(error, "read");
    return line[0] == bench_word_at(0) ? 0 : bench_fail(-EBADMSG, "a line is not what was written there");
}

/* The server has not forgotten the first ones while the last came. */
static int check_count(const struct session_scale *scale)
{
    struct cxe_server_info info;
    int error = cxe_server_info(scale->clients[scale->count - 1].connection, &info);

    if (error)
        return bench_fail_call(error, "asking the server");
    if (info.sessions < scale->count * SESSIONS_EACH)
        return bench_fail(-ENODATA, "the server has %ju of %ju sessions: the others were idle for too long",
                          (uintmax_t)info.sessions, (uintmax_t)scale->count * SESSIONS_EACH);
    return 0;
}

static int measure_point(struct session_scale *scale, struct scale_cost costs[3], uint64_t items,
                         uint64_t empty_bytes)
{
    struct scale_bench *bench = scale->bench;
    const unsigned rounds = bench->options->rounds;
    double values[BENCH_ROUNDS_MAX];
    uint64_t bytes = 0;
    int error = 0;

    while (!error && scale->count + rounds * bench->chunk < items / SESSIONS_EACH)
        error = connect_one(scale);
    if (!error)
        error = scale_time(bench, connect_one, scale, values);
    if (error)
        return error;
    scale_report(bench, &costs[0], items, values, rounds);
    error = check_count(scale);
    if (!error)
        error = scale_time(bench, read_one, scale, values);
    if (error)
        return error;
    scale_report(bench, &costs[1], items, values, rounds);
    error = scale_server_bytes(bench, &bytes);
    values[0] = ((double)bytes - (double)empty_bytes) / (double)items;
    if (!error && empty_bytes > 0)
        scale_report(bench, &costs[2], items, values, 1);
    return error;
}

static int measure(struct session_scale *scale)
{
    static const char plot[] = "Time by number of sessions";
    struct scale_cost costs[] = {
        {.what = "client_connect", .plot = plot, .unit = "us"},
        {.what = "session_read", .plot = plot, .unit = "us"},
        {.what = "session_memory", .plot = "Memory of the server by number", .unit = "B"},
    };
    uint64_t empty_bytes;
    int error = scale_server_bytes(scale->bench, &empty_bytes);

    for (uint64_t items = SCALE_FIRST; !error && items <= scale->most; items *= 10)
        error = measure_point(scale, costs, items, empty_bytes);
    return error;
}

static int with_region(struct session_scale *scale, struct cxe_connection *connection)
{
    struct scale_bench *bench = scale->bench;
    const uint64_t wanted = least(bench->options->items, SESSIONS_MOST);
    struct cxe_region_info info;
    struct cxe_region *region;
    int error = bench_region_make(connection, LINES_PAGES * PAGE_BYTES, 0, &region);

    if (error)
        return error;
    error = cxe_region_stat(region, &info);
    if (error)
        bench_fail_call(error, "region");
    snprintf(scale->region_name, sizeof(scale->region_name), "%s", error ? "" : info.name);
    scale->most = least(wanted, usage_sessions_most(bench->link));
    if (bench->options->items > scale->most)
        report_say(bench->report, "%s.sessions_beyond_%ju: left out: there can be no more", bench->link->name,
                   (uintmax_t)scale->most);
    scale->clients = calloc(scale->most, sizeof(*scale->clients));
    if (!error)
        error = scale->clients ? measure(scale) : bench_fail(-ENOMEM, "no memory for the clients");
    while (scale->count > 0)
        bench_client_close(&scale->clients[--scale->count]);
    free(scale->clients);
    bench_region_drop(connection, region);
    return error;
}

int scale_sessions(struct scale_bench *bench)
{
    struct session_scale scale = {.bench = bench};
    struct cxe_connection *connection;
    int error = cxe_connect(bench->link->connect, &connection);

    if (error)
        return bench_fail_call(error, "connecting");
    error = with_region(&scale, connection);
    cxe_disconnect(connection);
    return error;
}
