/* runner.h - runs litmus shapes over live servers and counts what came out
 *
 * Two daemons, a process for each thread of a shape, and the test's own process, which clears the words
 * beforehand and looks at them afterwards. Executions come in batches: each has a block of memory of its own,
 * and its threads meet at a barrier and start within a random time of each other. Every other batch runs over
 * paths that reorder, double and lose frames.
 */
#ifndef TESTS_LITMUS_RUNNER_H
#define TESTS_LITMUS_RUNNER_H

#include "shapes.h"

/* What is run. */
struct cell {
    const struct shape *shape;
    enum shape_placement placement;
    enum shape_mode mode;
    bool broken; /* each thread does its operations in any order, and a CAS in two steps: for the control */
};

struct histogram {
    uint64_t executions;
    uint64_t weak; /* of these had the shape's weak outcome */
    uint64_t counts[SHAPE_OUTCOMES];
};

struct runner;

/* Starts daemons and processes; with `mapped` each process maps the regions. To be called before the caller
 * has threads. NULL: mappings are impossible here, and the test is skipped. Fails the test if anything else
 * is amiss. */
struct runner *runner_open(uint64_t seed, bool mapped);
void runner_close(struct runner *runner);

/* Runs at least `executions` of the cell and adds them up. Fails the test if an operation fails. */
void runner_run(struct runner *runner, const struct cell *cell, uint64_t executions,
                struct histogram *histogram);

#endif
