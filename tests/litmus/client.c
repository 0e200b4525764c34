/* client.c - see client.h */
#include "client.h"

#include <errno.h>
#include <string.h>

#include "atomic.h"
#include "limits.h"

#define QUEUE_DEPTH 16
#define FILLERS     2 /* frames in flight from which on a queue lets a part-filled frame wait */

/* Lines of every block that no shape uses. */
#define FILLER_OFFSET (2 * PAGE_BYTES + 40 * LINE_BYTES)

/* ---- opening ---- */

static int open_target(struct target *target, const struct daemon *daemon, const char *fault)
{
    int error = daemon_connect(daemon, fault, CXE_ENCRYPTION_OFF, &target->connection);

    if (!error)
        error = cxe_region_open(target->connection, CLIENT_REGION, &target->region);
    if (!error)
        error = cxe_queue_open(target->connection, QUEUE_DEPTH, &target->queue);
    return error;
}

int client_open(struct client *client, const struct daemon daemons[CLIENT_SERVERS], const char *fault)
{
    int error = 0;

    memset(client, 0, sizeof(*client));
    for (unsigned i = 0; !error && i < CLIENT_SERVERS; i++) {
        error = open_target(&client->clean[i], &daemons[i], NULL);
        if (!error)
            error = open_target(&client->faulty[i], &daemons[i], fault);
    }
    return error;
}

static void close_target(struct target *target)
{
    cxe_queue_close(target->queue);
    cxe_region_close(target->region);
    cxe_disconnect(target->connection);
}

void client_close(struct client *client)
{
    for (unsigned i = 0; i < CLIENT_SERVERS; i++) {
        close_target(&client->clean[i]);
        close_target(&client->faulty[i]);
    }
}

static int map_target(struct target *target)
{
    const struct cxe_map_options options = {.flags = CXE_MAP_NO_PREFETCH};
    void *address;
    int error = cxe_map(target->region, &options, &address);

    if (!error)
        target->mapped = address;
    return error;
}

int client_map(struct client *client)
{
    int error = 0;

    for (unsigned i = 0; !error && i < CLIENT_SERVERS; i++) {
        error = map_target(&client->clean[i]);
        if (!error)
            error = map_target(&client->faulty[i]);
    }
    return error;
}

/* ---- where things are ---- */

static struct target *target_of(struct client *client, const struct work *work, unsigned var)
{
    unsigned server = shape_server(work->placement, var);

    return work->faulty ? &client->faulty[server] : &client->clean[server];
}

static uint64_t offset_of(const struct work *work, unsigned var)
{
    return work->block + shape_offset(work->placement, var);
}

static uint64_t line_of(const struct work *work, unsigned var)
{
    return offset_of(work, var) & ~(uint64_t)(LINE_BYTES - 1);
}

/* A line that holds the value in the variable's word, and which bytes of it are to be written: where
 * variables share a line only the word. */
static uint64_t make_line(const struct work *work, const struct shape_op *op, uint8_t line[LINE_BYTES])
{
    unsigned within = (unsigned)(offset_of(work, op->var) % LINE_BYTES);

    memset(line, 0, LINE_BYTES);
    line[within] = op->value;
    return work->placement == SHAPE_SAME_LINE ? 0xffull << within : ~0ull;
}

/* ---- operations that wait ---- */

static int store_and_wait(const struct target *target, const struct work *work, const struct shape_op *op)
{
    uint8_t line[LINE_BYTES];
    uint64_t mask = make_line(work, op, line);

    if (mask == ~0ull)
        return cxe_write(target->region, line_of(work, op->var), line, sizeof(line));
    return cxe_write_masked(target->region, line_of(work, op->var), line, mask);
}

static int load_and_wait(const struct target *target, const struct work *work, const struct shape_op *op)
{
    uint8_t line[LINE_BYTES];
    int error = cxe_read(target->region, line_of(work, op->var), line, sizeof(line));

    if (!error)
        work->registers[op->reg] = line[offset_of(work, op->var) % LINE_BYTES];
    return error;
}

static int cas_and_wait(const struct target *target, const struct work *work, const struct shape_op *op)
{
    uint64_t expected = op->expected, desired = op->value, old = 0;
    int error = cxe_cas(target->region, offset_of(work, op->var), 8, &expected, &desired, &old);

    work->registers[op->reg] = (uint8_t)old;
    return error;
}

static int do_and_wait(struct client *client, const struct work *work, const struct shape_op *op)
{
    const struct target *target = target_of(client, work, op->var);
    int error;

    switch ((enum shape_op_kind)op->kind) {
    case SHAPE_NONE:
        return 0;
    case SHAPE_STORE:
        return store_and_wait(target, work, op);
    case SHAPE_LOAD:
        return load_and_wait(target, work, op);
    case SHAPE_CAS:
        return cas_and_wait(target, work, op);
    case SHAPE_SPLIT_CAS:
        error = load_and_wait(target, work, op);
        return error || work->registers[op->reg] != op->expected ? error : store_and_wait(target, work, op);
    }
    return -EINVAL;
}

static int work_blocking(struct client *client, const struct work *work)
{
    int error = 0;

    for (unsigned i = 0; !error && i < work->count; i++)
        error = do_and_wait(client, work, &work->ops[i]);
    return error;
}

/* ---- queues ---- */

/* Where the values of operations in flight go. */
struct landing {
    uint8_t lines[SHAPE_OPS_MAX][LINE_BYTES];
    uint64_t olds[SHAPE_OPS_MAX];
    uint8_t filler[FILLERS][LINE_BYTES];
};

static int start_op(struct client *client, const struct work *work, unsigned i, struct landing *landing)
{
    const struct shape_op *op = &work->ops[i];
    struct target *target = target_of(client, work, op->var);
    uint64_t expected = op->expected, desired = op->value, mask;
    uint8_t line[LINE_BYTES];

    switch ((enum shape_op_kind)op->kind) {
    case SHAPE_NONE:
        return 0;
    case SHAPE_STORE:
        mask = make_line(work, op, line);
        if (mask == ~0ull)
            return cxe_queue_write(target->queue, target->region, line_of(work, op->var), line, sizeof(line),
                                   NULL);
        return cxe_queue_write_masked(target->queue, target->region, line_of(work, op->var), line, mask,
                                      NULL);
    case SHAPE_LOAD:
        return cxe_queue_read(target->queue, target->region, line_of(work, op->var), landing->lines[i],
                              LINE_BYTES, NULL);
    case SHAPE_CAS:
        return cxe_queue_cas(target->queue, target->region, offset_of(work, op->var), 8, &expected, &desired,
                             &landing->olds[i], NULL);
    case SHAPE_SPLIT_CAS:
        return -EINVAL; /* not of one piece: done by waiting */
    }
    return -EINVAL;
}

static int drain_queue(struct cxe_queue *queue, unsigned count)
{
    struct cxe_completion completions[QUEUE_DEPTH];

    while (count > 0) {
        int got = cxe_queue_wait(queue, completions, QUEUE_DEPTH, UINT64_MAX);

        if (got < 0)
            return got;
        for (int i = 0; i < got; i++)
            if (completions[i].result < 0)
                return completions[i].result;
        count -= (unsigned)got;
    }
    return 0;
}

/* Reads that keep the queue busy, so that what follows gathers in one frame until it is flushed. */
static int start_fillers(struct client *client, const struct work *work, unsigned server,
                         struct landing *landing)
{
    struct target *target = work->faulty ? &client->faulty[server] : &client->clean[server];
    int error = 0;

    for (unsigned i = 0; !error && i < FILLERS; i++)
        error = cxe_queue_read(target->queue, target->region,
                               work->block + FILLER_OFFSET + (work->thread * FILLERS + i) * LINE_BYTES,
                               landing->filler[i], LINE_BYTES, NULL);
    return error;
}

static void take_values(const struct work *work, const struct landing *landing)
{
    for (unsigned i = 0; i < work->count; i++) {
        const struct shape_op *op = &work->ops[i];

        if (op->kind == SHAPE_LOAD)
            work->registers[op->reg] = landing->lines[i][offset_of(work, op->var) % LINE_BYTES];
        else if (op->kind == SHAPE_CAS)
            work->registers[op->reg] = (uint8_t)landing->olds[i];
    }
}

/* Starts everything in program order; started[s] completions are then due from server s. */
static int start_all(struct client *client, const struct work *work, struct landing *landing,
                     unsigned started[CLIENT_SERVERS])
{
    int error = 0;

    for (unsigned i = 0; !error && i < work->count; i++) {
        unsigned server = shape_server(work->placement, work->ops[i].var);

        if (work->mode == SHAPE_FRAME && started[server] == 0) {
            error = start_fillers(client, work, server, landing);
            started[server] = FILLERS;
        } else if (work->mode == SHAPE_FENCE && started[server] > 0) {
            error = cxe_queue_fence(target_of(client, work, work->ops[i].var)->queue);
        }
        if (!error)
            error = start_op(client, work, i, landing);
        started[server]++;
    }
    return error;
}

static int work_queued(struct client *client, const struct work *work)
{
    struct target *targets = work->faulty ? client->faulty : client->clean;
    unsigned started[CLIENT_SERVERS] = {0};
    struct landing landing;
    int error = start_all(client, work, &landing, started);

    for (unsigned i = 0; !error && i < CLIENT_SERVERS; i++)
        error = cxe_queue_flush(targets[i].queue);
    for (unsigned i = 0; !error && i < CLIENT_SERVERS; i++)
        error = drain_queue(targets[i].queue, started[i]);
    if (!error)
        take_values(work, &landing);
    return error;
}

/* ---- mappings ---- */

void client_touch(struct client *client, const struct work *work, unsigned vars)
{
    for (unsigned var = 0; var < vars; var++)
        load_relaxed(target_of(client, work, var)->mapped + offset_of(work, var));
}

static int do_mapped(struct client *client, const struct work *work, const struct shape_op *op)
{
    uint8_t *mapped = target_of(client, work, op->var)->mapped;
    uint64_t *word = (uint64_t *)(void *)(mapped + offset_of(work, op->var)), old;

    switch ((enum shape_op_kind)op->kind) {
    case SHAPE_NONE:
        break;
    case SHAPE_STORE:
        store_release(word, (uint64_t)op->value);
        break;
    case SHAPE_LOAD:
        work->registers[op->reg] = (uint8_t)load_acquire(word);
        break;
    case SHAPE_CAS:
        old = op->expected;
        cas_acq_rel(word, &old, (uint64_t)op->value);
        work->registers[op->reg] = (uint8_t)old;
        break;
    case SHAPE_SPLIT_CAS:
        work->registers[op->reg] = (uint8_t)load_acquire(word);
        if (work->registers[op->reg] == op->expected)
            store_release(word, (uint64_t)op->value);
        break;
    }
    return 0;
}

static int work_mapped(struct client *client, const struct work *work)
{
    for (unsigned i = 0; i < work->count; i++)
        do_mapped(client, work, &work->ops[i]);
    return 0;
}

/* ---- which ---- */

int client_work(struct client *client, const struct work *work)
{
    for (unsigned i = 0; i < work->count; i++)
        if (work->ops[i].kind == SHAPE_SPLIT_CAS && work->mode != SHAPE_MAPPED)
            return work_blocking(client, work);
    switch (work->mode) {
    case SHAPE_BLOCKING:
        return work_blocking(client, work);
    case SHAPE_PIPELINED:
    case SHAPE_FRAME:
    case SHAPE_FENCE:
        return work_queued(client, work);
    case SHAPE_MAPPED:
        return work_mapped(client, work);
    case SHAPE_MIXED:
        return work->thread % 2 == 0 ? work_blocking(client, work) : work_mapped(client, work);
    }
    return -EINVAL;
}
