/* span.h - walking over the pieces of an I/O vector */
#ifndef CXE_PRELOAD_SPAN_H
#define CXE_PRELOAD_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

#define SPAN_IOVECS_MAX 1024 /* UIO_MAXIOV */

/* A position in a vector, which may itself be pool memory. */
struct span {
    const struct iovec *vector;
    size_t vector_count;
    size_t done_bytes; /* of vector[0] */
};

/* All bytes of the vector; -EINVAL if they do not fit a ssize_t. */
ssize_t span_bytes(const struct iovec *vector, size_t count);

/* True if the vector or something it points at is pool memory. */
bool span_remote(const struct iovec *vector, size_t count);

/* Copies the next bytes out of, or into, what the vector points at, and moves on. There are that many. */
void span_gather(struct span *span, char *local, size_t bytes);
void span_scatter(struct span *span, const char *local, size_t bytes);

#endif
