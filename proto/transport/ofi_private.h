/* ofi_private.h - what the parts of the libfabric endpoint share
 *
 * ofi_open.c        makes an endpoint and its objects
 * ofi_connection.c  connections: their buffers, their coming and going
 * ofi_sleep.c       one descriptor to sleep on
 * ofi.c             frames: completions, sending, receiving
 */
#ifndef CXE_TRANSPORT_OFI_PRIVATE_H
#define CXE_TRANSPORT_OFI_PRIVATE_H

#include <errno.h>
#include <poll.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>

#include "ofi.h"
#include "ofi_library.h"

#define OFI_BUFFER_BYTES  65536 /* a buffer; a page multiple above FRAME_BYTES_MAX */
#define OFI_BUFFERS       (OFI_RECEIVES + OFI_SENDS)
#define OFI_HEAD_BYTES    512 /* of a received frame: those of a connection share a page */
#define OFI_HEADS_BYTES   ((size_t)OFI_RECEIVES * OFI_HEAD_BYTES)
#define OFI_STORAGE_BYTES (OFI_HEADS_BYTES + (size_t)OFI_BUFFERS * OFI_BUFFER_BYTES)

static_assert(OFI_BUFFER_BYTES >= FRAME_BYTES_MAX, "a frame fits a buffer");
static_assert(OFI_HEADS_BYTES == PAGE_BYTES, "connections that carry short frames touch little");

/* The context of every operation. Owned by the provider from posting until its completion, flushed ones too;
 * then by the ready list (received) or the free list (sent). */
struct ofi_buffer {
    struct ofi_connection *connection;
    struct ofi_buffer *next;
    uint8_t *head; /* of one for receiving: where a frame begins; `bytes` takes what is longer */
    uint8_t *bytes;
    size_t frame_bytes;
    bool sends;
};

enum ofi_connection_state {
    CONNECTION_FREE,
    CONNECTION_OPEN,   /* connecting, accepted or connected */
    CONNECTION_BROKEN, /* to be closed when no completion is being looked at */
};

struct ofi_connection {
    struct fid_ep *ep;
    enum ofi_connection_state state;
    uint64_t id; /* serial number * OFI_CONNECTIONS_MAX + index */
    uint64_t opened_ns;
    uint64_t stalled_since_ns; /* no buffer was free from then on; 0: there was one */
    bool heard;                /* it has carried a frame */
    uint8_t *storage;          /* taken at the first use of this entry, kept to the end */
    struct fid_mr *mr;         /* of the storage, where the provider wants that */
    struct ofi_buffer *free_sends;
    struct ofi_buffer buffers[OFI_BUFFERS];
};

/* The completion queue may have a list of descriptors instead of one: endpoint.fd watches its connections. */
struct ofi_sleep {
    bool lists;
    size_t room;
    size_t count; /* entries of `known` */
    struct pollfd *known;
    uint64_t change;     /* the provider's count of changes, of `known` */
    struct pollfd *list; /* room for the list of now */
};

struct ofi {
    struct endpoint endpoint;
    const struct ofi_library *library;
    struct fi_info *info;
    struct fid_fabric *fabric;
    struct fid_domain *domain;
    struct fid_eq *eq;
    struct fid_cq *cq;
    struct fid_pep *pep;                    /* server */
    struct ofi_buffer *ready, **ready_last; /* received, in order */
    struct ofi_connection *connections;
    unsigned connection_count; /* 1 for a client */
    unsigned idle_polls;
    bool broken; /* a connection is to be closed */
    struct ofi_sleep sleep;
    uint64_t next_serial;
};

extern const struct endpoint_ops ofi_ops;

/* The border to libfabric's errors: the common ones are errno, those from 256 on its own. */
static inline int ofi_errno(ssize_t error)
{
    return error > -256 ? (int)error : -EIO;
}

/* What an operation on the connection's buffers needs to name them. */
static inline void *ofi_descriptor(const struct ofi_connection *connection)
{
    return connection->mr ? fi_mr_desc(connection->mr) : NULL;
}

/* Marks a connection to be closed when no completion is being looked at. */
void ofi_break(struct ofi *ofi, struct ofi_connection *connection);

/* Gives a buffer to the provider to receive into. */
void ofi_post_receive(struct ofi *ofi, struct ofi_buffer *buffer);

/* Takes completions to the lists they belong to. True if there were any. */
bool ofi_poll_completions(struct ofi *ofi);

/* Makes an endpoint on `info` (ours, or that of a newcomer's request), bound, enabled and receiving. */
int ofi_open_connection(struct ofi *ofi, struct ofi_connection *connection, struct fi_info *info);

/* Closes it and takes back its buffers; the entry is free again. */
void ofi_close_connection(struct ofi *ofi, struct ofi_connection *connection);

/* Closes a server's broken connections. A client's stays, for the owner to hear of. */
void ofi_close_broken(struct ofi *ofi);

/* Unmaps a closed connection's buffers, at the end of all. */
void ofi_drop_storage(struct ofi_connection *connection);

/* Makes endpoint.fd, when the queues are there. Close, also if that failed. */
int ofi_sleep_open(struct ofi *ofi);
void ofi_sleep_close(struct ofi *ofi);

/* May the owner sleep on endpoint.fd? 0: yes. -EAGAIN: there may be something already. */
int ofi_sleep_arm(struct ofi *ofi);

/* Reads one event and acts on it. 0: there was one; -EAGAIN: there was none. */
int ofi_poll_events(struct ofi *ofi);

#endif
