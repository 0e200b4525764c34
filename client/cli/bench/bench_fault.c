/* bench_fault.c - how long does it take to touch pages of a mapping, by pattern and number of threads?
 *
 * The mapping holds an eighth of its region locally and prefetches as it does unless told otherwise, so a
 * touch may find its page there already: the percentiles say how often. Each thread has a part of the mapping
 * of its own. One thread stays where the benchmark is pinned; several run where they may. See bench.h.
 */
#include "bench.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_report.h"
#include "clock.h"
#include "limits.h"

#define REGION_BYTES  (64ull << 20)
#define REGION_PAGES  (REGION_BYTES / PAGE_BYTES)
#define LOCAL_BYTES   (8ull << 20)
#define THREADS_MOST  64
#define STRIDE        4 /* pages */
#define LEAST_TOUCHES 20

enum pattern { RANDOM, SEQUENTIAL, STRIDED, TWO_STREAMS, PATTERNS };
static const char *const pattern_names[PATTERNS] = {"random", "sequential", "stride", "two_streams"};

struct toucher {
    struct fault_bench *bench;
    pthread_t thread;
    uint64_t first, pages; /* its part */
    uint64_t next;         /* touches so far: it goes on where it was */
    uint64_t duration_ns;
    uint32_t *latencies_ns; /* of this round; room for `most` */
    uint64_t work, most;
    uint64_t elapsed_ns;
    uint64_t wrong_offset; /* where the data was not right; UINT64_MAX: nowhere */
};

struct fault_bench {
    const struct bench_options *options;
    uint8_t *memory;
    enum pattern pattern;
    unsigned threads;
    struct toucher touchers[THREADS_MOST];
    uint32_t order[REGION_PAGES];
};

/* ---- a thread ---- */

/* The page of its part that is met at touch `index`. Every pattern meets each of them once in a pass. */
static uint64_t page_of(const struct toucher *toucher, uint64_t index)
{
    const uint64_t pages = toucher->pages, at = index % pages;

    switch (toucher->bench->pattern) {
    case RANDOM:
        return toucher->bench->order[toucher->first + at] %
               pages; /* not each once, but that is random, too */
    case STRIDED:
        return at * STRIDE % pages + at * STRIDE / pages;
    case TWO_STREAMS:
        return at / 2 + (at % 2 ? pages / 2 : 0);
    case SEQUENTIAL:
    case PATTERNS:
        break;
    }
    return at;
}

static void touch_one(struct toucher *toucher)
{
    const uint64_t offset = (toucher->first + page_of(toucher, toucher->next++)) * PAGE_BYTES;
    const volatile uint64_t *word = (const volatile uint64_t *)(toucher->bench->memory + offset);
    const uint64_t start_ns = clock_now_ns(), value = *word, latency_ns = clock_now_ns() - start_ns;

    toucher->latencies_ns[toucher->work++] = latency_ns < UINT32_MAX ? (uint32_t)latency_ns : UINT32_MAX;
    if (value != bench_word_at(offset))
        toucher->wrong_offset = offset;
}

static void *touch(void *argument)
{
    struct toucher *toucher = argument;
    const uint64_t begin_ns = clock_now_ns();

    toucher->work = 0;
    do {
        touch_one(toucher);
        toucher->elapsed_ns = clock_now_ns() - begin_ns;
    } while (toucher->elapsed_ns < toucher->duration_ns && toucher->work < toucher->most &&
             toucher->wrong_offset == UINT64_MAX);
    return NULL;
}

/* ---- a round ---- */

/* Together they fill *sample: each has its share of the room, and what is left between is closed up. */
static int gather(struct fault_bench *bench, struct bench_sample *sample)
{
    for (unsigned i = 0; i < bench->threads; i++) {
        struct toucher *toucher = &bench->touchers[i];

        if (toucher->wrong_offset != UINT64_MAX)
            return bench_fail(-EBADMSG, "the page at offset %ju is not what was written there",
                              (uintmax_t)toucher->wrong_offset);
        memmove(sample->latencies_ns + sample->work, toucher->latencies_ns,
                toucher->work * sizeof(*toucher->latencies_ns));
        sample->work += toucher->work;
        if (toucher->elapsed_ns > sample->elapsed_ns)
            sample->elapsed_ns = toucher->elapsed_ns;
    }
    return 0;
}

static int start_others(struct fault_bench *bench, unsigned *started_out)
{
    int error = 0;

    bench_unpin();
    for (*started_out = 1; !error && *started_out < bench->threads; ++*started_out)
        error = -pthread_create(&bench->touchers[*started_out].thread, NULL, touch,
                                &bench->touchers[*started_out]);
    if (!error)
        return 0;
    --*started_out; /* the last one was not */
    return bench_fail(error, "no thread to touch pages: %s", strerror(-error));
}

static int touch_run(void *context, uint64_t duration_ns, struct bench_sample *sample)
{
    struct fault_bench *bench = context;
    unsigned started = 1;
    int error = 0;

    for (unsigned i = 0; i < bench->threads; i++) {
        struct toucher *toucher = &bench->touchers[i];

        toucher->duration_ns = duration_ns;
        toucher->most = BENCH_LATENCIES_MAX / bench->threads;
        toucher->latencies_ns = sample->latencies_ns + i * toucher->most;
    }
    if (bench->threads > 1)
        error = start_others(bench, &started);
    if (!error)
        touch(&bench->touchers[0]);
    for (unsigned i = 1; i < started; i++)
        pthread_join(bench->touchers[i].thread, NULL);
    if (bench->threads > 1)
        bench_pin(bench->options->client_cpu);
    return error ? error : gather(bench, sample);
}

/* ---- figures ---- */

static void divide(struct fault_bench *bench, unsigned threads)
{
    bench->threads = threads;
    for (unsigned i = 0; i < threads; i++)
        bench->touchers[i] = (struct toucher){.bench = bench,
                                              .first = REGION_PAGES / threads * i,
                                              .pages = REGION_PAGES / threads,
                                              .wrong_offset = UINT64_MAX};
}

static int measure(struct bench_report *report, const char *prefix, struct fault_bench *bench)
{
    const char *pattern = pattern_names[bench->pattern];
    char name[96], plot[96], label[64], rate_plot[96];
    const struct bench_series series = {.plot = plot, .label = label};
    const struct bench_series rate_series = {
        .plot = rate_plot, .label = pattern, .x_label = "threads", .x = bench->threads};
    const struct bench_comparison comparison = {
        .name = name,
        .kind = BENCH_LATENCY,
        .subject = {touch_run, bench},
        .least_work = LEAST_TOUCHES,
        .series = &series,
        .rate_unit = "pages/s",
        .rate_series = &rate_series,
    };

    snprintf(name, sizeof(name), "%s.touch_%s_threads_%u", prefix, pattern, bench->threads);
    snprintf(plot, sizeof(plot), "Touching pages: %s", prefix);
    snprintf(label, sizeof(label), "%s, %u thread%s", pattern, bench->threads, bench->threads > 1 ? "s" : "");
    snprintf(rate_plot, sizeof(rate_plot), "Pages touched by threads: %s", prefix);
    return bench_compare(bench->options, report, &comparison);
}

static int measure_all(struct bench_report *report, const char *prefix, struct fault_bench *bench)
{
    int error = 0;

    for (unsigned pattern = 0; pattern < PATTERNS; pattern++)
        for (unsigned threads = 1; !error && threads <= bench->options->threads; threads *= 2) {
            bench->pattern = (enum pattern)pattern;
            divide(bench, threads);
            error = measure(report, prefix, bench);
        }
    return error;
}

/* A mode that this connection or this system cannot have is left out, by name. */
static int measure_mode(struct bench_report *report, const struct bench_link *link, struct cxe_region *region,
                        struct fault_bench *bench, enum cxe_fault_mode mode)
{
    const struct cxe_map_options map = {.local_bytes = LOCAL_BYTES, .fault_mode = mode};
    char prefix[64];
    void *memory;
    int error = bench_map(bench->options, region, &map, &memory);

    snprintf(prefix, sizeof(prefix), "%s.%s", link->name, mode == CXE_FAULT_INLINE ? "inline" : "thread");
    if (error == -EPERM || error == -ENOSYS || error == -EOPNOTSUPP) {
        report_say(report, "%s: left out: %s", prefix, cxe_last_error());
        return 0;
    }
    if (error)
        return bench_fail_call(error, "cxe_map");
    bench->memory = memory;
    error = measure_all(report, prefix, bench);
    if (cxe_unmap(memory) != 0 && !error)
        error = bench_fail_call(-EIO, "cxe_unmap");
    return error;
}

int bench_fault(const struct bench_options *options, struct bench_report *report,
                const struct bench_link *link, struct cxe_connection *connection)
{
    struct fault_bench *bench = calloc(1, sizeof(*bench));
    struct cxe_region *region;
    int error;

    if (!bench)
        return bench_fail(-ENOMEM, "no memory");
    bench->options = options;
    bench_shuffle(bench->order, REGION_PAGES);
    error = bench_region_make(connection, REGION_BYTES, 0, &region);
    if (error)
        goto free_bench;
    if (!link->provider)
        error = measure_mode(report, link, region, bench, CXE_FAULT_INLINE);
    if (!error)
        error = measure_mode(report, link, region, bench, CXE_FAULT_THREAD);
    bench_region_drop(connection, region);
free_bench:
    free(bench);
    return error;
}
