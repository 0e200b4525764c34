/* call_file.c - closing descriptors that are ours, and the many shapes of fcntl and ioctl; see call.h */
#include "call.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "fds.h"
#include "pager.h"
#include "stub.h"

/* ---- descriptors ---- */

/* Does nothing for ours, and says what closing any other high number would mostly say. */
long call_close(struct call_request *request)
{
    return fds_is_ours((int)request->arguments[0]) ? -EBADF : call_verbatim(request);
}

long call_dup2(struct call_request *request)
{
    return fds_is_ours((int)request->arguments[1]) ? -EBADF : call_verbatim(request);
}

static long close_part(unsigned low, unsigned high, long flags)
{
    return low <= high ? stub_call3(SYS_close_range, low, high, flags) : 0;
}

/* All but ours. They are close-on-exec already. */
long call_close_range(struct call_request *request)
{
    unsigned low = (unsigned)request->arguments[0], high = (unsigned)request->arguments[1];
    long flags = request->arguments[2], error = 0;

    if (low > high || (flags & ~(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC)))
        return -EINVAL;
    for (unsigned fd = fds_first(); !error && fd < fds_end(); fd++) {
        if (fd < low || fd > high || !fds_is_ours((int)fd))
            continue;
        error = close_part(low, fd - 1, flags);
        low = fd + 1;
    }
    return error ? error : close_part(low, high, flags);
}

/* ---- fcntl, ioctl ---- */

#define ARGUMENT_BYTES_MAX 256

/* The call with a copy of the third argument. */
static long with_copy(struct call_request *request, size_t bytes)
{
    char copy[ARGUMENT_BYTES_MAX];
    char *original = (char *)request->arguments[2];
    long result;

    if (!pager_in_window(original))
        return call_verbatim(request);
    if (bytes == 0 || bytes > sizeof(copy))
        return call_touched(request);
    memcpy(copy, original, bytes);
    request->arguments[2] = (long)copy;
    result = call_verbatim(request);
    if (memcmp(copy, original, bytes) != 0)
        memcpy(original, copy, bytes);
    return result;
}

long call_fcntl(struct call_request *request)
{
    switch (request->arguments[1]) {
    case F_GETLK:
    case F_SETLK:
    case F_SETLKW:
    case F_OFD_GETLK:
    case F_OFD_SETLK:
    case F_OFD_SETLKW:
        return with_copy(request, sizeof(struct flock));
    default:
        return with_copy(request, sizeof(uint64_t)); /* f_owner_ex, hints */
    }
}

/* Requests from before their numbers told the size of what they point at. */
static size_t old_ioctl_bytes(unsigned request)
{
    switch (request) {
    case TCGETS:
    case TCSETS:
    case TCSETSW:
    case TCSETSF:
        return 36; /* the kernel's struct termios */
    case TIOCGWINSZ:
    case TIOCSWINSZ:
        return sizeof(struct winsize);
    case TIOCGPGRP:
    case TIOCSPGRP:
    case TIOCGSID:
    case TIOCOUTQ:
    case FIONREAD:
    case FIONBIO:
    case FIOASYNC:
        return sizeof(int);
    default:
        return 0;
    }
}

long call_ioctl(struct call_request *request)
{
    unsigned number = (unsigned)request->arguments[1];
    size_t bytes = old_ioctl_bytes(number);

    if (bytes == 0 && _IOC_DIR(number) != _IOC_NONE)
        bytes = _IOC_SIZE(number);
    return with_copy(request, bytes);
}
