/* pager_signal.c - the SIGBUS handler in which a thread serves its own page fault
 *
 * The handler runs on the faulting thread's stack, maybe inside malloc, with every signal blocked: it calls
 * nothing that allocates, and nothing it touches can fault. Faults that are not ours, and those on poisoned
 * pages, go to whatever handler the program had or has set (pager_sigaction).
 */
#include "pager_internal.h"

#include <errno.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#include "error.h"

#define PAGE_FAULT_PRESENT 1 /* x86 error code: the page was there, the access was not allowed */
#define PAGE_FAULT_WRITE   2

static struct sigaction chained; /* what the program wants; under chained_lock */
static uint32_t chained_lock;
static uint32_t installed;

/* As the kernel would call it. Its mask can only be added to: ours is full, so it is set to what the thread
 * had, plus what the program asked for. */
static void call_handler(const struct sigaction *action, int number, siginfo_t *info, ucontext_t *context)
{
    sigset_t mask;

    sigorset(&mask, &context->uc_sigmask, &action->sa_mask);
    if (!((unsigned)action->sa_flags & SA_NODEFER))
        sigaddset(&mask, number);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    if (action->sa_flags & SA_SIGINFO)
        action->sa_sigaction(number, info, context);
    else
        action->sa_handler(number);
}

static void chain(int number, siginfo_t *info, ucontext_t *context)
{
    struct sigaction action;
    bool raised = info->si_code <= 0; /* by kill(2) and its like, not by an access */

    spin_lock(&chained_lock);
    action = chained;
    if (((unsigned)action.sa_flags & SA_RESETHAND) && action.sa_handler != SIG_IGN)
        chained.sa_handler = SIG_DFL;
    spin_unlock(&chained_lock);
    if (!(action.sa_flags & SA_SIGINFO) && action.sa_handler == SIG_IGN && raised)
        return;
    if ((action.sa_flags & SA_SIGINFO) || (action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN)) {
        call_handler(&action, number, info, context);
        return;
    }
    /* The default is to die, with a core that shows the access: it is repeated, and meets no handler. */
    signal(number, SIG_DFL);
    if (raised)
        raise(number);
}

static void handle(int number, siginfo_t *info, void *context_pointer)
{
    ucontext_t *context = context_pointer;
    int saved_errno = errno;
    struct pager *pager = info->si_code > 0 ? pager_find(info->si_addr) : NULL;
    bool write = true, missing = true; /* where the machine does not say, the worst */

#if defined(__x86_64__)
    write = context->uc_mcontext.gregs[REG_ERR] & PAGE_FAULT_WRITE;
    missing = !(context->uc_mcontext.gregs[REG_ERR] & PAGE_FAULT_PRESENT);
#endif
    if (!pager || fault_handle(pager, info->si_addr, write, missing) != 0)
        chain(number, info, context);
    errno = saved_errno;
}

int signal_install(void)
{
    struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO};
    struct sigaction old;
    sigset_t saved;

    sigfillset(&action.sa_mask);
    if (sigaction(SIGBUS, NULL, &old))
        return fail(-errno, "sigaction(SIGBUS): %s", strerror(errno));
    if ((old.sa_flags & SA_SIGINFO) && old.sa_sigaction == handle)
        return 0;
    signals_block(&saved);
    spin_lock(&chained_lock);
    chained = old;
    spin_unlock(&chained_lock);
    signals_restore(&saved);
    if (sigaction(SIGBUS, &action, NULL))
        return fail(-errno, "sigaction(SIGBUS): %s", strerror(errno));
    store_release(&installed, 1u);
    return 0;
}

int pager_sigaction(const struct sigaction *action, struct sigaction *old_out)
{
    sigset_t saved;

    if (!load_acquire(&installed))
        return sigaction(SIGBUS, action, old_out) ? -errno : 0;
    signals_block(&saved);
    spin_lock(&chained_lock);
    struct sigaction old = chained;
    if (action)
        chained = *action;
    spin_unlock(&chained_lock);
    signals_restore(&saved);
    if (old_out)
        *old_out = old;
    return 0;
}

void signal_forget_locks(void)
{
    spin_unlock(&chained_lock);
}

void pager_complain(const char *what, const void *address)
{
    static const char digits[] = "0123456789abcdef";
    char line[160] = "cxe: ";
    size_t at = strlen(line), room = sizeof(line) - 24;

    for (; *what && at < room; what++)
        line[at++] = *what;
    if (address) {
        memcpy(line + at, " at 0x", 6);
        at += 6;
        for (int shift = 44; shift >= 0; shift -= 4)
            line[at++] = digits[((uintptr_t)address >> shift) & 15];
    }
    line[at++] = '\n';
    if (write(STDERR_FILENO, line, at) < 0)
        return; /* nowhere to complain to */
}
