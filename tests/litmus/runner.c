/* runner.c - see runner.h */
#include "runner.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "atomic.h"
#include "client.h"
#include "clock.h"
#include "helper.h"
#include "limits.h"
#include "random.h"

#define INSTANCES     32 /* executions in a batch */
#define WORD_BYTES    200
#define BARRIER_SPINS 100
#define OPERATION_NS  80000  /* an operation and a half; */
#define FAULT_NS      800000 /* a page fault that takes the page away from others */

/* What all processes see. */
struct board {
    struct cell cell; /* of the batch: written by the test's process while the others wait for a command */
    unsigned threads;
    bool faulty;
    uint64_t seed;
    uint32_t arrived; /* at barriers, since the batch began */
    int error;        /* negative errno of whoever failed first: all stop */
    char why[WORD_BYTES];
    uint8_t registers[INSTANCES][SHAPE_REGISTERS_MAX];
};

struct runner {
    struct daemon daemons[CLIENT_SERVERS];
    struct helper helpers[SHAPE_THREADS_MAX];
    struct client client; /* if `open` */
    bool open;
    struct board *board;
    uint64_t random;
    uint64_t batches;
};

/* ---- a thread of a shape ---- */

static void give_up(struct board *board, int error)
{
    snprintf(board->why, sizeof(board->why), "%s", cxe_last_error());
    store_release(&board->error, error);
}

/* Waits until all threads have come so far. False: somebody failed. */
static bool meet(struct board *board, uint32_t meetings)
{
    fetch_add_acq_rel(&board->arrived, 1);
    for (unsigned spins = 0; load_acquire(&board->arrived) < meetings * board->threads; spins++) {
        if (load_acquire(&board->error))
            return false;
        if (spins < BARRIER_SPINS)
            cpu_relax();
        else
            sched_yield();
    }
    return true;
}

/* Often not at all, seldom up to the longest time. What is longer than a wake-up is slept. */
static void dawdle(uint64_t *random, uint64_t longest_ns)
{
    uint64_t dice = random_next(random), part_ns[] = {0, longest_ns / 40, longest_ns / 4, longest_ns};
    uint64_t limit_ns = part_ns[dice % 4], pause_ns = limit_ns ? (dice >> 8) % limit_ns : 0;
    uint64_t until_ns = clock_now_ns() + pause_ns;

    if (pause_ns > OPERATION_NS)
        usleep((useconds_t)(pause_ns / NS_PER_US));
    while (clock_now_ns() < until_ns)
        cpu_relax();
}

/* The control: any order, and no atomicity. What is in one frame is done in one go, so frames are broken up.
 */
static void break_ops(struct shape_op *ops, unsigned count, uint64_t *random)
{
    for (unsigned i = 0; i < count; i++) {
        unsigned other = i + (unsigned)(random_next(random) % (count - i));
        struct shape_op op = ops[i];

        ops[i] = ops[other];
        ops[other] = op;
    }
    for (unsigned i = 0; i < count; i++)
        if (ops[i].kind == SHAPE_CAS)
            ops[i].kind = SHAPE_SPLIT_CAS;
}

static uint64_t block_of(unsigned instance)
{
    return (uint64_t)instance * SHAPE_BLOCK_BYTES;
}

/* Loads and stores are so fast that others would never come in between: a mapped thread pauses, too. */
static int work_with_pauses(struct client *client, struct work *work, bool always, uint64_t *random)
{
    unsigned count = work->count;
    int error = 0;

    work->count = 1;
    for (unsigned i = 0; !error && i < count; i++) {
        if (i > 0 && (always || random_next(random) % 2))
            dawdle(random, FAULT_NS);
        error = client_work(client, work);
        work->ops++;
    }
    return error;
}

static bool is_mapped(const struct work *work)
{
    return work->mode == SHAPE_MAPPED || work->mode == SHAPE_MIXED;
}

static void begin_instance(struct board *board, unsigned thread, unsigned instance, struct shape_op *ops,
                           struct work *work_out)
{
    memcpy(ops, board->cell.shape->threads[thread], SHAPE_OPS_MAX * sizeof(*ops));
    *work_out = (struct work){.ops = ops,
                              .count = shape_ops(board->cell.shape, thread),
                              .thread = thread,
                              .mode = board->cell.mode,
                              .placement = board->cell.placement,
                              .block = block_of(instance),
                              .faulty = board->faulty,
                              .registers = board->registers[instance]};
}

static int run_instance(struct client *client, struct board *board, struct work *work, struct shape_op *ops,
                        uint64_t *random)
{
    if (board->cell.broken) {
        break_ops(ops, work->count, random);
        if (work->mode == SHAPE_FRAME)
            work->mode = SHAPE_PIPELINED;
    }
    dawdle(random, OPERATION_NS);
    if (is_mapped(work))
        return work_with_pauses(client, work, board->cell.broken, random);
    return client_work(client, work);
}

static void run_thread(struct client *client, struct board *board, unsigned thread)
{
    uint64_t random = board->seed + thread;

    for (unsigned i = 0; i < INSTANCES; i++) {
        struct shape_op ops[SHAPE_OPS_MAX];
        struct work work;
        int error;

        begin_instance(board, thread, i, ops, &work);
        if (is_mapped(&work) && random_next(&random) % 2)
            client_touch(client, &work, shape_vars(board->cell.shape));
        if (!meet(board, i + 1))
            return;
        error = run_instance(client, board, &work, ops, &random);
        if (error) {
            give_up(board, error);
            return;
        }
    }
}

/* ---- the processes ---- */

/* What they inherit. */
struct setup {
    struct runner *runner;
    bool mapped;
};

static void be_helper(const struct helper *self, void *context, unsigned thread)
{
    const struct setup *setup = context;
    struct runner *runner = setup->runner;
    struct client client;
    char fault[80];
    int error;

    snprintf(fault, sizeof(fault), "reorder=25%%,dup=5%%,drop=0.2%%,seed=%" PRIu64,
             (runner->random ^ thread) | 1);
    error = client_open(&client, runner->daemons, fault);
    if (!error && setup->mapped)
        error = client_map(&client);
    if (error)
        give_up(runner->board, error);
    while (helper_ready(self))
        run_thread(&client, runner->board, thread);
}

/* Fails the test, saying how that process ended. */
static void mourn(const struct runner *runner, unsigned thread)
{
    int status = 0;

    waitpid(runner->helpers[thread].pid, &status, 0);
    cr_assert_fail("process %u of the test is gone: %s %d; %s", thread,
                   WIFSIGNALED(status) ? "signal" : "exit status",
                   WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), runner->board->why);
}

/* Returns what board->error is then. */
static int await_helpers(struct runner *runner, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (!helper_await(&runner->helpers[i]))
            mourn(runner, i);
    return load_acquire(&runner->board->error);
}

static void expect_no_error(const struct board *board)
{
    cr_assert_eq(board->error, 0, "%s: %s", strerror(-board->error), board->why);
}

static void make_region(struct runner *runner, unsigned server, bool mapped)
{
    const uint32_t flags = mapped ? CXE_REGION_SHARED : 0;
    struct cxe_connection *connection;
    struct cxe_region *region;

    cr_assert_eq(daemon_connect(&runner->daemons[server], NULL, CXE_ENCRYPTION_OFF, &connection), 0, "%s",
                 cxe_last_error());
    cr_assert_eq(cxe_region_create(connection, CLIENT_REGION, INSTANCES * SHAPE_BLOCK_BYTES, flags, &region),
                 0, "%s", cxe_last_error());
    cxe_region_close(region);
    cxe_disconnect(connection);
}

struct runner *runner_open(uint64_t seed, bool mapped)
{
    struct runner *runner = calloc(1, sizeof(*runner));
    struct setup setup = {.runner = runner, .mapped = mapped};
    int error;

    cr_assert_not_null(runner);
    runner->random = seed;
    runner->board =
        mmap(NULL, sizeof(*runner->board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(runner->board, MAP_FAILED);
    for (unsigned i = 0; i < CLIENT_SERVERS; i++) {
        daemon_start(&runner->daemons[i], 2, NULL);
        make_region(runner, i, mapped);
    }
    for (unsigned i = 0; i < SHAPE_THREADS_MAX; i++)
        helper_start(&runner->helpers[i], be_helper, &setup, i);
    error = await_helpers(runner, SHAPE_THREADS_MAX);
    if (mapped && (error == -EPERM || error == -ENOSYS)) {
        runner_close(runner);
        return NULL;
    }
    expect_no_error(runner->board);
    cr_assert_eq(client_open(&runner->client, runner->daemons, NULL), 0, "%s", cxe_last_error());
    runner->open = true;
    return runner;
}

void runner_close(struct runner *runner)
{
    helpers_end(runner->helpers, SHAPE_THREADS_MAX);
    if (runner->open)
        client_close(&runner->client);
    for (unsigned i = 0; i < CLIENT_SERVERS; i++)
        daemon_stop(&runner->daemons[i]);
    munmap(runner->board, sizeof(*runner->board));
    free(runner);
}

/* ---- before and after a batch ---- */

static void drain(struct cxe_queue *queue, unsigned *in_flight, unsigned most)
{
    struct cxe_completion completions[8];

    while (*in_flight > most) {
        int got = cxe_queue_wait(queue, completions, 8, UINT64_MAX);

        cr_assert_gt(got, 0, "%s", cxe_last_error());
        for (int i = 0; i < got; i++)
            cr_assert_eq(completions[i].result, 0);
        *in_flight -= (unsigned)got;
    }
}

static uint64_t line_at(const struct cell *cell, unsigned instance, unsigned var)
{
    return (block_of(instance) + shape_offset(cell->placement, var)) & ~(uint64_t)(LINE_BYTES - 1);
}

/* All words of all instances become zero (`lines` NULL), or are read. */
static void sweep(struct runner *runner, const struct cell *cell,
                  uint8_t (*lines)[SHAPE_VARS_MAX][LINE_BYTES])
{
    static const uint8_t zeros[LINE_BYTES];
    unsigned in_flight[CLIENT_SERVERS] = {0};

    for (unsigned i = 0; i < INSTANCES; i++)
        for (unsigned var = 0; var < shape_vars(cell->shape); var++) {
            unsigned server = shape_server(cell->placement, var);
            struct target *target = &runner->client.clean[server];
            int error;

            drain(target->queue, &in_flight[server], 7);
            if (lines)
                error = cxe_queue_read(target->queue, target->region, line_at(cell, i, var), lines[i][var],
                                       LINE_BYTES, NULL);
            else
                error = cxe_queue_write(target->queue, target->region, line_at(cell, i, var), zeros,
                                        LINE_BYTES, NULL);
            cr_assert_eq(error, 0, "%s", cxe_last_error());
            in_flight[server]++;
        }
    for (unsigned server = 0; server < CLIENT_SERVERS; server++)
        drain(runner->client.clean[server].queue, &in_flight[server], 0);
}

static void tally(const struct board *board, uint8_t (*lines)[SHAPE_VARS_MAX][LINE_BYTES],
                  struct histogram *histogram)
{
    const struct cell *cell = &board->cell;

    for (unsigned i = 0; i < INSTANCES; i++) {
        uint8_t finals[SHAPE_VARS_MAX] = {0};
        unsigned outcome;

        for (unsigned var = 0; var < shape_vars(cell->shape); var++)
            finals[var] = lines[i][var][shape_offset(cell->placement, var) % LINE_BYTES];
        for (unsigned var = 0; var < SHAPE_VARS_MAX; var++)
            cr_assert_leq(finals[var], SHAPE_VALUE_MAX);
        outcome = shape_outcome(board->registers[i], finals);
        histogram->counts[outcome]++;
        histogram->weak += shape_is_weak(cell->shape, outcome);
        histogram->executions++;
    }
}

static void run_batch(struct runner *runner, const struct cell *cell, struct histogram *histogram)
{
    static uint8_t lines[INSTANCES][SHAPE_VARS_MAX][LINE_BYTES];
    struct board *board = runner->board;

    sweep(runner, cell, NULL);
    board->cell = *cell;
    board->threads = shape_threads(cell->shape);
    board->faulty = runner->batches++ % 2 == 1;
    board->seed = random_next(&runner->random);
    board->arrived = 0;
    memset(board->registers, 0, sizeof(board->registers));
    for (unsigned i = 0; i < board->threads; i++)
        helper_tell(&runner->helpers[i]);
    await_helpers(runner, board->threads);
    expect_no_error(board);
    sweep(runner, cell, lines);
    tally(board, lines, histogram);
}

void runner_run(struct runner *runner, const struct cell *cell, uint64_t executions,
                struct histogram *histogram)
{
    for (uint64_t run = 0; run < executions; run += INSTANCES)
        run_batch(runner, cell, histogram);
}
