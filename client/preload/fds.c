/* fds.c - see fds.h */
#include "fds.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "atomic.h"
#include "stub.h"

#define HIGHEST 1024 /* fork copies the table up to the highest number in use */

static unsigned first;
static uint8_t ours[FDS_COUNT]; /* relaxed */

int fds_init(void)
{
    struct rlimit limit;
    unsigned end = HIGHEST;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < end)
        end = (unsigned)limit.rlim_cur;
    if (end < 2 * FDS_COUNT)
        return -EMFILE;
    first = end - FDS_COUNT;
    return 0;
}

unsigned fds_first(void)
{
    return first;
}

unsigned fds_end(void)
{
    return first + FDS_COUNT;
}

static bool in_range(int fd)
{
    return fd >= 0 && (unsigned)fd - first < FDS_COUNT;
}

bool fds_is_ours(int fd)
{
    return in_range(fd) && load_relaxed(&ours[(unsigned)fd - first]);
}

int fds_duplicate(int fd)
{
    long copy = stub_call3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, first);

    if (copy >= 0 && !in_range((int)copy)) {
        stub_call1(SYS_close, copy);
        return -EMFILE;
    }
    if (copy >= 0)
        store_relaxed(&ours[(unsigned)copy - first], 1);
    return (int)copy;
}

int fds_adopt(int fd)
{
    int moved;

    if (fd < 0)
        return fd;
    moved = fds_duplicate(fd);
    stub_call1(SYS_close, fd);
    return moved;
}

void fds_keep(int fd)
{
    if (in_range(fd))
        store_relaxed(&ours[(unsigned)fd - first], 1);
}

int fds_close(int fd)
{
    if (in_range(fd))
        store_relaxed(&ours[(unsigned)fd - first], 0);
    return (int)stub_call1(SYS_close, fd);
}
