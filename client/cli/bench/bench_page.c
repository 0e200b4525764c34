/* bench_page.c - how long does a page fault take, and how fast are scans and write-backs? See bench.h */
#include "bench.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_report.h"
#include "clock.h"
#include "floor.h"
#include "limits.h"
#include "wire.h"

#define REGION_BYTES  (128ull << 20)
#define REGION_PAGES  (REGION_BYTES / PAGE_BYTES)
#define LOCAL_BYTES   (16ull << 20) /* an eighth: what a pass meets is gone when the next one comes */
#define DIRTY_PAGES   256           /* changed between two write-backs; well within the local memory */
#define LEAST_FAULTS  20
#define LEAST_PAGES   500
#define BYTES_TO_MB   1e-6
#define GOAL_INLINE   1.4
#define WORDS_OF_LINE (LINE_BYTES / sizeof(uint64_t))
#define SCAN_PAGES    64 /* so many that looking at the clock then does not show: it waits for the loads */

struct page_bench {
    uint8_t *memory; /* the mapping */
    uint64_t next;   /* page of the order that is met next */
    bool sequential;
    unsigned dirty_lines; /* of each page, before a write-back */
    uint64_t pass;        /* what is written, so that it is a change */
    uint32_t order[REGION_PAGES];
};

static uint64_t next_page(struct page_bench *bench)
{
    const uint64_t index = bench->next++ % REGION_PAGES;

    return bench->sequential ? index : bench->order[index];
}

static int check_word(uint64_t word, uint64_t offset)
{
    if (word == bench_word_at(offset))
        return 0;
    return bench_fail(-EBADMSG, "the page at offset %ju is not what was written there", (uintmax_t)offset);
}

/* ---- probes ---- */

/* The first word of one page after another. */
static int touch_run(void *context, uint64_t duration_ns, struct bench_sample *sample)
{
    struct page_bench *bench = context;
    const uint64_t begin_ns = clock_now_ns();
    bool room = true;
    int error = 0;

    while (!error && room && clock_now_ns() - begin_ns < duration_ns) {
        const uint64_t offset = next_page(bench) * PAGE_BYTES;
        const volatile uint64_t *word = (const volatile uint64_t *)(bench->memory + offset);
        const uint64_t start_ns = clock_now_ns(), value = *word, end_ns = clock_now_ns();

        room = bench_note(sample, end_ns - start_ns);
        error = check_word(value, offset);
    }
    sample->elapsed_ns = clock_now_ns() - begin_ns;
    return error;
}

/* The same as a rate: with prefetching most pages are there already, and a median would say just that. */
static int walk_run(void *context, uint64_t duration_ns, struct bench_sample *sample)
{
    struct page_bench *bench = context;
    const uint64_t begin_ns = clock_now_ns();
    int error;

    do {
        const uint64_t offset = next_page(bench) * PAGE_BYTES;

        error = check_word(*(const volatile uint64_t *)(bench->memory + offset), offset);
        sample->work++;
        sample->elapsed_ns = clock_now_ns() - begin_ns;
    } while (!error && sample->elapsed_ns < duration_ns);
    return error;
}

static uint64_t sum_page(const uint8_t *page)
{
    const uint64_t *words = (const uint64_t *)page;
    uint64_t sum = 0;

    for (size_t i = 0; i < PAGE_BYTES / sizeof(*words); i++)
        sum += words[i];
    return sum;
}

static volatile uint64_t scanned; /* keeps the sums from being optimised away */

/* Every byte, page after page. */
static int scan_some(struct page_bench *bench, struct bench_sample *sample)
{
    int error = 0;

    for (unsigned i = 0; !error && i < SCAN_PAGES; i++) {
        const uint64_t offset = next_page(bench) * PAGE_BYTES;

        scanned += sum_page(bench->memory + offset);
        error = check_word(*(const uint64_t *)(bench->memory + offset), offset);
        sample->work++;
    }
    return error;
}

static int scan_run(void *context, uint64_t duration_ns, struct bench_sample *sample)
{
    struct page_bench *bench = context;
    const uint64_t begin_ns = clock_now_ns();
    int error;

    do {
        error = scan_some(bench, sample);
        sample->elapsed_ns = clock_now_ns() - begin_ns;
    } while (!error && sample->elapsed_ns < duration_ns);
    return error;
}

/* Changes lines of DIRTY_PAGES pages, then writes them back; only the latter is timed. */
static int write_back_run(void *context, uint64_t duration_ns, struct bench_sample *sample)
{
    struct page_bench *bench = context;
    const uint64_t begin_ns = clock_now_ns();

    do {
        const uint64_t first = bench->next % (REGION_PAGES - DIRTY_PAGES);
        uint8_t *pages = bench->memory + first * PAGE_BYTES;
        uint64_t start_ns;
        int error;

        bench->pass++;
        for (uint64_t line = 0; line < DIRTY_PAGES * PAGE_LINES; line++)
            if (line % PAGE_LINES < bench->dirty_lines)
                ((uint64_t *)(pages + line * LINE_BYTES))[WORDS_OF_LINE - 1] = bench->pass;
        start_ns = clock_now_ns();
        error = cxe_sync(pages, DIRTY_PAGES * PAGE_BYTES);
        if (error)
            return bench_fail_call(error, "cxe_sync");
        sample->elapsed_ns += clock_now_ns() - start_ns;
        sample->work += DIRTY_PAGES;
        bench->next += DIRTY_PAGES;
    } while (clock_now_ns() - begin_ns < duration_ns);
    return 0;
}

/* ---- figures ---- */

struct page_floor {
    struct floor_fault *fault;
    struct floor_echo *echo;
};

static int measure_random(const struct bench_options *options, struct bench_report *report,
                          const char *prefix, struct page_bench *bench, const struct page_floor *floor,
                          double goal)
{
    struct floor_pingpong pingpong = {.echo = floor->echo, .frames = floor_frames_of(OP_MEM_RD, PAGE_LINES)};
    char name[96], floor_name[96];
    const struct bench_comparison comparison = {
        .name = name,
        .kind = BENCH_LATENCY,
        .subject = {touch_run, bench},
        .floors = {{floor_fault_run, floor->fault}, {floor_pingpong_run, &pingpong}},
        .floor_count = floor->echo ? 2 : 0,
        .floor_name = floor_name,
        .ratio_goal = goal,
        .least_work = LEAST_FAULTS,
    };

    snprintf(name, sizeof(name), "%s.random_fault", prefix);
    snprintf(floor_name, sizeof(floor_name), "local inline fault + UDP ping-pong %zu/%zu B",
             pingpong.frames.request_bytes, pingpong.frames.answer_bytes);
    bench->sequential = false;
    return bench_compare(options, report, &comparison);
}

static int measure_rate(const struct bench_options *options, struct bench_report *report, const char *prefix,
                        const char *what, struct page_bench *bench,
                        int (*run)(void *context, uint64_t duration_ns, struct bench_sample *sample),
                        const char *unit, double scale)
{
    char name[96];
    const struct bench_comparison comparison = {
        .name = name,
        .kind = BENCH_RATE,
        .unit = unit,
        .scale = scale,
        .subject = {run, bench},
        .least_work = LEAST_PAGES,
    };

    snprintf(name, sizeof(name), "%s.%s", prefix, what);
    bench->sequential = true;
    bench->next = 0;
    return bench_compare(options, report, &comparison);
}

static int advise(struct page_bench *bench, enum cxe_advice advice)
{
    int error = cxe_advise(bench->memory, REGION_BYTES, advice);

    return error ? bench_fail_call(error, "cxe_advise") : 0;
}

/* All figures of one mapping. */
static int measure(const struct bench_options *options, struct bench_report *report, const char *prefix,
                   struct page_bench *bench, const struct page_floor *floor, double goal)
{
    int error = advise(bench, CXE_ADVICE_RANDOM);

    if (!error)
        error = measure_random(options, report, prefix, bench, floor, goal);
    if (!error)
        error = advise(bench, CXE_ADVICE_NORMAL);
    if (!error)
        error = measure_rate(options, report, prefix, "sequential_touch", bench, walk_run, "pages/s", 1);
    if (!error)
        error = advise(bench, CXE_ADVICE_SEQUENTIAL);
    if (!error)
        error =
            measure_rate(options, report, prefix, "scan", bench, scan_run, "MB/s", PAGE_BYTES * BYTES_TO_MB);
    if (!error)
        error = advise(bench, CXE_ADVICE_NORMAL);
    bench->dirty_lines = PAGE_LINES;
    if (!error)
        error = measure_rate(options, report, prefix, "write_back", bench, write_back_run, "MB/s",
                             PAGE_BYTES * BYTES_TO_MB);
    bench->dirty_lines = 1;
    if (!error)
        error =
            measure_rate(options, report, prefix, "write_back_1_line", bench, write_back_run, "pages/s", 1);
    return error;
}

/* Maps, measures, unmaps. A mode that this connection or this system cannot have is left out, by name. */
static int measure_mode(const struct bench_options *options, struct bench_report *report,
                        const struct bench_link *link, struct cxe_region *region, struct page_bench *bench,
                        const struct page_floor *floor, enum cxe_fault_mode mode)
{
    const struct cxe_map_options map = {.local_bytes = LOCAL_BYTES, .fault_mode = mode};
    const bool is_inline = mode == CXE_FAULT_INLINE;
    char prefix[64];
    void *memory;
    int error = cxe_map(region, &map, &memory);

    snprintf(prefix, sizeof(prefix), "%s.%s", link->name, is_inline ? "inline" : "thread");
    if (error == -EPERM || error == -ENOSYS || error == -EOPNOTSUPP) {
        report_say(report, "%s: left out: %s", prefix, cxe_last_error());
        return 0;
    }
    if (error)
        return bench_fail_call(error, "cxe_map");
    bench->memory = memory;
    error = measure(options, report, prefix, bench, floor, is_inline ? GOAL_INLINE : 0);
    if (cxe_unmap(memory) != 0 && !error)
        error = bench_fail_call(-EIO, "cxe_unmap");
    return error;
}

static int open_floor(const struct bench_options *options, const struct bench_link *link,
                      struct page_floor *floor)
{
    int error;

    if (!link->local || link->provider)
        return 0;
    error = floor_fault_open(&floor->fault);
    return error ? error : floor_udp_open(options->server_cpu, &floor->echo);
}

int bench_page(const struct bench_options *options, struct bench_report *report,
               const struct bench_link *link, struct cxe_connection *connection)
{
    struct page_bench *bench = calloc(1, sizeof(*bench));
    struct page_floor floor = {0};
    struct cxe_region *region;
    int error;

    if (!bench)
        return bench_fail(-ENOMEM, "no memory");
    bench_shuffle(bench->order, REGION_PAGES);
    error = open_floor(options, link, &floor);
    if (error)
        goto close_floor;
    error = bench_region_make(connection, REGION_BYTES, 0, &region);
    if (error)
        goto close_floor;
    if (!link->provider)
        error = measure_mode(options, report, link, region, bench, &floor, CXE_FAULT_INLINE);
    if (!error)
        error = measure_mode(options, report, link, region, bench, &floor, CXE_FAULT_THREAD);
    bench_region_drop(connection, region);
close_floor:
    floor_close(floor.echo);
    floor_fault_close(floor.fault);
    free(bench);
    return error;
}
