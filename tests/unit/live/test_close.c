/* test_close.c - a server ends a session, and says which requests it has not begun: these are done later */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "atomic.h"
#include "clock.h"
#include "codec.h"
#include "lane.h"
#include "lane_internal.h"
#include "raw_peer.h"
#include "raw_server.h"

TestSuite(close, .timeout = 120);

/* ---- the client ---- */

static struct raw_server raw;
static struct cxe_connection *connection;
static struct lane *lane;
static uint64_t last_seq;    /* the session of the lane ends when it has heard this request, */
static uint64_t not_begun;   /* and CLOSE says this */
static uint8_t done_ops[16]; /* what later sessions were asked to do, by the first byte to be written */
static unsigned done_count;
static uint32_t deaf; /* atomic; so many bodies were heard and not answered */

static void do_writes(struct raw_server *self, struct raw_session *session, const uint8_t *body,
                      size_t body_bytes, uint64_t counter)
{
    unsigned count = le16_get(((const struct body_header *)body)->op_count);
    const uint8_t *at = body + BODY_HEADER_BYTES;

    for (unsigned i = 0; i < count; i++) {
        struct op_view op;

        cr_assert_eq(codec_read_op(&at, body + body_bytes, &op), 0);
        cr_assert_lt(done_count, sizeof(done_ops));
        done_ops[done_count++] = op.operand[0];
    }
    raw_server_respond(self, session, body, counter, STATUS_OK, count, "", 0);
}

/* Sessions 0 and 1 are the connection's, 2 is the lane's first. */
static void close_first(struct raw_server *self, struct raw_session *session, const uint8_t *body,
                        size_t body_bytes, uint64_t counter)
{
    if (body[0] == BODY_REQUEST && session > &self->sessions[2]) {
        do_writes(self, session, body, body_bytes, counter);
        return;
    }
    if (session != &self->sessions[2])
        return;
    fetch_add_relaxed(&deaf, 1u);
    if (body[0] == BODY_CLOSE ? last_seq == 0 : le64_get(((const struct body_header *)body)->seq) == last_seq)
        raw_server_say(self, session, BODY_CLOSE, not_begun);
}

/* `seq` 0: the session ends when the client has ended it. */
static void start(uint64_t seq, uint64_t not_begun_)
{
    last_seq = seq;
    not_begun = not_begun_;
    raw.heard = close_first;
    raw_server_start(&raw);
    connection = raw_server_connect(&raw);
    lane = raw_server_open_lane(connection, LANE_PLAIN);
}

static void stop(void)
{
    raw_server_close_lane(lane);
    cr_assert_eq(cxe_disconnect(connection), 0);
    raw_server_stop(&raw);
}

static struct op write_op(const uint8_t *line)
{
    return (struct op){.opcode = OP_MEM_WR, .line_count = 1, .region = 1, .operand = line};
}

static const uint8_t ones[LINE_BYTES] = {1}, twos[LINE_BYTES] = {2};

Test(close, what_was_not_begun_is_done_over_the_next_session)
{
    struct op op = write_op(ones);

    start(1, 1);
    cr_assert_eq(lane_run(lane, &op, far_ns()), 0);
    cr_assert_eq(done_count, 1);
    stop();
}

Test(close, what_was_begun_is_unknown)
{
    struct op op = write_op(ones);

    start(1, 2);
    cr_assert_eq(lane_run(lane, &op, far_ns()), -CXE_EUNKNOWN);
    cr_assert_eq(done_count, 0);
    stop();
}

Test(close, all_is_unknown_where_it_says_nothing)
{
    struct op op = write_op(ones);

    start(1, 0);
    cr_assert_eq(lane_run(lane, &op, far_ns()), -CXE_EUNKNOWN);
    cr_assert_eq(done_count, 0);
    stop();
}

/* In two requests. */
static void post_two(struct op *first, struct op *second)
{
    lane_post(lane, first);
    lane_push(lane);
    lane_post(lane, second);
    lane_push(lane);
}

Test(close, requests_are_told_apart)
{
    struct op first = write_op(ones), second = write_op(twos);

    start(2, 2);
    post_two(&first, &second);
    cr_assert_eq(lane_wait(lane, &second, far_ns()), 0);
    cr_assert_eq(lane_wait(lane, &first, far_ns()), -CXE_EUNKNOWN);
    cr_assert_eq(done_count, 1);
    cr_assert_eq(done_ops[0], 2);
    stop();
}

/* Its owner was told that it may have been done, and goes on from there. */
Test(close, what_was_cancelled_is_not_done_later)
{
    struct op first = write_op(ones), second = write_op(twos);

    start(0, 1);
    post_two(&first, &second);
    while (load_relaxed(&deaf) < 2)
        ;
    cr_assert_eq(lane_cancel(lane, &first), -CXE_EUNKNOWN);
    cr_assert_eq(lane_wait(lane, &second, far_ns()), 0, "its CLOSE came before the next session");
    cr_assert_eq(done_count, 1);
    cr_assert_eq(done_ops[0], 2);
    stop();
}

/* Nor is what is cancelled afterwards; and that is then known not to be done. */
Test(close, what_was_not_begun_can_be_cancelled)
{
    struct op first = write_op(ones), second = write_op(twos);

    start(2, 1);
    post_two(&first, &second);
    while (lane->link.up)
        lane_progress(lane);
    cr_assert_eq(lane_cancel(lane, &first), -ETIMEDOUT);
    cr_assert_eq(lane_wait(lane, &second, far_ns()), 0);
    cr_assert_eq(done_count, 1);
    cr_assert_eq(done_ops[0], 2);
    stop();
}

/* ---- the server ---- */

static struct server server;
static uint64_t handle;

static struct cxe_region *start_server(struct raw_peer *peer)
{
    struct cxe_region *region;

    server_start(&server);
    connection = server_connect(&server, NULL, CXE_ENCRYPTION_DEFAULT);
    region = server_region(connection, &handle);
    raw_shake_hands(peer, &server, RECORD_CIPHER_CHACHA20POLY1305);
    return region;
}

static void send_addition(struct raw_peer *peer, uint64_t seq)
{
    uint8_t body[BODY_HEADER_BYTES + OP_HEADER_BYTES + sizeof(struct wire_word)];
    struct wire_word one = {.bytes = {1}};

    memcpy(codec_write_op(raw_request(body, seq, 1), OP_FETCH_ADD, 3, 0, handle, 0), &one, sizeof(one));
    raw_send_body(peer, body, sizeof(body));
}

/* For a word that stays 0. */
static void send_wait(struct raw_peer *peer, uint64_t seq)
{
    uint8_t body[BODY_HEADER_BYTES + OP_HEADER_BYTES + sizeof(struct wire_wait)];
    struct wire_wait wait = {.timeout_ns = le64_of(UINT64_MAX)};

    memcpy(codec_write_op(raw_request(body, seq, 1), OP_WAIT, 3, 0, handle, 64), &wait, sizeof(wait));
    raw_send_body(peer, body, sizeof(body));
}

static struct body_header next_body(struct raw_peer *peer)
{
    uint8_t body[FRAME_BYTES_MAX];
    struct body_header header;

    cr_assert_geq(raw_receive_body(peer, body, sizeof(body), 30000), sizeof(header));
    memcpy(&header, body, sizeof(header));
    return header;
}

static void stop_server(struct cxe_region *region)
{
    cxe_region_close(region);
    cr_assert_eq(cxe_disconnect(connection), 0);
    server_stop(&server);
}

/* The socket closes behind the server's last word. */
Test(close, the_server_counts_what_it_did_and_what_waits)
{
    struct raw_peer peer, waiter, idle;
    struct cxe_region *region = start_server(&peer);
    struct body_header header, ping = {.kind = BODY_PING};

    raw_shake_hands(&waiter, &server, RECORD_CIPHER_CHACHA20POLY1305);
    raw_shake_hands(&idle, &server, RECORD_CIPHER_CHACHA20POLY1305);
    send_addition(&peer, 1);
    send_addition(&peer, 3); /* 2 is still on its way */
    cr_assert_eq(next_body(&peer).kind, BODY_RESPONSE);
    cr_assert_eq(next_body(&peer).kind, BODY_RESPONSE);
    send_wait(&waiter, 5);
    send_wait(&waiter, 5);
    cr_assert_eq(next_body(&waiter).kind, BODY_PENDING);
    raw_send_body(&idle, &ping, sizeof(ping));
    cr_assert_eq(next_body(&idle).kind, BODY_PONG);
    stop_server(region);

    header = next_body(&peer);
    cr_assert_eq(header.kind, BODY_CLOSE);
    cr_assert_eq(le64_get(header.seq), 4);
    header = next_body(&waiter);
    cr_assert_eq(header.kind, BODY_CLOSE);
    cr_assert_eq(le64_get(header.seq), 6);
    header = next_body(&idle);
    cr_assert_eq(header.kind, BODY_CLOSE);
    cr_assert_eq(le64_get(header.seq), 1);
    raw_close(&peer);
    raw_close(&waiter);
    raw_close(&idle);
}

/* Or a client would send it again for ever. */
Test(close, a_request_that_is_refused_is_not_to_be_sent_again)
{
    struct raw_peer peer;
    struct cxe_region *region = start_server(&peer);
    struct body_header header;

    send_addition(&peer, 2 * SESSION_SLOTS);
    header = next_body(&peer);
    cr_assert_eq(header.kind, BODY_CLOSE);
    cr_assert_eq(le64_get(header.seq), 0);
    raw_close(&peer);
    stop_server(region);
}
