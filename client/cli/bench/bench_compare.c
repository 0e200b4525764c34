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

/* What a round comes to: the quantiles in us, or the rate or the cost; of a latency also the rate. */
struct round {
    double values[QUANTILES];
    double rate;
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

/* One that did too little (something else had the core) is tried again for twice as long, but not for ever:
 * a figure from hardly any work would be no figure. */
#define LONGEST_TRY 32 /* rounds */

static void take_round(const struct bench_comparison *comparison, struct bench_sample *sample,
                       struct round *round)
{
    const double work = (double)sample->work, elapsed_ns = (double)sample->elapsed_ns;

    round->rate = work * (double)NS_PER_S / elapsed_ns;
    if (comparison->kind == BENCH_LATENCY)
        take_quantiles(sample, round);
    else if (comparison->kind == BENCH_RATE)
        round->values[0] = round->rate * comparison->scale;
    else
        round->values[0] = elapsed_ns / work * comparison->scale;
}

static bool is_enough(const struct bench_comparison *comparison, const struct bench_sample *sample)
{
    return sample->work >= comparison->least_work && sample->work > 0;
}

static int run_probe(const struct bench_comparison *comparison, const struct bench_probe *probe,
                     uint64_t duration_ns, uint32_t *room, struct round *round_out)
{
    struct bench_sample sample = {.work = 0};

    for (unsigned try = 1; try <= LONGEST_TRY && !is_enough(comparison, &sample); try *= 2) {
        int error;

        sample = (struct bench_sample){.latencies_ns = room};
        error = probe->run(probe->context, try * duration_ns, &sample);
        if (error)
            return error;
    }
    if (!is_enough(comparison, &sample) || sample.elapsed_ns == 0)
        return bench_fail(-ENODATA, "%s: a round did %ju of at least %ju; give it more --seconds",
                          comparison->name, (uintmax_t)sample.work, (uintmax_t)comparison->least_work);
    take_round(comparison, &sample, round_out);
    return 0;
}

/* Several floors add up. */
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
    double rate[BENCH_ROUNDS_MAX]; /* of the subject, if that is a latency */
    double floor[BENCH_ROUNDS_MAX];
    double extra[BENCH_ROUNDS_MAX];
};

/* All but the name and the note of a figure. The first quantile has the floor and the goal. */
static struct bench_value value_of(const struct bench_comparison *comparison, struct rounds *rounds,
                                   unsigned count, unsigned quantile)
{
    struct bench_value value = {
        .unit = comparison->kind == BENCH_LATENCY ? "us" : comparison->unit,
        .more_is_better = comparison->kind == BENCH_RATE,
        .values = rounds->subject[quantile],
        .count = count,
        .series = comparison->series,
    };

    if (quantile > 0)
        return value;
    value.floor_values = rounds->floor;
    value.extra_values = rounds->extra;
    value.floor_name = comparison->floor_count > 0 ? comparison->floor_name : NULL;
    value.ratio_goal = comparison->ratio_goal;
    value.value_goal = comparison->value_goal;
    return value;
}

/* The tail of a latency, for the line of its median. */
static void describe_tail(const struct rounds *rounds, unsigned count, char *note, size_t note_bytes)
{
    double medians[QUANTILES];

    for (unsigned i = 1; i < QUANTILES; i++)
        medians[i] = bench_median(rounds->subject[i], count);
    snprintf(note, note_bytes, "%.1f / %.1f / %.1f", medians[1], medians[2], medians[3]);
}

static void report_latency(struct bench_report *report, const struct bench_comparison *comparison,
                           struct rounds *rounds, unsigned count)
{
    char name[128], note[64];

    describe_tail(rounds, count, note, sizeof(note));
    for (unsigned i = 0; i < QUANTILES; i++) {
        struct bench_value value = value_of(comparison, rounds, count, i);
        struct bench_series series;

        snprintf(name, sizeof(name), "%s.%s", comparison->name, quantile_names[i]);
        value.name = name;
        value.note = i == 0 ? note : NULL;
        if (value.series && value.series->x_label) { /* each percentile is a curve */
            series = *value.series;
            series.label = quantile_names[i];
            value.series = &series;
        }
        bench_report_value(report, &value);
    }
}

static void report_rate_too(struct bench_report *report, const struct bench_comparison *comparison,
                            struct rounds *rounds, unsigned count)
{
    char name[128];
    const struct bench_value value = {
        .name = name,
        .unit = comparison->rate_unit,
        .more_is_better = true,
        .values = rounds->rate,
        .count = count,
        .series = comparison->rate_series,
        .note = "",
    };

    snprintf(name, sizeof(name), "%s.rate", comparison->name);
    bench_report_value(report, &value);
}

static void report_all(struct bench_report *report, const struct bench_comparison *comparison,
                       struct rounds *rounds, unsigned count)
{
    struct bench_value value;

    if (comparison->kind == BENCH_LATENCY) {
        report_latency(report, comparison, rounds, count);
        if (comparison->rate_unit)
            report_rate_too(report, comparison, rounds, count);
        return;
    }
    value = value_of(comparison, rounds, count, 0);
    value.name = comparison->name;
    value.note = "";
    bench_report_value(report, &value);
}

static int run_round(const struct bench_comparison *comparison, uint64_t duration_ns, uint32_t *room,
                     struct round *subject_out, double *floor_out, double *extra_out)
{
    struct round extra = {0};
    int error = run_floors(comparison, duration_ns, room, floor_out);

    if (!error && comparison->extra.run)
        error = run_probe(comparison, &comparison->extra, duration_ns, room, &extra);
    if (!error)
        error = run_probe(comparison, &comparison->subject, duration_ns, room, subject_out);
    *extra_out = extra.values[0];
    return error;
}

static int run_rounds(const struct bench_options *options, const struct bench_comparison *comparison,
                      uint32_t *room, struct rounds *rounds)
{
    /* One round more than is kept: the first warms caches, routes and estimates. */
    const unsigned probes = 1 + comparison->floor_count + (comparison->extra.run != NULL);
    const uint64_t duration_ns = options->figure_ns / (options->rounds + 1) / probes;

    for (unsigned i = 0; i <= options->rounds; i++) {
        const unsigned kept = i > 0 ? i - 1 : 0;
        struct round subject = {0};
        int error =
            run_round(comparison, duration_ns, room, &subject, &rounds->floor[kept], &rounds->extra[kept]);

        if (error)
            return error;
        for (unsigned j = 0; j < QUANTILES; j++)
            rounds->subject[j][kept] = subject.values[j];
        rounds->rate[kept] = subject.rate;
    }
    return 0;
}

int bench_compare(const struct bench_options *options, struct bench_report *report,
                  const struct bench_comparison *comparison)
{
    static struct rounds rounds;
    uint32_t *room;
    int error;

    if (!bench_wanted(options, comparison->name))
        return 0;
    room = malloc(BENCH_LATENCIES_MAX * sizeof(*room));
    if (!room)
        return bench_fail(-ENOMEM, "no memory for the samples");
    memset(room, 0,
           BENCH_LATENCIES_MAX * sizeof(*room)); /* page faults of our own do not belong in the figures */
    error = run_rounds(options, comparison, room, &rounds);
    free(room);
    if (!error)
        report_all(report, comparison, &rounds, options->rounds);
    return error;
}
