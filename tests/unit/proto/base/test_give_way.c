/* test_give_way.c - a core is offered as long as it comes back soon; time here is what the test says */
#include <criterion/criterion.h>

#include "give_way.h"

static uint64_t clock_ns = NS_PER_S, cost_ns;
static unsigned offers;

int clock_gettime(clockid_t clock, struct timespec *now)
{
    (void)clock;
    *now = (struct timespec){(time_t)(clock_ns / NS_PER_S), (long)(clock_ns % NS_PER_S)};
    return 0;
}

int sched_yield(void)
{
    offers++;
    clock_ns += cost_ns;
    return 0;
}

static unsigned offers_of(struct give_way *way, unsigned turns)
{
    offers = 0;
    while (turns-- > 0)
        give_way(way, clock_ns);
    return offers;
}

Test(give_way, is_done_each_time_while_it_is_cheap)
{
    struct give_way way = {0};

    cost_ns = GIVE_WAY_DEAR_NS;
    cr_assert_eq(offers_of(&way, 10), 10);
}

Test(give_way, rests_after_it_was_dear)
{
    struct give_way way = {0};

    cost_ns = GIVE_WAY_DEAR_NS + 1;
    cr_assert_eq(offers_of(&way, 10), 1);
    clock_ns += GIVE_WAY_REST_NS - 1;
    cr_assert_eq(offers_of(&way, 10), 0);
    clock_ns++;
    cr_assert_eq(offers_of(&way, 10), 1);
}

Test(give_way, rests_twice_as_long_each_time_in_a_row)
{
    struct give_way way = {0};

    for (unsigned i = 0; i < 2 * GIVE_WAY_DOUBLINGS; i++) {
        uint64_t rest_ns = GIVE_WAY_REST_NS << (i < GIVE_WAY_DOUBLINGS ? i : GIVE_WAY_DOUBLINGS);

        cost_ns = GIVE_WAY_DEAR_NS + 1;
        cr_assert_eq(offers_of(&way, 1), 1);
        clock_ns += rest_ns - 1;
        cr_assert_eq(offers_of(&way, 1), 0, "after %u", i);
        clock_ns++;
    }
    cost_ns = 1;
    cr_assert_eq(offers_of(&way, 10), 10);
    cost_ns = GIVE_WAY_DEAR_NS + 1;
    cr_assert_eq(offers_of(&way, 1), 1);
    clock_ns += GIVE_WAY_REST_NS;
    cr_assert_eq(offers_of(&way, 1), 1, "a cheap one ends the row");
}

Test(give_way, tells_the_time_afterwards)
{
    struct give_way way = {0};
    uint64_t before_ns = clock_ns;

    cost_ns = 5 * NS_PER_MS;
    cr_assert_eq(give_way(&way, before_ns), before_ns + cost_ns);
    cr_assert_eq(give_way(&way, clock_ns), clock_ns);
}
