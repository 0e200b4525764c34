/* runner.h - many simulations, each in a process of its own, so that one that fails does not end the others
 */
#ifndef TESTS_SIM_RUNNER_H
#define TESTS_SIM_RUNNER_H

#include "scenario.h"

enum runner_verdict { RUN_PASSED, RUN_FAILED };

/* One simulation in a child. What it says about a failure stands in `why` (may be empty). */
enum runner_verdict runner_run(const struct scenario_options *options, struct scenario_result *result_out,
                               char *why, unsigned why_bytes);

/* Adds up what runs did. */
void runner_add(struct scenario_result *total, const struct scenario_result *result);

/* A kind of fault that never happened, or NULL. */
const char *runner_missing(const struct scenario_result *total);

/* Speed and counts, for people. */
void runner_print(const struct scenario_result *total, unsigned runs, uint64_t real_ns);

/* The program by hand: --seed N [--trace] [--broken NAME], or --seconds N. Exit status. */
int runner_main(int argc, char **argv);

#endif
