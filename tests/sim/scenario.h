/* scenario.h - one simulated cluster, from the seed to the verdict */
#ifndef TESTS_SIM_SCENARIO_H
#define TESTS_SIM_SCENARIO_H

#include <stdbool.h>
#include <stdint.h>

struct scenario_result {
    uint64_t hash, switches, simulated_ns, frames;
    uint64_t operations, done, not_done, unknown, settled, unknown_seen, accesses, poisoned, woken;
#define FAULT(name) uint64_t name;
#include "faults.def"
};

struct scenario_options {
    uint64_t seed;
    bool trace;
    const char *broken; /* what to break, see broken.h; NULL: nothing */
};

/* Runs it; once in a process. Whatever is found ends the process (sim_fail). */
void scenario_run(const struct scenario_options *options, struct scenario_result *result_out);

#endif
