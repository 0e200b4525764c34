/* bench_report.h - figures, as text and as JSON */
#ifndef CXE_BENCH_REPORT_H
#define CXE_BENCH_REPORT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Where a figure belongs in the pictures. */
struct bench_series {
    const char *plot;
    const char *label;   /* a curve; or, without x_label, a distribution: all percentiles of a latency */
    const char *x_label; /* "requests in flight" */
    double x;
};

struct figure {
    const char *name; /* "eth.plain.read_64B.p50" */
    const char *unit; /* "us", "lines/s", "MB/s" */
    double value, value_q1, value_q3;
    const char *floor; /* what it is compared with; NULL: nothing */
    double floor_value;
    double ratio, ratio_q1, ratio_q3;
    bool more_is_better; /* of the value and of the ratio */
    const char *goal_of; /* "ratio" or "value"; NULL: there is no goal */
    double goal;         /* at least, if more is better, else at most */
    bool met;
    const struct bench_series *series; /* NULL: it is in no picture */
    const char *note; /* for people, behind the rest of the line; NULL: this figure is for JSON only */
};

struct bench_report;

/* `quiet`: no text on standard output. NULL: no memory. */
struct bench_report *report_open(const char *bench, bool quiet);
void report_close(struct bench_report *report);

/* Prints the figure and keeps it. */
void report_add(struct bench_report *report, const struct figure *figure);

/* A line of text between the figures. */
void report_say(struct bench_report *report, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* How many figures there are. */
size_t report_count(const struct bench_report *report);

/* The whole: {"bench", "machine", "figures"}. Belongs to the report. */
json_t *report_json(struct bench_report *report);

#endif
