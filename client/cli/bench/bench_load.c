/* bench_load.c - how much longer do reads of a line take while another thread of the client streams pages?
 *
 * The other thread sums up a mapping, page after page, with prefetching. It runs where it may, as a thread of
 * a program does that nobody pinned. See bench.h.
 */
#include "bench.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "atomic.h"
#include "bench_report.h"
#include "clock.h"
#include "limits.h"

#define LINES_BYTES (4ull << 20)
#define PAGES_BYTES (64ull << 20)
#define LOCAL_BYTES (16ull << 20)
#define LEAST_READS 50
#define LEAST_PAGES 1 /* the load of a round: none is no load */
#define GOAL_MEAN   1.5
#define NS_TO_US    1e-3
#define PAGE_WORDS  (PAGE_BYTES / sizeof(uint64_t))

struct load_bench {
    struct cxe_region *lines;
    uint64_t random;
    const uint64_t *memory; /* the mapping */
    uint64_t next_page;
    uint64_t pages_read; /* of this round; relaxed */
    uint32_t stop;       /* relaxed */
    uint64_t sum;        /* keeps the sums from being optimised away */
};

/* ---- reads ---- */

static int read_once(struct load_bench *bench, uint64_t *latency_ns_out)
{
    const uint64_t offset = bench_random(&bench->random) % (LINES_BYTES / CXE_LINE_BYTES) * CXE_LINE_BYTES;
    uint64_t line[CXE_LINE_BYTES / sizeof(uint64_t)];
    const uint64_t start_ns = clock_now_ns();
    const int error = cxe_read(bench->lines, offset, line, sizeof(line));

    *latency_ns_out = clock_now_ns() - start_ns;
    if (error)
        return bench_fail_call(error, "read");
    return line[0] == bench_word_at(offset)
               ? 0
               : bench_fail(-EBADMSG, "the line at offset %ju is not what was written there",
                            (uintmax_t)offset);
}

/* `elapsed_ns` is the time in reads alone. */
static int read_run(void *context, uint64_t duration_ns, struct bench_sample *sample)
{
    struct load_bench *bench = context;
    const uint64_t begin_ns = clock_now_ns();
    uint64_t latency_ns;
    bool room = true;
    int error = 0;

    while (!error && room && clock_now_ns() - begin_ns < duration_ns) {
        error = read_once(bench, &latency_ns);
        if (!error)
            room = bench_note(sample, latency_ns);
        sample->elapsed_ns += latency_ns;
    }
    return error;
}

/* ---- the stream ---- */

static void *stream(void *context)
{
    struct load_bench *bench = context;

    bench_unpin();
    while (!load_relaxed(&bench->stop)) {
        const uint64_t *page = bench->memory + bench->next_page++ % (PAGES_BYTES / PAGE_BYTES) * PAGE_WORDS;

        for (size_t i = 0; i < PAGE_WORDS; i++)
            bench->sum += page[i];
        fetch_add_relaxed(&bench->pages_read, 1);
    }
    return NULL;
}

static int begin_stream(struct load_bench *bench, pthread_t *thread_out)
{
    int error;

    bench->stop = 0;
    bench->pages_read = 0;
    error = -pthread_create(thread_out, NULL, stream, bench);
    if (error)
        return bench_fail(error, "no thread for the stream: %s", strerror(-error));
    while (load_relaxed(&bench->pages_read) < LEAST_PAGES)
        ;
    store_relaxed(&bench->pages_read, 0);
    return 0;
}

/* Returns how many pages it read. */
static uint64_t end_stream(struct load_bench *bench, pthread_t thread)
{
    store_relaxed(&bench->stop, 1);
    pthread_join(thread, NULL);
    return bench->pages_read;
}

static int read_under_load_run(void *context, uint64_t duration_ns, struct bench_sample *sample)
{
    struct load_bench *bench = context;
    pthread_t thread;
    int error = begin_stream(bench, &thread);

    if (error)
        return error;
    error = read_run(bench, duration_ns, sample);
    if (end_stream(bench, thread) < LEAST_PAGES && !error)
        sample->work = 0;
    return error;
}

static int stream_under_reads_run(void *context, uint64_t duration_ns, struct bench_sample *sample)
{
    struct load_bench *bench = context;
    struct bench_sample reads = {.latencies_ns = sample->latencies_ns};
    const uint64_t begin_ns = clock_now_ns();
    pthread_t thread;
    int error = begin_stream(bench, &thread);

    if (error)
        return error;
    error = read_run(bench, duration_ns, &reads);
    sample->work = end_stream(bench, thread);
    sample->elapsed_ns = clock_now_ns() - begin_ns;
    return error;
}

static int stream_alone_run(void *context, uint64_t duration_ns, struct bench_sample *sample)
{
    const struct timespec duration = {.tv_sec = (time_t)(duration_ns / NS_PER_S),
                                      .tv_nsec = (long)(duration_ns % NS_PER_S)};
    struct load_bench *bench = context;
    const uint64_t begin_ns = clock_now_ns();
    pthread_t thread;
    int error = begin_stream(bench, &thread);

    if (error)
        return error;
    nanosleep(&duration, NULL);
    sample->work = end_stream(bench, thread);
    sample->elapsed_ns = clock_now_ns() - begin_ns;
    return 0;
}

/* ---- figures ---- */

static int measure_mean(const struct bench_options *options, struct bench_report *report,
                        const struct bench_link *link, struct load_bench *bench)
{
    char name[96];
    const struct bench_comparison comparison = {
        .name = name,
        .kind = BENCH_COST,
        .unit = "us",
        .scale = NS_TO_US,
        .subject = {read_under_load_run, bench},
        .floors = {{read_run, bench}},
        .floor_count = 1,
        .floor_name = "without load",
        .ratio_goal = GOAL_MEAN,
        .least_work = LEAST_READS,
    };

    snprintf(name, sizeof(name), "%s.read_64B_under_load.mean", link->name);
    return bench_compare(options, report, &comparison);
}

static int measure_tail(const struct bench_options *options, struct bench_report *report,
                        const struct bench_link *link, struct load_bench *bench, bool loaded)
{
    char name[96], plot[96];
    const struct bench_series series = {.plot = plot, .label = loaded ? "while pages are streamed" : "alone"};
    const struct bench_comparison comparison = {
        .name = name,
        .kind = BENCH_LATENCY,
        .subject = {loaded ? read_under_load_run : read_run, bench},
        .least_work = LEAST_READS,
        .series = &series,
    };

    snprintf(name, sizeof(name), "%s.read_64B_%s", link->name, loaded ? "under_load" : "alone");
    snprintf(plot, sizeof(plot), "Latency under load: %s", link->name);
    return bench_compare(options, report, &comparison);
}

/* What the reads leave of it: they must not be fast because nothing is streamed. */
static int measure_stream(const struct bench_options *options, struct bench_report *report,
                          const struct bench_link *link, struct load_bench *bench)
{
    char name[96];
    const struct bench_comparison comparison = {
        .name = name,
        .kind = BENCH_RATE,
        .unit = "MB/s",
        .scale = PAGE_BYTES * 1e-6,
        .subject = {stream_under_reads_run, bench},
        .floors = {{stream_alone_run, bench}},
        .floor_count = 1,
        .floor_name = "alone",
        .least_work = LEAST_PAGES,
    };

    snprintf(name, sizeof(name), "%s.stream_beside_reads", link->name);
    return bench_compare(options, report, &comparison);
}

static int measure(const struct bench_options *options, struct bench_report *report,
                   const struct bench_link *link, struct load_bench *bench)
{
    int error = measure_mean(options, report, link, bench);

    if (!error)
        error = measure_tail(options, report, link, bench, false);
    if (!error)
        error = measure_tail(options, report, link, bench, true);
    if (!error)
        error = measure_stream(options, report, link, bench);
    return error;
}

static int with_mapping(const struct bench_options *options, struct bench_report *report,
                        const struct bench_link *link, struct cxe_region *pages, struct load_bench *bench)
{
    const struct cxe_map_options map = {.local_bytes = LOCAL_BYTES};
    void *memory;
    int error = bench_map(options, pages, &map, &memory);

    if (error)
        return bench_fail_call(error, "cxe_map");
    bench->memory = memory;
    error = cxe_advise(memory, PAGES_BYTES, CXE_ADVICE_SEQUENTIAL);
    if (error)
        bench_fail_call(error, "cxe_advise");
    else
        error = measure(options, report, link, bench);
    if (cxe_unmap(memory) != 0 && !error)
        error = bench_fail_call(-EIO, "cxe_unmap");
    return error;
}

int bench_load(const struct bench_options *options, struct bench_report *report,
               const struct bench_link *link, struct cxe_connection *connection)
{
    struct load_bench bench = {.random = 0x9E3779B97F4A7C15ull};
    struct cxe_region *pages;
    int error = bench_region_make(connection, LINES_BYTES, 0, &bench.lines);

    if (error)
        return error;
    error = bench_region_make(connection, PAGES_BYTES, 0, &pages);
    if (!error) {
        error = with_mapping(options, report, link, pages, &bench);
        bench_region_drop(connection, pages);
    }
    bench_region_drop(connection, bench.lines);
    return error;
}
