/* pager_lease.c - the lease of a coherent mapping's cache agent: attaching, renewing, fencing
 *
 * The server gives what we hold to others when it has not heard of us for the lease. So we have to stop using
 * it before: our end of the lease is an eighth earlier, counted from when the newest renewal that was
 * answered left here, not from its answer.
 *
 * Fenced, by our own clock or by the server's word, we drop the clean pages (they are fetched anew) and
 * poison the dirty ones: their stores are lost, since others may have changed the page, and that must not
 * pass in silence. Then another agent is attached. A page that is being fetched needs nothing done about it:
 * whoever installs it makes it BUSY and then looks at the agent (lease_install_begin), the fence takes the
 * agent away and then looks at the pages, so one of the two sees the other.
 */
#include "pager_snoop.h"

#include <errno.h>
#include <unistd.h>

#define ATTACH_PAUSE_NS (20 * NS_PER_MS)

uint32_t lease_agent(const struct pager *pager)
{
    return load_acquire(&pager->snooper->agent);
}

int lease_error(const struct pager *pager)
{
    int error = load_acquire(&pager->snooper->error);

    return error ? error : -EOWNERDEAD;
}

uint64_t lease_grace_ns(const struct pager *pager)
{
    return 2 * load_relaxed(&pager->snooper->lease_ns);
}

int lease_agent_wait(struct pager *pager, uint64_t deadline_ns, uint32_t *agent_out)
{
    unsigned tries = 0;

    while (!(*agent_out = lease_agent(pager))) {
        int error = load_acquire(&pager->snooper->error);

        if (error)
            return error;
        if (deadline_ns != UINT64_MAX && clock_now_ns() >= deadline_ns)
            return -ETIMEDOUT;
        pager_backoff(&tries);
    }
    return 0;
}

void lease_lost(struct pager *pager, uint32_t agent)
{
    const uint64_t one = 1;

    if (cas_acq_rel(&pager->snooper->agent, &agent, 0u) &&
        write(pager->snooper->wake_fd, &one, sizeof(one)) < 0)
        return; /* it is full, so the thread will wake up */
}

/* The page was denied while it was being fetched: was it given after that snoop was sent? Then the snoop was
 * for a copy we had before, as the server believed, and says nothing of this one. Who did not look at that
 * would throw every grant away that waited behind another client's, and ask again behind it, for ever. */
static bool given_since(const struct pager *pager, uint32_t page, const struct op *read)
{
    uint64_t denied = load_acquire(&pager->snooper->denied[page % GRANTS]);

    return read && read->given && denied >> 32 == page && (int16_t)(read->snoop_next - (uint16_t)denied) > 0;
}

/* FETCHING to BUSY. False: it was snooped meanwhile. The flag goes first and then the id is looked at: of a
 * snoop that comes in between we see either its id, or the flag again. */
static bool leave_fetching(struct pager *pager, uint32_t page, const struct op *read)
{
    uint64_t word = load_acquire(&pager->words[page]);

    for (;;) {
        bool snooped = word & PAGE_SNOOPED;

        if (!page_claim(pager, page, &word, snooped ? word & ~PAGE_SNOOPED : page_with(word, PAGE_BUSY, 0)))
            continue;
        if (!snooped)
            return true;
        if (!given_since(pager, page, read))
            return false;
        word = load_acquire(&pager->words[page]);
    }
}

bool lease_install_begin(struct pager *pager, uint32_t page, uint32_t agent, const struct op *read)
{
    struct snooper *snooper = pager->snooper;

    if (!leave_fetching(pager, page, read))
        return false;
    fence_seq_cst(); /* pairs with the one in fence */
    if (load_relaxed(&snooper->agent) == agent) {
        if (clock_now_ns() < load_relaxed(&snooper->valid_until_ns))
            return true;
        lease_lost(pager, agent);
    }
    page_move(pager, page, PAGE_FETCHING, 0, 0);
    return false;
}

/* ---- fencing ---- */

void lease_lose_page(struct pager *pager, uint32_t page)
{
    uint64_t word = load_acquire(&pager->words[page]), new;

    uffd_drop(pager, &page, 1);
    count(&pager->counters.poisoned_pages, 1); /* before anybody can notice */
    uffd_poison(pager, page);
    /* The fingerprints of a page on its way are for who sends it to give back. */
    do {
        new = page_with(word, PAGE_POISONED, word & PAGE_SENDING ? page_extra(word) : 0);
        new = (new & ~(PAGE_OWNED | PAGE_HOT)) | PAGE_LOST;
    } while (!page_claim(pager, page, &word, new));
    if (!(word & PAGE_SENDING))
        print_give(pager, page_extra(word));
    fetch_sub_relaxed(&pager->dirty_pages, 1u);
    evict_unreserve(pager, 1);
}

struct sweep {
    uint32_t clean[BATCH_PAGES], clean_count;
};

static void sweep_flush(struct pager *pager, struct sweep *sweep)
{
    evict_drop(pager, sweep->clean, sweep->clean_count);
    sweep->clean_count = 0;
}

/* False: look again. */
static bool sweep_page(struct pager *pager, uint32_t page, struct sweep *sweep)
{
    uint64_t word = load_acquire(&pager->words[page]);

    switch (page_state(word)) {
    case PAGE_ABSENT:
    case PAGE_FETCHING:
    case PAGE_DROPPING:
    case PAGE_POISONED:
        return true;
    case PAGE_CLEAN:
        if (!page_claim(pager, page, &word, page_with(word, PAGE_DROPPING, 0)))
            return false;
        sweep->clean[sweep->clean_count++] = page;
        return true;
    case PAGE_DIRTY:
    case PAGE_CLEANING:
        if (!page_claim(pager, page, &word, page_with(word, PAGE_DROPPING, page_extra(word))))
            return false;
        lease_lose_page(pager, page);
        return true;
    case PAGE_BUSY:
        return false;
    }
    return true;
}

static void sweep(struct pager *pager)
{
    struct sweep sweep = {.clean_count = 0};

    for (uint32_t page = 0; page < pager->page_count; page++) {
        unsigned tries = 0;

        while (!sweep_page(pager, page, &sweep)) {
            sweep_flush(pager, &sweep); /* own nothing while waiting */
            pager_backoff(&tries);
        }
        if (sweep.clean_count == BATCH_PAGES)
            sweep_flush(pager, &sweep);
    }
    sweep_flush(pager, &sweep);
}

static void fence(struct pager *pager, uint64_t now_ns)
{
    struct snooper *snooper = pager->snooper;
    const uint64_t lost_before = load_relaxed(&pager->counters.poisoned_pages);

    store_release(&snooper->agent, 0u);
    fence_seq_cst(); /* pairs with the one in lease_install_begin */
    answer_forget_all(pager);
    snoop_forget_all(snooper);
    sweep(pager);
    if (load_relaxed(&pager->counters.poisoned_pages) != lost_before)
        pager_complain("a lease ran out; pages are poisoned whose stores are lost, in the coherent mapping",
                       pager->base);
    snooper->old = snooper->attached;
    snooper->attached = 0;
    snooper->renew_ns = now_ns;
    count(&pager->counters.fenced, 1);
}

/* ---- asking ---- */

/* For a lease longer, or for a new agent; then the old one, which the server may still believe in, has to
 * end: it would ask it for pages for ever. */
static void ask(struct pager *pager, uint64_t now_ns)
{
    struct snooper *snooper = pager->snooper;
    const uint64_t region = pager->region->handle;

    snooper->leave = (struct op){.opcode = OP_BI_DETACH, .agent = snooper->old, .region = region};
    snooper->leave.finished = !snooper->old;
    if (snooper->old)
        lane_post(snooper->lane, &snooper->leave);
    snooper->ask = (struct op){
        .opcode = OP_BI_ATTACH, .agent = snooper->attached, .region = region, .result = &snooper->info};
    lane_post(snooper->lane, &snooper->ask);
    snooper->asking = true;
    snooper->asked_for = snooper->attached;
    snooper->asked_ns = now_ns;
    snooper->session = lane_session(snooper->lane);
}

static void granted(struct pager *pager)
{
    struct snooper *snooper = pager->snooper;
    const uint64_t lease_ns = le32_get(snooper->info.lease_ms) * NS_PER_MS;

    if (snooper->asked_for != snooper->attached)
        return; /* fenced meanwhile */
    snooper->alive_ns = snooper->asked_ns;
    store_relaxed(&snooper->lease_ns, lease_ns);
    snooper->renew_ns = snooper->asked_ns + lease_ns / 5;
    store_relaxed(&snooper->valid_until_ns, snooper->asked_ns + lease_ns - lease_ns / 8);
    if (snooper->attached)
        return;
    snooper->attached = le32_get(snooper->info.agent);
    snooper->old = 0;
    snoop_forget_all(snooper);
    store_release(&snooper->agent, snooper->attached);
}

/* The region is gone, say. What is local stays as it is; nothing more can be had. */
static void ended(struct pager *pager, int error)
{
    store_release(&pager->snooper->error, error);
    store_release(&pager->snooper->agent, 0u);
    pager->snooper->attached = pager->snooper->old = 0;
    answer_forget_all(pager);
    snoop_forget_all(pager->snooper);
}

static void answered(struct pager *pager, uint64_t now_ns)
{
    struct snooper *snooper = pager->snooper;
    int error = snooper->ask.outcome;

    snooper->asking = false;
    snooper->renew_ns = now_ns + ATTACH_PAUSE_NS;
    if (error == 0)
        granted(pager);
    else if (error == -EOWNERDEAD)
        lease_lost(pager, snooper->asked_for);
    else if (pager_error_is_final(error))
        ended(pager, error);
}

void lease_tick(struct pager *pager, uint64_t now_ns)
{
    struct snooper *snooper = pager->snooper;

    if (snooper->asking && snooper->ask.finished && snooper->leave.finished)
        answered(pager, now_ns);
    if (snooper->attached && (!lease_agent(pager) || now_ns >= snooper->valid_until_ns))
        fence(pager, now_ns);
    if (snooper->asking || snooper->error)
        return;
    if (now_ns >= snooper->renew_ns || snooper->session != lane_session(snooper->lane))
        ask(pager, now_ns);
}

uint64_t lease_next_ns(const struct snooper *snooper)
{
    uint64_t next_ns = snooper->asking || snooper->error ? UINT64_MAX : snooper->renew_ns;

    return snooper->attached && snooper->valid_until_ns < next_ns ? snooper->valid_until_ns : next_ns;
}

static int attach(struct pager *pager, uint64_t deadline_ns)
{
    struct snooper *snooper = pager->snooper;

    ask(pager, clock_now_ns());
    lane_wait(snooper->lane, &snooper->ask, deadline_ns);
    if (!snooper->ask.finished)
        lane_cancel(snooper->lane, &snooper->ask);
    snooper->asking = false;
    if (snooper->ask.outcome == 0)
        granted(pager);
    return snooper->ask.outcome;
}

/* An agent that the server made and nobody was told of holds nothing, and ends with its lease: so attaching
 * is simply tried again. */
int lease_open(struct pager *pager, uint64_t deadline_ns)
{
    for (;;) {
        int rc = attach(pager, deadline_ns);

        if (rc != -CXE_EUNKNOWN)
            return rc;
        if (clock_now_ns() >= deadline_ns)
            return -ETIMEDOUT;
    }
}
