/* bench_report.c - see bench_report.h */
#include "bench_report.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

struct bench_report {
    bool quiet;
    json_t *json;
    json_t *figures;
};

/* ---- the machine ---- */

/* The value of a line such as "model name : X" in /proc/cpuinfo. */
static void read_cpu(char *model, size_t model_bytes, bool *virtual_out)
{
    FILE *file = fopen("/proc/cpuinfo", "re");
    char line[4096];

    snprintf(model, model_bytes, "unknown CPU");
    *virtual_out = false;
    while (file && fgets(line, sizeof(line), file)) {
        char *value = strchr(line, ':');

        line[strcspn(line, "\n")] = '\0';
        if (value && strncmp(line, "model name", 10) == 0)
            snprintf(model, model_bytes, "%s", value + 2);
        if (value && strncmp(line, "flags", 5) == 0 && strstr(value, " hypervisor"))
            *virtual_out = true;
    }
    if (file)
        fclose(file);
}

/* The names under /sys/devices/system/cpu/vulnerabilities whose text starts with `state`. */
static json_t *list_vulnerabilities(const char *state)
{
    static const char path[] = "/sys/devices/system/cpu/vulnerabilities";
    DIR *directory = opendir(path);
    json_t *list = json_array();
    struct dirent *entry;

    while (directory && (entry = readdir(directory))) {
        char name[512], text[256];
        FILE *file;

        snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
        file = entry->d_name[0] == '.' ? NULL : fopen(name, "re");
        if (file && fgets(text, sizeof(text), file) && strncmp(text, state, strlen(state)) == 0)
            json_array_append_new(list, json_string(entry->d_name));
        if (file)
            fclose(file);
    }
    if (directory)
        closedir(directory);
    return list;
}

static json_t *describe_machine(void)
{
    struct utsname system;
    char model[256];
    bool virtual;

    uname(&system);
    read_cpu(model, sizeof(model), &virtual);
    return json_pack("{s:s, s:s, s:s, s:i, s:b, s:o, s:o}", "kernel", system.release, "architecture",
                     system.machine, "cpu", model, "cores", (int)sysconf(_SC_NPROCESSORS_ONLN), "virtual",
                     virtual, "mitigated", list_vulnerabilities("Mitigation"), "vulnerable",
                     list_vulnerabilities("Vulnerable"));
}

static const char *text_of(json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static void print_names(const char *before, json_t *names, const char *none)
{
    json_t *name;
    size_t i;

    printf("%s%s", before, json_array_size(names) ? "" : none);
    json_array_foreach(names, i, name) printf(" %s", json_string_value(name));
}

static void print_machine(json_t *machine)
{
    printf("machine: Linux %s %s, %s, %d cores%s", text_of(machine, "kernel"),
           text_of(machine, "architecture"), text_of(machine, "cpu"),
           (int)json_integer_value(json_object_get(machine, "cores")),
           json_is_true(json_object_get(machine, "virtual")) ? ", virtual" : "");
    print_names("; mitigated:", json_object_get(machine, "mitigated"), " nothing");
    print_names("; vulnerable:", json_object_get(machine, "vulnerable"), " nothing");
    putchar('\n');
}

/* ---- figures ---- */

struct bench_report *report_open(const char *bench, bool quiet)
{
    struct bench_report *report = calloc(1, sizeof(*report));

    if (!report)
        return NULL;
    report->quiet = quiet;
    report->figures = json_array();
    report->json = json_pack("{s:s, s:o, s:o}", "bench", bench, "machine", describe_machine(), "figures",
                             report->figures);
    if (!quiet) {
        print_machine(json_object_get(report->json, "machine"));
        printf("%-46s %10s %-8s %8s %6s  %-14s  %-16s %s\n", "figure", "value", "unit", "floor", "ratio",
               "quartiles", "goal", "p90 / p99 / p999");
        fflush(stdout);
    }
    return report;
}

void report_close(struct bench_report *report)
{
    if (!report)
        return;
    json_decref(report->json);
    free(report);
}

size_t report_count(const struct bench_report *report)
{
    return json_array_size(report->figures);
}

json_t *report_json(struct bench_report *report)
{
    return report->json;
}

void report_say(struct bench_report *report, const char *format, ...)
{
    va_list arguments;

    if (report->quiet)
        return;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
}

static void print_goal(const struct figure *figure)
{
    char text[32] = "";

    if (figure->goal_of)
        snprintf(text, sizeof(text), "%s %.*f %s",
                 figure->more_is_better ? ">=" : "<=", figure->goal < 100 ? 2 : 0, figure->goal,
                 figure->met ? "met" : "NOT MET");
    printf("%-16s", text);
}

/* Behind the point. */
static int digits_of(double value)
{
    if (value < 0.1)
        return 4;
    return value < 1000 ? 2 : 0;
}

static void print_figure(const struct figure *figure)
{
    printf("%-46s %10.*f %-8s ", figure->name, digits_of(figure->value), figure->value, figure->unit);
    if (figure->floor)
        printf("%8.2f %6.2f  %5.2f .. %5.2f  ", figure->floor_value, figure->ratio, figure->ratio_q1,
               figure->ratio_q3);
    else
        printf("%8s %6s  %14s  ", "", "", "");
    print_goal(figure);
    printf(" %s\n", figure->note);
    fflush(stdout);
}

static json_t *real_or_null(bool present, double value)
{
    return present ? json_real(value) : json_null();
}

static json_t *describe_series(const struct bench_series *series)
{
    if (!series)
        return json_null();
    if (!series->x_label)
        return json_pack("{s:s, s:s}", "plot", series->plot, "distribution", series->label);
    return json_pack("{s:s, s:s, s:f, s:s}", "plot", series->plot, "curve", series->label, "x", series->x,
                     "x_label", series->x_label);
}

void report_add(struct bench_report *report, const struct figure *figure)
{
    const bool floor = figure->floor, goal = figure->goal_of;

    json_array_append_new(
        report->figures,
        json_pack("{s:s, s:f, s:s, s:[f, f], s:b, s:s?, s:o, s:o, s:o, s:o, s:s?, s:o, s:o}", "name",
                  figure->name, "value", figure->value, "unit", figure->unit, "quartiles", figure->value_q1,
                  figure->value_q3, "more_is_better", figure->more_is_better, "floor", figure->floor,
                  "floor_value", real_or_null(floor, figure->floor_value), "ratio",
                  real_or_null(floor, figure->ratio), "ratio_quartiles",
                  floor ? json_pack("[f, f]", figure->ratio_q1, figure->ratio_q3) : json_null(), "goal",
                  real_or_null(goal, figure->goal), "goal_of", figure->goal_of, "met",
                  goal ? json_boolean(figure->met) : json_null(), "series", describe_series(figure->series)));
    if (!report->quiet && figure->note)
        print_figure(figure);
}
