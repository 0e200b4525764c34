/* pager_thread.c - the cleaner, and in thread mode the thread that serves faults
 *
 * Both run with every signal blocked and touch nothing that can fault. The cleaner sleeps on a futex until a
 * faulting thread finds the head of the queue dirty while little room is left. It also looks after what has a
 * clock: an ephemeral region must be named now and then, and clones made for children go when those go.
 */
#include "pager_internal.h"

#include <errno.h>
#include <linux/futex.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "error.h"

#define THREAD_STACK_BYTES (256 * 1024)
#define SPIN_NS            (20 * NS_PER_US) /* longer than the program needs to fault again in a tight loop */
#define CLONE_WAKE_NS      NS_PER_S
#define TROUBLE_WAKE_NS    (100 * NS_PER_MS)

/* ---- the cleaner ---- */

static bool wants_room(struct pager *pager)
{
    return load_relaxed(&pager->free_pages) < 2 * evict_spare_pages(pager);
}

/* False: the server does not take it. What is dirty stays; a later call tries again. */
static bool make_room(struct pager *pager)
{
    bool fine = true;

    while (fine && wants_room(pager) && !load_relaxed(&pager->stopping)) {
        pager_enter(pager);
        int rc = evict_batch(pager, pager_deadline_ns(pager, clock_now_ns()));
        pager_leave(pager);
        fine = rc >= 0;
        if (rc <= 0)
            break;
    }
    return fine;
}

static void name_region(struct pager *pager)
{
    struct wire_region_info info;
    struct op op = {.opcode = OP_REGION_STAT, .region = pager->region->handle, .result = &info};

    pager_enter(pager);
    struct lane *lane = lane_acquire(pager->connection);
    lane_run(lane, &op, clock_now_ns() + NS_PER_S);
    lane_release(lane);
    pager_leave(pager);
    pager->named_ns = clock_now_ns();
}

static void delete_clone(struct pager *pager, struct clone *clone)
{
    struct op op = {.opcode = OP_REGION_DELETE, .region = clone->region->handle};

    pager_enter(pager);
    struct lane *lane = lane_acquire(pager->connection);
    lane_run(lane, &op, clock_now_ns() + NS_PER_S); /* if it fails, the server does it in a minute */
    lane_release(lane);
    pager_leave(pager);
    store_release(&clone->done, 1u);
}

/* True if there are any left to watch. */
static bool watch_clones(struct pager *pager)
{
    bool any = false;

    for (unsigned i = 0; i < CLONES_MAX; i++) {
        struct clone *clone = &pager->clones[i];
        struct pollfd ready = {.fd = load_acquire(&clone->pidfd), .events = POLLIN};

        if (ready.fd < 0 || load_relaxed(&clone->done))
            continue;
        if (poll(&ready, 1, 0) == 1)
            delete_clone(pager, clone);
        else
            any = true;
    }
    return any;
}

static void cleaner_sleep(struct pager *pager, uint64_t wait_ns)
{
    struct timespec time = {.tv_sec = (time_t)(wait_ns / NS_PER_S), .tv_nsec = (long)(wait_ns % NS_PER_S)};

    store_seq_cst(&pager->cleaner_asleep, 1u); /* then look again: pairs with thread_call_cleaner */
    if (!load_acquire(&pager->cleaner_wanted) && !load_acquire(&pager->stopping))
        syscall(SYS_futex, &pager->cleaner_asleep, FUTEX_WAIT_PRIVATE, 1,
                wait_ns == UINT64_MAX ? NULL : &time, NULL, 0);
    store_release(&pager->cleaner_asleep, 0u);
}

static void *cleaner_main(void *argument)
{
    struct pager *pager = argument;
    const bool ephemeral = (pager->region->flags & CXE_REGION_EPHEMERAL) && !pager->lost;

    while (!load_acquire(&pager->stopping)) {
        uint64_t wait_ns = ephemeral ? EPHEMERAL_WAKE_NS : UINT64_MAX;

        if (exchange_acq_rel(&pager->cleaner_wanted, 0u) && !make_room(pager))
            wait_ns = TROUBLE_WAKE_NS;
        if (ephemeral && clock_now_ns() - pager->named_ns >= EPHEMERAL_WAKE_NS)
            name_region(pager);
        if (watch_clones(pager) && wait_ns > CLONE_WAKE_NS)
            wait_ns = CLONE_WAKE_NS;
        cleaner_sleep(pager, wait_ns);
    }
    return NULL;
}

static void wake_cleaner(struct pager *pager)
{
    fence_seq_cst();
    if (exchange_acq_rel(&pager->cleaner_asleep, 0u))
        syscall(SYS_futex, &pager->cleaner_asleep, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void thread_call_cleaner(struct pager *pager)
{
    if (!pager->cleaner_running || load_relaxed(&pager->cleaner_wanted))
        return;
    store_seq_cst(&pager->cleaner_wanted, 1u);
    wake_cleaner(pager);
}

/* ---- the fault thread ---- */

static void serve(struct pager *pager, const struct uffd_msg *message)
{
    const void *address = (const void *)(uintptr_t)message->arg.pagefault.address; // NOLINT

    if (message->event != UFFD_EVENT_PAGEFAULT)
        return;
    uint64_t flags = message->arg.pagefault.flags;
    if (fault_handle(pager, address, flags & UFFD_PAGEFAULT_FLAG_WRITE || flags & UFFD_PAGEFAULT_FLAG_WP,
                     !(flags & UFFD_PAGEFAULT_FLAG_WP)))
        uffd_wake(pager, (uint32_t)(((uintptr_t)address - (uintptr_t)pager->base) / PAGE_BYTES));
}

/* Spins a while for the next fault, since a wake-up costs more than a fetch; then sleeps. */
static void *fault_main(void *argument)
{
    struct pager *pager = argument;
    struct pollfd ready[2] = {{.fd = pager->uffd, .events = POLLIN},
                              {.fd = pager->stop_fd, .events = POLLIN}};
    uint64_t last_ns = 0;

    while (!load_acquire(&pager->stopping)) {
        struct uffd_msg message;

        if (read(pager->uffd, &message, sizeof(message)) == sizeof(message)) {
            serve(pager, &message);
            last_ns = clock_now_ns();
        } else if (clock_now_ns() - last_ns > SPIN_NS) {
            poll(ready, 2, -1);
            last_ns = clock_now_ns();
        } else {
            cpu_relax();
        }
    }
    return NULL;
}

/* ---- both ---- */

int thread_spawn(pthread_t *thread, void *(*main)(void *), struct pager *pager)
{
    pthread_attr_t attributes;
    sigset_t saved;

    int rc = pthread_attr_init(&attributes);
    if (rc)
        return fail(-rc, "cannot start a thread: %s", strerror(rc));
    pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES);
    signals_block(&saved);
    rc = pthread_create(thread, &attributes, main, pager);
    signals_restore(&saved);
    pthread_attr_destroy(&attributes);
    return rc ? fail(-rc, "cannot start a thread for the mapping: %s", strerror(rc)) : 0;
}

int thread_start(struct pager *pager)
{
    int rc;

    pager->stopping = 0;
    pager->named_ns = clock_now_ns();
    if (!(pager->flags & CXE_MAP_NO_CLEANER)) {
        rc = thread_spawn(&pager->cleaner, cleaner_main, pager);
        if (rc)
            return rc;
        pager->cleaner_running = true;
    }
    if (pager->mode == CXE_FAULT_THREAD) {
        pager->stop_fd = eventfd(0, EFD_CLOEXEC);
        rc = pager->stop_fd < 0 ? fail(-errno, "eventfd: %s", strerror(errno))
                                : thread_spawn(&pager->fault_thread, fault_main, pager);
        if (rc) {
            thread_stop(pager);
            return rc;
        }
        pager->fault_thread_running = true;
    }
    return 0;
}

void thread_stop(struct pager *pager)
{
    const uint64_t one = 1;

    store_release(&pager->stopping, 1u);
    if (pager->cleaner_running) {
        wake_cleaner(pager);
        pthread_join(pager->cleaner, NULL);
        pager->cleaner_running = false;
    }
    if (pager->fault_thread_running) {
        if (write(pager->stop_fd, &one, sizeof(one)) == sizeof(one))
            pthread_join(pager->fault_thread, NULL);
        pager->fault_thread_running = false;
    }
    if (pager->stop_fd >= 0)
        close(pager->stop_fd);
    pager->stop_fd = -1;
}
