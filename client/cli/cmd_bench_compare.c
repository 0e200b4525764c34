/* cmd_bench_compare.c - cxe bench compare: what changed between two runs */
#include "cmd_bench.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "changes.h"
#include "cli.h"

/* What a script wants to know. */
enum { STATUS_SAME = 0, STATUS_WORSE = 1, STATUS_UNUSABLE = 2 };

static json_t *load(const char *path)
{
    json_error_t why;
    json_t *document = json_load_file(path, 0, &why);

    if (!document)
        cli_usage("%s: %s", path, why.text);
    if (json_array_size(json_object_get(document, "figures")) == 0)
        cli_usage("%s: there are no figures in it", path);
    return document;
}

/* With a sign, as people expect. */
static double percent_of(const struct change *change)
{
    return change->old != 0 ? 100 * (change->new - change->old) / change->old : 0;
}

static bool is_worth_a_line(const struct change *change)
{
    return change->verdict != VERDICT_SAME && change->verdict != VERDICT_MOVED;
}

static void print_changes(const struct changes *changes, const char *machines)
{
    if (*machines)
        printf("the machines differ: %s; so what follows may say nothing about the software\n", machines);
    for (size_t i = 0; i < changes->count; i++) {
        const struct change *change = &changes->changes[i];

        if (!is_worth_a_line(change))
            continue;
        printf("%-8s %-44s", verdict_names[change->verdict], change->name);
        if (change->verdict == VERDICT_BETTER || change->verdict == VERDICT_WORSE)
            printf(" %10.4g -> %10.4g %-10s %+6.1f %%", change->old, change->new,
                   change->unit ? change->unit : "", percent_of(change));
        putchar('\n');
    }
    printf("%zu figures:", changes->count);
    for (unsigned i = 0; i < VERDICT_COUNT; i++)
        if (changes->counts[i] > 0)
            printf(" %u %s", changes->counts[i], verdict_names[i]);
    putchar('\n');
}

static json_t *describe(const struct changes *changes, const char *machines)
{
    json_t *list = json_array();

    for (size_t i = 0; i < changes->count; i++) {
        const struct change *change = &changes->changes[i];

        json_array_append_new(list, json_pack("{s:s, s:s, s:s?, s:f, s:f}", "name", change->name, "verdict",
                                              verdict_names[change->verdict], "unit", change->unit, "old",
                                              change->old, "new", change->new));
    }
    return json_pack("{s:s?, s:o}", "machines_differ", *machines ? machines : NULL, "changes", list);
}

static int compare(json_t *old, json_t *new)
{
    struct changes *changes;
    char machines[2048];
    int error = changes_find(old, new, &changes), status = STATUS_SAME;

    if (error) {
        cli_fail_system(error, "comparing");
        return STATUS_UNUSABLE;
    }
    changes_of_machine(old, new, machines, sizeof(machines));
    if (cli_json())
        status = cli_print_json(describe(changes, machines));
    else
        print_changes(changes, machines);
    if (changes->counts[VERDICT_SAME] + changes->counts[VERDICT_BETTER] + changes->counts[VERDICT_WORSE] +
            changes->counts[VERDICT_MOVED] ==
        0) {
        cli_fail_because(-EINVAL, "the files have no figure in common that can be judged");
        status = STATUS_UNUSABLE;
    } else if (status == STATUS_SAME && changes->counts[VERDICT_WORSE] > 0) {
        status = STATUS_WORSE;
    }
    free(changes);
    return status;
}

int cmd_bench_compare(int argc, char **argv)
{
    static const struct cli_syntax syntax = {
        .arguments = "OLD NEW",
        .doc = "Says what changed between two runs beyond their noise, better or worse.\v"
               "OLD and NEW are files that --json wrote, here or in the whole benchmark. A figure changed if "
               "the quartiles do not overlap and the median moved by more than 3 %; one with a floor only if "
               "its ratio did the same, since otherwise it was the machine. Exit status 0: nothing is worse, "
               "1: something is, 2: the files cannot be compared.",
    };
    char **arguments;
    json_t *old, *new;
    int status;

    cli_parse(&syntax, argc, argv, NULL, &arguments);
    old = load(arguments[0]);
    new = load(arguments[1]);
    status = compare(old, new);
    json_decref(old);
    json_decref(new);
    return status;
}
