/* workload.h - what the workloads share: arguments, memory, time, results
 *
 * A workload is an ordinary program: it takes its memory from malloc, or maps a file that it is given. So the
 * same binary runs on local memory, under `cxe run`, with a memory cgroup and swap, and on whatever a file
 * system shows as a file. It verifies what it computed, and fails if that is wrong.
 */
#ifndef CXE_BENCH_WORKLOAD_H
#define CXE_BENCH_WORKLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define LEAST_SECONDS 0.2 /* what takes less is done again: a moment says little */

struct workload {
    const char *question; /* what it is there to find out: one sentence */
    uint64_t bytes;       /* memory to use, about; set to the default before workload_begin */
    uint64_t seed;
    uint64_t work;     /* how much to do; each workload says what that counts. 0: its default */
    const char *file;  /* memory is a mapping of this file; NULL: from malloc */
    const char *trace; /* zipf: where the pages it touches are written; NULL: nowhere */
    const char *graph; /* graph: a file with it; made if it is not there. NULL: made in memory */
    int file_fd;
    uint64_t file_used;
};

/* Reads the command line into *workload, whose fields hold the defaults. Ends the program if it is wrong. */
void workload_begin(struct workload *workload, int argc, char **argv);

/* Zeroed memory, page-aligned. Ends the program if there is none. */
void *workload_memory(struct workload *workload, uint64_t bytes);

/* Writes one figure as a line of JSON on standard output. */
void workload_result(const char *name, double value, const char *unit);

/* Ends the program with a sentence on standard error and status 1: what was computed is wrong, or cannot be.
 */
void workload_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

static inline double seconds_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* splitmix64: a good 64-bit number from a counter. Source: Steele, Lea, Flood, Fast Splittable Pseudorandom
 * Number Generators (2014). */
static inline uint64_t mix64(uint64_t x)
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

static inline uint64_t random64(uint64_t *state)
{
    return mix64((*state)++);
}

/* 0 .. bound - 1. */
static inline uint64_t random_below(uint64_t *state, uint64_t bound)
{
    return (uint64_t)((unsigned __int128)random64(state) * bound >> 64);
}

/* [0, 1) */
static inline double random_unit(uint64_t *state)
{
    return (double)(random64(state) >> 11) * 0x1p-53;
}

#endif
