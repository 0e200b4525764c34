/* ofi_sleep.c - one descriptor to sleep on until libfabric has something; see ofi.h */
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ofi_private.h"

#define SPARE_DESCRIPTORS 8 /* in the list beyond those of the connections */

static int watch(struct ofi *ofi, struct fid *object)
{
    struct epoll_event event = {.events = EPOLLIN};
    int fd, error = fi_control(object, FI_GETWAIT, &fd);

    if (error)
        return ofi_errno(error);
    return epoll_ctl(ofi->endpoint.fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

int ofi_sleep_open(struct ofi *ofi)
{
    struct ofi_sleep *sleep = &ofi->sleep;
    int error;

    sleep->room = ofi->connection_count + SPARE_DESCRIPTORS;
    sleep->known = calloc(sleep->room, sizeof(*sleep->known));
    sleep->list = calloc(sleep->room, sizeof(*sleep->list));
    if (!sleep->known || !sleep->list)
        return -ENOMEM;
    ofi->endpoint.fd = epoll_create1(EPOLL_CLOEXEC);
    if (ofi->endpoint.fd < 0)
        return -errno;
    error = watch(ofi, &ofi->eq->fid);
    return error || sleep->lists ? error : watch(ofi, &ofi->cq->fid);
}

void ofi_sleep_close(struct ofi *ofi)
{
    free(ofi->sleep.known);
    free(ofi->sleep.list);
    if (ofi->endpoint.fd >= 0)
        close(ofi->endpoint.fd);
}

/* What is closed by now was forgotten by the kernel, and its number may be another's. */
static void forget_all(struct ofi *ofi)
{
    struct ofi_sleep *sleep = &ofi->sleep;

    for (size_t i = 0; i < sleep->count; i++)
        epoll_ctl(ofi->endpoint.fd, EPOLL_CTL_DEL, sleep->known[i].fd, NULL);
    sleep->count = 0;
}

/* The list has signals of the provider, too. They come only from calls that we make, and one of them is never
 * taken back. */
static bool is_connection(int fd)
{
    int domain = AF_UNIX;
    socklen_t bytes = sizeof(domain);

    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &bytes) == 0 && domain != AF_UNIX;
}

/* poll's events have the values of epoll's. */
static void watch_list(struct ofi *ofi, const struct fi_wait_pollfd *list)
{
    struct ofi_sleep *sleep = &ofi->sleep;

    forget_all(ofi);
    for (size_t i = 0; i < list->nfds; i++) {
        struct epoll_event event = {.events = (uint32_t)list->fd[i].events};

        if (is_connection(list->fd[i].fd) &&
            epoll_ctl(ofi->endpoint.fd, EPOLL_CTL_ADD, list->fd[i].fd, &event) < 0)
            return; /* what is known is short of what is wanted: the next arm tries again */
        sleep->known[sleep->count++] = list->fd[i];
    }
    sleep->change = list->change_index;
}

/* The count of changes tells of connections that came and went, not of what is awaited from them. */
static bool same_list(const struct ofi_sleep *sleep, const struct fi_wait_pollfd *list)
{
    if (sleep->change != list->change_index || sleep->count != list->nfds)
        return false;
    for (size_t i = 0; i < list->nfds; i++)
        if (sleep->known[i].fd != list->fd[i].fd || sleep->known[i].events != list->fd[i].events)
            return false;
    return true;
}

/* True: what is to be watched has been watched since before the provider found nothing to do. */
static bool list_stands(struct ofi *ofi)
{
    struct fi_wait_pollfd list = {.nfds = ofi->sleep.room, .fd = ofi->sleep.list};

    if (fi_control(&ofi->cq->fid, FI_GETWAIT, &list) != 0)
        return false;
    if (same_list(&ofi->sleep, &list))
        return true;
    watch_list(ofi, &list);
    return false;
}

int ofi_sleep_arm(struct ofi *ofi)
{
    struct fid *waiting[] = {&ofi->cq->fid, &ofi->eq->fid};

    if (fi_trywait(ofi->fabric, waiting, 2) != 0)
        return -EAGAIN;
    return ofi->sleep.lists && !list_stands(ofi) ? -EAGAIN : 0; /* now: trywait may have changed the list */
}
