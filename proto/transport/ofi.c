/* ofi.c - frames over libfabric: completions, sending, receiving; see ofi.h */
#include "ofi.h"

#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "least.h"
#include "ofi_private.h"

#define CQ_BATCH    16
#define EVENT_POLLS 64 /* connections come and go rarely: look for that at every 64th idle poll */

static struct ofi *ofi_of(struct endpoint *endpoint)
{
    return (struct ofi *)endpoint; /* its first member */
}

/* ---- completions ---- */

void ofi_post_receive(struct ofi *ofi, struct ofi_buffer *buffer)
{
    struct ofi_connection *connection = buffer->connection;
    const struct iovec pieces[] = {{buffer->head, OFI_HEAD_BYTES},
                                   {buffer->bytes, FRAME_BYTES_MAX - OFI_HEAD_BYTES}};
    void *descriptors[] = {ofi_descriptor(connection), ofi_descriptor(connection)};

    if (connection->state != CONNECTION_OPEN)
        return;
    if (fi_recvv(connection->ep, pieces, descriptors, 2, FI_ADDR_UNSPEC, buffer) != 0)
        ofi_break(ofi, connection);
}

static void complete(struct ofi *ofi, struct ofi_buffer *buffer, size_t frame_bytes)
{
    struct ofi_connection *connection = buffer->connection;

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
    struct ofi_buffer *buffer;

    if (fi_cq_readerr(ofi->cq, &entry, 0) != 1 || !entry.op_context)
        return;
    buffer = entry.op_context;
    if (!buffer->sends && entry.err == FI_ETRUNC) { /* longer than any frame */
        ofi->endpoint.dropped_frames++;
        ofi_post_receive(ofi, buffer);
        return;
    }
    ofi_break(ofi, buffer->connection);
}

/* True if there was anything. */
bool ofi_poll_completions(struct ofi *ofi)
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

static struct ofi_buffer *take_ready(struct ofi *ofi)
{
    struct ofi_buffer *buffer = ofi->ready;

    if (!buffer)
        return NULL;
    ofi->ready = buffer->next;
    if (!ofi->ready)
        ofi->ready_last = &ofi->ready;
    return buffer;
}

/* ---- the endpoint ---- */

static struct ofi_connection *find_connection(struct ofi *ofi, const struct address *to)
{
    struct ofi_connection *connection;

    if (!ofi->pep)
        return ofi->connections;
    connection = &ofi->connections[to->peer.id % OFI_CONNECTIONS_MAX];
    return connection->id == to->peer.id ? connection : NULL;
}

/* No room in the provider or no buffer left. The peer may just be slow; if that lasts, it is let go. */
static int stalled(struct ofi *ofi, struct ofi_connection *connection)
{
    uint64_t now_ns = clock_now_ns();

    if (connection->stalled_since_ns == 0)
        connection->stalled_since_ns = now_ns;
    else if (now_ns - connection->stalled_since_ns > OFI_STALL_NS)
        ofi_break(ofi, connection);
    return -EAGAIN;
}

static ssize_t post_send(struct ofi_connection *connection, const struct fi_info *info, const void *frame,
                         size_t frame_bytes)
{
    struct ofi_buffer *buffer = connection->free_sends;
    ssize_t error;

    if (frame_bytes <= info->tx_attr->inject_size)
        return fi_inject(connection->ep, frame, frame_bytes, FI_ADDR_UNSPEC);
    if (!buffer)
        return -FI_EAGAIN;
    memcpy(buffer->bytes, frame, frame_bytes);
    error = fi_send(connection->ep, buffer->bytes, frame_bytes, ofi_descriptor(connection), FI_ADDR_UNSPEC,
                    buffer);
    if (!error)
        connection->free_sends = buffer->next;
    return error;
}

static int ofi_send(struct endpoint *endpoint, const struct address *to, const void *frame,
                    size_t frame_bytes)
{
    struct ofi *ofi = ofi_of(endpoint);
    struct ofi_connection *connection = find_connection(ofi, to);
    ssize_t error;

    if (!connection || connection->state != CONNECTION_OPEN)
        return -ECONNRESET;
    if (frame_bytes == 0 || frame_bytes > FRAME_BYTES_MAX)
        return -EMSGSIZE;
    error = post_send(connection, ofi->info, frame, frame_bytes);
    if (error == -FI_EAGAIN && ofi_poll_completions(ofi))
        error = post_send(connection, ofi->info, frame, frame_bytes);
    if (error == -FI_EAGAIN)
        return stalled(ofi, connection);
    if (error) {
        ofi_break(ofi, connection);
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
    ofi_poll_completions(ofi);
    if (ofi->ready)
        return true;
    if (++ofi->idle_polls % EVENT_POLLS == 0)
        while (ofi_poll_events(ofi) == 0)
            ;
    if (ofi->broken)
        ofi_close_broken(ofi);
    return ofi->ready;
}

/* Moves a received frame to the caller and posts its buffer again. 0: it did not fit. */
static int hand_over(struct ofi *ofi, struct ofi_buffer *from, void *buffer, size_t buffer_bytes,
                     struct address *from_out)
{
    struct ofi_connection *connection = from->connection;
    size_t frame_bytes = from->frame_bytes;

    connection->heard = true;
    if (frame_bytes == 0 || frame_bytes > buffer_bytes) {
        ofi->endpoint.dropped_frames++;
        ofi_post_receive(ofi, from);
        return 0;
    }
    memcpy(buffer, from->head, least(frame_bytes, OFI_HEAD_BYTES));
    if (frame_bytes > OFI_HEAD_BYTES)
        memcpy((uint8_t *)buffer + OFI_HEAD_BYTES, from->bytes, frame_bytes - OFI_HEAD_BYTES);
    if (from_out) {
        memset(from_out, 0, sizeof(*from_out));
        from_out->peer.family = AF_UNSPEC;
        from_out->peer.id = connection->id;
    }
    ofi_post_receive(ofi, from);
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

    while (ofi_poll_events(ofi) == 0)
        ;
    ofi_close_broken(ofi);
    ofi->idle_polls = EVENT_POLLS - 1; /* the next receive looks at events, too: one may have woken us */
    if (ofi->ready || ofi->broken)
        return -EAGAIN;
    return ofi_sleep_arm(ofi);
}

static void ofi_close(struct endpoint *endpoint)
{
    struct ofi *ofi = ofi_of(endpoint);

    for (unsigned i = 0; ofi->connections && i < ofi->connection_count; i++) {
        if (ofi->connections[i].ep)
            ofi_close_connection(ofi, &ofi->connections[i]);
        ofi_drop_storage(&ofi->connections[i]);
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
    ofi_sleep_close(ofi);
    free(ofi);
}

const struct endpoint_ops ofi_ops = {
    .send = ofi_send,
    .probe = ofi_send, /* the stream below has no frames to keep whole */
    .receive = ofi_receive,
    .arm = ofi_arm,
    .close = ofi_close,
};
