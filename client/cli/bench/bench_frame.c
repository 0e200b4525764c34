/* bench_frame.c - how many lines a second can be read with frames of which length? See bench.h
 *
 * The lengths are those of UDP payloads; the first is that of an Ethernet with an MTU of 1500.
 */
#include "bench.h"

#include <stdio.h>

#include "bench_report.h"
#include "inflight.h"
#include "limits.h"

#define REGION_BYTES  (64ull << 20)
#define LEAST_READS   5000
#define GOAL_1500     3e6
#define GOAL_LOOPBACK 10e6

static const struct frame_length {
    uint32_t bytes;
    double goal; /* lines a second, over a plain loopback */
} lengths[] = {{FRAME_BYTES_1500, GOAL_1500}, {4064, 0}, {8960, 0}, {FRAME_BYTES_MAX, GOAL_LOOPBACK}};

static int measure(const struct bench_options *options, struct bench_report *report,
                   const struct bench_link *link, struct inflight *inflight,
                   const struct frame_length *length)
{
    char name[96];
    const struct bench_series series = {.plot = "Lines a second by frame length",
                                        .label = link->name,
                                        .x_label = "bytes",
                                        .x = length->bytes};
    const struct bench_comparison comparison = {
        .name = name,
        .kind = BENCH_RATE,
        .unit = "lines/s",
        .scale = 1,
        .subject = {inflight_rate_run, inflight},
        .value_goal = link->local && !link->provider && !link->encrypted ? length->goal : 0,
        .least_work = LEAST_READS,
        .series = &series,
    };
    int error = inflight_set(inflight, INFLIGHT_READ, options->depth);

    snprintf(name, sizeof(name), "%s.read_frames_%uB", link->name, length->bytes);
    return error ? error : bench_compare(options, report, &comparison);
}

/* Over a connection of its own with such frames; the path may not carry them. */
static int with_length(const struct bench_options *options, struct bench_report *report,
                       const struct bench_link *link, const char *region_name,
                       const struct frame_length *length)
{
    struct cxe_connect_options connect = *link->connect;
    struct cxe_connection_info info;
    struct bench_client client;
    struct inflight *inflight = NULL;
    int error;

    connect.frame_bytes = length->bytes;
    error = bench_client_connect(&connect, region_name, &client);
    if (error)
        return error;
    error = cxe_connection_info(client.connection, &info);
    if (error)
        error = bench_fail_call(error, "connection");
    else if (info.frame_bytes < length->bytes)
        report_say(report, "%s.read_frames_%uB: left out: the path's frames have %u bytes", link->name,
                   length->bytes, info.frame_bytes);
    else
        error = inflight_open(client.connection, client.region, &inflight);
    if (inflight)
        error = measure(options, report, link, inflight, length);
    inflight_close(inflight);
    bench_client_close(&client);
    return error;
}

int bench_frame(const struct bench_options *options, struct bench_report *report,
                const struct bench_link *link, struct cxe_connection *connection)
{
    struct cxe_region_info info;
    struct cxe_region *region;
    int error = bench_region_make(connection, REGION_BYTES, 0, &region);

    if (error)
        return error;
    error = cxe_region_stat(region, &info);
    if (error)
        bench_fail_call(error, "region");
    for (unsigned i = 0; !error && i < sizeof(lengths) / sizeof(lengths[0]); i++)
        error = with_length(options, report, link, info.name, &lengths[i]);
    bench_region_drop(connection, region);
    return error;
}
