/* test_timers.c - what is due first comes first, whatever was set, set anew and cancelled before */
#include "timers.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "memory_fixture.h"

#define TIMERS 200

static struct timers timers;
static struct timer all[TIMERS];

Test(timers, none_is_due_where_none_is_set)
{
    cr_expect_eq(timers_next_ns(&timers), UINT64_MAX);
    cr_expect_null(timers_due(&timers, UINT64_MAX));
    timers_cancel(&timers, &all[0]);
    cr_expect(timers_valid(&timers));
}

Test(timers, one_is_due_at_its_time_and_once)
{
    timers_set(&timers, &all[0], 100);
    cr_expect_eq(timers_next_ns(&timers), 100);
    cr_expect_null(timers_due(&timers, 99));
    cr_expect_eq(timers_due(&timers, 100), &all[0]);
    cr_expect_not(all[0].set);
    cr_expect_null(timers_due(&timers, UINT64_MAX));
}

Test(timers, one_that_is_set_anew_forgets_its_old_time)
{
    timers_set(&timers, &all[0], 100);
    timers_set(&timers, &all[1], 50);
    timers_set(&timers, &all[0], 20);
    cr_expect_eq(timers_due(&timers, 60), &all[0]);
    timers_set(&timers, &all[1], 200);
    cr_expect_null(timers_due(&timers, 199));
    cr_expect_eq(timers_due(&timers, 200), &all[1]);
}

/* Against a plain search. */
Test(timers, the_order_is_right_whatever_happens)
{
    uint64_t random = random_seed("timers"), now_ns = 0;

    for (unsigned step = 0; step < 50000; step++) {
        struct timer *timer = &all[random_next(&random) % TIMERS], *due;
        uint64_t first_ns = UINT64_MAX;

        switch (random_next(&random) % 4) {
        case 0:
        case 1:
            timers_set(&timers, timer, now_ns + random_next(&random) % 1000);
            break;
        case 2:
            timers_cancel(&timers, timer);
            break;
        case 3:
            now_ns += random_next(&random) % 20;
            while ((due = timers_due(&timers, now_ns)))
                cr_assert_leq(due->due_ns, now_ns);
            break;
        }
        for (unsigned i = 0; i < TIMERS; i++)
            if (all[i].set && all[i].due_ns < first_ns)
                first_ns = all[i].due_ns;
        cr_assert_eq(timers_next_ns(&timers), first_ns, "step %u", step);
        if (step % 64 == 0)
            cr_assert(timers_valid(&timers), "step %u", step);
    }
}
