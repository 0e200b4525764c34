/* test_gate.c - the gate that stops a pager: whoever closed it is alone */
#include <criterion/criterion.h>

#include <pthread.h>

#include "atomic.h"
#include "pager_internal.h"

#define CLOSERS 3
#define ROUNDS  2000

static uint32_t gate, inside, met;

static void *close_and_open(void *unused)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        gate_close(&gate);
        if (fetch_add_acq_rel(&inside, 1u))
            fetch_add_relaxed(&met, 1u);
        sched_yield();
        fetch_sub_acq_rel(&inside, 1u);
        gate_open(&gate);
    }
    return unused;
}

Test(gate, closed_by_several_it_is_one_s_at_a_time, .timeout = 60)
{
    pthread_t threads[CLOSERS];

    for (unsigned i = 0; i < CLOSERS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, close_and_open, NULL), 0);
    for (unsigned i = 0; i < CLOSERS; i++)
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
    cr_assert_eq(met, 0, "two had it closed at once, %u times", met);
    cr_assert_eq(gate, 0);
}
