/* test_quiesce.c - nobody uses what was retired; nobody waits for who sleeps; waiters do not wait for each
 * other */
#include "quiesce.h"

#include <criterion/criterion.h>
#include <pthread.h>

#include "atomic.h"
#include "clock.h"
#include "limits.h"
#include "memory_fixture.h"

static struct quiesce *open_online(unsigned workers)
{
    struct quiesce *quiesce;

    cr_assert_eq(quiesce_open(workers, &quiesce), 0);
    for (unsigned i = 0; i < workers; i++)
        quiesce_online(quiesce, i);
    return quiesce;
}

Test(quiesce, nobody_is_waited_for_at_first)
{
    struct quiesce *quiesce;

    cr_assert_eq(quiesce_open(WORKERS_MAX, &quiesce), 0);
    cr_assert_eq(quiesce_workers(quiesce), WORKERS_MAX);
    cr_expect(quiesce_passed(quiesce, quiesce_retire(quiesce)));
    quiesce_wait(quiesce, QUIESCE_NO_WORKER);
    quiesce_close(quiesce);
}

Test(quiesce, a_ticket_needs_every_worker)
{
    struct quiesce *quiesce = open_online(3);
    uint64_t ticket = quiesce_retire(quiesce);

    quiesce_pass(quiesce, 0);
    cr_expect(!quiesce_passed(quiesce, ticket));
    quiesce_pass(quiesce, 1);
    quiesce_pass(quiesce, 1);
    cr_expect(!quiesce_passed(quiesce, ticket));
    quiesce_pass(quiesce, 2);
    cr_expect(quiesce_passed(quiesce, ticket));
    cr_expect(!quiesce_passed(quiesce, quiesce_retire(quiesce)), "an earlier pass does not count");
    quiesce_close(quiesce);
}

Test(quiesce, a_sleeper_counts_and_an_early_riser_does_not_unpass)
{
    struct quiesce *quiesce = open_online(2);
    uint64_t ticket = quiesce_retire(quiesce);

    quiesce_pass(quiesce, 0);
    quiesce_offline(quiesce, 1);
    cr_expect(quiesce_passed(quiesce, ticket));
    quiesce_online(quiesce, 1);
    cr_expect(quiesce_passed(quiesce, ticket), "it came online after the ticket");
    cr_expect(!quiesce_passed(quiesce, quiesce_retire(quiesce)));
    quiesce_close(quiesce);
}

Test(quiesce, a_waiter_counts_as_passed)
{
    struct quiesce *quiesce = open_online(1);

    quiesce_wait(quiesce, 0);
    cr_expect(!quiesce_passed(quiesce, quiesce_retire(quiesce)), "and is online again behind it");
    quiesce_close(quiesce);
}

struct waiter {
    pthread_t thread;
    struct quiesce *quiesce;
    unsigned worker;
};

static void *wait_often(void *argument)
{
    struct waiter *waiter = argument;

    for (unsigned i = 0; i < 2000; i++)
        quiesce_wait(waiter->quiesce, waiter->worker);
    quiesce_offline(waiter->quiesce, waiter->worker);
    return NULL;
}

Test(quiesce, waiters_do_not_wait_for_each_other, .timeout = 60)
{
    struct quiesce *quiesce = open_online(3);
    struct waiter waiters[3];

    for (unsigned i = 0; i < 3; i++) {
        waiters[i] = (struct waiter){.quiesce = quiesce, .worker = i};
        cr_assert_eq(pthread_create(&waiters[i].thread, NULL, wait_often, &waiters[i]), 0);
    }
    for (unsigned i = 0; i < 3; i++)
        pthread_join(waiters[i].thread, NULL);
    quiesce_close(quiesce);
}

#define ALIVE 0x600d
#define DEAD  0xdead

struct shared {
    struct quiesce *quiesce;
    uint64_t cells[2]; /* one is current; the other is spoilt as soon as nobody can hold it */
    uint64_t *current;
    bool stop;
};

struct reader {
    pthread_t thread;
    struct shared *shared;
    unsigned worker;
    uint64_t reads, spoilt;
};

static void *read_current(void *argument)
{
    struct reader *reader = argument;
    struct shared *shared = reader->shared;

    quiesce_online(shared->quiesce, reader->worker);
    while (!load_relaxed(&shared->stop)) {
        const uint64_t *cell = load_acquire(&shared->current);

        for (unsigned i = 0; i < 20; i++)
            reader->spoilt += load_relaxed(cell) != ALIVE;
        reader->reads++;
        if (reader->reads % 16 == 0) { /* the other way to let go */
            quiesce_offline(shared->quiesce, reader->worker);
            quiesce_online(shared->quiesce, reader->worker);
        } else {
            quiesce_pass(shared->quiesce, reader->worker);
        }
    }
    quiesce_offline(shared->quiesce, reader->worker);
    return NULL;
}

Test(quiesce, readers_never_see_what_was_retired, .timeout = 60)
{
    struct shared shared = {.cells = {ALIVE, DEAD}};
    struct reader readers[2];
    uint64_t start_ns = clock_now_ns(), swaps = 0;

    cr_assert_eq(quiesce_open(2, &shared.quiesce), 0);
    shared.current = &shared.cells[0];
    for (unsigned i = 0; i < 2; i++) {
        readers[i] = (struct reader){.shared = &shared, .worker = i};
        cr_assert_eq(pthread_create(&readers[i].thread, NULL, read_current, &readers[i]), 0);
    }
    while (hammer_on(start_ns, swaps, 20)) {
        uint64_t *old = shared.current, *new = old == &shared.cells[0] ? &shared.cells[1] : &shared.cells[0];

        store_relaxed(new, ALIVE);
        store_release(&shared.current, new);
        quiesce_wait(shared.quiesce, QUIESCE_NO_WORKER);
        store_relaxed(old, DEAD);
        swaps++;
    }
    store_relaxed(&shared.stop, true);
    for (unsigned i = 0; i < 2; i++) {
        pthread_join(readers[i].thread, NULL);
        cr_expect_eq(readers[i].spoilt, 0);
        cr_expect_gt(readers[i].reads, 0);
    }
    cr_expect_geq(swaps, 20);
    quiesce_close(shared.quiesce);
}
