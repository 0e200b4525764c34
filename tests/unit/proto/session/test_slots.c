/* test_slots.c - every request takes effect exactly once, whatever arrives how often */
#include "slots.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "window.h"

#define W SESSION_SLOTS

static struct slots slots;

static void start(void)
{
    slots_init(&slots);
}

TestSuite(slots, .init = start);

static void execute(uint64_t seq, uint64_t digest, const char *values)
{
    cr_assert_eq(slots_judge(&slots, seq, true, digest), SLOT_EXECUTE, "request %llu",
                 (unsigned long long)seq);
    slots_record(&slots, seq, true, digest, 1, 0, values, (uint16_t)strlen(values));
    cr_assert(slots_valid(&slots));
}

Test(slots, each_slot_begins_with_its_first_number)
{
    for (uint64_t seq = 1; seq <= W; seq++)
        execute(seq, seq, "");
    for (uint64_t seq = W + 1; seq <= 2 * W; seq++)
        execute(seq, seq, "");
}

Test(slots, slots_are_unordered_among_themselves)
{
    execute(5, 0, "");
    execute(3, 0, "");
    execute(W, 0, "");
    execute(1, 0, "");
}

Test(slots, a_repeat_gets_the_remembered_answer)
{
    execute(7, 77, "old value");
    cr_assert_eq(slots_judge(&slots, 7, true, 77), SLOT_REMEMBER);
    cr_assert_eq(slots_recall(&slots, 7)->value_bytes, strlen("old value"));
    cr_assert_arr_eq(slots_recall(&slots, 7)->values, "old value", strlen("old value"));
}

Test(slots, one_number_for_two_requests_is_refused)
{
    execute(7, 77, "");
    cr_assert_eq(slots_judge(&slots, 7, true, 78), SLOT_BROKEN);
    cr_assert_eq(slots_judge(&slots, 7, false, 0), SLOT_BROKEN);
}

Test(slots, a_repeated_read_is_executed_again)
{
    cr_assert_eq(slots_judge(&slots, 2, false, 0), SLOT_EXECUTE);
    slots_record(&slots, 2, false, 0, 1, 0, NULL, 0);
    cr_assert_eq(slots_judge(&slots, 2, false, 0), SLOT_EXECUTE);
}

Test(slots, a_late_duplicate_is_ignored)
{
    execute(4, 1, "");
    execute(4 + W, 2, "");
    cr_assert_eq(slots_judge(&slots, 4, true, 1), SLOT_IGNORE);
    cr_assert_eq(slots_judge(&slots, 4, true, 9), SLOT_IGNORE);
}

Test(slots, a_jump_ahead_is_refused)
{
    cr_assert_eq(slots_judge(&slots, 1 + W, true, 1), SLOT_BROKEN);
    execute(1, 1, "");
    cr_assert_eq(slots_judge(&slots, 1 + 2 * W, true, 1), SLOT_BROKEN);
    cr_assert_eq(slots_judge(&slots, UINT64_MAX, true, 1), SLOT_BROKEN);
}

/* A client's window against a server's slots over a network that drops, doubles and reorders: each request is
 * executed once if it changes something, and its answer is always the first one. */
Test(slots, a_request_that_waits_is_known_until_it_is_done)
{
    slots_park(&slots, 1, 100);
    cr_expect(slots_valid(&slots));
    cr_expect_eq(slots_judge(&slots, 1, true, 100), SLOT_WAITS);
    cr_expect_eq(slots_judge(&slots, 1, true, 101), SLOT_BROKEN);
    cr_expect_eq(slots_judge(&slots, 33, true, 100), SLOT_BROKEN, "the one before is not answered");
    slots_record(&slots, 1, true, 100, 1, 0, "", 0);
    cr_expect_eq(slots_judge(&slots, 1, true, 100), SLOT_REMEMBER);
    cr_expect_eq(slots_judge(&slots, 33, true, 102), SLOT_EXECUTE);
}

/* The client got the first answer late and went on: who waits is the repeat of a read. */
Test(slots, a_repeat_that_waits_gives_way)
{
    slots_record(&slots, 1, false, 0, 1, 0, NULL, 0);
    slots_park(&slots, 1, 0);
    cr_expect(slots_valid(&slots));
    cr_expect_eq(slots_judge(&slots, 1, false, 0), SLOT_WAITS);
    cr_expect_eq(slots_judge(&slots, 33, false, 0), SLOT_SUPERSEDE);
    slots_unpark(&slots, 1);
    cr_expect_eq(slots_judge(&slots, 33, false, 0), SLOT_EXECUTE);
    slots_park(&slots, 33, 0);
    cr_expect_eq(slots_judge(&slots, 1, false, 0), SLOT_IGNORE, "a late duplicate disturbs nobody");
    cr_expect_eq(slots_judge(&slots, 33, false, 0), SLOT_WAITS);
}

Test(slots, what_lies_beyond_was_never_begun)
{
    cr_expect_eq(slots_beyond(&slots), 1);
    execute(3, 0, "");
    cr_expect_eq(slots_beyond(&slots), 4);
    execute(1, 0, "");
    cr_expect_eq(slots_beyond(&slots), 4);
    slots_park(&slots, 5, 0);
    cr_expect_eq(slots_beyond(&slots), 6, "what waits was begun");
    slots_unpark(&slots, 5);
    slots_record(&slots, 7, false, 0, 1, 0, NULL, 0);
    cr_expect_eq(slots_beyond(&slots), 8);
}

#define REQUESTS 20000
#define WIRE_MAX 256

struct message {
    uint64_t seq, counter;
};

static unsigned executed[REQUESTS + 1];

struct wire {
    struct message messages[WIRE_MAX];
    unsigned count;
};

static void put(struct wire *wire, struct message message)
{
    unsigned copies = (unsigned)(random() % 10);

    copies = copies == 0 ? 0 : copies == 1 ? 2 : 1; /* 10 % lost, 10 % doubled */
    while (copies-- > 0 && wire->count < WIRE_MAX)
        wire->messages[wire->count++] = message;
}

static bool take(struct wire *wire, struct message *message_out)
{
    unsigned at;

    if (wire->count == 0)
        return false;
    at = (unsigned)random() % wire->count;
    *message_out = wire->messages[at];
    wire->messages[at] = wire->messages[--wire->count];
    return true;
}

static void serve(struct message message, struct wire *answers)
{
    switch (slots_judge(&slots, message.seq, true, message.seq)) {
    case SLOT_EXECUTE:
        executed[message.seq]++;
        slots_record(&slots, message.seq, true, message.seq, 1, 0, &message.seq, sizeof(message.seq));
        put(answers, message);
        return;
    case SLOT_REMEMBER:
        cr_assert_eq(memcmp(slots_recall(&slots, message.seq)->values, &message.seq, sizeof(message.seq)), 0);
        put(answers, message);
        return;
    case SLOT_IGNORE:
        return;
    case SLOT_SUPERSEDE:
    case SLOT_WAITS:
    case SLOT_BROKEN:
        cr_assert_fail("a correct client was refused at %llu", (unsigned long long)message.seq);
    }
}

Test(slots, exactly_once_over_a_bad_network)
{
    unsigned seed = (unsigned)time(NULL);
    struct wire requests = {.count = 0}, answers = {.count = 0};
    struct window window;
    struct message message;
    uint64_t now_ns = 1, counter = 1, seq, answered = 0;

    fprintf(stderr, "seed %u\n", seed);
    srandom(seed);
    window_init(&window);
    while (answered < REQUESTS) {
        now_ns += 100 * NS_PER_US;
        while (window_open(&window) && window.next_seq <= REQUESTS) {
            seq = window_take(&window);
            put(&requests, (struct message){seq, counter});
            window_sent(&window, seq, counter++, now_ns);
        }
        while ((seq = window_overdue(&window, now_ns)) != 0) {
            put(&requests, (struct message){seq, counter});
            window_sent(&window, seq, counter++, now_ns);
        }
        for (int i = 0; i < 8 && take(&requests, &message); i++)
            serve(message, &answers);
        for (int i = 0; i < 8 && take(&answers, &message); i++)
            answered += window_answered(&window, message.seq, message.counter, now_ns);
        cr_assert(window_valid(&window) && slots_valid(&slots));
    }
    for (seq = 1; seq <= REQUESTS; seq++)
        cr_assert_eq(executed[seq], 1, "request %llu was executed %u times", (unsigned long long)seq,
                     executed[seq]);
    cr_assert_gt(window.repeats, 0, "the network lost nothing: this run showed nothing");
}
