/* bench_line.c - how long does an operation on a line take, and how many can a client do? See bench.h */
#include "bench.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_report.h"
#include "clock.h"
#include "floor.h"
#include "inflight.h"
#include "limits.h"
#include "wire.h"

#define REGION_BYTES     (64ull << 20)
#define READ_LINES_MAX   1000 /* what the longest frame holds */
#define LEAST_OPERATIONS 50
#define LEAST_PIPELINED  5000

#define GOAL_READ_PLAIN     1.25
#define GOAL_READ_ENCRYPTED 1.5
#define GOAL_READ_OFI       1.3
#define GOAL_CAS            1.1 /* of a read */
#define GOAL_PIPELINED      10e6

struct line_bench {
    struct cxe_region *region;
    uint64_t random;
    unsigned line_count; /* of one read */
    uint64_t cas_value;  /* what the word is now */
    struct floor_echo *echo;
    uint8_t buffer[READ_LINES_MAX * CXE_LINE_BYTES];
};

static int wrong_data(uint64_t offset)
{
    return bench_fail(-EBADMSG, "the line at offset %ju is not what was written there", (uintmax_t)offset);
}

static bool line_is_right(const uint8_t *line, uint64_t offset)
{
    uint64_t word;

    memcpy(&word, line, sizeof(word));
    return word == bench_word_at(offset);
}

static uint64_t random_offset(struct line_bench *bench, unsigned line_count)
{
    const uint64_t places = REGION_BYTES / CXE_LINE_BYTES - line_count + 1;

    return bench_random(&bench->random) % places * CXE_LINE_BYTES;
}

/* ---- one outstanding ---- */

static int read_once(struct line_bench *bench, uint64_t *latency_ns_out)
{
    const uint64_t offset = random_offset(bench, bench->line_count);
    const uint64_t start_ns = clock_now_ns();
    const int error = cxe_read(bench->region, offset, bench->buffer, bench->line_count * CXE_LINE_BYTES);

    *latency_ns_out = clock_now_ns() - start_ns;
    if (error)
        return bench_fail_call(error, "read");
    return line_is_right(bench->buffer, offset) ? 0 : wrong_data(offset);
}

static int write_once(struct line_bench *bench, uint64_t *latency_ns_out)
{
    const uint64_t offset = random_offset(bench, 1), word = bench_word_at(offset);
    uint64_t start_ns;
    int error;

    memcpy(bench->buffer, &word, sizeof(word)); /* the same again: readers go on checking */
    start_ns = clock_now_ns();
    error = cxe_write(bench->region, offset, bench->buffer, CXE_LINE_BYTES);
    *latency_ns_out = clock_now_ns() - start_ns;
    return error ? bench_fail_call(error, "write") : 0;
}

/* The second word of line 0 counts the swaps. */
static int cas_once(struct line_bench *bench, uint64_t *latency_ns_out)
{
    const uint64_t desired = bench->cas_value + 1;
    uint64_t old;
    const uint64_t start_ns = clock_now_ns();
    const int error = cxe_cas(bench->region, sizeof(old), sizeof(old), &bench->cas_value, &desired, &old);

    *latency_ns_out = clock_now_ns() - start_ns;
    if (error)
        return bench_fail_call(error, "cas");
    if (old != bench->cas_value)
        return bench_fail(-EBADMSG, "cas: found %ju where %ju was left", (uintmax_t)old,
                          (uintmax_t)bench->cas_value);
    bench->cas_value = desired;
    return 0;
}

static int repeat(struct line_bench *bench, int (*once)(struct line_bench *bench, uint64_t *latency_ns_out),
                  uint64_t duration_ns, struct bench_sample *sample)
{
    const uint64_t begin_ns = clock_now_ns();
    bool room = true;
    int error = 0;

    while (!error && room && clock_now_ns() - begin_ns < duration_ns) {
        uint64_t latency_ns;

        error = once(bench, &latency_ns);
        if (!error)
            room = bench_note(sample, latency_ns);
    }
    sample->elapsed_ns = clock_now_ns() - begin_ns;
    return error;
}

static int read_run(void *context, uint64_t duration_ns, struct bench_sample *sample)
{
    return repeat(context, read_once, duration_ns, sample);
}

static int write_run(void *context, uint64_t duration_ns, struct bench_sample *sample)
{
    return repeat(context, write_once, duration_ns, sample);
}

static int cas_run(void *context, uint64_t duration_ns, struct bench_sample *sample)
{
    return repeat(context, cas_once, duration_ns, sample);
}

/* ---- the figures ---- */

/* Compares one operation with the ping-pong of its bytes. */
static int compare(const struct bench_options *options, struct bench_report *report,
                   const struct bench_link *link, struct line_bench *bench, const char *what,
                   int (*run)(void *context, uint64_t duration_ns, struct bench_sample *sample),
                   unsigned opcode, double goal)
{
    struct floor_pingpong pingpong = {.echo = bench->echo,
                                      .frames = floor_frames_of(opcode, bench->line_count)};
    char name[96], floor_name[96];
    struct bench_comparison comparison = {
        .name = name,
        .kind = BENCH_LATENCY,
        .subject = {run, bench},
        .floors = {{floor_pingpong_run, &pingpong}},
        .floor_count = bench->echo ? 1 : 0,
        .floor_name = floor_name,
        .ratio_goal = goal,
        .least_work = LEAST_OPERATIONS,
    };

    snprintf(name, sizeof(name), "%s.%s", link->name, what);
    snprintf(floor_name, sizeof(floor_name), "%s ping-pong %zu/%zu B", link->provider ? "libfabric" : "UDP",
             pingpong.frames.request_bytes, pingpong.frames.answer_bytes);
    return bench_compare(options, report, &comparison);
}

static int compare_cas_with_read(const struct bench_options *options, struct bench_report *report,
                                 const struct bench_link *link, struct line_bench *bench)
{
    char name[96];
    const struct bench_comparison comparison = {
        .name = name,
        .kind = BENCH_LATENCY,
        .subject = {cas_run, bench},
        .floors = {{read_run, bench}},
        .floor_count = 1,
        .floor_name = "read of 64 B",
        .ratio_goal = GOAL_CAS,
        .least_work = LEAST_OPERATIONS,
    };

    snprintf(name, sizeof(name), "%s.cas_8B_beside_read", link->name);
    return bench_compare(options, report, &comparison);
}

/* The lines that a bench of MTU 1500 carries, a page, and what the longest frame carries; each if it fits. */
static int compare_lengths(const struct bench_options *options, struct bench_report *report,
                           const struct bench_link *link, struct line_bench *bench,
                           struct cxe_connection *connection)
{
    static const unsigned line_counts[] = {21, PAGE_LINES, READ_LINES_MAX};
    struct cxe_connection_info info;
    int error = cxe_connection_info(connection, &info);

    if (error)
        return bench_fail_call(error, "connection");
    for (unsigned i = 0; i < sizeof(line_counts) / sizeof(line_counts[0]) && !error; i++) {
        char what[32];

        bench->line_count = line_counts[i];
        snprintf(what, sizeof(what), "read_%uB", bench->line_count * CXE_LINE_BYTES);
        if (floor_frames_of(OP_MEM_RD, bench->line_count).answer_bytes > info.frame_bytes)
            report_say(report, "%s.%s: left out: the path's frames have %u bytes", link->name, what,
                       info.frame_bytes);
        else
            error = compare(options, report, link, bench, what, read_run, OP_MEM_RD, 0);
    }
    bench->line_count = 1;
    return error;
}

/* Reads of single lines at random places. */
static int compare_pipelined(const struct bench_options *options, struct bench_report *report,
                             const struct bench_link *link, struct inflight *inflight)
{
    char name[96];
    const struct bench_comparison comparison = {
        .name = name,
        .kind = BENCH_RATE,
        .unit = "lines/s",
        .scale = 1,
        .subject = {inflight_rate_run, inflight},
        .value_goal = link->local && !link->provider && !link->encrypted ? GOAL_PIPELINED : 0,
        .least_work = LEAST_PIPELINED,
    };

    snprintf(name, sizeof(name), "%s.pipelined_64B", link->name);
    return bench_compare(options, report, &comparison);
}

static int measure_pipelined(const struct bench_options *options, struct bench_report *report,
                             const struct bench_link *link, struct line_bench *bench,
                             struct cxe_connection *connection)
{
    struct inflight *inflight;
    int error = inflight_open(connection, bench->region, &inflight);

    if (error)
        return error;
    error = inflight_set(inflight, INFLIGHT_READ, options->depth);
    if (!error)
        error = compare_pipelined(options, report, link, inflight);
    inflight_close(inflight);
    return error;
}

static int measure(const struct bench_options *options, struct bench_report *report,
                   const struct bench_link *link, struct line_bench *bench, struct cxe_connection *connection)
{
    const double eth_goal = link->encrypted ? GOAL_READ_ENCRYPTED : GOAL_READ_PLAIN;
    const double goal = link->provider ? GOAL_READ_OFI : eth_goal;
    int error = compare(options, report, link, bench, "read_64B", read_run, OP_MEM_RD, goal);

    if (!error)
        error = compare(options, report, link, bench, "write_64B", write_run, OP_MEM_WR, 0);
    if (!error)
        error = compare(options, report, link, bench, "cas_8B", cas_run, OP_CAS, 0);
    if (!error)
        error = compare_cas_with_read(options, report, link, bench);
    if (!error)
        error = compare_lengths(options, report, link, bench, connection);
    if (!error)
        error = measure_pipelined(options, report, link, bench, connection);
    return error;
}

int bench_line(const struct bench_options *options, struct bench_report *report,
               const struct bench_link *link, struct cxe_connection *connection)
{
    struct line_bench *bench = calloc(1, sizeof(*bench));
    int error;

    if (!bench)
        return bench_fail(-ENOMEM, "no memory");
    bench->random = 0x9E3779B97F4A7C15ull;
    bench->line_count = 1;
    error = bench_region_make(connection, REGION_BYTES, 0, &bench->region);
    if (error)
        goto free_bench;
    if (link->local)
        error = link->provider ? floor_ofi_open(link->provider, options->server_cpu, &bench->echo)
                               : floor_udp_open(options->server_cpu, &bench->echo);
    if (!error)
        error = measure(options, report, link, bench, connection);
    floor_close(bench->echo);
    bench_region_drop(connection, bench->region);
free_bench:
    free(bench);
    return error;
}
