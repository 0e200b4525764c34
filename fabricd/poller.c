/* poller.c - see poller.h */
#include "poller.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "limits.h"

struct poller {
    bool uring;
    struct io_uring ring;
    int epoll_fd;
    int fds[POLLER_FDS_MAX];
    unsigned fd_count;
};

int poller_open(bool use_io_uring, struct poller **poller_out)
{
    struct poller *poller = calloc(1, sizeof(*poller));

    if (!poller)
        return -ENOMEM;
    poller->epoll_fd = -1;
    if (use_io_uring && io_uring_queue_init(2 * POLLER_FDS_MAX, &poller->ring, 0) == 0) {
        poller->uring = true;
    } else {
        poller->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (poller->epoll_fd < 0) {
            int error = -errno;
            free(poller);
            return error;
        }
    }
    *poller_out = poller;
    return 0;
}

/* The kernel takes a ring apart some time after it is closed, and until then its poll requests hold the
 * sockets, and these their port: whoever restarts at once would find it taken. So the requests are taken back
 * first. */
static void cancel_polls(struct poller *poller)
{
    struct __kernel_timespec timeout = {.tv_sec = 1};
    struct io_uring_sqe *sqe = io_uring_get_sqe(&poller->ring);
    struct io_uring_cqe *cqe;
    unsigned expected = poller->fd_count + 1;

    if (!sqe)
        return;
    io_uring_prep_cancel(sqe, NULL, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
    io_uring_sqe_set_data64(sqe, UINT64_MAX);
    io_uring_submit(&poller->ring);
    while (expected > 0 && io_uring_wait_cqe_timeout(&poller->ring, &cqe, &timeout) == 0) {
        io_uring_cqe_seen(&poller->ring, cqe);
        expected--;
    }
}

void poller_close(struct poller *poller)
{
    if (!poller)
        return;
    if (poller->uring) {
        cancel_polls(poller);
        io_uring_queue_exit(&poller->ring);
    } else {
        close(poller->epoll_fd);
    }
    free(poller);
}

const char *poller_name(const struct poller *poller)
{
    return poller->uring ? "io_uring" : "epoll";
}

/* One poll request; its number comes back in the completion. */
static void submit_poll(struct poller *poller, unsigned index)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&poller->ring);

    if (!sqe)
        return; /* cannot be: the ring has twice the room; a lost watch would only cost the time-out */
    io_uring_prep_poll_add(sqe, poller->fds[index], POLLIN);
    io_uring_sqe_set_data64(sqe, index);
}

int poller_add(struct poller *poller, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};

    if (poller->fd_count == POLLER_FDS_MAX)
        return -ENOSPC;
    poller->fds[poller->fd_count++] = fd;
    if (poller->uring)
        submit_poll(poller, poller->fd_count - 1);
    else if (epoll_ctl(poller->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        return -errno;
    return 0;
}

static struct __kernel_timespec *timespec_of(uint64_t timeout_ns, struct __kernel_timespec *out)
{
    if (timeout_ns == UINT64_MAX)
        return NULL;
    out->tv_sec = (int64_t)(timeout_ns / NS_PER_S);
    out->tv_nsec = (long long)(timeout_ns % NS_PER_S);
    return out;
}

/* A poll request fires once; it is submitted anew together with the next wait, in the same system call. */
static void wait_uring(struct poller *poller, uint64_t timeout_ns)
{
    struct __kernel_timespec timeout;
    struct io_uring_cqe *cqe;

    if (io_uring_submit_and_wait_timeout(&poller->ring, &cqe, 1, timespec_of(timeout_ns, &timeout), NULL) < 0)
        return;
    while (io_uring_peek_cqe(&poller->ring, &cqe) == 0) {
        unsigned index = (unsigned)io_uring_cqe_get_data64(cqe);

        io_uring_cqe_seen(&poller->ring, cqe);
        if (index < poller->fd_count)
            submit_poll(poller, index);
    }
}

static void wait_epoll(struct poller *poller, uint64_t timeout_ns)
{
    struct epoll_event events[POLLER_FDS_MAX];
    struct timespec timeout = {.tv_sec = (time_t)(timeout_ns / NS_PER_S),
                               .tv_nsec = (long)(timeout_ns % NS_PER_S)};

    epoll_pwait2(poller->epoll_fd, events, POLLER_FDS_MAX, timeout_ns == UINT64_MAX ? NULL : &timeout, NULL);
}

void poller_wait(struct poller *poller, uint64_t timeout_ns)
{
    if (poller->uring)
        wait_uring(poller, timeout_ns);
    else
        wait_epoll(poller, timeout_ns);
}
