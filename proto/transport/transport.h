/* transport.h - the contract of everything that carries datagrams
 *
 * An endpoint sends and receives whole frames, and may lose, double or reorder them: the session absorbs
 * that. It never delivers part of a frame, or two frames as one.
 *
 * eth   UDP (eth.h)                       the default
 * ofi   libfabric (ofi.h)                 for fabrics whose hosts trust each other
 * loop  in process, virtual clock (loop.h)  for tests and the simulator
 * fault wraps any of them (fault.h)       drops, doubles, reorders, delays, corrupts, cuts; seeded
 */
#ifndef CXE_TRANSPORT_TRANSPORT_H
#define CXE_TRANSPORT_TRANSPORT_H

#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "limits.h"

/* A peer of an endpoint: an IP address and port, or, where the family is AF_UNSPEC, a number that the
 * transport made up for a connection. Compared bytewise (address_equal), so unused bytes are zero: make one
 * by memset first. */
struct address {
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct {
            sa_family_t family; /* AF_UNSPEC */
            uint64_t id;
        } peer;
    };
};

struct endpoint;

struct endpoint_ops {
    /* Sends one frame; never blocks. `to` is ignored by a connected endpoint (a client's) and may then be
     * NULL. The frame is the caller's again on return. 0: handed on (it may still be lost). -EAGAIN: no room
     * now, as good as lost. -EMSGSIZE: longer than the path takes. Other errors: the peer is gone, for a
     * client -ECONNREFUSED where the host says so; or there is no way to it from where we are, see
     * reconnect. */
    int (*send)(struct endpoint *endpoint, const struct address *to, const void *frame, size_t frame_bytes);

    /* As send, but the frame may stay here, so that several leave by one system call: for bursts. Whoever
     * posts has to flush; frames leave in order, also before what is sent or probed later. An error may be
     * that of frames posted before. NULL: as send. */
    int (*post)(struct endpoint *endpoint, const struct address *to, const void *frame, size_t frame_bytes);

    /* What was posted leaves now. Errors as for send. NULL: nothing ever stays. */
    int (*flush)(struct endpoint *endpoint);

    /* As send, but the frame goes in one piece or not at all (eth: "don't fragment"), however long it is: to
     * find out what the path carries. */
    int (*probe)(struct endpoint *endpoint, const struct address *to, const void *frame, size_t frame_bytes);

    /* Takes one frame; never blocks. Returns its length (> 0), `from_out` (may be NULL) set; -EAGAIN: none
     * there. A frame longer than `buffer_bytes` is dropped and counted, and the next one looked at. Other
     * errors as for send; -ECONNREFUSED is reported once and the endpoint goes on. */
    int (*receive)(struct endpoint *endpoint, void *buffer, size_t buffer_bytes, struct address *from_out);

    /* May the caller sleep on `fd` until it is readable? 0: yes. -EAGAIN: no, call receive again. */
    int (*arm)(struct endpoint *endpoint);

    /* A client's: makes the connection anew, from whatever address is ours now. 0: as well as can be, and no
     * less so if nothing had changed. -EOPNOTSUPP (or NULL): only another endpoint would do. Other errors:
     * there is no way to the peer now; try again later. */
    int (*reconnect)(struct endpoint *endpoint);

    /* Frees it all. */
    void (*close)(struct endpoint *endpoint);
};

/* Owned by one thread at a time. The maker fills every field; the owner may change `frame_bytes_max` as it
 * learns what the path carries. */
struct endpoint {
    const struct endpoint_ops *ops;
    int fd;                   /* readable when `receive` may find something; -1 if there is none (loop) */
    uint32_t frame_bytes_max; /* the longest frame that the path carries in one piece, as far as is known */
    bool async_signal_safe;   /* all but close may be called in a signal handler */
    bool posted;              /* something was, and has not left */
    struct address local;     /* what it is bound to; the port is filled in where 0 was asked for */
    uint64_t sent_frames, sent_bytes, received_frames, received_bytes, dropped_frames;
};

static inline int endpoint_send(struct endpoint *endpoint, const struct address *to, const void *frame,
                                size_t frame_bytes)
{
    return endpoint->ops->send(endpoint, to, frame, frame_bytes);
}

static inline int endpoint_post(struct endpoint *endpoint, const struct address *to, const void *frame,
                                size_t frame_bytes)
{
    return (endpoint->ops->post ? endpoint->ops->post : endpoint->ops->send)(endpoint, to, frame,
                                                                             frame_bytes);
}

static inline int endpoint_flush(struct endpoint *endpoint)
{
    return endpoint->posted ? endpoint->ops->flush(endpoint) : 0;
}

static inline int endpoint_probe(struct endpoint *endpoint, const struct address *to, const void *frame,
                                 size_t frame_bytes)
{
    return endpoint->ops->probe(endpoint, to, frame, frame_bytes);
}

static inline int endpoint_receive(struct endpoint *endpoint, void *buffer, size_t buffer_bytes,
                                   struct address *from_out)
{
    return endpoint->ops->receive(endpoint, buffer, buffer_bytes, from_out);
}

static inline int endpoint_arm(struct endpoint *endpoint)
{
    return endpoint->ops->arm(endpoint);
}

static inline int endpoint_reconnect(struct endpoint *endpoint)
{
    return endpoint->ops->reconnect ? endpoint->ops->reconnect(endpoint) : -EOPNOTSUPP;
}

static inline void endpoint_close(struct endpoint *endpoint)
{
    if (endpoint)
        endpoint->ops->close(endpoint);
}

/* "host:port", "[v6]:port", "host", "v6"; a missing port is `default_port`. Resolves names, so it may block;
 * of several addresses it takes an IPv4 one if there is any. -EINVAL: not of that form; -ENOENT: no such
 * host. */
int address_parse(const char *text, uint16_t default_port, struct address *address_out);

/* "127.0.0.1:7000", "[::1]:7000", "peer 3". Returns `buffer`. */
char *address_format(const struct address *address, char *buffer, size_t buffer_bytes);

bool address_equal(const struct address *a, const struct address *b);
bool address_is_loopback(const struct address *address);

/* The provider of libfabric that "ofi" or "ofi:PROVIDER" names; NULL: not ofi. */
const char *transport_provider(const char *transport);

/* Makes a client's endpoint from "eth" (or NULL), "ofi" (provider tcp) or "ofi:PROVIDER", connected to
 * `server`, with the faults of `fault_spec` around it (NULL: none; see fault.h). May block while it connects.
 * -EINVAL: the transport or the fault spec is malformed, which the log explains; errors of eth.h and ofi.h.
 */
int transport_connect(const char *transport, const struct address *server, const char *fault_spec,
                      struct endpoint **endpoint_out);

/* The server's counterpart, bound to `local`. `shard` of `shard_count` endpoints share the port: see eth.h.
 * ofi has shard 0 only, -EOPNOTSUPP for others: its one listener is served by the first worker. */
int transport_listen(const char *transport, const struct address *local, unsigned shard, unsigned shard_count,
                     const char *fault_spec, struct endpoint **endpoint_out);

#endif
