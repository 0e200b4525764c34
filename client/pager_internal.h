/* pager_internal.h - the pager's own view of itself; included by pager*.c and mapping.c alone
 *
 * Lock order, as the fields stand in struct pager: gate, demand slot or write-back slot, fetch slot, lane,
 * stream_lock, queue_lock, print_lock. The three locks are held for a few dozen instructions that neither
 * fault nor enter the kernel.
 */
#ifndef CXE_CLIENT_PAGER_INTERNAL_H
#define CXE_CLIENT_PAGER_INTERNAL_H

#include <pthread.h>
#include <sched.h>

#include "pager.h"
#include "atomic.h"
#include "check.h"
#include "clock.h"
#include "connection.h"
#include "histogram.h"
#include "lane.h"

/* ---- the state of one page: one word, changed by compare-and-swap ----
 *
 * ABSENT, CLEAN, DIRTY, CLEANING and POISONED are open: whoever wins the compare-and-swap may move on.
 * FETCHING, BUSY and DROPPING are owned: only who entered the state leaves it, soon, and all others wait. */
enum page_state {
    PAGE_ABSENT = 0,   /* not in memory. Extra: the eviction it left by, 0 if never here */
    PAGE_FETCHING = 1, /* a read is in flight. Extra: fetch slot + 1, or 0 for a demand fetch */
    PAGE_CLEAN = 2,    /* in memory, write-protected, as the server has it (or zero, with PAGE_ZERO) */
    PAGE_DIRTY = 3,    /* in memory, writable. Extra: its print */
    PAGE_BUSY = 4,     /* being installed writable, copied, or having its protection changed */
    PAGE_CLEANING = 5, /* in memory, write-protected, its lines are on their way. Extra: its print */
    PAGE_DROPPING = 6, /* leaving memory */
    PAGE_POISONED = 7, /* cannot be had: every access gets SIGBUS */
};
#define PAGE_STATE_MASK  15ull
#define PAGE_ZERO        (1ull << 4) /* ABSENT, CLEAN, POISONED: it is zeros, whatever the server has */
#define PAGE_SERVER_ZERO (1ull << 5) /* the server has zeros */
#define PAGE_QUEUED      (1ull << 6) /* stands in a queue, once; may be set on an ABSENT page (stale entry) */
#define PAGE_HOT         (1ull << 7) /* FETCHING and on: came back soon after it was evicted */
#define PAGE_SENDING     (1ull << 8) /* a write-back of what it was a moment ago is in flight */
#define PAGE_OWNED       (1ull << 9) /* coherent: no other client may use a copy, so a store asks nobody */
#define PAGE_SNOOPED     (1ull << 10) /* coherent, FETCHING: what is on its way is no longer true */
#define PAGE_LOST        (1ull << 11) /* coherent, POISONED: with stores that the server has not got */
#define PAGE_PIN_SHIFT   16           /* CLEAN, DIRTY, BUSY: how many pins */
#define PAGE_PIN_ONE     (1ull << PAGE_PIN_SHIFT)
#define PAGE_PIN_MASK    (255ull << PAGE_PIN_SHIFT)
#define PAGE_EXTRA_SHIFT 32
#define PAGE_EXTRA_MASK  (0xffffffffull << PAGE_EXTRA_SHIFT)
#define PRINT_NONE       0u /* every line is sent, or with SERVER_ZERO what is not zero */

static inline enum page_state page_state(uint64_t word)
{
    return (enum page_state)(word & PAGE_STATE_MASK);
}
static inline uint32_t page_extra(uint64_t word)
{
    return (uint32_t)(word >> PAGE_EXTRA_SHIFT);
}
static inline uint64_t page_with(uint64_t word, enum page_state state, uint32_t extra)
{
    return (word & ~(PAGE_STATE_MASK | PAGE_EXTRA_MASK)) | (uint64_t)state |
           ((uint64_t)extra << PAGE_EXTRA_SHIFT);
}

/* ---- sizes; they bind nobody outside the pager ---- */

#define DEMANDS           16 /* faults that wait for the network at once */
#define FETCHES_MAX       16 /* bulk reads in flight */
#define FETCH_PAGES       32 /* pages of one, at most */
#define ZEROS_MOST        16 /* pages of known zeros that come in together */
#define STREAMS           8  /* access patterns followed at once */
#define STREAM_DEPTH_MAX  6  /* bulk reads ahead of one stream */
#define WRITEBACKS        4  /* write-backs in flight */
#define BATCH_PAGES       32 /* pages of one, and of one eviction */
#define AHEAD_PAGES       4  /* scattered ones that can be dropped while one is fetched */
#define PAGE_RUNS_MAX     (PAGE_LINES / 2)
#define ADVICES_MAX       16
#define CLONES_MAX        16
#define FAIL_FAST_NS      (100 * NS_PER_MS) /* the first sign, where a lost frame is none yet */
#define RETRY_PAUSE_NS    (10 * NS_PER_MS)
#define EPHEMERAL_WAKE_NS (20 * NS_PER_S) /* name an ephemeral region this often */

/* A spin lock, for sections that neither fault nor enter the kernel. */
static inline bool spin_try(uint32_t *lock)
{
    uint32_t expected = 0;

    return cas_acquire(lock, &expected, 1u);
}
static inline void spin_lock(uint32_t *lock)
{
    for (unsigned tries = 1; !spin_try(lock); tries++) {
        if (tries % 64)
            cpu_relax();
        else
            sched_yield();
    }
}
static inline void spin_unlock(uint32_t *lock)
{
    store_release(lock, 0u);
}

/* One wait after the other, longer each time. Start with 0. */
void pager_backoff(unsigned *tries);

/* A queue of page numbers. */
struct ring {
    uint32_t *pages;
    uint32_t capacity; /* a power of two */
    uint32_t head;
    uint32_t count;
};

/* A fault's own fetch. */
struct demand {
    uint32_t taken;
    struct op op;
    uint8_t *buffer; /* a page */
};

/* What makes a mapping coherent: see pager_snoop.h. */
struct snooper;

/* A bulk read under way, by nobody: whoever needs one of its pages takes it over. */
enum fetch_owner { FETCH_FREE, FETCH_HELD, FETCH_FLYING };
struct fetch {
    uint32_t owner;   /* enum fetch_owner; compare-and-swap */
    uint32_t pending; /* operations not finished; counted down by whoever holds the lane */
    uint32_t failed;
    uint32_t agent; /* coherent: for whom */
    struct lane *lane;
    uint32_t stream; /* index + 1; 0: asked for by cxe_prefetch */
    uint32_t age;    /* pager->fetch_clock when it was sent */
    uint32_t count;
    uint32_t op_count;
    uint32_t pages[FETCH_PAGES]; /* ascending */
    struct op ops[FETCH_PAGES];  /* one for each run of neighbours */
    uint8_t *buffer;
};

#define PRINT_SECRET_BYTES 192 /* of the hash, a mapping's own */

/* The lines of a page as they were when it became dirty. */
struct print {
    uint64_t lines[PAGE_LINES];
    uint64_t force; /* send these whatever they are: an earlier try may have changed the server's */
};

/* A page's place in the cache that holds fingerprints instead. */
struct shelf {
    uint32_t next, prev; /* among those with some places free, as number + 1; 0: none */
    uint32_t used;       /* bit i: its print i is some page's */
};
#define SHELF_PRINTS (PAGE_BYTES / sizeof(struct print))
#define SHELVES_WARM 257 /* empty ones that keep their places for the next, at most, and one more */

/* An access pattern; see pager_prefetch.c. Under stream_lock. */
struct stream {
    uint32_t last;        /* page of the last miss */
    int32_t stride;       /* in pages; 0: one miss seen so far */
    uint32_t hits;        /* misses that fitted in a row */
    uint32_t next;        /* first page not asked for yet */
    uint32_t end;         /* no further than this page */
    uint32_t depth;       /* bulk reads it may have in flight */
    uint32_t pages;       /* of each */
    uint32_t flying;      /* bulk reads in flight */
    bool write;           /* it was a store that came for the last bulk read */
    uint32_t pending_use; /* pages installed by the last bulk read that was hit: used if the next one is */
    uint32_t used;        /* stream_clock when it was last of use */
};

struct advice {
    uint32_t first, end; /* pages */
    enum cxe_advice advice;
};

/* A batch of pages on their way to the server. */
struct writeback {
    uint32_t taken;
    bool drop;         /* afterwards the pages leave; else they stay, clean */
    uint32_t agent;    /* coherent: whose pages they are */
    struct lane *lane; /* held while pages are on their way; NULL: the mapping is lost */
    bool posted;       /* the first try is under way */
    uint32_t count;
    uint32_t pages[BATCH_PAGES];
    uint64_t changed[BATCH_PAGES]; /* lines sent of each */
    uint8_t index[BATCH_PAGES];    /* where the caller's list has it */
    bool shared[BATCH_PAGES];      /* stays writable meanwhile: pinned */
    bool failed[BATCH_PAGES];
    uint32_t op_count;
    struct op *ops;  /* BATCH_PAGES * PAGE_RUNS_MAX; context: failed[] of its page */
    uint8_t *copies; /* BATCH_PAGES pages */
};

/* A region cloned for a child. */
struct clone {
    struct cxe_region *region; /* NULL: free */
    int pidfd;                 /* -1: not known */
    uint32_t done;             /* set by the cleaner, which may not free it */
};

/* Relaxed. */
struct pager_counters {
    uint64_t faults, fetched_pages, prefetched_pages, prefetch_used_pages;
    uint64_t evicted_pages, written_pages, written_lines, poisoned_pages, discarded_pages;
    uint64_t writeback_failures;
    uint64_t snoops, given_up_pages, fenced; /* coherent */
};

struct pager {
    /* Fixed while it is open. */
    uint8_t *base;
    uint64_t bytes;
    uint32_t page_count;
    uint64_t region_offset;
    uint64_t local_bytes;
    struct cxe_region *region;         /* the child of a fork: its clone */
    struct cxe_connection *connection; /* the child of a fork: its own */
    bool owns_connection;              /* ... which nobody else closes */
    bool lost;                         /* the child of a fork: nothing remote can be had */
    int uffd, uffd_guard, pagemap_fd;
    bool has_poison, has_vector_advice;
    enum cxe_fault_mode mode; /* INLINE or THREAD */
    enum cxe_gone_policy policy;
    struct snooper *snooper; /* NULL: the mapping is private */
    uint64_t gone_deadline_ns;
    uint32_t flags;
    bool exclusive; /* nobody else stores to the region */
    uint32_t cache_pages, low_pages, probation_pages;
    uint32_t fetch_count, fetch_pages, shelf_count;
    uint64_t *words; /* one for each page */
    uint8_t *arena;  /* prints, buffers */
    uint64_t arena_bytes;
    uint8_t *prints; /* shelf_count pages */
    uint8_t print_secret[PRINT_SECRET_BYTES];

    uint32_t gate;       /* threads inside, and GATE_CLOSED */
    uint32_t write_gate; /* write-backs under way, and GATE_CLOSED */
    struct demand demands[DEMANDS];
    struct writeback *writebacks;
    struct fetch *fetches;
    uint32_t fetch_clock;

    uint32_t stream_lock;
    struct stream streams[STREAMS];
    uint32_t stream_clock;
    struct advice advices[ADVICES_MAX];
    uint32_t advice_count;

    uint32_t queue_lock;
    struct ring probation, hot;

    uint32_t print_lock;
    struct shelf *shelves;
    uint32_t *shelves_free; /* those without a place */
    uint32_t shelves_free_count;
    uint32_t shelves_warm[SHELVES_WARM]; /* empty, with a place */
    uint32_t shelves_warm_count, shelves_warm_most;
    uint32_t shelf_open; /* first of the list of those with places, as number + 1 */

    int32_t free_pages;  /* how many more may come in */
    uint32_t used_pages; /* all but those that are zeros and not here */
    uint32_t dirty_pages, pinned_pages;
    uint32_t evictions; /* counts, skips 0: ghosts are as old as the difference */

    uint32_t cleaner_wanted, cleaner_asleep, stopping;
    bool cleaner_running, fault_thread_running;
    pthread_t cleaner, fault_thread;
    int stop_fd;
    uint64_t named_ns; /* when an ephemeral region was last named */

    struct clone clones[CLONES_MAX];
    pthread_t forker;
    struct cxe_region *fork_clone; /* between prepare and parent or child */
    bool fork_shared;

    struct pager_counters counters;
    struct histogram fault_ns;
};

/* ---- a fault ---- */

struct fault {
    struct pager *pager;
    uint32_t page;
    bool write;
    bool missing;         /* the kernel says, or may say, that the page is not there */
    bool waited;          /* the state changed since the fault: nothing can be concluded from `missing` */
    uint32_t print;       /* of a store: taken before the page is, since room may have to be made for it */
    uint64_t deadline_ns; /* UINT64_MAX: none */
};

/* When a fault or write-back that starts now gives up, by the mapping's policy. */
uint64_t pager_deadline_ns(const struct pager *pager, uint64_t now_ns);

/* Makes the page accessible as asked. 0: the access may be repeated. -EFAULT: it is poisoned. Inside the
 * gate. */
int fault_resolve(struct fault *fault);

/* From the SIGBUS handler or the fault thread, outside the gate: resolves, and counts how long it took. */
int fault_handle(struct pager *pager, const void *address, bool write, bool missing);

/* Will it ever help to ask again? */
bool pager_error_is_final(int error);

/* ---- page words ---- */

static inline bool page_used(uint64_t word)
{
    return (word & (PAGE_STATE_MASK | PAGE_ZERO)) != (PAGE_ABSENT | PAGE_ZERO);
}
/* Every change of a word goes through here, but for pins. */
static inline bool page_claim(struct pager *pager, uint32_t page, uint64_t *word, uint64_t new)
{
    if (!cas_acq_rel(&pager->words[page], word, new))
        return false;
    if (page_used(new) != page_used(*word))
        fetch_add_relaxed(&pager->used_pages, page_used(new) ? 1u : UINT32_MAX);
    return true;
}
/* Leaves an owned state. Others may change pins and flags meanwhile, hence a loop. */
static inline uint64_t page_leave(struct pager *pager, uint32_t page, enum page_state state, uint32_t extra,
                                  uint64_t clear, uint64_t set)
{
    uint64_t old = load_relaxed(&pager->words[page]);
    uint64_t new;

    do
        new = (page_with(old, state, extra) & ~clear) | set;
    while (!page_claim(pager, page, &old, new));
    return new;
}
/* The same, keeping whatever the extra field holds by then. */
static inline void page_move(struct pager *pager, uint32_t page, enum page_state state, uint64_t clear,
                             uint64_t set)
{
    uint64_t old = load_relaxed(&pager->words[page]);

    while (!page_claim(pager, page, &old, page_with((old & ~clear) | set, state, page_extra(old))))
        ;
}
static inline uint8_t *page_address(const struct pager *pager, uint32_t page)
{
    return pager->base + (uint64_t)page * PAGE_BYTES;
}
static inline void count(uint64_t *counter, uint64_t n)
{
    fetch_add_relaxed(counter, n);
}

/* ---- coherent mappings: pager_snoop.c and pager_lease.c ---- */

/* Becomes a cache agent of the region. Ordinary; waits for the server. */
int snoop_open(struct pager *pager);
int snoop_start(struct pager *pager);
/* Ends the thread and the agent; safe where there is none. Nothing may be dirty. */
void snoop_close(struct pager *pager);
/* No page changes by a snoop between the two. */
void snoop_pause(struct pager *pager);
void snoop_resume(struct pager *pager);

/* The agent's name now; 0: its lease is over, and there is no other yet. */
uint32_t lease_agent(const struct pager *pager);
/* The same, waiting for one. -ETIMEDOUT; or why there will be none. */
int lease_agent_wait(struct pager *pager, uint64_t deadline_ns, uint32_t *agent_out);
/* Why there is none. */
int lease_error(const struct pager *pager);
/* The server may have to wait so long for another client before it can answer. */
uint64_t lease_grace_ns(const struct pager *pager);
/* The server says that the agent is no more. */
void lease_lost(struct pager *pager, uint32_t agent);
/* The page was fetched (FETCHING) for this agent, by `read` (NULL: by one of which nothing more is known):
 * makes it BUSY, to be installed. False: what came is no longer true; the page is still FETCHING. */
bool lease_install_begin(struct pager *pager, uint32_t page, uint32_t agent, const struct op *read);
/* An access waits for the page that is there now: it gets its turn before a snoop does. */
void snoop_note_grant(struct pager *pager, uint32_t page);

/* ---- fingerprints, pager_print.c ---- */

int print_init(struct pager *pager);
/* Room for a set of fingerprints; to be set. PRINT_NONE: there is none now. `by_force`: one place too
 * many, if need be. */
uint32_t print_take(struct pager *pager, bool by_force);
void print_give(struct pager *pager, uint32_t print);
/* Gives back places of shelves that are empty, and kept for the next. Returns how many. */
uint32_t print_close_empty(struct pager *pager);
/* What the server has. */
void print_set(struct pager *pager, uint32_t print, const uint8_t *page);
/* Bit i: line i is not as it was, or is to be sent in any case. */
uint64_t print_changed(struct pager *pager, uint32_t print, const uint8_t *page);
uint64_t lines_not_zero(const uint8_t *page);
/* Out of a mapping, while the page is protected. */
void page_copy(uint8_t *to, const uint8_t *page);
void print_force(struct pager *pager, uint32_t print, uint64_t lines);

/* ---- the gate: fork waits until nobody is inside ---- */

#define GATE_CLOSED 0x80000000u
void pager_enter(struct pager *pager);
static inline void pager_leave(struct pager *pager)
{
    fetch_sub_acq_rel(&pager->gate, 1u);
}
/* Write-backs stop before everything else does: while the region is being cloned, pages may still come in,
 * but none may reach the server, or the clone would lack it. Who may not go on waits outside the first gate,
 * so he must hold nothing, not even entries taken from a queue. */
bool pager_write_enter_try(struct pager *pager);
/* Is this the thread that closed the write gate, or one that serves its faults? It cannot wait for itself. */
bool pager_is_forking(struct pager *pager);
void pager_write_wait(struct pager *pager);
void pager_write_enter(struct pager *pager);
static inline void pager_write_leave(struct pager *pager)
{
    fetch_sub_acq_rel(&pager->write_gate, 1u);
}
void gate_close(uint32_t *gate); /* for one at a time; and waits until it is empty */
void gate_open(uint32_t *gate);
/* For calls from ordinary code: signals blocked, since a handler that faults meanwhile could wait for us. */
void pager_begin(struct pager *pager, sigset_t *saved_out);
void pager_end(struct pager *pager, const sigset_t *saved);

/* ---- userfaultfd, pager_uffd.c ---- */

/* A descriptor with what the mode needs. -EPERM, -ENOSYS with a sentence (see fail). */
int uffd_open(enum cxe_fault_mode mode, int *fd_out, bool *has_poison_out);
int uffd_register(int fd, void *base, uint64_t bytes);
/* Installs pages that are missing; those that are there are left alone. 0, or -ENOENT: the range is no longer
 * ours; -ENOMEM: then the first `*done_out` pages are there all the same. */
int uffd_install(struct pager *pager, uint32_t page, const uint8_t *data, uint32_t count, bool protect,
                 uint32_t *done_out);
int uffd_protect(struct pager *pager, uint32_t page, uint32_t count, bool protect);
int uffd_poison(struct pager *pager, uint32_t page);
/* The page is missing again, whatever it was. */
void uffd_unpoison(struct pager *pager, uint32_t page);
void uffd_wake(struct pager *pager, uint32_t page);
/* Drops `count` pages (ascending, at most BATCH_PAGES) of the memory at `base`, whatever they hold. */
void memory_drop(struct pager *pager, uint8_t *base, const uint32_t *pages, uint32_t count);
/* The same of the mapping. */
void uffd_drop(struct pager *pager, const uint32_t *pages, uint32_t count);
bool uffd_vector_advice_works(void);
/* Is there anything in the page, be it swapped out? */
bool uffd_page_present(struct pager *pager, uint32_t page);

/* ---- the cache, pager_evict.c ---- */

/* All pages in use have places, if fingerprints take none: then nothing has to leave. */
static inline bool evict_all_fit(const struct pager *pager)
{
    return pager->exclusive && load_relaxed(&pager->used_pages) <= pager->cache_pages;
}
/* So many places are kept free, for who comes next. */
static inline int32_t evict_spare_pages(const struct pager *pager)
{
    return evict_all_fit(pager) ? 0 : (int32_t)pager->low_pages;
}

/* Is a page that becomes dirty worth fingerprints? Where nobody else stores it can be written whole, and more
 * pages fit: an eighth at best. That saves a share of the misses, the greater the fewer there are. With half
 * of the memory here and random stores it is an eighth of them, which is about what is lost with sending 64
 * lines for one (measured: docs/PAGER.md). */
static inline bool print_needed(const struct pager *pager)
{
    return pager->shelf_count > 0 &&
           !(pager->exclusive && load_relaxed(&pager->used_pages) / 2 <= pager->cache_pages);
}

/* Takes the right to bring in one page (`page`), and room for its fingerprints (*print, unless there is some
 * already; NULL: it needs none), making room if need be. Not with a lane held. -ETIMEDOUT, or why nothing can
 * be written back: then there is neither. */
int evict_reserve(struct pager *pager, uint64_t deadline_ns, bool page, uint32_t *print);
/* Takes the right where there is none: one too many. */
void evict_overdraw(struct pager *pager);
/* The same without making room, and only if more than `keep_free` are free. */
bool evict_reserve_try(struct pager *pager, int32_t keep_free);
void evict_unreserve(struct pager *pager, uint32_t pages);
/* After a page was installed (it is in its new state). */
void evict_enqueue(struct pager *pager, uint32_t page, bool hot);
bool evict_is_ghost(const struct pager *pager, uint64_t word);

/* Makes room when little is left: drops clean pages of the `most` (up to BATCH_PAGES) that are next, calls
 * the cleaner for dirty ones. Never blocks and needs no lane, so it runs while a fetch is under way. */
void evict_ahead(struct pager *pager, uint32_t most);

/* Makes room from one batch at the head of the queues, with write-backs if need be. Not with a lane held.
 * Returns pages freed, or what went wrong with a write-back. */
int evict_batch(struct pager *pager, uint64_t deadline_ns);
/* Drops pages that are DROPPING (ascending) and frees their room. */
void evict_drop(struct pager *pager, const uint32_t *pages, uint32_t count);
/* The second half of it. */
void evict_release(struct pager *pager, const uint32_t *pages, uint32_t count);
void pages_sort(uint32_t *pages, uint32_t count);

/* ---- write-back, pager_writeback.c ---- */

/* Writes back those of the pages (at most BATCH_PAGES, ascending) that are DIRTY, not pinned, and that nobody
 * else writes back, and drops them. Not with a lane held. 0 or the first error; pages that could not be
 * written stay DIRTY. `dropped_out`, bit i: pages[i] is gone. */
int writeback_drop(struct pager *pager, const uint32_t *pages, uint32_t count, uint64_t deadline_ns,
                   uint32_t *dropped_out);
/* Every page of the range as it is now. 0 or the first error. */
int writeback_range(struct pager *pager, uint32_t first, uint32_t count);
/* A store came while the page was on its way: 0 when it is DIRTY, -EAGAIN when somebody else was faster. */
int writeback_cancel(struct pager *pager, uint32_t page, uint64_t word);

/* ---- prefetch, pager_prefetch.c ---- */

/* A miss that goes to the network, the lane held and the miss's own read posted: follows the access pattern
 * and posts what is worth fetching ahead. */
void prefetch_miss(struct pager *pager, struct lane *lane, uint32_t page);
/* The fault met a page of a bulk read: sees it through. */
void prefetch_finish(struct fault *fault, uint64_t word);
/* The page of a bulk read is not wanted as the server had it then: all of that read's pages are absent
 * again. */
void prefetch_take_back(struct pager *pager, uint32_t page, uint64_t word);
/* A first touch of known zeros: how many neighbours to install with it. */
uint32_t prefetch_zero_run(struct pager *pager, uint32_t page);
/* Starts to fetch what it can of the range. Not with a lane held. */
void prefetch_range(struct pager *pager, uint32_t first, uint32_t count);
enum cxe_advice prefetch_advice(struct pager *pager, uint32_t page);
void prefetch_advise(struct pager *pager, uint32_t first, uint32_t count, enum cxe_advice advice);
/* Waits for, or takes back, all bulk reads. */
void prefetch_stop(struct pager *pager);
/* In the child of a fork: the parent's reads are not ours. */
void prefetch_forget(struct pager *pager);

/* ---- threads and signals ---- */

int thread_start(struct pager *pager);
/* With every signal blocked. */
int thread_spawn(pthread_t *thread, void *(*main)(void *), struct pager *pager);
void thread_stop(struct pager *pager);
void thread_call_cleaner(struct pager *pager);

int signal_install(void);
void signal_forget_locks(void); /* in the child of a fork */
/* A sentence on standard error from anywhere: "cxe: <what> at <address>". */
void pager_complain(const char *what, const void *address);

/* ---- the table of mappings, pager.c ---- */

/* Calls `each` for every mapping; the table is locked. */
void pager_for_each(void (*each)(struct pager *pager));
void pager_table_lock(void);
void pager_table_unlock(void);
void pager_table_remove(struct pager *pager);

/* ---- what mapping.c turns into calls, pager_range.c; inside the gate, ordinary ---- */

/* Drops the clean pages of the range, what is being fetched too, and forgets that pages were poisoned. */
void range_refresh(struct pager *pager, uint32_t first, uint32_t count);
/* The same, and changed pages as well, with their changes. */
void range_give_up(struct pager *pager, uint32_t first, uint32_t count);
void range_discard(struct pager *pager, uint32_t first, uint32_t count);

int pager_open(struct cxe_region *region, const struct cxe_map_options *options,
               const struct pager_options *more, struct pager **pager_out);
/* Writes back, stops, unmaps, frees. On an error nothing has happened. */
int pager_close(struct pager *pager);
void pager_clones_free(struct pager *pager);
/* Memory of our own, zeroed, out of the program's heap; NULL. To be given back with munmap. */
void *pager_alloc(uint64_t bytes);

#endif
