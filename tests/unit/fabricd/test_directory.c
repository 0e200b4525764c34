/* test_directory.c - every transition, order, cancellation, the end of agents, bounds, and a reference model
 */
#include "directory.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define PAGES     64
#define OPEN_MAX  (4 * SNOOPS_MAX)
#define READY_MAX 64

struct open_snoop {
    uint64_t page;
    uint16_t agent, id;
    enum bi_snp kind;
};

static struct directory *directory;
static struct open_snoop sent[OPEN_MAX]; /* not answered by us */
static unsigned sent_count;
static struct directory_waiter *ready[READY_MAX]; /* in the order they became so */
static unsigned ready_count;

static void on_snoop(void *context, uint16_t agent, uint64_t page, uint16_t id, enum bi_snp kind)
{
    cr_assert_eq(context, &sent_count);
    cr_assert_lt(sent_count, OPEN_MAX);
    sent[sent_count++] = (struct open_snoop){page, agent, id, kind};
}

static void on_ready(void *context, struct directory_waiter *waiter)
{
    (void)context;
    cr_assert_lt(ready_count, READY_MAX);
    ready[ready_count++] = waiter;
}

static const struct directory_ops ops = {on_snoop, on_ready};

static void open_pages(uint64_t pages)
{
    cr_assert_eq(directory_open(pages, &ops, &sent_count, &directory), 0);
    sent_count = ready_count = 0;
}

static void start(void)
{
    open_pages(PAGES);
}

static void end(void)
{
    cr_assert(directory_valid(directory));
    directory_close(directory);
}

TestSuite(directory, .init = start, .fini = end);

static uint16_t attach(void)
{
    uint16_t agent;

    cr_assert_eq(directory_attach(directory, &agent), 0);
    cr_assert(directory_valid(directory));
    return agent;
}

static void attach_many(unsigned count)
{
    for (unsigned n = 1; n <= count; n++)
        cr_assert_eq(attach(), n);
}

static int try(uint64_t page, enum directory_access access, uint16_t agent, struct directory_waiter *waiter)
{
    int result = directory_access(directory, page, access, agent, waiter);

    cr_assert(directory_valid(directory));
    return result;
}

/* It goes on at once. */
static void passes(uint64_t page, enum directory_access access, uint16_t agent)
{
    struct directory_waiter waiter = {0};

    cr_assert_eq(try(page, access, agent, &waiter), 0);
    cr_assert_not(waiter.queued);
    directory_done(directory, &waiter);
}

static void waits(uint64_t page, enum directory_access access, uint16_t agent,
                  struct directory_waiter *waiter)
{
    memset(waiter, 0, sizeof(*waiter));
    cr_assert_eq(try(page, access, agent, waiter), -EINPROGRESS);
    cr_assert(waiter->queued);
    cr_assert_eq(try(page, access, agent, waiter), -EINPROGRESS, "asked again, it waits on");
}

/* The waiter at the front of `ready` is this one; it goes on and is done. */
static void goes_on(struct directory_waiter *waiter)
{
    cr_assert_gt(ready_count, 0);
    cr_assert_eq(ready[0], waiter);
    memmove(ready, ready + 1, --ready_count * sizeof(ready[0]));
    cr_assert(waiter->ready);
    cr_assert_eq(try(waiter->page, waiter->access, waiter->agent, waiter), 0);
    cr_assert_eq(try(waiter->page, waiter->access, waiter->agent, waiter), 0, "asked again, it passes again");
    directory_done(directory, waiter);
    cr_assert(directory_valid(directory));
    cr_assert_not(waiter->queued);
}

/* Takes the one open snoop at the agent for the page out of `sent`. */
static struct open_snoop take_snoop(uint16_t agent, uint64_t page)
{
    for (unsigned i = 0; i < sent_count; i++) {
        struct open_snoop snoop = sent[i];

        if (snoop.agent != agent || snoop.page != page)
            continue;
        memmove(sent + i, sent + i + 1, (--sent_count - i) * sizeof(sent[0]));
        return snoop;
    }
    cr_assert_fail("agent %u has no snoop for page %llu", agent, (unsigned long long)page);
    return (struct open_snoop){0};
}

static void answer(struct open_snoop snoop, enum bi_state state)
{
    cr_assert_eq(directory_answer(directory, snoop.agent, snoop.page, snoop.id, state), 0);
    cr_assert(directory_valid(directory));
}

static void answers(uint16_t agent, uint64_t page, enum bi_snp kind, enum bi_state state)
{
    struct open_snoop snoop = take_snoop(agent, page);

    cr_assert_eq(snoop.kind, kind);
    answer(snoop, state);
}

static void is(uint64_t page, enum directory_state state, uint16_t owner)
{
    uint16_t named = 0;

    cr_assert_eq(directory_state(directory, page, &named), state);
    cr_assert_eq(named, owner);
}

/* Brings a page into a state: HOME, SHARED by agents 1 and 2, OWNED by 1. */
static void bring(uint64_t page, enum directory_state state)
{
    switch (state) {
    case DIRECTORY_HOME:
        return;
    case DIRECTORY_SHARED:
        passes(page, DIRECTORY_READ_SHARE, 1);
        passes(page, DIRECTORY_READ_SHARE, 2);
        return;
    case DIRECTORY_OWNED:
        passes(page, DIRECTORY_READ_OWN, 1);
        return;
    }
}

/* Who is snooped, how, and what the page is afterwards if all answer INVALID, and if the owner keeps SHARED.
 */
struct transition {
    enum directory_state from;
    enum directory_access access;
    uint16_t agent;
    enum bi_snp kind;
    unsigned snooped; /* bit n: agent n */
    enum directory_state to, to_if_kept;
    uint16_t owner;
};

#define NOBODY 0u
#define A1     2u
#define A2     4u

static const struct transition transitions[] = {
    {DIRECTORY_HOME, DIRECTORY_LOAD, 0, 0, NOBODY, DIRECTORY_HOME, DIRECTORY_HOME, 0},
    {DIRECTORY_HOME, DIRECTORY_STORE, 0, 0, NOBODY, DIRECTORY_HOME, DIRECTORY_HOME, 0},
    {DIRECTORY_HOME, DIRECTORY_READ_SHARE, 3, 0, NOBODY, DIRECTORY_SHARED, DIRECTORY_SHARED, 0},
    {DIRECTORY_HOME, DIRECTORY_READ_OWN, 3, 0, NOBODY, DIRECTORY_OWNED, DIRECTORY_OWNED, 3},
    {DIRECTORY_SHARED, DIRECTORY_LOAD, 0, 0, NOBODY, DIRECTORY_SHARED, DIRECTORY_SHARED, 0},
    {DIRECTORY_SHARED, DIRECTORY_STORE, 0, BI_SNP_INV, A1 | A2, DIRECTORY_HOME, DIRECTORY_HOME, 0},
    {DIRECTORY_SHARED, DIRECTORY_STORE, 1, BI_SNP_INV, A1 | A2, DIRECTORY_HOME, DIRECTORY_HOME, 0},
    {DIRECTORY_SHARED, DIRECTORY_READ_SHARE, 1, 0, NOBODY, DIRECTORY_SHARED, DIRECTORY_SHARED, 0},
    {DIRECTORY_SHARED, DIRECTORY_READ_SHARE, 3, 0, NOBODY, DIRECTORY_SHARED, DIRECTORY_SHARED, 0},
    {DIRECTORY_SHARED, DIRECTORY_READ_OWN, 1, BI_SNP_INV, A2, DIRECTORY_OWNED, DIRECTORY_OWNED, 1},
    {DIRECTORY_SHARED, DIRECTORY_READ_OWN, 3, BI_SNP_INV, A1 | A2, DIRECTORY_OWNED, DIRECTORY_OWNED, 3},
    {DIRECTORY_OWNED, DIRECTORY_LOAD, 0, BI_SNP_DATA, A1, DIRECTORY_HOME, DIRECTORY_SHARED, 0},
    {DIRECTORY_OWNED, DIRECTORY_LOAD, 1, BI_SNP_DATA, A1, DIRECTORY_HOME, DIRECTORY_SHARED, 0},
    {DIRECTORY_OWNED, DIRECTORY_STORE, 0, BI_SNP_INV, A1, DIRECTORY_HOME, DIRECTORY_HOME, 0},
    {DIRECTORY_OWNED, DIRECTORY_READ_SHARE, 1, 0, NOBODY, DIRECTORY_OWNED, DIRECTORY_OWNED, 1},
    {DIRECTORY_OWNED, DIRECTORY_READ_SHARE, 3, BI_SNP_DATA, A1, DIRECTORY_SHARED, DIRECTORY_SHARED, 0},
    {DIRECTORY_OWNED, DIRECTORY_READ_OWN, 1, 0, NOBODY, DIRECTORY_OWNED, DIRECTORY_OWNED, 1},
    {DIRECTORY_OWNED, DIRECTORY_READ_OWN, 3, BI_SNP_INV, A1, DIRECTORY_OWNED, DIRECTORY_OWNED, 3},
};

#define TRANSITIONS (sizeof(transitions) / sizeof(transitions[0]))

static void check_transition(const struct transition *t, uint64_t page, bool keep)
{
    struct directory_waiter waiter = {0};
    enum bi_state state = keep && t->kind == BI_SNP_DATA ? BI_STATE_SHARED : BI_STATE_INVALID;

    bring(page, t->from);
    if (!t->snooped) {
        passes(page, t->access, t->agent);
        cr_assert_eq(sent_count, 0);
    } else {
        waits(page, t->access, t->agent, &waiter);
        cr_assert_eq(sent_count, (unsigned)__builtin_popcount(t->snooped));
        for (uint16_t n = 1; n <= 3; n++)
            if (t->snooped >> n & 1)
                answers(n, page, t->kind, state);
        goes_on(&waiter);
    }
    is(page, keep ? t->to_if_kept : t->to, t->owner);
    if (t->access == DIRECTORY_READ_SHARE || t->access == DIRECTORY_READ_OWN)
        cr_assert(directory_holds(directory, t->agent, page));
    if (t->access == DIRECTORY_READ_SHARE && t->snooped)
        cr_assert_eq(directory_holds(directory, 1, page), keep);
}

Test(directory, every_access_in_every_state)
{
    attach_many(3);
    for (unsigned i = 0; i < TRANSITIONS; i++) {
        check_transition(&transitions[i], 2 * i, false);
        check_transition(&transitions[i], 2 * i + 1, true);
    }
}

Test(directory, a_page_nobody_caches_costs_nothing)
{
    passes(7, DIRECTORY_LOAD, 0);
    passes(7, DIRECTORY_STORE, 0);
    cr_assert_eq(directory_cached_pages(directory), 0);
}

Test(directory, only_the_owner_may_write_back)
{
    struct directory_waiter waiter;

    attach_many(2);
    passes(3, DIRECTORY_READ_OWN, 1);
    cr_assert(directory_owns(directory, 1, 3));
    cr_assert_not(directory_owns(directory, 2, 3));
    cr_assert_not(directory_owns(directory, 0, 3));
    cr_assert_not(directory_owns(directory, 1, 4));
    waits(3, DIRECTORY_READ_OWN, 2, &waiter);
    cr_assert(directory_owns(directory, 1, 3), "also while it is snooped");
    answers(1, 3, BI_SNP_INV, BI_STATE_INVALID);
    cr_assert_not(directory_owns(directory, 1, 3));
    goes_on(&waiter);
    cr_assert(directory_owns(directory, 2, 3));
}

Test(directory, accesses_that_wait_go_on_in_order)
{
    struct directory_waiter w[5];

    attach_many(3);
    passes(0, DIRECTORY_READ_OWN, 1);
    waits(0, DIRECTORY_STORE, 0, &w[0]);
    waits(0, DIRECTORY_READ_OWN, 2, &w[1]);
    waits(0, DIRECTORY_LOAD, 0, &w[2]);
    waits(0, DIRECTORY_READ_SHARE, 3, &w[3]);
    waits(0, DIRECTORY_STORE, 0, &w[4]);
    cr_assert_eq(sent_count, 1, "only the first has asked");
    answers(1, 0, BI_SNP_INV, BI_STATE_INVALID);
    cr_assert_eq(ready_count, 1);
    goes_on(&w[0]);
    goes_on(&w[1]);
    answers(2, 0, BI_SNP_DATA, BI_STATE_SHARED);
    cr_assert_eq(ready_count, 2, "readers go on together");
    goes_on(&w[2]);
    cr_assert_eq(sent_count, 0, "who comes behind them waits for both");
    goes_on(&w[3]);
    answers(2, 0, BI_SNP_INV, BI_STATE_INVALID);
    answers(3, 0, BI_SNP_INV, BI_STATE_INVALID);
    goes_on(&w[4]);
    is(0, DIRECTORY_HOME, 0);
    cr_assert_eq(directory_cached_pages(directory), 0);
}

Test(directory, pages_do_not_wait_for_each_other)
{
    struct directory_waiter a, b;

    attach_many(2);
    passes(0, DIRECTORY_READ_OWN, 1);
    passes(1, DIRECTORY_READ_OWN, 1);
    waits(0, DIRECTORY_READ_OWN, 2, &a);
    passes(2, DIRECTORY_READ_OWN, 2);
    waits(1, DIRECTORY_READ_OWN, 2, &b);
    answers(1, 1, BI_SNP_INV, BI_STATE_INVALID);
    goes_on(&b);
    answers(1, 0, BI_SNP_INV, BI_STATE_INVALID);
    goes_on(&a);
}

Test(directory, wrong_answers_change_nothing)
{
    struct directory_waiter waiter;
    struct open_snoop snoop;

    attach_many(3);
    passes(5, DIRECTORY_READ_OWN, 1);
    cr_assert_eq(directory_answer(directory, 1, 5, 1, BI_STATE_INVALID), -ENOENT, "before there is a snoop");
    waits(5, DIRECTORY_READ_OWN, 2, &waiter);
    snoop = take_snoop(1, 5);
    cr_assert_eq(directory_answer(directory, 2, 5, snoop.id, BI_STATE_INVALID), -ENOENT, "another agent");
    cr_assert_eq(directory_answer(directory, 9, 5, snoop.id, BI_STATE_INVALID), -ENOENT, "no agent");
    cr_assert_eq(directory_answer(directory, UINT16_MAX, 5, snoop.id, BI_STATE_INVALID), -ENOENT);
    cr_assert_eq(directory_answer(directory, 1, 6, snoop.id, BI_STATE_INVALID), -ENOENT, "another page");
    cr_assert_eq(directory_answer(directory, 1, 5, snoop.id + 1, BI_STATE_INVALID), -ENOENT, "a later one");
    cr_assert_eq(directory_answer(directory, 1, 5, snoop.id - 1, BI_STATE_INVALID), -ENOENT,
                 "an earlier one");
    cr_assert_eq(directory_answer(directory, 1, 5, snoop.id, BI_STATE_SHARED), -EINVAL, "not after an INV");
    cr_assert_eq(directory_answer(directory, 1, 5, snoop.id, (enum bi_state)2), -EINVAL);
    cr_assert_eq(ready_count, 0);
    is(5, DIRECTORY_OWNED, 1);
    answer(snoop, BI_STATE_INVALID);
    cr_assert_eq(directory_answer(directory, 1, 5, snoop.id, BI_STATE_INVALID), -ENOENT, "twice");
    goes_on(&waiter);
}

Test(directory, an_eviction_takes_the_agent_out)
{
    attach_many(3);
    passes(0, DIRECTORY_READ_OWN, 1);
    directory_evicted(directory, 2, 0);
    is(0, DIRECTORY_OWNED, 1);
    directory_evicted(directory, 1, 0);
    is(0, DIRECTORY_HOME, 0);
    passes(1, DIRECTORY_READ_SHARE, 1);
    passes(1, DIRECTORY_READ_SHARE, 2);
    directory_evicted(directory, 1, 1);
    directory_evicted(directory, 3, 1);
    cr_assert_not(directory_holds(directory, 1, 1));
    cr_assert(directory_holds(directory, 2, 1));
    directory_evicted(directory, 2, 1);
    cr_assert_eq(directory_cached_pages(directory), 0);
    directory_evicted(directory, 2, 1);
    cr_assert(directory_valid(directory));
}

Test(directory, an_eviction_does_not_answer_a_snoop)
{
    struct directory_waiter waiter;

    attach_many(2);
    passes(0, DIRECTORY_READ_OWN, 1);
    waits(0, DIRECTORY_STORE, 0, &waiter);
    directory_evicted(directory, 1, 0);
    cr_assert_eq(ready_count, 0);
    is(0, DIRECTORY_OWNED, 1);
    answers(1, 0, BI_SNP_INV, BI_STATE_INVALID);
    goes_on(&waiter);
}

/* Three wait: the first for a snoop or ready, the others behind it. One goes; the others go on. */
static void check_cancel(unsigned gone, bool when_ready)
{
    struct directory_waiter w[3];

    passes(0, DIRECTORY_READ_OWN, 1);
    waits(0, DIRECTORY_READ_OWN, 2, &w[0]);
    waits(0, DIRECTORY_STORE, 0, &w[1]);
    waits(0, DIRECTORY_READ_SHARE, 3, &w[2]);
    if (when_ready)
        answers(1, 0, BI_SNP_INV, BI_STATE_INVALID);
    directory_cancel(directory, &w[gone]);
    cr_assert(directory_valid(directory));
    cr_assert_not(w[gone].queued);
    if (when_ready && gone == 0)
        memmove(ready, ready + 1, --ready_count * sizeof(ready[0]));
    if (!when_ready)
        answers(1, 0, BI_SNP_INV, BI_STATE_INVALID);
    for (unsigned i = 0; i < 3; i++) {
        if (i == gone)
            continue;
        if (i == 1 && gone != 0)
            answers(2, 0, BI_SNP_INV, BI_STATE_INVALID);
        if (i == 2 && gone == 1)
            answers(2, 0, BI_SNP_DATA, BI_STATE_INVALID);
        goes_on(&w[i]);
    }
    directory_cancel(directory, &w[gone]);
    cr_assert_eq(sent_count, 0);
    cr_assert_eq(ready_count, 0);
}

Test(directory, who_is_cancelled_does_not_hold_up_the_others)
{
    attach_many(3);
    for (unsigned gone = 0; gone < 3; gone++)
        for (unsigned when_ready = 0; when_ready < 2; when_ready++) {
            struct directory_waiter waiter = {0};

            check_cancel(gone, when_ready);
            if (try(0, DIRECTORY_STORE, 0, &waiter) == 0)
                continue;
            while (sent_count)
                answer(take_snoop(sent[0].agent, 0), BI_STATE_INVALID);
            goes_on(&waiter);
        }
}

Test(directory, a_snoop_outlives_the_access_it_was_sent_for)
{
    struct directory_waiter waiter, next;

    attach_many(2);
    passes(0, DIRECTORY_READ_OWN, 1);
    waits(0, DIRECTORY_READ_SHARE, 2, &waiter);
    directory_cancel(directory, &waiter);
    cr_assert(directory_valid(directory));
    is(0, DIRECTORY_OWNED, 1);
    waits(0, DIRECTORY_STORE, 0, &next); /* behind the snoop that is open */
    cr_assert_eq(sent_count, 1);
    answers(1, 0, BI_SNP_DATA, BI_STATE_SHARED);
    answers(1, 0, BI_SNP_INV, BI_STATE_INVALID);
    goes_on(&next);
    passes(0, DIRECTORY_READ_OWN, 1);
    waits(0, DIRECTORY_STORE, 0, &waiter);
    directory_cancel(directory, &waiter);
    answers(1, 0, BI_SNP_INV, BI_STATE_INVALID);
    is(0, DIRECTORY_HOME, 0);
    cr_assert_eq(ready_count, 0);
    cr_assert_eq(directory_cached_pages(directory), 0);
}

/* Who asked to own and went had perhaps a copy for reading, and is still in the directory. */
Test(directory, the_copy_of_who_cancelled_is_not_forgotten)
{
    struct directory_waiter waiter;

    attach_many(2);
    bring(0, DIRECTORY_SHARED);
    waits(0, DIRECTORY_READ_OWN, 1, &waiter);
    answers(2, 0, BI_SNP_INV, BI_STATE_INVALID);
    directory_cancel(directory, &waiter);
    ready_count = 0;
    cr_assert(directory_holds(directory, 1, 0));
    cr_assert_not(directory_holds(directory, 2, 0));
    waits(0, DIRECTORY_STORE, 0, &waiter);
    answers(1, 0, BI_SNP_INV, BI_STATE_INVALID);
    goes_on(&waiter);
}

Test(directory, the_end_of_an_agent_answers_its_snoops)
{
    struct directory_waiter own, store;

    attach_many(3);
    passes(0, DIRECTORY_READ_OWN, 1);
    bring(1, DIRECTORY_SHARED);
    waits(0, DIRECTORY_READ_OWN, 2, &own);
    waits(1, DIRECTORY_STORE, 0, &store);
    directory_detach(directory, 1);
    cr_assert(directory_valid(directory));
    goes_on(&own);
    cr_assert_eq(ready_count, 0, "the other sharer has not answered");
    answers(2, 1, BI_SNP_INV, BI_STATE_INVALID);
    goes_on(&store);
    cr_assert_eq(directory_answer(directory, 1, 0, 1, BI_STATE_INVALID), -ENOENT);
    is(0, DIRECTORY_OWNED, 2);
}

Test(directory, an_agent_that_ended_has_nothing)
{
    attach_many(2);
    passes(0, DIRECTORY_READ_OWN, 1);
    bring(1, DIRECTORY_SHARED);
    directory_detach(directory, 1);
    is(0, DIRECTORY_HOME, 0);
    is(1, DIRECTORY_SHARED, 0);
    cr_assert_not(directory_holds(directory, 1, 0));
    cr_assert_not(directory_holds(directory, 1, 1));
    cr_assert_not(directory_owns(directory, 1, 0));
    passes(0, DIRECTORY_READ_OWN, 2);
    directory_detach(directory, 2);
    is(0, DIRECTORY_HOME, 0);
    is(1, DIRECTORY_HOME, 0);
    passes(1, DIRECTORY_STORE, 0);
    cr_assert_eq(directory_cached_pages(directory), 0);
}

Test(directory, a_number_used_again_owns_nothing)
{
    attach_many(2);
    passes(0, DIRECTORY_READ_OWN, 1);
    directory_detach(directory, 1);
    cr_assert_eq(attach(), 1);
    cr_assert_not(directory_owns(directory, 1, 0));
    is(0, DIRECTORY_HOME, 0);
    passes(0, DIRECTORY_READ_SHARE, 2);
}

/* The bit of a sharer that ended stays; who gets its number must not stop a waiter that is ready. */
Test(directory, a_number_used_again_does_not_stop_who_is_ready)
{
    struct directory_waiter first, second;

    attach_many(3);
    passes(0, DIRECTORY_READ_OWN, 1);
    waits(0, DIRECTORY_READ_SHARE, 2, &first);
    waits(0, DIRECTORY_STORE, 0, &second);
    answers(1, 0, BI_SNP_DATA, BI_STATE_SHARED);
    goes_on(&first);
    answers(2, 0, BI_SNP_INV, BI_STATE_INVALID);
    directory_detach(directory, 1);
    cr_assert(second.ready);
    cr_assert_eq(attach(), 1);
    goes_on(&second);

    passes(1, DIRECTORY_READ_SHARE, 1);
    passes(1, DIRECTORY_READ_OWN, 1);
    waits(1, DIRECTORY_READ_SHARE, 2, &first);
    waits(1, DIRECTORY_STORE, 0, &second);
    answers(1, 1, BI_SNP_DATA, BI_STATE_SHARED);
    cr_assert(first.ready);
    directory_detach(directory, 1);
    directory_detach(directory, 2);
    directory_cancel(directory, &first);
    memmove(ready, ready + 1, --ready_count * sizeof(ready[0]));
    cr_assert(second.ready);
    cr_assert_eq(attach(), 1);
    goes_on(&second);
}

Test(directory, low_numbers_are_used_first)
{
    uint16_t agent;

    attach_many(AGENTS_MAX);
    cr_assert_eq(directory_attach(directory, &agent), -EUSERS);
    directory_detach(directory, 700);
    directory_detach(directory, 3);
    cr_assert_eq(attach(), 3);
    cr_assert_eq(attach(), 700);
    cr_assert_eq(directory_attach(directory, &agent), -EUSERS);
}

/* Above 56 agents a bit stands for several: all of them are asked, and the answers of all are waited for. */
Test(directory, agents_that_share_a_bit)
{
    struct directory_waiter waiter;

    attach_many(130);
    passes(0, DIRECTORY_READ_SHARE, 5);
    cr_assert(directory_holds(directory, 61, 0), "for all the directory knows");
    cr_assert_not(directory_holds(directory, 6, 0));
    waits(0, DIRECTORY_STORE, 0, &waiter);
    cr_assert_eq(sent_count, 3);
    answers(61, 0, BI_SNP_INV, BI_STATE_INVALID);
    answers(117, 0, BI_SNP_INV, BI_STATE_INVALID);
    cr_assert_eq(ready_count, 0);
    answers(5, 0, BI_SNP_INV, BI_STATE_INVALID);
    goes_on(&waiter);

    passes(0, DIRECTORY_READ_SHARE, 5);
    waits(0, DIRECTORY_READ_OWN, 5, &waiter);
    cr_assert_eq(sent_count, 2, "all of the group but the one who asks");
    answers(117, 0, BI_SNP_INV, BI_STATE_INVALID);
    answers(61, 0, BI_SNP_INV, BI_STATE_INVALID);
    goes_on(&waiter);
    is(0, DIRECTORY_OWNED, 5);
    cr_assert_not(directory_holds(directory, 61, 0), "an owner is named, not its group");
}

Test(directory, an_eviction_in_a_group_keeps_the_bit)
{
    attach_many(57);
    passes(0, DIRECTORY_READ_SHARE, 1);
    passes(0, DIRECTORY_READ_SHARE, 57);
    directory_evicted(directory, 1, 0);
    cr_assert(directory_holds(directory, 57, 0));
    directory_detach(directory, 1);
    cr_assert(directory_holds(directory, 57, 0));
    directory_evicted(directory, 57, 0);
    cr_assert_not(directory_holds(directory, 57, 0));
}

static uint64_t seen_page;
static uint16_t seen_id[8];
static unsigned seen;

static void see(void *context, uint64_t page, uint16_t id, enum bi_snp kind)
{
    cr_assert_eq(context, &seen);
    cr_assert_eq(kind, BI_SNP_INV);
    seen_page = page;
    seen_id[seen++] = id;
}

Test(directory, open_snoops_are_listed_oldest_first)
{
    struct directory_waiter w[4];

    attach_many(1);
    for (unsigned i = 0; i < 4; i++) {
        passes(i, DIRECTORY_READ_OWN, 1);
        waits(i, DIRECTORY_STORE, 0, &w[i]);
    }
    answers(1, 1, BI_SNP_INV, BI_STATE_INVALID);
    cr_assert_eq(directory_each_snoop(directory, 1, 2, see, &seen), 3);
    cr_assert_eq(seen, 2);
    cr_assert_eq(seen_page, 2);
    cr_assert_eq((uint16_t)(seen_id[1] - seen_id[0]), 2);
    cr_assert_eq(directory_each_snoop(directory, 1, 0, see, &seen), 3);
    cr_assert_eq(directory_each_snoop(directory, 2, 8, see, &seen), 0);
    goes_on(&w[1]);
    directory_detach(directory, 1);
    goes_on(&w[0]);
    goes_on(&w[2]);
    goes_on(&w[3]);
}

/* More pages are asked for than an agent may have open; `odd` has the window's start unanswered. */
static void fill_window(struct directory_waiter *waiters, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        passes(i, DIRECTORY_READ_OWN, 1);
        memset(&waiters[i], 0, sizeof(waiters[i]));
        cr_assert_eq(directory_access(directory, i, DIRECTORY_STORE, 0, &waiters[i]), -EINPROGRESS);
    }
    cr_assert(directory_valid(directory));
}

#define CROWD (SNOOPS_MAX + 40)

static struct directory_waiter crowd[CROWD];

Test(directory_window, a_full_window_makes_others_wait)
{
    open_pages(CROWD);
    attach_many(2);
    fill_window(crowd, CROWD);
    cr_assert_eq(sent_count, SNOOPS_MAX);
    /* Any but the oldest: a number is free, but the window does not move. */
    answers(1, 1, BI_SNP_INV, BI_STATE_INVALID);
    cr_assert_eq(sent_count, SNOOPS_MAX - 1);
    goes_on(&crowd[1]);
    answers(1, 0, BI_SNP_INV, BI_STATE_INVALID);
    cr_assert_eq(sent_count, SNOOPS_MAX, "two more were sent");
    goes_on(&crowd[0]);
    for (unsigned i = 2; i < CROWD; i++) {
        answers(1, i, BI_SNP_INV, BI_STATE_INVALID);
        goes_on(&crowd[i]);
    }
    cr_assert_eq(sent_count, 0);
    end();
}

Test(directory_window, the_end_of_an_agent_frees_who_waits_for_its_window)
{
    open_pages(CROWD);
    attach_many(2);
    passes(CROWD - 1, DIRECTORY_READ_SHARE, 1);
    passes(CROWD - 1, DIRECTORY_READ_SHARE, 2);
    fill_window(crowd, CROWD - 1);
    waits(CROWD - 1, DIRECTORY_STORE, 0, &crowd[CROWD - 1]);
    sent_count = 0;
    for (unsigned i = 3; i < 30; i++) {
        directory_cancel(directory, &crowd[i]);              /* sent */
        directory_cancel(directory, &crowd[SNOOPS_MAX + i]); /* not sent */
    }
    directory_cancel(directory, &crowd[50]);
    for (unsigned i = 60; i < SNOOPS_MAX + 3; i++)
        directory_cancel(directory, &crowd[i]);
    cr_assert(directory_valid(directory));
    directory_detach(directory, 1);
    cr_assert(directory_valid(directory));
    cr_assert_not(crowd[CROWD - 1].ready);
    answers(2, CROWD - 1, BI_SNP_INV, BI_STATE_INVALID);
    cr_assert(crowd[CROWD - 1].ready);
    while (ready_count)
        goes_on(ready[0]);
    cr_assert_eq(directory_cached_pages(directory), 0);
    end();
}

Test(directory_window, numbers_of_snoops_wrap)
{
    struct directory_waiter waiter;

    open_pages(4);
    attach_many(1);
    for (unsigned i = 0; i < 70000; i++) {
        struct open_snoop snoop;

        memset(&waiter, 0, sizeof(waiter));
        cr_assert_eq(directory_access(directory, 0, DIRECTORY_READ_OWN, 1, &waiter), 0);
        cr_assert_eq(directory_access(directory, 0, DIRECTORY_STORE, 0, &waiter), -EINPROGRESS);
        snoop = sent[--sent_count];
        cr_assert_eq(snoop.id, (uint16_t)(i + 1));
        cr_assert_eq(directory_answer(directory, 1, 0, snoop.id, BI_STATE_INVALID), 0);
        ready_count = 0;
        directory_done(directory, &waiter);
    }
    end();
}

/* Memory. */

#define MANY 1000000

Test(directory_memory, bytes_a_page)
{
    struct directory_waiter waiter = {0};
    uint64_t empty, full;

    open_pages(MANY);
    attach_many(2);
    empty = directory_bytes(directory);
    cr_assert_leq(empty, MANY + 65536, "%llu bytes for %u pages", (unsigned long long)empty, MANY);
    for (unsigned page = 0; page < MANY; page++)
        cr_assert_eq(directory_access(directory, page, page % 2 ? DIRECTORY_READ_OWN : DIRECTORY_READ_SHARE,
                                      1 + page % 2, &waiter),
                     0);
    full = directory_bytes(directory);
    fprintf(stderr, "a page: %.2f bytes, cached %.2f more\n", (double)empty / MANY,
            (double)(full - empty) / MANY);
    cr_assert_leq(full - empty, 12ull * MANY);
    cr_assert_eq(directory_cached_pages(directory), MANY);
    end();
}

static uint64_t resident_bytes(void)
{
    unsigned long total, resident;
    FILE *file = fopen("/proc/self/statm", "r");

    cr_assert(file && fscanf(file, "%lu %lu", &total, &resident) == 2);
    fclose(file);
    return resident * PAGE_BYTES;
}

Test(directory_memory, what_the_kernel_says)
{
    struct directory_waiter waiter = {0};
    uint64_t before, cached, after;

    open_pages(MANY);
    attach_many(1);
    before = resident_bytes();
    for (unsigned page = 0; page < MANY; page++)
        cr_assert_eq(directory_access(directory, page, DIRECTORY_READ_OWN, 1, &waiter), 0);
    cached = resident_bytes() - before;
    for (unsigned page = 0; page < MANY; page++)
        directory_evicted(directory, 1, page);
    after = resident_bytes() - before;
    fprintf(stderr, "%.2f bytes a cached page, %.2f when it is home again\n", (double)cached / MANY,
            (double)after / MANY);
#ifndef __SANITIZE_ADDRESS__
    cr_assert_leq(cached, 14ull * MANY);
    cr_assert_leq(after, 2ull * MANY);
#endif
    cr_assert_eq(directory_cached_pages(directory), 0);
    end();
}

Test(directory_memory, accesses_sweep_what_an_agent_left)
{
    struct directory_waiter waiter = {0};
    unsigned accesses = 0;

    open_pages(MANY / 10);
    attach_many(2);
    for (unsigned page = 0; page < MANY / 10; page++)
        cr_assert_eq(directory_access(directory, page, DIRECTORY_READ_SHARE, 1, &waiter), 0);
    passes(77, DIRECTORY_READ_SHARE, 2);
    directory_detach(directory, 1);
    cr_assert_eq(directory_cached_pages(directory), MANY / 10);
    while (directory_cached_pages(directory) > 1 && accesses++ < MANY)
        passes(5, DIRECTORY_LOAD, 0);
    fprintf(stderr, "swept by %u accesses\n", accesses);
    cr_assert_lt(accesses, MANY / 10 / 4);
    cr_assert(directory_holds(directory, 2, 77));
    directory_detach(directory, 2);
    cr_assert_eq(directory_cached_pages(directory), 0, "the last agent takes everything along");
    end();
}

/* Without memory for an entry the access has not happened, and can be repeated. */
Test(directory_memory, no_memory_for_entries)
{
    struct rlimit limit = {1 << 20, RLIM_INFINITY};
    struct directory_waiter waiter = {0};
    uint64_t page = 0;
    int result;

#ifdef __SANITIZE_ADDRESS__
    cr_skip("the sanitizer has no room under a limit");
#endif
    open_pages(MANY);
    attach_many(2);
    cr_assert_eq(setrlimit(RLIMIT_DATA, &limit), 0);
    do
        result = directory_access(directory, page++, DIRECTORY_READ_OWN, 1, &waiter);
    while (result == 0 && page < MANY);
    limit.rlim_cur = RLIM_INFINITY;
    cr_assert_eq(setrlimit(RLIMIT_DATA, &limit), 0);
    cr_assert_eq(result, -ENOMEM);
    cr_assert_not(waiter.queued);
    is(page - 1, DIRECTORY_HOME, 0);
    cr_assert(directory_valid(directory));
    passes(page - 1, DIRECTORY_READ_OWN, 1);
    end();
}
