/* test_directory_random.c - random runs of the directory, held against what the agents really have
 *
 * The agents here obey snoops, drop copies silently now and then, come and go; requests are cancelled,
 * answers repeated and made up. After each step: whoever has a copy is in the directory, a writer is alone,
 * who waits goes on in order, and directory_valid.
 */
#include "directory.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PAGES   9
#define ACTORS  130
#define WAITERS 40
#define SNOOPS  (PAGES * ACTORS)

enum truth { HAS_NOTHING, HAS_COPY, HAS_OWN };

struct snoop {
    uint64_t page;
    uint16_t agent, id;
    enum bi_snp kind;
};

struct request {
    struct directory_waiter waiter;
    uint64_t order;    /* when it began to wait; 0: free */
    unsigned attached; /* of its agent, at that time */
};

static struct directory *directory;
static enum truth truth[PAGES][ACTORS + 1];
static unsigned attached[ACTORS + 1], attach_count; /* 0: no such agent */
static struct snoop snoops[SNOOPS];
static unsigned snoop_count;
static struct request requests[WAITERS];
static uint64_t order, newest_ready[PAGES];
static uint64_t passed, waited, cancelled, needless;
static bool drops; /* copies are dropped silently, or snoops must find one */
static unsigned agents_wanted;

static void on_snoop(void *context, uint16_t agent, uint64_t page, uint16_t id, enum bi_snp kind)
{
    (void)context;
    cr_assert(attached[agent], "agent %u is snooped and does not exist", agent);
    cr_assert_lt(snoop_count, SNOOPS);
    for (unsigned i = 0; i < snoop_count; i++)
        cr_assert(snoops[i].agent != agent || snoops[i].page != page, "two at once");
    needless += truth[page][agent] == HAS_NOTHING;
    if (!drops && agents_wanted <= VECTOR_BITS)
        cr_assert_neq(truth[page][agent], HAS_NOTHING, "snooped for nothing");
    snoops[snoop_count++] = (struct snoop){page, agent, id, kind};
}

static void on_ready(void *context, struct directory_waiter *waiter)
{
    const struct request *request = (const struct request *)waiter;

    (void)context;
    cr_assert_gt(request->order, newest_ready[waiter->page], "overtaken");
    newest_ready[waiter->page] = request->order;
    for (unsigned i = 0; i < WAITERS; i++)
        cr_assert(!requests[i].order || requests[i].waiter.page != waiter->page || requests[i].waiter.ready ||
                      requests[i].order >= request->order,
                  "somebody who came before still waits");
}

static bool chance(unsigned of)
{
    return random() % of == 0;
}

static uint16_t some_agent(void)
{
    uint16_t agent;

    do
        agent = (uint16_t)(1 + (unsigned)random() % agents_wanted);
    while (!attached[agent]);
    return agent;
}

/* The access happens: what does it meet? */
static void perform(uint64_t page, enum directory_access access, uint16_t agent)
{
    bool grants = access == DIRECTORY_READ_SHARE || access == DIRECTORY_READ_OWN;
    bool reads = access == DIRECTORY_LOAD || access == DIRECTORY_READ_SHARE;

    for (uint16_t n = 1; n <= ACTORS; n++) {
        if (grants && n == agent)
            continue;
        cr_assert_neq(truth[page][n], HAS_OWN, "%u still owns page %u", n, (unsigned)page);
        cr_assert(reads || truth[page][n] == HAS_NOTHING, "%u still has page %u", n, (unsigned)page);
    }
    if (access == DIRECTORY_READ_OWN)
        truth[page][agent] = HAS_OWN;
    else if (access == DIRECTORY_READ_SHARE && truth[page][agent] == HAS_NOTHING)
        truth[page][agent] = HAS_COPY;
    passed++;
}

static void begin_access(void)
{
    struct request *request = requests;
    enum directory_access access = (enum directory_access)(random() % 4);
    uint64_t page = (uint64_t)random() % PAGES;
    uint16_t agent = some_agent();
    int result;

    while (request < requests + WAITERS && request->order)
        request++;
    if (request == requests + WAITERS)
        return;
    memset(request, 0, sizeof(*request));
    request->attached = attached[agent];
    request->order = ++order;
    result = directory_access(directory, page, access, agent, &request->waiter);
    if (result == 0) {
        request->order = 0;
        perform(page, access, agent);
        return;
    }
    cr_assert_eq(result, -EINPROGRESS);
    waited++;
}

static void end_access(struct request *request)
{
    struct directory_waiter *waiter = &request->waiter;

    if (!request->order || !waiter->ready)
        return;
    request->order = 0;
    if (request->attached != attached[waiter->agent]) { /* its agent is no more */
        directory_cancel(directory, waiter);
        return;
    }
    cr_assert_eq(directory_access(directory, waiter->page, waiter->access, waiter->agent, waiter), 0);
    perform(waiter->page, waiter->access, waiter->agent);
    directory_done(directory, waiter);
}

static void cancel(struct request *request)
{
    if (!request->order)
        return;
    request->order = 0;
    directory_cancel(directory, &request->waiter);
    cancelled++;
}

static void answer(unsigned i)
{
    struct snoop snoop = snoops[i];
    enum truth *has = &truth[snoop.page][snoop.agent];
    enum bi_state state = BI_STATE_INVALID;

    if (snoop.kind == BI_SNP_DATA && *has != HAS_NOTHING && (!drops || !chance(4))) {
        state = BI_STATE_SHARED;
        *has = HAS_COPY;
    } else {
        *has = HAS_NOTHING;
    }
    snoops[i] = snoops[--snoop_count];
    cr_assert_eq(directory_answer(directory, snoop.agent, snoop.page, snoop.id, state), 0);
    cr_assert_eq(directory_answer(directory, snoop.agent, snoop.page, snoop.id, state), -ENOENT);
}

static bool is_snooped(uint16_t agent, uint64_t page)
{
    for (unsigned i = 0; i < snoop_count; i++)
        if (snoops[i].agent == agent && snoops[i].page == page)
            return true;
    return false;
}

static void evict(void)
{
    uint16_t agent = some_agent();
    uint64_t page = (uint64_t)random() % PAGES;
    bool told = !drops || chance(2);

    if (!drops && is_snooped(agent, page))
        return;
    truth[page][agent] = HAS_NOTHING;
    if (told)
        directory_evicted(directory, agent, page);
    if (!drops && directory_holds(directory, agent, page))
        drops = true; /* ignored, or the bit stands for others: from now on a snoop may find nothing */
}

static void attach(void)
{
    uint16_t agent;

    cr_assert_eq(directory_attach(directory, &agent), 0);
    cr_assert_not(attached[agent]);
    attached[agent] = ++attach_count;
}

static void detach(void)
{
    uint16_t agent = some_agent();

    attached[agent] = 0;
    for (unsigned page = 0; page < PAGES; page++)
        truth[page][agent] = HAS_NOTHING;
    for (unsigned i = snoop_count; i-- > 0;)
        if (snoops[i].agent == agent)
            snoops[i] = snoops[--snoop_count];
    directory_detach(directory, agent);
    drops = true; /* a bit may be left for who gets its number */
    attach();
}

static void check(void)
{
    cr_assert(directory_valid(directory));
    for (unsigned page = 0; page < PAGES; page++)
        for (uint16_t n = 1; n <= ACTORS; n++) {
            cr_assert(truth[page][n] == HAS_NOTHING || directory_holds(directory, n, page), "D2");
            cr_assert(truth[page][n] != HAS_OWN || directory_owns(directory, n, page), "D1");
        }
}

static void step(void)
{
    unsigned which = (unsigned)random() % 100;

    if (which < 40)
        begin_access();
    else if (which < 75 && snoop_count)
        answer((unsigned)random() % snoop_count);
    else if (which < 93)
        end_access(&requests[random() % WAITERS]);
    else if (which < 95)
        cancel(&requests[random() % WAITERS]);
    else if (which < 98)
        evict();
    else if (chance(8))
        detach();
}

/* All answer, and nobody waits any more. */
static void finish(void)
{
    bool more = true;

    while (more) {
        more = false;
        while (snoop_count)
            answer(snoop_count - 1);
        for (unsigned i = 0; i < WAITERS; i++)
            if (requests[i].order && requests[i].waiter.ready) {
                end_access(&requests[i]);
                more = true;
            }
        more = more || snoop_count;
    }
    for (unsigned i = 0; i < WAITERS; i++)
        cr_assert_eq(requests[i].order, 0, "it waits for ever");
}

static void run(unsigned agents, unsigned steps)
{
    static const struct directory_ops ops = {on_snoop, on_ready};
    unsigned seed =
        getenv("CXE_TEST_SEED") ? (unsigned)strtoul(getenv("CXE_TEST_SEED"), NULL, 10) : (unsigned)time(NULL);

    fprintf(stderr, "seed %u\n", seed);
    srandom(seed);
    agents_wanted = agents;
    cr_assert_eq(directory_open(PAGES, &ops, NULL, &directory), 0);
    for (unsigned i = 0; i < agents; i++)
        attach();
    while (steps-- > 0) {
        step();
        check();
    }
    finish();
    check();
    fprintf(stderr, "%u agents: %llu passed, %llu waited, %llu cancelled, %llu snooped for nothing\n", agents,
            (unsigned long long)passed, (unsigned long long)waited, (unsigned long long)cancelled,
            (unsigned long long)needless);
    cr_assert(passed > 1000 && waited > 300 && cancelled > 10, "little has happened");
    directory_close(directory);
}

Test(directory_random, two_agents)
{
    run(2, 20000);
}

Test(directory_random, six_agents)
{
    run(6, 20000);
}

Test(directory_random, agents_that_share_bits)
{
    run(ACTORS, 20000);
}
