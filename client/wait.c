/* wait.c - waiting for a word to change, in the server */
#include <errno.h>
#include <string.h>

#include "clock.h"
#include "connection.h"
#include "error.h"
#include "least.h"
#include "op_check.h"

#define LOOK_NS NS_PER_S /* how often to look whether the server is still there */

/* Until the operation is over, the deadline, or the server has been silent for too long. */
static int await(const struct cxe_connection *connection, struct lane *lane, struct op *op,
                 uint64_t deadline_ns)
{
    for (;;) {
        uint64_t look_ns = clock_now_ns() + LOOK_NS;
        int result = lane_wait(lane, op, least(look_ns, deadline_ns));

        if (op->finished || clock_now_ns() >= deadline_ns || lane_silence_ns(lane) > connection->timeout_ns)
            return result;
    }
}

/* Runs the operation on a lane of its own. One that was given up is still on its way there: the lane goes
 * with it. */
static int run(struct cxe_connection *connection, struct op *op, uint64_t deadline_ns)
{
    struct lane *lane;
    int result = connection_take_waiting(connection, &lane);

    if (result)
        return result;
    lane_post(lane, op);
    result = await(connection, lane, op, deadline_ns);
    if (op->finished) {
        connection_give_waiting(connection, lane);
    } else {
        result = lane_cancel(lane, op);
        lane_close(lane, true);
    }
    return result;
}

int cxe_wait(struct cxe_region *region, uint64_t offset, unsigned width, const void *expected,
             uint64_t timeout_ns, void *value_out)
{
    struct wire_wait operand = {.timeout_ns = le64_of(timeout_ns)};
    struct wire_word word;
    struct op op = {
        .opcode = OP_WAIT, .region = region->handle, .offset = offset, .operand = &operand, .result = &word};
    uint64_t answer_ns; /* the server says so when the time is over, as soon as it can */
    int error = check_word(region, offset, width, 8);

    if (error)
        return error;
    op.width_log2 = (uint8_t)__builtin_ctz(width);
    memcpy(&operand.expected, expected, width);
    answer_ns = sum_or_max(connection_deadline_ns(region->connection), timeout_ns);
    error = run(region->connection, &op, answer_ns);
    if (error)
        return fail_region(error, region->name);
    if (memcmp(&word, &operand.expected, width) == 0)
        return fail(-ETIMEDOUT, "region '%s': the word at offset %llu did not change in time", region->name,
                    (unsigned long long)offset);
    memcpy(value_out, &word, width);
    return 0;
}
