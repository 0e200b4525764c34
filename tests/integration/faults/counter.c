/* counter.c - a client that counts and writes without end, and knows what each value may be at any moment
 *
 * Each thread goes round: a fetch-add and a CAS on words of its own, a fetch-add on the word all share, a
 * write and a read of a line of its own. Every value is unique. What came back must be what the last
 * acknowledged operation left, or what one of those with an unknown outcome since then may have left; all
 * else is counted as wrong.
 *
 *   counter run REGION JOURNAL [THREADS [TIMEOUT_MS [FIRST_LINE]]]
 *   counter check REGION JOURNAL
 *   counter show JOURNAL
 *
 * The journal is a shared mapping of a file, so that it outlives kill -9; `check` compares the region with
 * it, `show` prints it at any time. `run` ends at SIGTERM, or when every thread's handle is stale. SIGUSR1 is
 * the moment from which recovery is measured: until each thread had an answer of any kind, and until each had
 * one of success. All print a line of JSON. Exit status 1: something was wrong.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cxe.h"
#include "program.h"

#define THREADS_MAX  16
#define DOUBTS_MAX   512
#define ERRORS_MAX   8
#define THREAD_LINES 4 /* of the region, each thread's: fetch-add, CAS, write, and one to spare */
#define WORDS        (CXE_LINE_BYTES / sizeof(uint64_t))

/* A word whose value is known, but for operations that nobody can tell the outcome of. */
struct cell {
    uint64_t known;
    uint64_t attempt; /* may be there if we are killed now; 0: none */
    uint32_t doubt_count;
    uint64_t doubts[DOUBTS_MAX];
};

struct error_count {
    int error;
    uint64_t count;
};

struct thread_journal {
    struct cell sum, chain, line;
    uint64_t next_id;
    uint64_t done, unknown, refused, stale, wrong;
    uint64_t shared_done, shared_unknown, shared_attempt;
    struct error_count errors[ERRORS_MAX]; /* of the operations refused */
    uint64_t last_done_ns, longest_gap_ns, longest_call_ns;
    uint64_t mark_seen_ns;            /* the mark that the next two are of */
    uint64_t answered_ns, resumed_ns; /* since the mark; 0: not yet */
};

struct journal {
    uint32_t thread_count, first_line;
    _Atomic uint64_t mark_ns; /* the last; 0: none */
    uint32_t marks;
    struct thread_journal threads[THREADS_MAX];
};

struct worker {
    struct cxe_region *region;
    struct journal *journal;
    struct thread_journal *mine;
    uint64_t offset; /* of its lines */
    uint64_t started_ns;
    pthread_t thread;
};

static atomic_bool stopping;
static atomic_uint running;

/* ---- cells ---- */

static bool cell_may_be(const struct cell *cell, uint64_t value)
{
    if (value == cell->known || (cell->attempt && value == cell->attempt))
        return true;
    for (uint32_t i = 0; i < cell->doubt_count; i++)
        if (cell->doubts[i] == value)
            return true;
    return false;
}

static void cell_settle(struct cell *cell, uint64_t value)
{
    cell->known = value;
    cell->attempt = 0;
    cell->doubt_count = 0;
}

static void cell_doubt(struct cell *cell, uint64_t value)
{
    if (cell->doubt_count == DOUBTS_MAX) {
        fprintf(stderr, "more unknown outcomes in a row than can be remembered\n");
        exit(2);
    }
    cell->doubts[cell->doubt_count++] = value;
    cell->attempt = 0;
}

/* ---- accounts ---- */

static void count_error(struct thread_journal *mine, int error)
{
    unsigned i = 0;

    while (i < ERRORS_MAX - 1 && mine->errors[i].count > 0 && mine->errors[i].error != error)
        i++;
    mine->errors[i].error = error;
    mine->errors[i].count++;
}

static void note_times(struct worker *worker, int result)
{
    struct thread_journal *mine = worker->mine;
    uint64_t now = program_now_ns(), mark_ns = atomic_load(&worker->journal->mark_ns);

    if (now - worker->started_ns > mine->longest_call_ns)
        mine->longest_call_ns = now - worker->started_ns;
    if (mark_ns != mine->mark_seen_ns) {
        mine->mark_seen_ns = mark_ns;
        mine->answered_ns = mine->resumed_ns = 0;
    }
    if (mark_ns && !mine->answered_ns)
        mine->answered_ns = now - mark_ns;
    if (result)
        return;
    if (mark_ns && !mine->resumed_ns)
        mine->resumed_ns = now - mark_ns;
    if (mine->last_done_ns && now - mine->last_done_ns > mine->longest_gap_ns)
        mine->longest_gap_ns = now - mine->last_done_ns;
    mine->last_done_ns = now;
}

/* Counts an outcome. True: the operation was done. */
static bool account(struct worker *worker, int result)
{
    struct thread_journal *mine = worker->mine;

    note_times(worker, result);
    if (result == 0) {
        mine->done++;
    } else if (result == -CXE_EUNKNOWN) {
        mine->unknown++;
    } else if (result == -ESTALE) {
        mine->stale++;
    } else {
        mine->refused++;
        count_error(mine, -result);
        usleep(1000); /* it may be refused at once, and for long */
    }
    return result == 0;
}

static void complain(struct worker *worker, const char *what, const struct cell *cell, uint64_t value)
{
    worker->mine->wrong++;
    fprintf(stderr, "WRONG: %s of thread %td: %#llx; known %#llx and %u in doubt\n", what,
            worker->mine - worker->journal->threads, (unsigned long long)value,
            (unsigned long long)cell->known, cell->doubt_count);
}

static uint64_t new_id(struct worker *worker)
{
    return ((uint64_t)getpid() << 32) + ++worker->mine->next_id;
}

/* ---- operations ---- */

static int add_own(struct worker *worker)
{
    struct cell *cell = &worker->mine->sum;
    uint64_t one = 1, old, most = cell->known + cell->doubt_count + 1;
    int result;

    cell->attempt = most;
    result = cxe_fetch(worker->region, CXE_FETCH_ADD, worker->offset, sizeof(one), &one, &old);
    if (result == -CXE_EUNKNOWN)
        cell_doubt(cell, most);
    cell->attempt = 0;
    if (!account(worker, result))
        return result;
    if (!cell_may_be(cell, old))
        complain(worker, "sum", cell, old);
    cell_settle(cell, old + 1);
    return 0;
}

static int chain_own(struct worker *worker)
{
    struct cell *cell = &worker->mine->chain;
    uint64_t expected = cell->known, desired = new_id(worker), old;
    int result;

    cell->attempt = desired;
    result = cxe_cas(worker->region, worker->offset + CXE_LINE_BYTES, sizeof(old), &expected, &desired, &old);
    if (result == -CXE_EUNKNOWN)
        cell_doubt(cell, desired);
    cell->attempt = 0;
    if (!account(worker, result))
        return result;
    if (!cell_may_be(cell, old))
        complain(worker, "chain", cell, old);
    cell_settle(cell, old == expected ? desired : old);
    return 0;
}

static int add_shared(struct worker *worker)
{
    struct thread_journal *mine = worker->mine;
    uint64_t one = 1, old;
    int result;

    mine->shared_attempt = 1;
    result = cxe_fetch(worker->region, CXE_FETCH_ADD, 0, sizeof(one), &one, &old);
    mine->shared_done += result == 0;
    mine->shared_unknown += result == -CXE_EUNKNOWN;
    mine->shared_attempt = 0;
    account(worker, result);
    return result;
}

static int write_own(struct worker *worker)
{
    struct cell *cell = &worker->mine->line;
    uint64_t id = new_id(worker), line[WORDS];
    int result;

    for (unsigned i = 0; i < WORDS; i++)
        line[i] = id;
    cell->attempt = id;
    result = cxe_write(worker->region, worker->offset + 2 * CXE_LINE_BYTES, line, sizeof(line));
    if (result == -CXE_EUNKNOWN)
        cell_doubt(cell, id);
    cell->attempt = 0;
    if (account(worker, result))
        cell_settle(cell, id);
    return result;
}

static int read_own(struct worker *worker)
{
    struct cell *cell = &worker->mine->line;
    uint64_t line[WORDS];
    int result = cxe_read(worker->region, worker->offset + 2 * CXE_LINE_BYTES, line, sizeof(line));

    if (!account(worker, result))
        return result;
    for (unsigned i = 1; i < WORDS; i++)
        if (line[i] != line[0])
            complain(worker, "torn line", cell, line[i]);
    if (!cell_may_be(cell, line[0]))
        complain(worker, "line", cell, line[0]);
    cell_settle(cell, line[0]);
    return 0;
}

static void *work(void *context)
{
    static int (*const operations[])(struct worker *) = {add_own, chain_own, add_shared, write_own, read_own};
    struct worker *worker = context;
    unsigned round = 0;
    int result = 0;

    while (!atomic_load(&stopping) && result != -ESTALE) {
        worker->started_ns = program_now_ns();
        result = operations[round++ % (sizeof(operations) / sizeof(operations[0]))](worker);
    }
    atomic_fetch_sub(&running, 1);
    return NULL;
}

/* ---- the journal ---- */

static void add_errors(struct error_count totals[ERRORS_MAX], const struct thread_journal *mine)
{
    for (unsigned i = 0; i < ERRORS_MAX && mine->errors[i].count > 0; i++) {
        unsigned at = 0;

        while (at < ERRORS_MAX - 1 && totals[at].count > 0 && totals[at].error != mine->errors[i].error)
            at++;
        totals[at].error = mine->errors[i].error;
        totals[at].count += mine->errors[i].count;
    }
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Milliseconds until the last thread was there; -1 if one is not. */
static double slowest_ms(const struct journal *journal, bool resumed)
{
    uint64_t slowest_ns = 0;

    for (uint32_t i = 0; i < journal->thread_count; i++) {
        const struct thread_journal *mine = &journal->threads[i];
        uint64_t took_ns = resumed ? mine->resumed_ns : mine->answered_ns;

        if (mine->mark_seen_ns != journal->mark_ns || took_ns == 0)
            return -1;
        slowest_ns = larger(slowest_ns, took_ns);
    }
    return journal->mark_ns ? (double)slowest_ns / NS_PER_MS : -1;
}

static int print_journal(const struct journal *journal)
{
    struct error_count errors[ERRORS_MAX] = {{0}};
    struct thread_journal all = {0};

    for (uint32_t i = 0; i < journal->thread_count; i++) {
        const struct thread_journal *mine = &journal->threads[i];

        all.done += mine->done;
        all.unknown += mine->unknown;
        all.refused += mine->refused;
        all.stale += mine->stale;
        all.wrong += mine->wrong;
        all.shared_done += mine->shared_done;
        all.shared_unknown += mine->shared_unknown + mine->shared_attempt;
        all.longest_gap_ns = larger(all.longest_gap_ns, mine->longest_gap_ns);
        all.longest_call_ns = larger(all.longest_call_ns, mine->longest_call_ns);
        add_errors(errors, mine);
    }
    printf("{\"done\": %llu, \"unknown\": %llu, \"refused\": %llu, \"stale\": %llu, \"wrong\": %llu, ",
           (unsigned long long)all.done, (unsigned long long)all.unknown, (unsigned long long)all.refused,
           (unsigned long long)all.stale, (unsigned long long)all.wrong);
    printf(
        "\"shared_low\": %llu, \"shared_high\": %llu, \"longest_gap_ms\": %.1f, \"longest_call_ms\": %.1f, ",
        (unsigned long long)all.shared_done, (unsigned long long)(all.shared_done + all.shared_unknown),
        (double)all.longest_gap_ns / NS_PER_MS, (double)all.longest_call_ns / NS_PER_MS);
    printf("\"marks\": %u, \"answered_ms\": %.1f, \"resumed_ms\": %.1f, \"errors\": {", journal->marks,
           slowest_ms(journal, false), slowest_ms(journal, true));
    for (unsigned i = 0; i < ERRORS_MAX && errors[i].count > 0; i++)
        printf("%s\"%s\": %llu", i ? ", " : "", strerrorname_np(errors[i].error),
               (unsigned long long)errors[i].count);
    printf("}}\n");
    fflush(stdout);
    return all.wrong > 0;
}

/* ---- commands ---- */

static void wait_for_signals(struct journal *journal, const sigset_t *signals)
{
    const struct timespec moment = {.tv_nsec = 20 * NS_PER_MS};

    while (atomic_load(&running) > 0) {
        int signal = sigtimedwait(signals, NULL, &moment);

        if (signal == SIGUSR1) {
            atomic_store(&journal->mark_ns, program_now_ns());
            journal->marks++;
        } else if (signal == SIGTERM)
            atomic_store(&stopping, true);
    }
}

static int run(const char *name, struct journal *journal, unsigned threads, unsigned timeout_ms,
               uint32_t first_line)
{
    static struct worker workers[THREADS_MAX];
    struct cxe_region *region;
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR1);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    region = program_open_region(name, timeout_ms * NS_PER_MS);
    journal->first_line = first_line;
    atomic_store(&running, threads);
    for (unsigned i = 0; i < threads; i++) {
        workers[i] = (struct worker){
            .region = region,
            .journal = journal,
            .mine = &journal->threads[i],
            .offset = (uint64_t)(first_line + i * THREAD_LINES) * CXE_LINE_BYTES,
        };
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
            exit(2);
    }
    journal->thread_count = threads;
    wait_for_signals(journal, &signals);
    for (unsigned i = 0; i < threads; i++)
        pthread_join(workers[i].thread, NULL);
    return print_journal(journal);
}

/* Is what the region holds what the journal's owner, now dead, may have left? */
static int check(const char *name, struct journal *journal)
{
    struct cxe_region *region = program_open_region(name, 0);

    for (uint32_t i = 0; i < journal->thread_count; i++) {
        struct worker worker = {.journal = journal, .mine = &journal->threads[i]};
        uint64_t lines[THREAD_LINES * WORDS];
        uint64_t offset = (uint64_t)(journal->first_line + i * THREAD_LINES) * CXE_LINE_BYTES;

        if (cxe_read(region, offset, lines, sizeof(lines)) < 0) {
            fprintf(stderr, "counter: %s\n", cxe_last_error());
            return 2;
        }
        if (!cell_may_be(&worker.mine->sum, lines[0]))
            complain(&worker, "sum left", &worker.mine->sum, lines[0]);
        if (!cell_may_be(&worker.mine->chain, lines[WORDS]))
            complain(&worker, "chain left", &worker.mine->chain, lines[WORDS]);
        if (!cell_may_be(&worker.mine->line, lines[2 * WORDS]))
            complain(&worker, "line left", &worker.mine->line, lines[2 * WORDS]);
    }
    return print_journal(journal);
}

static unsigned number(int argc, char **argv, int index, unsigned otherwise)
{
    return argc > index ? (unsigned)strtoul(argv[index], NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "show") == 0)
        return print_journal(program_map_journal(argv[2], sizeof(struct journal), false));
    if (argc == 4 && strcmp(argv[1], "check") == 0)
        return check(argv[2], program_map_journal(argv[3], sizeof(struct journal), false));
    if (argc >= 4 && strcmp(argv[1], "run") == 0) {
        unsigned threads = number(argc, argv, 4, 4);

        if (threads >= 1 && threads <= THREADS_MAX)
            return run(argv[2], program_map_journal(argv[3], sizeof(struct journal), true), threads,
                       number(argc, argv, 5, 0), number(argc, argv, 6, 1));
    }
    fprintf(stderr, "usage: counter run REGION JOURNAL [THREADS [TIMEOUT_MS [FIRST_LINE]]]\n"
                    "       counter check REGION JOURNAL\n"
                    "       counter show JOURNAL\n");
    return 2;
}
