/* wrap.c - what the client library calls when it lives inside somebody else's program
 *
 * The linker sends the library's own calls of these functions here (--wrap, see CMakeLists.txt). Its system
 * calls must not be trapped, for a fault is handled with all signals blocked, and must not be points where a
 * thread can be cancelled. Its memory is not the pool's, and its descriptors are kept where the program does
 * not close them.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

#include "fds.h"
#include "stub.h"
#include "threads.h"
#include "wrap.h"

/* A kernel's answer as libc gives it. */
static long answer(long result)
{
    if (result >= 0)
        return result;
    errno = (int)-result;
    return -1;
}

/* ---- memory ---- */

void *__wrap_mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    return (void *)answer(stub_call6(SYS_mmap, address, bytes, protection, flags, fd, offset));
}

int __wrap_munmap(void *address, size_t bytes)
{
    return (int)answer(stub_call2(SYS_munmap, address, bytes));
}

int __wrap_mprotect(void *address, size_t bytes, int protection)
{
    return (int)answer(stub_call3(SYS_mprotect, address, bytes, protection));
}

int __wrap_madvise(void *address, size_t bytes, int advice)
{
    return (int)answer(stub_call3(SYS_madvise, address, bytes, advice));
}

/* ---- descriptors ---- */

int __wrap_socket(int domain, int type, int protocol)
{
    return (int)answer(fds_adopt((int)stub_call3(SYS_socket, domain, type, protocol)));
}

int __wrap_epoll_create1(int flags)
{
    return (int)answer(fds_adopt((int)stub_call1(SYS_epoll_create1, flags)));
}

/* What is opened here stays open: the kernel's view of our pages. */
int __wrap_open(const char *path, int flags, ...)
{
    va_list list;
    int mode;

    va_start(list, flags);
    mode = va_arg(list, int);
    va_end(list);
    return (int)answer(fds_adopt((int)stub_call4(SYS_openat, AT_FDCWD, path, flags, mode)));
}

int __wrap_fcntl(int fd, int command, ...)
{
    va_list list;
    long argument;

    va_start(list, command);
    argument = va_arg(list, long);
    va_end(list);
    if (command == F_DUPFD_CLOEXEC)
        return (int)answer(fds_duplicate(fd));
    return (int)answer(stub_call3(SYS_fcntl, fd, command, argument));
}

int __wrap_eventfd(unsigned value, int flags)
{
    return (int)answer(fds_adopt((int)stub_call2(SYS_eventfd2, value, flags)));
}

int __wrap_timerfd_create(clockid_t clock, int flags)
{
    return (int)answer(fds_adopt((int)stub_call2(SYS_timerfd_create, clock, flags)));
}

int __wrap_close(int fd)
{
    return (int)answer(fds_close(fd));
}

static bool opens(long number)
{
    return number == SYS_userfaultfd || number == SYS_pidfd_open;
}

long __wrap_syscall(long number, ...)
{
    long arguments[6], result;
    va_list list;

    va_start(list, number);
    for (unsigned i = 0; i < 6; i++)
        arguments[i] = va_arg(list, long);
    va_end(list);
    result =
        stub_call(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
    return answer(opens(number) ? fds_adopt((int)result) : result);
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
    va_list list;
    long argument, result;

    va_start(list, request);
    argument = va_arg(list, long);
    va_end(list);
    result = stub_call3(SYS_ioctl, fd, request, argument);
    return (int)answer(request == (unsigned long)USERFAULTFD_IOC_NEW ? fds_adopt((int)result) : result);
}

ssize_t __wrap_read(int fd, void *buffer, size_t bytes)
{
    return answer(stub_call3(SYS_read, fd, buffer, bytes));
}

ssize_t __wrap_pread(int fd, void *buffer, size_t bytes, off_t offset)
{
    return answer(stub_call4(SYS_pread64, fd, buffer, bytes, offset));
}

ssize_t __wrap_write(int fd, const void *buffer, size_t bytes)
{
    return answer(stub_call3(SYS_write, fd, buffer, bytes));
}

/* ---- waiting ---- */

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    return (int)answer(stub_call3(SYS_poll, fds, count, timeout_ms));
}

/* The kernel changes the timeout, libc's callers do not expect that. */
int __wrap_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask)
{
    struct timespec rest;

    if (timeout)
        rest = *timeout;
    return (int)answer(stub_call6(SYS_ppoll, fds, count, timeout ? &rest : NULL, mask, 8, 0));
}

int __wrap_nanosleep(const struct timespec *time, struct timespec *rest)
{
    return (int)answer(stub_call2(SYS_nanosleep, time, rest));
}

/* ---- threads ---- */

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*main)(void *),
                          void *argument)
{
    return threads_create(thread, attributes, main, argument);
}

/* ---- signals ---- */

/* Never blocks what must reach us. */
int __wrap_pthread_sigmask(int how, const sigset_t *set, sigset_t *old_out)
{
    sigset_t allowed;

    if (set) {
        allowed = *set;
        if (how != SIG_UNBLOCK) {
            sigdelset(&allowed, SIGBUS);
            sigdelset(&allowed, SIGSYS);
        }
    }
    return (int)-stub_call4(SYS_rt_sigprocmask, how, set ? &allowed : NULL, old_out, 8);
}

/* The library gives a signal its default action back when it is about to die of it. */
void (*__wrap_signal(int number, void (*handler)(int)))(int)
{
    struct {
        void (*handler)(int);
        unsigned long flags;
        void *restorer;
        unsigned long mask;
    } action = {.handler = handler};

    return answer(stub_call4(SYS_rt_sigaction, number, &action, NULL, 8)) < 0 ? SIG_ERR : SIG_DFL;
}
