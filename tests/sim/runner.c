/* runner.c - see runner.h */
#include "runner.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"

#define REAL_SECONDS_MAX 300 /* of one simulation: it computes without end */

/* ---- one simulation ---- */

static _Noreturn void run_in_child(const struct scenario_options *options, struct scenario_result *result,
                                   int report_fd)
{
    if (report_fd >= 0)
        dup2(report_fd, STDERR_FILENO);
    alarm(REAL_SECONDS_MAX);
    scenario_run(options, result);
    fflush(stdout);
    _exit(0);
}

/* Everything the child says, until it ends; the last of it is kept. */
static void read_report(int fd, char *why, unsigned why_bytes)
{
    unsigned used = 0;
    ssize_t got;

    while ((got = read(fd, why + used, why_bytes - 1 - used)) > 0) {
        used += (unsigned)got;
        if (used == why_bytes - 1) {
            memmove(why, why + why_bytes / 2, why_bytes / 2);
            used -= why_bytes / 2;
        }
    }
    why[used] = '\0';
}

enum runner_verdict runner_run(const struct scenario_options *options, struct scenario_result *result_out,
                               char *why, unsigned why_bytes)
{
    struct scenario_result *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int pipe_fds[2], status;
    pid_t child;

    CHECK(shared != MAP_FAILED && pipe(pipe_fds) == 0);
    fflush(stdout);
    child = fork();
    CHECK(child >= 0);
    if (child == 0)
        run_in_child(options, shared, options->trace ? -1 : pipe_fds[1]);
    close(pipe_fds[1]);
    read_report(pipe_fds[0], why, why_bytes);
    close(pipe_fds[0]);
    CHECK(waitpid(child, &status, 0) == child);
    *result_out = *shared;
    munmap(shared, sizeof(*shared));
    if (WIFSIGNALED(status)) {
        size_t used = strlen(why);

        snprintf(why + used, why_bytes - used, "ended by signal %d", WTERMSIG(status));
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? RUN_PASSED : RUN_FAILED;
}

/* ---- many ---- */

void runner_add(struct scenario_result *total, const struct scenario_result *result)
{
    total->switches += result->switches;
    total->simulated_ns += result->simulated_ns;
    total->frames += result->frames;
    total->operations += result->operations;
    total->done += result->done;
    total->not_done += result->not_done;
    total->unknown += result->unknown;
    total->settled += result->settled;
    total->accesses += result->accesses;
    total->poisoned += result->poisoned;
    total->woken += result->woken;
    total->unknown_seen += result->unknown_seen;
#define FAULT(name) total->name += result->name;
#include "faults.def"
}

const char *runner_missing(const struct scenario_result *total)
{
    if (total->done == 0)
        return "operation done";
    if (total->unknown == 0)
        return "operation of unknown outcome";
    if (total->accesses == 0 || total->poisoned == 0)
        return "access to a mapping, or one in vain";
    if (total->woken == 0)
        return "wait that was woken";
    if (total->settled == 0)
        return "operation of unknown outcome that is settled";
    if (total->unknown_seen == 0)
        return "operation of unknown outcome that was done after all";
#define FAULT(name)       \
    if (total->name == 0) \
        return #name;
#include "faults.def"
    return NULL;
}

void runner_print(const struct scenario_result *total, unsigned runs, uint64_t real_ns)
{
    double hours = (double)total->simulated_ns / (3600.0 * (double)NS_PER_S);

    printf("%u runs: %.2f simulated hours in %.1f s, %.2f simulated hours per real hour\n", runs, hours,
           (double)real_ns / (double)NS_PER_S, (double)total->simulated_ns / (double)real_ns);
    printf(
        "%llu switches, %llu frames, %llu operations: %llu done, %llu not done, %llu unknown (%llu "
        "settled), of "
        "which %llu were done after all; %llu accesses to mappings, %llu in vain; %llu long waits\nfaults:",
        (unsigned long long)total->switches, (unsigned long long)total->frames,
        (unsigned long long)total->operations, (unsigned long long)total->done,
        (unsigned long long)total->not_done, (unsigned long long)total->unknown,
        (unsigned long long)total->settled, (unsigned long long)total->unknown_seen,
        (unsigned long long)total->accesses, (unsigned long long)total->poisoned,
        (unsigned long long)total->woken);
#define FAULT(name) printf(" %llu " #name, (unsigned long long)total->name);
#include "faults.def"
    putchar('\n');
    fflush(stdout);
}

/* ---- by hand ---- */

static void tell_failure(const char *program, const struct scenario_options *options, const char *why)
{
    printf("seed %llu fails: %s\nto see it again: %s --seed %llu%s%s --trace\n",
           (unsigned long long)options->seed, why, program, (unsigned long long)options->seed,
           options->broken ? " --broken " : "", options->broken ? options->broken : "");
    fflush(stdout);
}

static int usage(const char *program)
{
    fprintf(stderr,
            "usage: %s --seed N [--trace] [--broken NAME]   one simulation\n"
            "       %s --seconds N [--first SEED]           as many as fit\n",
            program, program);
    return 2;
}

static int run_many(const char *program, struct scenario_options *options, uint64_t seconds)
{
    uint64_t began_ns = clock_now_ns(), failures = 0;
    struct scenario_result total = {0}, result;
    char why[4096];
    unsigned runs = 0;

    for (; clock_now_ns() - began_ns < seconds * NS_PER_S; options->seed++, runs++) {
        if (runner_run(options, &result, why, sizeof(why)) == RUN_FAILED) {
            tell_failure(program, options, why);
            failures++;
        }
        runner_add(&total, &result);
    }
    runner_print(&total, runs, clock_now_ns() - began_ns);
    if (runner_missing(&total))
        printf("not one %s\n", runner_missing(&total));
    return failures > 0 || runner_missing(&total) ? 1 : 0;
}

static int run_one(const char *program, const struct scenario_options *options)
{
    uint64_t began_ns = clock_now_ns();
    struct scenario_result result;
    char why[4096];
    enum runner_verdict verdict = runner_run(options, &result, why, sizeof(why));

    if (verdict == RUN_FAILED) {
        tell_failure(program, options, why);
        return 1;
    }
    runner_print(&result, 1, clock_now_ns() - began_ns);
    printf("hash %016llx\n", (unsigned long long)result.hash);
    return 0;
}

int runner_main(int argc, char **argv)
{
    struct scenario_options options = {.seed = 1};
    uint64_t seconds = 0;

    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;

        if (strcmp(argv[i], "--trace") == 0)
            options.trace = true;
        else if (more && (strcmp(argv[i], "--seed") == 0 || strcmp(argv[i], "--first") == 0))
            options.seed = strtoull(argv[++i], NULL, 0);
        else if (more && strcmp(argv[i], "--seconds") == 0)
            seconds = strtoull(argv[++i], NULL, 0);
        else if (more && strcmp(argv[i], "--broken") == 0)
            options.broken = argv[++i];
        else
            return usage(argv[0]);
    }
    return seconds > 0 ? run_many(argv[0], &options, seconds) : run_one(argv[0], &options);
}
