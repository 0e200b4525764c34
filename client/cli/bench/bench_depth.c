/* bench_depth.c - what do reads, writes and CAS of a line take, with 1 to 256 of them in flight? See bench.h
 */
#include "bench.h"

#include <stdio.h>

#include "bench_report.h"
#include "inflight.h"
#include "least.h"

#define REGION_BYTES (16ull << 20)
#define DEPTH_MOST   256 /* or less, if options->depth says so */
#define LEAST_WORK   50

static int measure(const struct bench_options *options, struct bench_report *report,
                   const struct bench_link *link, struct inflight *inflight, enum inflight_mix mix,
                   unsigned depth)
{
    char name[96], plot[96], rate_plot[96];
    const struct bench_series series = {
        .plot = plot, .label = "", .x_label = "requests in flight", .x = depth};
    const struct bench_series rate_series = {
        .plot = rate_plot, .label = inflight_mix_names[mix], .x_label = "requests in flight", .x = depth};
    const struct bench_comparison comparison = {
        .name = name,
        .kind = BENCH_LATENCY,
        .subject = {inflight_latency_run, inflight},
        .least_work = LEAST_WORK,
        .series = &series,
        .rate_unit = "lines/s",
        .rate_series = &rate_series,
    };
    int error;

    snprintf(name, sizeof(name), "%s.%s_depth_%u", link->name, inflight_mix_names[mix], depth);
    snprintf(plot, sizeof(plot), "Latency by depth: %s, %s", inflight_mix_names[mix], link->name);
    snprintf(rate_plot, sizeof(rate_plot), "Lines a second by depth: %s", link->name);
    if (!bench_wanted(options, name))
        return 0;
    error = inflight_set(inflight, mix, depth);
    return error ? error : bench_compare(options, report, &comparison);
}

int bench_depth(const struct bench_options *options, struct bench_report *report,
                const struct bench_link *link, struct cxe_connection *connection)
{
    const unsigned most = (unsigned)least(DEPTH_MOST, options->depth);
    struct inflight *inflight = NULL;
    struct cxe_region *region;
    int error = bench_region_make(connection, REGION_BYTES, 0, &region);

    if (error)
        return error;
    error = inflight_open(connection, region, &inflight);
    for (unsigned mix = 0; mix < INFLIGHT_MIXES; mix++)
        for (unsigned depth = 1; !error && depth <= most; depth *= 2)
            error = measure(options, report, link, inflight, (enum inflight_mix)mix, depth);
    inflight_close(inflight);
    bench_region_drop(connection, region);
    return error;
}
