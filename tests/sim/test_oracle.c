/* test_oracle.c - the simulator's judge, judged: by every order there is, for small histories */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "oracle.h"
#include "sim.h"

#define OPERATIONS_MAX 6
#define HISTORIES      60000
#define NEVER          UINT64_MAX

struct record {
    enum oracle_kind kind;
    enum oracle_outcome outcome;
    uint64_t number, expected, saw, began, ended;
    bool applied, over;
};

static struct record records[OPERATIONS_MAX];
static unsigned count;

/* ---- every order there is ---- */

static bool nobody_knows(const struct record *record)
{
    return record->outcome == ORACLE_UNKNOWN || record->outcome == ORACLE_SETTLED;
}

static bool must_come_before(const struct record *first, const struct record *second)
{
    return first->ended < second->began;
}

static bool first_of(unsigned left, unsigned which)
{
    for (unsigned i = 0; i < count; i++)
        if (i != which && (left >> i & 1) && must_come_before(&records[i], &records[which]))
            return false;
    return true;
}

/* Does what it saw fit, with that value in the register? */
static bool fits(const struct record *record, uint64_t value, uint64_t *after_out)
{
    bool saw = record->outcome == ORACLE_DONE && record->kind != ORACLE_WRITE;

    *after_out = value;
    if (saw && record->saw != value)
        return false;
    if (record->kind == ORACLE_READ)
        return true;
    if (record->kind != ORACLE_CAS || value == record->expected)
        *after_out = record->number;
    return true;
}

static bool some_order(unsigned left, uint64_t value)
{
    if (left == 0)
        return true;
    for (unsigned i = 0; i < count; i++) {
        uint64_t after;

        if ((left >> i & 1) && first_of(left, i) && fits(&records[i], value, &after) &&
            some_order(left & ~(1u << i), after))
            return true;
    }
    return false;
}

/* What nobody knows may have happened or not. */
static bool explainable(void)
{
    unsigned sure = 0, all = (1u << count) - 1;

    for (unsigned i = 0; i < count; i++)
        sure |= (unsigned)(records[i].outcome == ORACLE_DONE) << i;
    for (unsigned set = 0; set <= all; set++) {
        bool possible = (set & sure) == sure;

        for (unsigned i = 0; i < count; i++)
            possible = possible &&
                       (!(set >> i & 1) || records[i].outcome == ORACLE_DONE || nobody_knows(&records[i]));
        if (possible && some_order(set, 0))
            return true;
    }
    return false;
}

/* ---- histories, true ones and others ---- */

static uint64_t some_value(struct dice *dice)
{
    return dice_below(dice, count + 1) == 0 ? 0 : records[dice_below(dice, count)].number;
}

static void begin_one(struct dice *dice, uint64_t *clock)
{
    struct record *record = &records[count];

    *record = (struct record){.kind = (enum oracle_kind)dice_below(dice, ORACLE_ADD), .ended = NEVER};
    record->expected = count > 0 ? some_value(dice) : 0;
    record->number = oracle_begin(0, 1, 1, record->kind, record->expected);
    record->began = ++*clock;
    count++;
}

static void apply_one(struct record *record, uint64_t *value)
{
    record->saw = *value;
    record->applied = true;
    if (record->kind == ORACLE_READ || (record->kind == ORACLE_CAS && *value != record->expected))
        return;
    *value = record->number;
}

static void end_one(struct dice *dice, struct record *record, uint64_t *clock, bool lie)
{
    static const enum oracle_outcome outcomes[] = {ORACLE_DONE, ORACLE_DONE, ORACLE_DONE, ORACLE_UNKNOWN,
                                                   ORACLE_SETTLED};

    record->over = true;
    record->outcome = record->applied ? outcomes[dice_below(dice, 5)]
                                      : (dice_chance(dice, 500000) ? ORACLE_NOT_DONE : ORACLE_UNKNOWN);
    if (lie && dice_chance(dice, 200000))
        record->saw = some_value(dice);
    oracle_end(record->number, record->outcome, record->saw);
    if (record->outcome != ORACLE_UNKNOWN)
        record->ended = ++*clock;
}

/* Operations begin, take effect and end in any order that the clock allows. */
static void make_history(struct dice *dice, bool lie)
{
    unsigned wanted = (unsigned)dice_between(dice, 2, OPERATIONS_MAX), over = 0;
    uint64_t clock = 0, value = 0;

    oracle_reset();
    count = 0;
    while (over < wanted) {
        struct record *record;

        if (count < wanted && dice_chance(dice, 400000)) {
            begin_one(dice, &clock);
            continue;
        }
        if (count == 0)
            continue;
        record = &records[dice_below(dice, count)];
        if (record->over)
            continue;
        if (!record->applied && dice_chance(dice, 800000)) {
            apply_one(record, &value);
        } else {
            end_one(dice, record, &clock, lie);
            over++;
        }
    }
}

static void compare(struct dice *dice, bool lie, unsigned *refused)
{
    char why[512] = "";

    make_history(dice, lie);
    bool verdict = oracle_check(why, sizeof(why)), truth = explainable();

    if (verdict != truth)
        for (unsigned i = 0; i < count; i++)
            printf("%llu: kind %d outcome %d [%llu..%lld] expected %llu saw %llu\n",
                   (unsigned long long)records[i].number, records[i].kind, records[i].outcome,
                   (unsigned long long)records[i].began, (long long)records[i].ended,
                   (unsigned long long)records[i].expected, (unsigned long long)records[i].saw);
    cr_assert_eq(verdict, truth, "the oracle says %s, which is wrong (%s)", verdict ? "yes" : "no", why);
    *refused += !truth;
}

Test(oracle, says_yes_to_what_a_register_did)
{
    struct dice dice = dice_of(1, "true histories");
    unsigned refused = 0;

    for (unsigned i = 0; i < HISTORIES; i++)
        compare(&dice, false, &refused);
    cr_assert_eq(refused, 0);
}

Test(oracle, agrees_with_every_order_there_is)
{
    struct dice dice = dice_of(2, "histories");
    unsigned refused = 0;

    for (unsigned i = 0; i < HISTORIES; i++)
        compare(&dice, true, &refused);
    cr_assert(refused > HISTORIES / 10 && refused < HISTORIES, "%u refused", refused);
}

/* ---- counters ---- */

static uint64_t add(uint64_t saw)
{
    uint64_t number = oracle_begin(0, 1, 1, ORACLE_ADD, 0);

    oracle_end(number, ORACLE_DONE, saw);
    return number;
}

static void look(uint64_t saw)
{
    oracle_end(oracle_begin(0, 1, 1, ORACLE_READ, 0), ORACLE_DONE, saw);
}

static bool holds(void)
{
    char why[512];
    bool verdict = oracle_check(why, sizeof(why));

    oracle_reset();
    return verdict;
}

Test(oracle, counts_each_addition_once)
{
    add(0);
    add(1);
    look(2);
    cr_assert(holds());
    add(0);
    add(0);
    cr_assert_not(holds());
    add(0);
    look(2);
    cr_assert_not(holds());
    add(0);
    look(0);
    cr_assert_not(holds());
}

Test(oracle, lets_an_addition_nobody_knows_of_count_or_not)
{
    for (uint64_t counted = 0; counted <= 2; counted++) {
        add(0);
        oracle_end(oracle_begin(0, 1, 1, ORACLE_ADD, 0), ORACLE_UNKNOWN, 0);
        look(1 + counted);
        cr_assert_eq(holds(), counted <= 1);
    }
}
