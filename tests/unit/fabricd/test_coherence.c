/* test_coherence.c - agents, leases and news of a region's coherence; and workers that fight over its pages
 */
#include "coherence.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "atomic.h"
#include "check.h"
#include "clock.h"
#include "codec.h"
#include "coherence_internal.h"
#include "memory_fixture.h"
#include "quiesce.h"
#include "region_coherent.h"

#define LEASE_NS NS_PER_S /* the fixture's */

static struct memory memory;
static uint64_t handle;
static struct coherence *coherence;

static void open_region(uint64_t pages, unsigned workers)
{
    struct region_spec spec = memory_spec("r", pages * PAGE_BYTES, REGION_SHARED);
    struct region_info info;

    memory_open(&memory, 4 * pages, workers);
    cr_assert_eq(regions_create(memory.regions, 0, 1, &spec, &info), 0);
    handle = info.handle;
    cr_assert_eq(region_make_coherent(&memory.caller, handle), 0);
    cr_assert_eq(region_find_coherence(&memory.caller, handle, &coherence), 0);
}

static void setup(void)
{
    open_region(200, 2);
    coherence_lock(coherence);
}

static void teardown(void)
{
    coherence_unlock(coherence);
    memory_close(&memory);
}

TestSuite(coherence, .init = setup, .fini = teardown, .timeout = 60);

/* A new agent of that worker, and its binding, which comes by mail. */
static struct coherence_binding *attach(unsigned worker, uint32_t session, uint64_t now_ns,
                                        uint32_t *agent_out)
{
    struct mail *chain;

    cr_assert_eq(coherence_attach(coherence, worker, session, now_ns, agent_out), 0);
    chain = mailbox_take(memory.mailboxes, worker);
    return (struct coherence_binding *)mailbox_next(&chain);
}

static struct coherence_news attend(struct coherence_binding *binding, uint64_t heard_ns, uint64_t now_ns)
{
    struct coherence_news news;

    coherence_attend(coherence, binding, heard_ns, now_ns, false, &news);
    return news;
}

static bool has_mail(unsigned worker, const void *mail)
{
    struct mail *chain = mailbox_take(memory.mailboxes, worker);

    return mailbox_next(&chain) == mail;
}

/* The agent detaches, and its binding is told. */
static void leave(struct coherence_binding *binding)
{
    cr_assert_eq(coherence_detach(coherence, binding->agent), 0);
    cr_assert(has_mail(binding->worker, binding));
    free(binding);
}

Test(coherence, an_agents_number_is_not_used_again_soon)
{
    uint32_t names[100];

    for (unsigned i = 0; i < 100; i++) {
        struct coherence_binding *binding = attach(0, 7, 1, &names[i]);

        for (unsigned before = 0; before < i; before++)
            cr_assert_neq(names[before], names[i]);
        cr_assert_eq(coherence_detach(coherence, names[i]), 0);
        cr_assert_eq(coherence_detach(coherence, names[i]), -EOWNERDEAD);
        cr_assert(has_mail(0, binding));
        cr_assert_eq(attend(binding, 1, 1).fate, COHERENCE_ELSEWHERE, "who left need not be told");
        free(binding);
    }
}

/* In many regions, since one has fewer. */
Test(coherence, a_tenant_has_only_so_many_agents)
{
    struct coherence_options options = {
        .mailboxes = memory.mailboxes, .tenant = 1, .region = 1, .pages = 1, .lease_ns = LEASE_NS};
    struct coherence *regions[TENANT_AGENTS_MAX / AGENTS_MAX + 1];
    uint32_t agents = 0, name, first = 0;
    unsigned count = sizeof(regions) / sizeof(regions[0]);
    struct mail *chain, *mail;

    options.tenant_agents = &agents;
    for (unsigned i = 0; i < count; i++)
        cr_assert_eq(coherence_open(&options, &regions[i]), 0);
    for (unsigned i = 0; i < TENANT_AGENTS_MAX; i++) {
        cr_assert_eq(coherence_attach(regions[i / AGENTS_MAX], 0, 7, 1, &name), 0);
        first = i == 0 ? name : first;
    }
    cr_expect_eq(coherence_attach(regions[count - 1], 0, 7, 1, &name), -EBUSY);
    cr_expect_eq(coherence_attach(regions[0], 0, 7, 1, &name), -EBUSY);
    cr_expect_eq(coherence_detach(regions[0], first), 0);
    cr_expect_eq(coherence_attach(regions[count - 1], 0, 7, 1, &name), 0);
    for (unsigned i = 0; i < count; i++)
        coherence_end(regions[i]);
    cr_expect_eq(agents, 0);
    chain = mailbox_take(memory.mailboxes, 0);
    while ((mail = mailbox_next(&chain)))
        free(mail);
    for (unsigned i = 0; i < count; i++)
        coherence_close(regions[i]);
}

Test(coherence, a_lease_runs_from_the_last_word)
{
    uint32_t agent;
    struct coherence_binding *binding = attach(0, 7, 100, &agent);
    struct coherence_news news = attend(binding, 0, 100 + LEASE_NS - 1);

    cr_expect_eq(news.fate, COHERENCE_LIVES);
    cr_expect_eq(news.expires_ns, 100 + LEASE_NS);
    news = attend(binding, 500, 100 + LEASE_NS);
    cr_expect_eq(news.fate, COHERENCE_LIVES);
    cr_expect_eq(news.expires_ns, 500 + LEASE_NS);
    cr_expect_eq(coherence_renew(coherence, agent, 0, 7, 900), 0);
    cr_expect_eq(attend(binding, 500, 500 + LEASE_NS).expires_ns, 900 + LEASE_NS);
    news = attend(binding, 500, 900 + LEASE_NS);
    cr_expect_eq(news.fate, COHERENCE_GONE);
    cr_expect(news.fenced);
    cr_expect_eq(coherence_renew(coherence, agent, 0, 7, 901), -EOWNERDEAD);
    cr_expect_not(attend(binding, 0, 0).fenced, "only once");
    free(binding);
}

Test(coherence, a_server_that_was_stopped_blames_nobody)
{
    uint32_t agent;
    struct coherence_binding *binding = attach(0, 7, 100, &agent);

    coherence_extend(coherence, binding, 300, 400);
    cr_expect_eq(attend(binding, 0, 400).expires_ns, 400 + LEASE_NS);
    coherence_extend(coherence, binding, 5 * LEASE_NS, 500);
    cr_expect_eq(attend(binding, 0, 500).expires_ns, 500 + LEASE_NS, "a whole lease from now at most");
    leave(binding);
}

Test(coherence, an_agent_listens_in_one_place)
{
    uint32_t agent;
    struct coherence_binding *old = attach(0, 7, 100, &agent), *new;
    struct mail *chain;

    cr_assert_eq(coherence_renew(coherence, agent, 1, 8, 200), 0);
    chain = mailbox_take(memory.mailboxes, 1);
    new = (struct coherence_binding *)mailbox_next(&chain);
    cr_expect_eq(new->session, 8);
    cr_expect_eq(new->agent, agent);
    cr_expect(has_mail(0, old), "it is to forget");
    cr_expect_eq(attend(old, 1000, 1000).fate, COHERENCE_ELSEWHERE);
    cr_expect_eq(attend(new, 0, 300).expires_ns, 200 + LEASE_NS, "what the old one heard does not count");
    leave(new);
    free(old);
}

/* More new snoops than one message holds: all are sent some time, the oldest first. */
Test(coherence, many_snoops_come_in_several_messages)
{
    static struct coherence_waiter waiters[150];
    uint32_t agent;
    uint16_t number;
    struct coherence_binding *binding = attach(0, 7, 100, &agent);
    struct coherence_news news;
    unsigned sent = 0;

    cr_assert_eq(coherence_find_agent(coherence, agent, &number), 0);
    for (uint64_t page = 0; page < 150; page++) {
        waiters[page].worker = 1;
        cr_assert_eq(coherence_access(coherence, page, DIRECTORY_READ_OWN, number, &waiters[page]), 0);
        cr_assert_eq(coherence_access(coherence, page, DIRECTORY_STORE, 0, &waiters[page]), -EINPROGRESS);
        cr_assert_eq(coherence_access(coherence, page, DIRECTORY_STORE, 0, &waiters[page]), -EINPROGRESS,
                     "asking twice changes nothing");
    }
    cr_expect(has_mail(0, binding));
    for (news = attend(binding, 100, 100); news.count > 0;) {
        cr_assert_leq(news.count, COHERENCE_NEWS_SNOOPS);
        cr_assert(news.waiting);
        for (unsigned i = 0; i < news.count; i++) {
            cr_assert_eq(le64_get(news.snoops[i].offset), (sent + i) * PAGE_BYTES,
                         "snoop %u of %u: page %llu", i, sent,
                         (unsigned long long)le64_get(news.snoops[i].offset) / PAGE_BYTES);
            cr_assert_eq(
                coherence_answer(coherence, number, sent + i, le16_get(news.snoops[i].id), BI_STATE_INVALID),
                0);
        }
        sent += news.count;
        coherence_attend(coherence, binding, 100, 100, true, &news);
    }
    cr_expect_eq(sent, 150);
    cr_expect_not(news.waiting);
    for (uint64_t page = 0; page < 150; page++) {
        cr_assert_eq(coherence_access(coherence, page, DIRECTORY_STORE, 0, &waiters[page]), 0);
        coherence_done(coherence, &waiters[page]);
    }
    mailbox_take(memory.mailboxes, 1);
    leave(binding);
}

/* What is repeated takes the room that new ones leave, and not theirs. */
Test(coherence, a_new_snoop_is_sent_however_many_are_repeated)
{
    static struct coherence_waiter waiters[100];
    uint32_t agent;
    uint16_t number;
    struct coherence_binding *binding = attach(0, 7, 100, &agent);
    struct coherence_news news;

    cr_assert_eq(coherence_find_agent(coherence, agent, &number), 0);
    for (uint64_t page = 0; page < 100; page++) {
        waiters[page].worker = 1;
        cr_assert_eq(coherence_access(coherence, page, DIRECTORY_READ_OWN, number, &waiters[page]), 0);
        cr_assert_eq(coherence_access(coherence, page, DIRECTORY_STORE, 0, &waiters[page]), -EINPROGRESS);
        coherence_attend(coherence, binding, 100, 100, true, &news);
        cr_assert_eq(news.fresh, 1);
        cr_assert_eq(le64_get(news.snoops[0].offset), page * PAGE_BYTES);
        cr_assert_eq(news.count, page < COHERENCE_NEWS_SNOOPS ? page + 1 : COHERENCE_NEWS_SNOOPS);
    }
    cr_assert_eq(coherence_renew(coherence, agent, 0, 8, 200), 0);
    for (unsigned sent = 0; sent < 100; sent += news.count) { /* all of them to who listens now */
        news = attend(binding, 200, 200);
        cr_assert_gt(news.count, 0);
        cr_assert_eq(le64_get(news.snoops[0].offset), sent * PAGE_BYTES);
    }
    cr_expect_eq(attend(binding, 200, 200).count, 0);
    coherence_unlock(coherence);
    for (unsigned i = 0; i < 100; i++)
        coherence_leave(&waiters[i]);
    coherence_lock(coherence);
    leave(binding);
}

Test(coherence, a_store_calls_those_who_wait_for_its_lines)
{
    struct coherence_waiter waiters[4 * LINE_BUCKETS] = {0};
    const unsigned count = sizeof(waiters) / sizeof(waiters[0]);
    struct mail *chain;

    for (unsigned i = 0; i < count; i++)
        coherence_wait_line(coherence, 3 * i, &waiters[i]); /* many of them in one bucket */
    coherence_stored(coherence, 1, 2);
    cr_expect_null(mailbox_take(memory.mailboxes, 0));
    coherence_stored(coherence, 1, 3);
    chain = mailbox_take(memory.mailboxes, 0);
    cr_expect_eq(mailbox_next(&chain), &waiters[1].mail);
    cr_expect_null(mailbox_next(&chain));
    for (unsigned i = 0; i < count; i++)
        coherence_look_again(coherence, &waiters[i]);
    cr_expect(coherence_idle(coherence));
}

/* How many a store to the line looks at. */
static unsigned looked_at(uint64_t line)
{
    unsigned count = 0;

    for (const struct coherence_waiter *at = coherence->lines[line_bucket(line)]; at; at = at->line_next)
        count++;
    return count;
}

static unsigned count_mail(unsigned worker)
{
    struct mail *chain = mailbox_take(memory.mailboxes, worker);
    unsigned count = 0;

    while (mailbox_next(&chain))
        count++;
    return count;
}

/* With thousands of them on one line, only the first store after they came has to look at them. */
Test(coherence, who_was_called_is_not_looked_at_again)
{
    static struct coherence_waiter waiters[1000];

    for (unsigned i = 0; i < 1000; i++)
        coherence_wait_line(coherence, 7, &waiters[i]);
    cr_expect_eq(looked_at(7), 1000);
    coherence_stored(coherence, 7, 1);
    cr_expect_eq(looked_at(7), 0);
    cr_expect_eq(count_mail(0), 1000);
    coherence_stored(coherence, 7, 1);
    cr_expect_eq(count_mail(0), 0, "they look in any case, and see it then");
    for (unsigned i = 0; i < 1000; i++)
        coherence_look_again(coherence, &waiters[i]);
    coherence_wait_line(coherence, 7, &waiters[0]);
    coherence_stored(coherence, 7, 1);
    cr_expect_eq(count_mail(0), 1, "who waits again is called again");
    coherence_look_again(coherence, &waiters[0]);
    cr_expect(coherence_idle(coherence));
}

/* Who is to look a moment later looks at once when the line is stored to. */
Test(coherence, a_store_calls_who_was_told_to_look_later)
{
    struct coherence_waiter waiter = {0};

    coherence_wait_line(coherence, 7, &waiter);
    coherence_page_left(coherence, 0);
    cr_expect_eq(count_mail(0), 1);
    cr_expect(waiter.look_soon);
    cr_expect_eq(looked_at(7), 1);
    coherence_stored(coherence, 7, 1);
    cr_expect_eq(count_mail(0), 1);
    cr_expect_not(waiter.look_soon);
    coherence_look_again(coherence, &waiter);
    cr_expect(coherence_idle(coherence));
}

/* Locks, say, at the start of a page each. */
Test(coherence, lines_at_one_place_of_many_pages_are_kept_apart)
{
    static struct coherence_waiter waiters[200];
    unsigned most = 0;

    for (unsigned i = 0; i < 200; i++)
        coherence_wait_line(coherence, i * (uint64_t)PAGE_LINES, &waiters[i]);
    for (unsigned i = 0; i < 200; i++)
        most = looked_at(i * (uint64_t)PAGE_LINES) > most ? looked_at(i * (uint64_t)PAGE_LINES) : most;
    cr_expect_lt(most, 20, "a store looks at %u of 200", most);
    for (unsigned i = 0; i < 200; i++)
        coherence_look_again(coherence, &waiters[i]);
    cr_expect(coherence_idle(coherence));
}

/* Who finds a deleted region gone frees its agents' bindings, so their end must have been posted by then. */
static void *delete_region(void *nothing)
{
    regions_delete(memory.regions, QUIESCE_NO_WORKER, 1, handle);
    return nothing;
}

Test(coherence, a_region_is_gone_only_when_its_agents_are_told)
{
    uint32_t agent;
    struct coherence_binding *binding = attach(1, 7, 100, &agent);
    struct coherence *found;
    pthread_t thread;

    cr_assert_eq(pthread_create(&thread, NULL, delete_region, NULL), 0);
    for (uint64_t start_ns = clock_now_ns(); clock_now_ns() < start_ns + 100 * NS_PER_MS;)
        cr_assert_eq(region_find_coherence(&memory.caller, handle, &found), 0, "we have the lock");
    coherence_unlock(coherence);
    pthread_join(thread, NULL);
    cr_expect_eq(region_find_coherence(&memory.caller, handle, &found), -ESTALE);
    cr_expect(has_mail(1, binding));
    free(binding);
    coherence_lock(coherence);
}

/* ---- workers that fight ---- */

#define FIGHTERS 3
#define PAGES    2
#define ROUNDS   1500

enum copy_state { COPY_NONE, COPY_SHARED, COPY_OWNED };

/* A worker with one client, which is a cache agent and uses line operations too. Everybody counts up the
 * words at the start of the pages, in every way there is; in the end no step may be missing. */
struct fighter {
    unsigned worker;
    uint64_t random;
    struct coherence_waiter waiter;
    uint32_t agent;
    enum copy_state states[PAGES];
    uint64_t copies[PAGES]; /* of the word */
    bool fetching[PAGES], snooped[PAGES];
    uint16_t snooped_last; /* the newest snoop that found a page being fetched */
    struct grant grant;    /* of the newest request */
    bool called;           /* its waiter came back */
    uint64_t steps[PAGES];
    uint8_t body[2048], values[PAGE_BYTES];
};

static struct fighter fighters[FIGHTERS];

static uint8_t *write_op(uint8_t *at, enum opcode opcode, uint32_t agent, uint64_t page)
{
    bool lines = op_infos[opcode].flags & OP_LINES, atomic = op_infos[opcode].flags & OP_ATOMIC;
    uint8_t *operand =
        codec_write_agent_op(at, opcode, atomic ? 3 : 0, lines ? 1 : 0, agent, handle, page * PAGE_BYTES);

    memset(operand, 0, op_infos[opcode].operand_bytes + op_infos[opcode].operand_line_bytes);
    return operand;
}

static size_t end_request(uint8_t *body, unsigned ops, const uint8_t *end)
{
    struct body_header header = {.kind = BODY_REQUEST, .op_count = le16_of((uint16_t)ops), .seq = le64_of(1)};

    memcpy(body, &header, sizeof(header));
    return (size_t)(end - body);
}

static int ask_to_own(struct coherence_waiter *waiter, uint32_t agent, struct execution *execution)
{
    struct requester requester = {.tenant = 1, .session = 1, .now_ns = clock_now_ns(), .waiter = waiter};
    uint8_t body[256], values[LINE_BYTES];
    size_t bytes = end_request(body, 1, write_op(body + BODY_HEADER_BYTES, OP_MEM_RD_ANY, agent, 0));

    return executor_run(memory.executor, &requester, body, bytes, values, execution);
}

/* The next in the queue has the page snooped as soon as it was given: that snoop comes after the grant, and
 * an answer that said otherwise would leave two owners. */
Test(coherence, what_is_snooped_for_the_next_in_the_queue_is_after_the_grant)
{
    struct coherence_waiter waiters[2] = {{.mail.kind = MAIL_WAITER}, {.mail.kind = MAIL_WAITER}},
                            nobody = {0};
    struct execution executions[2] = {0};
    struct coherence_binding *bindings[3];
    struct coherence_news news;
    uint32_t agents[3];
    uint16_t owner;

    for (unsigned i = 0; i < 3; i++)
        bindings[i] = attach(1, 7, clock_now_ns(), &agents[i]);
    cr_assert_eq(coherence_find_agent(coherence, agents[2], &owner), 0);
    cr_assert_eq(coherence_access(coherence, 0, DIRECTORY_READ_OWN, owner, &nobody), 0);
    coherence_unlock(coherence);
    for (unsigned i = 0; i < 2; i++)
        cr_assert_eq(ask_to_own(&waiters[i], agents[i], &executions[i]), -EINPROGRESS);
    coherence_lock(coherence);
    news = attend(bindings[2], clock_now_ns(), clock_now_ns());
    cr_assert_eq(news.count, 1);
    cr_assert_eq(coherence_answer(coherence, owner, 0, le16_get(news.snoops[0].id), BI_STATE_INVALID), 0);
    coherence_unlock(coherence);

    cr_assert_eq(ask_to_own(&waiters[0], agents[0], &executions[0]), 0);
    cr_assert_eq(executions[0].status, STATUS_OK);
    coherence_lock(coherence);
    news = attend(bindings[0], clock_now_ns(), clock_now_ns());
    cr_assert_eq(news.count, 1, "the next one wants it");
    cr_expect_eq(executions[0].grant.agent, agents[0]);
    cr_expect_leq((int16_t)(executions[0].grant.snoop_next - le16_get(news.snoops[0].id)), 0);

    coherence_unlock(coherence);
    coherence_leave(&waiters[1]);
    mailbox_take(memory.mailboxes, 0);
    coherence_lock(coherence);
    mailbox_take(memory.mailboxes, 1);
    for (unsigned i = 0; i < 3; i++) {
        bindings[i]->mail.posted = false;
        leave(bindings[i]);
    }
}

TestSuite(coherence_threads, .timeout = 150);

/* Waits for the first word of page 0 to change, as that worker. */
struct watcher {
    struct coherence_waiter waiter;
    unsigned worker;
    int result;
    bool over; /* atomic */
};

static void *watch(void *argument)
{
    struct watcher *watcher = argument;
    struct requester requester = {
        .worker = watcher->worker, .tenant = 1, .now_ns = clock_now_ns(), .waiter = &watcher->waiter};
    struct wire_wait wait = {.timeout_ns = le64_of(UINT64_MAX)};
    struct execution execution = {0};
    uint8_t body[256], values[16], *operand = write_op(body + BODY_HEADER_BYTES, OP_WAIT, 0, 0);

    memcpy(operand, &wait, sizeof(wait));
    watcher->result = executor_run(memory.executor, &requester, body,
                                   end_request(body, 1, operand + sizeof(wait)), values, &execution);
    store_release(&watcher->over, true);
    return NULL;
}

static bool goes_by_the_lock(void)
{
    uint8_t line[LINE_BYTES];

    return region_read(&memory.caller, (struct region_place){handle, 0}, 1, line) == -EREMOTE;
}

/* A store that began before the region was coherent calls nobody: so nobody may wait before it is over. */
Test(coherence_threads, nobody_waits_for_a_line_before_all_stores_call)
{
    struct watcher watchers[2] = {{.worker = 0}, {.worker = 2}};
    struct region_info info;
    struct region_spec spec = memory_spec("w", PAGE_BYTES, 0);
    pthread_t threads[2];

    memory_open(&memory, 4, 3);
    cr_assert_eq(regions_create(memory.regions, 0, 1, &spec, &info), 0);
    handle = info.handle;
    quiesce_online(memory.quiesce, 1); /* amid a store */
    quiesce_online(memory.quiesce, 2);
    for (unsigned i = 0; i < 2; i++) {
        watchers[i].waiter.worker = watchers[i].worker;
        cr_assert_eq(pthread_create(&threads[i], NULL, watch, &watchers[i]), 0);
        while (!goes_by_the_lock())
            sched_yield();
    }
    for (uint64_t start_ns = clock_now_ns(); clock_now_ns() < start_ns + 100 * NS_PER_MS;)
        for (unsigned i = 0; i < 2; i++)
            cr_assert_not(load_acquire(&watchers[i].over), "worker %u waits already", watchers[i].worker);
    quiesce_pass(memory.quiesce, 1);
    for (unsigned i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        cr_expect_eq(watchers[i].result, -EINPROGRESS);
        coherence_leave(&watchers[i].waiter);
    }
    quiesce_offline(memory.quiesce, 1);
    quiesce_offline(memory.quiesce, 2);
    memory_close(&memory);
}

static void take_mail(struct fighter *fighter);

/* Runs the request to its end; meanwhile snoops are answered. */
static uint8_t run(struct fighter *fighter, const uint8_t *body, size_t body_bytes, uint8_t *values,
                   bool may_wait)
{
    struct requester requester = {.worker = fighter->worker,
                                  .tenant = 1,
                                  .session = fighter->worker + 1,
                                  .now_ns = clock_now_ns(),
                                  .waiter = may_wait ? &fighter->waiter : NULL};
    struct execution execution = {0};

    if (may_wait) /* else this happens while another request waits */
        fighter->called = false;
    while (executor_run(memory.executor, &requester, body, body_bytes, values, &execution) == -EINPROGRESS) {
        CHECK(may_wait);
        while (!fighter->called) {
            quiesce_pass(memory.quiesce, fighter->worker);
            take_mail(fighter);
            sched_yield();
        }
        fighter->called = false;
    }
    fighter->grant = execution.grant;
    return execution.status;
}

/* As a client has to: changes first, then the answer, in one request. */
static void answer(struct fighter *fighter, const struct wire_bi_snp *snoop)
{
    uint64_t page = le64_get(snoop->offset) / PAGE_BYTES;
    bool keep = snoop->kind == BI_SNP_DATA && fighter->states[page] != COPY_NONE;
    struct wire_bi_rsp reply = {.id = snoop->id, .state = keep ? BI_STATE_SHARED : BI_STATE_INVALID};
    uint8_t body[512], *at = body + BODY_HEADER_BYTES;
    unsigned ops = 1;

    if (fighter->fetching[page]) {
        fighter->snooped[page] = true;
        fighter->snooped_last = le16_get(snoop->id);
        reply.state = BI_STATE_INVALID;
        fighter->states[page] = COPY_NONE;
    } else if (fighter->states[page] == COPY_OWNED) {
        at = memcpy(write_op(at, OP_MEM_WR, fighter->agent, page), &fighter->copies[page], sizeof(uint64_t));
        at += LINE_BYTES;
        ops++;
    }
    fighter->states[page] = keep ? COPY_SHARED : COPY_NONE;
    at = memcpy(write_op(at, OP_BI_RSP, fighter->agent, page), &reply, sizeof(reply));
    at += sizeof(reply);
    CHECK(run(fighter, body, end_request(body, ops, at), NULL, false) == STATUS_OK);
}

static void listen(struct fighter *fighter, struct coherence_binding *binding)
{
    struct coherence_news news;

    coherence_lock(coherence);
    coherence_attend(coherence, binding, clock_now_ns(), clock_now_ns(), false, &news);
    coherence_unlock(coherence);
    if (news.fate != COHERENCE_LIVES) {
        free(binding);
        return;
    }
    for (unsigned i = 0; i < news.count; i++)
        if (le32_get(news.snoops[i].agent) == fighter->agent)
            answer(fighter, &news.snoops[i]);
}

static void take_mail(struct fighter *fighter)
{
    struct mail *chain = mailbox_take(memory.mailboxes, fighter->worker), *mail;

    while ((mail = mailbox_next(&chain))) {
        if (mail->kind == MAIL_WAITER)
            fighter->called = true;
        else
            listen(fighter, (struct coherence_binding *)mail);
    }
}

static void attach_fighter(struct fighter *fighter)
{
    struct wire_agent_info info;
    uint8_t *end = write_op(fighter->body + BODY_HEADER_BYTES, OP_BI_ATTACH, 0, 0);

    CHECK(run(fighter, fighter->body, end_request(fighter->body, 1, end), fighter->values, true) ==
          STATUS_OK);
    memcpy(&info, fighter->values, sizeof(info));
    fighter->agent = le32_get(info.agent);
    for (unsigned page = 0; page < PAGES; page++)
        fighter->states[page] = COPY_NONE;
}

/* What it has changed goes home first. */
static void detach_fighter(struct fighter *fighter)
{
    uint8_t body[256], *operand;

    for (unsigned page = 0; page < PAGES; page++) {
        if (fighter->states[page] != COPY_OWNED)
            continue;
        operand = write_op(body + BODY_HEADER_BYTES, OP_MEM_WR, fighter->agent, page);
        memcpy(operand, &fighter->copies[page], sizeof(uint64_t));
        CHECK(run(fighter, body, end_request(body, 1, operand + LINE_BYTES), NULL, false) == STATUS_OK);
        fighter->states[page] = COPY_NONE;
    }
    operand = write_op(body + BODY_HEADER_BYTES, OP_BI_DETACH, fighter->agent, 0);
    CHECK(run(fighter, body, end_request(body, 1, operand), NULL, false) == STATUS_OK);
}

/* What comes is not to be used if it was snooped after it was given, and before it came. */
static void fetch(struct fighter *fighter, unsigned page, const uint8_t *end)
{
    fighter->fetching[page] = true;
    fighter->snooped[page] = false;
    CHECK(run(fighter, fighter->body, end_request(fighter->body, 1, end), fighter->values, true) ==
          STATUS_OK);
    fighter->fetching[page] = false;
    CHECK(fighter->grant.agent == fighter->agent);
    if ((int16_t)(fighter->grant.snoop_next - fighter->snooped_last) > 0)
        fighter->snooped[page] = false; /* before it was given */
}

/* Counts up in its own copy. */
static void step_in_copy(struct fighter *fighter, unsigned page)
{
    while (fighter->states[page] != COPY_OWNED) {
        uint8_t *end = write_op(fighter->body + BODY_HEADER_BYTES, OP_MEM_RD_ANY, fighter->agent, page);

        fighter->states[page] = COPY_NONE;
        fetch(fighter, page, end);
        if (fighter->snooped[page])
            continue;
        memcpy(&fighter->copies[page], fighter->values, sizeof(uint64_t));
        fighter->states[page] = COPY_OWNED;
    }
    fighter->copies[page]++;
    fighter->steps[page]++;
}

/* Counts up by a line operation; what it has itself is taken from it by a snoop like any other's. */
static void step_by_operation(struct fighter *fighter, unsigned page)
{
    uint8_t *operand = write_op(fighter->body + BODY_HEADER_BYTES, OP_FETCH_ADD, 0, page);

    *operand = 1;
    CHECK(run(fighter, fighter->body, end_request(fighter->body, 1, operand + 16), fighter->values, true) ==
          STATUS_OK);
    fighter->steps[page]++;
}

/* Takes a copy for reading, in which its own steps at least must be. */
static void look(struct fighter *fighter, unsigned page)
{
    uint64_t seen;
    uint8_t *end;

    if (fighter->states[page] != COPY_NONE)
        return;
    end = write_op(fighter->body + BODY_HEADER_BYTES, OP_MEM_RD_SHARED, fighter->agent, page);
    fetch(fighter, page, end);
    memcpy(&seen, fighter->values, sizeof(seen));
    CHECK(seen >= fighter->steps[page]);
    if (fighter->snooped[page])
        return;
    fighter->copies[page] = seen;
    fighter->states[page] = COPY_SHARED;
}

static unsigned fighting; /* atomic */

static void *fight(void *argument)
{
    struct fighter *fighter = argument;

    quiesce_online(memory.quiesce, fighter->worker);
    attach_fighter(fighter);
    for (unsigned i = 0; i < ROUNDS; i++) {
        unsigned page = (unsigned)(random_next(&fighter->random) % PAGES);

        quiesce_pass(memory.quiesce, fighter->worker);
        take_mail(fighter);
        switch (random_next(&fighter->random) % 8) {
        case 0:
        case 1:
        case 2:
            step_in_copy(fighter, page);
            break;
        case 3:
        case 4:
            step_by_operation(fighter, page);
            break;
        case 5:
        case 6:
            look(fighter, page);
            break;
        case 7:
            if (i % 16 == 0) {
                detach_fighter(fighter);
                attach_fighter(fighter);
            }
        }
    }
    detach_fighter(fighter);
    fetch_sub_acq_rel(&fighting, 1);
    while (load_acquire(&fighting) > 0) /* the others may still have mail for it */
        take_mail(fighter);
    take_mail(fighter);
    quiesce_offline(memory.quiesce, fighter->worker);
    return NULL;
}

Test(coherence_threads, no_step_is_lost_among_workers)
{
    uint64_t seed = random_seed("fight");
    pthread_t threads[FIGHTERS];

    open_region(PAGES, FIGHTERS);
    quiesce_offline(memory.quiesce, 0);
    fighting = FIGHTERS;
    for (unsigned i = 0; i < FIGHTERS; i++) {
        fighters[i].worker = fighters[i].waiter.worker = i;
        fighters[i].random = seed + i;
        cr_assert_eq(pthread_create(&threads[i], NULL, fight, &fighters[i]), 0);
    }
    for (unsigned i = 0; i < FIGHTERS; i++)
        pthread_join(threads[i], NULL);
    quiesce_online(memory.quiesce, 0);
    cr_expect(coherence_valid(coherence));
    cr_expect(coherence_idle(coherence));
    for (unsigned page = 0; page < PAGES; page++) {
        uint64_t expected = 0, found;
        uint8_t line[LINE_BYTES];

        for (unsigned i = 0; i < FIGHTERS; i++)
            expected += fighters[i].steps[page];
        cr_assert_eq(
            region_read_locked(&memory.caller, (struct region_place){handle, page * PAGE_BYTES}, 1, line), 0);
        memcpy(&found, line, sizeof(found));
        cr_expect_eq(found, expected, "page %u", page);
        cr_expect_gt(found, ROUNDS / 2);
    }
    memory_close(&memory);
}
