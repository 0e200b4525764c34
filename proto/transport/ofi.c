/* ofi.c - see ofi.h */
#include "ofi.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "log.h"
#include "ofi_library.h"

#define SLOT_BYTES    65536 /* a buffer; a page multiple above FRAME_BYTES_MAX */
#define BUFFERS       (OFI_RECEIVES + OFI_SENDS)
#define STORAGE_BYTES ((size_t)BUFFERS * SLOT_BYTES)
#define CQ_BATCH      16
#define EVENT_POLLS   64 /* connections come and go rarely: look for that at every 64th idle poll */

static_assert(SLOT_BYTES >= FRAME_BYTES_MAX, "a frame fits a buffer");

/* The context of every operation. Owned by the provider from posting until its completion, flushed ones too;
 * then by the ready list (received) or the free list (sent). */
struct buffer {
    struct connection *connection;
    struct buffer *next;
    uint8_t *bytes;
    size_t frame_bytes;
    bool sends;
};

enum connection_state {
    CONNECTION_FREE,
    CONNECTION_OPEN,   /* connecting, accepted or connected */
    CONNECTION_BROKEN, /* to be closed when no completion is being looked at */
};

struct connection {
    struct fid_ep *ep;
    enum connection_state state;
    uint64_t id; /* serial number * OFI_CONNECTIONS_MAX + index */
    uint64_t opened_ns;
    uint64_t stalled_since_ns; /* no buffer was free from then on; 0: there was one */
    bool connected;            /* FI_CONNECTED was seen */
    bool heard;                /* it has carried a frame */
    uint8_t *storage;          /* taken at the first use of this entry, kept to the end */
    struct fid_mr *mr;         /* of the storage, where the provider wants that */
    struct buffer *free_sends;
    struct buffer buffers[BUFFERS];
};

struct ofi {
    struct endpoint endpoint;
    const struct ofi_library *library;
    struct fi_info *info;
    struct fid_fabric *fabric;
    struct fid_domain *domain;
    struct fid_eq *eq;
    struct fid_cq *cq;
    struct fid_pep *pep;                /* server */
    struct buffer *ready, **ready_last; /* received, in order */
    struct connection *connections;
    unsigned connection_count; /* 1 for a client */
    unsigned idle_polls;
    bool broken; /* a connection is to be closed */
    uint64_t next_serial;
};

static struct ofi *ofi_of(struct endpoint *endpoint)
{
    return (struct ofi *)endpoint; /* its first member */
}

/* The border to libfabric's errors: the common ones are errno, those from 256 on its own. */
static int errno_of(ssize_t error)
{
    return error > -256 ? (int)error : -EIO;
}

static void break_connection(struct ofi *ofi, struct connection *connection)
{
    if (connection->state == CONNECTION_OPEN) {
        connection->state = CONNECTION_BROKEN;
        ofi->broken = true;
    }
}

/* ---- completions ---- */

static void *descriptor_of(const struct connection *connection)
{
    return connection->mr ? fi_mr_desc(connection->mr) : NULL;
}

static void post_receive(struct ofi *ofi, struct buffer *buffer)
{
    struct connection *connection = buffer->connection;

    if (connection->state != CONNECTION_OPEN)
        return;
    if (fi_recv(connection->ep, buffer->bytes, FRAME_BYTES_MAX, descriptor_of(connection), FI_ADDR_UNSPEC,
                buffer) != 0)
        break_connection(ofi, connection);
}

static void complete(struct ofi *ofi, struct buffer *buffer, size_t frame_bytes)
{
    struct connection *connection = buffer->connection;

    if (buffer->sends) {
        buffer->next = connection->free_sends;
        connection->free_sends = buffer;
        connection->stalled_since_ns = 0;
        return;
    }
    buffer->frame_bytes = frame_bytes;
    buffer->next = NULL;
    *ofi->ready_last = buffer;
    ofi->ready_last = &buffer->next;
}

static void complete_failed(struct ofi *ofi)
{
    struct fi_cq_err_entry entry = {0};
    struct buffer *buffer;

    if (fi_cq_readerr(ofi->cq, &entry, 0) != 1 || !entry.op_context)
        return;
    buffer = entry.op_context;
    if (!buffer->sends && entry.err == FI_ETRUNC) { /* longer than any frame */
        ofi->endpoint.dropped_frames++;
        post_receive(ofi, buffer);
        return;
    }
    break_connection(ofi, buffer->connection);
}

/* True if there was anything. */
static bool poll_completions(struct ofi *ofi)
{
    struct fi_cq_msg_entry entries[CQ_BATCH];
    ssize_t count = fi_cq_read(ofi->cq, entries, CQ_BATCH);

    if (count == -FI_EAVAIL) {
        complete_failed(ofi);
        return true;
    }
    for (ssize_t i = 0; i < count; i++)
        if (entries[i].op_context)
            complete(ofi, entries[i].op_context, entries[i].len);
    return count > 0;
}

static struct buffer *take_ready(struct ofi *ofi)
{
    struct buffer *buffer = ofi->ready;

    if (!buffer)
        return NULL;
    ofi->ready = buffer->next;
    if (!ofi->ready)
        ofi->ready_last = &ofi->ready;
    return buffer;
}

/* ---- connections ---- */

static int take_storage(struct ofi *ofi, struct connection *connection)
{
    int error;

    if (connection->storage)
        return 0;
    connection->storage =
        mmap(NULL, STORAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (connection->storage == MAP_FAILED) {
        connection->storage = NULL;
        return -ENOMEM;
    }
    if (!(ofi->info->domain_attr->mr_mode & FI_MR_LOCAL))
        return 0;
    error = fi_mr_reg(ofi->domain, connection->storage, STORAGE_BYTES, FI_SEND | FI_RECV, 0, 0, 0,
                      &connection->mr, NULL);
    if (error) {
        munmap(connection->storage, STORAGE_BYTES);
        connection->storage = NULL;
    }
    return errno_of(error);
}

static void drop_storage(struct connection *connection)
{
    if (connection->mr)
        fi_close(&connection->mr->fid);
    if (connection->storage)
        munmap(connection->storage, STORAGE_BYTES);
}

static void deal_buffers(struct connection *connection)
{
    connection->free_sends = NULL;
    for (unsigned i = 0; i < BUFFERS; i++) {
        struct buffer *buffer = &connection->buffers[i];

        *buffer = (struct buffer){
            .connection = connection,
            .bytes = connection->storage + (size_t)i * SLOT_BYTES,
            .sends = i >= OFI_RECEIVES,
        };
        if (buffer->sends) {
            buffer->next = connection->free_sends;
            connection->free_sends = buffer;
        }
    }
}

/* An endpoint on `info` (ours, or that of a newcomer's request), bound, enabled and receiving. */
static int open_connection(struct ofi *ofi, struct connection *connection, struct fi_info *info)
{
    int error = take_storage(ofi, connection);

    if (error)
        return error;
    error = fi_endpoint(ofi->domain, info, &connection->ep, connection);
    if (error)
        return errno_of(error);
    connection->state = CONNECTION_OPEN;
    connection->id = ofi->next_serial++ * OFI_CONNECTIONS_MAX + (uint64_t)(connection - ofi->connections);
    connection->opened_ns = clock_now_ns();
    connection->stalled_since_ns = 0;
    connection->connected = false;
    connection->heard = false;
    deal_buffers(connection);
    error = fi_ep_bind(connection->ep, &ofi->eq->fid, 0);
    if (!error)
        error = fi_ep_bind(connection->ep, &ofi->cq->fid, FI_TRANSMIT | FI_RECV);
    if (!error)
        error = fi_enable(connection->ep);
    for (unsigned i = 0; i < OFI_RECEIVES && !error; i++)
        post_receive(ofi, &connection->buffers[i]);
    return errno_of(error);
}

/* Closing flushes what is posted into the completion queue; the entry is free again when that is read, and
 * what it had received and nobody took is gone. */
static void close_connection(struct ofi *ofi, struct connection *connection)
{
    struct buffer **link = &ofi->ready;

    connection->state = CONNECTION_BROKEN;
    fi_close(&connection->ep->fid);
    connection->ep = NULL;
    while (poll_completions(ofi))
        ;
    while (*link)
        if ((*link)->connection == connection)
            *link = (*link)->next;
        else
            link = &(*link)->next;
    ofi->ready_last = link;
    connection->state = CONNECTION_FREE;
}

/* A client's connection stays broken, for the owner to hear of; a server's is free for the next. */
static void close_broken(struct ofi *ofi)
{
    while (ofi->pep && ofi->broken) {
        ofi->broken = false;
        for (unsigned i = 0; i < ofi->connection_count; i++)
            if (ofi->connections[i].state == CONNECTION_BROKEN)
                close_connection(ofi, &ofi->connections[i]);
    }
}

static struct connection *find_free(struct ofi *ofi)
{
    struct connection *oldest = NULL;

    for (unsigned i = 0; i < ofi->connection_count; i++) {
        struct connection *at = &ofi->connections[i];

        if (at->state == CONNECTION_FREE)
            return at;
        if (!at->heard && (!oldest || at->opened_ns < oldest->opened_ns))
            oldest = at;
    }
    if (!oldest || clock_now_ns() - oldest->opened_ns < OFI_SILENT_NS)
        return NULL;
    close_connection(ofi, oldest);
    return oldest;
}

static void accept_connection(struct ofi *ofi, struct fi_info *request)
{
    struct connection *connection = find_free(ofi);
    int error = connection ? open_connection(ofi, connection, request) : -EMFILE;

    if (!error)
        error = fi_accept(connection->ep, NULL, 0);
    if (error) {
        log_limited(LOG_LEVEL_WARN, "ofi: a connection is refused: %s", strerror(-errno_of(error)));
        if (connection && connection->ep)
            close_connection(ofi, connection); /* the request goes with it */
        else
            fi_reject(ofi->pep, request->handle, NULL, 0);
    }
    ofi->library->freeinfo(request);
}

/* Reads one event. 0: there was one; -EAGAIN: there was none. */
static int poll_events(struct ofi *ofi)
{
    struct fi_eq_cm_entry entry = {0};
    struct fi_eq_err_entry failure = {0};
    uint32_t event = 0;
    ssize_t got = fi_eq_read(ofi->eq, &event, &entry, sizeof(entry), 0);
    struct connection *connection;

    if (got == -FI_EAVAIL) {
        if (fi_eq_readerr(ofi->eq, &failure, 0) < 0)
            return -EAGAIN;
        entry.fid = failure.fid;
        event = FI_SHUTDOWN;
    } else if (got < 0)
        return -EAGAIN;
    if (event == FI_CONNREQ) {
        accept_connection(ofi, entry.info);
        return 0;
    }
    if (!entry.fid || (ofi->pep && entry.fid == &ofi->pep->fid))
        return 0;
    connection = entry.fid->context;
    if (event == FI_CONNECTED)
        connection->connected = true;
    else if (event == FI_SHUTDOWN)
        break_connection(ofi, connection);
    return 0;
}

/* ---- the endpoint ---- */

static struct connection *find_connection(struct ofi *ofi, const struct address *to)
{
    struct connection *connection;

    if (!ofi->pep)
        return ofi->connections;
    connection = &ofi->connections[to->peer.id % OFI_CONNECTIONS_MAX];
    return connection->id == to->peer.id ? connection : NULL;
}

/* No room in the provider or no buffer left. The peer may just be slow; if that lasts, it is let go. */
static int stalled(struct ofi *ofi, struct connection *connection)
{
    uint64_t now_ns = clock_now_ns();

    if (connection->stalled_since_ns == 0)
        connection->stalled_since_ns = now_ns;
    else if (now_ns - connection->stalled_since_ns > OFI_STALL_NS)
        break_connection(ofi, connection);
    return -EAGAIN;
}

static ssize_t post_send(struct connection *connection, const struct fi_info *info, const void *frame,
                         size_t frame_bytes)
{
    struct buffer *buffer = connection->free_sends;
    ssize_t error;

    if (frame_bytes <= info->tx_attr->inject_size)
        return fi_inject(connection->ep, frame, frame_bytes, FI_ADDR_UNSPEC);
    if (!buffer)
        return -FI_EAGAIN;
    memcpy(buffer->bytes, frame, frame_bytes);
    error = fi_send(connection->ep, buffer->bytes, frame_bytes, descriptor_of(connection), FI_ADDR_UNSPEC,
                    buffer);
    if (!error)
        connection->free_sends = buffer->next;
    return error;
}

static int ofi_send(struct endpoint *endpoint, const struct address *to, const void *frame,
                    size_t frame_bytes)
{
    struct ofi *ofi = ofi_of(endpoint);
    struct connection *connection = find_connection(ofi, to);
    ssize_t error;

    if (!connection || connection->state != CONNECTION_OPEN)
        return -ECONNRESET;
    if (frame_bytes == 0 || frame_bytes > FRAME_BYTES_MAX)
        return -EMSGSIZE;
    error = post_send(connection, ofi->info, frame, frame_bytes);
    if (error == -FI_EAGAIN && poll_completions(ofi))
        error = post_send(connection, ofi->info, frame, frame_bytes);
    if (error == -FI_EAGAIN)
        return stalled(ofi, connection);
    if (error) {
        break_connection(ofi, connection);
        return -ECONNRESET;
    }
    connection->stalled_since_ns = 0;
    endpoint->sent_frames++;
    endpoint->sent_bytes += frame_bytes;
    return 0;
}

/* Nothing is ready: let the provider work. True if something is ready now. */
static bool make_progress(struct ofi *ofi)
{
    poll_completions(ofi);
    if (ofi->ready)
        return true;
    if (++ofi->idle_polls % EVENT_POLLS == 0)
        while (poll_events(ofi) == 0)
            ;
    if (ofi->broken)
        close_broken(ofi);
    return ofi->ready;
}

/* Moves a received frame to the caller and posts its buffer again. 0: it did not fit. */
static int hand_over(struct ofi *ofi, struct buffer *from, void *buffer, size_t buffer_bytes,
                     struct address *from_out)
{
    struct connection *connection = from->connection;
    size_t frame_bytes = from->frame_bytes;

    connection->heard = true;
    if (frame_bytes == 0 || frame_bytes > buffer_bytes) {
        ofi->endpoint.dropped_frames++;
        post_receive(ofi, from);
        return 0;
    }
    memcpy(buffer, from->bytes, frame_bytes);
    if (from_out) {
        memset(from_out, 0, sizeof(*from_out));
        from_out->peer.family = AF_UNSPEC;
        from_out->peer.id = connection->id;
    }
    post_receive(ofi, from);
    ofi->endpoint.received_frames++;
    ofi->endpoint.received_bytes += frame_bytes;
    return (int)frame_bytes;
}

static int ofi_receive(struct endpoint *endpoint, void *buffer, size_t buffer_bytes, struct address *from_out)
{
    struct ofi *ofi = ofi_of(endpoint);

    while (ofi->ready || make_progress(ofi)) {
        int received = hand_over(ofi, take_ready(ofi), buffer, buffer_bytes, from_out);

        if (received > 0)
            return received;
    }
    return !ofi->pep && ofi->connections->state != CONNECTION_OPEN ? -ECONNRESET : -EAGAIN;
}

static int ofi_arm(struct endpoint *endpoint)
{
    struct ofi *ofi = ofi_of(endpoint);
    struct fid *waiting[] = {&ofi->cq->fid, &ofi->eq->fid};

    while (poll_events(ofi) == 0)
        ;
    close_broken(ofi);
    ofi->idle_polls = EVENT_POLLS - 1; /* the next receive looks at events, too: one may have woken us */
    if (ofi->ready || ofi->broken)
        return -EAGAIN;
    return fi_trywait(ofi->fabric, waiting, 2) == 0 ? 0 : -EAGAIN;
}

static void ofi_close(struct endpoint *endpoint)
{
    struct ofi *ofi = ofi_of(endpoint);

    for (unsigned i = 0; ofi->connections && i < ofi->connection_count; i++) {
        if (ofi->connections[i].ep)
            close_connection(ofi, &ofi->connections[i]);
        drop_storage(&ofi->connections[i]);
    }
    free(ofi->connections);
    if (ofi->pep)
        fi_close(&ofi->pep->fid);
    if (ofi->cq)
        fi_close(&ofi->cq->fid);
    if (ofi->domain)
        fi_close(&ofi->domain->fid);
    if (ofi->eq)
        fi_close(&ofi->eq->fid);
    if (ofi->fabric)
        fi_close(&ofi->fabric->fid);
    if (ofi->info)
        ofi->library->freeinfo(ofi->info);
    if (endpoint->fd >= 0)
        close(endpoint->fd);
    free(ofi);
}

static const struct endpoint_ops ofi_ops = {
    .send = ofi_send,
    .probe = ofi_send, /* the stream below has no frames to keep whole */
    .receive = ofi_receive,
    .arm = ofi_arm,
    .close = ofi_close,
};

/* ---- opening ---- */

static int find_provider(struct ofi *ofi, const char *provider, const struct address *address, uint64_t flags)
{
    char node[INET6_ADDRSTRLEN], service[8];
    struct fi_info *hints;
    socklen_t bytes = address->sa.sa_family == AF_INET ? sizeof(address->in) : sizeof(address->in6);
    int error;

    if (strstr(provider, "shm")) {
        log_error("ofi: provider \"%s\" is not allowed: it installs signal handlers of its own", provider);
        return -EPERM;
    }
    ofi->library = ofi_library();
    if (!ofi->library)
        return -ENOSYS;
    if (getnameinfo(&address->sa, bytes, node, sizeof(node), service, sizeof(service),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return -EAFNOSUPPORT;
    hints = ofi->library->dupinfo(NULL);
    if (!hints)
        return -ENOMEM;
    hints->caps = FI_MSG;
    hints->ep_attr->type = FI_EP_MSG;
    hints->domain_attr->threading = FI_THREAD_DOMAIN; /* one thread owns it all */
    hints->domain_attr->mr_mode = FI_MR_LOCAL;
    hints->fabric_attr->prov_name = strdup(provider); /* freed with the hints */
    error = ofi->library->getinfo(FI_VERSION(1, 17), node, service, flags, hints, &ofi->info);
    ofi->library->freeinfo(hints);
    if (error) {
        ofi->info = NULL;
        log_error("ofi: provider \"%s\" has no message endpoint (FI_EP_MSG) for %s; \"tcp\" is one that does",
                  provider, node);
        return -ENODEV;
    }
    return 0;
}

static int open_objects(struct ofi *ofi)
{
    struct fi_eq_attr eq = {.wait_obj = FI_WAIT_FD};
    struct fi_cq_attr cq = {
        .size = (size_t)ofi->connection_count * BUFFERS, /* an overrun would be fatal */
        .format = FI_CQ_FORMAT_MSG,
        .wait_obj = FI_WAIT_FD,
    };
    int error = ofi->library->fabric(ofi->info->fabric_attr, &ofi->fabric, NULL);

    if (!error)
        error = fi_eq_open(ofi->fabric, &eq, &ofi->eq, NULL);
    if (!error)
        error = fi_domain(ofi->fabric, ofi->info, &ofi->domain, NULL);
    if (!error)
        error = fi_cq_open(ofi->domain, &cq, &ofi->cq, NULL);
    return errno_of(error);
}

static int watch(int epoll_fd, struct fid *object)
{
    struct epoll_event event = {.events = EPOLLIN};
    int fd, error = fi_control(object, FI_GETWAIT, &fd);

    if (error)
        return errno_of(error);
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static int make_descriptor(struct ofi *ofi)
{
    int error;

    ofi->endpoint.fd = epoll_create1(EPOLL_CLOEXEC);
    if (ofi->endpoint.fd < 0)
        return -errno;
    error = watch(ofi->endpoint.fd, &ofi->cq->fid);
    return error ? error : watch(ofi->endpoint.fd, &ofi->eq->fid);
}

static int open_ofi(const char *provider, const struct address *address, uint64_t flags, unsigned connections,
                    struct ofi **ofi_out)
{
    struct ofi *ofi = calloc(1, sizeof(*ofi));
    int error;

    if (!ofi)
        return -ENOMEM;
    ofi->endpoint.ops = &ofi_ops;
    ofi->endpoint.fd = -1;
    ofi->endpoint.frame_bytes_max = FRAME_BYTES_MAX;
    ofi->ready_last = &ofi->ready;
    ofi->connection_count = connections;
    ofi->connections = calloc(connections, sizeof(*ofi->connections));
    error = ofi->connections ? find_provider(ofi, provider, address, flags) : -ENOMEM;
    if (!error)
        error = open_objects(ofi);
    if (!error)
        error = make_descriptor(ofi);
    if (error) {
        ofi_close(&ofi->endpoint);
        return error;
    }
    if (ofi->info->ep_attr->max_msg_size < FRAME_BYTES_MAX)
        ofi->endpoint.frame_bytes_max = (uint32_t)ofi->info->ep_attr->max_msg_size;
    *ofi_out = ofi;
    return 0;
}

/* Waits until the one connection stands. */
static int await_connected(struct ofi *ofi)
{
    uint64_t until_ns = clock_now_ns() + OFI_CONNECT_NS;
    struct fi_eq_cm_entry entry;
    struct fi_eq_err_entry failure = {0};
    uint32_t event;

    while (clock_now_ns() < until_ns) {
        ssize_t got = fi_eq_sread(ofi->eq, &event, &entry, sizeof(entry), 100, 0);

        if (got == -FI_EAVAIL)
            return fi_eq_readerr(ofi->eq, &failure, 0) > 0 && failure.err ? errno_of(-failure.err) : -EIO;
        if (got >= 0)
            return event == FI_CONNECTED ? 0 : -ECONNREFUSED;
        if (got != -FI_EAGAIN && got != -FI_ETIMEDOUT && got != -FI_EINTR)
            return errno_of(got);
    }
    return -ETIMEDOUT;
}

int ofi_connect(const char *provider, const struct address *server, struct endpoint **endpoint_out)
{
    size_t local_bytes = sizeof(struct address);
    struct ofi *ofi;
    int error = open_ofi(provider, server, 0, 1, &ofi);

    if (error)
        return error;
    error = open_connection(ofi, ofi->connections, ofi->info);
    if (!error)
        error = errno_of(fi_connect(ofi->connections->ep, ofi->info->dest_addr, NULL, 0));
    if (!error)
        error = await_connected(ofi);
    if (!error)
        error = errno_of(fi_getname(&ofi->connections->ep->fid, &ofi->endpoint.local, &local_bytes));
    if (error) {
        ofi_close(&ofi->endpoint);
        return error;
    }
    ofi->connections->connected = true;
    *endpoint_out = &ofi->endpoint;
    return 0;
}

int ofi_listen(const char *provider, const struct address *local, struct endpoint **endpoint_out)
{
    size_t local_bytes = sizeof(struct address);
    struct ofi *ofi;
    int error = open_ofi(provider, local, FI_SOURCE, OFI_CONNECTIONS_MAX, &ofi);

    if (error)
        return error;
    error = fi_passive_ep(ofi->fabric, ofi->info, &ofi->pep, NULL);
    if (!error)
        error = fi_pep_bind(ofi->pep, &ofi->eq->fid, 0);
    if (!error)
        error = fi_listen(ofi->pep);
    if (!error)
        error = fi_getname(&ofi->pep->fid, &ofi->endpoint.local, &local_bytes);
    if (error) {
        ofi_close(&ofi->endpoint);
        return errno_of(error);
    }
    *endpoint_out = &ofi->endpoint;
    return 0;
}
