/* test_lane.c - what a lane does with what a server may say: snoops, PENDING, failures in a frame */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "atomic.h"
#include "clock.h"
#include "connection.h"
#include "lane_internal.h"
#include "raw_server.h"

static struct raw_server server;
static struct cxe_connection *connection;
static struct lane *lane;
static uint8_t lines[64][LINE_BYTES];

TestSuite(lane, .timeout = 120);

static void start(void (*heard)(struct raw_server *, struct raw_session *, const uint8_t *, size_t, uint64_t),
                  enum lane_kind kind)
{
    server.heard = heard;
    raw_server_start(&server);
    connection = raw_server_connect(&server);
    lane = raw_server_open_lane(connection, kind);
}

static void stop(void)
{
    raw_server_close_lane(lane);
    cr_assert_eq(cxe_disconnect(connection), 0);
    raw_server_stop(&server);
}

static struct op write_op(unsigned line_count)
{
    return (struct op){.opcode = OP_MEM_WR, .line_count = line_count, .region = 1, .operand = lines};
}

static bool is_request(const uint8_t *body)
{
    return body[0] == BODY_REQUEST;
}

static uint64_t seq_of(const uint8_t *body)
{
    return le64_get(((const struct body_header *)body)->seq);
}

static unsigned op_count_of(const uint8_t *body)
{
    return le16_get(((const struct body_header *)body)->op_count);
}

/* ---- listening ---- */

static struct wire_bi_snp told[8];
static unsigned told_count;

static void note_snoops(void *context, const struct wire_bi_snp *snoops, unsigned count)
{
    cr_assert_eq(context, &told);
    cr_assert_leq(told_count + count, 8);
    memcpy(told + told_count, snoops, count * sizeof(told[0]));
    told_count += count;
}

/* Every request is done, and followed by a malformed and a good body of two snoops. */
static void snoop_after_each(struct raw_server *self, struct raw_session *session, const uint8_t *body,
                             size_t body_bytes, uint64_t counter)
{
    struct {
        struct body_header header;
        struct wire_bi_snp snoops[2];
    } push = {.header = {.kind = BODY_BISNP, .op_count = le16_of(2)}};

    (void)body_bytes;
    if (!is_request(body))
        return;
    raw_server_respond(self, session, body, counter, STATUS_OK, op_count_of(body), "", 0);
    for (unsigned i = 0; i < 2; i++)
        push.snoops[i] = (struct wire_bi_snp){.region = le64_of(1),
                                              .offset = le64_of(i * PAGE_BYTES),
                                              .agent = le32_of(9),
                                              .id = le16_of((uint16_t)(i + 1)),
                                              .kind = BI_SNP_INV};
    raw_server_send(self, session, &push, sizeof(push) - 8);
    raw_server_send(self, session, &push, sizeof(push));
}

static void hear_until(unsigned count)
{
    while (told_count < count)
        cr_assert_eq(lane_listen_wait(lane, far_ns(), -1), 0);
}

Test(lane, a_listening_lane_hears_snoops_that_nobody_asked_for)
{
    struct op write = write_op(1);

    start(snoop_after_each, LANE_LISTENING);
    lane_listen(lane, note_snoops, &told);
    cr_assert_eq(lane_run(lane, &write, far_ns()), 0);
    hear_until(2);
    for (unsigned i = 0; i < 2; i++) {
        cr_assert_eq(le64_get(told[i].offset), i * PAGE_BYTES);
        cr_assert_eq(le16_get(told[i].id), i + 1);
    }
    cr_assert_eq(lane_listen_wait(lane, clock_now_ns() + 20 * NS_PER_MS, -1), -ETIMEDOUT);
    cr_assert_eq(told_count, 2, "the malformed one is none");
    stop();
}

Test(lane, who_listens_can_be_called)
{
    uint64_t one = 1;
    int call = eventfd(0, EFD_CLOEXEC);

    start(snoop_after_each, LANE_LISTENING);
    lane_listen(lane, note_snoops, &told);
    cr_assert_eq(write(call, &one, sizeof(one)), sizeof(one));
    cr_assert_eq(lane_listen_wait(lane, far_ns(), call), -EINTR);
    cr_assert_eq(read(call, &one, sizeof(one)), sizeof(one));
    cr_assert_eq(lane_listen_wait(lane, clock_now_ns() + 20 * NS_PER_MS, call), -ETIMEDOUT);
    close(call);
    stop();
}

Test(lane, a_completion_wakes_who_listens)
{
    struct op write = write_op(1);

    start(snoop_after_each, LANE_LISTENING);
    lane_listen(lane, note_snoops, &told);
    lane_post(lane, &write);
    while (!write.finished)
        cr_assert_eq(lane_listen_wait(lane, far_ns(), -1), 0);
    cr_assert_eq(write.outcome, 0);
    stop();
}

/* ---- operations in one frame ---- */

static unsigned frames_heard, ops_of_frame[8];

/* The second operation of a frame of several fails. */
static void fail_second(struct raw_server *self, struct raw_session *session, const uint8_t *body,
                        size_t body_bytes, uint64_t counter)
{
    unsigned count = op_count_of(body);

    (void)body_bytes;
    if (!is_request(body))
        return;
    ops_of_frame[frames_heard++ % 8] = count;
    raw_server_respond(self, session, body, counter, count > 1 ? STATUS_FENCED : STATUS_OK,
                       count > 1 ? 1 : count, "", 0);
}

Test(lane, a_failure_ends_what_is_chained_to_it_and_nothing_else)
{
    struct op chain[3] = {write_op(2), write_op(3), write_op(1)}, behind = write_op(1);

    start(fail_second, LANE_PLAIN);
    cr_assert_eq(lane_post_together(lane, chain, 3), 0);
    lane_post(lane, &behind);
    cr_assert_eq(lane_drain(lane, far_ns()), 0);
    cr_assert_eq(ops_of_frame[0], 4);
    cr_assert_eq(chain[0].outcome, 0);
    cr_assert_eq(chain[1].outcome, -EOWNERDEAD);
    cr_assert_eq(chain[2].outcome, -ECANCELED, "not done");
    cr_assert_eq(behind.outcome, 0, "sent again, alone");
    cr_assert_eq(frames_heard, 2);
    cr_assert_eq(ops_of_frame[1], 1);
    stop();
}

Test(lane, a_chain_that_does_not_fit_the_frame_begins_another)
{
    struct op chain[2] = {write_op(10), write_op(5)}, before = write_op(10);

    start(fail_second, LANE_PLAIN);
    lane_post(lane, &before);
    cr_assert_eq(lane_post_together(lane, chain, 2), 0);
    cr_assert_eq(lane_drain(lane, far_ns()), 0);
    cr_assert_eq(frames_heard, 2);
    cr_assert_eq(before.outcome, 0);
    cr_assert_eq(chain[0].outcome, 0);
    cr_assert_eq(chain[1].outcome, -EOWNERDEAD);
    stop();
}

Test(lane, a_chain_longer_than_a_frame_is_refused)
{
    struct op chain[3] = {write_op(10), write_op(10), write_op(10)};

    start(fail_second, LANE_PLAIN);
    cr_assert_eq(lane_post_together(lane, chain, 3), -EMSGSIZE);
    cr_assert_eq(lane_busy(lane), 0);
    cr_assert_eq(lane_drain(lane, far_ns()), 0);
    cr_assert_eq(frames_heard, 0);
    stop();
}

/* ---- parked requests ---- */

#define PENDINGS 7 /* the last are further apart than a server may be silent */

/* The first request of a session is parked until it was repeated a few times; others are done at once. */
static void park_first(struct raw_server *self, struct raw_session *session, const uint8_t *body,
                       size_t body_bytes, uint64_t counter)
{
    static unsigned repeats;

    (void)body_bytes;
    if (!is_request(body))
        return;
    if (seq_of(body) > 1)
        raw_server_respond(self, session, body, counter, STATUS_OK, op_count_of(body), "", 0);
    else if (repeats++ == 0)
        ; /* parked */
    else if (repeats <= PENDINGS + 1)
        raw_server_say(self, session, BODY_PENDING, 1);
    else
        raw_server_respond(self, session, body, counter, STATUS_OK, op_count_of(body), "", 0);
}

Test(lane, a_parked_request_raises_no_suspicion)
{
    struct op parked = write_op(1), others[8];
    unsigned hellos;

    start(park_first, LANE_PLAIN);
    hellos = load_relaxed(&server.hellos);
    lane_post(lane, &parked);
    lane_push(lane);
    for (unsigned i = 0; i < 8; i++) {
        others[i] = write_op(1);
        cr_assert_eq(lane_run(lane, &others[i], far_ns()), 0);
    }
    cr_assert_not(parked.finished);
    cr_assert_eq(lane_wait(lane, &parked, far_ns()), 0);
    cr_assert_eq(load_relaxed(&server.hellos), hellos, "it doubted a server that answers");
    stop();
}

/* ---- part-filled frames of a queue ---- */

/* The first two requests wait in the server until there is a third. */
static void park_two(struct raw_server *self, struct raw_session *session, const uint8_t *body,
                     size_t body_bytes, uint64_t counter)
{
    static bool third;

    (void)body_bytes;
    if (!is_request(body))
        return;
    third |= seq_of(body) > 2;
    if (third)
        raw_server_respond(self, session, body, counter, STATUS_OK, op_count_of(body), "", 0);
    else
        raw_server_say(self, session, BODY_PENDING, seq_of(body));
}

Test(lane, a_part_filled_frame_does_not_wait_for_what_is_parked)
{
    struct op writes[3];

    start(park_two, LANE_QUEUE);
    for (unsigned i = 0; i < 3; i++) {
        writes[i] = write_op(1);
        writes[i].offset = i * LINE_BYTES;
        lane_post(lane, &writes[i]);
    }
    cr_assert_eq(lane_wait(lane, &writes[2], far_ns()), 0);
    cr_assert_eq(lane_drain(lane, far_ns()), 0);
    stop();
}

/* ---- lost sessions ---- */

static struct handshake_offer replacing; /* what the third session's successor offered */

/* The third session is deaf; later ones do what is asked, either reads only, of lines of ones, or writes. */
static void be_deaf(struct raw_server *self, struct raw_session *session, const uint8_t *body,
                    size_t body_bytes, uint64_t counter)
{
    static uint8_t ones[2][LINE_BYTES];
    unsigned count = op_count_of(body);

    (void)body_bytes;
    if (!is_request(body) || session == &self->sessions[2])
        return;
    replacing = session->offer;
    memset(ones, 1, sizeof(ones));
    raw_server_respond(self, session, body, counter, STATUS_OK, count, ones,
                       body[BODY_HEADER_BYTES] == OP_MEM_RD ? count * sizeof(ones[0]) : 0);
}

static struct op read_op(uint8_t line[LINE_BYTES])
{
    return (struct op){.opcode = OP_MEM_RD, .line_count = 1, .region = 1, .result = line};
}

Test(lane, what_only_reads_is_asked_again_though_it_travelled_with_a_write)
{
    uint8_t lines_read[2][LINE_BYTES] = {{0}};
    struct op before = read_op(lines_read[0]), write = write_op(1), behind = read_op(lines_read[1]);

    start(be_deaf, LANE_PLAIN);
    lane_post(lane, &before);
    lane_post(lane, &write);
    lane_post(lane, &behind);
    cr_assert_eq(lane_drain(lane, far_ns()), 0);
    cr_assert_eq(before.outcome, 0);
    cr_assert_eq(write.outcome, -CXE_EUNKNOWN);
    cr_assert_eq(behind.outcome, 0);
    cr_assert_eq(lines_read[0][63], 1);
    cr_assert_eq(lines_read[1][63], 1);
    cr_assert_eq(replacing.replaces, 3, "the server is told which session is given up");
    cr_assert_eq(replacing.incarnation, 1);
    cr_assert_gt(server.sessions[2].bodies, 5, "it had its last chance");
    stop();
}

/* While the session is in doubt nothing new is sent over it, so it is surely not done when the session is
 * lost. */
Test(lane, what_is_posted_while_the_session_is_in_doubt_is_not_lost_with_it)
{
    struct op lost = write_op(1), later = write_op(1);

    start(be_deaf, LANE_PLAIN);
    lane_post(lane, &lost);
    while (lane->link.state == LINK_IDLE)
        cr_assert_eq(lane_wait(lane, &lost, clock_now_ns() + NS_PER_MS), -ETIMEDOUT);
    lane_post(lane, &later);
    cr_assert_eq(lane_drain(lane, far_ns()), 0);
    cr_assert_eq(lost.outcome, -CXE_EUNKNOWN);
    cr_assert_eq(later.outcome, 0);
    stop();
}

/* Everything waits while the server is stopped, handshakes as well; then it goes on where it was. */
static void pause_once(struct raw_server *self, struct raw_session *session, const uint8_t *body,
                       size_t body_bytes, uint64_t counter)
{
    static bool paused;

    (void)body_bytes;
    if (!is_request(body))
        return;
    if (!paused)
        sleep(2);
    paused = true;
    raw_server_respond(self, session, body, counter, STATUS_OK, op_count_of(body), "", 0);
}

Test(lane, a_server_that_was_stopped_for_a_while_has_lost_nothing)
{
    struct op write = write_op(1);

    start(pause_once, LANE_PLAIN);
    cr_assert_eq(lane_run(lane, &write, far_ns()), 0);
    /* The next is answered when the server has heard all that came before it. */
    cr_assert_eq(lane_run(lane, &write, far_ns()), 0);
    cr_assert_gt(load_relaxed(&server.hellos), 3, "the lane had its doubts");
    cr_assert_eq(server.session_count, 3, "the session is the same");
    stop();
}

/* ---- waiting ---- */

/* WAITs: the word is 7, and was 5 until a repeat comes. */
static void change_at_repeat(struct raw_server *self, struct raw_session *session, const uint8_t *body,
                             size_t body_bytes, uint64_t counter)
{
    const struct op_header *op = (const struct op_header *)(body + BODY_HEADER_BYTES);
    const struct wire_wait *operand = (const struct wire_wait *)(op + 1);
    struct wire_word word = {.bytes = {7}};

    (void)body_bytes;
    if (!is_request(body))
        return;
    if (op->opcode == OP_REGION_OPEN) {
        struct wire_region_info info = {.handle = le64_of(1), .size = le64_of(4096)};

        raw_server_respond(self, session, body, counter, STATUS_OK, 1, &info, sizeof(info));
        return;
    }
    cr_assert_eq(op->opcode, OP_WAIT);
    if (operand->expected.bytes[0] == 7) /* times out */
        raw_server_respond(self, session, body, counter, STATUS_OK, 1, &word, sizeof(word));
    else if (session->bodies % 3 == 1)
        ; /* parked */
    else if (session->bodies % 3 == 2)
        raw_server_say(self, session, BODY_PENDING, seq_of(body));
    else
        raw_server_respond(self, session, body, counter, STATUS_OK, 1, &word, sizeof(word));
}

Test(lane, a_waiter_has_a_lane_of_its_own_and_leaves_it_to_the_next)
{
    uint64_t expected = 5, value = 0;
    struct cxe_region *region;

    start(change_at_repeat, LANE_PLAIN);
    cr_assert_eq(cxe_region_open(connection, "r", &region), 0, "%s", cxe_last_error());
    cr_assert_eq(server.session_count, 3);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(cxe_wait(region, 8, 8, &expected, 60 * NS_PER_S, &value), 0, "%s", cxe_last_error());
        cr_assert_eq(value, 7);
    }
    cr_assert_eq(server.session_count, 4);
    value = 1;
    expected = 7;
    cr_assert_eq(cxe_wait(region, 8, 4, &expected, NS_PER_MS, &value), -ETIMEDOUT);
    cr_assert_eq(value, 1, "written only on success");
    cr_assert_eq(server.session_count, 4);
    cr_assert_eq(cxe_wait(region, 8, 16, &expected, 0, &value), -EINVAL);
    cr_assert_eq(cxe_wait(region, 4096, 8, &expected, 0, &value), -ERANGE);
    cxe_region_close(region);
    stop();
}
