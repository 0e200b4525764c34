/* bench_compare.c - floor, subject, floor, subject; medians, quartiles, ratios; see bench.h */
#include "bench.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_report.h"
#include "limits.h"

#define QUANTILES 4

static const double quantiles[QUANTILES] = {0.5, 0.9, 0.99, 0.999};
static const char *const quantile_names[QUANTILES] = {"p50", "p90", "p99", "p999"};

static char failure[512];

int bench_fail(int error, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(failure, sizeof(failure), format, arguments);
    va_end(arguments);
    return error;
}

const char *bench_failure(void)
{
    return failure;
}

int bench_fail_call(int error, const char *what)
{
    const char *sentence = cxe_last_error();

    return bench_fail(error, "%s: %s", what, *sentence ? sentence : strerror(-error));
}

void bench_shuffle(uint32_t *order, uint32_t count)
{
    uint64_t random = 0x9E3779B97F4A7C15ull;

    for (uint32_t i = 0; i < count; i++)
        order[i] = i;
    for (uint32_t i = count - 1; i > 0; i--) {
        const uint32_t j = (uint32_t)(bench_random(&random) % (i + 1)), other = order[j];

        order[j] = order[i];
        order[i] = other;
    }
}

int bench_pin(int cpu)
{
    cpu_set_t set;

    if (cpu < 0)
        return 0;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    return sched_setaffinity(0, sizeof(set), &set) < 0 ? -errno : 0;
}

void bench_unpin(void)
{
    cpu_set_t set;

    memset(&set, 0xFF, sizeof(set)); /* the kernel leaves out those that are not ours */
    sched_setaffinity(0, sizeof(set), &set);
}

/* ---- one round of one probe ---- */

/* What a round comes to: the quantiles in us, or the rate. */
struct round {
    double values[QUANTILES];
};

static int compare_u32(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

/* The samples are sorted: a bucketed histogram would be off by more than two close ratios differ. */
static void take_quantiles(struct bench_sample *sample, struct round *round)
{
    qsort(sample->latencies_ns, sample->work, sizeof(*sample->latencies_ns), compare_u32);
    for (unsigned i = 0; i < QUANTILES; i++)
        round->values[i] =
            (double)sample->latencies_ns[(uint64_t)(quantiles[i] * (double)(sample->work - 1))] /
            (double)NS_PER_US;
}

/* One that did too little (something else had the core) is tried again, but not for ever: a figure from
 * hardly any work would be no figure. */
#define TRIES 3

static bool is_latency(const struct bench_comparison *comparison, const struct bench_probe *probe)
{
    if (comparison->kind == BENCH_LATENCY || probe == &comparison->extra)
        return true;
    return probe != &comparison->subject && !comparison->floor_is_rate;
}

static int run_probe(const struct bench_comparison *comparison, const struct bench_probe *probe,
                     uint64_t duration_ns, uint32_t *room, struct round *round_out)
{
    const bool latency = is_latency(comparison, probe);
    struct bench_sample sample = {.work = 0};

    for (unsigned try = 0; try < TRIES && (sample.work < comparison->least_work || sample.work == 0); try++) {
        int error;

        sample = (struct bench_sample){.latencies_ns = room};
        error = probe->run(probe->context, duration_ns, &sample);
        if (error)
            return error;
    }
    if (sample.work < comparison->least_work || sample.work == 0 || sample.elapsed_ns == 0)
        return bench_fail(-ENODATA, "%s: a round did %ju of at least %ju; give it more --seconds",
                          comparison->name, (uintmax_t)sample.work, (uintmax_t)comparison->least_work);
    if (latency)
        take_quantiles(&sample, round_out);
    else
        round_out->values[0] =
            (double)sample.work * comparison->scale * (double)NS_PER_S / (double)sample.elapsed_ns;
    return 0;
}

/* The floors' medians add up. */
static int run_floors(const struct bench_comparison *comparison, uint64_t duration_ns, uint32_t *room,
                      double *floor_out)
{
    struct round round;

    *floor_out = 0;
    for (unsigned i = 0; i < comparison->floor_count; i++) {
        int error = run_probe(comparison, &comparison->floors[i], duration_ns, room, &round);

        if (error)
            return error;
        *floor_out += round.values[0];
    }
    return 0;
}

/* ---- all rounds ---- */

struct rounds {
    double subject[QUANTILES][BENCH_ROUNDS_MAX];
    double floor[BENCH_ROUNDS_MAX];
    double ratio[BENCH_ROUNDS_MAX];
};

static int compare_double(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Sorts `values`; the quartiles are those of the nearest rank. */
static void summarise(double *values, unsigned count, double *q1_out, double *median_out, double *q3_out)
{
    qsort(values, count, sizeof(*values), compare_double);
    *q1_out = values[(count - 1) / 4];
    *median_out = count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
    *q3_out = values[count - 1 - (count - 1) / 4];
}

static void set_goal(const struct bench_comparison *comparison, struct figure *figure)
{
    if (figure->floor && comparison->ratio_goal > 0) {
        figure->goal_of = comparison->floor_is_rate ? "speedup" : "ratio";
        figure->goal = comparison->ratio_goal;
        figure->met =
            comparison->floor_is_rate ? figure->ratio >= figure->goal : figure->ratio <= figure->goal;
    } else if (comparison->value_goal > 0) {
        figure->goal_of = "value";
        figure->goal = comparison->value_goal;
        figure->met = figure->value >= figure->goal;
    }
}

/* A rate, or one quantile of a latency; the first has the floor, the goal and a line of text. */
static struct figure make_figure(const struct bench_comparison *comparison, struct rounds *rounds,
                                 unsigned count, unsigned quantile)
{
    struct figure figure = {.unit = comparison->kind == BENCH_LATENCY ? "us" : comparison->unit};
    double ignored;

    summarise(rounds->subject[quantile], count, &figure.value_q1, &figure.value, &figure.value_q3);
    if (quantile == 0 && comparison->floor_count > 0) {
        figure.floor = comparison->floor_name;
        summarise(rounds->floor, count, &ignored, &figure.floor_value, &ignored);
        summarise(rounds->ratio, count, &figure.ratio_q1, &figure.ratio, &figure.ratio_q3);
    }
    if (quantile == 0)
        set_goal(comparison, &figure);
    return figure;
}

static void report_latency(struct bench_report *report, const struct bench_comparison *comparison,
                           struct rounds *rounds, unsigned count)
{
    struct figure figures[QUANTILES];
    char names[QUANTILES][128], note[64];

    for (unsigned i = 0; i < QUANTILES; i++) {
        figures[i] = make_figure(comparison, rounds, count, i);
        snprintf(names[i], sizeof(names[i]), "%s.%s", comparison->name, quantile_names[i]);
        figures[i].name = names[i];
    }
    snprintf(note, sizeof(note), "%.1f / %.1f / %.1f", figures[1].value, figures[2].value, figures[3].value);
    figures[0].note = note;
    for (unsigned i = 0; i < QUANTILES; i++)
        report_add(report, &figures[i]);
}

static void report_rate(struct bench_report *report, const struct bench_comparison *comparison,
                        struct rounds *rounds, unsigned count)
{
    struct figure figure = make_figure(comparison, rounds, count, 0);

    figure.name = comparison->name;
    figure.note = "";
    report_add(report, &figure);
}

static int run_round(const struct bench_comparison *comparison, uint64_t duration_ns, uint32_t *room,
                     struct round *subject_out, double *floor_out, double *ratio_out)
{
    struct round extra = {{0}};
    int error = run_floors(comparison, duration_ns, room, floor_out);

    if (!error && comparison->extra.run)
        error = run_probe(comparison, &comparison->extra, duration_ns, room, &extra);
    if (!error)
        error = run_probe(comparison, &comparison->subject, duration_ns, room, subject_out);
    if (!error)
        *ratio_out = *floor_out > 0 ? (subject_out->values[0] - extra.values[0]) / *floor_out : 0;
    return error;
}

static int run_rounds(const struct bench_options *options, const struct bench_comparison *comparison,
                      uint32_t *room, struct rounds *rounds)
{
    /* One round more than is kept: the first warms caches, routes and estimates. */
    const unsigned probes = 1 + comparison->floor_count + (comparison->extra.run != NULL);
    const uint64_t duration_ns = options->figure_ns / (options->rounds + 1) / probes;

    for (unsigned i = 0; i <= options->rounds; i++) {
        struct round subject = {{0}};
        double floor, ratio;
        int error = run_round(comparison, duration_ns, room, &subject, &floor, &ratio);

        if (error)
            return error;
        if (i == 0)
            continue;
        for (unsigned j = 0; j < QUANTILES; j++)
            rounds->subject[j][i - 1] = subject.values[j];
        rounds->floor[i - 1] = floor;
        rounds->ratio[i - 1] = ratio;
    }
    return 0;
}

int bench_compare(const struct bench_options *options, struct bench_report *report,
                  const struct bench_comparison *comparison)
{
    static struct rounds rounds;
    uint32_t *room;
    int error;

    if (options->figure && !strstr(comparison->name, options->figure))
        return 0;
    room = malloc(BENCH_LATENCIES_MAX * sizeof(*room));
    if (!room)
        return bench_fail(-ENOMEM, "no memory for the samples");
    memset(room, 0,
           BENCH_LATENCIES_MAX * sizeof(*room)); /* page faults of our own do not belong in the figures */
    error = run_rounds(options, comparison, room, &rounds);
    free(room);
    if (error)
        return error;
    if (comparison->kind == BENCH_LATENCY)
        report_latency(report, comparison, &rounds, options->rounds);
    else
        report_rate(report, comparison, &rounds, options->rounds);
    return 0;
}
