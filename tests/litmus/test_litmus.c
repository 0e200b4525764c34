/* test_litmus.c - litmus shapes over live servers: nothing that a mode forbids, and everything that shows
 * that looking was not in vain
 *
 * Each cell (shape, placement, mode) has two controls. The same operations in a broken order must show the
 * shape's weak outcome: the timing is such that a mode which reorders would be caught. And where the mode
 * allows the weak outcome, it must be seen in the cell itself.
 *
 * $CXE_LITMUS_EXECUTIONS: executions a cell, a million in a soak.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "random.h"
#include "runner.h"

TestSuite(litmus);

#define EXECUTIONS       128
#define CONTROLS_MAX     40000 /* executions in which a control must show itself */
#define CONTROLS_AT_ONCE 64

/* Page faults take longer than operations. */
static uint64_t executions_wanted(enum shape_mode mode)
{
    const char *text = getenv("CXE_LITMUS_EXECUTIONS");

    if (text)
        return strtoull(text, NULL, 0);
    return mode == SHAPE_MAPPED || mode == SHAPE_MIXED ? EXECUTIONS / 2 : EXECUTIONS;
}

static const char *name_of(const struct cell *cell)
{
    static char name[96];

    snprintf(name, sizeof(name), "%s, %s, %s", cell->shape->name, shape_placement_names[cell->placement],
             shape_modes[cell->mode].name);
    return name;
}

/* ---- the table itself ---- */

Test(litmus, every_weak_outcome_is_one_that_no_interleaving_gives)
{
    for (unsigned i = 0; i < shape_count; i++)
        for (unsigned placement = 0; placement < SHAPE_PLACEMENTS; placement++)
            cr_expect_not(shape_allows_weak(&shapes[i], placement, SHAPE_ORDER_ALL), "%s", shapes[i].name);
}

Test(litmus, one_line_keeps_every_shape_in_order)
{
    for (unsigned i = 0; i < shape_count; i++)
        cr_expect_not(shape_allows_weak(&shapes[i], SHAPE_SAME_LINE, SHAPE_ORDER_LINE), "%s", shapes[i].name);
}

Test(litmus, lines_apart_allow_message_passing_to_fail)
{
    unsigned allowed = 0;

    for (unsigned i = 0; i < shape_count; i++)
        allowed += shape_allows_weak(&shapes[i], SHAPE_SAME_PAGE, SHAPE_ORDER_LINE);
    cr_expect_eq(allowed, 11, "%u shapes", allowed);
}

/* ---- cells ---- */

static void expect_allowed(const struct cell *cell, const struct histogram *histogram, uint64_t seed)
{
    struct shape_set allowed;

    shape_allowed(cell->shape, cell->placement, shape_modes[cell->mode].order, &allowed);
    for (unsigned outcome = 0; outcome < SHAPE_OUTCOMES; outcome++)
        if (histogram->counts[outcome] > 0 && !shape_set_has(&allowed, outcome))
            cr_assert_fail("%s: %s is forbidden, and came out %" PRIu64 " times of %" PRIu64
                           "; CXE_TEST_SEED=%" PRIu64,
                           name_of(cell), shape_print_outcome(cell->shape, outcome),
                           histogram->counts[outcome], histogram->executions, seed);
}

/* Runs until the weak outcome was seen. */
static uint64_t expect_weak(struct runner *runner, const struct cell *cell, struct histogram *histogram)
{
    while (histogram->weak == 0 && histogram->executions < CONTROLS_MAX)
        runner_run(runner, cell, CONTROLS_AT_ONCE, histogram);
    cr_assert_gt(histogram->weak, 0, "%s%s: %s was not seen in %" PRIu64 " executions", name_of(cell),
                 cell->broken ? ", broken" : "", cell->shape->weak_text, histogram->executions);
    return histogram->executions;
}

static unsigned count_outcomes(const struct histogram *histogram)
{
    unsigned outcomes = 0;

    for (unsigned outcome = 0; outcome < SHAPE_OUTCOMES; outcome++)
        outcomes += histogram->counts[outcome] > 0;
    return outcomes;
}

static void run_cell(struct runner *runner, struct cell cell, uint64_t seed)
{
    static struct histogram histogram, control;
    bool weak = shape_allows_weak(cell.shape, cell.placement, shape_modes[cell.mode].order);

    histogram = control = (struct histogram){0};
    runner_run(runner, &cell, executions_wanted(cell.mode), &histogram);
    if (weak)
        expect_weak(runner, &cell, &histogram);
    expect_allowed(&cell, &histogram, seed);
    cell.broken = true;
    expect_weak(runner, &cell, &control);
    printf("%-38s %u outcomes in %" PRIu64 ", weak %s %" PRIu64 "; control %" PRIu64 " of %" PRIu64 "\n",
           name_of(&cell), count_outcomes(&histogram), histogram.executions, weak ? "allowed," : "forbidden,",
           histogram.weak, control.weak, control.executions);
    fflush(stdout);
}

static void run_mode(enum shape_mode mode)
{
    uint64_t seed = random_seed();
    struct runner *runner;

    runner = runner_open(seed, mode == SHAPE_MAPPED || mode == SHAPE_MIXED);
    if (!runner)
        cr_skip_test("there is no userfaultfd for us here");
    for (unsigned i = 0; i < shape_count; i++)
        for (unsigned placement = 0; placement < SHAPE_PLACEMENTS; placement++)
            if (shape_has_placement(&shapes[i], placement))
                run_cell(runner, (struct cell){.shape = &shapes[i], .placement = placement, .mode = mode},
                         seed);
    runner_close(runner);
}

Test(litmus, operations_that_wait)
{
    run_mode(SHAPE_BLOCKING);
}

Test(litmus, operations_in_flight)
{
    run_mode(SHAPE_PIPELINED);
}

Test(litmus, operations_in_one_frame)
{
    run_mode(SHAPE_FRAME);
}

Test(litmus, operations_with_fences_between_them)
{
    run_mode(SHAPE_FENCE);
}

Test(litmus, coherent_mappings)
{
    run_mode(SHAPE_MAPPED);
}

Test(litmus, coherent_mappings_and_operations)
{
    run_mode(SHAPE_MIXED);
}
