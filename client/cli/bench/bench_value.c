/* bench_value.c - a figure from one value a round: median, quartiles, ratios pair by pair; see bench.h */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

#include "bench_report.h"

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

static void set_goal(const struct bench_value *value, struct figure *figure)
{
    double reached;

    if (figure->floor && value->ratio_goal > 0) {
        figure->goal_of = "ratio";
        figure->goal = value->ratio_goal;
        reached = figure->ratio;
    } else if (value->value_goal > 0) {
        figure->goal_of = "value";
        figure->goal = value->value_goal;
        reached = figure->value;
    } else {
        return;
    }
    figure->met = value->more_is_better ? reached >= figure->goal : reached <= figure->goal;
}

/* Before anything is sorted: each value belongs to the floor of its round. */
static void take_ratios(const struct bench_value *value, struct figure *figure)
{
    double ratios[BENCH_ROUNDS_MAX];

    for (unsigned i = 0; i < value->count; i++) {
        const double own = value->values[i] - (value->extra_values ? value->extra_values[i] : 0);

        ratios[i] = value->floor_values[i] > 0 ? own / value->floor_values[i] : 0;
    }
    summarise(ratios, value->count, &figure->ratio_q1, &figure->ratio, &figure->ratio_q3);
}

double bench_median(const double *values, unsigned count)
{
    double sorted[BENCH_ROUNDS_MAX], median, ignored;

    memcpy(sorted, values, count * sizeof(*values));
    summarise(sorted, count, &ignored, &median, &ignored);
    return median;
}

bool bench_wanted(const struct bench_options *options, const char *name)
{
    return !options->figure || strstr(name, options->figure);
}

void bench_report_value(struct bench_report *report, const struct bench_value *value)
{
    struct figure figure = {.name = value->name,
                            .unit = value->unit,
                            .more_is_better = value->more_is_better,
                            .floor = value->floor_name,
                            .series = value->series,
                            .note = value->note};
    double ignored;

    if (figure.floor) {
        take_ratios(value, &figure);
        summarise(value->floor_values, value->count, &ignored, &figure.floor_value, &ignored);
    }
    summarise(value->values, value->count, &figure.value_q1, &figure.value, &figure.value_q3);
    set_goal(value, &figure);
    report_add(report, &figure);
}
