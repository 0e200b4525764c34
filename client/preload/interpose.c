/* interpose.c - see interpose.h
 *
 * mmap and its kin must be here: nothing in the arguments of mmap lets the filter know it. The others are
 * here for speed: a call that the filter traps costs some 2 us more, and these are called often. Where none
 * of the memory is the pool's, they are what libc has.
 */
#include "interpose.h"

#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "call.h"
#include "forking.h"
#include "memory.h"
#include "pager.h"
#include "report.h"
#include "span.h"
#include "stub.h"

#define INTERPOSED __attribute__((visibility("default")))

static int (*next_setstack)(pthread_attr_t *, void *, size_t);

/* A kernel's answer as libc gives it. */
static long answer(long result)
{
    if (result >= 0)
        return result;
    errno = (int)-result;
    return -1;
}

/* ---- memory ---- */

INTERPOSED void *mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    return (void *)answer(memory_map(address, bytes, protection, flags, fd, offset));
}

INTERPOSED void *mmap64(void *address, size_t bytes, int protection, int flags, int fd, off64_t offset)
{
    return (void *)answer(memory_map(address, bytes, protection, flags, fd, offset));
}

INTERPOSED int munmap(void *address, size_t bytes)
{
    return (int)answer(memory_unmap(address, bytes));
}

INTERPOSED void *mremap(void *address, size_t old_bytes, size_t new_bytes, int flags, ...)
{
    void *new_address;
    va_list list;

    va_start(list, flags);
    new_address = va_arg(list, void *);
    va_end(list);
    return (void *)answer(memory_remap(address, old_bytes, new_bytes, flags, new_address));
}

INTERPOSED int mprotect(void *address, size_t bytes, int protection)
{
    return (int)answer(memory_protect(address, bytes, protection));
}

INTERPOSED int madvise(void *address, size_t bytes, int advice)
{
    return (int)answer(memory_advise(address, bytes, advice));
}

/* POSIX's DONTNEED is a hint about the future, unlike the kernel's of the same number: libc ignores it. */
INTERPOSED int posix_madvise(void *address, size_t bytes, int advice)
{
    return advice == POSIX_MADV_DONTNEED ? 0 : (int)-memory_advise(address, bytes, advice);
}

/* ---- stacks ---- */

/* The kernel writes to a thread's stack by itself: one on the pool is replaced by a local one of that size.
 */
INTERPOSED int pthread_attr_setstack(pthread_attr_t *attributes, void *stack, size_t bytes)
{
    if (!pager_in_window(stack))
        return next_setstack ? next_setstack(attributes, stack, bytes) : EINVAL;
    return pthread_attr_setstacksize(attributes, bytes);
}

/* ---- the end ---- */

/* Without destructors, but not without the last figures. */
INTERPOSED void _exit(int status)
{
    if (!fork_is_borrowing())
        report_write();
    for (;;)
        stub_call1(SYS_exit_group, status);
}

INTERPOSED void _Exit(int status)
{
    _exit(status);
}

/* ---- input and output ---- */

static ssize_t (*next_read)(int, void *, size_t);
static ssize_t (*next_write)(int, const void *, size_t);
static ssize_t (*next_pread)(int, void *, size_t, off_t);
static ssize_t (*next_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*next_readv)(int, const struct iovec *, int);
static ssize_t (*next_writev)(int, const struct iovec *, int);
static ssize_t (*next_recv)(int, void *, size_t, int);
static ssize_t (*next_send)(int, const void *, size_t, int);
static ssize_t (*next_sendmsg)(int, const struct msghdr *, int);
static ssize_t (*next_recvmsg)(int, struct msghdr *, int);
static int (*next_epoll_wait)(int, struct epoll_event *, int, int);
static int (*next_poll)(struct pollfd *, nfds_t, int);

static void find(const char *name, void *next)
{
    void *symbol = dlsym(RTLD_NEXT, name);

    __builtin_memcpy(next, &symbol, sizeof(symbol));
}

void interpose_init(void)
{
    find("pthread_attr_setstack", &next_setstack);
    find("read", &next_read);
    find("write", &next_write);
    find("pread", &next_pread);
    find("pwrite", &next_pwrite);
    find("readv", &next_readv);
    find("writev", &next_writev);
    find("recv", &next_recv);
    find("send", &next_send);
    find("sendmsg", &next_sendmsg);
    find("recvmsg", &next_recvmsg);
    find("epoll_wait", &next_epoll_wait);
    find("poll", &next_poll);
}

/* Pool memory, or so early that nothing was found yet. */
#define IS_REMOTE(next, address) (__builtin_expect(!(next), 0) || pager_in_window(address))

INTERPOSED ssize_t read(int fd, void *buffer, size_t bytes)
{
    if (!IS_REMOTE(next_read, buffer))
        return next_read(fd, buffer, bytes);
    return answer(call_direct(SYS_read, fd, (long)buffer, (long)bytes, 0, 0, 0));
}

INTERPOSED ssize_t write(int fd, const void *buffer, size_t bytes)
{
    if (!IS_REMOTE(next_write, buffer))
        return next_write(fd, buffer, bytes);
    return answer(call_direct(SYS_write, fd, (long)buffer, (long)bytes, 0, 0, 0));
}

INTERPOSED ssize_t pread(int fd, void *buffer, size_t bytes, off_t offset)
{
    if (!IS_REMOTE(next_pread, buffer))
        return next_pread(fd, buffer, bytes, offset);
    return answer(call_direct(SYS_pread64, fd, (long)buffer, (long)bytes, offset, 0, 0));
}

INTERPOSED ssize_t pread64(int fd, void *buffer, size_t bytes, off64_t offset)
{
    return pread(fd, buffer, bytes, offset);
}

INTERPOSED ssize_t pwrite(int fd, const void *buffer, size_t bytes, off_t offset)
{
    if (!IS_REMOTE(next_pwrite, buffer))
        return next_pwrite(fd, buffer, bytes, offset);
    return answer(call_direct(SYS_pwrite64, fd, (long)buffer, (long)bytes, offset, 0, 0));
}

INTERPOSED ssize_t pwrite64(int fd, const void *buffer, size_t bytes, off64_t offset)
{
    return pwrite(fd, buffer, bytes, offset);
}

/* A vector of a wrong length is the kernel's to refuse. */
static bool vector_remote(const struct iovec *vector, int count)
{
    return count > 0 && count <= SPAN_IOVECS_MAX && span_remote(vector, (size_t)count);
}

INTERPOSED ssize_t readv(int fd, const struct iovec *vector, int count)
{
    if (next_readv && !vector_remote(vector, count))
        return next_readv(fd, vector, count);
    return answer(call_direct(SYS_readv, fd, (long)vector, count, 0, 0, 0));
}

INTERPOSED ssize_t writev(int fd, const struct iovec *vector, int count)
{
    if (next_writev && !vector_remote(vector, count))
        return next_writev(fd, vector, count);
    return answer(call_direct(SYS_writev, fd, (long)vector, count, 0, 0, 0));
}

INTERPOSED ssize_t recv(int fd, void *buffer, size_t bytes, int flags)
{
    if (!IS_REMOTE(next_recv, buffer))
        return next_recv(fd, buffer, bytes, flags);
    return answer(call_direct(SYS_recvfrom, fd, (long)buffer, (long)bytes, flags, 0, 0));
}

INTERPOSED ssize_t send(int fd, const void *buffer, size_t bytes, int flags)
{
    if (!IS_REMOTE(next_send, buffer))
        return next_send(fd, buffer, bytes, flags);
    return answer(call_direct(SYS_sendto, fd, (long)buffer, (long)bytes, flags, 0, 0));
}

INTERPOSED int epoll_wait(int fd, struct epoll_event *events, int most, int timeout_ms)
{
    if (!IS_REMOTE(next_epoll_wait, events))
        return next_epoll_wait(fd, events, most, timeout_ms);
    return (int)answer(call_direct(SYS_epoll_wait, fd, (long)events, most, timeout_ms, 0, 0));
}

INTERPOSED int poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    if (!IS_REMOTE(next_poll, fds))
        return next_poll(fds, count, timeout_ms);
    return (int)answer(call_direct(SYS_poll, (long)fds, (long)count, timeout_ms, 0, 0, 0));
}
