/* test_window.c - when requests are repeated and how many are allowed */
#include "window.h"

#include <criterion/criterion.h>

static struct window window;
static uint64_t counter;

static void start(void)
{
    window_init(&window);
    counter = 1;
}

TestSuite(window, .init = start);

static uint64_t send_one(uint64_t now_ns)
{
    uint64_t seq = window_take(&window);

    window_sent(&window, seq, counter++, now_ns);
    cr_assert(window_valid(&window));
    return seq;
}

Test(window, numbers_begin_at_one_and_stop_at_the_window)
{
    unsigned sent = 0;

    cr_assert_eq(send_one(0), 1);
    while (window_open(&window)) {
        send_one(0);
        sent++;
    }
    cr_assert_eq(window.in_flight, window.allowed);
    cr_assert_leq(window.in_flight, SESSION_SLOTS);
}

Test(window, a_slot_is_not_reused_before_its_request_is_answered)
{
    send_one(0);
    for (unsigned i = 1; i < SESSION_SLOTS; i++) {
        uint64_t seq = send_one(0);

        cr_assert(window_answered(&window, seq, counter - 1, 1000));
    }
    cr_assert_not(window_open(&window), "request 1 still holds its slot");
    cr_assert(window_answered(&window, 1, 1, 1000));
    cr_assert(window_open(&window));
}

Test(window, an_answer_counts_once)
{
    uint64_t seq = send_one(0);

    cr_assert(window_answered(&window, seq, 1, 10));
    cr_assert_not(window_answered(&window, seq, 1, 20));
    cr_assert_not(window_answered(&window, seq + SESSION_SLOTS, 1, 20));
    cr_assert_not(window_answered(&window, 999, 1, 20));
}

Test(window, an_answer_ends_the_request_it_names_and_no_other_of_its_slot)
{
    uint64_t seq = send_one(0);

    cr_assert_not(window_answered(&window, seq + SESSION_SLOTS, 1, 10));
    cr_assert(window_in_flight(&window, seq));
    cr_assert(window_answered(&window, seq, 1, 20));
}

Test(window, an_overdue_request_is_repeated_later_and_later)
{
    uint64_t seq = send_one(0), due = window_next_due_ns(&window), wait = due;

    cr_assert_eq(window_overdue(&window, due - 1), 0);
    for (int i = 0; i < 12; i++) {
        uint64_t now_ns = window_next_due_ns(&window);

        cr_assert_eq(window_overdue(&window, now_ns), seq);
        window_sent(&window, seq, counter++, now_ns);
        cr_assert_geq(window_next_due_ns(&window) - now_ns, wait);
        wait = window_next_due_ns(&window) - now_ns;
    }
    cr_assert_eq(wait, WINDOW_RTO_MAX_NS);
}

Test(window, three_later_answers_betray_a_loss)
{
    uint64_t lost = send_one(0), later[3];

    for (int i = 0; i < 3; i++)
        later[i] = send_one(0);
    cr_assert(window_answered(&window, later[0], 2, 10));
    cr_assert(window_answered(&window, later[1], 3, 10));
    cr_assert_eq(window_overdue(&window, 11), 0, "two may be reordering");
    cr_assert(window_answered(&window, later[2], 4, 10));
    cr_assert_eq(window_overdue(&window, 11), lost);
    window_sent(&window, lost, counter++, 11);
    cr_assert_eq(window_overdue(&window, 12), 0, "repeated once, not for each further answer");
}

Test(window, one_burst_of_losses_halves_it_once)
{
    unsigned before;

    while (window_open(&window))
        send_one(0);
    before = window.allowed;
    for (uint64_t seq; (seq = window_overdue(&window, NS_PER_S)) != 0;)
        window_sent(&window, seq, counter++, NS_PER_S);
    cr_assert_eq(window.allowed, before / 2);
}

Test(window, it_never_closes_for_good)
{
    uint64_t now_ns = 0;

    send_one(now_ns);
    for (int i = 0; i < 100; i++) {
        uint64_t seq;

        now_ns += NS_PER_S;
        while ((seq = window_overdue(&window, now_ns)) != 0)
            window_sent(&window, seq, counter++, now_ns);
    }
    cr_assert_geq(window.allowed, 1);
}

Test(window, it_grows_back)
{
    uint64_t now_ns = 0;

    window.allowed = 1;
    window.threshold = 4;
    for (int round = 0; round < 400; round++) {
        uint64_t first = window.next_seq;

        while (window_open(&window))
            send_one(now_ns);
        now_ns += 1000;
        for (uint64_t seq = first; seq < window.next_seq; seq++)
            window_answered(&window, seq, seq, now_ns);
        if (round == 2)
            cr_assert_lt(window.allowed, SESSION_SLOTS, "slowly above the threshold");
    }
    cr_assert_eq(window.allowed, SESSION_SLOTS);
}

Test(window, the_round_trip_of_a_repeat_is_its_own)
{
    uint64_t seq = send_one(0);

    window_sent(&window, seq, 2, NS_PER_S);
    cr_assert(window_answered(&window, seq, 2, NS_PER_S + 5000));
    cr_assert_eq(window.srtt_ns, 5000,
                 "measured from the second transmission: the answer echoes its counter");
}

Test(window, a_late_answer_takes_the_cut_back)
{
    uint64_t seq = send_one(0);
    unsigned before = window.allowed;

    cr_assert_eq(window_overdue(&window, NS_PER_S), seq);
    cr_assert_lt(window.allowed, before);
    window_sent(&window, seq, counter++, NS_PER_S);
    cr_assert(window_answered(&window, seq, 1, NS_PER_S + 1));
    cr_assert_eq(window.allowed, before);
}

Test(window, the_time_out_learns_from_late_answers)
{
    uint64_t now_ns = 0;

    for (int i = 0; i < 20; i++) {
        uint64_t seq = send_one(now_ns), first = counter - 1;

        if (window_overdue(&window, now_ns + 30 * NS_PER_MS))
            window_sent(&window, seq, counter++, now_ns + 30 * NS_PER_MS);
        cr_assert(window_answered(&window, seq, first, now_ns + 40 * NS_PER_MS));
        now_ns += NS_PER_S;
    }
    send_one(now_ns);
    cr_assert_gt(window_next_due_ns(&window) - now_ns, 40 * NS_PER_MS, "still repeats what is only late");
}

Test(window, a_parked_request_is_repeated_less_and_less_often)
{
    uint64_t seq = send_one(0), wait_ns = 0, now_ns = 0;

    for (int i = 0; i < 20; i++) {
        now_ns = window_next_due_ns(&window);
        cr_assert_eq(window_overdue(&window, now_ns), seq);
        window_sent(&window, seq, counter++, now_ns);
        window_parked(&window, seq, now_ns + 10);
        cr_assert(window_valid(&window));
        cr_assert_eq(window.parked, 1);
        cr_assert_geq(window_next_due_ns(&window) - now_ns, wait_ns);
        wait_ns = window_next_due_ns(&window) - now_ns;
    }
    cr_assert_eq(wait_ns, WINDOW_PARKED_MAX_NS + 10);
}

Test(window, a_parked_request_is_no_loss)
{
    uint64_t parked = send_one(0), now_ns = window_next_due_ns(&window);
    unsigned before = window.allowed;

    cr_assert_eq(window_overdue(&window, now_ns), parked);
    window_sent(&window, parked, counter++, now_ns);
    window_parked(&window, parked, now_ns);
    cr_assert_eq(window.allowed, before, "the cut that its repeat made is taken back");
    for (int i = 0; i < 5; i++) {
        uint64_t seq = send_one(now_ns);

        cr_assert(window_answered(&window, seq, counter - 1, now_ns + 10));
    }
    cr_assert_eq(window_overdue(&window, now_ns + 20), 0, "others overtook it, as they should");
    before = window.allowed;
    cr_assert_eq(window_overdue(&window, window_next_due_ns(&window)), parked);
    cr_assert_eq(window.allowed, before, "to ask after it is no loss");
}

Test(window, a_lost_repeat_of_a_parked_request_is_a_loss)
{
    uint64_t parked = send_one(0), now_ns = window_next_due_ns(&window);
    unsigned before = window.allowed;

    for (int i = 0; i < 10; i++)
        window_parked(&window, parked, now_ns);
    now_ns = window_next_due_ns(&window);
    cr_assert_eq(window_overdue(&window, now_ns), parked);
    window_sent(&window, parked, counter++, now_ns);
    cr_assert_eq(window.parked, 0, "whether the server still has it is not known now");
    cr_assert_leq(window_next_due_ns(&window) - now_ns, WINDOW_RTO_MAX_NS, "its own time-out counts again");
    cr_assert_eq(window_overdue(&window, window_next_due_ns(&window)), parked);
    cr_assert_lt(window.allowed, before);
}

Test(window, the_answer_to_a_parked_request_is_no_round_trip)
{
    uint64_t seq = send_one(0);

    cr_assert(window_answered(&window, seq, 1, 1000));
    seq = send_one(0);
    window_parked(&window, seq, 5000);
    cr_assert(window_answered(&window, seq, 2, 10 * NS_PER_S));
    cr_assert_eq(window.srtt_ns, 1000);
    cr_assert_eq(window.parked, 0);
    cr_assert(window_valid(&window));
}

Test(window, pending_for_what_is_not_in_flight_is_nothing)
{
    uint64_t seq = send_one(0);

    window_parked(&window, seq + 1, 10);
    window_parked(&window, seq + SESSION_SLOTS, 10);
    cr_assert(window_answered(&window, seq, 1, 10));
    window_parked(&window, seq, 10);
    window_take(&window);
    window_parked(&window, window.next_seq - 1, 10); /* taken, not sent */
    cr_assert_eq(window.parked, 0);
    cr_assert(window_valid(&window));
}

Test(window, what_was_not_taken_is_as_if_it_had_not_left)
{
    uint64_t first = send_one(0), second = send_one(0);

    window_parked(&window, second, 10);
    window_unsend(&window, first);
    window_unsend(&window, second);
    cr_assert(window_valid(&window));
    cr_assert_eq(window.parked, 0);
    cr_assert_eq(window_next_due_ns(&window), UINT64_MAX, "nothing is repeated");
    cr_assert_not(window_answered(&window, first, 1, 20), "nor answered");
    cr_assert(window_in_flight(&window, first));
    window_sent(&window, first, 3, 1000);
    cr_assert_eq(window.repeats, 0);
    cr_assert(window_answered(&window, first, 3, 2000));
    cr_assert_eq(window.srtt_ns, 1000);
    cr_assert(window_valid(&window));
}
