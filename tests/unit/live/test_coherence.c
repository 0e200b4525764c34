/* test_coherence.c - coherent mappings, waiting and leases, as peers see them that play the clients by hand
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "codec.h"
#include "least.h"
#include "quiesce.h"
#include "raw_peer.h"
#include "region_coherent.h"

#define PATIENCE_MS 30000 /* for what must come; long, since the machine may be slow */

/* A client: one session, and the agent that listens on it, if any. */
struct peer {
    struct raw_peer raw;
    uint64_t seq; /* of the newest request */
    uint32_t agent;
    uint8_t request[FRAME_BYTES_MAX]; /* being written, then as sent */
    uint8_t *at;
    unsigned ops;
    uint8_t got[FRAME_BYTES_MAX] __attribute__((aligned(16))); /* the body that came last */
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

/* ---- pages ---- */

Test(coherence, a_write_takes_the_page_from_who_shares_it)
{
    start(1, 60 * NS_PER_S);
    attach(&peers[0]);
    attach(&peers[1]);
    fetch(&peers[0], OP_MEM_RD_SHARED, PAGE_BYTES);
    fetch(&peers[1], OP_MEM_RD_SHARED, PAGE_BYTES);
    begin(&peers[2]);
    memset(add(&peers[2], OP_MEM_WR, 0, 1, 0, PAGE_BYTES + 64), 7, LINE_BYTES);
    send_request(&peers[2]);
    await_snoop(&peers[0], BI_SNP_INV, PAGE_BYTES);
    await_snoop(&peers[1], BI_SNP_INV, PAGE_BYTES);
    answer_snoop(&peers[0], BI_STATE_INVALID);
    check_pending(&peers[2]);
    answer_snoop(&peers[1], BI_STATE_INVALID);
    await_answer(&peers[2], STATUS_OK);
    cr_expect_eq(fetch(&peers[0], OP_MEM_RD_SHARED, PAGE_BYTES)[64], 7);
}

Test(coherence, a_read_disturbs_nobody_who_shares)
{
    start(1, 60 * NS_PER_S);
    attach(&peers[0]);
    fetch(&peers[0], OP_MEM_RD_SHARED, 0);
    begin(&peers[1]);
    add(&peers[1], OP_MEM_RD, 0, 1, 0, 0);
    ask(&peers[1], STATUS_OK);
    cr_expect_not(receive(&peers[0], 50));
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

/* The old value of an atomic is what the owner stored, and the page is nobody's afterwards. */
Test(coherence, an_atomic_finds_what_the_owner_stored)
{
    struct peer *owner = &peers[0], *adder = &peers[1];
    uint64_t five = 5, six = 6;

    start(1, 60 * NS_PER_S);
    attach(owner);
    fetch(owner, OP_MEM_RD_ANY, 0);
    begin(adder);
    memcpy(add(adder, OP_CAS, 3, 0, 0, 64), &five, sizeof(five));
    memcpy(adder->at - sizeof(struct wire_word), &six, sizeof(six));
    send_request(adder);
    await_snoop(owner, BI_SNP_INV, 0);
    begin(owner);
    memcpy(add(owner, OP_MEM_WR, 0, 1, owner->agent, 64), &five, sizeof(five));
    add_answer(owner, &owner->snoop, BI_STATE_INVALID);
    ask(owner, STATUS_OK);
    cr_expect_eq(await_answer(adder, STATUS_OK)[0], 5);
    cr_expect_eq(fetch(owner, OP_MEM_RD_SHARED, 0)[64], 6);
}

Test(coherence, an_owner_changes)
{
    struct peer *first = &peers[0], *second = &peers[1];

    start(1, 60 * NS_PER_S);
    attach(first);
    attach(second);
    cr_assert_neq(first->agent, second->agent);
    fetch(first, OP_MEM_RD_ANY, 0);
    begin(second);
    add(second, OP_MEM_RD_ANY, 0, PAGE_LINES, second->agent, 0);
    send_request(second);
    await_snoop(first, BI_SNP_INV, 0);
    begin(first);
    memset(add(first, OP_MEM_WR, 0, PAGE_LINES, first->agent, 0), 3, PAGE_BYTES);
    add_answer(first, &first->snoop, BI_STATE_INVALID);
    ask(first, STATUS_OK);
    cr_expect_eq(await_answer(second, STATUS_OK)[PAGE_BYTES - 1], 3);
    begin(first);
    add(first, OP_MEM_WR, 0, 1, first->agent, 0);
    ask(first, STATUS_FENCED);
    begin(second);
    add(second, OP_MEM_WR, 0, 1, second->agent, 0);
    ask(second, STATUS_OK);
}

/* A write over three pages, two of them others': it stops at each until it is its turn, and goes on from
 * there. */
Test(coherence, an_operation_over_several_pages_waits_at_each)
{
    struct peer *writer = &peers[2];
    const unsigned lines = PAGE_LINES + 2;

    start(1, 60 * NS_PER_S);
    for (unsigned i = 0; i < 2; i++) {
        attach(&peers[i]);
        fetch(&peers[i], i == 0 ? OP_MEM_RD_ANY : OP_MEM_RD_SHARED, i * 2 * PAGE_BYTES);
    }
    begin(writer);
    memset(add(writer, OP_MEM_WR, 0, lines, 0, PAGE_BYTES - LINE_BYTES), 8, lines * LINE_BYTES);
    add(writer, OP_MEM_RD, 0, 1, 0, 2 * PAGE_BYTES);
    send_request(writer);
    await_snoop(&peers[0], BI_SNP_INV, 0);
    cr_expect_not(receive(&peers[1], 30), "one page after the other");
    answer_snoop(&peers[0], BI_STATE_INVALID);
    await_snoop(&peers[1], BI_SNP_INV, 2 * PAGE_BYTES);
    check_pending(writer);
    answer_snoop(&peers[1], BI_STATE_INVALID);
    cr_expect_eq(await_answer(writer, STATUS_OK)[0], 8);
    begin(writer);
    add(writer, OP_MEM_RD, 0, lines, 0, PAGE_BYTES - LINE_BYTES);
    memset(peers[1].request, 8, lines * LINE_BYTES);
    cr_expect_eq(memcmp(ask(writer, STATUS_OK), peers[1].request, lines * LINE_BYTES), 0);
}

Test(coherence, who_evicted_is_not_asked)
{
    start(1, 60 * NS_PER_S);
    attach(&peers[0]);
    fetch(&peers[0], OP_MEM_RD_ANY, 0);
    begin(&peers[0]);
    add(&peers[0], OP_MEM_WR, 0, 1, peers[0].agent, 0);
    add(&peers[0], OP_MEM_CLN_EVCT, 0, 0, peers[0].agent, 0);
    ask(&peers[0], STATUS_OK);
    begin(&peers[1]);
    add(&peers[1], OP_MEM_WR, 0, 1, 0, 0);
    ask(&peers[1], STATUS_OK);
}

/* ---- snoops that get lost, or are answered twice ---- */

Test(coherence, a_snoop_is_repeated_until_it_is_answered)
{
    uint16_t id;

    start(1, 60 * NS_PER_S);
    attach(&peers[0]);
    fetch(&peers[0], OP_MEM_RD_SHARED, 0);
    begin(&peers[1]);
    add(&peers[1], OP_MEM_WR, 0, 1, 0, 0);
    send_request(&peers[1]);
    await_snoop(&peers[0], BI_SNP_INV, 0);
    id = le16_get(peers[0].snoop.id);
    for (int i = 0; i < 3; i++) {
        await_snoop(&peers[0], BI_SNP_INV, 0);
        cr_assert_eq(le16_get(peers[0].snoop.id), id);
    }
    answer_snoop(&peers[0], BI_STATE_INVALID);
    await_answer(&peers[1], STATUS_OK);
    while (receive(&peers[0], 150)) /* one may have been on its way */
        cr_assert_eq(header_of(&peers[0])->kind, BODY_BISNP);
}

/* Takes what comes until the page is snooped; how often page 0 was meanwhile. */
static unsigned await_among_others(struct peer *peer, uint64_t page)
{
    unsigned repeats = 0;

    for (bool found = false; !found;) {
        cr_assert(receive(peer, PATIENCE_MS), "no snoop of page %llu", (unsigned long long)page);
        for (unsigned i = 0; i < le16_get(header_of(peer)->op_count); i++) {
            struct wire_bi_snp snoop;

            memcpy(&snoop, peer->got + BODY_HEADER_BYTES + i * sizeof(snoop), sizeof(snoop));
            found |= le64_get(snoop.offset) == page * PAGE_BYTES;
            repeats += snoop.offset.raw == 0;
        }
    }
    return repeats;
}

Test(coherence, new_snoops_do_not_put_off_the_repeat_of_a_lost_one)
{
    uint64_t start_ns, pauses;
    unsigned repeats = 0;

    start(1, 60 * NS_PER_S);
    attach(&peers[0]);
    for (uint64_t page = 0; page <= 90; page++)
        fetch(&peers[0], OP_MEM_RD_SHARED, page * PAGE_BYTES);
    start_ns = clock_now_ns();
    for (uint64_t page = 0; page <= 90; page++) {
        struct peer *writer = &peers[1 + page % 3];

        begin(writer);
        add(writer, OP_MEM_WR, 0, 1, 0, page * PAGE_BYTES);
        send_request(writer);
        repeats += await_among_others(&peers[0], page);
        usleep(2000);
    }
    pauses = least(90, (clock_now_ns() - start_ns) / (5 * NS_PER_MS)); /* as many repeats, or nearly */
    cr_expect_gt(repeats, pauses / 4, "%u repeats in %llu pauses", repeats, (unsigned long long)pauses);
}

Test(coherence, an_answer_nobody_waits_for_does_nothing)
{
    struct wire_bi_snp old;

    start(1, 60 * NS_PER_S);
    attach(&peers[0]);
    fetch(&peers[0], OP_MEM_RD_SHARED, 0);
    begin(&peers[1]);
    add(&peers[1], OP_MEM_WR, 0, 1, 0, 0);
    send_request(&peers[1]);
    await_snoop(&peers[0], BI_SNP_INV, 0);
    old = peers[0].snoop;
    answer_snoop(&peers[0], BI_STATE_ASK);
    answer_snoop(&peers[0], BI_STATE_INVALID);
    await_answer(&peers[1], STATUS_OK);
    fetch(&peers[0], OP_MEM_RD_ANY, 0);
    begin(&peers[0]);
    add_answer(&peers[0], &old, BI_STATE_ASK);
    memset(add(&peers[0], OP_MEM_WR, 0, 1, peers[0].agent, 0), 9, LINE_BYTES);
    ask(&peers[0], STATUS_FENCED); /* lines behind the question stay out, though it owns the page anew */
    begin(&peers[0]);
    add_answer(&peers[0], &old, BI_STATE_INVALID); /* the same again, for a page it has since got back */
    ask(&peers[0], STATUS_OK);
    begin(&peers[0]);
    add(&peers[0], OP_MEM_WR, 0, 1, peers[0].agent, 0);
    ask(&peers[0], STATUS_OK); /* it still owns it */
}

Test(coherence, a_repeated_request_waits_once)
{
    start(1, 60 * NS_PER_S);
    attach(&peers[0]);
    fetch(&peers[0], OP_MEM_RD_ANY, 0);
    begin(&peers[1]);
    *add(&peers[1], OP_FETCH_ADD, 3, 0, 0, 0) = 1;
    send_request(&peers[1]);
    for (int i = 0; i < 5; i++)
        check_pending(&peers[1]);
    await_snoop(&peers[0], BI_SNP_INV, 0);
    answer_snoop(&peers[0], BI_STATE_INVALID);
    cr_expect_eq(await_answer(&peers[1], STATUS_OK)[0], 0);
    repeat(&peers[1]);
    cr_expect_eq(await_answer(&peers[1], STATUS_OK)[0], 0);
    begin(&peers[1]);
    add(&peers[1], OP_MEM_RD, 0, 1, 0, 0);
    cr_expect_eq(ask(&peers[1], STATUS_OK)[0], 1, "added once");
}

/* Malformed by a correct peer's standard, but of no harm to anybody. */
Test(coherence, nonsense_about_agents_is_refused)
{
    struct wire_bi_rsp answer = {.state = 3}, question = {.state = BI_STATE_ASK};

    start(1, 60 * NS_PER_S);
    attach(&peers[0]);
    begin(&peers[0]);
    add(&peers[0], OP_MEM_RD_SHARED, 0, 1, peers[0].agent ^ 0x10000, 0);
    ask(&peers[0], STATUS_FENCED);
    begin(&peers[0]);
    add(&peers[0], OP_MEM_RD_ANY, 0, 1, 0xffffffff, 0);
    ask(&peers[0], STATUS_FENCED);
    begin(&peers[0]);
    add(&peers[0], OP_BI_ATTACH, 0, 0, 77, 0);
    ask(&peers[0], STATUS_FENCED);
    begin(&peers[0]);
    add(&peers[0], OP_BI_ATTACH, 0, 0, 0, 64);
    ask(&peers[0], STATUS_INVAL);
    begin(&peers[0]);
    add(&peers[0], OP_MEM_CLN_EVCT, 0, 0, peers[0].agent, 64);
    ask(&peers[0], STATUS_INVAL);
    begin(&peers[0]);
    add(&peers[0], OP_MEM_CLN_EVCT, 0, 0, peers[0].agent, 1 << 20);
    ask(&peers[0], STATUS_RANGE);
    begin(&peers[0]);
    memcpy(add(&peers[0], OP_BI_RSP, 0, 0, peers[0].agent, 0), &answer, sizeof(answer));
    ask(&peers[0], STATUS_INVAL);
    begin(&peers[0]);
    memcpy(add(&peers[0], OP_BI_RSP, 0, 0, peers[0].agent, 0), &question, sizeof(question));
    ask(&peers[0], STATUS_FENCED);
    begin(&peers[0]);
    add(&peers[0], OP_MEM_RD_SHARED, 0, PAGE_LINES, peers[0].agent, (1 << 20) - LINE_BYTES);
    ask(&peers[0], STATUS_RANGE);
}

/* ---- what may be done to a region that is mapped ---- */

static void control(struct peer *peer, enum opcode opcode, uint64_t offset, uint8_t status)
{
    struct wire_region_spec spec = {.name = "clone"};
    uint8_t *operand;

    begin(peer);
    operand = add(peer, opcode, 0, 0, 0, offset);
    if (opcode == OP_REGION_CLONE)
        memcpy(operand, &spec, sizeof(spec));
    ask(peer, status);
}

static void detach(struct peer *peer, uint8_t status)
{
    begin(peer);
    add(peer, OP_BI_DETACH, 0, 0, peer->agent, 0);
    ask(peer, status);
}

Test(coherence, a_mapped_region_is_not_cloned_grown_or_sealed)
{
    start(1, 60 * NS_PER_S);
    attach(&peers[0]);
    fetch(&peers[0], OP_MEM_RD_ANY, 0);
    control(&peers[1], OP_REGION_CLONE, 0, STATUS_BUSY);
    control(&peers[1], OP_REGION_GROW, 2 << 20, STATUS_BUSY);
    control(&peers[1], OP_REGION_SEAL, 0, STATUS_BUSY);
    detach(&peers[0], STATUS_OK);
    detach(&peers[0], STATUS_FENCED);
    control(&peers[1], OP_REGION_CLONE, 0, STATUS_OK);
    control(&peers[1], OP_REGION_GROW, 2 << 20, STATUS_OK);
    attach(&peers[0]);
    fetch(&peers[0], OP_MEM_RD_ANY, (2 << 20) - PAGE_BYTES); /* the directory has grown too */
    detach(&peers[0], STATUS_OK);
    control(&peers[1], OP_REGION_SEAL, 0, STATUS_OK);
    begin(&peers[0]);
    add(&peers[0], OP_BI_ATTACH, 0, 0, 0, 0);
    ask(&peers[0], STATUS_ACCESS);
}

Test(coherence, only_shared_regions_have_agents)
{
    struct cxe_region *private;
    struct cxe_region_info info;
    uint64_t shared;

    start(1, 60 * NS_PER_S);
    cr_assert_eq(cxe_region_create(connection, "private", 1 << 20, 0, &private), 0);
    cr_assert_eq(cxe_region_stat(private, &info), 0);
    shared = handle;
    handle = info.handle;
    begin(&peers[0]);
    add(&peers[0], OP_BI_ATTACH, 0, 0, 0, 0);
    ask(&peers[0], STATUS_ACCESS);
    begin(&peers[0]);
    add(&peers[0], OP_MEM_RD_SHARED, 0, 1, 1, 0);
    ask(&peers[0], STATUS_FENCED);
    handle = shared ^ 1ull << 40;
    begin(&peers[0]);
    add(&peers[0], OP_BI_ATTACH, 0, 0, 0, 0);
    ask(&peers[0], STATUS_STALE);
    cxe_region_close(private);
}

static void await_gone(struct peer *peer)
{
    await_snoop(peer, BI_SNP_GONE, 0);
    cr_assert_eq(le16_get(peer->snoop.id), 0);
}

Test(coherence, a_deleted_region_says_so_to_all)
{
    start(2, 60 * NS_PER_S);
    attach(&peers[0]);
    fetch(&peers[0], OP_MEM_RD_ANY, 0);
    begin(&peers[1]);
    add(&peers[1], OP_MEM_WR, 0, 1, 0, 0);
    send_request(&peers[1]);
    await_snoop(&peers[0], BI_SNP_INV, 0);
    control(&peers[2], OP_REGION_DELETE, 0, STATUS_OK);
    await_answer(&peers[1], STATUS_STALE);
    await_gone(&peers[0]);
    begin(&peers[0]);
    add(&peers[0], OP_MEM_WR, 0, 1, peers[0].agent, 0);
    ask(&peers[0], STATUS_STALE);
}

/* ---- leases ---- */

/* Of all workers. */
#define SUM_OF(counter) sum_at(offsetof(struct worker_counters, counter))

static uint64_t sum_at(size_t offset)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < server.worker_count; i++) {
        const char *counters = (const char *)worker_counters(server.workers[i]);

        sum += __atomic_load_n((const uint64_t *)(counters + offset), __ATOMIC_RELAXED);
    }
    return sum;
}

static uint64_t fenced(void)
{
    return SUM_OF(fenced_agents);
}

Test(coherence, a_silent_owner_is_fenced_and_its_late_write_back_refused)
{
    struct peer *owner = &peers[0], *writer = &peers[1];
    uint64_t since_ns;

    start(1, 2 * NS_PER_S); /* a machine may be slow */
    since_ns = clock_now_ns();
    attach(owner);
    fetch(owner, OP_MEM_RD_ANY, 0);
    begin(writer);
    memset(add(writer, OP_MEM_WR, 0, 1, 0, 0), 4, LINE_BYTES);
    ask(writer, STATUS_OK);
    cr_expect_geq(clock_now_ns() - since_ns, server.lease_ns, "an owner was robbed within its lease");
    cr_expect_eq(fenced(), 1);
    begin(owner);
    memset(add(owner, OP_MEM_WR, 0, 1, owner->agent, 0), 5, LINE_BYTES);
    ask(owner, STATUS_FENCED);
    begin(writer);
    add(writer, OP_MEM_RD, 0, 1, 0, 0);
    cr_expect_eq(ask(writer, STATUS_OK)[0], 4);
}

Test(coherence, who_is_fenced_is_told)
{
    start(1, 2 * NS_PER_S); /* a machine may be slow */
    attach(&peers[0]);
    await_gone(&peers[0]);
    attach(&peers[0]); /* anew */
    fetch(&peers[0], OP_MEM_RD_ANY, 0);
}

/* Any word of the listening session renews the lease. */
Test(coherence, who_is_heard_is_not_fenced)
{
    struct body_header ping = {.kind = BODY_PING};
    uint64_t start_ns;

    start(1, 2 * NS_PER_S);
    attach(&peers[0]);
    attach(&peers[1]);
    start_ns = clock_now_ns();
    while (clock_now_ns() - start_ns < 5 * NS_PER_S) {
        uint64_t before_ns = clock_now_ns();

        raw_send_body(&peers[0].raw, &ping, sizeof(ping));
        begin(&peers[1]);
        add(&peers[1], OP_BI_ATTACH, 0, 0, peers[1].agent, 0);
        ask(&peers[1], STATUS_OK);
        receive(&peers[0], 100);
        if (clock_now_ns() - before_ns > NS_PER_S)
            cr_skip_test("this machine stops for longer than half a lease");
    }
    cr_expect_eq(fenced(), 0);
}

/* The session that listens is lost; another one, perhaps of another worker, takes over, and hears the snoops
 * that are open. */
Test(coherence, an_agent_moves_to_another_session)
{
    start(2, 60 * NS_PER_S);
    for (unsigned i = 1; i < 4; i++) {
        struct peer *old = &peers[0], *new = &peers[i];

        if (i == 1)
            attach(old);
        fetch(old, OP_MEM_RD_ANY, i * PAGE_BYTES);
        begin(&peers[0]);
        new->agent = old->agent;
        begin(new);
        add(new, OP_BI_ATTACH, 0, 0, new->agent, 0);
        ask(new, STATUS_OK);
        begin(old);
        add(old, OP_MEM_WR, 0, 1, 0, i * PAGE_BYTES); /* any session may ask for it, even the old one */
        send_request(old);
        await_snoop(new, BI_SNP_INV, i * PAGE_BYTES);
        answer_snoop(new, BI_STATE_INVALID);
        await_answer(old, STATUS_OK);
    }
}

Test(coherence, an_open_snoop_follows_the_agent)
{
    start(2, 60 * NS_PER_S);
    attach(&peers[0]);
    fetch(&peers[0], OP_MEM_RD_ANY, 0);
    begin(&peers[1]);
    add(&peers[1], OP_MEM_WR, 0, 1, 0, 0);
    send_request(&peers[1]);
    await_snoop(&peers[0], BI_SNP_INV, 0);
    for (unsigned i = 2; i < 4; i++) {
        peers[i].agent = peers[0].agent;
        begin(&peers[i]);
        add(&peers[i], OP_BI_ATTACH, 0, 0, peers[i].agent, 0);
        ask(&peers[i], STATUS_OK);
        await_snoop(&peers[i], BI_SNP_INV, 0);
    }
    answer_snoop(&peers[3], BI_STATE_INVALID);
    await_answer(&peers[1], STATUS_OK);
}

/* ---- waiting ---- */

/* Asks to wait until the u64 at `offset` is not `expected`. */
static void send_wait(struct peer *peer, uint64_t offset, uint64_t expected, uint64_t timeout_ns)
{
    struct wire_wait wait = {.timeout_ns = le64_of(timeout_ns)};

    memcpy(wait.expected.bytes, &expected, sizeof(expected));
    begin(peer);
    memcpy(add(peer, OP_WAIT, 3, 0, 0, offset), &wait, sizeof(wait));
    send_request(peer);
}

static void put(struct peer *peer, uint64_t offset, uint64_t value)
{
    begin(peer);
    memcpy(add(peer, OP_SWAP, 3, 0, 0, offset), &value, sizeof(value));
    ask(peer, STATUS_OK);
}

static uint64_t u64_of(const uint8_t *values)
{
    uint64_t value;

    memcpy(&value, values, sizeof(value));
    return value;
}

Test(coherence, a_wait_ends_when_another_session_stores)
{
    start(2, 60 * NS_PER_S);
    for (uint64_t i = 0; i < 3; i++) { /* the sessions are of both workers, most likely */
        send_wait(&peers[0], 72, i, 3600 * NS_PER_S);
        send_wait(&peers[1], 72, i, 3600 * NS_PER_S);
        check_pending(&peers[0]);
        check_pending(&peers[1]);
        put(&peers[2], 64, 99); /* the same line, another word: they look and wait on */
        check_pending(&peers[0]);
        put(&peers[2 + i % 2], 72, i + 1);
        cr_expect_eq(u64_of(await_answer(&peers[0], STATUS_OK)), i + 1);
        cr_expect_eq(u64_of(await_answer(&peers[1], STATUS_OK)), i + 1);
    }
}

Test(coherence, a_wait_does_not_outlast_its_deadline)
{
    uint64_t start_ns;

    start(1, 60 * NS_PER_S);
    start_ns = clock_now_ns();
    send_wait(&peers[0], 0, 0, 100 * NS_PER_MS);
    cr_expect_eq(u64_of(await_answer(&peers[0], STATUS_OK)), 0);
    cr_expect_geq(clock_now_ns() - start_ns, 100 * NS_PER_MS);
    send_wait(&peers[0], 0, 0, 0);
    cr_expect_eq(u64_of(await_answer(&peers[0], STATUS_OK)), 0);
    send_wait(&peers[0], 0, 1, UINT64_MAX);
    cr_expect_eq(u64_of(await_answer(&peers[0], STATUS_OK)), 0, "it differs already");
}

Test(coherence, a_wait_ends_with_its_region)
{
    start(2, 60 * NS_PER_S);
    send_wait(&peers[0], 0, 0, UINT64_MAX);
    send_wait(&peers[1], PAGE_BYTES, 0, UINT64_MAX);
    check_pending(&peers[0]);
    check_pending(&peers[1]);
    control(&peers[2], OP_REGION_DELETE, 0, STATUS_OK);
    await_answer(&peers[0], STATUS_STALE);
    await_answer(&peers[1], STATUS_STALE);
}

Test(coherence, a_malformed_wait_is_refused)
{
    struct wire_wait wait = {.reserved = le64_of(1)};

    start(1, 60 * NS_PER_S);
    begin(&peers[0]);
    memcpy(add(&peers[0], OP_WAIT, 3, 0, 0, 0), &wait, sizeof(wait));
    ask(&peers[0], STATUS_INVAL);
    send_wait(&peers[0], 4, 0, 0);
    await_answer(&peers[0], STATUS_INVAL);
    send_wait(&peers[0], 1 << 20, 0, 0);
    await_answer(&peers[0], STATUS_RANGE);
    begin(&peers[0]);
    memset(add(&peers[0], OP_WAIT, 2, 0, 0, 0), 1, 8); /* an expected value that no such word has */
    ask(&peers[0], STATUS_INVAL);
}

/* Stores to a mapped copy are seen by its owner alone, until somebody looks. */
Test(coherence, a_wait_sees_what_an_owner_stores)
{
    struct peer *owner = &peers[0], *waiter = &peers[1];
    uint64_t value = 11;

    start(2, 60 * NS_PER_S);
    attach(owner);
    send_wait(waiter, 8, 0, UINT64_MAX);
    check_pending(waiter);
    fetch(owner, OP_MEM_RD_ANY, 0);
    await_snoop(owner, BI_SNP_DATA, 0); /* nobody else has asked for anything */
    begin(owner);
    memcpy(add(owner, OP_MEM_WR, 0, 1, owner->agent, 0) + 8, &value, sizeof(value));
    add_answer(owner, &owner->snoop, BI_STATE_SHARED);
    ask(owner, STATUS_OK);
    cr_expect_eq(u64_of(await_answer(waiter, STATUS_OK)), 11);
}

/* Operations behind a WAIT are done when it is over, once. */
Test(coherence, what_follows_a_wait_happens_after_it)
{
    struct wire_wait wait = {.timeout_ns = le64_of(UINT64_MAX)};

    start(1, 60 * NS_PER_S);
    begin(&peers[0]);
    *add(&peers[0], OP_FETCH_ADD, 3, 0, 0, 0) = 1;
    memcpy(add(&peers[0], OP_WAIT, 3, 0, 0, 64), &wait, sizeof(wait));
    *add(&peers[0], OP_FETCH_ADD, 3, 0, 0, 0) = 1;
    send_request(&peers[0]);
    check_pending(&peers[0]);
    begin(&peers[1]);
    add(&peers[1], OP_MEM_RD, 0, 1, 0, 0);
    cr_expect_eq(ask(&peers[1], STATUS_OK)[0], 1, "what stands in front of it is done");
    put(&peers[1], 64, 7);
    cr_expect_eq(u64_of(await_answer(&peers[0], STATUS_OK)), 0);
    cr_expect_eq(u64_of(peers[0].got + BODY_HEADER_BYTES + 16), 7);
    cr_expect_eq(u64_of(peers[0].got + BODY_HEADER_BYTES + 32), 1);
    repeat(&peers[0]);
    cr_expect_eq(u64_of(await_answer(&peers[0], STATUS_OK) + 32), 1, "remembered, not done again");
}

static uint64_t parked(void)
{
    return SUM_OF(parked);
}

/* A session that ends takes what waits for it along; others in the same queue go on. */
Test(coherence, a_request_that_waits_ends_with_its_session)
{
    struct body_header bye = {.kind = BODY_CLOSE};
    uint64_t start_ns = clock_now_ns();

    start(2, 60 * NS_PER_S);
    attach(&peers[0]);
    fetch(&peers[0], OP_MEM_RD_ANY, 0);
    for (unsigned i = 1; i < 3; i++) { /* both wait for the page, in this order */
        begin(&peers[i]);
        memset(add(&peers[i], OP_MEM_WR, 0, 1, 0, 0), (int)i, LINE_BYTES);
        send_request(&peers[i]);
        check_pending(&peers[i]);
    }
    send_wait(&peers[3], PAGE_BYTES, 0, UINT64_MAX);
    check_pending(&peers[3]);
    cr_expect_eq(parked(), 3);
    raw_send_body(&peers[1].raw, &bye, sizeof(bye));
    raw_send_body(&peers[3].raw, &bye, sizeof(bye));
    while (parked() > 1)
        cr_assert_lt(clock_now_ns() - start_ns, PATIENCE_MS * NS_PER_MS);
    await_snoop(&peers[0], BI_SNP_INV, 0);
    answer_snoop(&peers[0], BI_STATE_INVALID);
    await_answer(&peers[2], STATUS_OK);
    begin(&peers[0]);
    add(&peers[0], OP_MEM_RD, 0, 1, 0, 0);
    cr_expect_eq(ask(&peers[0], STATUS_OK)[0], 2);
    cr_expect_eq(parked(), 0);
}

/* A repeat of a read has to wait although the first was done; the client got that first answer and went on.
 */
Test(coherence, a_repeat_that_nobody_wants_any_more_gives_way)
{
    struct peer *reader = &peers[1];
    uint8_t first[BODY_HEADER_BYTES + OP_HEADER_BYTES];

    start(1, 60 * NS_PER_S);
    attach(&peers[0]);
    begin(reader);
    add(reader, OP_MEM_RD, 0, 1, 0, 0);
    ask(reader, STATUS_OK);
    memcpy(first, reader->request, sizeof(first));
    fetch(&peers[0], OP_MEM_RD_ANY, 0);
    raw_send_body(&reader->raw, first, sizeof(first)); /* the repeat waits for the owner */
    await_snoop(&peers[0], BI_SNP_DATA, 0);
    for (unsigned i = 0; i < SESSION_SLOTS; i++) { /* the last of them uses the same slot */
        begin(reader);
        add(reader, OP_MEM_RD, 0, 1, 0, PAGE_BYTES);
        ask(reader, STATUS_OK);
    }
    cr_expect_eq(parked(), 0);
    answer_snoop(&peers[0], BI_STATE_SHARED);
    while (receive(reader, 50))
        cr_assert_neq(header_of(reader)->kind, BODY_RESPONSE, "an answer nobody asked for");
}

/* Nothing is left of coherence some time after the last agent went. */
Test(coherence, a_region_nobody_maps_any_more_rests)
{
    uint64_t start_ns;

    start(1, 60 * NS_PER_S);
    attach(&peers[0]);
    fetch(&peers[0], OP_MEM_RD_ANY, 0);
    detach(&peers[0], STATUS_OK);
    start_ns = clock_now_ns();
    for (;;) {
        struct regions_coherence_info info;

        regions_get_coherence(server.core.regions, QUIESCE_NO_WORKER, &info);
        if (info.regions == 0)
            break;
        cr_assert_lt(clock_now_ns() - start_ns, 60 * NS_PER_S);
        usleep(10000);
    }
    put(&peers[1], 0, 5);
    attach(&peers[0]);
    cr_expect_eq(fetch(&peers[0], OP_MEM_RD_SHARED, 0)[0], 5);
}
