/* call_stream.c - read, write and their kin on pool memory: in pieces, through local memory
 *
 * A transfer ends where the kernel would end it: at a short piece. Between the pieces of a read there is one
 * more question, whether the rest would have been there without waiting; the kernel's one call would not have
 * waited for it either.
 */
#include "call.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "pager.h"
#include "scratch.h"
#include "span.h"
#include "stub.h"

struct transfer {
    const struct call_request *request;
    struct iovec single; /* the vector of calls that have none */
    struct span span;
    size_t total_bytes;
    long offset; /* of pread and pwrite */
    bool out;    /* from memory to the file */
    bool positioned;
    bool whole; /* messages: not to be cut */
};

static bool has_vector(long number)
{
    switch (number) {
    case SYS_readv:
    case SYS_writev:
    case SYS_preadv:
    case SYS_pwritev:
    case SYS_preadv2:
    case SYS_pwritev2:
    case SYS_vmsplice:
        return true;
    default:
        return false;
    }
}

static bool is_positioned(const struct call_request *request)
{
    switch (request->number) {
    case SYS_pread64:
    case SYS_pwrite64:
    case SYS_preadv:
    case SYS_pwritev:
        return true;
    case SYS_preadv2:
    case SYS_pwritev2:
        return request->arguments[3] != -1;
    default:
        return false;
    }
}

static bool is_out(const struct call_request *request)
{
    switch (request->number) {
    case SYS_write:
    case SYS_pwrite64:
    case SYS_writev:
    case SYS_pwritev:
    case SYS_pwritev2:
    case SYS_vmsplice:
    case SYS_sendto:
        return true;
    default:
        return false;
    }
}

/* Messages have ends: a socket that is not a stream gets and gives each in one call, as does a peek. */
static bool is_message(const struct call_request *request, int fd)
{
    int type;
    socklen_t type_bytes = sizeof(type);

    if (request->number == SYS_recvfrom && (request->arguments[3] & MSG_PEEK))
        return true;
    if (request->number == SYS_getrandom)
        return false;
    if (stub_call6(SYS_getsockopt, fd, SOL_SOCKET, SO_TYPE, &type, &type_bytes, 0) < 0)
        return false;
    return type != SOCK_STREAM;
}

/* One piece between local memory and the file. */
static long move_piece(const struct transfer *transfer, char *local, size_t bytes)
{
    const long *a = transfer->request->arguments;
    struct iovec vector = {.iov_base = local, .iov_len = bytes};

    switch (transfer->request->number) {
    case SYS_read:
    case SYS_readv:
        return stub_call3(SYS_read, a[0], local, bytes);
    case SYS_write:
    case SYS_writev:
    case SYS_vmsplice: /* the pipe would share the pages with us; a copy is what it may as well have */
        return stub_call3(SYS_write, a[0], local, bytes);
    case SYS_pread64:
    case SYS_preadv:
        return stub_call4(SYS_pread64, a[0], local, bytes, transfer->offset);
    case SYS_pwrite64:
    case SYS_pwritev:
        return stub_call4(SYS_pwrite64, a[0], local, bytes, transfer->offset);
    case SYS_preadv2:
    case SYS_pwritev2:
        return stub_call6(transfer->request->number, a[0], &vector, 1, transfer->offset, 0, a[5]);
    case SYS_sendto:
    case SYS_recvfrom:
        return stub_call6(transfer->request->number, a[0], local, bytes, a[3], a[4], a[5]);
    case SYS_getrandom:
        return stub_call3(SYS_getrandom, local, bytes, a[2]);
    default:
        return -ENOSYS;
    }
}

/* Would the kernel have gone on by itself? */
static bool goes_on(const struct transfer *transfer)
{
    const struct call_request *request = transfer->request;
    struct pollfd ready = {.fd = (int)request->arguments[0], .events = POLLIN};
    struct stat status;

    if (transfer->out || request->number == SYS_getrandom)
        return true;
    if (request->number == SYS_recvfrom && (request->arguments[3] & MSG_WAITALL))
        return true;
    if (stub_call2(SYS_fstat, ready.fd, &status) == 0 && (S_ISREG(status.st_mode) || S_ISBLK(status.st_mode)))
        return true;
    return stub_call3(SYS_poll, &ready, 1, 0) == 1 && (ready.revents & POLLIN);
}

static long move_all(struct transfer *transfer, char *local, size_t piece_bytes)
{
    size_t done = 0;

    do {
        size_t bytes =
            transfer->total_bytes - done < piece_bytes ? transfer->total_bytes - done : piece_bytes;
        long moved;

        if (done && !goes_on(transfer))
            break;
        if (transfer->out)
            span_gather(&transfer->span, local, bytes);
        moved = move_piece(transfer, local, bytes);
        if (moved < 0)
            return done ? (long)done : moved;
        /* A message may have been longer than its room (MSG_TRUNC). */
        if (!transfer->out)
            span_scatter(&transfer->span, local, (size_t)moved < bytes ? (size_t)moved : bytes);
        done += (size_t)moved;
        transfer->offset += transfer->positioned ? moved : 0;
        if ((size_t)moved != bytes)
            break;
    } while (done < transfer->total_bytes);
    return (long)done;
}

/* Longer ones exist only where a message may be cut off at its end. */
#define MESSAGE_BYTES_MAX (16u << 20)

static long run_transfer(struct transfer *transfer)
{
    struct scratch scratch;
    size_t piece_bytes = SCRATCH_PIECE;
    long result;

    if (transfer->whole)
        piece_bytes = transfer->total_bytes < MESSAGE_BYTES_MAX ? transfer->total_bytes : MESSAGE_BYTES_MAX;
    if (scratch_open(&scratch, piece_bytes) != 0)
        return -ENOMEM;
    result = move_all(transfer, scratch.memory, piece_bytes);
    scratch_close(&scratch);
    return result;
}

/* The buffer, or the vector, into transfer->span. */
static long find_memory(struct transfer *transfer)
{
    const long *a = transfer->request->arguments;
    ssize_t bytes;

    if (has_vector(transfer->request->number)) {
        if ((unsigned long)a[2] > SPAN_IOVECS_MAX)
            return -EINVAL;
        transfer->span = (struct span){(const struct iovec *)a[1], (size_t)a[2], 0};
    } else if (transfer->request->number == SYS_getrandom) {
        transfer->single = (struct iovec){(void *)a[0], (size_t)a[1]};
        transfer->span = (struct span){&transfer->single, 1, 0};
    } else {
        transfer->single = (struct iovec){(void *)a[1], (size_t)a[2]};
        transfer->span = (struct span){&transfer->single, 1, 0};
    }
    bytes = span_bytes(transfer->span.vector, transfer->span.vector_count);
    if (bytes < 0)
        return bytes;
    /* The kernel's own limit for one call. */
    transfer->total_bytes = (size_t)bytes < 0x7ffff000 ? (size_t)bytes : 0x7ffff000;
    return 0;
}

/* The socket names of sendto and recvfrom. */
static long with_names(struct transfer *transfer, struct call_request *request)
{
    struct sockaddr_storage name;
    socklen_t *length = (socklen_t *)request->arguments[5];
    void *original = (void *)request->arguments[4];
    socklen_t room, used;
    long result;

    if (!original)
        return run_transfer(transfer);
    if (request->number == SYS_sendto) {
        room = (socklen_t)request->arguments[5];
        if (room > sizeof(name))
            return -EINVAL;
        __builtin_memcpy(&name, original, room);
        request->arguments[4] = (long)&name;
        return run_transfer(transfer);
    }
    room = *length;
    used = room < sizeof(name) ? room : sizeof(name);
    request->arguments[4] = (long)&name;
    request->arguments[5] = (long)&used;
    result = run_transfer(transfer);
    if (result >= 0) {
        __builtin_memcpy(original, &name, used < room ? used : room);
        *length = used;
    }
    return result;
}

long call_stream(struct call_request *request)
{
    struct transfer transfer = {
        .request = request,
        .out = is_out(request),
        .positioned = is_positioned(request),
        .offset = request->arguments[3],
    };
    long error;

    if (has_vector(request->number) &&
        ((unsigned long)request->arguments[2] > SPAN_IOVECS_MAX ||
         !span_remote((const struct iovec *)request->arguments[1], (size_t)request->arguments[2])))
        return call_verbatim(request);
    error = find_memory(&transfer);
    if (error)
        return error;
    transfer.whole = transfer.total_bytes > SCRATCH_PIECE && is_message(request, (int)request->arguments[0]);
    if (request->number == SYS_sendto || request->number == SYS_recvfrom)
        return with_names(&transfer, request);
    return run_transfer(&transfer);
}
