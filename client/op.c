/* op.c - operations that wait for their answer */
#include <errno.h>
#include <string.h>

#include "atomic.h"
#include "connection.h"
#include "error.h"
#include "op_check.h"
#include "pager.h"

#define BOUNCE_BYTES 16384 /* on the stack: memory that cannot fault, between a lane and a mapping */

/* ---- checks, shared with queue.c ---- */

int check_lines(const struct cxe_region *region, uint64_t offset, size_t bytes)
{
    uint64_t region_bytes = load_relaxed(&region->bytes);

    if (offset % LINE_BYTES != 0 || bytes % LINE_BYTES != 0)
        return fail(-EINVAL, "offset %llu and length %zu are not both multiples of %d",
                    (unsigned long long)offset, bytes, LINE_BYTES);
    if (offset > region_bytes || bytes > region_bytes - offset || bytes / LINE_BYTES > UINT32_MAX)
        return fail(-ERANGE, "%zu bytes at offset %llu leave region '%s' of %llu bytes", bytes,
                    (unsigned long long)offset, region->name, (unsigned long long)region_bytes);
    return 0;
}

int check_word(const struct cxe_region *region, uint64_t offset, unsigned width, unsigned widest)
{
    uint64_t region_bytes = load_relaxed(&region->bytes);

    if ((width != 4 && width != 8 && width != 16) || width > widest)
        return fail(-EINVAL, "an atomic operation of %u bytes: expected %s", width,
                    widest == 16 ? "4, 8 or 16" : "4 or 8");
    if (offset % width != 0)
        return fail(-EINVAL, "offset %llu is not a multiple of the width %u", (unsigned long long)offset,
                    width);
    if (offset > region_bytes || width > region_bytes - offset)
        return fail(-ERANGE, "offset %llu leaves region '%s' of %llu bytes", (unsigned long long)offset,
                    region->name, (unsigned long long)region_bytes);
    return 0;
}

int opcode_of_atomic(enum cxe_atomic operation)
{
    static const uint8_t opcodes[] = {
        [CXE_FETCH_ADD] = OP_FETCH_ADD, [CXE_SWAP] = OP_SWAP,           [CXE_FETCH_AND] = OP_FETCH_AND,
        [CXE_FETCH_OR] = OP_FETCH_OR,   [CXE_FETCH_XOR] = OP_FETCH_XOR, [CXE_FETCH_MIN] = OP_FETCH_MIN,
        [CXE_FETCH_MAX] = OP_FETCH_MAX,
    };

    if ((unsigned)operation >= sizeof(opcodes))
        return fail(-EINVAL, "%d is no atomic operation", (int)operation);
    return opcodes[operation];
}

/* ---- running ---- */

static int run(const struct cxe_region *region, struct op *op)
{
    int result = connection_run(region->connection, op);

    return result ? fail_region(result, region->name) : 0;
}

static int read_lines(struct cxe_region *region, uint64_t offset, void *buffer, size_t bytes)
{
    struct op op = {
        .opcode = OP_MEM_RD,
        .line_count = (uint32_t)(bytes / LINE_BYTES),
        .region = region->handle,
        .offset = offset,
        .result = buffer,
    };

    return run(region, &op);
}

static int write_lines(struct cxe_region *region, uint64_t offset, const void *buffer, size_t bytes)
{
    struct op op = {
        .opcode = OP_MEM_WR,
        .line_count = (uint32_t)(bytes / LINE_BYTES),
        .region = region->handle,
        .offset = offset,
        .operand = buffer,
    };

    return run(region, &op);
}

/* A buffer inside a mapping can fault, and a fault needs a lane: it must not be touched while one is held. */
static bool can_fault(const void *buffer, size_t bytes)
{
    return pager_find(buffer) || pager_find((const uint8_t *)buffer + bytes - 1);
}

static size_t chunk_of(size_t left)
{
    return left < BOUNCE_BYTES ? left : BOUNCE_BYTES;
}

static int read_bounced(struct cxe_region *region, uint64_t offset, uint8_t *buffer, size_t bytes)
{
    uint8_t bounce[BOUNCE_BYTES];
    int error = 0;

    for (size_t done = 0, chunk; !error && done < bytes; done += chunk) {
        chunk = chunk_of(bytes - done);
        error = read_lines(region, offset + done, bounce, chunk);
        if (!error)
            memcpy(buffer + done, bounce, chunk);
    }
    return error;
}

static int write_bounced(struct cxe_region *region, uint64_t offset, const uint8_t *buffer, size_t bytes)
{
    uint8_t bounce[BOUNCE_BYTES];

    for (size_t done = 0, chunk; done < bytes; done += chunk) {
        int error;

        chunk = chunk_of(bytes - done);
        memcpy(bounce, buffer + done, chunk);
        error = write_lines(region, offset + done, bounce, chunk);
        if (error)
            return done == 0 ? error : fail_region(-CXE_EUNKNOWN, region->name);
    }
    return 0;
}

/* ---- the API ---- */

int cxe_read(struct cxe_region *region, uint64_t offset, void *buffer, size_t bytes)
{
    int error = check_lines(region, offset, bytes);

    if (error || bytes == 0)
        return error;
    if (can_fault(buffer, bytes))
        return read_bounced(region, offset, buffer, bytes);
    return read_lines(region, offset, buffer, bytes);
}

int cxe_write(struct cxe_region *region, uint64_t offset, const void *buffer, size_t bytes)
{
    int error = check_lines(region, offset, bytes);

    if (error || bytes == 0)
        return error;
    if (can_fault(buffer, bytes))
        return write_bounced(region, offset, buffer, bytes);
    return write_lines(region, offset, buffer, bytes);
}

int cxe_write_masked(struct cxe_region *region, uint64_t offset, const void *line, uint64_t byte_mask)
{
    uint8_t copy[LINE_BYTES];
    struct op op = {
        .opcode = OP_MEM_WR_PTL,
        .line_count = 1,
        .region = region->handle,
        .offset = offset,
        .operand = copy,
        .masks = &byte_mask,
    };
    int error = check_lines(region, offset, LINE_BYTES);

    if (error)
        return error;
    memcpy(copy, line, LINE_BYTES);
    return run(region, &op);
}

/* Width in bytes, 4, 8 or 16, as the wire has it. */
static uint8_t width_log2(unsigned width)
{
    return (uint8_t)__builtin_ctz(width);
}

int cxe_cas(struct cxe_region *region, uint64_t offset, unsigned width, const void *expected,
            const void *desired, void *old_out)
{
    struct wire_word words[2] = {0}, old;
    struct op op = {
        .opcode = OP_CAS, .region = region->handle, .offset = offset, .operand = words, .result = &old};
    int error = check_word(region, offset, width, 16);

    if (error)
        return error;
    op.width_log2 = width_log2(width);
    memcpy(&words[0], expected, width);
    memcpy(&words[1], desired, width);
    error = run(region, &op);
    if (!error)
        memcpy(old_out, &old, width);
    return error;
}

int cxe_fetch(struct cxe_region *region, enum cxe_atomic operation, uint64_t offset, unsigned width,
              const void *operand, void *old_out)
{
    struct wire_word word = {0}, old;
    struct op op = {.region = region->handle, .offset = offset, .operand = &word, .result = &old};
    int opcode = opcode_of_atomic(operation), error;

    if (opcode < 0)
        return opcode;
    error = check_word(region, offset, width, 8);
    if (error)
        return error;
    op.opcode = (uint8_t)opcode;
    op.width_log2 = width_log2(width);
    memcpy(&word, operand, width);
    error = run(region, &op);
    if (!error)
        memcpy(old_out, &old, width);
    return error;
}
