/* pager_fork.c - what a fork makes of the mappings
 *
 * The child's mapping must hold what the parent's did at the fork, although it has only the local pages (by
 * copy-on-write) and no session. So the region is cloned at the server, which shares its memory; the child's
 * pages that are not local come from the clone, over sessions of its own.
 *
 *   prepare  write-backs stop; clone; everybody leaves; the memory becomes inheritable
 *   parent   the memory becomes private again; go on
 *   child    new userfaultfd over the same range; clean pages are protected again (the kernel drops that in a
 *            child); reads in flight are forgotten; new sessions; new threads
 *
 * Write-backs must stop before the clone is made: a page that left for the server after it would be missing
 * there. Pages may still come in until the gate closes, because making the clone runs ordinary code, which
 * may fault.
 *
 * A coherent mapping stays the parent's alone: nobody can be two cache agents at once.
 *
 * Where something fails the child has no mapping, and an access is a SIGSEGV: never zeros.
 */
#include "pager_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static sigset_t fork_signals;

/* ---- prepare ---- */

/* Does the child need anything that is not in this process? */
static bool all_local(struct pager *pager)
{
    for (uint32_t i = 0; i < pager->page_count; i++) {
        uint64_t word = load_relaxed(&pager->words[i]);
        enum page_state state = page_state(word);

        if (state == PAGE_FETCHING || state == PAGE_POISONED || (state == PAGE_ABSENT && !(word & PAGE_ZERO)))
            return false;
    }
    return true;
}

bool pager_is_forking(struct pager *pager)
{
    return (load_acquire(&pager->write_gate) & GATE_CLOSED) &&
           (pager->mode == CXE_FAULT_THREAD || pthread_equal(pager->forker, pthread_self()));
}

/* With write-backs stopped, room can only come from clean pages; there should be some, unless all fit. */
static void spare_room(struct pager *pager)
{
    for (unsigned tries = 0; tries < 16 && load_relaxed(&pager->free_pages) < evict_spare_pages(pager);
         tries++)
        if (evict_batch(pager, clock_now_ns() + FAIL_FAST_NS) <= 0)
            return;
}

static void prepare_one(struct pager *pager)
{
    if (pager->snooper)
        return; /* fork_shared is false: the child does without */
    pager_clones_free(pager);
    pager_enter(pager);
    spare_room(pager);
    pager_leave(pager);
    pager->forker = pthread_self();
    gate_close(&pager->write_gate);
    pager->fork_clone = NULL;
    if (pager->lost || cxe_region_clone(pager->region, NULL, CXE_REGION_EPHEMERAL, &pager->fork_clone))
        pager->fork_clone = NULL;
    gate_close(&pager->gate);
    pager->fork_shared = pager->fork_clone || all_local(pager);
    if (pager->fork_shared && madvise(pager->base, pager->bytes, MADV_DOFORK))
        pager->fork_shared = false;
    if (!pager->fork_shared)
        pager_complain("the region cannot be cloned: the child of this fork has no mapping", pager->base);
}

void pager_fork_prepare(void)
{
    sigset_t saved;

    signals_block(&saved);
    pager_table_lock();
    fork_signals = saved;
    pager_for_each(prepare_one);
}

/* ---- parent ---- */

static void remember_clone(struct pager *pager)
{
    for (unsigned i = 0; i < CLONES_MAX; i++)
        if (!pager->clones[i].region) {
            pager->clones[i].region = pager->fork_clone; /* the cleaner looks at those with a pidfd */
            return;
        }
    cxe_region_close(pager->fork_clone); /* the server drops it once the child has stopped naming it */
}

static void parent_one(struct pager *pager)
{
    if (pager->snooper)
        return;
    if (pager->fork_shared)
        madvise(pager->base, pager->bytes, MADV_DONTFORK);
    gate_open(&pager->gate);
    gate_open(&pager->write_gate);
    if (pager->fork_clone)
        remember_clone(pager);
    pager->fork_clone = NULL;
}

void pager_fork_parent(void)
{
    sigset_t saved = fork_signals;

    pager_for_each(parent_one);
    pager_table_unlock();
    signals_restore(&saved);
}

static pid_t watched_child;
static void watch_one(struct pager *pager)
{
    for (unsigned i = 0; i < CLONES_MAX; i++) {
        struct clone *clone = &pager->clones[i];

        if (!clone->region || clone->pidfd >= 0)
            continue;
        store_release(&clone->pidfd, (int)syscall(SYS_pidfd_open, watched_child, 0));
        thread_call_cleaner(pager);
    }
}

void pager_fork_watch(pid_t child)
{
    pager_table_lock();
    watched_child = child;
    pager_for_each(watch_one);
    pager_table_unlock();
}

/* ---- child ---- */

/* The inherited descriptors are the parent's: reading or changing anything through them would be its memory.
 */
static void close_inherited(struct pager *pager)
{
    close(pager->uffd);
    if (pager->uffd_guard != pager->uffd)
        close(pager->uffd_guard);
    if (pager->pagemap_fd >= 0)
        close(pager->pagemap_fd);
    if (pager->stop_fd >= 0)
        close(pager->stop_fd);
    pager->uffd = pager->uffd_guard = pager->pagemap_fd = pager->stop_fd = -1;
}

/* Who held these is in the parent. */
static void forget_threads(struct pager *pager)
{
    pager->gate = pager->write_gate = 0;
    pager->cleaner_running = pager->fault_thread_running = false;
    pager->cleaner_wanted = pager->cleaner_asleep = 0;
    pager->pinned_pages = 0;
    memset(pager->clones, 0, sizeof(pager->clones));
    for (unsigned i = 0; i < CLONES_MAX; i++)
        pager->clones[i].pidfd = -1;
    for (uint32_t i = 0; i < pager->page_count; i++)
        pager->words[i] &= ~PAGE_PIN_MASK;
    prefetch_forget(pager);
}

static bool needs_protection(struct pager *pager, uint32_t page)
{
    return page_state(pager->words[page]) == PAGE_CLEAN;
}

/* In long runs: over missing pages it does nothing. */
static int protect_clean(struct pager *pager)
{
    for (uint32_t i = 0; i < pager->page_count;) {
        uint32_t end = i;

        while (end < pager->page_count && page_state(pager->words[end]) != PAGE_DIRTY)
            end++;
        while (i < end && !needs_protection(pager, i))
            i++;
        int rc = i < end ? uffd_protect(pager, i, end - i, true) : 0;
        if (rc)
            return rc;
        i = end + 1;
    }
    return 0;
}

static int reopen_kernel(struct pager *pager)
{
    int rc = uffd_open(pager->mode, &pager->uffd, &pager->has_poison);

    if (rc)
        return rc;
    pager->uffd_guard = fcntl(pager->uffd, F_DUPFD_CLOEXEC, pager->uffd);
    pager->pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    rc = uffd_register(pager->uffd, pager->base, pager->bytes);
    return rc ? rc : protect_clean(pager);
}

/* The parent's sessions are not ours. Without new ones, or without a clone, what is not local is lost. */
static void reopen_connection(struct pager *pager)
{
    struct cxe_connection *old = pager->connection, *fresh = NULL;

    pager->lost = !pager->fork_clone;
    if (pager->lost)
        return;
    if (connection_reopen(old, &fresh)) {
        pager_complain("the child of a fork cannot reach the server: what is not local is lost", pager->base);
        pager->lost = true;
        return;
    }
    pager->region->mappings = 0;
    pager->region = pager->fork_clone;
    pager->region->connection = fresh;
    pager->region->mappings = 1;
    fresh->users = 1;
    fresh->mappings = 1;
    pager->connection = fresh;
    pager->owns_connection = true;
    pager->fork_clone = NULL;
}

static void give_up(struct pager *pager, const char *why)
{
    pager_complain(why, pager->base);
    munmap(pager->base, pager->bytes);
    close_inherited(pager);
    pager_table_remove(pager);
}

static void child_one(struct pager *pager)
{
    close_inherited(pager);
    if (!pager->fork_shared) { /* not inherited: the addresses are free */
        pager_table_remove(pager);
        return;
    }
    madvise(pager->base, pager->bytes, MADV_DONTFORK);
    forget_threads(pager);
    if (reopen_kernel(pager)) {
        give_up(pager, "the child of a fork cannot take its mapping over: it is unmapped");
        return;
    }
    reopen_connection(pager);
    if (thread_start(pager))
        pager_complain("the child of a fork cannot start the mapping's threads", pager->base);
}

void pager_fork_child(void)
{
    sigset_t saved = fork_signals;

    signal_forget_locks();
    pager_for_each(child_one);
    pager_table_unlock();
    signals_restore(&saved);
}
