/* pager_writeback.c - changed lines on their way home
 *
 * Protect, copy, compare, send, wait, and only then drop or call clean. The copy is what is compared and
 * sent, so a store that comes meanwhile (it faults: the page is protected) neither tears a line nor is lost:
 * it makes the page dirty again, and the copy is what it is compared with once the server has that.
 *
 * The lane is taken before the first page is claimed: nobody waits long for a page that is BUSY, and of a
 * coherent mapping the other lanes may all be held by reads that wait for other clients, who may in turn wait
 * for a page on its way here. Whoever's lease ended meanwhile finds the page taken away (POISONED) when he
 * comes back; the fingerprints are his to give back as long as it is SENDING.
 *
 * A write whose outcome is unknown may have changed the server's lines: they count as changed from then on
 * (print_force), even if the program puts back what was there.
 */
#include "pager_internal.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "least.h"

#define SHORT_FRAMES    16 /* that leave together where a frame holds less than two pages */
#define STRETCH_BATCHES 4  /* of a range, over one lane held */

/* ---- one batch ---- */

/* Of the slots one is not for syncs, who have theirs for long: making room must not wait for them. */
static struct writeback *take_try(struct pager *pager, bool drop)
{
    for (unsigned i = drop ? WRITEBACKS : WRITEBACKS - 1; i-- > 0;) {
        struct writeback *wb = &pager->writebacks[i];

        if (load_relaxed(&wb->taken) || !spin_try(&wb->taken))
            continue;
        wb->drop = drop;
        return wb;
    }
    return NULL;
}

/* Not by who has one. */
static struct writeback *take(struct pager *pager, bool drop)
{
    struct writeback *wb;
    unsigned tries = 0;

    while (!(wb = take_try(pager, drop)))
        pager_backoff(&tries);
    return wb;
}

static void give(struct writeback *wb)
{
    spin_unlock(&wb->taken);
}

/* A pinned page cannot be protected: the kernel is writing to it, and would fail half-way. A sync sends what
 * is there now and leaves it writable. */
static bool claim(struct pager *pager, uint32_t page, bool drop, bool *shared_out)
{
    uint64_t word = load_acquire(&pager->words[page]);

    for (;;) {
        bool pinned = word & PAGE_PIN_MASK;

        if (page_state(word) != PAGE_DIRTY || (word & PAGE_SENDING) || (pinned && drop))
            return false;
        uint64_t new = pinned ? word : page_with(word, PAGE_BUSY, page_extra(word));
        if (page_claim(pager, page, &word, new | PAGE_SENDING)) {
            *shared_out = pinned;
            return true;
        }
    }
}

static void claim_all(struct pager *pager, struct writeback *wb, const uint32_t *pages, uint32_t n)
{
    CHECK(n <= BATCH_PAGES);
    wb->count = wb->op_count = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (!claim(pager, pages[i], wb->drop, &wb->shared[wb->count]))
            continue;
        wb->failed[wb->count] = false;
        wb->index[wb->count] = (uint8_t)i;
        wb->pages[wb->count++] = pages[i];
    }
}

/* Neighbours in one call. */
static void protect_all(struct pager *pager, struct writeback *wb)
{
    for (uint32_t i = 0, run; i < wb->count; i += run) {
        run = 1;
        if (wb->shared[i])
            continue;
        while (i + run < wb->count && !wb->shared[i + run] && wb->pages[i + run] == wb->pages[i] + run)
            run++;
        /* It fails only where the program unmapped the range: then the copy below stops us, loudly. */
        uffd_protect(pager, wb->pages[i], run, true);
    }
}

static void add_op(struct pager *pager, struct writeback *wb, uint32_t i, unsigned line, unsigned lines)
{
    wb->ops[wb->op_count++] = (struct op){
        .opcode = OP_MEM_WR,
        .line_count = lines,
        .agent = wb->agent,
        .region = pager->region->handle,
        .offset = pager->region_offset + (uint64_t)wb->pages[i] * PAGE_BYTES + (uint64_t)line * LINE_BYTES,
        .operand = wb->copies + (uint64_t)i * PAGE_BYTES + (uint64_t)line * LINE_BYTES,
        .context = &wb->failed[i],
    };
    count(&pager->counters.written_lines, lines);
}

static void add_runs(struct pager *pager, struct writeback *wb, uint32_t i)
{
    uint64_t left = wb->changed[i];

    while (left) {
        unsigned line = (unsigned)__builtin_ctzll(left);
        uint64_t from = ~(left >> line);
        unsigned lines = from ? (unsigned)__builtin_ctzll(from) : PAGE_LINES;

        add_op(pager, wb, i, line, lines);
        left &= lines == PAGE_LINES ? 0 : ~(((1ull << lines) - 1) << line);
    }
}

/* From here on a store may come and cancel. */
static void copy_page(struct pager *pager, struct writeback *wb, uint32_t i)
{
    uint8_t *copy = wb->copies + (uint64_t)i * PAGE_BYTES;
    uint32_t page = wb->pages[i];
    uint64_t word = load_acquire(&pager->words[page]);

    page_copy(copy, page_address(pager, page));
    wb->changed[i] =
        word & PAGE_SERVER_ZERO ? lines_not_zero(copy) : print_changed(pager, page_extra(word), copy);
    uint64_t clear = wb->changed[i] ? PAGE_SERVER_ZERO : 0;
    page_move(pager, page, wb->shared[i] ? PAGE_DIRTY : PAGE_CLEANING, clear, 0);
    add_runs(pager, wb, i);
}

/* ---- sending ---- */

/* Copies, posting what changed. A frame leaves as soon as it is full (short ones, several together: the last
 * of them is not), and the server works on it while the next pages are compared. */
static void copy_and_post(struct pager *pager, struct writeback *wb)
{
    const unsigned full = lane_frame_lines(wb->lane);
    const unsigned enough = full > 2 * PAGE_LINES ? full - PAGE_LINES + 1 : SHORT_FRAMES * full;
    unsigned lines = 0;

    for (uint32_t i = 0; i < wb->count; i++) {
        uint32_t op = wb->op_count;

        copy_page(pager, wb, i);
        for (; op < wb->op_count; op++) {
            lane_post(wb->lane, &wb->ops[op]);
            lines += wb->ops[op].line_count;
        }
        if (lines < enough || !lane_is_fit(wb->lane))
            continue;
        lane_push(wb->lane);
        lines = 0;
    }
}

/* Pages of a coherent mapping go as its agent's. By now they are claimed, so that it is the agent whose pages
 * they are: another comes only after each page of the one before it was taken away. */
static bool may_post(const struct pager *pager, const struct writeback *wb)
{
    return !pager->lost && !load_acquire(&pager->connection->lingering) && (wb->agent || !pager->snooper);
}

static bool is_done(const struct op *op)
{
    return op->finished && op->outcome == 0;
}

/* Waits for what was posted. The first error, in order. */
static int collect(struct writeback *wb, uint64_t deadline_ns)
{
    int first = 0;

    for (uint32_t i = 0; i < wb->op_count; i++) {
        struct op *op = &wb->ops[i];

        int rc = op->finished ? op->outcome : lane_wait(wb->lane, op, deadline_ns);
        if (!op->finished)
            lane_cancel(wb->lane, op);
        if (rc && !first)
            first = rc;
    }
    return first;
}

/* One more try over those not done yet. */
static int send_again(struct pager *pager, struct writeback *wb, uint64_t deadline_ns)
{
    int rc = wb->op_count ? lane_outlive(pager->connection, wb->lane, deadline_ns) : 0;

    if (rc)
        return rc;
    for (uint32_t i = 0; i < wb->op_count; i++)
        if (!is_done(&wb->ops[i]))
            lane_post(wb->lane, &wb->ops[i]);
    return collect(wb, deadline_ns);
}

static int send_all(struct pager *pager, struct writeback *wb, uint64_t deadline_ns)
{
    const struct timespec pause = {.tv_nsec = (long)RETRY_PAUSE_NS};
    int rc;

    if (pager->lost)
        return wb->op_count ? -ESTALE : 0;
    rc = wb->posted ? collect(wb, deadline_ns) : send_again(pager, wb, deadline_ns);
    while (rc && !pager_error_is_final(rc) && pager->policy != CXE_GONE_FAIL_FAST &&
           !load_relaxed(&pager->stopping) && (!wb->agent || lease_agent(pager) == wb->agent) &&
           (deadline_ns == UINT64_MAX || clock_now_ns() < deadline_ns)) {
        nanosleep(&pause, NULL);
        rc = send_again(pager, wb, deadline_ns);
    }
    return rc;
}

static int send_all_as_agent(struct pager *pager, struct writeback *wb, uint64_t deadline_ns)
{
    int rc;

    if (!wb->agent)
        return lease_error(pager);
    rc = send_all(pager, wb, deadline_ns);
    if (rc == -EOWNERDEAD)
        lease_lost(pager, wb->agent);
    return rc && lease_agent(pager) != wb->agent ? lease_error(pager) : rc;
}

/* Tells the server that pages it thinks are ours are nobody's: the next one need not ask us. They are
 * DROPPING until it has answered, since a later answer could take away what we have fetched again by then; so
 * it is only said by who waits for any answer as long as it takes. */
static void tell_evicted(struct pager *pager, struct writeback *wb, const uint32_t *pages, uint32_t n)
{
    if (pager->policy != CXE_GONE_WAIT)
        return;
    for (uint32_t i = 0; i < n; i++) {
        wb->ops[i] = (struct op){
            .opcode = OP_MEM_CLN_EVCT,
            .agent = wb->agent,
            .region = pager->region->handle,
            .offset = pager->region_offset + (uint64_t)pages[i] * PAGE_BYTES,
        };
        lane_post(wb->lane, &wb->ops[i]);
    }
    for (uint32_t i = 0; i < n; i++)
        if (!wb->ops[i].finished)
            lane_wait(wb->lane, &wb->ops[i], UINT64_MAX);
}

static void drop_written(struct pager *pager, struct writeback *wb, const uint32_t *pages, uint32_t n)
{
    if (!n)
        return;
    uffd_drop(pager, pages, n);
    if (wb->agent)
        tell_evicted(pager, wb, pages, n);
    evict_release(pager, pages, n);
}

/* ---- afterwards ---- */

/* It is on its way no more. What was taken away meanwhile needs no fingerprints. */
static void settle_print(struct pager *pager, uint32_t page, uint32_t print)
{
    uint64_t word = load_acquire(&pager->words[page]);
    bool lost;

    do
        lost = page_state(word) == PAGE_POISONED;
    while (
        !page_claim(pager, page, &word, page_with(word & ~PAGE_SENDING, page_state(word), lost ? 0 : print)));
    if (lost)
        print_give(pager, print);
}

/* The server has the copy, but the page has gone on: the copy is its print now. */
static void settle_dirty(struct pager *pager, uint32_t page, const uint8_t *copy)
{
    uint32_t print = page_extra(load_acquire(&pager->words[page]));

    print_set(pager, print, copy);
    settle_print(pager, page, print);
}

static bool settle_clean(struct pager *pager, struct writeback *wb, uint32_t i)
{
    uint32_t page = wb->pages[i];
    uint64_t word = load_acquire(&pager->words[page]);
    enum page_state state = wb->drop ? PAGE_DROPPING : PAGE_CLEAN;
    uint64_t gone = PAGE_SENDING | (wb->drop ? PAGE_QUEUED | PAGE_HOT | PAGE_OWNED : 0);

    while (page_state(word) == PAGE_CLEANING) {
        uint64_t new = page_with(word, state, 0) & ~gone;

        if (word & PAGE_SERVER_ZERO)
            new |= PAGE_ZERO;
        if (page_claim(pager, page, &word, new)) {
            print_give(pager, page_extra(word));
            fetch_sub_relaxed(&pager->dirty_pages, 1u);
            return true;
        }
    }
    return false;
}

static void settle_failed(struct pager *pager, struct writeback *wb, uint32_t i)
{
    uint32_t page = wb->pages[i];
    uint64_t word = load_acquire(&pager->words[page]);
    uint32_t print = page_extra(word);

    print_force(pager, print, wb->changed[i]);
    while (page_state(word) == PAGE_CLEANING && writeback_cancel(pager, page, word) == -EAGAIN)
        word = load_acquire(&pager->words[page]);
    settle_print(pager, page, print);
    count(&pager->counters.writeback_failures, 1);
}

/* Bit i: the page that the caller had as number i was dropped. */
static uint32_t settle_all(struct pager *pager, struct writeback *wb)
{
    uint32_t drop[BATCH_PAGES], drop_count = 0, dropped = 0;

    for (uint32_t i = 0; i < wb->op_count; i++)
        if (!is_done(&wb->ops[i]))
            *(bool *)wb->ops[i].context = true;
    for (uint32_t i = 0; i < wb->count; i++) {
        if (wb->failed[i]) {
            settle_failed(pager, wb, i);
            continue;
        }
        count(&pager->counters.written_pages, wb->changed[i] != 0);
        if (wb->shared[i] || !settle_clean(pager, wb, i)) {
            settle_dirty(pager, wb->pages[i], wb->copies + (uint64_t)i * PAGE_BYTES);
        } else if (wb->drop) {
            drop[drop_count++] = wb->pages[i];
            dropped |= 1u << wb->index[i];
        }
    }
    drop_written(pager, wb, drop, drop_count);
    return dropped;
}

/* ---- a batch from its beginning to its end ---- */

/* Sends what changed; waits for nothing. `lane`: NULL if there is none (pager->lost). Returns which of the
 * pages were claimed. */
static uint32_t begin(struct pager *pager, struct writeback *wb, struct lane *lane, const uint32_t *pages,
                      uint32_t n)
{
    uint32_t claimed = 0;

    wb->lane = lane;
    claim_all(pager, wb, pages, n);
    wb->agent = pager->snooper ? lease_agent(pager) : 0;
    protect_all(pager, wb);
    wb->posted = may_post(pager, wb);
    if (wb->posted)
        copy_and_post(pager, wb);
    else
        for (uint32_t i = 0; i < wb->count; i++)
            copy_page(pager, wb, i);
    for (uint32_t i = 0; i < wb->count; i++)
        claimed |= 1u << wb->index[i];
    return claimed;
}

/* Waits for the server. */
static int end(struct pager *pager, struct writeback *wb, uint64_t deadline_ns, uint32_t *dropped_out)
{
    int rc = 0;

    if (wb->count)
        rc = pager->snooper ? send_all_as_agent(pager, wb, deadline_ns) : send_all(pager, wb, deadline_ns);
    *dropped_out = settle_all(pager, wb);
    return rc;
}

/* NULL: the mapping is lost. Bulk reads of a coherent mapping may wait at the server for other clients, and
 * what is posted behind them with them if the window is full: then the pages on their way could not be given
 * up either, for which the others may wait. So they are waited for before any page is claimed. */
static struct lane *acquire_lane(struct pager *pager, uint64_t deadline_ns)
{
    struct lane *lane = pager->lost ? NULL : lane_acquire(pager->connection);

    if (lane && pager->snooper)
        lane_drain(lane, deadline_ns);
    return lane;
}

static void release_lane(struct lane *lane)
{
    if (lane)
        lane_release(lane);
}

int writeback_drop(struct pager *pager, const uint32_t *pages, uint32_t n, uint64_t deadline_ns,
                   uint32_t *dropped_out)
{
    struct writeback *wb = take(pager, true);
    struct lane *lane = acquire_lane(pager, deadline_ns);
    int rc;

    begin(pager, wb, lane, pages, n);
    rc = end(pager, wb, deadline_ns, dropped_out);
    release_lane(lane);
    give(wb);
    return rc;
}

int writeback_cancel(struct pager *pager, uint32_t page, uint64_t word)
{
    CHECK(word & PAGE_SENDING);
    if (!page_claim(pager, page, &word, page_with(word, PAGE_BUSY, page_extra(word))))
        return -EAGAIN;
    int rc = uffd_protect(pager, page, 1, false);
    page_move(pager, page, PAGE_DIRTY, 0, 0);
    return rc ? -EFAULT : 0;
}

/* ---- ranges ---- */

/* Somebody sends an older version of it, or changes its protection. Returns when that is over: then it is
 * known whether the page needs more. */
static bool still_dirty(struct pager *pager, uint32_t page)
{
    unsigned tries = 0;
    uint64_t word;

    for (;;) {
        word = load_acquire(&pager->words[page]);
        if (!(word & PAGE_SENDING) && page_state(word) != PAGE_BUSY)
            return page_state(word) == PAGE_DIRTY;
        pager_backoff(&tries);
    }
}

/* Batch by batch; while the server works on one, the next is copied and compared, if there is room for both.
 * Returns the first error, with nothing begun behind it. `claimed_out`: of each batch. */
static int write_stretch(struct pager *pager, const uint32_t *pages, uint32_t n,
                         uint32_t claimed_out[STRETCH_BATCHES])
{
    const uint32_t batches = (n + BATCH_PAGES - 1) / BATCH_PAGES;
    struct writeback *slots[2];
    struct lane *lane;
    uint64_t deadline_ns = 0;
    uint32_t most = 1, begun = 0, ended = 0, dropped;
    int rc = 0;

    slots[0] = take(pager, false);
    if (batches > 1 && (slots[1] = take_try(pager, false)) != NULL)
        most = 2;
    lane = acquire_lane(pager, pager_deadline_ns(pager, clock_now_ns()));
    do {
        if (rc == 0) /* the server answers: the next batch has all its time */
            deadline_ns = pager_deadline_ns(pager, clock_now_ns());
        for (; rc == 0 && begun < batches && begun < ended + most; begun++) {
            uint32_t from = begun * BATCH_PAGES;

            claimed_out[begun] =
                begin(pager, slots[begun % most], lane, pages + from, (uint32_t)least(BATCH_PAGES, n - from));
        }
        int error = end(pager, slots[ended++ % most], deadline_ns, &dropped);
        rc = rc ? rc : error;
    } while (ended < begun || (rc == 0 && begun < batches));
    release_lane(lane);
    for (uint32_t i = 0; i < most; i++)
        give(slots[i]);
    return rc;
}

/* Those that somebody else was writing back are done when he is done, or it is our turn. */
static int flush(struct pager *pager, uint32_t *pages, uint32_t n)
{
    while (n) {
        uint32_t claimed[STRETCH_BATCHES], left = 0;

        pager_write_enter(pager);
        int rc = write_stretch(pager, pages, n, claimed);
        pager_write_leave(pager);
        if (rc)
            return rc;
        for (uint32_t i = 0; i < n; i++)
            if (!(claimed[i / BATCH_PAGES] >> i % BATCH_PAGES & 1) && still_dirty(pager, pages[i]))
                pages[left++] = pages[i];
        n = left;
    }
    return 0;
}

/* Has a fence taken stores of the range away? */
static bool any_lost(struct pager *pager, uint32_t first, uint32_t n)
{
    for (uint32_t page = first; page < first + n; page++) {
        unsigned tries = 0;
        uint64_t word;

        while (page_state(word = load_acquire(&pager->words[page])) == PAGE_DROPPING)
            pager_backoff(&tries); /* to be lost, maybe */
        if (page_state(word) == PAGE_POISONED && (word & PAGE_LOST))
            return true;
    }
    return false;
}

int writeback_range(struct pager *pager, uint32_t first, uint32_t n)
{
    uint32_t pages[STRETCH_BATCHES * BATCH_PAGES], have = 0;

    for (uint32_t page = first; page < first + n; page++) {
        uint64_t word = load_acquire(&pager->words[page]);

        if (page_state(word) == PAGE_DIRTY || page_state(word) == PAGE_BUSY || (word & PAGE_SENDING))
            pages[have++] = page;
        if (have < STRETCH_BATCHES * BATCH_PAGES)
            continue;
        int rc = flush(pager, pages, have);
        if (rc)
            return rc;
        have = 0;
    }
    int rc = flush(pager, pages, have);
    return rc == 0 && pager->snooper && any_lost(pager, first, n) ? -EOWNERDEAD : rc;
}
