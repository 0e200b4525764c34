/* ofi_connection.c - connections over libfabric: their buffers, their coming and going; see ofi.h */
#include "ofi_private.h"

#include <rdma/fi_cm.h>
#include <string.h>
#include <sys/mman.h>

#include "clock.h"
#include "log.h"

void ofi_break(struct ofi *ofi, struct ofi_connection *connection)
{
    if (connection->state == CONNECTION_OPEN) {
        connection->state = CONNECTION_BROKEN;
        ofi->broken = true;
    }
}

static int take_storage(struct ofi *ofi, struct ofi_connection *connection)
{
    int error;

    if (connection->storage)
        return 0;
    connection->storage = mmap(NULL, OFI_STORAGE_BYTES, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (connection->storage == MAP_FAILED) {
        connection->storage = NULL;
        return -ENOMEM;
    }
    if (!(ofi->info->domain_attr->mr_mode & FI_MR_LOCAL))
        return 0;
    error = fi_mr_reg(ofi->domain, connection->storage, OFI_STORAGE_BYTES, FI_SEND | FI_RECV, 0, 0, 0,
                      &connection->mr, NULL);
    if (error) {
        munmap(connection->storage, OFI_STORAGE_BYTES);
        connection->storage = NULL;
    }
    return ofi_errno(error);
}

void ofi_drop_storage(struct ofi_connection *connection)
{
    if (connection->mr)
        fi_close(&connection->mr->fid);
    if (connection->storage)
        munmap(connection->storage, OFI_STORAGE_BYTES);
}

static void deal_buffers(struct ofi_connection *connection)
{
    connection->free_sends = NULL;
    for (unsigned i = 0; i < OFI_BUFFERS; i++) {
        struct ofi_buffer *buffer = &connection->buffers[i];

        *buffer = (struct ofi_buffer){
            .connection = connection,
            .head = i < OFI_RECEIVES ? connection->storage + (size_t)i * OFI_HEAD_BYTES : NULL,
            .bytes = connection->storage + OFI_HEADS_BYTES + (size_t)i * OFI_BUFFER_BYTES,
            .sends = i >= OFI_RECEIVES,
        };
        if (buffer->sends) {
            buffer->next = connection->free_sends;
            connection->free_sends = buffer;
        }
    }
}

int ofi_open_connection(struct ofi *ofi, struct ofi_connection *connection, struct fi_info *info)
{
    int error = take_storage(ofi, connection);

    if (error)
        return error;
    error = fi_endpoint(ofi->domain, info, &connection->ep, connection);
    if (error)
        return ofi_errno(error);
    connection->state = CONNECTION_OPEN;
    connection->id = ofi->next_serial++ * OFI_CONNECTIONS_MAX + (uint64_t)(connection - ofi->connections);
    connection->opened_ns = clock_now_ns();
    connection->stalled_since_ns = 0;
    connection->heard = false;
    deal_buffers(connection);
    error = fi_ep_bind(connection->ep, &ofi->eq->fid, 0);
    if (!error)
        error = fi_ep_bind(connection->ep, &ofi->cq->fid, FI_TRANSMIT | FI_RECV);
    if (!error)
        error = fi_enable(connection->ep);
    for (unsigned i = 0; i < OFI_RECEIVES && !error; i++)
        ofi_post_receive(ofi, &connection->buffers[i]);
    return ofi_errno(error);
}

/* Closing flushes what is posted into the completion queue; the entry is free again when that is read, and
 * what it had received and nobody took is gone. */
void ofi_close_connection(struct ofi *ofi, struct ofi_connection *connection)
{
    struct ofi_buffer **link = &ofi->ready;

    connection->state = CONNECTION_BROKEN;
    fi_close(&connection->ep->fid);
    connection->ep = NULL;
    while (ofi_poll_completions(ofi))
        ;
    while (*link)
        if ((*link)->connection == connection)
            *link = (*link)->next;
        else
            link = &(*link)->next;
    ofi->ready_last = link;
    connection->state = CONNECTION_FREE;
}

void ofi_close_broken(struct ofi *ofi)
{
    while (ofi->pep && ofi->broken) {
        ofi->broken = false;
        for (unsigned i = 0; i < ofi->connection_count; i++)
            if (ofi->connections[i].state == CONNECTION_BROKEN)
                ofi_close_connection(ofi, &ofi->connections[i]);
    }
}

static struct ofi_connection *find_free(struct ofi *ofi)
{
    struct ofi_connection *oldest = NULL;

    for (unsigned i = 0; i < ofi->connection_count; i++) {
        struct ofi_connection *at = &ofi->connections[i];

        if (at->state == CONNECTION_FREE)
            return at;
        if (!at->heard && (!oldest || at->opened_ns < oldest->opened_ns))
            oldest = at;
    }
    if (!oldest || clock_now_ns() - oldest->opened_ns < OFI_SILENT_NS)
        return NULL;
    ofi_close_connection(ofi, oldest);
    return oldest;
}

static void accept_connection(struct ofi *ofi, struct fi_info *request)
{
    struct ofi_connection *connection = find_free(ofi);
    int error = connection ? ofi_open_connection(ofi, connection, request) : -EMFILE;

    if (!error)
        error = fi_accept(connection->ep, NULL, 0);
    if (error) {
        log_limited(LOG_LEVEL_WARN, "ofi: a connection is refused: %s", strerror(-ofi_errno(error)));
        if (connection && connection->ep)
            ofi_close_connection(ofi, connection); /* the request goes with it */
        else
            fi_reject(ofi->pep, request->handle, NULL, 0);
    }
    ofi->library->freeinfo(request);
}

int ofi_poll_events(struct ofi *ofi)
{
    struct fi_eq_cm_entry entry = {0};
    struct fi_eq_err_entry failure = {0};
    uint32_t event = 0;
    ssize_t got = fi_eq_read(ofi->eq, &event, &entry, sizeof(entry), 0);

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
    if (event == FI_SHUTDOWN)
        ofi_break(ofi, entry.fid->context);
    return 0;
}
