/* executor.c - requests, operation by operation; the data path; see executor.h */
#include "executor.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "executor_internal.h"
#include "pool.h"
#include "quiesce.h"
#include "region.h"

/* Operations decoded ahead of those that run, so that their memory is on its way. Enough to cover a miss or
 * two, few enough for the first-level cache to hold what was fetched. */
#define BATCH_OPS 16

/* In one call of executor_maintain: some 50 us, since they are seldom in the cache. */
#define WIPE_FRAMES 128

int executor_open(const struct executor_options *options, struct executor **executor_out)
{
    struct executor *executor = malloc(sizeof(*executor));

    if (!executor)
        return -ENOMEM;
    executor->options = *options;
    *executor_out = executor;
    return 0;
}

void executor_close(struct executor *executor)
{
    free(executor);
}

static struct region_place place_of(const struct op_view *op)
{
    return (struct region_place){.handle = op->region, .offset = op->offset};
}

/* Operand words hold the value in their low bytes and zeros above. */
static bool word_valid(const struct wire_word *word, unsigned width_log2)
{
    uint64_t halves[2];

    memcpy(halves, word->bytes, sizeof(halves));
    if (width_log2 == 4)
        return true;
    return halves[1] == 0 && (width_log2 == 3 || le64toh(halves[0]) <= UINT32_MAX);
}

static int run_atomic(const struct region_caller *caller, const struct op_view *op, uint8_t *values_out)
{
    struct wire_word operands[2] = {0}, old;
    int error;

    memcpy(&operands[0], op->operand, sizeof(operands[0]));
    if (op->opcode == OP_CAS)
        memcpy(&operands[1], op->operand + sizeof(operands[0]), sizeof(operands[1]));
    if (!word_valid(&operands[0], op->width_log2) || !word_valid(&operands[1], op->width_log2))
        return -EINVAL;
    error = region_atomic(caller, place_of(op), (enum opcode)op->opcode, op->width_log2, operands, &old);
    if (!error)
        memcpy(values_out, &old, sizeof(old));
    return error;
}

static int run_op(struct executor *executor, const struct region_caller *caller, const struct op_view *op,
                  uint8_t *values_out)
{
    unsigned flags = op_infos[op->opcode].flags;

    switch (op->opcode) {
    case OP_MEM_RD:
        return region_read(caller, place_of(op), op->line_count, values_out);
    case OP_WAIT:
        return -EOPNOTSUPP;
    case OP_MEM_WR:
        if (op->agent != 0)
            return -EOWNERDEAD;
        return region_write(caller, place_of(op), op->line_count, op->operand);
    case OP_MEM_WR_PTL: /* the masks of all lines stand in front of the lines */
        return region_write_masked(caller, place_of(op), op->line_count, op->operand,
                                   op->operand + op->line_count * 8u);
    }
    if (flags & OP_ATOMIC)
        return run_atomic(caller, op, values_out);
    return executor_control(executor, caller, op, values_out);
}

/* Decodes up to BATCH_OPS operations and has their memory fetched: first all page-table entries, then all
 * lines. */
static unsigned decode_batch(const struct region_caller *caller, const uint8_t **at, const uint8_t *end,
                             unsigned left, struct op_view *ops)
{
    const uint32_t *entries[BATCH_OPS];
    unsigned count = left < BATCH_OPS ? left : BATCH_OPS;

    for (unsigned i = 0; i < count; i++) {
        CHECK(codec_read_op(at, end, &ops[i]) == 0);
        entries[i] = NULL;
        if (left > 1 && (op_infos[ops[i].opcode].flags & (OP_LINES | OP_ATOMIC)))
            entries[i] = region_prefetch_entry(caller, place_of(&ops[i]));
    }
    for (unsigned i = 0; i < count; i++)
        region_prefetch_line(caller, entries[i], ops[i].offset);
    return count;
}

static void note_done(struct execution *out, const struct op_view *op)
{
    unsigned flags = op_infos[op->opcode].flags;

    if (op->opcode == OP_MEM_RD)
        out->read_lines += op->line_count;
    else if (flags & OP_LINES)
        out->written_lines += op->line_count;
    else if (flags & OP_ATOMIC)
        out->atomics++;
    else
        out->controls++;
    out->result_bytes += op->result_bytes;
    out->done++;
}

void executor_run(struct executor *executor, unsigned worker, uint16_t tenant, const uint8_t *body,
                  size_t body_bytes, uint8_t *values_out, struct execution *out)
{
    const struct region_caller caller = {executor->options.regions, worker, tenant};
    const uint8_t *at = body + sizeof(struct body_header), *end = body + body_bytes;
    struct op_view ops[BATCH_OPS];
    struct body_header header;
    unsigned op_count;

    memcpy(&header, body, sizeof(header));
    op_count = le16_get(header.op_count);
    *out = (struct execution){.status = STATUS_OK};
    while (out->done < op_count) {
        unsigned count = decode_batch(&caller, &at, end, op_count - out->done, ops);

        for (unsigned i = 0; i < count; i++) {
            int error = run_op(executor, &caller, &ops[i], values_out + out->result_bytes);

            if (__builtin_expect(error != 0, 0)) {
                out->status = (uint8_t)status_of_errno(error);
                return;
            }
            note_done(out, &ops[i]);
        }
    }
}

uint64_t executor_maintain(struct executor *executor, unsigned worker, uint64_t now_ns)
{
    uint64_t next_ns;

    quiesce_pass(executor->options.quiesce, worker);
    next_ns = regions_maintain(executor->options.regions, worker, now_ns);
    return pool_wipe(executor->options.pool, WIPE_FRAMES) ? now_ns : next_ns;
}
