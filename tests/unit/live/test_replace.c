/* test_replace.c - a session that another one replaces: nothing of it happens afterwards */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "atomic.h"
#include "codec.h"
#include "raw_peer.h"

static struct server server;
static struct cxe_connection *witness;
static struct cxe_region *region;
static uint64_t handle;

static void set_up(void)
{
    struct cxe_region_info info;

    server.worker_count = 2;
    server_start(&server);
    witness = server_connect(&server, NULL, CXE_ENCRYPTION_DEFAULT);
    cr_assert_eq(cxe_region_create(witness, "r", 65536, 0, &region), 0);
    cr_assert_eq(cxe_region_stat(region, &info), 0);
    handle = info.handle;
}

static void tear_down(void)
{
    cxe_region_close(region);
    cr_assert_eq(cxe_disconnect(witness), 0);
    server_stop(&server);
}

TestSuite(replace, .init = set_up, .fini = tear_down, .timeout = 60);

/* What a client offers that gives up the session `old`. */
static struct handshake_offer offer_instead_of(const struct raw_peer *old)
{
    return (struct handshake_offer){
        .client_session = 78,
        .frame_bytes_max = FRAME_BYTES_MAX,
        .cipher_mask = 1u << RECORD_CIPHER_CHACHA20POLY1305,
        .replaces = old->grant.server_session,
        .incarnation = old->grant.incarnation,
    };
}

static uint64_t sum(void)
{
    uint64_t line[8];

    cr_assert_eq(cxe_read(region, 0, line, sizeof(line)), 0, "%s", cxe_last_error());
    return line[0];
}

/* Request 1 of the peer's session, "add 1 to the first word", as it would leave now. */
static size_t seal_addition(struct raw_peer *peer, uint8_t *frame_out)
{
    uint8_t body[BODY_HEADER_BYTES + OP_HEADER_BYTES + 2 * sizeof(uint64_t)];
    uint64_t operand[2] = {1, 0};
    uint8_t *at = codec_write_op(raw_request(body, 1, 1), OP_FETCH_ADD, 3, 0, handle, 0);

    memcpy(at, operand, sizeof(operand));
    return raw_seal(peer, body, sizeof(body), frame_out);
}

/* Everything that the peer sent before has been looked at when this returns. False: its session is unknown.
 */
static bool answers(struct raw_peer *peer)
{
    struct body_header ping = {.kind = BODY_PING};
    uint8_t frame[FRAME_BYTES_MAX];

    raw_send_body(peer, &ping, sizeof(ping));
    return raw_receive(peer, frame, sizeof(frame), 10000) > 0;
}

Test(replace, nothing_of_a_replaced_session_is_executed_later)
{
    struct raw_peer peer;
    struct handshake_offer offer;
    uint8_t late[256];
    size_t late_bytes;

    raw_shake_hands(&peer, &server, RECORD_CIPHER_CHACHA20POLY1305);
    late_bytes = seal_addition(&peer, late); /* and it stays in the network for a while */
    offer = offer_instead_of(&peer);
    raw_offer(&peer, &server, &offer);
    raw_send(&peer, late, late_bytes);
    cr_assert(answers(&peer));
    cr_assert_eq(sum(), 0, "a request of the session that was given up");
    raw_close(&peer);
}

/* A socket of the same client whose handshakes go to the other worker. */
static void open_elsewhere(struct raw_peer *other, const struct raw_peer *peer)
{
    struct handshake_offer offer = offer_instead_of(peer);

    offer.replaces = 0;
    offer.incarnation = 0;
    for (int tries = 0; tries < 200; tries++) {
        raw_open(other, &server);
        other->key = peer->key;
        raw_offer(other, &server, &offer);
        if (other->grant.server_session % 2 != peer->grant.server_session % 2)
            return;
        raw_close(other);
    }
    cr_assert(false, "the kernel gives all to one worker");
}

/* A client that comes back from another address, to another worker. */
Test(replace, nor_of_one_that_another_worker_has)
{
    struct raw_peer peer, other;
    const struct worker_counters *owner;
    struct handshake_offer offer;
    uint64_t refused;
    uint8_t late[256];
    size_t late_bytes;

    raw_shake_hands(&peer, &server, RECORD_CIPHER_CHACHA20POLY1305);
    late_bytes = seal_addition(&peer, late);
    open_elsewhere(&other, &peer);
    offer = offer_instead_of(&peer);
    raw_offer(&other, &server, &offer);
    cr_assert_neq(other.grant.server_session % 2, peer.grant.server_session % 2);
    owner = worker_counters(server.workers[peer.grant.server_session % 2]);
    refused = load_relaxed(&owner->refused_header);
    raw_send(&peer, late, late_bytes);
    for (int waits = 0; load_relaxed(&owner->refused_header) == refused && waits < 10000; waits++)
        usleep(1000);
    cr_assert_gt(load_relaxed(&owner->refused_header), refused, "it knows the session still");
    cr_assert(answers(&other));
    cr_assert_eq(sum(), 0);
    raw_close(&other);
    raw_close(&peer);
}

/* The same where the client keeps its session: without this, the test above could pass for another reason. */
Test(replace, a_session_that_nothing_replaces_goes_on)
{
    struct raw_peer peer, other;
    struct handshake_offer offer;
    uint8_t late[256];
    size_t late_bytes;

    raw_shake_hands(&peer, &server, RECORD_CIPHER_CHACHA20POLY1305);
    late_bytes = seal_addition(&peer, late);
    offer = offer_instead_of(&peer);
    offer.replaces = 0;
    offer.incarnation = 0;
    other = peer;
    raw_offer(&other, &server, &offer);
    raw_send(&peer, late, late_bytes);
    cr_assert_gt(raw_receive(&peer, late, sizeof(late), 10000), 0);
    cr_assert_eq(sum(), 1);
    raw_close(&peer);
}

Test(replace, only_its_own_client_replaces_a_session)
{
    struct raw_peer victim, thief;
    struct handshake_offer offer;

    raw_shake_hands(&victim, &server, RECORD_CIPHER_CHACHA20POLY1305);
    offer = offer_instead_of(&victim);
    for (int i = 0; i < 8; i++) { /* some of them reach the victim's worker */
        raw_open(&thief, &server);
        raw_offer(&thief, &server, &offer);
        raw_close(&thief);
    }
    cr_assert(answers(&victim));
    raw_close(&victim);
}

Test(replace, a_name_given_by_another_server_replaces_nothing)
{
    struct raw_peer peer, other;
    struct handshake_offer offer;

    raw_shake_hands(&peer, &server, RECORD_CIPHER_CHACHA20POLY1305);
    offer = offer_instead_of(&peer);
    offer.incarnation++;
    other = peer;
    raw_offer(&other, &server, &offer);
    cr_assert(answers(&peer), "the server before this one meant another session by that name");
    raw_close(&peer);
}

Test(replace, a_client_that_names_nobody_and_a_server_breaks_the_rules)
{
    struct raw_peer peer;
    struct handshake_offer offer = {
        .client_session = 5,
        .frame_bytes_max = FRAME_BYTES_MAX,
        .cipher_mask = 1u << RECORD_CIPHER_CHACHA20POLY1305,
        .incarnation = 7,
    };
    uint8_t frame[HANDSHAKE_FRAME_BYTES];
    size_t bytes;

    raw_open(&peer, &server);
    handshake_client_init(&peer.handshake, &peer.key, server.key.public, &offer);
    raw_send(&peer, frame, handshake_client_hello(&peer.handshake, frame));
    bytes = raw_receive(&peer, frame, sizeof(frame), 10000);
    bytes = (size_t)handshake_client_cookie(&peer.handshake, frame, bytes, peer.init);
    raw_send(&peer, peer.init, bytes);
    cr_assert_eq(raw_receive(&peer, frame, sizeof(frame), 50), 0);
    raw_close(&peer);
}
