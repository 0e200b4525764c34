/* test_hostile.c - peers that break the rules: the server rejects, counts, ends that session only, and stays
 * well */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "codec.h"
#include "raw_peer.h"

#define SILENCE_MS 30

static struct server server;
static struct cxe_connection *witness; /* an honest client, which must notice nothing */
static struct cxe_region *region;
static uint64_t handle;

static void set_up(void)
{
    server_start(&server);
    witness = server_connect(&server, NULL, CXE_ENCRYPTION_DEFAULT);
    region = server_region(witness, &handle);
}

static void tear_down(void)
{
    uint8_t line[LINE_BYTES];

    cr_assert_eq(cxe_read(region, 0, line, sizeof(line)), 0, "the honest client suffered: %s",
                 cxe_last_error());
    cxe_region_close(region);
    cr_assert_eq(cxe_disconnect(witness), 0);
    server_stop(&server);
}

TestSuite(hostile, .init = set_up, .fini = tear_down, .timeout = 60);

static uint64_t counter(size_t offset)
{
    return *(const uint64_t *)((const uint8_t *)worker_counters(server.worker) + offset);
}
#define COUNTER(name) counter(offsetof(struct worker_counters, name))

/* The server sends a CLOSE and then knows nothing of the session. */
static void assert_ended(struct raw_peer *peer)
{
    uint8_t body[FRAME_BYTES_MAX];
    struct body_header ping = {.kind = BODY_PING};
    size_t bytes;

    while ((bytes = raw_receive_body(peer, body, sizeof(body), 1000)) > 0 && body[0] != BODY_CLOSE)
        ;
    cr_assert_gt(bytes, 0, "no CLOSE");
    raw_send_body(peer, &ping, sizeof(ping));
    cr_assert_eq(raw_receive(peer, body, sizeof(body), SILENCE_MS), 0, "the session still answers");
}

/* ---- before there is a session ---- */

Test(hostile, random_bytes_get_no_answer)
{
    struct raw_peer peer;
    uint8_t frame[1500], answer[FRAME_BYTES_MAX];
    unsigned seed = (unsigned)time(NULL);

    fprintf(stderr, "seed %u\n", seed);
    srandom(seed);
    raw_open(&peer, &server);
    for (int i = 0; i < 2000; i++) {
        size_t bytes = 1 + (size_t)random() % sizeof(frame);

        for (size_t j = 0; j < bytes; j++)
            frame[j] = (uint8_t)random();
        raw_send(&peer, frame, bytes);
    }
    cr_assert_eq(raw_receive(&peer, answer, sizeof(answer), SILENCE_MS), 0);
    raw_close(&peer);
}

Test(hostile, probes_of_other_protocols_get_no_answer)
{
    static const char *const probes[] = {"GET / HTTP/1.1\r\n\r\n",
                                         "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
                                         "\x03\x00\x00\x13\x0e\xe0", "\x00"};
    struct raw_peer peer;
    uint8_t answer[FRAME_BYTES_MAX];

    raw_open(&peer, &server);
    for (size_t i = 0; i < sizeof(probes) / sizeof(probes[0]); i++)
        raw_send(&peer, probes[i], strlen(probes[i]) + 1);
    cr_assert_eq(raw_receive(&peer, answer, sizeof(answer), SILENCE_MS), 0);
    raw_close(&peer);
}

Test(hostile, other_versions_and_types_get_no_answer)
{
    struct raw_peer peer;
    struct record_header header = {.magic = WIRE_MAGIC, .version = WIRE_VERSION};
    uint8_t frame[256] = {0}, answer[FRAME_BYTES_MAX];
    uint64_t refused = COUNTER(refused_header);

    raw_open(&peer, &server);
    for (unsigned type = 0; type < 256; type++) {
        header.type = (uint8_t)type;
        memcpy(frame, &header, sizeof(header));
        raw_send(&peer, frame,
                 sizeof(header)); /* no body: not even a HELLO is answered, for it is too short */
    }
    header.type = RECORD_HELLO;
    for (unsigned version = 0; version < 256; version++) {
        header.version = (uint8_t)version;
        memcpy(frame, &header, sizeof(header));
        if (version != WIRE_VERSION)
            raw_send(&peer, frame, sizeof(frame));
    }
    cr_assert_eq(raw_receive(&peer, answer, sizeof(answer), SILENCE_MS), 0);
    cr_assert_gt(COUNTER(refused_header), refused);
    raw_close(&peer);
}

Test(hostile, an_answer_is_never_longer_than_the_question)
{
    struct raw_peer peer;

    raw_shake_hands(&peer, &server, RECORD_CIPHER_CHACHA20POLY1305);
    cr_assert_leq(peer.resp_bytes, peer.init_bytes);
    raw_close(&peer);
}

Test(hostile, a_replayed_init_makes_no_second_session)
{
    struct raw_peer peer;
    struct body_header ping = {.kind = BODY_PING};
    uint8_t answer[HANDSHAKE_FRAME_BYTES];
    uint64_t handshakes;
    size_t bytes;

    raw_shake_hands(&peer, &server, RECORD_CIPHER_CHACHA20POLY1305);
    handshakes = COUNTER(handshakes);
    for (int i = 0; i < 10; i++) {
        raw_send(&peer, peer.init, peer.init_bytes);
        bytes = raw_receive(&peer, answer, sizeof(answer), 1000);
        cr_assert_eq(bytes, peer.resp_bytes, "unconfirmed: the same answer again");
        cr_assert_arr_eq(answer, peer.resp, bytes);
    }
    raw_send_body(&peer, &ping, sizeof(ping));
    cr_assert_gt(raw_receive_body(&peer, answer, sizeof(answer), 1000), 0);
    raw_send(&peer, peer.init, peer.init_bytes);
    cr_assert_eq(raw_receive(&peer, answer, sizeof(answer), SILENCE_MS), 0, "confirmed: silence");
    cr_assert_eq(COUNTER(handshakes), handshakes);
    raw_close(&peer);
}

Test(hostile, half_open_sessions_are_bounded)
{
    enum { FLOOD = 1500 };
    struct raw_peer *peer = calloc(1, sizeof(*peer));

    for (int i = 0; i < FLOOD; i++) {
        raw_shake_hands(peer, &server, RECORD_CIPHER_CHACHA20POLY1305);
        raw_close(peer);
    }
    cr_assert_leq(COUNTER(sessions), 1024 + 8);
    free(peer);
}

/* ---- sealed frames ---- */

static const enum record_cipher ciphers[] = {RECORD_CIPHER_PLAIN, RECORD_CIPHER_CHACHA20POLY1305};

Test(hostile, every_damaged_byte_is_found_and_nothing_is_applied)
{
    uint8_t body[256], frame[512], damaged[512], line[LINE_BYTES], answer[512];

    for (int c = 0; c < 2; c++) {
        struct raw_peer peer;
        uint8_t *at;
        int frame_bytes;

        raw_shake_hands(&peer, &server, ciphers[c]);
        at = codec_write_op(raw_request(body, 1, 1), OP_MEM_WR, 0, 1, handle, 0);
        memset(at, 0xee, LINE_BYTES);
        at += LINE_BYTES;
        frame_bytes = record_seal(&peer.sealer, body, (size_t)(at - body), frame, 0, NULL);
        for (int i = 0; i < frame_bytes; i++) {
            memcpy(damaged, frame, (size_t)frame_bytes);
            damaged[i] ^= (uint8_t)(1u << (i % 8));
            raw_send(&peer, damaged, (size_t)frame_bytes);
        }
        cr_assert_eq(raw_receive(&peer, answer, sizeof(answer), SILENCE_MS), 0);
        cr_assert_eq(cxe_read(region, 0, line, sizeof(line)), 0);
        for (int i = 0; i < LINE_BYTES; i++)
            cr_assert_neq(line[i], 0xee, "a damaged write was applied");
        raw_close(&peer);
    }
}

Test(hostile, a_replayed_frame_is_refused)
{
    struct raw_peer peer;
    uint8_t body[256], frame[512], answer[512];
    uint64_t one[2] = {1}, replays;
    uint8_t *at;
    int frame_bytes;

    raw_shake_hands(&peer, &server, RECORD_CIPHER_CHACHA20POLY1305);
    at = codec_write_op(raw_request(body, 1, 1), OP_FETCH_ADD, 3, 0, handle, 128);
    memcpy(at, one, sizeof(one));
    frame_bytes = record_seal(&peer.sealer, body, (size_t)(at + sizeof(one) - body), frame, 0, NULL);
    replays = COUNTER(refused_replay);
    for (int i = 0; i < 5; i++)
        raw_send(&peer, frame, (size_t)frame_bytes);
    cr_assert_gt(raw_receive_body(&peer, answer, sizeof(answer), 1000), 0);
    cr_assert_eq(raw_receive(&peer, answer, sizeof(answer), SILENCE_MS), 0);
    cr_assert_eq(COUNTER(refused_replay), replays + 4);
    raw_close(&peer);
}

Test(hostile, a_frame_of_another_session_is_refused)
{
    struct raw_peer peer, other;
    struct body_header ping = {.kind = BODY_PING};
    uint8_t answer[512];

    raw_shake_hands(&peer, &server, RECORD_CIPHER_CHACHA20POLY1305);
    raw_shake_hands(&other, &server, RECORD_CIPHER_CHACHA20POLY1305);
    peer.sealer.receiver = other.sealer.receiver;
    raw_send_body(&peer, &ping, sizeof(ping));
    cr_assert_eq(raw_receive(&peer, answer, sizeof(answer), SILENCE_MS), 0);
    cr_assert_eq(raw_receive(&other, answer, sizeof(answer), SILENCE_MS), 0);
    raw_close(&other);
    raw_close(&peer);
}

/* ---- well sealed, badly meant ---- */

static void write_of_lines(uint8_t *at, unsigned lines, uint64_t offset)
{
    at = codec_write_op(at, OP_MEM_WR, 0, lines, handle, offset);
    memset(at, 0xdd, (size_t)lines * LINE_BYTES);
}

static void nothing_was_written(void)
{
    uint8_t page[4096];

    cr_assert_eq(cxe_read(region, 0, page, sizeof(page)), 0);
    for (size_t i = 0; i < sizeof(page); i++)
        cr_assert_neq(page[i], 0xdd, "part of a refused request was applied");
}

/* Each case is one request that must end the session. */
static void expect_end(void (*make)(uint8_t *body, size_t *body_bytes))
{
    static uint8_t body[FRAME_BYTES_MAX];
    struct raw_peer peer;
    size_t body_bytes = 0;
    uint64_t refused = COUNTER(refused_proto);

    memset(body, 0, sizeof(body));
    raw_shake_hands(&peer, &server, RECORD_CIPHER_CHACHA20POLY1305);
    make(body, &body_bytes);
    raw_send_body(&peer, body, body_bytes);
    assert_ended(&peer);
    cr_assert_eq(COUNTER(refused_proto), refused + 1);
    nothing_was_written();
    raw_close(&peer);
}

#define MUST_END(name, ...)                                                                     \
    static void make_##name(uint8_t *body, size_t *body_bytes){__VA_ARGS__} Test(hostile, name) \
    {                                                                                           \
        expect_end(make_##name);                                                                \
    }

MUST_END(an_unknown_operation_ends_the_session, {
    write_of_lines(raw_request(body, 1, 2), 1, 0);
    body[BODY_HEADER_BYTES + OP_HEADER_BYTES + LINE_BYTES] = 0x7f;
    *body_bytes = BODY_HEADER_BYTES + 2 * OP_HEADER_BYTES + LINE_BYTES;
})
MUST_END(a_reserved_bit_ends_the_session, {
    write_of_lines(raw_request(body, 1, 1), 1, 0);
    body[offsetof(struct body_header, granted)] = 1;
    *body_bytes = BODY_HEADER_BYTES + OP_HEADER_BYTES + LINE_BYTES;
})
MUST_END(an_agent_where_none_belongs_ends_the_session, {
    codec_write_agent_op(raw_request(body, 1, 1), OP_MEM_RD, 0, 1, 1, handle, 0);
    *body_bytes = BODY_HEADER_BYTES + OP_HEADER_BYTES;
})
MUST_END(a_count_beyond_the_frame_ends_the_session, {
    codec_write_op(raw_request(body, 1, 1), OP_MEM_WR, 0, 65535, handle, 0);
    *body_bytes = BODY_HEADER_BYTES + OP_HEADER_BYTES + LINE_BYTES;
})
MUST_END(a_truncated_operation_ends_the_session, {
    write_of_lines(raw_request(body, 1, 2), 1, 0);
    write_of_lines(body + BODY_HEADER_BYTES + OP_HEADER_BYTES + LINE_BYTES, 1, 64);
    *body_bytes = BODY_HEADER_BYTES + 2 * OP_HEADER_BYTES + 2 * LINE_BYTES - 1;
})
MUST_END(trailing_bytes_end_the_session, {
    write_of_lines(raw_request(body, 1, 1), 1, 0);
    *body_bytes = BODY_HEADER_BYTES + OP_HEADER_BYTES + LINE_BYTES + 8;
})
MUST_END(more_answer_than_a_frame_ends_the_session, {
    codec_write_op(raw_request(body, 1, 1), OP_MEM_RD, 0, 1024, handle, 0);
    *body_bytes = BODY_HEADER_BYTES + OP_HEADER_BYTES;
})
MUST_END(more_to_remember_than_a_record_ends_the_session, {
    uint8_t *at = codec_write_op(raw_request(body, 1, 2), OP_MEM_RD, 0, 17, handle, 0);
    write_of_lines(at, 1, 0);
    *body_bytes = BODY_HEADER_BYTES + 2 * OP_HEADER_BYTES + LINE_BYTES;
})
MUST_END(an_answer_sent_to_the_server_ends_the_session, {
    struct body_header header = {.kind = BODY_RESPONSE, .seq = le64_of(1)};
    memcpy(body, &header, sizeof(header));
    *body_bytes = sizeof(header);
})
MUST_END(request_number_zero_ends_the_session, {
    write_of_lines(raw_request(body, 0, 1), 1, 0);
    *body_bytes = BODY_HEADER_BYTES + OP_HEADER_BYTES + LINE_BYTES;
})
MUST_END(a_number_outside_the_window_ends_the_session, {
    write_of_lines(raw_request(body, 1 + SESSION_SLOTS, 1), 1, 0);
    *body_bytes = BODY_HEADER_BYTES + OP_HEADER_BYTES + LINE_BYTES;
})
MUST_END(a_body_of_no_kind_ends_the_session, {
    body[0] = 99;
    *body_bytes = BODY_HEADER_BYTES;
})

Test(hostile, one_number_for_two_requests_ends_the_session)
{
    struct raw_peer peer;
    uint8_t body[256], answer[512];

    raw_shake_hands(&peer, &server, RECORD_CIPHER_CHACHA20POLY1305);
    write_of_lines(raw_request(body, 1, 1), 1, 8192);
    raw_send_body(&peer, body, BODY_HEADER_BYTES + OP_HEADER_BYTES + LINE_BYTES);
    cr_assert_gt(raw_receive_body(&peer, answer, sizeof(answer), 1000), 0);
    write_of_lines(raw_request(body, 1, 1), 1, 0);
    raw_send_body(&peer, body, BODY_HEADER_BYTES + OP_HEADER_BYTES + LINE_BYTES);
    assert_ended(&peer);
    nothing_was_written();
    raw_close(&peer);
}

/* The repeat carries a new record counter, as a retransmission does, so only the slot can tell. */
Test(hostile, a_repeated_addition_is_answered_from_memory)
{
    struct raw_peer peer;
    uint8_t body[256], first[512], again[512];
    uint64_t one[2] = {1}, line[8];
    uint8_t *at;

    raw_shake_hands(&peer, &server, RECORD_CIPHER_CHACHA20POLY1305);
    at = codec_write_op(raw_request(body, 1, 1), OP_FETCH_ADD, 3, 0, handle, 0);
    memcpy(at, one, sizeof(one));
    for (int i = 0; i < 5; i++) {
        raw_send_body(&peer, body, BODY_HEADER_BYTES + OP_HEADER_BYTES + sizeof(one));
        cr_assert_gt(raw_receive_body(&peer, i == 0 ? first : again, sizeof(first), 1000), 0);
        if (i > 0)
            cr_assert_arr_eq(first + BODY_HEADER_BYTES, again + BODY_HEADER_BYTES, 16);
    }
    cr_assert_eq(cxe_read(region, 0, line, sizeof(line)), 0);
    cr_assert_eq(line[0], 1);
    raw_close(&peer);
}

/* Another tenant's region, a guessed one, an old generation: one and the same answer. */
Test(hostile, a_foreign_handle_says_nothing)
{
    static const uint64_t guesses[] = {0, 1, 1ull << 32, UINT64_MAX, 0x500000000ull};
    struct raw_peer peer;
    uint8_t body[256], answer[512];
    uint64_t seq = 1;

    raw_shake_hands(&peer, &server, RECORD_CIPHER_CHACHA20POLY1305);
    for (size_t i = 0; i < sizeof(guesses) / sizeof(guesses[0]); i++) {
        struct body_header header;

        codec_write_op(raw_request(body, seq++, 1), OP_MEM_RD, 0, 1, guesses[i], 0);
        raw_send_body(&peer, body, BODY_HEADER_BYTES + OP_HEADER_BYTES);
        cr_assert_eq(raw_receive_body(&peer, answer, sizeof(answer), 1000), sizeof(header));
        memcpy(&header, answer, sizeof(header));
        cr_assert_eq(header.status, STATUS_STALE);
    }
    raw_close(&peer);
}

Test(hostile, a_client_that_moves_is_followed_and_keeps_its_slots)
{
    struct raw_peer peer, elsewhere;
    uint8_t body[256], answer[512];
    uint64_t one[2] = {1}, line[8];
    uint8_t *at;
    int old_fd;

    raw_shake_hands(&peer, &server, RECORD_CIPHER_CHACHA20POLY1305);
    at = codec_write_op(raw_request(body, 1, 1), OP_FETCH_ADD, 3, 0, handle, 0);
    memcpy(at, one, sizeof(one));
    raw_send_body(&peer, body, BODY_HEADER_BYTES + OP_HEADER_BYTES + sizeof(one));
    cr_assert_gt(raw_receive_body(&peer, answer, sizeof(answer), 1000), 0);
    raw_open(&elsewhere, &server); /* another port: as after NAT rebinding */
    old_fd = peer.fd;
    peer.fd = elsewhere.fd;
    raw_send_body(&peer, body, BODY_HEADER_BYTES + OP_HEADER_BYTES + sizeof(one));
    cr_assert_gt(raw_receive_body(&peer, answer, sizeof(answer), 1000), 0, "not answered at the new address");
    cr_assert_eq(cxe_read(region, 0, line, sizeof(line)), 0);
    cr_assert_eq(line[0], 1, "executed again after the move");
    peer.fd = old_fd;
    raw_close(&elsewhere);
    raw_close(&peer);
}

Test(hostile, an_old_record_does_not_lead_the_answers_astray)
{
    struct raw_peer peer, elsewhere;
    uint8_t body[256], answer[512], late[512];
    struct body_header header;
    size_t late_bytes;

    raw_shake_hands(&peer, &server, RECORD_CIPHER_CHACHA20POLY1305);
    codec_write_op(raw_request(body, 1, 1), OP_MEM_RD, 0, 1, handle, 0);
    late_bytes = raw_seal(&peer, body, BODY_HEADER_BYTES + OP_HEADER_BYTES, late);
    codec_write_op(raw_request(body, 2, 1), OP_MEM_RD, 0, 1, handle, 0);
    raw_send_body(&peer, body, BODY_HEADER_BYTES + OP_HEADER_BYTES);
    cr_assert_gt(raw_receive_body(&peer, answer, sizeof(answer), 10000), 0);
    raw_open(&elsewhere, &server); /* who has caught the first record lets it go now */
    raw_send(&elsewhere, late, late_bytes);
    cr_assert_gt(raw_receive_body(&peer, answer, sizeof(answer), 10000), 0, "the answer went elsewhere");
    memcpy(&header, answer, sizeof(header));
    cr_assert_eq(le64_get(header.seq), 1);
    raw_close(&elsewhere);
    raw_close(&peer);
}

/* A client that asks and never reads: its answers are dropped by its own socket, others are served. */
Test(hostile, a_client_that_never_reads_costs_only_itself)
{
    struct raw_peer peer;
    static uint8_t body[256], page[4096];
    uint64_t seq;

    raw_shake_hands(&peer, &server, RECORD_CIPHER_CHACHA20POLY1305);
    for (int round = 0; round < 200; round++)
        for (seq = 1; seq < SESSION_SLOTS; seq++) {
            codec_write_op(raw_request(body, seq, 1), OP_MEM_RD, 0, 1000, handle, 0);
            raw_send_body(&peer, body, BODY_HEADER_BYTES + OP_HEADER_BYTES);
            if (seq % 8 == 0)
                cr_assert_eq(cxe_read(region, 0, page, sizeof(page)), 0, "%s", cxe_last_error());
        }
    raw_close(&peer);
}
