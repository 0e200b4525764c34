/* sim.h - threads of simulated machines as coroutines, on a clock that jumps
 *
 * Everything that happens in a simulation happens in simulated threads, of which one runs at a time; which
 * one, and for how long, is drawn from the seed. Time stands still while a thread computes. It moves where a
 * thread could notice: at each look at the clock, each yield and each frame, a thread's time goes on by a
 * random bit, and the thread whose time is lowest runs next. So threads run side by side, and one that only
 * sleeps costs nothing.
 *
 * A node is a machine with threads. It can be stopped for a while (SIGSTOP) and killed (SIGKILL).
 *
 * sim_libc.c makes the code under test live in here: it takes the place of the C library's clock, sleeping,
 * yielding, locking and thread functions (at link time, by --wrap). Outside a simulation those do as always.
 *
 * Same seed, same run: sim_hash() tells, since everything that happens goes into it.
 */
#ifndef TESTS_SIM_H
#define TESTS_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "limits.h"

#define SIM_NEVER UINT64_MAX

struct sim_node {
    const char *name;
    uint64_t stopped_until_ns;
    unsigned
        locks_held;   /* of mutexes, by its threads: killed then, it would leave them locked for everybody */
    unsigned threads; /* alive */
    uint64_t clock_offset_ns; /* its clock: when it was booted, */
    int64_t clock_ppm;        /* and how much too fast it is */
};

struct sim_thread;

/* ---- random numbers: one sequence a purpose, so that one does not shift the other ---- */

struct dice {
    uint64_t state;
};
struct dice dice_of(uint64_t seed, const char *purpose);
uint64_t dice_draw(struct dice *dice);
uint64_t dice_below(struct dice *dice, uint64_t bound);
/* Between `low` and `high`, both included. */
uint64_t dice_between(struct dice *dice, uint64_t low, uint64_t high);
bool dice_chance(struct dice *dice, uint32_t ppm);

/* ---- a simulation; one at a time in a process, and none after it ---- */

/* Turns the calling thread into the simulation's first one, "director", of no node. */
void sim_begin(uint64_t seed, bool trace);
/* Is this a simulated thread? Every wrapped function asks. */
bool sim_running(void);
uint64_t sim_hash(void);
/* How often a thread gave way so far. */
uint64_t sim_switches(void);

uint64_t sim_now_ns(void);
/* By the clock of the thread's node. */
uint64_t sim_clock_ns(void);
/* How long a pause is that takes so long by that clock. */
uint64_t sim_pause_ns(uint64_t clock_ns);

/* Called now and then while no thread is inside anything: for the checks of invariants. */
void sim_set_inspector(void (*inspect)(void), unsigned every_switches);

/* ---- threads ---- */

/* Stacks are 1 MiB apart, at the same places in each run: client/lane.c tells threads apart by that. */
struct sim_thread *sim_spawn(struct sim_node *node, const char *name, void *(*main)(void *), void *argument);
struct sim_thread *sim_self(void);
struct sim_node *sim_node_of(const struct sim_thread *thread);
bool sim_finished(const struct sim_thread *thread);
void sim_join(struct sim_thread *thread);

/* Sleeps until `wake_ns`, or until somebody calls sim_wake_at. */
void sim_sleep_until(uint64_t wake_ns);
static inline void sim_sleep(uint64_t ns)
{
    sim_sleep_until(ns > SIM_NEVER - sim_now_ns() ? SIM_NEVER : sim_now_ns() + ns);
}
/* From now on code that was compiled for it (see tests/CMakeLists.txt) is interrupted between any two of its
 * instructions that a jump separates, every `mean_blocks` such pieces or so; 0: never. */
void sim_set_preemption(uint64_t mean_blocks);
/* A thread's everyday progress: a random bit of time, sometimes long enough to have been preempted. */
void sim_step(void);
/* The sleeper shall wake at that time, if it would sleep longer. */
void sim_wake_at(struct sim_thread *thread, uint64_t wake_ns);

/* Is the thread, asleep, at a place where nothing of its is half done? It says so itself. */
void sim_set_at_rest(bool at_rest);
bool sim_at_rest(const struct sim_thread *thread);

/* ---- nodes ---- */

void sim_stop_node(struct sim_node *node, uint64_t until_ns);
/* Its threads are no more. What they held in memory stays, unreachable. Not by one of them. */
void sim_kill_node(struct sim_node *node);

/* ---- what happened ---- */

/* Goes into the hash, and is printed if the run is traced: `format` and what follows. */
void sim_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same without text: for what happens all the time. */
void sim_mix(uint64_t value);

/* Ends the process: something is wrong. Tells the time, the thread, and the sentence. */
_Noreturn void sim_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
