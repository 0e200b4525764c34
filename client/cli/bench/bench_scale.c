/* bench_scale.c - what do a region, a session and a cached page cost, with a thousand and with a million
 * there?
 *
 * Flat is the goal: at each point at most half more than at the first. See bench.h.
 */
#include "bench_report.h"
#include "clock.h"
#include "least.h"
#include "limits.h"
#include "scale.h"
#include "server_usage.h"

#include <stdio.h>
#include <string.h>

#define CHUNK_MOST 50
#define GOAL_FLAT  1.5

void scale_report(struct scale_bench *bench, struct scale_cost *cost, uint64_t items, const double *values,
                  unsigned count)
{
    double own[BENCH_ROUNDS_MAX], first[BENCH_ROUNDS_MAX];
    char name[96];
    const struct bench_series series = {
        .plot = cost->plot, .label = cost->what, .x_label = "how many there are", .x = (double)items};
    struct bench_value value = {.name = name,
                                .unit = cost->unit,
                                .values = own,
                                .floor_values = first,
                                .count = count,
                                .series = &series,
                                .note = ""};

    memcpy(own, values, count * sizeof(*own));
    snprintf(name, sizeof(name), "%s.scale_%s_%ju", bench->link->name, cost->what, (uintmax_t)items);
    if (cost->first_count == count) {
        memcpy(first, cost->first, sizeof(first));
        value.floor_name = "with 1000";
        value.ratio_goal = GOAL_FLAT;
    } else {
        memcpy(cost->first, values, count * sizeof(*values));
        cost->first_count = count;
    }
    if (bench_wanted(bench->options, name))
        bench_report_value(bench->report, &value);
}

int scale_time(struct scale_bench *bench, int (*once)(void *context), void *context, double *values)
{
    for (unsigned i = 0; i < bench->options->rounds; i++) {
        const uint64_t start_ns = clock_now_ns();
        int error = 0;

        for (unsigned j = 0; !error && j < bench->chunk; j++)
            error = once(context);
        if (error)
            return error;
        values[i] = (double)(clock_now_ns() - start_ns) / bench->chunk / (double)NS_PER_US;
    }
    return 0;
}

int scale_server_bytes(const struct scale_bench *bench, uint64_t *bytes_out)
{
    *bytes_out = 0;
    return bench->link->server_pid ? usage_resident_bytes(bench->link->server_pid, bytes_out) : 0;
}

int bench_scale(const struct bench_options *options, struct bench_report *report,
                const struct bench_link *link, struct cxe_connection *connection)
{
    struct scale_bench bench = {
        .options = options,
        .report = report,
        .link = link,
        .random = 0x9E3779B97F4A7C15ull,
        .chunk = (unsigned)least(CHUNK_MOST, SCALE_FIRST / 2 / options->rounds),
    };
    int error;

    (void)connection; /* there is none: see struct bench */
    error = scale_pages(&bench);
    if (!error)
        error = scale_sessions(&bench);
    if (!error)
        error = scale_regions(&bench); /* the last: its regions stay until the server forgets them */
    return error;
}
