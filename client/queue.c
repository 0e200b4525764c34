/* queue.c - operations in flight, on a lane of their own
 *
 * The lane is the queue's alone: nobody locks it. So buffers may even lie in a mapping, since a page fault
 * takes one of the connection's shared lanes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "atomic.h"
#include "clock.h"
#include "connection.h"
#include "error.h"
#include "lane_internal.h"
#include "least.h"
#include "op_check.h"

#define DEPTH_MAX 65536

/* One operation in flight: two cache lines, since a deep queue's entries are what fills the cache. `op` is
 * first, so that op and entry have one address; op.context is the queue. */
struct entry {
    struct op op;
    void *context;
    struct entry *next; /* in the list of free ones */
} __attribute__((aligned(64)));

/* What only atomics and masked writes need; the entry with the same index. */
struct operand {
    union {
        struct {
            struct wire_word words[2];
            struct wire_word old;
        };
        struct {
            uint8_t line[LINE_BYTES];
            uint64_t mask;
        };
    };
    void *old_out;
};

struct cxe_queue {
    struct cxe_connection *connection;
    struct lane *lane;
    unsigned depth;
    unsigned taken; /* started and not yet handed back as a completion */
    struct entry *entries;
    struct operand *operands;
    struct entry *free;
    struct cxe_completion *ready; /* ring of `depth`: finished, not yet handed back */
    uint32_t ready_first, ready_end;
};

static void free_queue(struct cxe_queue *queue)
{
    free(queue->entries);
    free(queue->operands);
    free(queue->ready);
    free(queue);
}

static struct cxe_queue *alloc_queue(unsigned depth)
{
    struct cxe_queue *queue = calloc(1, sizeof(*queue));

    if (!queue)
        return NULL;
    queue->depth = depth;
    queue->entries = aligned_alloc(64, depth * sizeof(*queue->entries));
    queue->operands = calloc(depth, sizeof(*queue->operands));
    queue->ready = calloc(depth, sizeof(*queue->ready));
    if (!queue->entries || !queue->operands || !queue->ready) {
        free_queue(queue);
        return NULL;
    }
    memset(queue->entries, 0, depth * sizeof(*queue->entries));
    for (unsigned i = 0; i < depth; i++) {
        queue->entries[i].next = queue->free;
        queue->free = &queue->entries[i];
    }
    return queue;
}

int cxe_queue_open(struct cxe_connection *connection, unsigned depth, struct cxe_queue **queue_out)
{
    struct cxe_queue *queue;
    int error;

    if (depth == 0 || depth > DEPTH_MAX)
        return fail(-EINVAL, "a queue of depth %u: expected 1 to %d", depth, DEPTH_MAX);
    queue = alloc_queue(depth);
    if (!queue)
        return fail(-ENOMEM, "not enough memory for a queue of depth %u", depth);
    error = lane_open(connection, LANE_QUEUE, connection_deadline_ns(connection), &queue->lane);
    if (error) {
        free_queue(queue);
        return fail(error, "cannot open a session for the queue: %s", strerror(-error));
    }
    queue->connection = connection;
    fetch_add_relaxed(&connection->users, 1);
    *queue_out = queue;
    return 0;
}

void cxe_queue_close(struct cxe_queue *queue)
{
    lane_close(queue->lane, true);
    fetch_sub_relaxed(&queue->connection->users, 1);
    free_queue(queue);
}

/* ---- entries ---- */

static struct operand *operand_of(struct cxe_queue *queue, const struct entry *entry)
{
    return &queue->operands[entry - queue->entries];
}

static bool is_atomic(const struct op *op)
{
    return op->width_log2 > 0;
}

/* The entry is free at once; its place in the queue's depth only when the completion is handed back. */
static void finished(struct op *op, int result)
{
    struct entry *entry = (struct entry *)op;
    struct cxe_queue *queue = op->context;

    if (result == 0 && is_atomic(op)) {
        const struct operand *operand = operand_of(queue, entry);
        memcpy(operand->old_out, &operand->old, 1u << op->width_log2);
    }
    if (op->opcode == OP_FENCE) {
        queue->taken--;
    } else {
        queue->ready[queue->ready_end++ % queue->depth] =
            (struct cxe_completion){.context = entry->context, .result = result};
        queue->lane->untaken++;
    }
    entry->next = queue->free;
    queue->free = entry;
}

static struct entry *take_entry(struct cxe_queue *queue, enum opcode opcode, const struct cxe_region *region,
                                uint64_t offset, void *context)
{
    struct entry *entry = queue->free;

    if (queue->taken == queue->depth)
        return NULL;
    if (region)
        order_prefetch(queue->lane->order, region->handle, offset);
    queue->taken++;
    queue->free = entry->next;
    entry->op = (struct op){
        .opcode = (uint8_t)opcode,
        .region = region ? region->handle : 0,
        .offset = offset,
        .done = finished,
        .context = queue,
    };
    entry->context = context;
    return entry;
}

/* The caller's buffer must be copied into frames before we return: wait for room in the window. */
static void settle(struct cxe_queue *queue, struct entry *entry)
{
    uint64_t deadline_ns = connection_deadline_ns(queue->connection);

    while (!entry->op.issued && !entry->op.finished)
        if (lane_wait_any(queue->lane, deadline_ns) < 0) {
            lane_cancel(queue->lane, &entry->op);
            finished(&entry->op, entry->op.outcome);
            return;
        }
}

/* ---- starting ---- */

/* Reads have a `result`, writes an `operand`. */
static int start_lines(struct cxe_queue *queue, enum opcode opcode, const struct cxe_region *region,
                       uint64_t offset, void *result, const void *operand, size_t bytes, void *context)
{
    int error = check_lines(region, offset, bytes);
    struct entry *entry;

    if (error)
        return error;
    if (bytes == 0)
        return fail(-EINVAL, "a queue takes no operation on 0 bytes");
    entry = take_entry(queue, opcode, region, offset, context);
    if (!entry)
        return -EAGAIN;
    entry->op.line_count = (uint32_t)(bytes / LINE_BYTES);
    entry->op.result = result;
    entry->op.operand = operand;
    lane_post(queue->lane, &entry->op);
    if (operand)
        settle(queue, entry);
    return 0;
}

int cxe_queue_read(struct cxe_queue *queue, struct cxe_region *region, uint64_t offset, void *buffer,
                   size_t bytes, void *context)
{
    return start_lines(queue, OP_MEM_RD, region, offset, buffer, NULL, bytes, context);
}

int cxe_queue_write(struct cxe_queue *queue, struct cxe_region *region, uint64_t offset, const void *buffer,
                    size_t bytes, void *context)
{
    return start_lines(queue, OP_MEM_WR, region, offset, NULL, buffer, bytes, context);
}

int cxe_queue_write_masked(struct cxe_queue *queue, struct cxe_region *region, uint64_t offset,
                           const void *line, uint64_t byte_mask, void *context)
{
    int error = check_lines(region, offset, LINE_BYTES);
    struct operand *operand;
    struct entry *entry;

    if (error)
        return error;
    entry = take_entry(queue, OP_MEM_WR_PTL, region, offset, context);
    if (!entry)
        return -EAGAIN;
    operand = operand_of(queue, entry);
    memcpy(operand->line, line, LINE_BYTES);
    operand->mask = byte_mask;
    entry->op.line_count = 1;
    entry->op.operand = operand->line;
    entry->op.masks = &operand->mask;
    lane_post(queue->lane, &entry->op);
    return 0;
}

/* CAS and the fetches. `desired` is NULL for the latter. */
static int start_atomic(struct cxe_queue *queue, enum opcode opcode, const struct cxe_region *region,
                        uint64_t offset, unsigned width, const void *first, const void *desired,
                        void *old_out, void *context)
{
    struct entry *entry = take_entry(queue, opcode, region, offset, context);
    struct operand *operand;

    if (!entry)
        return -EAGAIN;
    operand = operand_of(queue, entry);
    memset(operand->words, 0, sizeof(operand->words));
    memcpy(&operand->words[0], first, width);
    if (desired)
        memcpy(&operand->words[1], desired, width);
    operand->old_out = old_out;
    entry->op.width_log2 = (uint8_t)__builtin_ctz(width);
    entry->op.operand = operand->words;
    entry->op.result = &operand->old;
    lane_post(queue->lane, &entry->op);
    return 0;
}

int cxe_queue_cas(struct cxe_queue *queue, struct cxe_region *region, uint64_t offset, unsigned width,
                  const void *expected, const void *desired, void *old_out, void *context)
{
    int error = check_word(region, offset, width, 16);

    return error ? error
                 : start_atomic(queue, OP_CAS, region, offset, width, expected, desired, old_out, context);
}

int cxe_queue_fetch(struct cxe_queue *queue, struct cxe_region *region, enum cxe_atomic operation,
                    uint64_t offset, unsigned width, const void *operand, void *old_out, void *context)
{
    int opcode = opcode_of_atomic(operation), error;

    if (opcode < 0)
        return opcode;
    error = check_word(region, offset, width, 8);
    return error ? error
                 : start_atomic(queue, (enum opcode)opcode, region, offset, width, operand, NULL, old_out,
                                context);
}

int cxe_queue_fence(struct cxe_queue *queue)
{
    struct entry *entry = take_entry(queue, OP_FENCE, NULL, 0, NULL);

    if (!entry)
        return -EAGAIN;
    lane_post(queue->lane, &entry->op);
    return 0;
}

/* ---- finishing ---- */

int cxe_queue_flush(struct cxe_queue *queue)
{
    if (lane_sends(queue->lane))
        lane_flush(queue->lane);
    lane_leave(queue->lane);
    return 0;
}

/* The server has been silent for longer than the connection allows: everything in flight ends. */
static void give_up(struct cxe_queue *queue)
{
    for (unsigned i = 0; i < queue->depth; i++) {
        struct entry *entry = &queue->entries[i];

        if (!entry->op.done || entry->op.finished)
            continue;
        lane_cancel(queue->lane, &entry->op);
        finished(&entry->op, entry->op.outcome);
    }
}

static unsigned take_ready(struct cxe_queue *queue, struct cxe_completion *completions, size_t most)
{
    unsigned count = 0;

    while (count < most && queue->ready_first != queue->ready_end)
        completions[count++] = queue->ready[queue->ready_first++ % queue->depth];
    queue->taken -= count;
    queue->lane->untaken -= count;
    return count;
}

int cxe_queue_poll(struct cxe_queue *queue, struct cxe_completion *completions, size_t most)
{
    lane_progress(queue->lane);
    if (queue->ready_first == queue->ready_end &&
        lane_silence_ns(queue->lane) > queue->connection->timeout_ns)
        give_up(queue);
    return (int)take_ready(queue, completions, most);
}

int cxe_queue_wait(struct cxe_queue *queue, struct cxe_completion *completions, size_t most,
                   uint64_t timeout_ns)
{
    uint64_t deadline_ns = sum_or_max(clock_now_ns(), timeout_ns);
    int count = cxe_queue_poll(queue, completions, most);

    while (count == 0 && lane_busy(queue->lane) > 0) {
        uint64_t give_up_ns = connection_deadline_ns(queue->connection);
        bool last = deadline_ns <= give_up_ns;

        if (lane_wait_any(queue->lane, last ? deadline_ns : give_up_ns) < 0 && last)
            return fail(-ETIMEDOUT, "no operation of the queue completed in time");
        count = cxe_queue_poll(queue, completions, most);
    }
    return count;
}
