/* span.c - see span.h */
#include "span.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "pager.h"

ssize_t span_bytes(const struct iovec *vector, size_t count)
{
    size_t total = 0;

    for (size_t i = 0; i < count; i++) {
        if (vector[i].iov_len > (size_t)SSIZE_MAX - total)
            return -EINVAL;
        total += vector[i].iov_len;
    }
    return (ssize_t)total;
}

bool span_remote(const struct iovec *vector, size_t count)
{
    if (pager_in_window(vector))
        return true;
    for (size_t i = 0; i < count; i++)
        if (pager_in_window(vector[i].iov_base))
            return true;
    return false;
}

/* The rest of the current piece, at most `bytes`. */
static size_t piece(struct span *span, size_t bytes, char **base_out)
{
    size_t rest = span->vector->iov_len - span->done_bytes;

    *base_out = (char *)span->vector->iov_base + span->done_bytes;
    return rest < bytes ? rest : bytes;
}

static void advance(struct span *span, size_t bytes)
{
    span->done_bytes += bytes;
    if (span->done_bytes == span->vector->iov_len) {
        span->vector++;
        span->vector_count--;
        span->done_bytes = 0;
    }
}

void span_gather(struct span *span, char *local, size_t bytes)
{
    while (bytes) {
        char *base;
        size_t count = piece(span, bytes, &base);

        memcpy(local, base, count);
        advance(span, count);
        local += count;
        bytes -= count;
    }
}

void span_scatter(struct span *span, const char *local, size_t bytes)
{
    while (bytes) {
        char *base;
        size_t count = piece(span, bytes, &base);

        memcpy(base, local, count);
        advance(span, count);
        local += count;
        bytes -= count;
    }
}
