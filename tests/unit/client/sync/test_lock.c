/* test_lock.c - exclusion, order, leaving against handing over, unknown outcomes, broken locks */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "atomic.h"
#include "cxe_sync.h"
#include "fake_region.h"
#include "limits.h"

#define REGION_BYTES 65536
#define LOCK_OFFSET  192
#define HANDLES      8

static struct cxe_region *region;

static void set_up(void)
{
    unsigned seed = (unsigned)time(NULL);

    fprintf(stderr, "seed %u\n", seed);
    region = fake_region_open(REGION_BYTES, seed);
    cr_assert_eq(cxe_lock_init(region, LOCK_OFFSET, HANDLES), 0, "%s", cxe_last_error());
}

static void tear_down(void)
{
    fake_region_close(region);
}

TestSuite(lock, .init = set_up, .fini = tear_down, .timeout = 120);

static struct cxe_lock *open_lock(void)
{
    struct cxe_lock *lock;

    cr_assert_eq(cxe_lock_open(region, LOCK_OFFSET, &lock), 0, "%s", cxe_last_error());
    return lock;
}

static void close_lock(struct cxe_lock *lock)
{
    cr_assert_eq(cxe_lock_close(lock), 0, "%s", cxe_last_error());
}

/* ---- one who waits, in a thread of its own ---- */

struct waiter {
    struct cxe_lock *lock;
    uint64_t timeout_ns;
    int result;
    pthread_t thread;
};

static void *wait_for_lock(void *argument)
{
    struct waiter *waiter = argument;

    waiter->result = cxe_lock_acquire(waiter->lock, waiter->timeout_ns);
    return NULL;
}

/* Returns when it sleeps, so that who is started later stands behind it. */
static void start_waiter(struct waiter *waiter, struct cxe_lock *lock, uint64_t timeout_ns)
{
    const unsigned sleepers = fake_region_sleepers(region);

    *waiter = (struct waiter){.lock = lock, .timeout_ns = timeout_ns, .result = 1};
    cr_assert_eq(pthread_create(&waiter->thread, NULL, wait_for_lock, waiter), 0);
    fake_region_await_sleepers(region, sleepers + 1);
}

static int join_waiter(struct waiter *waiter)
{
    pthread_join(waiter->thread, NULL);
    return waiter->result;
}

/* ---- by hand ---- */

Test(lock, it_is_free_at_first_and_after_each_release)
{
    struct cxe_lock *lock = open_lock();
    uint64_t before = 0, ticket;

    for (int i = 0; i < 3 * HANDLES; i++) {
        cr_assert_eq(cxe_lock_holder(lock, &ticket), -ENOENT);
        cr_assert_eq(i % 2 ? cxe_lock_try(lock) : cxe_lock_acquire(lock, UINT64_MAX), 0, "%s",
                     cxe_last_error());
        cr_assert_gt(cxe_lock_ticket(lock), before, "tickets rise");
        before = cxe_lock_ticket(lock);
        cr_assert_eq(cxe_lock_holder(lock, &ticket), 0);
        cr_assert_eq(ticket, before);
        cr_assert_eq(cxe_lock_release(lock), 0, "%s", cxe_last_error());
        cr_assert_eq(cxe_lock_ticket(lock), 0);
    }
    close_lock(lock);
}

Test(lock, misuse_is_refused)
{
    struct cxe_lock *lock = open_lock(), *other;

    cr_assert_eq(cxe_lock_release(lock), -EPERM);
    cr_assert_eq(cxe_lock_acquire(lock, NS_PER_S), 0);
    cr_assert_eq(cxe_lock_acquire(lock, NS_PER_S), -EDEADLK);
    cr_assert_eq(cxe_lock_close(lock), -EBUSY);
    cr_assert_eq(cxe_lock_release(lock), 0);
    close_lock(lock);
    cr_assert_eq(cxe_lock_open(region, 0, &other), -EINVAL, "there is none");
    cr_assert_eq(cxe_lock_open(region, 8, &other), -EINVAL);
    cr_assert_eq(cxe_lock_open(region, REGION_BYTES, &other), -ERANGE);
    cr_assert_eq(cxe_lock_init(region, 0, 0), -EINVAL);
    cr_assert_eq(cxe_lock_init(region, 0, 65536), -ERANGE);
    cr_assert_eq(cxe_lock_bytes(HANDLES), (2 + HANDLES) * CXE_LINE_BYTES);
}

Test(lock, who_comes_first_is_served_first)
{
    struct cxe_lock *locks[HANDLES];
    struct waiter waiters[HANDLES];

    for (unsigned i = 0; i < HANDLES; i++)
        locks[i] = open_lock();
    for (unsigned round = 0; round < 5; round++) {
        cr_assert_eq(cxe_lock_acquire(locks[0], 0), 0);
        for (unsigned i = 1; i < HANDLES; i++)
            start_waiter(&waiters[i], locks[i], UINT64_MAX);
        for (unsigned i = 1; i < HANDLES; i++) {
            cr_assert_eq(cxe_lock_release(locks[i - 1]), 0);
            cr_assert_eq(join_waiter(&waiters[i]), 0);
            cr_assert_eq(fake_region_sleepers(region), HANDLES - 1 - i, "one only is woken");
        }
        cr_assert_eq(cxe_lock_release(locks[HANDLES - 1]), 0);
    }
    for (unsigned i = 0; i < HANDLES; i++)
        close_lock(locks[i]);
}

Test(lock, who_gives_up_is_passed_over)
{
    struct cxe_lock *holder = open_lock(), *impatient = open_lock(), *patient = open_lock();
    struct waiter waiter;

    cr_assert_eq(cxe_lock_acquire(holder, UINT64_MAX), 0);
    cr_assert_eq(cxe_lock_acquire(impatient, NS_PER_MS), -ETIMEDOUT);
    cr_assert_eq(cxe_lock_try(impatient), -EBUSY);
    start_waiter(&waiter, patient, UINT64_MAX);
    cr_assert_eq(cxe_lock_release(holder), 0);
    cr_assert_eq(join_waiter(&waiter), 0, "%s", cxe_last_error());
    cr_assert_eq(cxe_lock_acquire(impatient, NS_PER_MS), -ETIMEDOUT, "its old place is gone");
    cr_assert_eq(cxe_lock_release(patient), 0);
    cr_assert_eq(cxe_lock_acquire(impatient, 0), 0, "the lock passed its place over and is free");
    cr_assert_eq(cxe_lock_release(impatient), 0);
    close_lock(holder);
    close_lock(impatient);
    close_lock(patient);
}

Test(lock, who_comes_back_stands_where_it_stood)
{
    struct cxe_lock *holder = open_lock(), *first = open_lock(), *second = open_lock();
    struct waiter waiters[2];

    cr_assert_eq(cxe_lock_acquire(holder, UINT64_MAX), 0);
    for (unsigned i = 0; i < 3 * HANDLES; i++)
        cr_assert_eq(cxe_lock_acquire(first, 1000), -ETIMEDOUT, "no matter how often");
    start_waiter(&waiters[1], second, UINT64_MAX);
    start_waiter(&waiters[0], first, UINT64_MAX);
    cr_assert_eq(cxe_lock_release(holder), 0);
    cr_assert_eq(join_waiter(&waiters[0]), 0);
    cr_assert_eq(fake_region_sleepers(region), 1);
    cr_assert_eq(cxe_lock_release(first), 0);
    cr_assert_eq(join_waiter(&waiters[1]), 0);
    cr_assert_eq(cxe_lock_release(second), 0);
    close_lock(holder);
    close_lock(first);
    close_lock(second);
}

Test(lock, a_try_takes_no_place)
{
    struct cxe_lock *holder = open_lock(), *other = open_lock();

    cr_assert_eq(cxe_lock_try(holder), 0);
    for (unsigned i = 0; i < 3 * HANDLES; i++) {
        cr_assert_eq(cxe_lock_try(other), -EBUSY);
        cr_assert_eq(cxe_lock_acquire(other, 0), -ETIMEDOUT);
    }
    cr_assert_eq(cxe_lock_release(holder), 0);
    cr_assert_eq(cxe_lock_try(holder), 0);
    cr_assert_eq(cxe_lock_release(holder), 0);
    close_lock(holder);
    close_lock(other);
}

/* A handle that is closed in the queue must not be given out again before its place was passed over: then
 * there could be more tickets than slots. */
Test(lock, a_handle_closed_in_the_queue_is_free_when_its_place_was_passed_over)
{
    struct cxe_lock *locks[HANDLES], *more;

    for (unsigned i = 0; i < HANDLES; i++)
        locks[i] = open_lock();
    cr_assert_eq(cxe_lock_open(region, LOCK_OFFSET, &more), -EUSERS);
    cr_assert_eq(cxe_lock_acquire(locks[0], 0), 0);
    cr_assert_eq(cxe_lock_acquire(locks[1], 1000), -ETIMEDOUT);
    close_lock(locks[1]);
    cr_assert_eq(cxe_lock_open(region, LOCK_OFFSET, &more), -EUSERS);
    cr_assert_eq(cxe_lock_release(locks[0]), 0);
    locks[1] = open_lock();
    cr_assert_eq(cxe_lock_open(region, LOCK_OFFSET, &more), -EUSERS);
    for (unsigned i = 0; i < HANDLES; i++)
        close_lock(locks[i]);
    close_lock(open_lock());
}

/* ---- holders that do not come back ---- */

Test(lock, a_lock_can_be_taken_from_its_holder)
{
    struct cxe_lock *dead = open_lock(), *heir = open_lock(), *judge = open_lock();
    struct waiter waiter;
    uint64_t ticket, later;

    cr_assert_eq(cxe_lock_acquire(dead, 0), 0);
    start_waiter(&waiter, heir, UINT64_MAX);
    cr_assert_eq(cxe_lock_acquire(judge, 1000), -ETIMEDOUT);
    cr_assert_eq(cxe_lock_holder(judge, &ticket), 0);
    cr_assert_eq(ticket, cxe_lock_ticket(dead));
    cr_assert_eq(cxe_lock_break(judge, ticket + 1), -ENOENT, "who waits does not have it");
    cr_assert_eq(cxe_lock_break(judge, ticket), 0, "%s", cxe_last_error());
    cr_assert_eq(join_waiter(&waiter), 0);
    cr_assert_eq(cxe_lock_break(judge, ticket), -ENOENT, "it was taken already");
    cr_assert_eq(cxe_lock_holder(judge, &later), 0);
    cr_assert_eq(later, cxe_lock_ticket(heir));
    cr_assert_gt(later, ticket);
    cr_assert_eq(cxe_lock_release(dead), -EOWNERDEAD);
    cr_assert_eq(cxe_lock_release(heir), 0);
    cr_assert_eq(cxe_lock_break(judge, later), -ENOENT);
    cr_assert_eq(cxe_lock_try(dead), 0, "it may come back: %s", cxe_last_error());
    cr_assert_eq(cxe_lock_break(judge, cxe_lock_ticket(dead) + 1), -ENOENT, "nobody drew that ticket");
    cr_assert_eq(cxe_lock_release(dead), 0);
    close_lock(dead);
    close_lock(heir);
    close_lock(judge);
}

Test(lock, a_free_lock_cannot_be_broken)
{
    struct cxe_lock *lock = open_lock(), *other = open_lock();

    for (uint64_t ticket = 0; ticket < 3; ticket++)
        cr_assert_eq(cxe_lock_break(lock, ticket), -ENOENT);
    cr_assert_eq(cxe_lock_try(lock), 0);
    cr_assert_eq(cxe_lock_try(other), -EBUSY, "two have it");
    cr_assert_eq(cxe_lock_release(lock), 0);
    close_lock(lock);
    close_lock(other);
}

/* ---- outcomes that nobody knows ---- */

Test(lock, a_release_of_unknown_outcome_is_made_once)
{
    struct cxe_lock *lock = open_lock(), *other = open_lock();

    for (int done = 0; done < 2; done++) {
        cr_assert_eq(cxe_lock_acquire(lock, 0), 0);
        fake_region_fail_next(region, -CXE_EUNKNOWN, done);
        cr_assert_eq(cxe_lock_release(lock), 0, "%s", cxe_last_error());
        cr_assert_eq(cxe_lock_try(other), 0);
        cr_assert_eq(cxe_lock_try(lock), -EBUSY, "it was handed over twice");
        cr_assert_eq(cxe_lock_release(other), 0);
    }
    close_lock(lock);
    close_lock(other);
}

Test(lock, a_release_that_fails_can_be_repeated)
{
    struct cxe_lock *lock = open_lock(), *other = open_lock();

    cr_assert_eq(cxe_lock_acquire(lock, 0), 0);
    fake_region_fail(region, -ETIMEDOUT);
    cr_assert_eq(cxe_lock_release(lock), -ETIMEDOUT);
    fake_region_fail(region, 0);
    cr_assert_eq(cxe_lock_try(other), -EBUSY);
    fake_region_fail(region, -CXE_EUNKNOWN);
    fake_region_fail_next(region, -CXE_EUNKNOWN, true);
    cr_assert_eq(cxe_lock_release(lock), -CXE_EUNKNOWN);
    fake_region_fail(region, 0);
    cr_assert_eq(cxe_lock_try(other), 0, "that one was done");
    cr_assert_eq(cxe_lock_release(lock), 0, "which is found out now");
    cr_assert_eq(cxe_lock_release(other), 0);
    close_lock(lock);
    close_lock(other);
}

Test(lock, a_place_that_nobody_knows_of_can_be_broken)
{
    struct cxe_lock *lost = open_lock(), *other = open_lock();
    uint64_t ticket;

    fake_region_fail_next(region, -CXE_EUNKNOWN, true);
    cr_assert_eq(cxe_lock_acquire(lost, NS_PER_S), -CXE_EUNKNOWN);
    cr_assert_eq(cxe_lock_acquire(lost, NS_PER_S), -CXE_EUNKNOWN, "it stays so");
    close_lock(lost);
    cr_assert_eq(cxe_lock_acquire(other, 1000), -ETIMEDOUT);
    cr_assert_eq(cxe_lock_holder(other, &ticket), 0);
    cr_assert_eq(cxe_lock_break(other, ticket), 0);
    cr_assert_eq(cxe_lock_acquire(other, NS_PER_S), 0, "%s", cxe_last_error());
    cr_assert_eq(cxe_lock_release(other), 0);
    close_lock(other);
}

Test(lock, a_handle_of_a_region_that_is_gone_can_be_closed)
{
    struct cxe_lock *lock = open_lock(), *queued = open_lock();

    cr_assert_eq(cxe_lock_acquire(lock, 0), 0);
    cr_assert_eq(cxe_lock_acquire(queued, 1000), -ETIMEDOUT);
    cr_assert_eq(cxe_lock_release(lock), 0);
    fake_region_fail(region, -ETIMEDOUT);
    cr_assert_eq(cxe_lock_close(lock), -ETIMEDOUT);
    fake_region_fail(region, -ESTALE);
    close_lock(lock);
    close_lock(queued);
}

/* ---- many at once ---- */

struct crowd {
    uint64_t inside; /* who is under the lock; must never be two */
    uint64_t passes, shared;
    unsigned goal; /* of each thread */
    bool knows;    /* outcomes are known: they may try, and close in the queue, without a loss */
    uint64_t longest_ns;
};

struct member {
    struct crowd *crowd;
    unsigned seed;
    pthread_t thread;
};

static void be_inside(struct crowd *crowd)
{
    const uint64_t before = crowd->shared; /* not atomic: the lock is what protects it */

    cr_assert_eq(fetch_add_relaxed(&crowd->inside, 1), 0, "two are inside");
    sched_yield();
    crowd->shared = before + 1;
    fetch_add_relaxed(&crowd->inside, (uint64_t)-1);
    fetch_add_relaxed(&crowd->passes, 1);
}

/* A third tries, a third gives up soon, a third waits. */
static int get(struct cxe_lock *lock, struct crowd *crowd, unsigned *seed)
{
    switch ((unsigned)rand_r(seed) % 3 + !crowd->knows) {
    case 0:
        return cxe_lock_try(lock);
    case 1:
        return cxe_lock_acquire(lock, 1 + (uint64_t)rand_r(seed) % crowd->longest_ns);
    default:
        return cxe_lock_acquire(lock, UINT64_MAX);
    }
}

static void release(struct cxe_lock *lock)
{
    int error;

    do
        error = cxe_lock_release(lock);
    while (error == -ETIMEDOUT || error == -CXE_EUNKNOWN);
    cr_assert_eq(error, 0, "%s", cxe_last_error());
}

static void *pass_often(void *argument)
{
    struct member *member = argument;
    struct cxe_lock *lock = NULL;
    unsigned passes = 0;

    while (passes < member->crowd->goal) {
        int error = lock ? 0 : cxe_lock_open(region, LOCK_OFFSET, &lock);

        if (!error)
            error = get(lock, member->crowd, &member->seed);
        if (!error) {
            be_inside(member->crowd);
            passes++;
            release(lock);
        }
        if (lock && member->crowd->knows && rand_r(&member->seed) % 8 == 0 && cxe_lock_close(lock) == 0)
            lock = NULL;
    }
    while (lock && cxe_lock_close(lock) != 0)
        ;
    return NULL;
}

static void run_crowd(unsigned members, unsigned goal, bool knows)
{
    struct crowd crowd = {.goal = goal, .knows = knows, .longest_ns = 100000};
    struct member all[HANDLES];

    for (unsigned i = 0; i < members; i++) {
        all[i] = (struct member){.crowd = &crowd, .seed = i + (unsigned)time(NULL)};
        cr_assert_eq(pthread_create(&all[i].thread, NULL, pass_often, &all[i]), 0);
    }
    for (unsigned i = 0; i < members; i++)
        pthread_join(all[i].thread, NULL);
    cr_assert_eq(crowd.passes, (uint64_t)members * goal);
    cr_assert_eq(crowd.shared, crowd.passes, "some went lost: two were inside");
}

Test(lock, a_crowd_that_waits_tries_and_gives_up_passes_one_by_one)
{
    struct cxe_lock *locks[HANDLES];

    run_crowd(HANDLES, 300, true);
    for (unsigned i = 0; i < HANDLES; i++)
        locks[i] = open_lock(); /* no handle went lost */
    cr_assert_eq(cxe_lock_try(locks[0]), 0, "it is free again");
    cr_assert_eq(cxe_lock_release(locks[0]), 0);
    for (unsigned i = 0; i < HANDLES; i++)
        close_lock(locks[i]);
}

/* But for the drawing of tickets, where the loss of a place cannot be helped. */
Test(lock, a_crowd_with_unknown_outcomes_passes_one_by_one)
{
    struct cxe_lock *lock;

    fake_region_faults(region,
                       (struct fake_faults){
                           .unknown_done = 50, .unknown_lost = 50, .not_done = 30, .spare_fetch_add = true});
    run_crowd(HANDLES / 2, 300, false);
    fake_region_faults(region, (struct fake_faults){0});
    lock = open_lock();
    cr_assert_eq(cxe_lock_try(lock), 0, "it is free again");
    cr_assert_eq(cxe_lock_release(lock), 0);
    close_lock(lock);
}
