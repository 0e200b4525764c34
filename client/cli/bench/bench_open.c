/* bench_open.c - how long do reads take that arrive at a rate of their own, however slow the answers are?
 *
 * An open loop: reads are due at random times (a Poisson process), and each latency counts from when its read
 * was due, not from when it could be started. So a moment in which nothing is answered counts for all the
 * reads that were due in it. See bench.h.
 */
#include "bench.h"

#include <math.h>
#include <stdio.h>

#include "bench_report.h"
#include "clock.h"
#include "inflight.h"
#include "limits.h"

#define REGION_BYTES     (16ull << 20)
#define LEAST_READS      50
#define CAPACITY_ROUNDS  5
#define CAPACITY_NS      (50 * NS_PER_MS)
#define PER_CENT_OF_RATE 0.01

static const unsigned shares[] = {10, 25, 50, 70, 80, 90}; /* per cent of what a closed loop does */

struct open_bench {
    struct inflight *inflight;
    double gap_ns; /* between two reads that are due, on the average */
    uint64_t random;
};

/* Exponentially distributed. */
static double next_gap_ns(struct open_bench *bench)
{
    const double uniform = (double)(bench_random(&bench->random) >> 11) / (double)(1ull << 53);

    return -log(1 - uniform) * bench->gap_ns;
}

static int open_run(void *context, uint64_t duration_ns, struct bench_sample *sample)
{
    struct open_bench *bench = context;
    const uint64_t begin_ns = clock_now_ns();
    double due_ns = next_gap_ns(bench); /* after the begin */
    uint64_t started = 0;
    bool more = true;
    int error = 0;

    while (!error && (more || sample->work < started)) {
        const double now_ns = (double)(clock_now_ns() - begin_ns);

        while (!error && more && due_ns <= now_ns && inflight_room(bench->inflight) > 0) {
            error = inflight_start(bench->inflight, begin_ns + (uint64_t)due_ns);
            due_ns += next_gap_ns(bench);
            more = ++started < BENCH_LATENCIES_MAX && due_ns < (double)duration_ns;
        }
        more = more && due_ns < (double)duration_ns;
        if (!error)
            error = inflight_take(bench->inflight, sample);
    }
    sample->elapsed_ns = clock_now_ns() - begin_ns;
    return error;
}

/* Reads a second with as many in flight as may be: the median of some short runs. */
static int find_capacity(struct inflight *inflight, double *rate_out)
{
    double rates[CAPACITY_ROUNDS];

    for (unsigned i = 0; i < CAPACITY_ROUNDS; i++) {
        struct bench_sample sample = {.work = 0};
        int error = inflight_rate_run(inflight, CAPACITY_NS, &sample);

        if (error)
            return error;
        rates[i] = (double)sample.work * (double)NS_PER_S / (double)sample.elapsed_ns;
    }
    *rate_out = bench_median(rates, CAPACITY_ROUNDS);
    return 0;
}

static int measure(const struct bench_options *options, struct bench_report *report,
                   const struct bench_link *link, struct open_bench *bench, double rate, const char *what)
{
    char name[96], plot[96];
    const struct bench_series series = {
        .plot = plot, .label = "", .x_label = "reads a second that were due", .x = rate};
    const struct bench_comparison comparison = {
        .name = name,
        .kind = BENCH_LATENCY,
        .subject = {open_run, bench},
        .least_work = LEAST_READS,
        .series = &series,
        .rate_unit = "lines/s",
    };

    snprintf(name, sizeof(name), "%s.open_read_%s", link->name, what);
    snprintf(plot, sizeof(plot), "Latency in an open loop: %s", link->name);
    bench->gap_ns = (double)NS_PER_S / rate;
    return bench_compare(options, report, &comparison);
}

static int measure_shares(const struct bench_options *options, struct bench_report *report,
                          const struct bench_link *link, struct open_bench *bench)
{
    double capacity;
    int error = find_capacity(bench->inflight, &capacity);

    if (!error)
        report_say(report, "%s: a closed loop does %.0f lines/s; shares are of that", link->name, capacity);
    for (unsigned i = 0; !error && i < sizeof(shares) / sizeof(shares[0]); i++) {
        char what[32];

        snprintf(what, sizeof(what), "%u_percent", shares[i]);
        error = measure(options, report, link, bench, capacity * shares[i] * PER_CENT_OF_RATE, what);
    }
    return error;
}

static int measure_rate(const struct bench_options *options, struct bench_report *report,
                        const struct bench_link *link, struct open_bench *bench)
{
    char what[32];

    snprintf(what, sizeof(what), "%ju_per_s", (uintmax_t)options->rate);
    return measure(options, report, link, bench, (double)options->rate, what);
}

int bench_open(const struct bench_options *options, struct bench_report *report,
               const struct bench_link *link, struct cxe_connection *connection)
{
    struct open_bench bench = {.random = 0x9E3779B97F4A7C15ull};
    struct cxe_region *region;
    int error = bench_region_make(connection, REGION_BYTES, 0, &region);

    if (error)
        return error;
    error = inflight_open(connection, region, &bench.inflight);
    if (!error)
        error = inflight_set(bench.inflight, INFLIGHT_READ, options->depth);
    if (!error)
        error = (options->rate ? measure_rate : measure_shares)(options, report, link, &bench);
    inflight_close(bench.inflight);
    bench_region_drop(connection, region);
    return error;
}
