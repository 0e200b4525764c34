/* bench_writeback.c - how many bytes does it take to write pages back, and how fast is it? See bench.h */
#include "bench.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bench_report.h"
#include "clock.h"
#include "limits.h"

#define REGION_BYTES  (16ull << 20)
#define REGION_PAGES  (REGION_BYTES / PAGE_BYTES)
#define DIRTY_PAGES   256 /* changed between two write-backs */
#define DIRTY_BYTES   (DIRTY_PAGES * PAGE_BYTES)
#define LINE_WORDS    (LINE_BYTES / sizeof(uint64_t))
#define LEAST_PAGES   DIRTY_PAGES
#define BYTES_TO_MB   1e-6
#define GOAL_ONE_LINE 0.1  /* of the bytes of whole pages */
#define GOAL_WHOLE    0.95 /* of the speed of a mapping that does not ask which lines changed */

/* A region and its mapping. */
struct writeback_bench {
    struct cxe_connection *connection;
    struct cxe_region *region;
    uint8_t *memory;
    uint64_t next; /* page */
    uint64_t pass; /* what is written, so that it is a change */
};

/* A probe's context: where, and how much of each page is changed. */
struct dirt {
    struct writeback_bench *bench;
    unsigned lines;
};

static uint64_t next_offset(struct writeback_bench *bench)
{
    const uint64_t first = bench->next % (REGION_PAGES - DIRTY_PAGES);

    bench->next += DIRTY_PAGES;
    return first * PAGE_BYTES;
}

static void make_dirty(struct writeback_bench *bench, uint8_t *pages, unsigned lines)
{
    bench->pass++;
    for (uint64_t line = 0; line < DIRTY_PAGES * PAGE_LINES; line++)
        if (line % PAGE_LINES < lines)
            ((uint64_t *)(pages + line * LINE_BYTES))[LINE_WORDS - 1] = bench->pass;
}

static int sent_bytes(const struct writeback_bench *bench, uint64_t *bytes_out)
{
    struct cxe_connection_info info;
    int error = cxe_connection_info(bench->connection, &info);

    if (error)
        return bench_fail_call(error, "connection");
    *bytes_out = info.sent_bytes;
    return 0;
}

/* What was written back is there: its last line says so. */
static int check(struct writeback_bench *bench, uint64_t offset, unsigned lines)
{
    const uint64_t at = offset + DIRTY_BYTES - PAGE_BYTES + (lines - 1) * LINE_BYTES;
    uint64_t line[LINE_WORDS];
    int error = cxe_read(bench->region, at, line, sizeof(line));

    if (error)
        return bench_fail_call(error, "read");
    return line[LINE_WORDS - 1] == bench->pass
               ? 0
               : bench_fail(-EBADMSG, "the line at offset %ju was not written back", (uintmax_t)at);
}

/* ---- bytes: `elapsed_ns` is how many were sent ---- */

static int bytes_run(void *context, uint64_t duration_ns, struct bench_sample *sample)
{
    const struct dirt *dirt = context;
    struct writeback_bench *bench = dirt->bench;
    const uint64_t begin_ns = clock_now_ns();
    int error = 0;

    do {
        const uint64_t offset = next_offset(bench);
        uint8_t *pages = bench->memory + offset;
        uint64_t before = 0, after = 0;

        for (uint64_t i = 0; i < DIRTY_PAGES; i++)
            *(volatile uint8_t *)(pages + i * PAGE_BYTES); /* fetching is not what is counted */
        error = sent_bytes(bench, &before);
        make_dirty(bench, pages, dirt->lines);
        if (!error && (error = cxe_sync(pages, DIRTY_BYTES)) != 0)
            bench_fail_call(error, "cxe_sync");
        if (!error)
            error = sent_bytes(bench, &after);
        if (!error)
            error = check(bench, offset, dirt->lines);
        if (error)
            return error;
        sample->work += DIRTY_PAGES;
        sample->elapsed_ns += after - before;
    } while (clock_now_ns() - begin_ns < duration_ns);
    return 0;
}

static int measure_bytes(const struct bench_options *options, struct bench_report *report,
                         const struct bench_link *link, struct writeback_bench *lines,
                         struct writeback_bench *pages)
{
    struct dirt subject = {lines, 1}, floor = {pages, 1};
    char name[96];
    const struct bench_comparison comparison = {
        .name = name,
        .kind = BENCH_COST,
        .unit = "B/page",
        .scale = 1,
        .subject = {bytes_run, &subject},
        .floors = {{bytes_run, &floor}},
        .floor_count = 1,
        .floor_name = "the same as whole pages",
        .ratio_goal = GOAL_ONE_LINE,
        .least_work = LEAST_PAGES,
    };

    snprintf(name, sizeof(name), "%s.writeback_1_line", link->name);
    return bench_compare(options, report, &comparison);
}

/* ---- time ---- */

/* Only the write-back is timed. */
static int sync_run(void *context, uint64_t duration_ns, struct bench_sample *sample)
{
    struct writeback_bench *bench = context;
    const uint64_t begin_ns = clock_now_ns();

    do {
        const uint64_t offset = next_offset(bench);
        uint8_t *pages = bench->memory + offset;
        uint64_t start_ns;
        int error;

        make_dirty(bench, pages, PAGE_LINES);
        start_ns = clock_now_ns();
        error = cxe_sync(pages, DIRTY_BYTES);
        sample->elapsed_ns += clock_now_ns() - start_ns;
        sample->work += DIRTY_PAGES;
        if (error)
            return bench_fail_call(error, "cxe_sync");
        error = check(bench, offset, PAGE_LINES);
        if (error)
            return error;
    } while (clock_now_ns() - begin_ns < duration_ns);
    return 0;
}

/* The same pages by one operation, from memory that is not mapped. */
static int write_run(void *context, uint64_t duration_ns, struct bench_sample *sample)
{
    static uint8_t pages[DIRTY_BYTES];
    struct writeback_bench *bench = context;
    const uint64_t begin_ns = clock_now_ns();

    do {
        const uint64_t offset = next_offset(bench);
        uint64_t start_ns;
        int error;

        make_dirty(bench, pages, PAGE_LINES);
        start_ns = clock_now_ns();
        error = cxe_write(bench->region, offset, pages, DIRTY_BYTES);
        sample->elapsed_ns += clock_now_ns() - start_ns;
        sample->work += DIRTY_PAGES;
        if (error)
            return bench_fail_call(error, "write");
    } while (clock_now_ns() - begin_ns < duration_ns);
    return 0;
}

static int measure_time(const struct bench_options *options, struct bench_report *report,
                        const struct bench_link *link, const char *what, struct bench_probe subject,
                        struct bench_probe floor, const char *floor_name, double goal)
{
    char name[96];
    const struct bench_comparison comparison = {
        .name = name,
        .kind = BENCH_RATE,
        .unit = "MB/s",
        .scale = PAGE_BYTES * BYTES_TO_MB,
        .subject = subject,
        .floors = {floor},
        .floor_count = 1,
        .floor_name = floor_name,
        .ratio_goal = goal,
        .least_work = LEAST_PAGES,
    };

    snprintf(name, sizeof(name), "%s.%s", link->name, what);
    return bench_compare(options, report, &comparison);
}

static int measure(const struct bench_options *options, struct bench_report *report,
                   const struct bench_link *link, struct writeback_bench *lines,
                   struct writeback_bench *pages)
{
    const struct bench_probe by_lines = {sync_run, lines}, by_pages = {sync_run, pages},
                             written = {write_run, pages};
    int error = measure_bytes(options, report, link, lines, pages);

    if (!error)
        error = measure_time(options, report, link, "writeback_all_dirty", by_lines, by_pages,
                             "the same as whole pages", GOAL_WHOLE);
    if (!error)
        error = measure_time(options, report, link, "writeback_whole_pages", by_pages, written,
                             "the same by cxe_write", 0);
    return error;
}

/* ---- mappings ---- */

static int open_mapping(const struct bench_options *options, struct cxe_connection *connection,
                        uint32_t flags, struct writeback_bench *bench)
{
    const struct cxe_map_options map = {.local_bytes = 2 * REGION_BYTES, .flags = flags};
    void *memory;
    int error = bench_region_make(connection, REGION_BYTES, 0, &bench->region);

    if (error)
        return error;
    error = bench_map(options, bench->region, &map, &memory);
    if (error) {
        bench_region_drop(connection, bench->region);
        return bench_fail_call(error, "cxe_map");
    }
    bench->connection = connection;
    bench->memory = memory;
    return 0;
}

static int close_mapping(struct writeback_bench *bench)
{
    int error = cxe_unmap(bench->memory);

    bench_region_drop(bench->connection, bench->region);
    return error ? bench_fail_call(error, "cxe_unmap") : 0;
}

int bench_writeback(const struct bench_options *options, struct bench_report *report,
                    const struct bench_link *link, struct cxe_connection *connection)
{
    struct writeback_bench lines = {0}, pages = {0};
    int error = open_mapping(options, connection, 0, &lines), closing;

    if (error)
        return error;
    error = open_mapping(options, connection, CXE_MAP_WHOLE_PAGES, &pages);
    if (!error) {
        error = measure(options, report, link, &lines, &pages);
        closing = close_mapping(&pages);
        error = error ? error : closing;
    }
    closing = close_mapping(&lines);
    return error ? error : closing;
}
