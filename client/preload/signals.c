/* signals.c - see signals.h */
#include "signals.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include "call.h"
#include "filter.h"
#include "pager.h"
#include "stub.h"

#ifndef SYS_SECCOMP
#define SYS_SECCOMP 1
#endif

/* What the program asked for about SIGSYS. Written as one by the program's own synchronisation, as with
 * sigaction itself. */
static struct sigaction kept_sigsys;

static bool keeps_sigbus;

/* Nobody handles it: dies of it, as it would have without us. */
static void die_of(int signal)
{
    struct {
        void *handler;
        uint64_t flags;
        void *restorer;
        uint64_t mask;
    } action = {0};
    uint64_t mask = 1ull << (signal - 1);

    stub_call4(SYS_rt_sigaction, signal, &action, 0, sizeof(mask));
    stub_call4(SYS_rt_sigprocmask, SIG_UNBLOCK, &mask, 0, sizeof(mask));
    stub_call3(SYS_tgkill, stub_call0(SYS_getpid), stub_call0(SYS_gettid), signal);
}

static void pass_on(int signal, siginfo_t *info, void *context)
{
    if (kept_sigsys.sa_handler == SIG_DFL)
        die_of(signal);
    else if (kept_sigsys.sa_flags & SA_SIGINFO)
        kept_sigsys.sa_sigaction(signal, info, context);
    else if (kept_sigsys.sa_handler != SIG_IGN)
        kept_sigsys.sa_handler(signal);
}

static void on_sigsys(int signal, siginfo_t *info, void *context)
{
    ucontext_t *interrupted = context;
    greg_t *registers = interrupted->uc_mcontext.gregs;
    struct call_request request = {
        .number = info->si_syscall,
        .arguments = {registers[REG_RDI], registers[REG_RSI], registers[REG_RDX], registers[REG_R10],
                      registers[REG_R8], registers[REG_R9]},
        .mask = (uint64_t *)&interrupted->uc_sigmask,
    };

    if (info->si_code != SYS_SECCOMP || info->si_errno != FILTER_COOKIE) {
        pass_on(signal, info, context);
        return;
    }
    registers[REG_RAX] = call_emulate(&request);
}

static void unblock(void)
{
    sigset_t both;

    sigemptyset(&both);
    sigaddset(&both, SIGBUS);
    sigaddset(&both, SIGSYS);
    pthread_sigmask(SIG_UNBLOCK, &both, NULL);
}

/* SA_NODEFER: a call that waits may be interrupted by a handler of the program that makes another one. */
int signals_install(bool sigbus_is_ours)
{
    struct sigaction action = {.sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESTART};

    keeps_sigbus = sigbus_is_ours;
    unblock();
    return sigaction(SIGSYS, &action, &kept_sigsys) == 0 ? 0 : -errno;
}

bool signals_is_kept(int signal)
{
    return signal == SIGSYS || (signal == SIGBUS && keeps_sigbus);
}

int signals_keep(int signal, const struct sigaction *action, struct sigaction *old_out)
{
    if (signal == SIGBUS)
        return pager_sigaction(action, old_out);
    *old_out = kept_sigsys;
    if (action)
        kept_sigsys = *action;
    return 0;
}
