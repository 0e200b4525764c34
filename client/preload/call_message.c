/* call_message.c - sendmsg, recvmsg and their plurals on pool memory; see call.h
 *
 * The header, the name, the control data and the bytes are copied to local memory, each in one piece.
 */
#include "call.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "clock.h"
#include "pager.h"
#include "scratch.h"
#include "span.h"
#include "stub.h"

/* More at once can only be a stream's, where the rest can follow. */
#define BYTES_MAX (16u << 20)

/* A message header and the local copy of it. */
struct message {
    struct msghdr original;
    struct msghdr local;
    struct iovec bytes;
    struct scratch scratch;
};

static bool message_remote(const struct msghdr *header)
{
    return pager_in_window(header) || pager_in_window(header->msg_name) ||
           pager_in_window(header->msg_control) || span_remote(header->msg_iov, header->msg_iovlen);
}

static long open_message(struct message *message, const struct msghdr *header)
{
    ssize_t total;

    message->original = *header;
    if (header->msg_iovlen > SPAN_IOVECS_MAX)
        return -EMSGSIZE;
    total = span_bytes(header->msg_iov, header->msg_iovlen);
    if (total < 0)
        return total;
    if (!header->msg_name)
        message->original.msg_namelen = 0;
    if (!header->msg_control)
        message->original.msg_controllen = 0;
    if (message->original.msg_namelen > sizeof(struct sockaddr_storage))
        message->original.msg_namelen = sizeof(struct sockaddr_storage);
    if (message->original.msg_controllen > BYTES_MAX)
        return -ENOBUFS;
    message->bytes.iov_len = (size_t)total < BYTES_MAX ? (size_t)total : BYTES_MAX;
    if (scratch_open(&message->scratch, message->bytes.iov_len + message->original.msg_controllen +
                                            message->original.msg_namelen + 3 * 64) != 0)
        return -ENOMEM;
    message->bytes.iov_base = scratch_cut(&message->scratch, message->bytes.iov_len);
    message->local = message->original;
    message->local.msg_iov = &message->bytes;
    message->local.msg_iovlen = 1;
    if (header->msg_control)
        message->local.msg_control = scratch_cut(&message->scratch, message->original.msg_controllen);
    if (header->msg_name)
        message->local.msg_name = scratch_cut(&message->scratch, message->original.msg_namelen);
    return 0;
}

/* What did not fit the first piece. */
static long send_rest(long fd, struct message *message, struct span *span, size_t rest, long flags)
{
    long sent = 0;

    while (rest) {
        size_t bytes = rest < message->bytes.iov_len ? rest : message->bytes.iov_len;
        long result;

        span_gather(span, message->bytes.iov_base, bytes);
        result = stub_call4(SYS_sendto, fd, message->bytes.iov_base, bytes, flags);
        if (result < 0)
            break;
        sent += result;
        rest -= bytes;
        if ((size_t)result < bytes)
            break;
    }
    return sent;
}

static long send_one(long fd, const struct msghdr *header, long flags)
{
    struct message message;
    struct span span = {header->msg_iov, header->msg_iovlen, 0};
    long result;

    if (!message_remote(header))
        return stub_call3(SYS_sendmsg, fd, header, flags);
    result = open_message(&message, header);
    if (result)
        return result;
    span_gather(&span, message.bytes.iov_base, message.bytes.iov_len);
    if (message.local.msg_control)
        memcpy(message.local.msg_control, header->msg_control, message.local.msg_controllen);
    if (message.local.msg_name)
        memcpy(message.local.msg_name, header->msg_name, message.local.msg_namelen);
    result = stub_call3(SYS_sendmsg, fd, &message.local, flags);
    if (result == (long)BYTES_MAX)
        result += send_rest(fd, &message, &span,
                            (size_t)span_bytes(header->msg_iov, header->msg_iovlen) - BYTES_MAX, flags);
    scratch_close(&message.scratch);
    return result;
}

static void store_received(struct msghdr *header, const struct message *message, size_t bytes)
{
    const struct msghdr *local = &message->local;
    struct span span = {message->original.msg_iov, message->original.msg_iovlen, 0};

    if (bytes > message->bytes.iov_len)
        bytes = message->bytes.iov_len;
    span_scatter(&span, message->bytes.iov_base, bytes);
    if (local->msg_name)
        memcpy(message->original.msg_name, local->msg_name,
               local->msg_namelen < message->original.msg_namelen ? local->msg_namelen
                                                                  : message->original.msg_namelen);
    if (local->msg_control)
        memcpy(message->original.msg_control, local->msg_control, local->msg_controllen);
    header->msg_namelen = local->msg_namelen;
    header->msg_controllen = local->msg_controllen;
    header->msg_flags = local->msg_flags;
}

static long receive_one(long fd, struct msghdr *header, long flags)
{
    struct message message;
    long result;

    if (!message_remote(header))
        return stub_call3(SYS_recvmsg, fd, header, flags);
    result = open_message(&message, header);
    if (result)
        return result;
    result = stub_call3(SYS_recvmsg, fd, &message.local, flags);
    if (result >= 0)
        store_received(header, &message, (size_t)result);
    scratch_close(&message.scratch);
    return result;
}

long call_sendmsg(struct call_request *request)
{
    const long *a = request->arguments;

    return send_one(a[0], (const struct msghdr *)a[1], a[2]);
}

long call_recvmsg(struct call_request *request)
{
    const long *a = request->arguments;

    return receive_one(a[0], (struct msghdr *)a[1], a[2]);
}

static bool any_remote(const struct mmsghdr *headers, size_t count)
{
    if (pager_in_window(headers))
        return true;
    for (size_t i = 0; i < count; i++)
        if (message_remote(&headers[i].msg_hdr))
            return true;
    return false;
}

long call_sendmmsg(struct call_request *request)
{
    const long *a = request->arguments;
    struct mmsghdr *headers = (struct mmsghdr *)a[1];
    size_t count = (unsigned)a[2] < SPAN_IOVECS_MAX ? (unsigned)a[2] : SPAN_IOVECS_MAX;
    size_t sent;

    if (!any_remote(headers, count))
        return call_verbatim(request);
    for (sent = 0; sent < count; sent++) {
        long result = send_one(a[0], &headers[sent].msg_hdr, a[3]);

        if (result < 0)
            return sent ? (long)sent : result;
        headers[sent].msg_len = (unsigned)result;
    }
    return (long)sent;
}

/* As in the kernel, the timeout is looked at after each message only. */
long call_recvmmsg(struct call_request *request)
{
    const long *a = request->arguments;
    struct mmsghdr *headers = (struct mmsghdr *)a[1];
    const struct timespec *timeout = (const struct timespec *)a[4];
    size_t count = (unsigned)a[2] < SPAN_IOVECS_MAX ? (unsigned)a[2] : SPAN_IOVECS_MAX;
    uint64_t deadline_ns = UINT64_MAX;
    long flags = a[3] & ~MSG_WAITFORONE;
    size_t received;

    if (!any_remote(headers, count) && !pager_in_window(timeout))
        return call_verbatim(request);
    if (timeout)
        deadline_ns = clock_now_ns() + (uint64_t)timeout->tv_sec * NS_PER_S + (uint64_t)timeout->tv_nsec;
    for (received = 0; received < count && clock_now_ns() < deadline_ns; received++) {
        long result = receive_one(a[0], &headers[received].msg_hdr, flags);

        if (result < 0)
            return received ? (long)received : result;
        headers[received].msg_len = (unsigned)result;
        if (a[3] & MSG_WAITFORONE)
            flags |= MSG_DONTWAIT;
    }
    return (long)received;
}
