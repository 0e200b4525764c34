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

/* Operand words hold the value in their low bytes and zeros above. */
static bool word_valid(const struct wire_word *word, unsigned width_log2)
{
    uint64_t halves[2];

    memcpy(halves, word->bytes, sizeof(halves));
    if (width_log2 == 4)
        return true;
    return halves[1] == 0 && (width_log2 == 3 || le64toh(halves[0]) <= UINT32_MAX);
}

int executor_read_operands(const struct op_view *op, struct wire_word operands_out[2])
{
    memcpy(&operands_out[0], op->operand, sizeof(operands_out[0]));
    if (op->opcode == OP_CAS)
        memcpy(&operands_out[1], op->operand + sizeof(operands_out[0]), sizeof(operands_out[1]));
    else
        operands_out[1] = (struct wire_word){0};
    if (!word_valid(&operands_out[0], op->width_log2) || !word_valid(&operands_out[1], op->width_log2))
        return -EINVAL;
    return 0;
}

static int run_atomic(const struct region_caller *caller, const struct op_view *op, uint8_t *values_out)
{
    struct wire_word operands[2], old;
    int error = executor_read_operands(op, operands);

    if (error)
        return error;
    error = region_atomic(caller, place_of(op), (enum opcode)op->opcode, op->width_log2, operands, &old);
    if (!error)
        memcpy(values_out, &old, sizeof(old));
    return error;
}

/* -EREMOTE: executor_coherent knows how. */
static int run_op(struct executor *executor, const struct region_caller *caller, const struct op_view *op,
                  uint8_t *values_out)
{
    unsigned flags = op_infos[op->opcode].flags;

    switch (op->opcode) {
    case OP_MEM_RD:
        return region_read(caller, place_of(op), op->line_count, values_out);
    case OP_MEM_WR:
        if (op->agent != 0)
            return -EREMOTE;
        return region_write(caller, place_of(op), op->line_count, op->operand);
    case OP_MEM_WR_PTL: /* the masks of all lines stand in front of the lines */
        return region_write_masked(caller, place_of(op), op->line_count, op->operand,
                                   op->operand + op->line_count * 8u);
    }
    if (flags & OP_ATOMIC && op->opcode != OP_WAIT)
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

static void note_done(struct execution *execution, const struct op_view *op)
{
    unsigned flags = op_infos[op->opcode].flags;

    if (op->opcode == OP_MEM_RD)
        execution->read_lines += op->line_count;
    else if (flags & OP_LINES)
        *(flags & OP_MUTATES ? &execution->written_lines : &execution->read_lines) += op->line_count;
    else if (flags & OP_ATOMIC)
        execution->atomics++;
    else if (flags & OP_CONTROL)
        execution->controls++;
    else
        execution->snoop_answers += op->opcode == OP_BI_RSP;
    execution->result_bytes += op->result_bytes;
    execution->done++;
}

/* The operation could not just be done: it failed, has to wait, or needs the slow way. */
static __attribute__((noinline)) int run_slowly(struct executor *executor, const struct requester *requester,
                                                const struct op_view *op, const uint8_t *first_op, int error,
                                                uint8_t *values_out, struct execution *execution)
{
    if (error == -EREMOTE)
        error = executor_coherent(executor, requester, op, values_out, execution);
    if (error == -EINPROGRESS)
        execution->body_bytes_done = (uint32_t)(op->operand - sizeof(struct op_header) - first_op);
    else if (error)
        execution->status = (uint8_t)status_of_errno(error);
    return error;
}

int executor_run(struct executor *executor, const struct requester *requester, const uint8_t *body,
                 size_t body_bytes, uint8_t *values_out, struct execution *execution)
{
    const struct region_caller caller = {executor->options.regions, requester->worker, requester->tenant};
    const uint8_t *first_op = body + sizeof(struct body_header), *end = body + body_bytes;
    const uint8_t *at = first_op + execution->body_bytes_done;
    struct op_view ops[BATCH_OPS];
    struct body_header header;
    unsigned op_count;

    memcpy(&header, body, sizeof(header));
    op_count = le16_get(header.op_count);
    while (execution->done < op_count) {
        unsigned count = decode_batch(&caller, &at, end, op_count - execution->done, ops);

        for (unsigned i = 0; i < count; i++) {
            uint8_t *values = values_out + execution->result_bytes;
            int error = run_op(executor, &caller, &ops[i], values);

            if (__builtin_expect(error != 0, 0)) {
                error = run_slowly(executor, requester, &ops[i], first_op, error, values, execution);
                if (error)
                    return error == -EINPROGRESS ? error : 0;
            }
            note_done(execution, &ops[i]);
        }
    }
    return 0;
}

uint64_t executor_maintain(struct executor *executor, unsigned worker, uint64_t now_ns)
{
    uint64_t next_ns;

    quiesce_pass(executor->options.quiesce, worker);
    next_ns = regions_maintain(executor->options.regions, worker, now_ns);
    return pool_wipe(executor->options.pool, WIPE_FRAMES) ? now_ns : next_ns;
}
