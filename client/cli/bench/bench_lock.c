/* bench_lock.c - how often does a lock change hands that many clients want? See bench.h
 *
 * Handed over from one to the next, beside spinning on a CAS.
 *
 * Each client is a thread with sessions of its own. Under the lock it does nothing but look that it is alone:
 * what is measured is how often the lock changes hands.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "atomic.h"
#include "bench.h"
#include "bench_report.h"
#include "clock.h"
#include "cxe_sync.h"
#include "limits.h"

#define SPIN_OFFSET  0
#define LOCK_OFFSET  CXE_PAGE_BYTES
#define REGION_BYTES (128ull << 10)
#define PATIENCE_NS  (30 * NS_PER_S) /* a lock that nobody hands over is an error */
#define LEAST_PASSES 20
#define GOAL_SPEEDUP 10
#define GOAL_CLIENTS 64 /* with so many */

enum task { TASK_QUEUE, TASK_SPIN, TASK_END };

struct lock_client {
    struct lock_bench *bench;
    struct bench_client client;
    struct cxe_lock *lock;
    uint64_t number; /* not 0: what a lock that is spun on holds */
    uint64_t passes; /* in this round */
    int error;
    char sentence[256];
    pthread_t thread;
};

struct lock_bench {
    enum task task;
    uint64_t inside; /* who is under the lock */
    uint64_t stop;   /* relaxed */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t round;   /* under the mutex, as what follows */
    unsigned running; /* clients that are in it */
    unsigned count;
    struct lock_client clients[];
};

/* ---- a client ---- */

static int fail_client(struct lock_client *client, int error, const char *what)
{
    store_relaxed(&client->bench->stop, 1);
    snprintf(client->sentence, sizeof(client->sentence), "%s: %s", what, cxe_last_error());
    return error;
}

static int be_inside(struct lock_client *client)
{
    struct lock_bench *bench = client->bench;

    if (fetch_add_relaxed(&bench->inside, 1) != 0) {
        store_relaxed(&bench->stop, 1);
        snprintf(client->sentence, sizeof(client->sentence), "two clients have the lock");
        return -EBADMSG;
    }
    store_relaxed(&client->passes, client->passes + 1);
    fetch_add_relaxed(&bench->inside, (uint64_t)-1);
    return 0;
}

static int pass_queue(struct lock_client *client)
{
    int error = cxe_lock_acquire(client->lock, PATIENCE_NS);

    if (error)
        return fail_client(client, error, "waiting for the lock");
    error = be_inside(client);
    if (!error && (error = cxe_lock_release(client->lock)) != 0)
        fail_client(client, error, "releasing the lock");
    return error;
}

static int swap_owner(struct lock_client *client, uint64_t from, uint64_t to, uint64_t *old_out)
{
    int error = cxe_cas(client->client.region, SPIN_OFFSET, sizeof(from), &from, &to, old_out);

    return error ? fail_client(client, error, "cas") : 0;
}

static int pass_spin(struct lock_client *client)
{
    uint64_t old = 1;
    int error = 0;

    while (!error && old != 0 && !load_relaxed(&client->bench->stop))
        error = swap_owner(client, 0, client->number, &old);
    if (error || old != 0)
        return error;
    error = be_inside(client);
    return error ? error : swap_owner(client, client->number, 0, &old);
}

/* Sleeps until the next round; returns what to do in it. */
static enum task await_round(struct lock_bench *bench, uint64_t *round)
{
    pthread_mutex_lock(&bench->lock);
    while (bench->round == *round)
        pthread_cond_wait(&bench->changed, &bench->lock);
    *round = bench->round;
    pthread_mutex_unlock(&bench->lock);
    return bench->task;
}

static void end_round(struct lock_bench *bench)
{
    pthread_mutex_lock(&bench->lock);
    if (--bench->running == 0)
        pthread_cond_broadcast(&bench->changed);
    pthread_mutex_unlock(&bench->lock);
}

static void *run_client(void *argument)
{
    struct lock_client *client = argument;
    struct lock_bench *bench = client->bench;
    uint64_t round = 0;
    enum task task;

    while ((task = await_round(bench, &round)) != TASK_END) {
        while (!client->error && !load_relaxed(&bench->stop))
            client->error = task == TASK_QUEUE ? pass_queue(client) : pass_spin(client);
        end_round(bench);
    }
    return NULL;
}

/* ---- a round ---- */

static uint64_t passes_of_all(struct lock_bench *bench)
{
    uint64_t passes = 0;

    for (unsigned i = 0; i < bench->count; i++)
        passes += load_relaxed(&bench->clients[i].passes);
    return passes;
}

static int take_error(struct lock_bench *bench)
{
    for (unsigned i = 0; i < bench->count; i++)
        if (bench->clients[i].error)
            return bench_fail(bench->clients[i].error, "%s", bench->clients[i].sentence);
    return 0;
}

static void begin_round(struct lock_bench *bench, enum task task)
{
    pthread_mutex_lock(&bench->lock);
    bench->task = task;
    bench->stop = 0;
    bench->running = bench->count;
    for (unsigned i = 0; i < bench->count; i++)
        bench->clients[i].passes = 0;
    bench->round++;
    pthread_cond_broadcast(&bench->changed);
    pthread_mutex_unlock(&bench->lock);
}

static void await_end(struct lock_bench *bench)
{
    pthread_mutex_lock(&bench->lock);
    while (bench->running > 0)
        pthread_cond_wait(&bench->changed, &bench->lock);
    pthread_mutex_unlock(&bench->lock);
}

static int run_round(struct lock_bench *bench, enum task task, uint64_t duration_ns,
                     struct bench_sample *sample)
{
    const struct timespec duration = {(time_t)(duration_ns / NS_PER_S), (long)(duration_ns % NS_PER_S)};
    const uint64_t begin_ns = clock_now_ns();

    begin_round(bench, task);
    do /* spinning may be so slow that the time is not enough for a figure */
        nanosleep(&duration, NULL);
    while (!load_relaxed(&bench->stop) && passes_of_all(bench) < LEAST_PASSES &&
           clock_now_ns() - begin_ns < PATIENCE_NS);
    store_relaxed(&bench->stop, 1);
    await_end(bench);
    sample->elapsed_ns = clock_now_ns() - begin_ns;
    sample->work = passes_of_all(bench);
    return take_error(bench);
}

static int queue_run(void *context, uint64_t duration_ns, struct bench_sample *sample)
{
    return run_round(context, TASK_QUEUE, duration_ns, sample);
}

static int spin_run(void *context, uint64_t duration_ns, struct bench_sample *sample)
{
    return run_round(context, TASK_SPIN, duration_ns, sample);
}

/* ---- clients ---- */

static int start_client(struct lock_bench *bench, struct cxe_connection *connection, const char *region)
{
    struct lock_client *client = &bench->clients[bench->count];
    int error = bench_client_open(connection, region, &client->client);

    if (error)
        return error;
    client->bench = bench;
    client->number = bench->count + 1;
    error = cxe_lock_open(client->client.region, LOCK_OFFSET, &client->lock);
    if (error) {
        bench_fail_call(error, "opening the lock");
        goto close_client;
    }
    error = -pthread_create(&client->thread, NULL, run_client, client);
    if (error) {
        bench_fail(error, "no thread for client %u", bench->count);
        goto close_lock;
    }
    bench->count++;
    return 0;
close_lock:
    cxe_lock_close(client->lock);
close_client:
    bench_client_close(&client->client);
    return error;
}

static void end_clients(struct lock_bench *bench)
{
    begin_round(bench, TASK_END);
    for (unsigned i = 0; i < bench->count; i++) {
        struct lock_client *client = &bench->clients[i];

        pthread_join(client->thread, NULL);
        cxe_lock_close(client->lock);
        bench_client_close(&client->client);
    }
}

static int make_locks(struct cxe_region *region, unsigned clients)
{
    const uint8_t nobody[CXE_LINE_BYTES] = {0};
    int error = cxe_lock_init(region, LOCK_OFFSET, clients);

    if (!error)
        error = cxe_write(region, SPIN_OFFSET, nobody, sizeof(nobody));
    return error ? bench_fail_call(error, "making the locks") : 0;
}

/* ---- the figure ---- */

static int measure(const struct bench_options *options, struct bench_report *report,
                   const struct bench_link *link, struct lock_bench *bench)
{
    char name[96];
    const struct bench_comparison comparison = {
        .name = name,
        .kind = BENCH_RATE,
        .unit = "locks/s",
        .scale = 1,
        .subject = {queue_run, bench},
        .floors = {{spin_run, bench}},
        .floor_count = 1,
        .floor_name = "spinning on a CAS",
        .ratio_goal = bench->count >= GOAL_CLIENTS ? GOAL_SPEEDUP : 0,
        .least_work = LEAST_PASSES,
    };

    snprintf(name, sizeof(name), "%s.lock_%u_clients", link->name, bench->count);
    return bench_compare(options, report, &comparison);
}

int bench_lock(const struct bench_options *options, struct bench_report *report,
               const struct bench_link *link, struct cxe_connection *connection)
{
    struct lock_bench *bench = calloc(1, sizeof(*bench) + options->clients * sizeof(*bench->clients));
    struct cxe_region_info info;
    struct cxe_region *region;
    int error;

    if (!bench)
        return bench_fail(-ENOMEM, "no memory");
    pthread_mutex_init(&bench->lock, NULL);
    pthread_cond_init(&bench->changed, NULL);
    error = bench_region_make(connection, REGION_BYTES, 0, &region);
    if (error)
        goto free_bench;
    error = make_locks(region, options->clients);
    if (!error && (error = cxe_region_stat(region, &info)) != 0)
        bench_fail_call(error, "region");
    while (!error && bench->count < options->clients)
        error = start_client(bench, connection, info.name);
    if (!error)
        error = measure(options, report, link, bench);
    end_clients(bench);
    bench_region_drop(connection, region);
free_bench:
    free(bench);
    return error;
}
