/* pager_fault.c - the way of a page fault
 *
 * The state of the page decides; each step below handles one state and either settles the fault or says
 * -EAGAIN: look again. Nothing here holds a lock while it waits for the network but a lane and a slot.
 */
#include "pager_internal.h"

#include <errno.h>
#include <string.h>
#include <time.h>

static const uint8_t zeros[ZEROS_MOST * PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));

uint64_t pager_deadline_ns(const struct pager *pager, uint64_t now_ns)
{
    switch (pager->policy) {
    case CXE_GONE_WAIT:
        return UINT64_MAX;
    case CXE_GONE_DEADLINE:
        return now_ns + pager->gone_deadline_ns < now_ns ? UINT64_MAX : now_ns + pager->gone_deadline_ns;
    case CXE_GONE_FAIL_FAST:
        return now_ns + FAIL_FAST_NS + (pager->snooper ? lease_grace_ns(pager) : 0);
    }
    return UINT64_MAX;
}

bool pager_error_is_final(int error)
{
    switch (-error) {
    case ESTALE:
    case EHWPOISON:
    case ERANGE:
    case EACCES:
    case EINVAL:
    case EPROTO:
    case EOPNOTSUPP:
    case EKEYREJECTED:
        return true;
    }
    return false;
}

void pager_backoff(unsigned *tries)
{
    const struct timespec pause = {.tv_nsec = 50 * (long)NS_PER_US};
    unsigned n = (*tries)++;

    if (n < 200)
        cpu_relax();
    else if (n < 1000)
        sched_yield();
    else
        nanosleep(&pause, NULL);
}

static struct demand *demand_take(struct pager *pager)
{
    unsigned tries = 0;

    for (;;) {
        for (unsigned i = 0; i < DEMANDS; i++)
            if (!load_relaxed(&pager->demands[i].taken) && spin_try(&pager->demands[i].taken))
                return &pager->demands[i];
        pager_backoff(&tries);
    }
}

/* The page cannot be had; it is ours (FETCHING). `room`: it holds a place in the cache, which it gives back.
 */
static int poison(struct fault *fault, bool room)
{
    struct pager *pager = fault->pager;

    count(&pager->counters.poisoned_pages, 1); /* before anybody can notice */
    uffd_poison(pager, fault->page);
    page_leave(pager, fault->page, PAGE_POISONED, 0, PAGE_HOT | PAGE_SNOOPED | PAGE_OWNED, 0);
    if (room)
        evict_unreserve(pager, 1);
    return -EFAULT;
}

static enum opcode read_opcode(const struct fault *fault)
{
    if (!fault->pager->snooper)
        return OP_MEM_RD;
    return fault->write ? OP_MEM_RD_ANY : OP_MEM_RD_SHARED;
}

/* What will be wanted next goes along. Of a coherent page in a frame of its own, since this one must not wait
 * for what others hold; and not behind stores, which would have to ask for each page again. */
static void read_ahead(struct fault *fault, struct lane *lane)
{
    if (fault->pager->snooper) {
        lane_push(lane);
        if (fault->write)
            return;
    }
    prefetch_miss(fault->pager, lane, fault->page);
}

/* One try. What can be done meanwhile is done between sending and waiting. */
static int read_once(struct fault *fault, struct demand *demand, uint32_t agent)
{
    struct pager *pager = fault->pager;
    struct lane *lane = lane_acquire(pager->connection);

    demand->op = (struct op){
        .opcode = read_opcode(fault),
        .line_count = PAGE_LINES,
        .agent = agent,
        .region = pager->region->handle,
        .offset = pager->region_offset + (uint64_t)fault->page * PAGE_BYTES,
        .result = demand->buffer,
    };
    lane_post(lane, &demand->op);
    read_ahead(fault, lane);
    lane_push(lane);
    evict_ahead(pager, AHEAD_PAGES);
    int rc = lane_wait(lane, &demand->op, fault->deadline_ns);
    if (!demand->op.finished)
        lane_cancel(lane, &demand->op);
    lane_release(lane);
    return rc;
}

static int read_once_as_agent(struct fault *fault, struct demand *demand)
{
    uint32_t agent;
    int rc = lease_agent_wait(fault->pager, fault->deadline_ns, &agent);

    if (rc)
        return rc;
    if (fault->write) /* owned again, it must not be changed by what was sent when it was owned before */
        rc = lane_outlive(fault->pager->connection, NULL, fault->deadline_ns);
    if (!rc)
        rc = read_once(fault, demand, agent);
    if (rc == -EOWNERDEAD)
        lease_lost(fault->pager, agent);
    return rc;
}

static int read_page(struct fault *fault, struct demand *demand)
{
    const struct timespec pause = {.tv_nsec = (long)RETRY_PAUSE_NS};

    if (fault->pager->lost)
        return -ESTALE;
    for (;;) {
        int rc = fault->pager->snooper ? read_once_as_agent(fault, demand) : read_once(fault, demand, 0);

        if (rc == 0 || pager_error_is_final(rc))
            return rc;
        if (fault->pager->policy == CXE_GONE_FAIL_FAST && rc != -EOWNERDEAD)
            return rc;
        if (clock_now_ns() >= fault->deadline_ns)
            return -ETIMEDOUT;
        nanosleep(&pause, NULL);
    }
}

/* Short of memory the kernel may be for a moment; what else it says means that the range is not ours any
 * more. Returns how many pages are there: the faulting one, if any. */
static uint32_t install(struct fault *fault, const uint8_t *data, uint32_t pages, bool protect)
{
    unsigned tries = 0;
    uint32_t done;
    int rc;

    while ((rc = uffd_install(fault->pager, fault->page, data, pages, protect, &done)) == -ENOMEM) {
        if (tries > 2000 && clock_now_ns() > fault->deadline_ns)
            break;
        pager_backoff(&tries);
    }
    if (rc)
        pager_complain(
            "cannot install a page: the mapping was changed behind the library's back, or there is "
            "no memory",
            page_address(fault->pager, fault->page));
    return done;
}

/* Reads until what came is true when it is there. A coherent page is BUSY then: a snoop waits until it can be
 * seen, and is not told that we have nothing. */
static int read_valid_page(struct fault *fault, struct demand *demand)
{
    struct pager *pager = fault->pager;
    int rc;

    do
        rc = read_page(fault, demand);
    while (rc == 0 && pager->snooper &&
           !lease_install_begin(pager, fault->page, demand->op.agent, &demand->op));
    return rc;
}

static uint32_t use_print(struct fault *fault)
{
    uint32_t print = fault->print;

    fault->print = PRINT_NONE;
    return print;
}

/* Before the page is ours: room may have to be made. Zeros need no fingerprints: what the server has is
 * zeros, or was discarded and is better sent whole. */
static int reserve(struct fault *fault, bool page, uint64_t word)
{
    bool print = fault->write && !(word & PAGE_ZERO) && print_needed(fault->pager);

    if (!print) /* from an earlier try */
        print_give(fault->pager, use_print(fault));
    return evict_reserve(fault->pager, fault->deadline_ns, page, print ? &fault->print : NULL);
}

/* The page is ours (FETCHING) and has a place in the cache. A write installs it writable and dirty at once,
 * which saves the second fault. From then on stores land, maybe before we can say DIRTY: BUSY makes a sync
 * wait for that. */
static int fetch(struct fault *fault, bool hot)
{
    struct pager *pager = fault->pager;
    struct demand *demand = demand_take(pager);
    uint64_t owned = pager->snooper && fault->write ? PAGE_OWNED : 0;
    int rc = read_valid_page(fault, demand);

    if (rc == 0) {
        if (fault->write) {
            print_set(pager, fault->print, demand->buffer);
            page_move(pager, fault->page, PAGE_BUSY, 0, 0);
        }
        if (!install(fault, demand->buffer, 1, !fault->write))
            rc = -EFAULT;
    }
    spin_unlock(&demand->taken);
    if (rc)
        return poison(fault, true);
    if (pager->snooper)
        snoop_note_grant(pager, fault->page);
    page_leave(pager, fault->page, fault->write ? PAGE_DIRTY : PAGE_CLEAN, use_print(fault), 0, owned);
    if (fault->write)
        fetch_add_relaxed(&pager->dirty_pages, 1u);
    count(&pager->counters.fetched_pages, 1);
    evict_enqueue(pager, fault->page, hot);
    return 0;
}

/* A page that is known to be zero here and at the server, taken as one that faulted is. */
static bool claim_zero(struct pager *pager, uint32_t page)
{
    const uint64_t want = PAGE_ZERO | PAGE_SERVER_ZERO;
    uint64_t word = load_relaxed(&pager->words[page]);

    if (page_state(word) != PAGE_ABSENT || (word & want) != want ||
        !evict_reserve_try(pager, evict_spare_pages(pager)))
        return false;
    if (page_claim(pager, page, &word, page_with(word, PAGE_FETCHING, 0)))
        return true;
    evict_unreserve(pager, 1);
    return false;
}

/* Neighbours, too. Returns how many there are with the first. */
static uint32_t claim_zeros(struct pager *pager, uint32_t first, uint32_t most)
{
    uint32_t n = 1;

    while (n < most && claim_zero(pager, first + n))
        n++;
    return n;
}

/* No network. */
static int install_zeros(struct fault *fault, uint64_t word)
{
    struct pager *pager = fault->pager;
    uint32_t run = 1;

    if (word & PAGE_SERVER_ZERO)
        run = claim_zeros(pager, fault->page, prefetch_zero_run(pager, fault->page));
    for (uint32_t i = 0; fault->write && i < run; i++)
        page_move(pager, fault->page + i, PAGE_BUSY, 0, 0);
    uint32_t done = install(fault, zeros, run, !fault->write);
    for (uint32_t i = 0; i < run; i++) {
        uint32_t page = fault->page + i;

        if (i >= done) {
            page_leave(pager, page, PAGE_ABSENT, 0, 0, 0);
            evict_unreserve(pager, 1);
            continue;
        }
        if (fault->write)
            page_leave(pager, page, PAGE_DIRTY, PRINT_NONE, PAGE_ZERO, 0);
        else
            page_leave(pager, page, PAGE_CLEAN, 0, 0, 0);
        evict_enqueue(pager, page, false);
    }
    if (fault->write)
        fetch_add_relaxed(&pager->dirty_pages, done);
    evict_ahead(pager, BATCH_PAGES);
    return done ? 0 : -EFAULT;
}

static int bring_in(struct fault *fault, uint64_t word)
{
    struct pager *pager = fault->pager;
    int rc = reserve(fault, true, word);
    bool hot = evict_is_ghost(pager, word);

    if (!page_claim(pager, fault->page, &word, page_with(word, PAGE_FETCHING, 0) | (hot ? PAGE_HOT : 0))) {
        if (rc == 0)
            evict_unreserve(pager, 1);
        return -EAGAIN;
    }
    if (rc)
        return poison(fault, false);
    return word & PAGE_ZERO ? install_zeros(fault, word) : fetch(fault, hot);
}

/* Drops a clean page of a coherent mapping and fetches it anew: for a store to a page that others may have as
 * well. The copy must not stay while we ask, since who asked before us may wait for it. */
static int refetch(struct fault *fault, uint64_t word)
{
    struct pager *pager = fault->pager;

    if (!page_claim(pager, fault->page, &word, page_with(word, PAGE_DROPPING, 0)))
        return -EAGAIN;
    uffd_drop(pager, &fault->page, 1);
    page_leave(pager, fault->page, PAGE_FETCHING, 0, PAGE_OWNED, 0);
    return fetch(fault, false);
}

/* The kernel's page is gone although nobody told us: the program discarded it by itself. A clean page is
 * fetched again; a dirty one was the only copy, and must not come back as something else. */
static int vanished_clean(struct fault *fault, uint64_t word)
{
    struct pager *pager = fault->pager;

    if (reserve(fault, false, word))
        return -EFAULT;
    if (pager->snooper)
        return refetch(fault, word);
    if ((word & PAGE_SENDING) || !page_claim(pager, fault->page, &word, page_with(word, PAGE_FETCHING, 0)))
        return -EAGAIN;
    return word & PAGE_ZERO ? install_zeros(fault, word & ~PAGE_SERVER_ZERO) : fetch(fault, false);
}

/* Only what is in hand can be told for sure: between reading its word and looking for it the page may have
 * left and come back, with the same word. */
static int vanished_dirty(struct fault *fault, uint64_t word)
{
    struct pager *pager = fault->pager;

    if ((word & PAGE_SENDING) ||
        !page_claim(pager, fault->page, &word, page_with(word, PAGE_BUSY, page_extra(word))))
        return -EAGAIN;
    if (uffd_page_present(pager, fault->page)) {
        page_move(pager, fault->page, PAGE_DIRTY, 0, 0);
        fault->waited = true;
        return -EAGAIN;
    }
    print_give(pager, page_extra(word));
    fetch_sub_relaxed(&pager->dirty_pages, 1u);
    pager_complain(
        "the program discarded memory of a mapping that was not written back; the page is poisoned",
        page_address(pager, fault->page));
    return poison(fault, true);
}

/* First store to a clean page. */
static int upgrade(struct fault *fault, uint64_t word)
{
    struct pager *pager = fault->pager;

    if (reserve(fault, false, word))
        return -EFAULT;
    if (pager->snooper && !(word & PAGE_OWNED))
        return refetch(fault, word);
    if (!page_claim(pager, fault->page, &word, page_with(word, PAGE_BUSY, 0)))
        return -EAGAIN;
    print_set(pager, fault->print, page_address(pager, fault->page));
    if (uffd_protect(pager, fault->page, 1, false)) {
        page_leave(pager, fault->page, PAGE_CLEAN, 0, 0, 0);
        return -EFAULT;
    }
    if (pager->snooper)
        snoop_note_grant(pager, fault->page);
    page_leave(pager, fault->page, PAGE_DIRTY, use_print(fault), PAGE_ZERO, 0);
    fetch_add_relaxed(&pager->dirty_pages, 1u);
    return 0;
}

/* Two threads stored at once and the other was faster; or, in the child of a fork, everything was protected.
 * Taking the protection away needs the page in hand: else it might be one that a write-back has just put on.
 */
static int unprotect_dirty(struct fault *fault, uint64_t word)
{
    struct pager *pager = fault->pager;

    if (!page_claim(pager, fault->page, &word, page_with(word, PAGE_BUSY, page_extra(word))))
        return -EAGAIN;
    int rc = uffd_protect(pager, fault->page, 1, false);
    page_move(pager, fault->page, PAGE_DIRTY, 0, 0);
    return rc ? -EFAULT : 0;
}

static bool has_vanished(struct fault *fault)
{
    return fault->missing && !fault->waited && !uffd_page_present(fault->pager, fault->page);
}

/* A write-back is reading the page, and may be the one that faults: it must not wait for itself. */
static int vanished_in_hand(struct fault *fault)
{
    pager_complain("the program discarded memory of a mapping that was being written back",
                   page_address(fault->pager, fault->page));
    uffd_poison(fault->pager, fault->page);
    return -EFAULT;
}

static int settled(struct fault *fault)
{
    uffd_wake(fault->pager, fault->page);
    return 0;
}

static int step(struct fault *fault, uint64_t word, unsigned *tries)
{
    switch (page_state(word)) {
    case PAGE_ABSENT:
        return bring_in(fault, word);
    case PAGE_CLEAN:
        if (has_vanished(fault))
            return vanished_clean(fault, word);
        return fault->write ? upgrade(fault, word) : settled(fault);
    case PAGE_DIRTY:
        if (has_vanished(fault))
            return vanished_dirty(fault, word);
        return fault->write ? unprotect_dirty(fault, word) : settled(fault);
    case PAGE_CLEANING:
        return fault->write ? writeback_cancel(fault->pager, fault->page, word) : settled(fault);
    case PAGE_FETCHING:
        if (page_extra(word))
            prefetch_finish(fault, word);
        else
            pager_backoff(tries);
        fault->waited = true;
        return -EAGAIN;
    case PAGE_BUSY:
        if ((word & PAGE_SENDING) && has_vanished(fault) &&
            load_acquire(&fault->pager->words[fault->page]) == word)
            return vanished_in_hand(fault);
        pager_backoff(tries);
        fault->waited |= !(word & PAGE_SENDING);
        return -EAGAIN;
    case PAGE_DROPPING:
        pager_backoff(tries);
        fault->waited = true;
        return -EAGAIN;
    case PAGE_POISONED:
        return -EFAULT;
    }
    return -EFAULT;
}

int fault_resolve(struct fault *fault)
{
    unsigned tries = 0;
    int rc;

    do
        rc = step(fault, load_acquire(&fault->pager->words[fault->page]), &tries);
    while (rc == -EAGAIN);
    print_give(fault->pager, use_print(fault)); /* it was not needed */
    return rc;
}

int fault_handle(struct pager *pager, const void *address, bool write, bool missing)
{
    uint64_t start_ns = clock_now_ns();
    struct fault fault = {
        .pager = pager,
        .page = (uint32_t)(((uintptr_t)address - (uintptr_t)pager->base) / PAGE_BYTES),
        .write = write && !(pager->flags & CXE_MAP_READ_ONLY),
        .missing = missing,
        .deadline_ns = pager_deadline_ns(pager, start_ns),
    };

    pager_enter(pager);
    int rc = fault_resolve(&fault);
    pager_leave(pager);
    if (rc == 0) {
        count(&pager->counters.faults, 1);
        histogram_add(&pager->fault_ns, clock_now_ns() - start_ns);
    }
    return rc;
}
