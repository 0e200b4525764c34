/* bench_share.c - what does a page cost that another client holds? See bench.h
 *
 * Also page ping-pong, and a holder that dies.
 *
 * The other client is a process (share_holder.h). It touches a batch of pages, then we meet them one by one.
 * The first half of the region's pages are contended so; the second half are met by us alone, and dropped
 * after each batch, so that nobody holds them: that is the floor.
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "atomic.h"
#include "bench.h"
#include "bench_report.h"
#include "clock.h"
#include "floor.h"
#include "limits.h"
#include "private_server.h"
#include "share_holder.h"

#define REGION_PAGES  1024
#define REGION_BYTES  ((uint64_t)REGION_PAGES * PAGE_BYTES)
#define CONTENDED     (REGION_PAGES / 2)
#define BATCH         32
#define BOARD         (REGION_PAGES - 1) /* the page that is played on */
#define LEAST_FAULTS  20
#define LEAST_TURNS   2
#define GOAL_HELD     2.5
#define GOAL_UNMAPPED 1.03
#define LEASE         "200ms"           /* the shortest, where a holder dies */
#define RECOVERY_NS   (300 * NS_PER_MS) /* the lease, and 100 ms */

struct share_bench {
    struct cxe_connection *connection;
    struct cxe_region *region;
    char name[CXE_NAME_BYTES];
    struct share_holder holder;
    struct floor_wake *wake;
    uint8_t *memory;
    int cpu;          /* ours; -1: not pinned */
    uint32_t next[2]; /* batch: of the contended pages, of our own */
};

/* What a probe of single pages does. */
struct page_probe {
    struct share_bench *bench;
    bool held;       /* by the other client; else by nobody */
    bool held_dirty; /* it has stored to it, else loaded from it */
    bool store;      /* what we do */
    bool by_line;    /* through a line operation instead of our mapping */
};

static uint64_t offset_of(uint32_t page)
{
    return (uint64_t)page * PAGE_BYTES;
}

static int wrong_data(uint32_t page)
{
    return bench_fail(-EBADMSG, "page %u is not what was written there", page);
}

/* ---- our mapping ---- */

static int map(struct share_bench *bench)
{
    const struct cxe_map_options options = {.local_bytes = 2 * REGION_BYTES, .flags = CXE_MAP_NO_PREFETCH};
    void *memory;
    int error;

    bench_unpin(); /* the library's threads run where they may, as those of any program */
    error = cxe_map(bench->region, &options, &memory);
    if (error)
        return bench_fail_call(error, "cxe_map");
    bench->memory = memory;
    bench_pin(bench->cpu);
    return 0;
}

/* What a mapping that was fenced has lost is not our concern. */
static void unmap(struct share_bench *bench)
{
    if (bench->memory && cxe_unmap(bench->memory) != 0) {
        cxe_advise(bench->memory, REGION_BYTES, CXE_ADVICE_REFRESH);
        cxe_unmap(bench->memory);
    }
    bench->memory = NULL;
}

static int drop(struct share_bench *bench, uint32_t first, uint32_t count)
{
    int error = cxe_advise(bench->memory + offset_of(first), (uint64_t)count * PAGE_BYTES, CXE_ADVICE_COLD);

    return error ? bench_fail_call(error, "cxe_advise") : 0;
}

/* ---- single pages ---- */

static int meet_by_mapping(const struct page_probe *probe, uint32_t page, uint64_t *latency_ns_out)
{
    volatile uint64_t *words = (volatile uint64_t *)(probe->bench->memory + offset_of(page));
    const uint64_t start_ns = clock_now_ns();

    if (probe->store)
        words[2] = start_ns;
    else
        (void)words[2];
    *latency_ns_out = clock_now_ns() - start_ns;
    return words[0] == bench_word_at(offset_of(page)) ? 0 : wrong_data(page);
}

static int meet_by_line(const struct page_probe *probe, uint32_t page, uint64_t *latency_ns_out)
{
    uint64_t words[CXE_LINE_BYTES / sizeof(uint64_t)] = {bench_word_at(offset_of(page))};
    const uint64_t start_ns = clock_now_ns();
    const int error = probe->store ? cxe_write(probe->bench->region, offset_of(page), words, sizeof(words))
                                   : cxe_read(probe->bench->region, offset_of(page), words, sizeof(words));

    *latency_ns_out = clock_now_ns() - start_ns;
    if (error)
        return bench_fail_call(error, "line operation");
    return words[0] == bench_word_at(offset_of(page)) ? 0 : wrong_data(page);
}

/* Whom the pages of this batch belong to when we come: in any case not to us. */
static int prepare(const struct page_probe *probe, uint32_t *first_out)
{
    struct share_bench *bench = probe->bench;
    const uint32_t batches = CONTENDED / BATCH - 1; /* the last of ours has the board */
    uint32_t *next = &bench->next[!probe->held];
    int error = 0;

    *next = (*next + 1) % batches;
    *first_out = *next * BATCH + (probe->held ? 0 : CONTENDED);
    if (bench->memory)
        error = drop(bench, *first_out, BATCH);
    if (!error && probe->held)
        error = share_holder_touch(&bench->holder, *first_out, BATCH, probe->held_dirty);
    return error;
}

static int page_run(void *context, uint64_t duration_ns, struct bench_sample *sample)
{
    const struct page_probe *probe = context;
    const uint64_t begin_ns = clock_now_ns();
    bool room = true;
    int error = 0;

    while (!error && room && clock_now_ns() - begin_ns < duration_ns) {
        uint32_t first;

        error = prepare(probe, &first);
        for (uint32_t i = 0; !error && room && i < BATCH; i++) {
            uint64_t latency_ns;

            error = probe->by_line ? meet_by_line(probe, first + i, &latency_ns)
                                   : meet_by_mapping(probe, first + i, &latency_ns);
            if (!error)
                room = bench_note(sample, latency_ns);
        }
    }
    sample->elapsed_ns = clock_now_ns() - begin_ns;
    return error;
}

/* ---- one page, two clients ---- */

static struct share_board *board_of(struct share_bench *bench)
{
    return (struct share_board *)(bench->memory + offset_of(BOARD));
}

static void clear_board(struct share_board *board)
{
    memset(board, 0, sizeof(*board));
}

/* Each stores when the other has. */
static int turns_run(void *context, uint64_t duration_ns, struct bench_sample *sample)
{
    struct share_bench *bench = context;
    struct share_board *board = board_of(bench);
    uint64_t begin_ns, turn;
    int error;

    clear_board(board);
    error = share_holder_play(&bench->holder, BOARD, false);
    if (error)
        return error;
    begin_ns = clock_now_ns();
    while (clock_now_ns() - begin_ns < duration_ns || sample->work == 0) {
        turn = load_acquire(&board->turn);
        if (turn % 2) {
            sched_yield();
            continue;
        }
        store_release(&board->turn, turn + 1);
        sample->work++;
    }
    sample->elapsed_ns = clock_now_ns() - begin_ns;
    while (load_acquire(&board->turn) % 2)
        sched_yield();
    store_release(&board->turn, SHARE_OVER);
    return share_holder_await(&bench->holder);
}

/* Both store as fast as they can. What counts is how often the slower one did, of the even half. */
static int hammer_run(void *context, uint64_t duration_ns, struct bench_sample *sample)
{
    struct share_bench *bench = context;
    struct share_board *board = board_of(bench);
    uint64_t begin_ns, ours, theirs;
    int error;

    clear_board(board);
    error = share_holder_play(&bench->holder, BOARD, true);
    if (error)
        return error;
    begin_ns = clock_now_ns();
    while (clock_now_ns() - begin_ns < duration_ns)
        store_relaxed(&board->ours, board->ours + 1);
    store_release(&board->stopped, 1);
    error = share_holder_await(&bench->holder);
    ours = board->ours;
    theirs = board->theirs;
    sample->work = 2 * (ours < theirs ? ours : theirs);
    sample->elapsed_ns = (ours + theirs) * NS_PER_S; /* so that the rate is the share */
    if (sample->elapsed_ns / NS_PER_S != ours + theirs)
        return bench_fail(-EOVERFLOW, "too many stores to count");
    return error;
}

/* ---- a holder that dies ---- */

/* A mapping of ours, and another client that has stored to a page of it; then we want that page. */
static int recover_once(struct share_bench *bench, uint64_t *latency_ns_out)
{
    const struct page_probe probe = {.bench = bench};
    struct share_holder holder = {0};
    uint64_t killed_ns, ignored;
    int error;

    unmap(bench);
    error = share_holder_start(bench->connection, bench->name, &holder);
    if (!error)
        error = map(bench);
    if (!error)
        error = share_holder_touch(&holder, 0, 1, true);
    share_holder_kill(&holder);
    killed_ns = clock_now_ns();
    if (!error)
        error = meet_by_mapping(&probe, 0, &ignored);
    *latency_ns_out = clock_now_ns() - killed_ns;
    return error;
}

static int recover_run(void *context, uint64_t duration_ns, struct bench_sample *sample)
{
    const uint64_t begin_ns = clock_now_ns();
    int error;

    do {
        uint64_t latency_ns;

        error = recover_once(context, &latency_ns);
        if (!error)
            bench_note(sample, latency_ns);
        sample->elapsed_ns = clock_now_ns() - begin_ns;
    } while (!error && sample->elapsed_ns < duration_ns);
    return error;
}

/* Not measured: what is allowed. */
static int lease_run(void *context, uint64_t duration_ns, struct bench_sample *sample)
{
    (void)context;
    (void)duration_ns;
    bench_note(sample, RECOVERY_NS);
    sample->elapsed_ns = 1;
    return 0;
}

/* ---- figures ---- */

static const struct share_figure {
    const char *name, *floor_name;
    struct page_probe subject, floor;
    double goal;
} mapped_figures[] = {
    {"load_of_dirty_page",
     "load of a page nobody holds; a thread's wake-up taken off first",
     {.held = true, .held_dirty = true},
     {0},
     GOAL_HELD},
    {"store_to_dirty_page",
     "store to a page nobody holds; a thread's wake-up taken off first",
     {.held = true, .held_dirty = true, .store = true},
     {.store = true},
     GOAL_HELD},
    {"store_to_clean_page",
     "store to a page nobody holds; a thread's wake-up taken off first",
     {.held = true, .store = true},
     {.store = true},
     GOAL_HELD},
    {"load_of_clean_page", "load of a page nobody holds", {.held = true}, {0}, 0},
    {"line_read_of_dirty_page",
     "read of a line nobody holds",
     {.held = true, .held_dirty = true, .by_line = true},
     {.by_line = true},
     0},
    {"line_write_to_clean_page",
     "write of a line nobody holds",
     {.held = true, .by_line = true, .store = true},
     {.by_line = true, .store = true},
     0},
};
#define MAPPED_FIGURES (sizeof(mapped_figures) / sizeof(mapped_figures[0]))

static int measure_page(const struct bench_options *options, struct bench_report *report,
                        const struct bench_link *link, struct share_bench *bench,
                        const struct share_figure *figure)
{
    struct page_probe subject = figure->subject, floor = figure->floor;
    char name[96];
    struct bench_comparison comparison = {
        .name = name,
        .kind = BENCH_LATENCY,
        .subject = {page_run, &subject},
        .floors = {{page_run, &floor}},
        .floor_count = 1,
        .floor_name = figure->floor_name,
        .ratio_goal = figure->goal,
        .least_work = LEAST_FAULTS,
    };

    subject.bench = floor.bench = bench;
    if (figure->goal > 0)
        comparison.extra = (struct bench_probe){floor_wake_run, bench->wake};
    snprintf(name, sizeof(name), "%s.%s", link->name, figure->name);
    return bench_compare(options, report, &comparison);
}

static int measure_rate(const struct bench_options *options, struct bench_report *report,
                        const struct bench_link *link, struct share_bench *bench, const char *what,
                        int (*run)(void *context, uint64_t duration_ns, struct bench_sample *sample),
                        const char *unit)
{
    char name[96];
    const struct bench_comparison comparison = {
        .name = name,
        .kind = BENCH_RATE,
        .unit = unit,
        .scale = 1,
        .subject = {run, bench},
        .least_work = LEAST_TURNS,
    };

    snprintf(name, sizeof(name), "%s.%s", link->name, what);
    return bench_compare(options, report, &comparison);
}

static int measure_wake(const struct bench_options *options, struct bench_report *report,
                        const struct bench_link *link, struct share_bench *bench)
{
    char name[96];
    const struct bench_comparison comparison = {
        .name = name,
        .kind = BENCH_LATENCY,
        .subject = {floor_wake_run, bench->wake},
        .least_work = LEAST_FAULTS,
    };

    snprintf(name, sizeof(name), "%s.thread_wake_up", link->name);
    return bench_compare(options, report, &comparison);
}

/* On the same lines, in a region that nobody maps: one that might be mapped coherently must cost nothing. */
static int measure_unmapped(const struct bench_options *options, struct bench_report *report,
                            const struct bench_link *link, struct share_bench *bench)
{
    struct share_bench plain = *bench, shared = *bench;
    struct page_probe subject = {.bench = &shared, .by_line = true},
                      floor = {.bench = &plain, .by_line = true};
    char name[96];
    const struct bench_comparison comparison = {
        .name = name,
        .kind = BENCH_LATENCY,
        .subject = {page_run, &subject},
        .floors = {{page_run, &floor}},
        .floor_count = 1,
        .floor_name = "the same in a private region",
        .ratio_goal = GOAL_UNMAPPED,
        .least_work = LEAST_FAULTS,
    };
    int error = bench_region_make(bench->connection, REGION_BYTES, 0, &plain.region);

    if (error)
        return error;
    snprintf(name, sizeof(name), "%s.line_read_of_unmapped_region", link->name);
    error = bench_compare(options, report, &comparison);
    bench_region_drop(bench->connection, plain.region);
    return error;
}

static int measure_recovery(const struct bench_options *options, struct bench_report *report,
                            const struct bench_link *link, struct share_bench *bench)
{
    char name[96];
    const struct bench_comparison comparison = {
        .name = name,
        .kind = BENCH_LATENCY,
        .subject = {recover_run, bench},
        .floors = {{lease_run, bench}},
        .floor_count = 1,
        .floor_name = "the lease of 200 ms, and 100 ms",
        .ratio_goal = 1,
    };

    int error;

    snprintf(name, sizeof(name), "%s.page_of_dead_holder", link->name);
    error = bench_compare(options, report, &comparison);
    unmap(bench);
    return error;
}

static int measure_mapped(const struct bench_options *options, struct bench_report *report,
                          const struct bench_link *link, struct share_bench *bench)
{
    int error = measure_wake(options, report, link, bench);

    for (unsigned i = 0; !error && i < MAPPED_FIGURES; i++)
        error = measure_page(options, report, link, bench, &mapped_figures[i]);
    if (!error)
        error = measure_rate(options, report, link, bench, "page_ping_pong", turns_run, "trips/s");
    if (!error)
        error = measure_rate(options, report, link, bench, "share_of_slower_client", hammer_run, "of even");
    return error;
}

static int measure_region(const struct bench_options *options, struct bench_report *report,
                          const struct bench_link *link, struct share_bench *bench)
{
    int error = measure_unmapped(options, report, link, bench);

    if (!error)
        error = share_holder_start(bench->connection, bench->name, &bench->holder);
    if (!error)
        error = map(bench);
    if (!error)
        error = measure_mapped(options, report, link, bench);
    share_holder_kill(&bench->holder);
    unmap(bench);
    return error;
}

/* Makes a region on the connection, and measures with it. */
static int with_region(const struct bench_options *options, struct bench_report *report,
                       const struct bench_link *link, struct cxe_connection *connection,
                       int (*measure)(const struct bench_options *, struct bench_report *,
                                      const struct bench_link *, struct share_bench *))
{
    struct share_bench bench = {.connection = connection, .cpu = options->client_cpu};
    struct cxe_region_info info;
    int error = bench_region_make(connection, REGION_BYTES, CXE_REGION_SHARED, &bench.region);

    if (error)
        return error;
    error = cxe_region_stat(bench.region, &info);
    if (error)
        bench_fail_call(error, "region");
    else
        memcpy(bench.name, info.name, sizeof(bench.name));
    if (!error)
        error = floor_wake_open(&bench.wake);
    if (!error)
        error = measure(options, report, link, &bench);
    floor_wake_close(bench.wake);
    bench_region_drop(connection, bench.region);
    return error;
}

/* With a server of its own, whose lease is the shortest. */
static int recovery(const struct bench_options *options, struct bench_report *report,
                    const struct bench_link *link)
{
    const struct cxe_connect_options connect = {
        .transport = link->provider ? "ofi" : "eth",
        .encryption = link->encrypted ? CXE_ENCRYPTION_DEFAULT : CXE_ENCRYPTION_OFF,
    };
    struct private_server server;
    struct cxe_connection *connection;
    const struct private_server_options settings = {
        .transport = connect.transport, .lease = LEASE, .cpu = options->server_cpu};
    int error = private_server_start(&settings, &server);

    if (!error)
        error = private_server_connect(&server, &connect, &connection);
    if (!error) {
        error = with_region(options, report, link, connection, measure_recovery);
        cxe_disconnect(connection);
    }
    private_server_stop(&server);
    return error;
}

int bench_share(const struct bench_options *options, struct bench_report *report,
                const struct bench_link *link, struct cxe_connection *connection)
{
    int error = with_region(options, report, link, connection, measure_region);

    return !error && link->local ? recovery(options, report, link) : error;
}
