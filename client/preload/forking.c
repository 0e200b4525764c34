/* forking.c - see forking.h */
#include "forking.h"

#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include "atomic.h"
#include "memory.h"
#include "pager.h"
#include "report.h"
#include "stub.h"
#include "threads.h"

#define INTERPOSED __attribute__((visibility("default")))

typedef void handler(void);
typedef int register_function(handler *prepare, handler *parent, handler *child, void *dso);

extern void *__dso_handle __attribute__((visibility("hidden")));
int __register_atfork(handler *prepare, handler *parent, handler *child, void *dso);

static bool started;
static bool needs_thread;
static pid_t process;

/* ---- handlers ---- */

static void prepare_last(void)
{
    if (!started)
        return;
    memory_lock();
    pager_fork_prepare();
}

static void parent_first(void)
{
    if (!started)
        return;
    pager_fork_parent();
    memory_unlock();
}

static void child_first(void)
{
    process = getpid();
    if (!started)
        return;
    /* Where a thread serves the faults, the handlers to come need it. It finds the stack of one that the fork
     * left behind, complete with what libc would have to allocate. */
    if (!needs_thread)
        threads_defer();
    pager_fork_child();
    report_fork();
    memory_unlock();
}

static void child_last(void)
{
    threads_start();
}

/* ---- registration ---- */

static register_function *next_register(void)
{
    static register_function *next;

    if (!next) {
        void *symbol = dlsym(RTLD_NEXT, "__register_atfork");

        __builtin_memcpy(&next, &symbol, sizeof(next));
    }
    return next;
}

/* What pthread_atfork calls, in every library. The first caller finds ours registered before its own; the
 * pager's are called by ours. */
INTERPOSED int __register_atfork(handler *prepare, handler *parent, handler *child, void *dso)
{
    static bool registered;

    if (!registered) {
        int error = next_register()(prepare_last, parent_first, child_first, &__dso_handle);

        if (error)
            return error;
        registered = true;
    }
    if (prepare == pager_fork_prepare)
        return 0;
    return next_register()(prepare, parent, child, dso);
}

/* By now an allocator that the program uses has registered its handlers. */
void fork_start(enum cxe_fault_mode mode)
{
    needs_thread = mode == CXE_FAULT_THREAD;
    process = getpid();
    __register_atfork(NULL, NULL, child_last, &__dso_handle);
    started = true;
}

bool fork_is_borrowing(void)
{
    return started && stub_call0(SYS_getpid) != process;
}

/* The handlers do not learn the child's number. */
INTERPOSED pid_t fork(void)
{
    static pid_t (*next)(void);
    pid_t child;

    if (!next) {
        void *symbol = dlsym(RTLD_NEXT, "fork");

        __builtin_memcpy(&next, &symbol, sizeof(next));
    }
    child = next();
    if (child > 0 && started)
        pager_fork_watch(child);
    return child;
}
