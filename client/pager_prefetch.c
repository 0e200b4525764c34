/* pager_prefetch.c - what will be wanted next, fetched while the program computes
 *
 * A stream is a row of misses at one distance: sequential, by a stride, forwards or backwards; several at
 * once are told apart by where they are. A confirmed stream keeps bulk reads in flight ahead of it. Nobody
 * waits for them: their pages are FETCHING, and the first access to one takes the bulk read over, sends the
 * next ones, waits for the rest of its own, installs all of it with one system call, and goes on. So there is
 * one fault for each bulk read, and the network works while the program does.
 *
 * A bulk read that is hit makes its stream's next ones longer and then more; one that is still unused when
 * its slot is needed by another halves them. Which pages of a bulk read were used cannot be seen (there are
 * no access bits): they count as used when the stream goes on behind them.
 */
#include "pager_internal.h"

#include <errno.h>
#include <stdlib.h>

#define STREAM_NEAR    64 /* pages: misses further apart are not one pattern */
#define STREAM_CONFIRM 2  /* distances in a row that must agree */
#define STREAM_FIRST   4  /* pages of a stream's first bulk read */
#define FETCH_STALE    (4 * FETCHES_MAX)

/* ---- bulk reads ---- */

static void op_done(struct op *op, int result)
{
    struct fetch *fetch = op->context;

    if (result)
        store_relaxed(&fetch->failed, 1u);
    fetch_sub_acq_rel(&fetch->pending, 1u); /* pairs with the acquire in is_over */
}

static bool is_over(struct fetch *fetch)
{
    return load_acquire(&fetch->pending) == 0;
}

static bool take_over(struct fetch *fetch, uint32_t from)
{
    return cas_acq_rel(&fetch->owner, &from, (uint32_t)FETCH_HELD);
}

static uint32_t neighbours(const struct fetch *fetch, uint32_t from)
{
    uint32_t n = 1;

    while (from + n < fetch->count && fetch->pages[from + n] == fetch->pages[from] + n)
        n++;
    return n;
}

static void post(struct pager *pager, struct lane *lane, struct fetch *fetch)
{
    fetch->lane = lane;
    fetch->failed = 0;
    fetch->op_count = 0;
    for (uint32_t i = 0, n; i < fetch->count; i += n) {
        n = neighbours(fetch, i);
        fetch->ops[fetch->op_count++] = (struct op){
            .opcode = fetch->agent ? OP_MEM_RD_SHARED : OP_MEM_RD,
            .line_count = n * PAGE_LINES,
            .agent = fetch->agent,
            .region = pager->region->handle,
            .offset = pager->region_offset + (uint64_t)fetch->pages[i] * PAGE_BYTES,
            .result = fetch->buffer + (uint64_t)i * PAGE_BYTES,
            .done = op_done,
            .context = fetch,
        };
    }
    store_release(&fetch->pending, fetch->op_count);
    for (uint32_t i = 0; i < fetch->op_count; i++)
        lane_post(lane, &fetch->ops[i]);
    store_release(&fetch->owner, (uint32_t)FETCH_FLYING);
}

static void give_up(struct pager *pager, uint32_t page)
{
    page_leave(pager, page, PAGE_ABSENT, 0, PAGE_SNOOPED, 0);
    evict_unreserve(pager, 1);
}

/* Gives the pages up as if they had never been asked for. The slot is ours, nothing in flight. */
static void abandon(struct pager *pager, struct fetch *fetch)
{
    for (uint32_t i = 0; i < fetch->count; i++)
        give_up(pager, fetch->pages[i]);
    store_release(&fetch->owner, (uint32_t)FETCH_FREE);
}

/* All or none: if they are worth their room, a page that is not stored to after all is not to be sent. */
static bool take_prints(struct pager *pager, uint32_t *prints, uint32_t n)
{
    if (!print_needed(pager))
        return true;
    for (uint32_t i = 0; i < n; i++) {
        prints[i] = print_take(pager, false);
        if (prints[i] != PRINT_NONE)
            continue;
        for (; i > 0; i--) {
            print_give(pager, prints[i - 1]);
            prints[i - 1] = PRINT_NONE;
        }
        return false;
    }
    return true;
}

/* A stream of stores would fault on each page a second time if it came protected; so it comes dirty, and what
 * was not changed after all costs a comparison, or without fingerprints is sent in vain. */
static void install_run(struct pager *pager, struct fetch *fetch, uint32_t from, uint32_t n, bool dirty)
{
    uint32_t prints[FETCH_PAGES] = {PRINT_NONE};
    const uint8_t *data = fetch->buffer + (uint64_t)from * PAGE_BYTES;

    dirty = dirty && take_prints(pager, prints, n);
    for (uint32_t i = 0; dirty && i < n; i++) {
        print_set(pager, prints[i], data + (uint64_t)i * PAGE_BYTES);
        page_leave(pager, fetch->pages[from + i], PAGE_BUSY, 0, 0, 0);
    }
    uint32_t done; /* what was not installed will be asked for again */
    uffd_install(pager, fetch->pages[from], data, n, !dirty, &done);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t page = fetch->pages[from + i];

        if (i >= done) {
            print_give(pager, prints[i]);
            give_up(pager, page);
            continue;
        }
        page_leave(pager, page, dirty ? PAGE_DIRTY : PAGE_CLEAN, prints[i], 0, 0);
        evict_enqueue(pager, page, false);
    }
    if (dirty)
        fetch_add_relaxed(&pager->dirty_pages, done);
}

/* Leaves those out that others have taken meanwhile. Bit i: pages[i] is to be installed. */
static uint32_t still_true(struct pager *pager, struct fetch *fetch)
{
    uint32_t fine = 0;

    if (!fetch->agent)
        return UINT32_MAX;
    for (uint32_t i = 0; i < fetch->count; i++) {
        if (lease_install_begin(pager, fetch->pages[i], fetch->agent, NULL))
            fine |= 1u << i;
        else
            give_up(pager, fetch->pages[i]);
    }
    return fine;
}

static void install(struct pager *pager, struct fetch *fetch, bool dirty)
{
    uint32_t fine = still_true(pager, fetch);

    for (uint32_t i = 0, n; i < fetch->count; i += n) {
        uint32_t run = (uint32_t)__builtin_ctzll(~(uint64_t)(fine >> i));

        n = neighbours(fetch, i);
        if (run < n)
            n = run ? run : 1;
        if (run)
            install_run(pager, fetch, i, n, dirty);
    }
    count(&pager->counters.fetched_pages, fetch->count);
    count(&pager->counters.prefetched_pages, fetch->count);
    store_release(&fetch->owner, (uint32_t)FETCH_FREE);
}

/* ---- slots; under stream_lock ---- */

static void stream_wasted(struct pager *pager, const struct fetch *fetch)
{
    if (!fetch->stream)
        return;
    struct stream *stream = &pager->streams[fetch->stream - 1];
    if (stream->flying)
        stream->flying--;
    stream->depth = (stream->depth + 1) / 2;
    stream->pages = stream->pages / 2 > STREAM_FIRST ? stream->pages / 2 : STREAM_FIRST;
    stream->pending_use = 0;
}

/* An answer that nobody came for, if its slot is the oldest; `lane` is held. */
static bool recycle(struct pager *pager, struct lane *lane, struct fetch *fetch)
{
    if (pager->fetch_clock - fetch->age < FETCH_STALE || !take_over(fetch, FETCH_FLYING))
        return false;
    if (!is_over(fetch) && fetch->lane != lane && lane_hold_try(fetch->lane)) {
        lane_progress(fetch->lane);
        lane_release(fetch->lane);
    }
    if (!is_over(fetch)) {
        store_release(&fetch->owner, (uint32_t)FETCH_FLYING);
        return false;
    }
    stream_wasted(pager, fetch);
    abandon(pager, fetch);
    return take_over(fetch, FETCH_FREE);
}

static struct fetch *slot_take(struct pager *pager, struct lane *lane)
{
    pager->fetch_clock++;
    for (uint32_t i = 0; i < pager->fetch_count; i++)
        if (load_relaxed(&pager->fetches[i].owner) == FETCH_FREE && take_over(&pager->fetches[i], FETCH_FREE))
            return &pager->fetches[i];
    for (uint32_t i = 0; i < pager->fetch_count; i++)
        if (recycle(pager, lane, &pager->fetches[i]))
            return &pager->fetches[i];
    return NULL;
}

/* ---- streams; under stream_lock ---- */

/* Claims the next pages of the stream that are worth a read, at most so many. */
static void fill(struct pager *pager, struct stream *stream, uint32_t most, struct fetch *fetch)
{
    const uint32_t slot = (uint32_t)(fetch - pager->fetches) + 1;
    uint32_t want = stream->pages < most ? stream->pages : most;

    fetch->count = 0;
    for (uint32_t looked = 0; fetch->count < want && looked < 4 * want; looked++) {
        uint32_t page = stream->next;
        int64_t next = (int64_t)page + stream->stride;

        if (page >= stream->end)
            return;
        uint64_t word = load_relaxed(&pager->words[page]);
        if (page_state(word) == PAGE_ABSENT && !(word & PAGE_ZERO)) {
            if (!evict_reserve_try(pager, evict_spare_pages(pager) / 2))
                return;
            if (page_claim(pager, page, &word, page_with(word, PAGE_FETCHING, slot)))
                fetch->pages[fetch->count++] = page;
            else
                evict_unreserve(pager, 1);
        }
        stream->next = next < 0 || next >= pager->page_count ? stream->end : (uint32_t)next;
    }
}

/* One or two frames; where a page takes several frames, 16 pages. */
static uint32_t pages_of_read(const struct pager *pager, const struct lane *lane)
{
    uint32_t of_frame = lane_frame_lines(lane) / PAGE_LINES;

    if (!of_frame)
        return FETCH_PAGES / 2;
    if (of_frame > pager->fetch_pages)
        return pager->fetch_pages;
    return 2 * of_frame <= pager->fetch_pages ? 2 * of_frame : of_frame;
}

/* What the stream should have in flight and has not. Returns how many slots are filled and to be posted. */
static uint32_t plan(struct pager *pager, struct lane *lane, struct stream *stream, struct fetch *fetches[])
{
    uint32_t n = 0, most = pages_of_read(pager, lane);
    uint32_t agent = pager->snooper ? lease_agent(pager) : 0;

    if (pager->snooper && !agent)
        return 0;
    stream->used = ++pager->stream_clock;
    while (stream->flying < stream->depth && n < STREAM_DEPTH_MAX) {
        struct fetch *fetch = slot_take(pager, lane);

        if (!fetch)
            break;
        fill(pager, stream, most, fetch);
        if (!fetch->count) {
            store_release(&fetch->owner, (uint32_t)FETCH_FREE);
            break;
        }
        if (stream->stride < 0)
            pages_sort(fetch->pages, fetch->count);
        fetch->stream = (uint32_t)(stream - pager->streams) + 1;
        fetch->age = pager->fetch_clock;
        fetch->agent = agent;
        stream->flying++;
        fetches[n++] = fetch;
    }
    return n;
}

static void begin(struct pager *pager, struct stream *stream, uint32_t page, int32_t stride)
{
    int64_t next = (int64_t)page + stride;

    stream->stride = stride;
    stream->next = next < 0 || next >= pager->page_count ? pager->page_count : (uint32_t)next;
    stream->end = pager->page_count;
    stream->depth = 1;
    stream->pages = STREAM_FIRST;
}

/* Does the miss continue the stream? Also if it is a few strides further: pages between may have been here.
 */
static bool continues(const struct stream *stream, uint32_t page)
{
    int64_t distance = (int64_t)page - stream->last;

    if (!stream->hits || distance == 0 || distance % stream->stride)
        return false;
    return distance / stream->stride > 0 && distance / stream->stride <= (stream->hits > 1 ? STREAM_NEAR : 1);
}

static bool overtaken(const struct stream *stream, uint32_t page)
{
    return stream->stride > 0 ? page >= stream->next : page <= stream->next || stream->next == stream->end;
}

static struct stream *follow_known(struct pager *pager, uint32_t page)
{
    for (unsigned i = 0; i < STREAMS; i++) {
        struct stream *stream = &pager->streams[i];

        if (!continues(stream, page))
            continue;
        stream->hits++;
        stream->last = page;
        stream->used = ++pager->stream_clock;
        if (stream->hits < STREAM_CONFIRM)
            return NULL;
        /* It overtook what was asked for, or begins. */
        if (stream->hits == STREAM_CONFIRM || (!stream->flying && overtaken(stream, page)))
            begin(pager, stream, page, stream->stride);
        return stream;
    }
    return NULL;
}

/* Remembers the miss as the first of a row, or with an earlier one as the second. */
static void follow_new(struct pager *pager, uint32_t page)
{
    struct stream *oldest = &pager->streams[0];

    for (unsigned i = 0; i < STREAMS; i++) {
        struct stream *stream = &pager->streams[i];
        int64_t distance = (int64_t)page - stream->last;

        if (stream->used && stream->hits < STREAM_CONFIRM && distance && llabs(distance) <= STREAM_NEAR) {
            stream->stride = (int32_t)distance;
            stream->hits = 1;
            stream->last = page;
            stream->used = ++pager->stream_clock;
            return;
        }
        if (stream->used < oldest->used)
            oldest = stream;
    }
    *oldest = (struct stream){.last = page, .used = ++pager->stream_clock};
}

static enum cxe_advice advice_locked(const struct pager *pager, uint32_t page)
{
    for (uint32_t i = pager->advice_count; i; i--)
        if (page - pager->advices[i - 1].first < pager->advices[i - 1].end - pager->advices[i - 1].first)
            return pager->advices[i - 1].advice;
    return CXE_ADVICE_NORMAL;
}

static struct stream *follow(struct pager *pager, uint32_t page)
{
    enum cxe_advice advice = advice_locked(pager, page);

    if (advice == CXE_ADVICE_RANDOM)
        return NULL;
    struct stream *stream = follow_known(pager, page);
    if (stream)
        return stream;
    follow_new(pager, page);
    if (advice != CXE_ADVICE_SEQUENTIAL)
        return NULL;
    /* The program has said what we would otherwise wait to see. */
    for (unsigned i = 0; i < STREAMS; i++) {
        stream = &pager->streams[i];
        if (stream->last != page || stream->used != pager->stream_clock)
            continue;
        begin(pager, stream, page, 1);
        stream->hits = STREAM_CONFIRM;
        stream->pages = pager->fetch_pages;
        return stream;
    }
    return NULL;
}

static void grow(struct pager *pager, struct stream *stream, struct fetch *fetch)
{
    uint32_t most = pager->fetch_count / 2 < STREAM_DEPTH_MAX ? pager->fetch_count / 2 : STREAM_DEPTH_MAX;

    count(&pager->counters.prefetch_used_pages, stream->pending_use + 1);
    stream->pending_use = fetch->count - 1;
    if (stream->flying)
        stream->flying--;
    stream->last = stream->stride < 0 ? fetch->pages[0] : fetch->pages[fetch->count - 1];
    if (stream->pages < pager->fetch_pages)
        stream->pages = 2 * stream->pages < pager->fetch_pages ? 2 * stream->pages : pager->fetch_pages;
    else if (stream->depth < most)
        stream->depth++;
}

/* ---- faults ---- */

static void post_all(struct pager *pager, struct lane *lane, struct fetch *fetches[], uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        post(pager, lane, fetches[i]);
}

void prefetch_miss(struct pager *pager, struct lane *lane, uint32_t page)
{
    struct fetch *fetches[STREAM_DEPTH_MAX];
    uint32_t n = 0;

    if (!pager->fetch_count || !spin_try(&pager->stream_lock))
        return;
    struct stream *stream = follow(pager, page);
    if (stream)
        n = plan(pager, lane, stream, fetches);
    spin_unlock(&pager->stream_lock);
    post_all(pager, lane, fetches, n);
}

uint32_t prefetch_zero_run(struct pager *pager, uint32_t page)
{
    uint32_t n = 1;

    if ((pager->flags & CXE_MAP_NO_PREFETCH) || !spin_try(&pager->stream_lock))
        return 1;
    struct stream *stream = follow(pager, page);
    if (stream && stream->stride == 1) {
        uint32_t most = stream->hits < 4 ? STREAM_FIRST : ZEROS_MOST;

        while (n < most && page + n < pager->page_count &&
               page_state(load_relaxed(&pager->words[page + n])) == PAGE_ABSENT &&
               (load_relaxed(&pager->words[page + n]) & PAGE_SERVER_ZERO))
            n++;
        stream->last = page + n - 1;
        stream->next = page + n;
    }
    spin_unlock(&pager->stream_lock);
    return n;
}

/* The lane of a bulk read, unless its answer comes through somebody else first. */
static bool hold_lane(struct fetch *fetch)
{
    unsigned tries = 0;

    while (!lane_hold_try(fetch->lane)) {
        if (is_over(fetch))
            return false;
        pager_backoff(&tries);
    }
    return true;
}

static void wait_for_all(struct lane *lane, struct fetch *fetch, uint64_t deadline_ns)
{
    for (uint32_t i = 0; i < fetch->op_count; i++) {
        struct op *op = &fetch->ops[i];

        if (!op->finished)
            lane_wait(lane, op, deadline_ns);
        if (!op->finished) {
            lane_cancel(lane, op);
            fetch->failed = 1;
            fetch->pending--;
        }
    }
}

/* The slot is ours: the stream goes on first, then we wait. */
static void advance(struct fault *fault, struct fetch *fetch, bool *dirty_out)
{
    struct pager *pager = fault->pager;
    struct fetch *fetches[STREAM_DEPTH_MAX];
    uint32_t n = 0;
    bool held = hold_lane(fetch);

    *dirty_out = false;
    if (fetch->stream && spin_try(&pager->stream_lock)) {
        struct stream *stream = &pager->streams[fetch->stream - 1];

        grow(pager, stream, fetch);
        *dirty_out = stream->write && fault->write && !pager->snooper; /* twice in a row */
        stream->write = fault->write;
        if (held && !(pager->snooper && fault->write))
            n = plan(pager, fetch->lane, stream, fetches);
        spin_unlock(&pager->stream_lock);
    }
    if (!held)
        return;
    post_all(pager, fetch->lane, fetches, n);
    lane_progress(fetch->lane);
    lane_release(fetch->lane);
    evict_ahead(pager, BATCH_PAGES);
    lane_offer_core(pager->connection); /* a stream may take long; a line is waited for */
    if (is_over(fetch) || !hold_lane(fetch))
        return;
    wait_for_all(fetch->lane, fetch, fault->deadline_ns);
    lane_release(fetch->lane);
}

/* The bulk read that `word` names, ours now; NULL: the page has gone on. */
static struct fetch *take_over_of(struct pager *pager, uint32_t page, uint64_t word)
{
    struct fetch *fetch = &pager->fetches[page_extra(word) - 1];
    unsigned tries = 0;

    while (!take_over(fetch, FETCH_FLYING)) {
        if (load_acquire(&pager->words[page]) != word)
            return NULL;
        pager_backoff(&tries);
    }
    if (load_acquire(&pager->words[page]) == word)
        return fetch;
    store_release(&fetch->owner, (uint32_t)FETCH_FLYING); /* another read has the slot by now */
    return NULL;
}

void prefetch_finish(struct fault *fault, uint64_t word)
{
    struct pager *pager = fault->pager;
    struct fetch *fetch = take_over_of(pager, fault->page, word);
    bool dirty;

    if (!fetch)
        return;
    advance(fault, fetch, &dirty);
    if (!pager->snooper) /* another client may want it at once */
        lane_offer_core(pager->connection);
    if (load_relaxed(&fetch->failed))
        abandon(pager, fetch); /* whoever needs a page asks for it alone, and learns why */
    else
        install(pager, fetch, dirty);
    lane_offer_core(pager->connection);
}

/* The slot is ours. */
static void take_back(struct pager *pager, struct fetch *fetch)
{
    if (hold_lane(fetch)) {
        wait_for_all(fetch->lane, fetch, 0);
        lane_release(fetch->lane);
    }
    spin_lock(&pager->stream_lock);
    stream_wasted(pager, fetch);
    spin_unlock(&pager->stream_lock);
    abandon(pager, fetch);
}

void prefetch_take_back(struct pager *pager, uint32_t page, uint64_t word)
{
    struct fetch *fetch = take_over_of(pager, page, word);

    if (fetch)
        take_back(pager, fetch);
}

/* ---- on request ---- */

void prefetch_range(struct pager *pager, uint32_t first, uint32_t n)
{
    struct fetch *fetches[STREAM_DEPTH_MAX];
    uint32_t posted;

    if (!pager->fetch_count || pager->lost || !n)
        return;
    evict_ahead(pager, BATCH_PAGES);
    struct lane *lane = lane_acquire(pager->connection);
    spin_lock(&pager->stream_lock);
    follow_new(pager, first + n < pager->page_count ? first + n : first);
    struct stream *stream = &pager->streams[0];
    for (unsigned i = 1; i < STREAMS; i++)
        if (pager->streams[i].used > stream->used)
            stream = &pager->streams[i];
    *stream = (struct stream){.last = first,
                              .stride = 1,
                              .hits = STREAM_CONFIRM + 1,
                              .next = first,
                              .end = first + n,
                              .depth = STREAM_DEPTH_MAX,
                              .pages = pager->fetch_pages};
    posted = plan(pager, lane, stream, fetches);
    spin_unlock(&pager->stream_lock);
    post_all(pager, lane, fetches, posted);
    lane_push(lane);
    lane_release(lane);
}

void prefetch_advise(struct pager *pager, uint32_t first, uint32_t n, enum cxe_advice advice)
{
    struct advice entry = {.first = first, .end = first + n, .advice = advice};
    uint32_t keep = 0;

    spin_lock(&pager->stream_lock);
    for (uint32_t i = 0; i < pager->advice_count; i++) /* those it covers are over */
        if (pager->advices[i].first < entry.first || pager->advices[i].end > entry.end)
            pager->advices[keep++] = pager->advices[i];
    if (keep == ADVICES_MAX) { /* a hint may be forgotten: the oldest */
        for (uint32_t i = 1; i < keep; i++)
            pager->advices[i - 1] = pager->advices[i];
        keep--;
    }
    pager->advices[keep++] = entry;
    pager->advice_count = keep;
    spin_unlock(&pager->stream_lock);
}

void prefetch_stop(struct pager *pager)
{
    for (uint32_t i = 0; i < pager->fetch_count; i++) {
        struct fetch *fetch = &pager->fetches[i];
        unsigned tries = 0;

        while (load_acquire(&fetch->owner) != FETCH_FREE && !take_over(fetch, FETCH_FLYING))
            pager_backoff(&tries);
        if (load_acquire(&fetch->owner) == FETCH_FREE)
            continue;
        take_back(pager, fetch);
    }
}

void prefetch_forget(struct pager *pager)
{
    for (uint32_t i = 0; i < pager->fetch_count; i++)
        if (load_acquire(&pager->fetches[i].owner) != FETCH_FREE)
            abandon(pager, &pager->fetches[i]);
    for (unsigned i = 0; i < STREAMS; i++)
        pager->streams[i] = (struct stream){0};
}
