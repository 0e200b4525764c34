/* test_handshake.c - cookie, rate limit, INIT and RESP, and everything they must refuse */
#include "handshake.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "handshake_wire.h"

#define SECOND NS_PER_S

static const uint8_t secret[32] = "a cookie secret, 32 bytes long..";
static const char here[] = "192.0.2.1:7000", elsewhere[] = "192.0.2.1:7001";
static const struct handshake_limits plenty = {.inits_per_second = 1000000, .burst = 1000000};

struct world {
    struct noise_keypair client_keys, server_keys;
    struct handshake_client client;
    struct handshake_server server;
    uint64_t now_ns;
    uint8_t hello[HANDSHAKE_FRAME_BYTES], cookie[HANDSHAKE_FRAME_BYTES];
    uint8_t init[HANDSHAKE_FRAME_BYTES], resp[HANDSHAKE_FRAME_BYTES];
    size_t hello_bytes, cookie_bytes, init_bytes, resp_bytes;
};

static const struct handshake_offer offer = {
    .client_session = 0xC0FFEE,
    .frame_bytes_max = FRAME_BYTES_1500,
    .cipher_mask = 1u << RECORD_CIPHER_CHACHA20POLY1305 | 1u << RECORD_CIPHER_PLAIN,
};

static const struct handshake_grant grant = {
    .server_session = 0x5E55,
    .frame_bytes_max = FRAME_BYTES_MIN,
    .cipher = RECORD_CIPHER_CHACHA20POLY1305,
    .status = STATUS_OK,
    .tenant = 7,
    .incarnation = 0x1122334455667788,
};

static void world_init(struct world *world, const struct handshake_limits *limits)
{
    memset(world, 0, sizeof(*world));
    world->now_ns = 1000 * SECOND;
    noise_keypair_generate(&world->client_keys);
    noise_keypair_generate(&world->server_keys);
    handshake_client_init(&world->client, &world->client_keys, world->server_keys.public, &offer);
    handshake_server_init(&world->server, &world->server_keys, secret, limits);
}

static void say_hello(struct world *world)
{
    int length;

    world->hello_bytes = handshake_client_hello(&world->client, world->hello);
    length = handshake_server_hello(&world->server, world->hello, world->hello_bytes, here, sizeof(here),
                                    world->now_ns, world->cookie);
    cr_assert_gt(length, 0);
    world->cookie_bytes = (size_t)length;
}

static void make_init(struct world *world)
{
    int length;

    say_hello(world);
    length = handshake_client_cookie(&world->client, world->cookie, world->cookie_bytes, world->init);
    cr_assert_gt(length, 0);
    world->init_bytes = (size_t)length;
}

static int open_from(struct world *world, const char *address, struct handshake_claim *claim_out)
{
    return handshake_server_open(&world->server, world->init, world->init_bytes, address, sizeof(here),
                                 world->now_ns, claim_out);
}

static void answer(struct world *world, const struct handshake_grant *with, struct handshake_keys *keys_out)
{
    struct handshake_claim claim;
    int length;

    cr_assert_eq(open_from(world, here, &claim), 0);
    length = handshake_server_resp(&world->server, &claim, with, world->resp, keys_out);
    cr_assert_gt(length, 0);
    world->resp_bytes = (size_t)length;
}

static int hear(struct world *world, struct handshake_grant *grant_out, struct handshake_keys *keys_out)
{
    return handshake_client_resp(&world->client, world->resp, world->resp_bytes, grant_out, keys_out);
}

static void setup(void)
{
    cr_assert_geq(sodium_init(), 0);
}

TestSuite(handshake, .init = setup);

/* ---- the way it should go ---- */

Test(handshake, both_ends_agree)
{
    struct handshake_keys at_client, at_server;
    struct handshake_grant granted;
    struct handshake_claim claim;
    struct world world;

    world_init(&world, &plenty);
    make_init(&world);
    cr_assert_eq(open_from(&world, here, &claim), 0);
    cr_assert_arr_eq(claim.client_public, world.client_keys.public, NOISE_KEY_BYTES);
    cr_assert_eq(claim.offer.client_session, offer.client_session);
    cr_assert_eq(claim.offer.frame_bytes_max, offer.frame_bytes_max);
    cr_assert_eq(claim.offer.cipher_mask, offer.cipher_mask);

    world.resp_bytes = (size_t)handshake_server_resp(&world.server, &claim, &grant, world.resp, &at_server);
    cr_assert_eq(hear(&world, &granted, &at_client), 0);
    cr_assert_eq(granted.server_session, grant.server_session);
    cr_assert_eq(granted.frame_bytes_max, grant.frame_bytes_max);
    cr_assert_eq(granted.cipher, grant.cipher);
    cr_assert_eq(granted.status, STATUS_OK);
    cr_assert_eq(granted.tenant, grant.tenant);
    cr_assert_eq(granted.incarnation, grant.incarnation);
    cr_assert_arr_eq(at_client.send, at_server.receive, RECORD_KEY_BYTES);
    cr_assert_arr_eq(at_client.receive, at_server.send, RECORD_KEY_BYTES);
    cr_assert_arr_neq(at_client.send, at_client.receive, RECORD_KEY_BYTES);
    cr_assert_eq(world.server.hellos, 1);
    cr_assert_eq(world.server.opened, 1);
}

Test(handshake, records_flow_both_ways_and_not_back)
{
    struct handshake_keys keys[2];
    struct record_sealer sealers[2];
    struct record_opener openers[2];
    struct handshake_grant granted;
    uint8_t frame[128], copy[128];
    struct world world;

    world_init(&world, &plenty);
    make_init(&world);
    answer(&world, &grant, &keys[1]);
    cr_assert_eq(hear(&world, &granted, &keys[0]), 0);
    for (int side = 0; side < 2; side++) {
        record_sealer_init(&sealers[side], granted.cipher, keys[side].send, 1, 0);
        record_opener_init(&openers[side], granted.cipher, keys[side].receive);
    }
    for (int side = 0; side < 2; side++) {
        int length = record_seal(&sealers[side], secret, sizeof(secret), frame, 0, NULL);

        memcpy(copy, frame, sizeof(copy));
        cr_assert_lt(record_open(&openers[side], copy, (size_t)length, 0, NULL), 0, "reflected");
        cr_assert_eq(record_open(&openers[!side], frame, (size_t)length, 0, NULL), (int)sizeof(secret));
    }
}

Test(handshake, answers_are_never_longer_than_questions)
{
    struct handshake_keys keys;
    struct world world;

    world_init(&world, &plenty);
    make_init(&world);
    answer(&world, &grant, &keys);
    cr_assert_leq(world.cookie_bytes, world.hello_bytes);
    cr_assert_leq(world.resp_bytes, world.init_bytes);
    cr_assert_leq(world.init_bytes, HANDSHAKE_FRAME_BYTES);
}

Test(handshake, resp_is_addressed_to_the_clients_session)
{
    struct handshake_keys keys;
    struct record_header header;
    struct world world;

    world_init(&world, &plenty);
    make_init(&world);
    answer(&world, &grant, &keys);
    memcpy(&header, world.resp, sizeof(header));
    cr_assert_eq(le32_get(header.receiver), offer.client_session);
}

/* ---- cookies ---- */

Test(handshake, cookie_of_another_address_is_refused)
{
    struct handshake_claim claim;
    struct world world;

    world_init(&world, &plenty);
    make_init(&world);
    cr_assert_eq(open_from(&world, elsewhere, &claim), -EACCES);
    cr_assert_eq(handshake_server_open(&world.server, world.init, world.init_bytes, here, sizeof(here) - 1,
                                       world.now_ns, &claim),
                 -EACCES, "a shorter address is another address");
    cr_assert_eq(world.server.cookies_bad, 2);
    cr_assert_eq(open_from(&world, here, &claim), 0);
}

Test(handshake, cookies_age)
{
    struct handshake_claim claim;
    struct world world;

    for (uint64_t made_at_s = 0; made_at_s < 60; made_at_s += 7) {
        uint64_t made_at_ns;

        world_init(&world, &plenty);
        made_at_ns = world.now_ns += made_at_s * SECOND;
        make_init(&world);
        world.now_ns = made_at_ns + 29 * SECOND;
        cr_assert_eq(open_from(&world, here, &claim), 0, "good for half its life at least");
        world.now_ns = made_at_ns + HANDSHAKE_COOKIE_LIFE_NS;
        cr_assert_eq(open_from(&world, here, &claim), -EACCES, "and for no more than its life");
        world.now_ns = made_at_ns + 365ull * 24 * 3600 * SECOND;
        cr_assert_eq(open_from(&world, here, &claim), -EACCES);
    }
}

Test(handshake, first_minute_of_the_clock_is_as_any_other)
{
    struct handshake_claim claim;
    struct world world;

    world_init(&world, &plenty);
    world.now_ns = 0;
    make_init(&world);
    cr_assert_eq(open_from(&world, here, &claim), 0);
    world.now_ns = HANDSHAKE_COOKIE_LIFE_NS;
    cr_assert_eq(open_from(&world, here, &claim), -EACCES);
}

Test(handshake, made_up_cookie_is_refused_before_any_work)
{
    static const struct handshake_limits one = {.inits_per_second = 0, .burst = 1};
    struct handshake_claim claim;
    struct world world;

    world_init(&world, &one);
    make_init(&world);
    for (size_t byte = 0; byte < HANDSHAKE_NONCE_BYTES + HANDSHAKE_COOKIE_BYTES; byte++) {
        world.init[RECORD_HEADER_BYTES + byte] ^= 1;
        cr_assert_eq(open_from(&world, here, &claim), -EACCES);
        world.init[RECORD_HEADER_BYTES + byte] ^= 1;
    }
    cr_assert_eq(open_from(&world, here, &claim), 0, "bad cookies took no token");
}

Test(handshake, cookies_are_good_at_every_worker_of_a_daemon_and_at_no_other)
{
    static const uint8_t other_secret[32] = "another daemon's, or a restarted";
    struct handshake_server worker, stranger;
    struct handshake_claim claim;
    struct world world;

    world_init(&world, &plenty);
    make_init(&world);
    handshake_server_init(&worker, &world.server_keys, secret, &plenty);
    handshake_server_init(&stranger, &world.server_keys, other_secret, &plenty);
    cr_assert_eq(handshake_server_open(&stranger, world.init, world.init_bytes, here, sizeof(here),
                                       world.now_ns, &claim),
                 -EACCES);
    cr_assert_eq(handshake_server_open(&worker, world.init, world.init_bytes, here, sizeof(here),
                                       world.now_ns, &claim),
                 0);
}

/* ---- rate limit ---- */

Test(handshake, rate_limit_counts_before_public_key_work)
{
    static const struct handshake_limits limits = {.inits_per_second = 2, .burst = 3};
    struct handshake_claim claim;
    struct world world;

    world_init(&world, &limits);
    make_init(&world);
    world.init[world.init_bytes - 1] ^= 1; /* the cookie is good, the Noise message is not */
    for (int i = 0; i < 3; i++)
        cr_assert_eq(open_from(&world, here, &claim), -EBADMSG, "worked on, so it cost a token");
    cr_assert_eq(open_from(&world, here, &claim), -EAGAIN, "not even looked at");
    world.init[world.init_bytes - 1] ^= 1;
    cr_assert_eq(open_from(&world, here, &claim), -EAGAIN);
    cr_assert_eq(world.server.limited, 2);

    world.now_ns += SECOND / 2 - 1;
    cr_assert_eq(open_from(&world, here, &claim), -EAGAIN);
    world.now_ns += 1;
    cr_assert_eq(open_from(&world, here, &claim), 0);
    cr_assert_eq(open_from(&world, here, &claim), -EAGAIN);
}

/* Asked every microsecond or once a second, the rate is the same; a long rest earns no more than the burst.
 */
Test(handshake, tokens_refill_at_the_rate_however_often_asked)
{
    static const struct handshake_limits limits = {.inits_per_second = 700, .burst = 5};
    struct handshake_claim claim;
    struct world world;
    unsigned opened = 0;

    world_init(&world, &limits);
    make_init(&world);
    world.init[world.init_bytes - 1] ^= 1;
    while (open_from(&world, here, &claim) == -EBADMSG)
        ;
    for (int step = 0; step < 100000; step++) { /* a tenth of a second, by the microsecond */
        world.now_ns += NS_PER_US;
        opened += open_from(&world, here, &claim) == -EBADMSG;
    }
    cr_assert_geq(opened, 69);
    cr_assert_leq(opened, 70);

    make_init(&world);
    world.init[world.init_bytes - 1] ^= 1;
    world.now_ns += 20 * SECOND;
    for (opened = 0; open_from(&world, here, &claim) == -EBADMSG;)
        opened++;
    cr_assert_eq(opened, 5);
}

Test(handshake, extreme_limits_do_not_overflow)
{
    static const struct handshake_limits extremes[] = {
        {UINT32_MAX, UINT32_MAX}, {1, UINT32_MAX}, {UINT32_MAX, 1}, {0, 0}, {0, UINT32_MAX}};
    static const uint64_t rests_ns[] = {0, 1, SECOND, UINT32_MAX * SECOND, UINT64_MAX / 2};
    struct handshake_claim claim;
    struct world world;

    for (size_t i = 0; i < sizeof(extremes) / sizeof(extremes[0]); i++) {
        uint64_t full_milli = extremes[i].burst * 1000ull;

        world_init(&world, &extremes[i]);
        for (size_t rest = 0; rest < sizeof(rests_ns) / sizeof(rests_ns[0]); rest++) {
            world.now_ns += rests_ns[rest];
            make_init(&world);
            cr_assert_eq(open_from(&world, here, &claim), extremes[i].burst ? 0 : -EAGAIN);
            cr_assert_leq(world.server.tokens_milli, full_milli);
        }
    }
}

/* ---- repeats ---- */

Test(handshake, a_repeated_init_names_the_same_ephemeral_key)
{
    uint8_t first[NOISE_KEY_BYTES], second[NOISE_KEY_BYTES];
    struct handshake_claim claim;
    struct world world;

    world_init(&world, &plenty);
    make_init(&world);
    cr_assert_eq(handshake_server_peek(world.init, world.init_bytes, first), 0);
    world.now_ns += 45 * SECOND; /* RESP was lost; the cookie is another by now */
    make_init(&world);
    cr_assert_eq(handshake_server_peek(world.init, world.init_bytes, second), 0);
    cr_assert_arr_eq(first, second, sizeof(first));
    cr_assert_eq(open_from(&world, here, &claim), 0);
    cr_assert_arr_eq(claim.client_ephemeral, first, sizeof(first));

    handshake_client_init(&world.client, &world.client_keys, world.server_keys.public, &offer);
    make_init(&world);
    cr_assert_eq(handshake_server_peek(world.init, world.init_bytes, second), 0);
    cr_assert_arr_neq(first, second, sizeof(first));
}

Test(handshake, the_same_resp_serves_every_repeat)
{
    struct handshake_keys at_client, at_server;
    struct handshake_grant granted;
    struct world world;

    world_init(&world, &plenty);
    make_init(&world);
    answer(&world, &grant, &at_server);
    make_init(&world); /* the client repeats; the server remembers its RESP */
    cr_assert_eq(hear(&world, &granted, &at_client), 0);
    cr_assert_arr_eq(at_client.send, at_server.receive, RECORD_KEY_BYTES);
    cr_assert_eq(hear(&world, &granted, &at_client), -EPROTO, "a second copy is ignored");
}

Test(handshake, a_claim_is_answered_once)
{
    struct handshake_keys keys;
    struct handshake_claim claim;
    struct world world;

    world_init(&world, &plenty);
    make_init(&world);
    cr_assert_eq(open_from(&world, here, &claim), 0);
    cr_assert_gt(handshake_server_resp(&world.server, &claim, &grant, world.resp, &keys), 0);
    cr_assert_eq(handshake_server_resp(&world.server, &claim, &grant, world.resp, &keys), -EBADMSG);
}

Test(handshake, frames_out_of_order_are_ignored)
{
    struct handshake_keys keys;
    struct handshake_grant granted;
    struct world world, other;

    world_init(&world, &plenty);
    world_init(&other, &plenty);
    make_init(&other);
    answer(&other, &grant, &keys);

    memcpy(world.resp, other.resp, other.resp_bytes);
    world.resp_bytes = other.resp_bytes;
    cr_assert_eq(hear(&world, &granted, &keys), -EPROTO, "RESP before INIT");
    cr_assert_eq(handshake_client_cookie(&world.client, other.cookie, other.cookie_bytes, world.init),
                 -EPROTO, "the COOKIE of another HELLO");
    make_init(&world);
    cr_assert_eq(hear(&world, &granted, &keys), -EBADMSG, "the RESP of another INIT");
    answer(&world, &grant, &keys);
    cr_assert_eq(hear(&world, &granted, &keys), 0);
    cr_assert_eq(handshake_client_cookie(&world.client, world.cookie, world.cookie_bytes, world.init),
                 -EPROTO, "COOKIE after the end");
}

/* ---- damage ---- */

Test(handshake, every_flipped_bit_of_init_is_refused)
{
    struct handshake_claim claim;
    struct world world;

    world_init(&world, &plenty);
    make_init(&world);
    for (size_t bit = 0; bit < world.init_bytes * 8; bit++) {
        size_t byte = bit / 8;
        int expected = byte < offsetof(struct init_frame, nonce)     ? -EPROTO
                       : byte < offsetof(struct init_frame, message) ? -EACCES
                                                                     : -EBADMSG;

        /* X25519 does not look at the top bit of a public key; the transcript covers it all the same. */
        world.init[byte] ^= (uint8_t)(1u << bit % 8);
        cr_assert_eq(open_from(&world, here, &claim), expected, "bit %zu", bit);
        world.init[byte] ^= (uint8_t)(1u << bit % 8);
    }
    cr_assert_eq(open_from(&world, here, &claim), 0);
}

Test(handshake, every_flipped_bit_of_resp_is_ignored)
{
    struct handshake_keys at_client, at_server;
    struct handshake_grant granted;
    struct world world;

    world_init(&world, &plenty);
    make_init(&world);
    answer(&world, &grant, &at_server);
    for (size_t bit = 0; bit < world.resp_bytes * 8; bit++) {
        world.resp[bit / 8] ^= (uint8_t)(1u << bit % 8);
        cr_assert_eq(hear(&world, &granted, &at_client), bit / 8 < RECORD_HEADER_BYTES ? -EPROTO : -EBADMSG);
        world.resp[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    cr_assert_eq(hear(&world, &granted, &at_client), 0, "and the right one still ends it");
}

Test(handshake, every_other_length_is_refused)
{
    uint8_t room[HANDSHAKE_FRAME_BYTES], ephemeral[NOISE_KEY_BYTES];
    struct handshake_keys keys;
    struct handshake_grant granted;
    struct handshake_claim claim;
    struct world world;

    world_init(&world, &plenty);
    make_init(&world);
    answer(&world, &grant, &keys);
    for (size_t length = 0; length < HANDSHAKE_FRAME_BYTES; length++) {
        if (length != world.hello_bytes)
            cr_assert_eq(handshake_server_hello(&world.server, world.hello, length, here, sizeof(here),
                                                world.now_ns, room),
                         -EPROTO);
        if (length != world.cookie_bytes)
            cr_assert_eq(handshake_client_cookie(&world.client, world.cookie, length, room), -EPROTO);
        if (length != world.init_bytes) {
            cr_assert_eq(handshake_server_open(&world.server, world.init, length, here, sizeof(here),
                                               world.now_ns, &claim),
                         -EPROTO);
            cr_assert_eq(handshake_server_peek(world.init, length, ephemeral), -EPROTO);
        }
        if (length != world.resp_bytes)
            cr_assert_eq(handshake_client_resp(&world.client, world.resp, length, &granted, &keys), -EPROTO);
    }
}

Test(handshake, hello_with_anything_in_its_padding_or_header_is_refused)
{
    uint8_t room[HANDSHAKE_FRAME_BYTES];
    struct world world;

    world_init(&world, &plenty);
    say_hello(&world);
    for (size_t byte = 0; byte < world.hello_bytes; byte++) {
        if (byte >= offsetof(struct hello_frame, nonce) && byte < offsetof(struct hello_frame, reserved))
            continue;
        world.hello[byte] ^= 0x80;
        cr_assert_eq(handshake_server_hello(&world.server, world.hello, world.hello_bytes, here, sizeof(here),
                                            world.now_ns, room),
                     -EPROTO, "byte %zu", byte);
        world.hello[byte] ^= 0x80;
    }
}

Test(handshake, foreign_protocols_get_no_answer)
{
    static const char *const probes[] = {
        "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and the rest of a TLS hello, forty-eight b",
        "\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03",
        "",
    };
    uint8_t frame[HANDSHAKE_FRAME_BYTES], room[HANDSHAKE_FRAME_BYTES] = {0};
    struct handshake_claim claim;
    struct world world;

    world_init(&world, &plenty);
    for (size_t i = 0; i < sizeof(probes) / sizeof(probes[0]); i++) {
        memset(frame, 0, sizeof(frame));
        memcpy(frame, probes[i], strlen(probes[i]));
        for (size_t length = 0; length < sizeof(frame); length++) {
            cr_assert_eq(handshake_server_hello(&world.server, frame, length, here, sizeof(here), 0, room),
                         -EPROTO);
            cr_assert_eq(handshake_server_open(&world.server, frame, length, here, sizeof(here), 0, &claim),
                         -EPROTO);
        }
    }
    cr_assert(sodium_is_zero(room, sizeof(room)));
}

/* ---- hostile keys ---- */

Test(handshake, an_ephemeral_key_of_zeros_is_refused)
{
    struct handshake_claim claim;
    struct world world;

    world_init(&world, &plenty);
    make_init(&world);
    memset(world.init + offsetof(struct init_frame, message), 0, NOISE_KEY_BYTES);
    cr_assert_eq(open_from(&world, here, &claim), -EBADMSG);
}

Test(handshake, a_server_key_of_zeros_is_refused_by_the_client)
{
    static const uint8_t zeros[NOISE_KEY_BYTES];
    struct world world;

    world_init(&world, &plenty);
    handshake_client_init(&world.client, &world.client_keys, zeros, &offer);
    say_hello(&world);
    cr_assert_eq(handshake_client_cookie(&world.client, world.cookie, world.cookie_bytes, world.init),
                 -EKEYREJECTED);
}

Test(handshake, init_for_another_server_is_refused)
{
    struct noise_keypair stranger;
    struct handshake_claim claim;
    struct world world;

    world_init(&world, &plenty);
    noise_keypair_generate(&stranger);
    handshake_client_init(&world.client, &world.client_keys, stranger.public, &offer);
    make_init(&world);
    cr_assert_eq(open_from(&world, here, &claim), -EBADMSG);
}

/* ---- what is negotiated ---- */

Test(handshake, ciphers_are_picked_from_what_both_accept)
{
    enum {
        PLAIN = 1u << RECORD_CIPHER_PLAIN,
        AES = 1u << RECORD_CIPHER_AES256GCM,
        CHACHA = 1u << RECORD_CIPHER_CHACHA20POLY1305
    };
    static const struct {
        uint8_t client, server;
        int expected; /* a cipher, or -EACCES */
    } cases[] = {
        {AES | CHACHA, PLAIN | AES | CHACHA, RECORD_CIPHER_AES256GCM},
        {CHACHA, PLAIN | AES | CHACHA, RECORD_CIPHER_CHACHA20POLY1305},
        {AES | CHACHA, CHACHA, RECORD_CIPHER_CHACHA20POLY1305},
        {PLAIN, PLAIN | AES | CHACHA, RECORD_CIPHER_PLAIN},
        {PLAIN | AES | CHACHA, PLAIN | AES | CHACHA, RECORD_CIPHER_PLAIN}, /* to offer it is to ask for it */
        {PLAIN | AES, AES | CHACHA, -EACCES},
        {AES, CHACHA, -EACCES},
        {PLAIN, AES | CHACHA, -EACCES}, /* a client without encryption, a server that requires it */
        {AES | CHACHA, PLAIN, -EACCES}, /* and the other way round */
        {0, 0xFF, -EACCES},
        {0xF8, 0xFF, -EACCES}, /* ciphers that nobody here knows */
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        enum record_cipher picked = 99;
        int error = handshake_pick_cipher(cases[i].client, cases[i].server, &picked);

        cr_assert_eq(error ? error : (int)picked, cases[i].expected, "case %zu", i);
    }
}

Test(handshake, a_cipher_that_was_not_offered_is_refused)
{
    static const uint8_t not_offered[] = {RECORD_CIPHER_AES256GCM, RECORD_CIPHER_COUNT, 8, 255};
    struct handshake_grant wrong = grant, granted;
    struct handshake_keys keys;
    struct world world;

    for (size_t i = 0; i < sizeof(not_offered); i++) {
        world_init(&world, &plenty);
        make_init(&world);
        wrong.cipher = not_offered[i];
        answer(&world, &wrong, &keys);
        cr_assert_eq(hear(&world, &granted, &keys), -EPROTO);
    }
}

Test(handshake, frames_shorter_than_every_path_carries_are_refused)
{
    struct handshake_grant tiny = grant, granted;
    struct handshake_offer small = offer;
    struct handshake_claim claim;
    struct handshake_keys keys;
    struct world world;

    world_init(&world, &plenty);
    make_init(&world);
    tiny.frame_bytes_max = FRAME_BYTES_MIN - 1;
    answer(&world, &tiny, &keys);
    cr_assert_eq(hear(&world, &granted, &keys), -EPROTO);

    small.frame_bytes_max = FRAME_BYTES_MIN - 1;
    handshake_client_init(&world.client, &world.client_keys, world.server_keys.public, &small);
    make_init(&world);
    cr_assert_eq(open_from(&world, here, &claim), -EPROTO);
    cr_assert(sodium_is_zero((uint8_t *)&claim.noise, sizeof(claim.noise)));
}

Test(handshake, the_offer_names_the_session_it_replaces)
{
    struct handshake_offer replacing = offer;
    struct handshake_claim claim;
    struct world world;

    world_init(&world, &plenty);
    replacing.replaces = 0x12345678;
    replacing.incarnation = 0x9ABCDEF012345678;
    handshake_client_init(&world.client, &world.client_keys, world.server_keys.public, &replacing);
    make_init(&world);
    cr_assert_eq(open_from(&world, here, &claim), 0);
    cr_assert_eq(claim.offer.replaces, replacing.replaces);
    cr_assert_eq(claim.offer.incarnation, replacing.incarnation);

    replacing.replaces = 0; /* of which server is nobody's session? */
    handshake_client_init(&world.client, &world.client_keys, world.server_keys.public, &replacing);
    make_init(&world);
    cr_assert_eq(open_from(&world, here, &claim), -EPROTO);
}

Test(handshake, a_refusal_says_why_and_makes_no_keys)
{
    static const struct handshake_keys untouched;
    struct handshake_grant refusal = {.status = STATUS_ACCESS}, granted;
    struct handshake_keys keys = untouched;
    struct world world;

    world_init(&world, &plenty);
    make_init(&world);
    answer(&world, &refusal, NULL);
    cr_assert_eq(hear(&world, &granted, &keys), 0);
    cr_assert_eq(granted.status, STATUS_ACCESS);
    cr_assert_arr_eq(&keys, &untouched, sizeof(keys));
    cr_assert_eq(world.server.refused, 1);
}

Test(handshake, secrets_are_wiped_at_the_end)
{
    struct handshake_grant granted;
    struct handshake_claim claim;
    struct handshake_keys keys;
    struct world world;

    world_init(&world, &plenty);
    make_init(&world);
    cr_assert_eq(open_from(&world, here, &claim), 0);
    world.resp_bytes = (size_t)handshake_server_resp(&world.server, &claim, &grant, world.resp, &keys);
    cr_assert(sodium_is_zero((uint8_t *)&claim.noise, sizeof(claim.noise)));
    cr_assert_eq(hear(&world, &granted, &keys), 0);
    cr_assert(sodium_is_zero((uint8_t *)&world.client, sizeof(world.client)));
}
