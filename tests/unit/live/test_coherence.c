/* test_coherence.c - coherent mappings, waiting and leases, as peers see them that play the clients by hand
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "clock.h"
#include "codec.h"
#include "raw_peer.h"

#define PATIENCE_MS 30000 /* for what must come; long, since the machine may be slow */

/* A client: one session, and the agent that listens on it, if any. */
struct peer {
    struct raw_peer raw;
    uint64_t seq; /* of the newest request */
    uint32_t agent;
    uint8_t request[FRAME_BYTES_MAX]; /* being written, then as sent */
    uint8_t *at;
    unsigned ops;
    uint8_t got[FRAME_BYTES_MAX]; /* the body that came last */
    size_t got_bytes;
    struct wire_bi_snp snoop; /* the one that came last */
};

static struct server server;
static struct peer peers[4];
static struct cxe_connection *connection;
static struct cxe_region *region;
static uint64_t handle;

static void begin(struct peer *peer)
{
    peer->at = peer->request + BODY_HEADER_BYTES;
    peer->ops = 0;
}

static uint8_t *add(struct peer *peer, enum opcode opcode, unsigned width_log2, unsigned lines,
                    uint32_t agent, uint64_t offset)
{
    uint8_t *operand = codec_write_agent_op(peer->at, opcode, width_log2, lines, agent, handle, offset);

    peer->at += codec_op_bytes(opcode, lines);
    memset(operand, 0, (size_t)(peer->at - operand));
    peer->ops++;
    return operand;
}

static void repeat(struct peer *peer)
{
    raw_send_body(&peer->raw, peer->request, (size_t)(peer->at - peer->request));
}

/* Sends what was added. */
static void send_request(struct peer *peer)
{
    raw_request(peer->request, ++peer->seq, peer->ops);
    repeat(peer);
}

static const struct body_header *header_of(const struct peer *peer)
{
    return (const struct body_header *)peer->got;
}

static bool take_snoop(struct peer *peer)
{
    if (header_of(peer)->kind != BODY_BISNP)
        return false;
    cr_assert_eq(le16_get(header_of(peer)->op_count), 1);
    memcpy(&peer->snoop, peer->got + BODY_HEADER_BYTES, sizeof(peer->snoop));
    return true;
}

/* The next body, within `wait_ms`. */
static bool receive(struct peer *peer, int wait_ms)
{
    peer->got_bytes = raw_receive_body(&peer->raw, peer->got, sizeof(peer->got), wait_ms);
    return peer->got_bytes > 0;
}

/* The answer to the request sent last; its values. */
static const uint8_t *await_answer(struct peer *peer, uint8_t status)
{
    do
        cr_assert(receive(peer, PATIENCE_MS), "no answer");
    while (header_of(peer)->kind != BODY_RESPONSE || le64_get(header_of(peer)->seq) != peer->seq);
    cr_assert_eq(header_of(peer)->status, status, "%s", status_name(header_of(peer)->status));
    return peer->got + BODY_HEADER_BYTES;
}

static const uint8_t *ask(struct peer *peer, uint8_t status)
{
    send_request(peer);
    return await_answer(peer, status);
}

/* No answer to the request sent last: it waits, as the server says when asked again. */
static void check_pending(struct peer *peer)
{
    repeat(peer);
    do
        cr_assert(receive(peer, PATIENCE_MS), "no word about the request");
    while (header_of(peer)->kind == BODY_BISNP);
    cr_assert_eq(header_of(peer)->kind, BODY_PENDING);
    cr_assert_eq(le64_get(header_of(peer)->seq), peer->seq);
}

static void await_snoop(struct peer *peer, enum bi_snp kind, uint64_t offset)
{
    do
        cr_assert(receive(peer, PATIENCE_MS), "no snoop");
    while (!take_snoop(peer) || le64_get(peer->snoop.offset) != offset);
    cr_assert_eq(peer->snoop.kind, kind);
    cr_assert_eq(le64_get(peer->snoop.region), handle);
    cr_assert_eq(le32_get(peer->snoop.agent), peer->agent);
}

static uint8_t *add_answer(struct peer *peer, const struct wire_bi_snp *snoop, enum bi_state state)
{
    struct wire_bi_rsp answer = {.id = snoop->id, .state = (uint8_t)state};

    return memcpy(add(peer, OP_BI_RSP, 0, 0, peer->agent, le64_get(snoop->offset)), &answer, sizeof(answer));
}

static void answer_snoop(struct peer *peer, enum bi_state state)
{
    begin(peer);
    add_answer(peer, &peer->snoop, state);
    ask(peer, STATUS_OK);
}

static void attach(struct peer *peer)
{
    struct wire_agent_info info;

    begin(peer);
    add(peer, OP_BI_ATTACH, 0, 0, 0, 0);
    memcpy(&info, ask(peer, STATUS_OK), sizeof(info));
    peer->agent = le32_get(info.agent);
    cr_assert_neq(peer->agent, 0);
    cr_assert_eq(le32_get(info.lease_ms), server.lease_ns / NS_PER_MS);
}

static const uint8_t *fetch(struct peer *peer, enum opcode opcode, uint64_t offset)
{
    begin(peer);
    add(peer, opcode, 0, PAGE_LINES, peer->agent, offset);
    return ask(peer, STATUS_OK);
}

static void start(unsigned workers, uint64_t lease_ns)
{
    struct cxe_region_info info;

    server.worker_count = workers;
    server.lease_ns = lease_ns;
    server_start(&server);
    connection = server_connect(&server, NULL, CXE_ENCRYPTION_DEFAULT);
    cr_assert_eq(cxe_region_create(connection, "r", 1 << 20, CXE_REGION_SHARED, &region), 0, "%s",
                 cxe_last_error());
    cr_assert_eq(cxe_region_stat(region, &info), 0);
    handle = info.handle;
    for (unsigned i = 0; i < sizeof(peers) / sizeof(peers[0]); i++)
        raw_shake_hands(&peers[i].raw, &server, RECORD_CIPHER_CHACHA20POLY1305);
}

static void tear_down(void)
{
    for (unsigned i = 0; i < sizeof(peers) / sizeof(peers[0]); i++)
        raw_close(&peers[i].raw);
    cxe_region_close(region);
    cr_assert_eq(cxe_disconnect(connection), 0);
    server_stop(&server);
}

TestSuite(coherence, .fini = tear_down, .timeout = 120);

Test(coherence, a_write_takes_the_page_from_who_shares_it)
{
    uint8_t *line;

    start(1, 60 * NS_PER_S);
    attach(&peers[0]);
    fetch(&peers[0], OP_MEM_RD_SHARED, PAGE_BYTES);
    begin(&peers[1]);
    line = add(&peers[1], OP_MEM_WR, 0, 1, 0, PAGE_BYTES + 64);
    memset(line, 7, LINE_BYTES);
    send_request(&peers[1]);
    await_snoop(&peers[0], BI_SNP_INV, PAGE_BYTES);
    check_pending(&peers[1]);
    answer_snoop(&peers[0], BI_STATE_INVALID);
    await_answer(&peers[1], STATUS_OK);
    cr_expect_eq(fetch(&peers[0], OP_MEM_RD_SHARED, PAGE_BYTES)[64], 7);
}

Test(coherence, a_read_brings_the_owners_lines_home)
{
    struct peer *owner = &peers[0], *reader = &peers[1];

    start(1, 60 * NS_PER_S);
    attach(owner);
    fetch(owner, OP_MEM_RD_ANY, 0);
    begin(reader);
    add(reader, OP_MEM_RD, 0, 1, 0, 128);
    send_request(reader);
    await_snoop(owner, BI_SNP_DATA, 0);
    begin(owner);
    memset(add(owner, OP_MEM_WR, 0, 1, owner->agent, 128), 9, LINE_BYTES);
    add_answer(owner, &owner->snoop, BI_STATE_SHARED);
    ask(owner, STATUS_OK);
    cr_expect_eq(await_answer(reader, STATUS_OK)[63], 9);
    begin(owner);
    memset(add(owner, OP_MEM_WR, 0, 1, owner->agent, 128), 10, LINE_BYTES);
    ask(owner, STATUS_FENCED); /* it shares now, and must not write */
}
