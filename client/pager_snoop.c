/* pager_snoop.c - a coherent mapping's thread: hears what others want, and gives it up
 *
 * The server's directory is a superset of what is here, so an answer "nothing" is always right for a page
 * that is not here, and every page can be given up at any time but for a store that has not reached the
 * server. What each state of a page makes of a snoop:
 *
 *   ABSENT, POISONED        there is nothing
 *   FETCHING                there is nothing, and what is on its way is marked as no longer true
 *                           (PAGE_SNOOPED). The answer must not wait for it: the fetch may be waiting at
 *                           the server for this very answer
 *   CLEAN                   dropped; or no longer owned, where the other only wants to read
 *   DIRTY                   protected, copied, its changed lines sent in front of the answer; then dropped
 *                           or clean
 *   BUSY, CLEANING,         somebody is at it, who waits for nothing that could wait for us: a moment
 *   DROPPING                later
 *
 * A page that has just come for an access is left alone for HOLD_NS, so that the access gets its turn: else
 * two clients could pass a page to and fro without either of them ever using it. Where it came for a store,
 * and goes without one, the time was too short (a busy machine, a thread to be woken): it doubles, to
 * HOLD_MAX_NS at most, until a store is seen.
 */
#include "pager_snoop.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "error.h"
#include "least.h"

#define HOLD_NS     (20 * NS_PER_US)
#define HOLD_MAX_NS NS_PER_MS
#define PATIENCE_NS (30 * NS_PER_US) /* the answer to a fetch may be just behind the snoop for it */
#define POLL_NS     (20 * NS_PER_US)
#define CLOSE_NS    NS_PER_S

/* ---- hearing ---- */

void snoop_forget_all(struct snooper *snooper)
{
    snooper->snoop_count = 0;
    snooper->any_seen = false;
    memset(snooper->seen, 0, sizeof(snooper->seen));
}

static void begin_window(struct snooper *snooper, uint16_t newest)
{
    memset(snooper->seen, 0, sizeof(snooper->seen));
    snooper->any_seen = true;
    snooper->newest_seen = newest;
}

/* Notes the id. True if it was heard before: then it is in hand, or answered. */
static bool seen_before(struct snooper *snooper, uint16_t id)
{
    int ahead = (int16_t)(id - snooper->newest_seen);
    uint64_t bit = 1ull << id % 64, *word = &snooper->seen[id % SNOOPS_MAX / 64];

    if (!snooper->any_seen || ahead >= SNOOPS_MAX)
        begin_window(snooper, id);
    else if (ahead <= -SNOOPS_MAX)
        return true;
    for (; snooper->newest_seen != id && ahead > 0; ahead--) {
        uint16_t next = ++snooper->newest_seen;

        snooper->seen[next % SNOOPS_MAX / 64] &= ~(1ull << next % 64);
    }
    if (*word & bit)
        return true;
    *word |= bit;
    return false;
}

static uint32_t page_of(const struct pager *pager, uint64_t region_offset)
{
    uint64_t offset = region_offset - pager->region_offset;

    return offset < pager->bytes ? (uint32_t)(offset / PAGE_BYTES) : UINT32_MAX;
}

static void hear(struct pager *pager, const struct wire_bi_snp *wire, uint64_t now_ns)
{
    struct snooper *snooper = pager->snooper;
    uint32_t agent = le32_get(wire->agent);

    if (le64_get(wire->region) != pager->region->handle || !agent || agent != snooper->attached)
        return;
    if (wire->kind == BI_SNP_GONE)
        lease_lost(pager, agent);
    if (wire->kind != BI_SNP_DATA && wire->kind != BI_SNP_INV)
        return;
    if (snooper->snoop_count == SNOOPS_MAX || seen_before(snooper, le16_get(wire->id)))
        return;
    snooper->snoops[snooper->snoop_count++] = (struct snoop){
        .page = page_of(pager, le64_get(wire->offset)),
        .region_offset = le64_get(wire->offset),
        .id = le16_get(wire->id),
        .kind = wire->kind,
        .heard_ns = now_ns,
    };
}

static void heard(void *context, const struct wire_bi_snp *snoops, unsigned n)
{
    uint64_t now_ns = clock_now_ns();

    for (unsigned i = 0; i < n; i++)
        hear(context, &snoops[i], now_ns);
}

/* ---- fairness ---- */

void snoop_note_grant(struct pager *pager, uint32_t page)
{
    uint64_t when = (uint32_t)(clock_now_ns() / NS_PER_US);

    store_relaxed(&pager->snooper->grants[page % GRANTS], (uint64_t)page << 32 | when);
}

/* Has the access that the page came for had its turn? */
static bool is_held(struct pager *pager, struct snoop *snoop, uint64_t now_ns)
{
    uint64_t grant = load_relaxed(&pager->snooper->grants[snoop->page % GRANTS]);
    uint64_t age_ns = ((uint32_t)(now_ns / NS_PER_US) - (uint32_t)grant) * NS_PER_US;
    uint64_t hold_ns = HOLD_NS << pager->snooper->wasted[snoop->page % GRANTS];

    if (hold_ns > HOLD_MAX_NS)
        hold_ns = HOLD_MAX_NS;
    if (grant >> 32 != snoop->page || age_ns >= hold_ns)
        return false;
    snoop->due_ns = now_ns + hold_ns - age_ns;
    return true;
}

static void note_use(struct pager *pager, uint32_t page, bool stored)
{
    uint8_t *wasted = &pager->snooper->wasted[page % GRANTS];

    if (stored)
        *wasted = 0;
    else if (HOLD_NS << *wasted < HOLD_MAX_NS)
        ++*wasted;
}

/* ---- one snoop ---- */

enum step { STEP_AGAIN, STEP_LATER, STEP_ANSWERED };

static enum step later(struct snoop *snoop, uint64_t now_ns)
{
    snoop->due_ns = now_ns + POLL_NS + (now_ns - snoop->heard_ns) / 8;
    return STEP_LATER;
}

static enum step send_state(struct pager *pager, struct answer *answer, enum bi_state state)
{
    answer->state = (uint8_t)state;
    answer_send(pager, answer);
    return STEP_ANSWERED;
}

static enum step snoop_fetching(struct pager *pager, struct snoop *snoop, struct answer *answer,
                                uint64_t word, uint64_t now_ns)
{
    if (!page_extra(word) && now_ns < snoop->heard_ns + PATIENCE_NS) {
        snoop->due_ns = snoop->heard_ns + PATIENCE_NS;
        return STEP_LATER;
    }
    /* The id before the flag: who finds the flag, and takes it off, finds this id or a newer one. */
    store_release(&pager->snooper->denied[snoop->page % GRANTS], (uint64_t)snoop->page << 32 | snoop->id);
    if (!page_claim(pager, snoop->page, &word, word | PAGE_SNOOPED))
        return STEP_AGAIN;
    return send_state(pager, answer, BI_STATE_INVALID);
}

static enum step give_clean(struct pager *pager, struct snoop *snoop, struct answer *answer, uint64_t word,
                            uint64_t now_ns)
{
    if (is_held(pager, snoop, now_ns))
        return STEP_LATER;
    if (snoop->kind == BI_SNP_DATA) {
        if (!page_claim(pager, snoop->page, &word, word & ~PAGE_OWNED))
            return STEP_AGAIN;
        return send_state(pager, answer, BI_STATE_SHARED);
    }
    if (!page_claim(pager, snoop->page, &word, page_with(word, PAGE_DROPPING, 0)))
        return STEP_AGAIN;
    uffd_drop(pager, &snoop->page, 1);
    page_leave(pager, snoop->page, PAGE_ABSENT, 0, PAGE_OWNED | PAGE_HOT, 0);
    evict_unreserve(pager, 1);
    count(&pager->counters.given_up_pages, 1);
    return send_state(pager, answer, BI_STATE_INVALID);
}

/* Stores that come from now on find the page protected and BUSY: they wait, and then ask the server. */
static enum step give_dirty(struct pager *pager, struct snoop *snoop, struct answer *answer, uint64_t word,
                            uint64_t now_ns)
{
    bool keep = snoop->kind == BI_SNP_DATA;

    if (word & PAGE_SENDING)
        return later(snoop, now_ns);
    if (is_held(pager, snoop, now_ns))
        return STEP_LATER;
    if (!page_claim(pager, snoop->page, &word, page_with(word, PAGE_BUSY, page_extra(word))))
        return STEP_AGAIN;
    uffd_protect(pager, snoop->page, 1, true);
    page_copy(answer->copy, page_address(pager, snoop->page));
    answer->changed = print_changed(pager, page_extra(word), answer->copy);
    note_use(pager, snoop->page, answer->changed);
    if (!keep)
        uffd_drop(pager, &snoop->page, 1);
    answer->in_hand = true;
    pager->snooper->in_hand++;
    count(&pager->counters.given_up_pages, 1);
    return send_state(pager, answer, keep ? BI_STATE_SHARED : BI_STATE_INVALID);
}

static enum step step(struct pager *pager, struct snoop *snoop, struct answer *answer, uint64_t now_ns)
{
    if (snoop->page == UINT32_MAX)
        return send_state(pager, answer, BI_STATE_INVALID);
    uint64_t word = load_acquire(&pager->words[snoop->page]);
    switch (page_state(word)) {
    case PAGE_ABSENT:
    case PAGE_POISONED:
        return send_state(pager, answer, BI_STATE_INVALID);
    case PAGE_FETCHING:
        return snoop_fetching(pager, snoop, answer, word, now_ns);
    case PAGE_CLEAN:
        return give_clean(pager, snoop, answer, word, now_ns);
    case PAGE_DIRTY:
        return give_dirty(pager, snoop, answer, word, now_ns);
    case PAGE_BUSY:
    case PAGE_CLEANING:
    case PAGE_DROPPING:
        return later(snoop, now_ns);
    }
    return STEP_LATER;
}

/* True when it is answered. */
static bool serve(struct pager *pager, struct snoop *snoop, uint64_t now_ns)
{
    struct answer *answer;
    enum step done;

    if (now_ns < snoop->due_ns)
        return false;
    answer = answer_take(pager->snooper);
    if (!answer)
        return false; /* one ends, and wakes us */
    answer->kind = snoop->kind;
    answer->id = snoop->id;
    answer->page = snoop->page;
    answer->agent = pager->snooper->attached;
    answer->region_offset = snoop->region_offset;
    do
        done = step(pager, snoop, answer, now_ns);
    while (done == STEP_AGAIN);
    if (done == STEP_LATER)
        answer_give(pager->snooper, answer);
    return done == STEP_ANSWERED;
}

static void serve_all(struct pager *pager, uint64_t now_ns)
{
    struct snooper *snooper = pager->snooper;
    unsigned keep = 0;

    for (unsigned i = 0; i < snooper->snoop_count; i++)
        if (!serve(pager, &snooper->snoops[i], now_ns))
            snooper->snoops[keep++] = snooper->snoops[i];
    snooper->snoop_count = keep;
}

/* ---- the thread ---- */

static uint64_t next_ns(const struct snooper *snooper)
{
    uint64_t next = least(lease_next_ns(snooper), answer_next_ns(snooper));

    if (snooper->answer_count == ANSWERS)
        return next; /* one of them ends first, and wakes us */
    for (unsigned i = 0; i < snooper->snoop_count; i++)
        next = least(next, snooper->snoops[i].due_ns);
    return next;
}

static void drain(int fd)
{
    uint64_t value;

    while (read(fd, &value, sizeof(value)) == sizeof(value))
        ;
}

static void *snoop_main(void *argument)
{
    struct pager *pager = argument;
    struct snooper *snooper = pager->snooper;

    while (!load_acquire(&snooper->stopping)) {
        if (lane_listen_wait(snooper->lane, next_ns(snooper), snooper->wake_fd) == -EINTR)
            drain(snooper->wake_fd);
        uint64_t now_ns = clock_now_ns();

        spin_lock(&snooper->pass_lock);
        lease_tick(pager, now_ns);
        answer_collect_all(pager, now_ns);
        serve_all(pager, now_ns);
        spin_unlock(&snooper->pass_lock);
    }
    return NULL;
}

void snoop_pause(struct pager *pager)
{
    struct snooper *snooper = pager->snooper;
    unsigned tries = 0;

    for (;;) {
        spin_lock(&snooper->pass_lock);
        if (!snooper->in_hand)
            return;
        spin_unlock(&snooper->pass_lock);
        pager_backoff(&tries);
    }
}

void snoop_resume(struct pager *pager)
{
    spin_unlock(&pager->snooper->pass_lock);
}

/* ---- opening ---- */

static int open_failed(const struct pager *pager, int error)
{
    if (error == -EBUSY)
        return fail(error, "region \"%s\" has as many coherent mappings as it can have", pager->region->name);
    if (error == -EACCES)
        return fail(error, "region \"%s\" cannot be mapped coherently: it was sealed, say",
                    pager->region->name);
    return fail(error, "region \"%s\" cannot be mapped coherently: %s", pager->region->name,
                strerror(-error));
}

int snoop_open(struct pager *pager)
{
    const uint64_t deadline_ns = connection_deadline_ns(pager->connection);
    struct snooper *snooper = pager_alloc(sizeof(*snooper));
    int rc;

    if (!snooper)
        return fail(-ENOMEM, "no memory for a coherent mapping");
    pager->snooper = snooper;
    snooper->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    rc = snooper->wake_fd < 0 ? -errno : 0;
    if (!rc)
        rc = lane_open(pager->connection, LANE_LISTENING, deadline_ns, &snooper->lane);
    if (!rc) {
        lane_hold(snooper->lane);
        lane_listen(snooper->lane, heard, pager);
        rc = lease_open(pager, deadline_ns);
    }
    if (!rc)
        return 0;
    snoop_close(pager);
    return open_failed(pager, rc);
}

int snoop_start(struct pager *pager)
{
    int rc = thread_spawn(&pager->snooper->thread, snoop_main, pager);

    pager->snooper->running = rc == 0;
    return rc;
}

static void stop(struct snooper *snooper)
{
    const uint64_t one = 1;

    store_release(&snooper->stopping, 1u);
    if (snooper->running && write(snooper->wake_fd, &one, sizeof(one)) == sizeof(one))
        pthread_join(snooper->thread, NULL);
    snooper->running = false;
}

/* What nobody answered in time. Of operations posted together the last goes first. */
static void cancel_all(struct snooper *snooper)
{
    for (unsigned i = 0; i < ANSWERS; i++) {
        struct answer *answer = &snooper->answers[i];

        for (unsigned n = answer->taken && !answer->retry_ns ? answer->op_count : 0; n; n--)
            if (!answer->ops[n - 1].finished)
                lane_cancel(snooper->lane, &answer->ops[n - 1]);
    }
    if (snooper->asking && !snooper->ask.finished)
        lane_cancel(snooper->lane, &snooper->ask);
    if (snooper->asking && !snooper->leave.finished)
        lane_cancel(snooper->lane, &snooper->leave);
}

static void detach(struct pager *pager)
{
    struct snooper *snooper = pager->snooper;
    const uint64_t deadline_ns = clock_now_ns() + CLOSE_NS;

    if (lane_drain(snooper->lane, deadline_ns))
        cancel_all(snooper);
    if (snooper->attached) {
        struct op op = {.opcode = OP_BI_DETACH, .agent = snooper->attached, .region = pager->region->handle};

        lane_run(snooper->lane, &op, deadline_ns); /* if it fails, the lease ends it */
    }
    lane_release(snooper->lane);
    lane_close(snooper->lane, true);
}

void snoop_close(struct pager *pager)
{
    struct snooper *snooper = pager->snooper;

    if (!snooper)
        return;
    stop(snooper);
    if (snooper->lane)
        detach(pager);
    if (snooper->wake_fd >= 0)
        close(snooper->wake_fd);
    munmap(snooper, sizeof(*snooper));
    pager->snooper = NULL;
}
