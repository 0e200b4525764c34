/* test_checkers.c - the checkers of histories, against brute force on all small ones and against injected
 * violations */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "history.h"
#include "random.h"

TestSuite(checkers, .timeout = 120);

#define STATES_MAX 1000000
#define OPS_MAX    5

/* ---- brute force: every order, no cleverness ---- */

static bool precedes(const struct history_event *a, const struct history_event *b)
{
    return !a->unknown && a->returned_ns < b->invoked_ns;
}

/* May `next` be the first of the events that `left` names? */
static bool may_be_first(const struct history_event *events, unsigned count, unsigned left, unsigned next)
{
    for (unsigned i = 0; i < count; i++)
        if ((left & 1u << i) && precedes(&events[i], &events[next]))
            return false;
    return true;
}

static bool only_unknown(const struct history_event *events, unsigned count, unsigned left)
{
    for (unsigned i = 0; i < count; i++)
        if ((left & 1u << i) && !events[i].unknown)
            return false;
    return true;
}

static bool some_order(const struct history_event *events, unsigned count, unsigned left, uint64_t value)
{
    uint64_t after;

    if (only_unknown(events, count, left))
        return true;
    for (unsigned i = 0; i < count; i++)
        if ((left & 1u << i) && may_be_first(events, count, left, i) &&
            history_step(&events[i], value, &after) && some_order(events, count, left & ~(1u << i), after))
            return true;
    return false;
}

/* ---- all small histories ---- */

struct family {
    const struct history_event *kinds; /* what an operation may be; times are filled in */
    unsigned kind_count;
    unsigned ops, processes;
    bool chain; /* kinds depend on the operation's number: kinds[number * kind_count ...] */
    struct history_event events[OPS_MAX];
    unsigned long right, wrong, chains;
};

static void compare(struct family *family, unsigned count)
{
    bool expected = some_order(family->events, count, (1u << count) - 1, 0);
    int found = history_check(family->events, count, 0, STATES_MAX), chain;
    struct history_fault fault;

    if (found != (expected ? 0 : -EILSEQ)) {
        for (unsigned i = 0; i < count; i++)
            cr_log_error("%s", history_print(&family->events[i]));
        cr_assert_fail("the search says %d, brute force %d", found, expected);
    }
    if (family->chain) {
        chain = history_check_chain(family->events, count, 0, &fault);
        if (chain != found) {
            for (unsigned i = 0; i < count; i++)
                cr_log_error("%s", history_print(&family->events[i]));
            cr_assert_fail("the chain says %d, brute force %d", chain, expected);
        }
        family->chains++;
    }
    family->right += expected;
    family->wrong += !expected;
}

/* Every sequence of invocations and returns: at each step either invoke another operation, of any kind, or
 * let a pending one return. */
static void extend(struct family *family, unsigned invoked, unsigned pending, uint64_t time_ns)
{
    if (invoked == family->ops && pending == 0) {
        compare(family, invoked);
        return;
    }
    for (unsigned i = 0; i < invoked; i++) {
        if (!(pending & 1u << i))
            continue;
        family->events[i].returned_ns = time_ns;
        extend(family, invoked, pending & ~(1u << i), time_ns + 1);
    }
    if (invoked == family->ops || (unsigned)__builtin_popcount(pending) == family->processes)
        return;
    for (unsigned i = 0; i < family->kind_count; i++) {
        const struct history_event *kinds =
            family->kinds + (family->chain ? invoked * family->kind_count : 0);

        family->events[invoked] = kinds[i];
        family->events[invoked].invoked_ns = time_ns;
        extend(family, invoked + 1, pending | (kinds[i].unknown ? 0 : 1u << invoked), time_ns + 1);
    }
}

static void run_family(struct family *family)
{
    extend(family, 0, 0, 1);
    cr_log_info("%lu histories: %lu linearizable, %lu not", family->right + family->wrong, family->right,
                family->wrong);
    cr_assert_gt(family->right, 0);
    cr_assert_gt(family->wrong, 0);
}

#define READ(value)                           \
    {                                         \
        .kind = HISTORY_READ, .seen = (value) \
    }
#define WRITE(value)                               \
    {                                              \
        .kind = HISTORY_WRITE, .argument = (value) \
    }
#define MAYBE_WRITE(value)                                          \
    {                                                               \
        .kind = HISTORY_WRITE, .argument = (value), .unknown = true \
    }
#define SWAP(value, saw)                                         \
    {                                                            \
        .kind = HISTORY_SWAP, .argument = (value), .seen = (saw) \
    }
#define CAS(old, value, saw)                                                       \
    {                                                                              \
        .kind = HISTORY_CAS, .expected = (old), .argument = (value), .seen = (saw) \
    }
#define MAYBE_CAS(old, value)                                                        \
    {                                                                                \
        .kind = HISTORY_CAS, .expected = (old), .argument = (value), .unknown = true \
    }
#define ADD(value, saw)                                         \
    {                                                           \
        .kind = HISTORY_ADD, .argument = (value), .seen = (saw) \
    }
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

Test(checkers, search_agrees_with_brute_force_on_all_histories_of_four_operations)
{
    static const struct history_event kinds[] = {
        READ(0),      READ(1),      WRITE(0),       WRITE(1),        SWAP(1, 0),      SWAP(1, 1),
        CAS(0, 1, 0), CAS(0, 1, 1), MAYBE_WRITE(1), MAYBE_CAS(0, 1), MAYBE_CAS(1, 0),
    };
    struct family family = {.kinds = kinds, .kind_count = COUNT(kinds), .processes = 3};

    for (family.ops = 1; family.ops <= 4; family.ops++)
        run_family(&family);
}

Test(checkers, search_agrees_with_brute_force_on_all_register_histories_of_five_operations)
{
    static const struct history_event kinds[] = {READ(0), READ(1), WRITE(0), WRITE(1)};
    struct family family = {.kinds = kinds, .kind_count = COUNT(kinds), .processes = 3, .ops = 5};

    run_family(&family);
}

Test(checkers, search_agrees_with_brute_force_on_counters)
{
    static const struct history_event kinds[] = {
        READ(0),   READ(1),   READ(2),
        ADD(1, 0), ADD(1, 1), {.kind = HISTORY_ADD, .argument = 1, .unknown = true}};
    struct family family = {.kinds = kinds, .kind_count = COUNT(kinds), .processes = 3, .ops = 4};

    run_family(&family);
}

/* Operation number i stores i + 1 and nothing else: what the chain wants. */
static void make_chain_kinds(struct history_event *kinds, unsigned ops, unsigned per_op)
{
    for (unsigned op = 0; op < ops; op++) {
        struct history_event *to = kinds + op * per_op;

        for (unsigned value = 0; value <= ops; value++) {
            *to++ = (struct history_event)READ(value);
            if (value == op + 1)
                continue; /* a store that replaces itself is no chain */
            *to++ = (struct history_event)CAS(value, op + 1, value);
            *to++ = (struct history_event)MAYBE_CAS(value, op + 1);
        }
    }
}

Test(checkers, chain_agrees_with_brute_force_on_all_small_histories)
{
    for (unsigned ops = 1; ops <= 4; ops++) {
        unsigned per_op = 3 * (ops + 1) - 2;
        struct history_event kinds[4 * (3 * 5 - 2)];
        struct family family = {
            .kinds = kinds, .kind_count = per_op, .processes = 3, .ops = ops, .chain = true};

        make_chain_kinds(kinds, ops, per_op);
        run_family(&family);
        cr_assert_gt(family.chains, 0);
    }
}

Test(checkers, chain_refuses_what_is_no_chain)
{
    const struct history_event blind[] = {WRITE(1)}, twice[] = {CAS(0, 1, 0), CAS(1, 1, 1)},
                               vague[] = {{.kind = HISTORY_SWAP, .argument = 1, .unknown = true}};
    struct history_fault fault;

    cr_expect_eq(history_check_chain(blind, 1, 0, &fault), -EINVAL);
    cr_expect_eq(history_check_chain(twice, 2, 0, &fault), -EINVAL);
    cr_expect_eq(history_check_chain(vague, 1, 0, &fault), -EINVAL);
}

/* ---- large histories, made linearizable, then damaged ---- */

#define LARGE 2000

/* Operation i takes effect at time 100 i, and lasts from some time before to some time after; how long
 * decides how many overlap. Unknown ones are CAS. */
static void make_large(struct history_event *events, uint64_t *state, unsigned spread)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < LARGE; i++) {
        struct history_event *event = &events[i];
        uint64_t at = 100ull * (i + 100), dice = random_next(state) % 100;

        *event = (struct history_event){.process = i % 7,
                                        .kind = dice < 50 ? HISTORY_READ : HISTORY_CAS,
                                        .argument = i + 1,
                                        .expected = dice < 90 ? value : value + 1,
                                        .seen = value,
                                        .unknown = dice >= 50 && dice < 55,
                                        .invoked_ns = at - random_next(state) % spread,
                                        .returned_ns = at + random_next(state) % spread};
        if (event->kind == HISTORY_CAS && event->expected == value && dice != 53)
            value = event->argument; /* 53: an unknown one that never happened */
    }
}

static void expect_right(const struct history_event *events)
{
    struct history_fault fault = {.what = "nothing"};
    int chain = history_check_chain(events, LARGE, 0, &fault);

    cr_expect_eq(chain, 0, "%d: %s", chain, fault.what);
    cr_expect_eq(history_check(events, LARGE, 0, STATES_MAX), 0);
}

/* The search needs not finish on a large history that is wrong: it may be undecided, never satisfied. */
static void expect_wrong(const struct history_event *events, size_t count, const char *what)
{
    struct history_fault fault = {.what = "nothing"};
    int search = history_check(events, count, 0, 20000);

    cr_expect_eq(history_check_chain(events, count, 0, &fault), -EILSEQ, "the chain missed %s", what);
    cr_expect(search == -EILSEQ || search == -E2BIG, "the search missed %s: %d", what, search);
}

/* A done store in the middle whose value was replaced by another done store before some read began. */
static bool find_stale(const struct history_event *events, unsigned from, unsigned *store_out,
                       unsigned *read_out)
{
    for (unsigned i = from; i + 1 < LARGE; i++) {
        const struct history_event *store = &events[i];

        if (store->kind != HISTORY_CAS || store->unknown || store->seen != store->expected)
            continue;
        for (unsigned j = i + 1; j < LARGE; j++)
            if (events[j].kind == HISTORY_READ && events[j].invoked_ns > store->returned_ns) {
                *store_out = i;
                *read_out = j;
                return true;
            }
    }
    return false;
}

Test(checkers, large_histories_pass_and_damaged_ones_do_not)
{
    static struct history_event events[LARGE + 1];
    uint64_t state = random_seed();

    for (unsigned round = 0; round < 6; round++) {
        unsigned store = 0, read = 0;
        struct history_event saved;

        make_large(events, &state, round < 3 ? 300 : 1000);
        expect_right(events);
        cr_assert(find_stale(events, LARGE / 2, &store, &read));

        saved = events[read];
        events[read].seen = events[store].seen; /* the value the store replaced, and had returned */
        expect_wrong(events, LARGE, "a stale read");
        events[read].seen = LARGE + 7;
        expect_wrong(events, LARGE, "a value out of nowhere");
        events[read] = saved;

        events[LARGE] = events[store]; /* done twice: both replaced one value */
        events[LARGE].argument = LARGE + 1;
        events[LARGE].invoked_ns = events[LARGE - 1].returned_ns;
        events[LARGE].returned_ns = events[LARGE].invoked_ns + 1;
        expect_wrong(events, LARGE + 1, "a value replaced twice");

        saved = events[read];
        events[read].seen = events[read].argument = 0;
        events[read].invoked_ns = events[LARGE].invoked_ns;
        events[read].returned_ns = events[LARGE].returned_ns;
        expect_wrong(events, LARGE, "the initial value at the end");
        events[read] = saved;
        expect_right(events);
    }
}

Test(checkers, search_says_when_it_gives_up)
{
    static struct history_event events[64];

    for (unsigned i = 0; i < 64; i++)
        events[i] = (struct history_event){
            .kind = HISTORY_ADD, .argument = 1ull << (i % 60), .seen = 1, .invoked_ns = 1, .returned_ns = 2};
    for (unsigned i = 0; i < 64; i += 2)
        events[i].unknown = true;
    cr_expect_eq(history_check(events, 64, 0, 1000), -E2BIG);
}
