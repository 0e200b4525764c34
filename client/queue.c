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
#include "op_check.h"

#define DEPTH_MAX 65536

/* One operation started and not yet handed back. */
struct entry {
    struct op op; /* first: op and entry have one address */
    struct cxe_queue *queue;
    void *context;
    void *old_out;  /* atomics: where the old value goes, */
    unsigned width; /* and how much of it */
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
    bool silent; /* a fence: no completion */
    struct entry *next;
};

struct cxe_queue {
    struct cxe_connection *connection;
    struct lane *lane;
    unsigned depth;
    struct entry *entries;
    struct entry *free;
    struct entry *ready_first, *ready_last; /* finished, not yet handed out */
};

int cxe_queue_open(struct cxe_connection *connection, unsigned depth, struct cxe_queue **queue_out)
{
    struct cxe_queue *queue;
    int error;

    if (depth == 0 || depth > DEPTH_MAX)
        return fail(-EINVAL, "a queue of depth %u: expected 1 to %d", depth, DEPTH_MAX);
    queue = calloc(1, sizeof(*queue));
    if (!queue)
        return fail(-ENOMEM, "not enough memory for a queue");
    queue->entries = calloc(depth, sizeof(*queue->entries));
    error = queue->entries ? lane_open(connection, true, connection_deadline_ns(connection), &queue->lane)
                           : -ENOMEM;
    if (error) {
        free(queue->entries);
        free(queue);
        return fail(error, "cannot open a session for the queue: %s", strerror(-error));
    }
    queue->connection = connection;
    queue->depth = depth;
    for (unsigned i = 0; i < depth; i++) {
        queue->entries[i].queue = queue;
        queue->entries[i].next = queue->free;
        queue->free = &queue->entries[i];
    }
    fetch_add_relaxed(&connection->users, 1);
    *queue_out = queue;
    return 0;
}

void cxe_queue_close(struct cxe_queue *queue)
{
    lane_close(queue->lane, true);
    fetch_sub_relaxed(&queue->connection->users, 1);
    free(queue->entries);
    free(queue);
}

/* ---- entries ---- */

static void give_back(struct entry *entry)
{
    entry->next = entry->queue->free;
    entry->queue->free = entry;
}

static void make_ready(struct entry *entry)
{
    struct cxe_queue *queue = entry->queue;

    entry->next = NULL;
    if (queue->ready_last)
        queue->ready_last->next = entry;
    else
        queue->ready_first = entry;
    queue->ready_last = entry;
}

static void finished(struct op *op, int result)
{
    struct entry *entry = (struct entry *)op;

    if (entry->silent) {
        give_back(entry);
        return;
    }
    if (result == 0 && entry->old_out)
        memcpy(entry->old_out, &entry->old, entry->width);
    make_ready(entry);
}

static struct entry *take_entry(struct cxe_queue *queue, enum opcode opcode, const struct cxe_region *region,
                                uint64_t offset, void *context)
{
    struct entry *entry = queue->free;

    if (!entry)
        return NULL;
    queue->free = entry->next;
    entry->op = (struct op){
        .opcode = (uint8_t)opcode,
        .region = region ? region->handle : 0,
        .offset = offset,
        .done = finished,
    };
    entry->context = context;
    entry->old_out = NULL;
    entry->silent = false;
    return entry;
}

/* The caller's buffer must be copied into frames before we return: wait for room in the window. */
static void settle(struct cxe_queue *queue, struct entry *entry)
{
    uint64_t deadline_ns = connection_deadline_ns(queue->connection);

    while (!entry->op.issued && !entry->op.finished)
        if (lane_wait_any(queue->lane, deadline_ns) < 0) {
            lane_cancel(queue->lane, &entry->op);
            make_ready(entry);
            return;
        }
}

/* ---- starting ---- */

int cxe_queue_read(struct cxe_queue *queue, struct cxe_region *region, uint64_t offset, void *buffer,
                   size_t bytes, void *context)
{
    int error = check_lines(region, offset, bytes);
    struct entry *entry;

    if (error)
        return error;
    if (bytes == 0)
        return fail(-EINVAL, "a queue takes no operation on 0 bytes");
    entry = take_entry(queue, OP_MEM_RD, region, offset, context);
    if (!entry)
        return -EAGAIN;
    entry->op.line_count = (uint32_t)(bytes / LINE_BYTES);
    entry->op.result = buffer;
    lane_post(queue->lane, &entry->op);
    return 0;
}

int cxe_queue_write(struct cxe_queue *queue, struct cxe_region *region, uint64_t offset, const void *buffer,
                    size_t bytes, void *context)
{
    int error = check_lines(region, offset, bytes);
    struct entry *entry;

    if (error)
        return error;
    if (bytes == 0)
        return fail(-EINVAL, "a queue takes no operation on 0 bytes");
    entry = take_entry(queue, OP_MEM_WR, region, offset, context);
    if (!entry)
        return -EAGAIN;
    entry->op.line_count = (uint32_t)(bytes / LINE_BYTES);
    entry->op.operand = buffer;
    lane_post(queue->lane, &entry->op);
    settle(queue, entry);
    return 0;
}

int cxe_queue_write_masked(struct cxe_queue *queue, struct cxe_region *region, uint64_t offset,
                           const void *line, uint64_t byte_mask, void *context)
{
    int error = check_lines(region, offset, LINE_BYTES);
    struct entry *entry;

    if (error)
        return error;
    entry = take_entry(queue, OP_MEM_WR_PTL, region, offset, context);
    if (!entry)
        return -EAGAIN;
    memcpy(entry->line, line, LINE_BYTES);
    entry->mask = byte_mask;
    entry->op.line_count = 1;
    entry->op.operand = entry->line;
    entry->op.masks = &entry->mask;
    lane_post(queue->lane, &entry->op);
    return 0;
}

/* CAS and the fetches: operands in entry->words, the old value through entry->old. */
static struct entry *take_atomic(struct cxe_queue *queue, enum opcode opcode, const struct cxe_region *region,
                                 uint64_t offset, unsigned width, void *old_out, void *context)
{
    struct entry *entry = take_entry(queue, opcode, region, offset, context);

    if (!entry)
        return NULL;
    memset(entry->words, 0, sizeof(entry->words));
    entry->op.width_log2 = (uint8_t)__builtin_ctz(width);
    entry->op.operand = entry->words;
    entry->op.result = &entry->old;
    entry->old_out = old_out;
    entry->width = width;
    return entry;
}

int cxe_queue_cas(struct cxe_queue *queue, struct cxe_region *region, uint64_t offset, unsigned width,
                  const void *expected, const void *desired, void *old_out, void *context)
{
    int error = check_word(region, offset, width, 16);
    struct entry *entry;

    if (error)
        return error;
    entry = take_atomic(queue, OP_CAS, region, offset, width, old_out, context);
    if (!entry)
        return -EAGAIN;
    memcpy(&entry->words[0], expected, width);
    memcpy(&entry->words[1], desired, width);
    lane_post(queue->lane, &entry->op);
    return 0;
}

int cxe_queue_fetch(struct cxe_queue *queue, struct cxe_region *region, enum cxe_atomic operation,
                    uint64_t offset, unsigned width, const void *operand, void *old_out, void *context)
{
    int opcode = opcode_of_atomic(operation), error;
    struct entry *entry;

    if (opcode < 0)
        return opcode;
    error = check_word(region, offset, width, 8);
    if (error)
        return error;
    entry = take_atomic(queue, (enum opcode)opcode, region, offset, width, old_out, context);
    if (!entry)
        return -EAGAIN;
    memcpy(&entry->words[0], operand, width);
    lane_post(queue->lane, &entry->op);
    return 0;
}

int cxe_queue_fence(struct cxe_queue *queue)
{
    struct entry *entry = take_entry(queue, OP_FENCE, NULL, 0, NULL);

    if (!entry)
        return -EAGAIN;
    entry->silent = true;
    lane_post(queue->lane, &entry->op);
    return 0;
}

/* ---- finishing ---- */

int cxe_queue_flush(struct cxe_queue *queue)
{
    if (queue->lane->link.up)
        lane_flush(queue->lane);
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

    while (count < most && queue->ready_first) {
        struct entry *entry = queue->ready_first;

        queue->ready_first = entry->next;
        if (!queue->ready_first)
            queue->ready_last = NULL;
        completions[count++] =
            (struct cxe_completion){.context = entry->context, .result = entry->op.outcome};
        give_back(entry);
    }
    return count;
}

int cxe_queue_poll(struct cxe_queue *queue, struct cxe_completion *completions, size_t most)
{
    lane_progress(queue->lane);
    if (!queue->ready_first && lane_silence_ns(queue->lane) > queue->connection->timeout_ns)
        give_up(queue);
    return (int)take_ready(queue, completions, most);
}

int cxe_queue_wait(struct cxe_queue *queue, struct cxe_completion *completions, size_t most,
                   uint64_t timeout_ns)
{
    uint64_t now_ns = clock_now_ns();
    uint64_t deadline_ns = timeout_ns > UINT64_MAX - now_ns ? UINT64_MAX : now_ns + timeout_ns;
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
