/* eth.c - see eth.h */
#include "eth.h"

#include <errno.h>
#include <linux/filter.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"
#include "log.h"
#include "wire.h"

#define SOCKET_BUFFER_BYTES (8 << 20) /* holds a burst of a hundred of the longest frames */
#define IPV4_OVERHEAD       28        /* IP and UDP headers without options */
#define IPV6_OVERHEAD       48

#define BATCH_FRAMES_MAX  16
#define BATCH_FRAME_BYTES 2048  /* longer ones leave alone: they cost by the byte, not by the call */
#define SINGLY_FRAMES     10000 /* sent one by one after a batch was refused */

/* Frames to one peer that leave together. The kernel cuts them apart again (UDP_SEGMENT), so all have one
 * length, but for the last, which may be shorter. */
struct batch {
    struct address to; /* a server's */
    unsigned count;
    uint32_t frame_bytes; /* of each but the last */
    uint32_t bytes;       /* of all */
    uint8_t frames[BATCH_FRAMES_MAX * BATCH_FRAME_BYTES];
};

struct eth {
    struct endpoint endpoint;
    bool connected;
    struct address server;  /* a client's */
    uint32_t segment_bytes; /* the socket's UDP_SEGMENT: it cuts what is longer. 0: it does not */
    uint32_t singly;        /* so many frames leave alone, since a batch was refused */
    struct batch batch;
};

static struct eth *eth_of(struct endpoint *endpoint)
{
    return (struct eth *)endpoint; /* its first member */
}

/* A system call for the hot path: not glibc's wrappers, which are cancellation points and may be interposed
 * by a preloaded library; and errno stays as it was, for the sake of an interrupted program. */
static long enter_kernel(long number, long a, long b, long c, long d, long e, long f)
{
    int saved = errno;
    long result = syscall(number, a, b, c, d, e, f);

    if (result < 0) {
        result = -errno;
        errno = saved;
    }
    return result;
}

/* A link that is down or a firewall may be gone in a moment: that is loss, and the session decides how long
 * to put up with it. A route that is missing may be as well, but may also be our own address that is. */
static bool error_is_loss(long error)
{
    switch (-error) {
    case EINTR:
    case ENOBUFS:
    case ENOMEM:
    case EPERM:
    case ENETDOWN:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case EPROTO:
        return true;
    }
    return false;
}

static socklen_t address_bytes(const struct address *address)
{
    return address->sa.sa_family == AF_INET ? sizeof(address->in) : sizeof(address->in6);
}

/* One frame, or several, if the socket is set to cut them apart. */
static int transmit(struct eth *eth, const struct address *to, const void *frames, size_t bytes,
                    unsigned count)
{
    socklen_t to_bytes = 0;
    long sent;

    if (eth->connected)
        to = NULL;
    else
        to_bytes = address_bytes(to);
    sent = enter_kernel(SYS_sendto, eth->endpoint.fd, (long)frames, (long)bytes, MSG_DONTWAIT | MSG_NOSIGNAL,
                        (long)to, to_bytes);
    if (sent < 0)
        return error_is_loss(sent) ? -EAGAIN : (int)sent;
    eth->endpoint.sent_frames += count;
    eth->endpoint.sent_bytes += bytes;
    return 0;
}

/* An option of the socket, not of the call: sendmsg, which takes it, reads pointers from memory, and a system
 * call filter that looks for some pointers has to stop every such call. */
static int set_segment(struct eth *eth, uint32_t bytes)
{
    const int option = (int)bytes;
    long error;

    if (eth->segment_bytes == bytes)
        return 0;
    error = enter_kernel(SYS_setsockopt, eth->endpoint.fd, SOL_UDP, UDP_SEGMENT, (long)&option,
                         sizeof(option), 0);
    if (!error)
        eth->segment_bytes = bytes;
    return (int)error;
}

static int transmit_one(struct eth *eth, const struct address *to, const void *frame, size_t frame_bytes)
{
    int error = set_segment(eth, 0); /* it must not be cut */

    return error ? error : transmit(eth, to, frame, frame_bytes, 1);
}

static int transmit_singly(struct eth *eth, const struct batch *batch)
{
    int first_error = 0;

    for (uint32_t at = 0; at < batch->bytes; at += batch->frame_bytes) {
        uint32_t left = batch->bytes - at;
        uint32_t frame_bytes = left < batch->frame_bytes ? left : batch->frame_bytes;
        int error = transmit_one(eth, &batch->to, batch->frames + at, frame_bytes);

        if (!first_error)
            first_error = error;
    }
    return first_error;
}

/* The kernel has no UDP_SEGMENT, the device does not do what it takes, or the path wants shorter frames,
 * which is IP's to make of single ones. */
static bool error_is_refusal(int error)
{
    return error == -ENOPROTOOPT || error == -EIO || error == -EINVAL || error == -EMSGSIZE ||
           error == -EOPNOTSUPP;
}

static int transmit_together(struct eth *eth, const struct batch *batch)
{
    int error = set_segment(eth, batch->frame_bytes);

    if (!error)
        error = transmit(eth, &batch->to, batch->frames, batch->bytes, batch->count);
    if (!error_is_refusal(error))
        return error;
    eth->singly = SINGLY_FRAMES; /* not for ever: it may be the path to one peer of many */
    return transmit_singly(eth, batch);
}

static int eth_flush(struct endpoint *endpoint)
{
    struct eth *eth = eth_of(endpoint);
    struct batch *batch = &eth->batch;
    int error = 0;

    if (batch->count == 1)
        error = transmit_one(eth, &batch->to, batch->frames, batch->bytes);
    else if (batch->count > 1)
        error = transmit_together(eth, batch);
    batch->count = 0;
    endpoint->posted = false;
    return error;
}

static int eth_send(struct endpoint *endpoint, const struct address *to, const void *frame,
                    size_t frame_bytes)
{
    int before = endpoint_flush(endpoint);
    int error = transmit_one(eth_of(endpoint), to, frame, frame_bytes);

    return error ? error : before;
}

/* May the frame stand behind those that wait? */
static bool may_follow(const struct eth *eth, const struct address *to, size_t frame_bytes)
{
    const struct batch *batch = &eth->batch;

    return frame_bytes <= batch->frame_bytes && (eth->connected || address_equal(&batch->to, to));
}

static void append(struct eth *eth, const struct address *to, const void *frame, size_t frame_bytes)
{
    struct batch *batch = &eth->batch;

    if (batch->count == 0) {
        if (!eth->connected)
            batch->to = *to;
        batch->frame_bytes = (uint32_t)frame_bytes;
        batch->bytes = 0;
    }
    memcpy(batch->frames + batch->bytes, frame, frame_bytes);
    batch->bytes += (uint32_t)frame_bytes;
    batch->count++;
    eth->endpoint.posted = true;
}

static int eth_post(struct endpoint *endpoint, const struct address *to, const void *frame,
                    size_t frame_bytes)
{
    struct eth *eth = eth_of(endpoint);
    struct batch *batch = &eth->batch;
    int before = 0, error = 0;

    if (frame_bytes == 0 || frame_bytes > BATCH_FRAME_BYTES || eth->singly > 0) {
        eth->singly -= eth->singly > 0;
        return eth_send(endpoint, to, frame, frame_bytes);
    }
    if (!may_follow(eth, to, frame_bytes))
        before = endpoint_flush(endpoint);
    append(eth, to, frame, frame_bytes);
    if (batch->count == BATCH_FRAMES_MAX || frame_bytes < batch->frame_bytes)
        error = eth_flush(endpoint);
    return error ? error : before;
}

/* What IP does with a datagram longer than the path, as far as it knows the path. */
static int set_fragmenting(int fd, sa_family_t family, int how_v4, int how_v6)
{
    long result;

    if (family == AF_INET)
        result =
            enter_kernel(SYS_setsockopt, fd, IPPROTO_IP, IP_MTU_DISCOVER, (long)&how_v4, sizeof(how_v4), 0);
    else
        result = enter_kernel(SYS_setsockopt, fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, (long)&how_v6,
                              sizeof(how_v6), 0);
    return (int)result;
}

/* PROBE: don't fragment, and do not believe what was heard about the path before. */
static int eth_probe(struct endpoint *endpoint, const struct address *to, const void *frame,
                     size_t frame_bytes)
{
    sa_family_t family = endpoint->local.sa.sa_family;
    int error;

    endpoint_flush(endpoint);
    error = set_fragmenting(endpoint->fd, family, IP_PMTUDISC_PROBE, IPV6_PMTUDISC_PROBE);
    if (error)
        return error;
    error = eth_send(endpoint, to, frame, frame_bytes);
    set_fragmenting(endpoint->fd, family, IP_PMTUDISC_DONT, IPV6_PMTUDISC_DONT);
    return error;
}

static int eth_receive(struct endpoint *endpoint, void *buffer, size_t buffer_bytes, struct address *from_out)
{
    for (;;) {
        socklen_t from_bytes = sizeof(*from_out);
        long received;

        if (from_out)
            memset(from_out, 0, sizeof(*from_out));
        /* With MSG_TRUNC the kernel tells the datagram's own length, not what it wrote. */
        received = enter_kernel(SYS_recvfrom, endpoint->fd, (long)buffer, (long)buffer_bytes,
                                MSG_DONTWAIT | MSG_TRUNC, (long)from_out, from_out ? (long)&from_bytes : 0);
        if (received < 0) {
            bool nothing = error_is_loss(received) || received == -EMSGSIZE;
            return nothing ? -EAGAIN : (int)received; /* the next call sees what else is there */
        }
        if (received == 0 || (size_t)received > buffer_bytes) {
            endpoint->dropped_frames++;
            continue;
        }
        endpoint->received_frames++;
        endpoint->received_bytes += (uint64_t)received;
        return (int)received;
    }
}

static int eth_arm(struct endpoint *endpoint)
{
    (void)endpoint; /* nothing is kept here that the kernel does not know of */
    return 0;
}

/* The longest frame that goes out of a connected socket whole; never below the smallest that the protocol
 * needs, which IP will fragment where it must. */
static uint32_t frame_bytes_of_path(int fd, sa_family_t family)
{
    int mtu = 0, frame_bytes;
    socklen_t mtu_bytes = sizeof(mtu);
    long error =
        family == AF_INET
            ? enter_kernel(SYS_getsockopt, fd, IPPROTO_IP, IP_MTU, (long)&mtu, (long)&mtu_bytes, 0)
            : enter_kernel(SYS_getsockopt, fd, IPPROTO_IPV6, IPV6_MTU, (long)&mtu, (long)&mtu_bytes, 0);

    if (error)
        return FRAME_BYTES_MIN;
    frame_bytes = mtu - (family == AF_INET ? IPV4_OVERHEAD : IPV6_OVERHEAD);
    if (frame_bytes < FRAME_BYTES_MIN)
        return FRAME_BYTES_MIN;
    return frame_bytes > FRAME_BYTES_MAX ? FRAME_BYTES_MAX : (uint32_t)frame_bytes;
}

static int connect_to(int fd, const struct address *server)
{
    return (int)enter_kernel(SYS_connect, fd, (long)server, address_bytes(server), 0, 0, 0);
}

/* What the socket is bound to. */
static int local_address(int fd, struct address *local_out)
{
    socklen_t bytes = sizeof(*local_out);

    memset(local_out, 0, sizeof(*local_out));
    return (int)enter_kernel(SYS_getsockname, fd, (long)local_out, (long)&bytes, 0, 0, 0);
}

static bool same_host(const struct address *a, const struct address *b)
{
    if (a->sa.sa_family == AF_INET)
        return a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
    return memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof(a->in6.sin6_addr)) == 0;
}

/* The address that a socket connected to the server now would have. */
static int address_of_route(const struct address *server, struct address *local_out)
{
    int error, fd = (int)enter_kernel(SYS_socket, server->sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC,
                                      IPPROTO_UDP, 0, 0, 0);

    if (fd < 0)
        return fd;
    error = connect_to(fd, server);
    if (!error)
        error = local_address(fd, local_out);
    enter_kernel(SYS_close, fd, 0, 0, 0, 0, 0);
    return error;
}

/* The same socket, so that who sleeps on it need not know. */
static int eth_reconnect(struct endpoint *endpoint)
{
    struct eth *eth = eth_of(endpoint);
    struct address nobody = {.sa.sa_family = AF_UNSPEC}, local;
    int error = address_of_route(&eth->server, &local);

    if (error || same_host(&local, &endpoint->local))
        return error;
    enter_kernel(SYS_connect, endpoint->fd, (long)&nobody, sizeof(nobody.sa), 0, 0, 0); /* lets go of ours */
    error = connect_to(endpoint->fd, &eth->server);
    if (error) {
        memset(&endpoint->local, 0, sizeof(endpoint->local)); /* bound to nothing: another try begins anew */
        return error;
    }
    endpoint->frame_bytes_max = frame_bytes_of_path(endpoint->fd, eth->server.sa.sa_family);
    return local_address(endpoint->fd, &endpoint->local);
}

static struct eth *map_eth(void)
{
    struct eth *eth = mmap(NULL, sizeof(*eth), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (eth == MAP_FAILED)
        return NULL;
    madvise(eth, sizeof(*eth), MADV_DONTDUMP); /* frames: the user's data */
    return eth;
}

static void eth_close(struct endpoint *endpoint)
{
    close(endpoint->fd);
    munmap(eth_of(endpoint), sizeof(struct eth));
}

static const struct endpoint_ops eth_ops = {
    .send = eth_send,
    .post = eth_post,
    .flush = eth_flush,
    .probe = eth_probe,
    .receive = eth_receive,
    .arm = eth_arm,
    .reconnect = eth_reconnect,
    .close = eth_close,
};

/* ---- opening ---- */

static void set_buffer(int fd, int option_force, int option)
{
    int bytes = SOCKET_BUFFER_BYTES;

    if (setsockopt(fd, SOL_SOCKET, option_force, &bytes, sizeof(bytes)) < 0)
        setsockopt(fd, SOL_SOCKET, option, &bytes, sizeof(bytes)); /* as much as the system lets us have */
}

/* A server with a small buffer loses bursts, which are then sent again: slower, and hard to see why. */
static void warn_of_small_buffer(int fd)
{
    int bytes = 0;
    socklen_t option_bytes = sizeof(bytes);

    if (getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, &option_bytes) == 0 && bytes < SOCKET_BUFFER_BYTES)
        log_warn("the socket's receive buffer is %d KiB; net.core.rmem_max=%d makes it hold bursts",
                 bytes / 1024, SOCKET_BUFFER_BYTES);
}

static int open_socket(sa_family_t family, int *fd_out)
{
    int fd, error, on = 1;

    if (family != AF_INET && family != AF_INET6)
        return -EAFNOSUPPORT;
    fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_UDP);
    if (fd < 0)
        return -errno;
    /* One family to a socket: "[::]" then means what it says, and addresses have one form only. */
    if (family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0) {
        error = -errno;
        goto close_fd;
    }
    error = set_fragmenting(fd, family, IP_PMTUDISC_DONT, IPV6_PMTUDISC_DONT);
    if (error)
        goto close_fd;
    set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF);
    set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF);
    *fd_out = fd;
    return 0;

close_fd:
    close(fd);
    return error;
}

/* Takes the socket over, also when it fails. `server`: NULL for a server's own. */
static int make_endpoint(int fd, const struct address *server, uint32_t frame_bytes_max,
                         struct endpoint **endpoint_out)
{
    struct eth *eth = map_eth();
    int error;

    if (!eth) {
        close(fd);
        return -ENOMEM;
    }
    eth->endpoint.fd = fd;
    error = local_address(fd, &eth->endpoint.local);
    if (error) {
        eth_close(&eth->endpoint);
        return error;
    }
    eth->endpoint.ops = &eth_ops;
    eth->endpoint.frame_bytes_max = frame_bytes_max;
    eth->endpoint.async_signal_safe = true;
    eth->connected = server != NULL;
    if (server)
        eth->server = *server;
    *endpoint_out = &eth->endpoint;
    return 0;
}

int eth_connect(const struct address *server, struct endpoint **endpoint_out)
{
    sa_family_t family = server->sa.sa_family;
    int fd, error = open_socket(family, &fd);

    if (error)
        return error;
    if (connect(fd, &server->sa, address_bytes(server)) < 0) {
        error = -errno;
        close(fd);
        return error;
    }
    return make_endpoint(fd, server, frame_bytes_of_path(fd, family), endpoint_out);
}

/* A program for the kernel that picks the socket of a port: the datagram's bytes begin at 0 (behind the UDP
 * header), the result is the socket's number, and a number that no socket has means "by the hash of the
 * addresses". A load beyond the datagram's end ends the program with 0. */
static int attach_selector(int fd, unsigned shard_count)
{
    const uint32_t receiver = offsetof(struct record_header, receiver);
    const uint32_t type = offsetof(struct record_header, type);
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, type),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, RECORD_DATA, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
        /* Loads are big endian, the field is little: put it together from its bytes, the highest first. */
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, receiver + 3),
        BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 8),
        BPF_STMT(BPF_MISC | BPF_TAX, 0),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, receiver + 2),
        BPF_STMT(BPF_ALU | BPF_OR | BPF_X, 0),
        BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 8),
        BPF_STMT(BPF_MISC | BPF_TAX, 0),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, receiver + 1),
        BPF_STMT(BPF_ALU | BPF_OR | BPF_X, 0),
        BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 8),
        BPF_STMT(BPF_MISC | BPF_TAX, 0),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, receiver),
        BPF_STMT(BPF_ALU | BPF_OR | BPF_X, 0),
        BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, shard_count),
        BPF_STMT(BPF_RET | BPF_A, 0),
    };
    struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof(program)) < 0 ? -errno : 0;
}

/* Shard 0 binds alone and only then lets others in: so a second daemon, which begins with its own shard 0,
 * is turned away instead of taking half of the datagrams. */
static int bind_shard(int fd, const struct address *local, unsigned shard, unsigned shard_count)
{
    int on = 1;

    if (shard > 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0)
        return -errno;
    if (bind(fd, &local->sa, address_bytes(local)) < 0)
        return -errno;
    if (shard > 0)
        return attach_selector(fd, shard_count);
    if (shard_count > 1 && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0)
        return -errno;
    return 0;
}

int eth_listen(const struct address *local, unsigned shard, unsigned shard_count,
               struct endpoint **endpoint_out)
{
    int fd, error;

    CHECK(shard < shard_count && shard_count <= WORKERS_MAX);
    error = open_socket(local->sa.sa_family, &fd);
    if (error)
        return error;
    error = bind_shard(fd, local, shard, shard_count);
    if (error) {
        close(fd);
        return error;
    }
    if (shard == 0)
        warn_of_small_buffer(fd);
    return make_endpoint(fd, NULL, FRAME_BYTES_MAX, endpoint_out);
}
