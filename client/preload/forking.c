/* forking.c - see forking.h */
#include "forking.h"

#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include "allocate.h"
#include "heap.h"
#include "memory.h"
#include "pager.h"
#include "report.h"
#include "stub.h"

#define INTERPOSED __attribute__((visibility("default")))

typedef void handler(void);
typedef int register_function(handler *prepare, handler *parent, handler *child, void *dso);

extern void *__dso_handle __attribute__((visibility("hidden")));
int __register_atfork(handler *prepare, handler *parent, handler *child, void *dso);

static bool started;
static pid_t process;

/* ---- handlers ---- */

static void prepare_last(void)
{
    if (!started)
        return;
    memory_lock();
    library_enter();
    pager_fork_prepare();
    heap_lock();
}

static void parent_first(void)
{
    if (!started)
        return;
    heap_unlock();
    pager_fork_parent();
    library_leave();
    memory_unlock();
}

static void child_first(void)
{
    process = getpid();
    if (!started)
        return;
    heap_unlock();
    pager_fork_child();
    report_fork();
    library_leave();
    memory_unlock();
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

void fork_start(void)
{
    process = getpid();
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
    if (child > 0 && started) {
        library_enter();
        pager_fork_watch(child);
        library_leave();
    }
    return child;
}
