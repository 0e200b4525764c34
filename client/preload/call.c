/* call.c - carrying out a system call with copies of its arguments; see call.h */
#include "call.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "atomic.h"
#include "pager.h"
#include "scratch.h"
#include "stub.h"

static uint64_t emulated;

uint64_t call_count(void)
{
    return load_relaxed(&emulated);
}

long call_emulate(struct call_request *request)
{
    call_handler *handler = NULL;

    fetch_add_relaxed(&emulated, 1);
    if ((unsigned long)request->number < call_table_count)
        handler = call_table[request->number].handler;
    return (handler ? handler : call_touched)(request);
}

long call_verbatim(struct call_request *request)
{
    const long *a = request->arguments;

    return stub_call(request->number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static bool is_remote(long argument)
{
    return pager_in_window((const void *)argument);
}

/* ---- copies ---- */

/* One argument while its call is under way. */
struct copy {
    char *original;
    char *local; /* NULL: passed as it is */
    size_t bytes;
};

/* A count may be 32 bits wide at the kernel, with anything above them in the register. All that come here are
 * far below 2^32, or are refused by the kernel. */
static size_t counted(const struct call_request *request, const struct call_argument *argument)
{
    return (uint32_t)request->arguments[argument->counted_by];
}

/* How many bytes are behind the argument. Reads pool memory. */
static size_t copy_bytes(const struct call_request *request, const struct call_argument *argument,
                         const char *original)
{
    const socklen_t *name_bytes;
    size_t bytes;

    switch ((enum call_shape)argument->shape) {
    case CALL_IN:
    case CALL_INOUT:
        return argument->unit_bytes;
    case CALL_IN_COUNTED:
    case CALL_INOUT_COUNTED:
        return counted(request, argument) * argument->unit_bytes + argument->more_bytes;
    case CALL_RESULT:
        bytes = counted(request, argument) * argument->unit_bytes;
        return bytes < SCRATCH_PIECE ? bytes : SCRATCH_PIECE / argument->unit_bytes * argument->unit_bytes;
    case CALL_TEXT:
        return strlen(original) + 1;
    case CALL_NAME:
        name_bytes = (const socklen_t *)request->arguments[argument->counted_by];
        return name_bytes ? *name_bytes : 0;
    case CALL_BITS:
        return (counted(request, argument) + 63) / 64 * 8;
    case CALL_VALUE:
    case CALL_POINTER:
        break;
    }
    return 0;
}

/* Plans the copies; returns the scratch memory they take. */
static size_t plan_copies(const struct call_request *request, const struct call *call, struct copy *copies)
{
    size_t total = 0;

    for (unsigned i = 0; i < CALL_ARGUMENTS; i++) {
        const struct call_argument *argument = &call->arguments[i];

        copies[i] = (struct copy){.original = (char *)request->arguments[i]};
        if (argument->shape <= CALL_POINTER || !is_remote(request->arguments[i]))
            continue;
        copies[i].bytes = copy_bytes(request, argument, copies[i].original);
        total += copies[i].bytes + 64;
    }
    return total;
}

static void copy_in(struct call_request *request, const struct call *call, struct copy *copies,
                    struct scratch *scratch)
{
    for (unsigned i = 0; i < CALL_ARGUMENTS; i++) {
        const struct call_argument *argument = &call->arguments[i];
        struct copy *copy = &copies[i];

        if (argument->shape <= CALL_POINTER || !is_remote(request->arguments[i]))
            continue;
        copy->local = scratch_cut(scratch, copy->bytes);
        if (argument->shape != CALL_RESULT)
            memcpy(copy->local, copy->original, copy->bytes);
        request->arguments[i] = (long)copy->local;
        /* Less room than the caller has: these calls may return less, or their result fits anyway. */
        if (argument->shape == CALL_RESULT && copy->bytes / argument->unit_bytes < counted(request, argument))
            request->arguments[argument->counted_by] = (long)(copy->bytes / argument->unit_bytes);
    }
}

static size_t bytes_to_copy_out(const struct call_argument *argument, const struct copy *copy, long result)
{
    size_t bytes = copy->bytes;

    switch ((enum call_shape)argument->shape) {
    case CALL_INOUT:
    case CALL_INOUT_COUNTED:
    case CALL_NAME:
    case CALL_BITS:
        return bytes;
    case CALL_RESULT:
        if (result <= 0)
            return 0;
        return (size_t)result * argument->unit_bytes < bytes ? (size_t)result * argument->unit_bytes : bytes;
    case CALL_VALUE:
    case CALL_POINTER:
    case CALL_IN:
    case CALL_IN_COUNTED:
    case CALL_TEXT:
        break;
    }
    return 0;
}

/* What the kernel left alone is not stored: it may be another thread's by now. */
static void copy_out(const struct call *call, const struct copy *copies, long result)
{
    for (unsigned i = 0; i < CALL_ARGUMENTS; i++) {
        size_t bytes;

        if (!copies[i].local)
            continue;
        bytes = bytes_to_copy_out(&call->arguments[i], &copies[i], result);
        if (bytes && memcmp(copies[i].original, copies[i].local, bytes) != 0)
            memcpy(copies[i].original, copies[i].local, bytes);
    }
}

long call_copied(struct call_request *request)
{
    const struct call *call = &call_table[request->number];
    struct copy copies[CALL_ARGUMENTS];
    struct scratch scratch;
    size_t bytes = plan_copies(request, call, copies);
    long result;

    if (bytes == 0)
        return call_verbatim(request);
    if (scratch_open(&scratch, bytes) != 0)
        return -ENOMEM;
    copy_in(request, call, copies, &scratch);
    result = call_verbatim(request);
    copy_out(call, copies, result);
    scratch_close(&scratch);
    return result;
}

/* ---- without knowledge ---- */

#define TOUCH_TRIES 64

static void touch(long argument, bool write)
{
    uint8_t *byte = (uint8_t *)argument;

    if (!is_remote(argument))
        return;
    if (write)
        __atomic_fetch_or(byte, 0, __ATOMIC_RELAXED);
    else
        (void)load_relaxed(byte);
}

long call_touched(struct call_request *request)
{
    long result = -EFAULT;

    for (unsigned try = 0; result == -EFAULT && try < TOUCH_TRIES; try++) {
        for (unsigned i = 0; i < CALL_ARGUMENTS; i++)
            touch(request->arguments[i], try > 0);
        result = call_verbatim(request);
    }
    return result;
}
