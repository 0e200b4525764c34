/* call_signal.c - signal masks and actions: SIGBUS and SIGSYS always reach us, and the program does not
 * notice
 *
 * A thread that has SIGBUS blocked when it meets an absent page is killed by the kernel, and one that has
 * SIGSYS blocked when it makes a trapped call. libc blocks all signals by itself in pthread_create, fork and
 * posix_spawn. So masks are seen to where all of them pass: at the system call.
 */
#include "call.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "forking.h"
#include "pager.h"
#include "signals.h"
#include "stub.h"

#define MASK_BYTES 8

/* The kernel's struct sigaction. */
struct kernel_action {
    void *handler;
    uint64_t flags;
    void *restorer;
    uint64_t mask;
};

static uint64_t unblockable(void)
{
    return 1ull << (SIGBUS - 1) | 1ull << (SIGSYS - 1);
}

/* ---- masks ---- */

long call_rt_sigprocmask(struct call_request *request)
{
    const long *a = request->arguments;
    uint64_t old, set;

    if (a[3] != MASK_BYTES)
        return -EINVAL;
    if (!request->mask) /* a direct call: there is no interrupted thread whose mask will come back */
        return -ENOSYS;
    old = *request->mask;
    if (a[1]) {
        memcpy(&set, (const void *)a[1], MASK_BYTES);
        set &= ~(1ull << (SIGKILL - 1) | 1ull << (SIGSTOP - 1));
        if (a[0] == SIG_BLOCK)
            set |= old;
        else if (a[0] == SIG_UNBLOCK)
            set = old & ~set;
        else if (a[0] != SIG_SETMASK)
            return -EINVAL;
        *request->mask = set & ~unblockable();
    }
    if (a[2])
        memcpy((void *)a[2], &old, MASK_BYTES);
    return 0;
}

/* Copies a mask for a call that sets it for as long as it waits. */
static long copy_mask(long *argument, uint64_t *copy)
{
    if (*argument) {
        memcpy(copy, (const void *)*argument, MASK_BYTES);
        *copy &= ~unblockable();
        *argument = (long)copy;
    }
    return 0;
}

long call_rt_sigsuspend(struct call_request *request)
{
    uint64_t mask;

    copy_mask(&request->arguments[0], &mask);
    return call_copied(request);
}

long call_ppoll(struct call_request *request)
{
    uint64_t mask;

    copy_mask(&request->arguments[3], &mask);
    return call_copied(request);
}

long call_epoll_pwait(struct call_request *request)
{
    uint64_t mask;

    copy_mask(&request->arguments[4], &mask);
    return call_copied(request);
}

long call_pselect6(struct call_request *request)
{
    struct {
        long set;
        size_t set_bytes;
    } packed;
    uint64_t mask;

    if (request->arguments[5]) {
        memcpy(&packed, (const void *)request->arguments[5], sizeof(packed));
        copy_mask(&packed.set, &mask);
        request->arguments[5] = (long)&packed;
    }
    return call_copied(request);
}

/* ---- actions ---- */

static struct sigaction from_kernel(const struct kernel_action *from)
{
    struct sigaction to = {.sa_flags = (int)from->flags};

    to.sa_handler = (void (*)(int))from->handler;
    memcpy(&to.sa_mask, &from->mask, MASK_BYTES);
    return to;
}

static struct kernel_action to_kernel(const struct sigaction *from)
{
    struct kernel_action to = {.handler = (void *)from->sa_handler, .flags = (uint64_t)from->sa_flags};

    memcpy(&to.mask, &from->sa_mask, MASK_BYTES);
    return to;
}

/* Kept for the program, which sees what it asked for; the kernel keeps ours. The child of a vfork, which
 * posix_spawn lets forget all handlers, shares the memory in which we keep it: nothing changes there, and
 * execve will forget them anyway. */
static long keep_action(int signal, const struct kernel_action *action, struct kernel_action *old_out)
{
    struct sigaction wanted, old;
    int error;

    if (action)
        wanted = from_kernel(action);
    if (fork_is_borrowing())
        action = NULL;
    error = signals_keep(signal, action ? &wanted : NULL, &old);
    *old_out = to_kernel(&old);
    return error;
}

long call_rt_sigaction(struct call_request *request)
{
    const long *a = request->arguments;
    struct kernel_action action, old = {0};
    long result;

    if (a[3] != MASK_BYTES)
        return -EINVAL;
    if (a[1]) {
        memcpy(&action, (const void *)a[1], sizeof(action));
        action.mask &= ~unblockable();
    }
    if (signals_is_kept((int)a[0]))
        result = keep_action((int)a[0], a[1] ? &action : NULL, &old);
    else
        result = stub_call4(SYS_rt_sigaction, a[0], a[1] ? &action : NULL, &old, MASK_BYTES);
    if (result == 0 && a[2])
        memcpy((void *)a[2], &old, sizeof(old));
    return result;
}

/* ---- alternate stacks ---- */

/* The kernel writes a signal's frame there itself: a stack taken from the pool is replaced by a local one,
 * which the thread keeps. */
static long with_local_stack(const stack_t *wanted, void *old)
{
    static _Thread_local void *stack;
    static _Thread_local size_t stack_bytes;
    stack_t local = *wanted;
    void *previous = stack;
    size_t previous_bytes = stack_bytes;
    long result, mapped;

    mapped =
        stub_call6(SYS_mmap, 0, local.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped < 0)
        return mapped;
    local.ss_sp = (void *)mapped;
    result = stub_call2(SYS_sigaltstack, &local, old);
    if (result < 0) {
        stub_call2(SYS_munmap, mapped, local.ss_size);
        return result;
    }
    stack = local.ss_sp;
    stack_bytes = local.ss_size;
    if (previous)
        stub_call2(SYS_munmap, previous, previous_bytes);
    return 0;
}

long call_sigaltstack(struct call_request *request)
{
    const stack_t *wanted = (const stack_t *)request->arguments[0];
    void *old_out = (void *)request->arguments[1];
    stack_t local, old;
    long result;

    if (wanted)
        local = *wanted;
    if (wanted && !(local.ss_flags & SS_DISABLE) && pager_in_window(local.ss_sp))
        result = with_local_stack(&local, &old);
    else
        result = stub_call2(SYS_sigaltstack, wanted ? &local : NULL, &old);
    if (result == 0 && old_out)
        memcpy(old_out, &old, sizeof(old));
    return result;
}
