/* test_outlive.c - what was cancelled cannot overtake what is done instead of it, over whichever lane */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "atomic.h"
#include "clock.h"
#include "lane_internal.h"
#include "raw_server.h"

TestSuite(outlive, .timeout = 120);

static struct raw_server server;
static struct cxe_connection *connection;
static uint32_t writes;  /* heard, each once; atomic */
static unsigned haunted; /* the session that the first came over, which is not answered */
static bool safe;        /* it had been replaced when the second came */
static const uint8_t line[LINE_BYTES];

static bool is_replaced(const struct raw_server *self, unsigned session)
{
    for (unsigned i = 0; i < self->session_count; i++)
        if (self->sessions[i].offer.replaces == session + 1)
            return true;
    return false;
}

static void ignore_first(struct raw_server *self, struct raw_session *session, const uint8_t *body,
                         size_t body_bytes, uint64_t counter)
{
    const unsigned index = (unsigned)(session - self->sessions);

    (void)body_bytes;
    if (body[0] != BODY_REQUEST || (load_relaxed(&writes) > 0 && index == haunted))
        return;
    if (load_relaxed(&writes) == 0) {
        haunted = index;
    } else {
        safe = is_replaced(self, haunted);
        raw_server_respond(self, session, body, counter, STATUS_OK, 1, "", 0);
    }
    fetch_add_acq_rel(&writes, 1u);
}

static struct op write_op(void)
{
    return (struct op){.opcode = OP_MEM_WR, .line_count = 1, .region = 1, .operand = line};
}

/* A write is sent, never answered, and given up; over the lane that this thread does not take by itself. */
static void cancel_one(void)
{
    struct lane *favourite = lane_acquire(connection), *other = lane_acquire(connection);
    struct op op = write_op();

    lane_post(other, &op);
    lane_push(other);
    while (load_acquire(&writes) == 0)
        cr_assert_eq(lane_wait(other, &op, clock_now_ns() + NS_PER_MS), -ETIMEDOUT);
    cr_assert_eq(lane_cancel(other, &op), -CXE_EUNKNOWN);
    lane_release(other);
    lane_release(favourite);
}

static void start(void)
{
    server.heard = ignore_first;
    raw_server_start(&server);
    connection = raw_server_connect(&server);
    cancel_one();
}

static void stop(void)
{
    cr_assert_eq(cxe_disconnect(connection), 0);
    raw_server_stop(&server);
}

Test(outlive, an_operation_comes_after_what_was_cancelled)
{
    struct op op = write_op();

    start();
    cr_assert_eq(connection_run(connection, &op), 0);
    cr_assert(safe, "the first try may still be done after the second");
    cr_assert_eq(load_relaxed(&connection->lingering), 0);
    stop();
}

Test(outlive, who_holds_a_lane_may_wait_for_the_others)
{
    struct op op = write_op();
    struct lane *lane;

    start();
    lane = lane_acquire(connection);
    cr_assert_eq(lane_outlive(connection, lane, far_ns()), 0);
    cr_assert_eq(lane_run(lane, &op, far_ns()), 0);
    cr_assert(safe);
    lane_release(lane);
    stop();
}

/* Then nothing is sent at all, and so not done. */
Test(outlive, nothing_is_sent_while_that_cannot_be_known)
{
    struct op op = write_op();

    start();
    store_relaxed(&server.deaf, true);
    connection->timeout_ns = 50 * NS_PER_MS;
    cr_assert_eq(connection_run(connection, &op), -ETIMEDOUT);
    cr_assert_eq(load_acquire(&writes), 1);
    store_relaxed(&server.deaf, false);
    connection->timeout_ns = 20 * NS_PER_S;
    cr_assert_eq(connection_run(connection, &op), 0);
    cr_assert(safe);
    stop();
}
