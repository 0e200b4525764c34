/* test_noise.c - published vectors, and what a handshake must refuse */
#include "noise.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <sodium.h>
#include <string.h>

#define MESSAGES_MAX 6
#define BYTES_MAX    128

/* Hexadecimal. Messages 0 and 1 are the handshake's, the rest go to and fro under the transport keys. */
struct vector {
    const char *source;
    const char *prologue;
    const char *hash_after_message_1; /* what cacophony publishes as the handshake's hash */
    const char *hash_after_message_2;
    struct {
        const char *payload;
        const char *ciphertext;
    } messages[MESSAGES_MAX];
};

/* The keys that the published vectors share. */
static const char initiator_static[] = "e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1";
static const char initiator_ephemeral[] = "893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a";
static const char responder_static[] = "4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893";
static const char responder_public[] = "31e0303fd6418d2f8c0e78b91f22e8caed0fbe48656dcf4767e4834f701b8f62";
static const char responder_ephemeral[] = "bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b";

static const struct vector vectors[] = {
    {
        .source = "cacophony",
        .prologue = "4a6f686e2047616c74",
        .hash_after_message_1 = "d062b57b128beb3cb6f0b33731520e33083d86fcc0a9b25603b1a0366d13d8d0"
                                "1a03980c71a7efa5b119715046052c1f8e4500e2c3fb8c20695d0c2d69971252",
        .messages =
            {
                {"4c756477696720766f6e204d69736573",
                 "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944"
                 "7a2281c0f1aee0c48c41333a1abbb349ee4bf12e09f8c4fd66635aabbb7dad34"
                 "6081a79f59e2cef812260cfe8c9e6a99d12f7c7ffc9fe5513818d9cf9b8778d1"
                 "ebd1ce70c8f726d7869830258a788910"},
                {"4d757272617920526f746862617264",
                 "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843"
                 "f58050451a0edd2a40bb8b0f6b51ea8094a07e3ed31ebc516b584fef6eaaaf"},
                {"462e20412e20486179656b", "cae0b6af5460d026e80e22c27572a92048176872538f91a056a8df"},
                {"4361726c204d656e676572", "ab1440d2b5892c638a11a7fa6412beaea5cee62342147f02d75a68"},
                {"4a65616e2d426170746973746520536179",
                 "0263ed778a193155c9947202e0b9d35eb46581a902449d091e1b6575a9a59fbeff"},
                {"457567656e2042f6686d20766f6e2042617765726b",
                 "95aedd9192351379cb063c8d5827d5529c7f2c8929552dd64c57029734737ea2a405255dcf"},
            },
    },
    {
        .source = "noise-c",
        .prologue = "50726f6c6f677565313233",
        .hash_after_message_2 = "48d8b650f042c4767cf1f3c26b22ccdd4bc8cff341166603109954eab8a9bd20"
                                "915d284b6b618a325e93a8e949a23f4b62ba3094aad0b640c14cbd4f14ccd1e1",
        .messages =
            {
                {"4c756477696720766f6e204d69736573",
                 "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944"
                 "7a2281c0f1aee0c48c41333a1abbb349ee4bf12e09f8c4fd66635aabbb7dad34"
                 "5826d359e4bd6ebee659f5c6cb3d2d4ed12f7c7ffc9fe5513818d9cf9b8778d1"
                 "502f90649c42ab4a1e3df7199a3d6a13"},
                {"4d757272617920526f746862617264",
                 "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843"
                 "f58050451a0edd2a40bb8b0f6b51ea63e1f1f429f1afd583e5d6e53f44da1e"},
                {"462e20412e20486179656b", "cae0b6af5460d026e80e22c27572a92048176872538f91a056a8df"},
                {"4361726c204d656e676572", "ab1440d2b5892c638a11a7fa6412beaea5cee62342147f02d75a68"},
            },
    },
};

static size_t unhex(const char *hex, uint8_t *bytes_out)
{
    size_t count;

    cr_assert_eq(sodium_hex2bin(bytes_out, BYTES_MAX, hex, strlen(hex), NULL, &count, NULL), 0);
    return count;
}

static struct noise_keypair pair_of(const char *secret_hex)
{
    struct noise_keypair pair;
    uint8_t secret[BYTES_MAX];

    cr_assert_eq(unhex(secret_hex, secret), NOISE_KEY_BYTES);
    noise_keypair_derive(secret, &pair);
    return pair;
}

static void assert_bytes(const uint8_t *actual, const char *expected_hex, const char *what,
                         const char *source)
{
    uint8_t expected[BYTES_MAX];
    size_t count = unhex(expected_hex, expected);

    cr_assert_arr_eq(actual, expected, count, "%s differs from the vector of %s", what, source);
}

/* Both ends, with the fixed keys. */
struct ends {
    struct noise_keypair initiator, responder, initiator_ephemeral, responder_ephemeral;
    struct noise_handshake at_initiator, at_responder;
};

static void begin(struct ends *ends, const void *prologue, size_t prologue_bytes)
{
    ends->initiator = pair_of(initiator_static);
    ends->responder = pair_of(responder_static);
    ends->initiator_ephemeral = pair_of(initiator_ephemeral);
    ends->responder_ephemeral = pair_of(responder_ephemeral);
    noise_begin_initiator(&ends->at_initiator, ends->responder.public, prologue, prologue_bytes);
    noise_begin_responder(&ends->at_responder, ends->responder.public, prologue, prologue_bytes);
}

/* `expected` may be NULL: not every source publishes both. */
static void check_hash(const struct ends *ends, const char *expected, const char *source)
{
    cr_assert_arr_eq(ends->at_initiator.hash, ends->at_responder.hash, NOISE_HASH_BYTES);
    if (expected)
        assert_bytes(ends->at_initiator.hash, expected, "the handshake's hash", source);
}

static void check_transport(const struct vector *vector, uint8_t keys[2][NOISE_KEY_BYTES])
{
    uint8_t payload[BYTES_MAX], sealed[BYTES_MAX];

    for (size_t i = 2; i < MESSAGES_MAX && vector->messages[i].payload; i++) {
        uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES] = {0};
        size_t payload_bytes = unhex(vector->messages[i].payload, payload);

        nonce[4] = (uint8_t)((i - 2) / 2);
        crypto_aead_chacha20poly1305_ietf_encrypt(sealed, NULL, payload, payload_bytes, NULL, 0, NULL, nonce,
                                                  keys[i % 2]);
        assert_bytes(sealed, vector->messages[i].ciphertext, "a transport message", vector->source);
    }
}

static void check_vector(const struct vector *vector)
{
    uint8_t prologue[BYTES_MAX], payload[BYTES_MAX], message[BYTES_MAX], opened[BYTES_MAX];
    uint8_t at_initiator[2][NOISE_KEY_BYTES], at_responder[2][NOISE_KEY_BYTES];
    struct ends ends;
    size_t payload_bytes;

    begin(&ends, prologue, unhex(vector->prologue, prologue));

    payload_bytes = unhex(vector->messages[0].payload, payload);
    cr_assert_eq(noise_write_init(&ends.at_initiator, &ends.initiator, &ends.initiator_ephemeral, payload,
                                  payload_bytes, message),
                 0);
    assert_bytes(message, vector->messages[0].ciphertext, "message 1", vector->source);
    cr_assert_eq(noise_read_init(&ends.at_responder, &ends.responder, message,
                                 payload_bytes + NOISE_INIT_OVERHEAD, opened),
                 0);
    cr_assert_arr_eq(opened, payload, payload_bytes);
    cr_assert_arr_eq(ends.at_responder.remote_static, ends.initiator.public, NOISE_KEY_BYTES);
    check_hash(&ends, vector->hash_after_message_1, vector->source);

    payload_bytes = unhex(vector->messages[1].payload, payload);
    cr_assert_eq(
        noise_write_resp(&ends.at_responder, &ends.responder_ephemeral, payload, payload_bytes, message), 0);
    assert_bytes(message, vector->messages[1].ciphertext, "message 2", vector->source);
    cr_assert_eq(noise_read_resp(&ends.at_initiator, &ends.initiator, message,
                                 payload_bytes + NOISE_RESP_OVERHEAD, opened),
                 0);
    cr_assert_arr_eq(opened, payload, payload_bytes);

    check_hash(&ends, vector->hash_after_message_2, vector->source);
    noise_split(&ends.at_initiator, at_initiator[0], at_initiator[1]);
    noise_split(&ends.at_responder, at_responder[0], at_responder[1]);
    cr_assert_arr_eq(at_initiator, at_responder, sizeof(at_initiator));
    cr_assert(sodium_is_zero((uint8_t *)&ends.at_initiator, sizeof(ends.at_initiator)), "split wipes");
    check_transport(vector, at_initiator);
}

static void setup(void)
{
    cr_assert_geq(sodium_init(), 0);
}

TestSuite(noise, .init = setup);

Test(noise, published_vectors)
{
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++)
        check_vector(&vectors[i]);
}

Test(noise, responder_public_key_of_the_vectors)
{
    assert_bytes(pair_of(responder_static).public, responder_public, "the responder's public key",
                 "cacophony");
}

/* Message 1 of the fixed ends, with a payload of one line. */
static size_t make_init(struct ends *ends, const char *prologue, uint8_t *message_out)
{
    static const uint8_t payload[16] = "sixteen bytes..";

    begin(ends, prologue, strlen(prologue));
    cr_assert_eq(noise_write_init(&ends->at_initiator, &ends->initiator, &ends->initiator_ephemeral, payload,
                                  sizeof(payload), message_out),
                 0);
    return sizeof(payload) + NOISE_INIT_OVERHEAD;
}

Test(noise, every_flipped_byte_of_message_1_is_refused_and_wipes)
{
    uint8_t message[BYTES_MAX], opened[BYTES_MAX] = {0};
    struct ends ends;
    size_t message_bytes = make_init(&ends, "p", message);

    for (size_t i = 0; i < message_bytes; i++) {
        noise_begin_responder(&ends.at_responder, ends.responder.public, "p", 1);
        message[i] ^= 0x01;
        cr_assert_eq(noise_read_init(&ends.at_responder, &ends.responder, message, message_bytes, opened),
                     -EBADMSG, "byte %zu", i);
        message[i] ^= 0x01;
        cr_assert(sodium_is_zero((uint8_t *)&ends.at_responder, sizeof(ends.at_responder)));
    }
    cr_assert(sodium_is_zero(opened, sizeof(opened)), "no payload comes out of a damaged message");
}

Test(noise, message_1_at_every_shorter_length_is_refused)
{
    uint8_t message[BYTES_MAX], opened[BYTES_MAX];
    struct ends ends;
    size_t message_bytes = make_init(&ends, "p", message);

    for (size_t length = 0; length < message_bytes; length++) {
        noise_begin_responder(&ends.at_responder, ends.responder.public, "p", 1);
        cr_assert_eq(noise_read_init(&ends.at_responder, &ends.responder, message, length, opened),
                     length < NOISE_INIT_OVERHEAD ? -EPROTO : -EBADMSG, "length %zu", length);
    }
}

Test(noise, another_prologue_is_refused)
{
    uint8_t message[BYTES_MAX], opened[BYTES_MAX];
    struct ends ends;
    size_t message_bytes = make_init(&ends, "version 2", message);

    noise_begin_responder(&ends.at_responder, ends.responder.public, "version 1", 9);
    cr_assert_eq(noise_read_init(&ends.at_responder, &ends.responder, message, message_bytes, opened),
                 -EBADMSG);
}

Test(noise, another_responder_cannot_read_message_1)
{
    uint8_t message[BYTES_MAX], opened[BYTES_MAX];
    struct noise_keypair other;
    struct ends ends;
    size_t message_bytes = make_init(&ends, "p", message);

    noise_keypair_generate(&other);
    noise_begin_responder(&ends.at_responder, other.public, "p", 1);
    cr_assert_eq(noise_read_init(&ends.at_responder, &other, message, message_bytes, opened), -EBADMSG);
}

Test(noise, a_forged_answer_does_not_end_the_handshake)
{
    uint8_t init[BYTES_MAX], resp[BYTES_MAX], opened[BYTES_MAX];
    struct noise_handshake before;
    struct ends ends;
    size_t init_bytes = make_init(&ends, "p", init);
    const size_t resp_bytes = 5 + NOISE_RESP_OVERHEAD;

    cr_assert_eq(noise_read_init(&ends.at_responder, &ends.responder, init, init_bytes, opened), 0);
    cr_assert_eq(noise_write_resp(&ends.at_responder, &ends.responder_ephemeral, "hello", 5, resp), 0);
    before = ends.at_initiator;
    for (size_t i = 0; i < resp_bytes; i++) {
        resp[i] ^= 0x10;
        cr_assert_eq(noise_read_resp(&ends.at_initiator, &ends.initiator, resp, resp_bytes, opened),
                     -EBADMSG);
        resp[i] ^= 0x10;
    }
    cr_assert_arr_eq(&ends.at_initiator, &before, sizeof(before));
    cr_assert_eq(noise_read_resp(&ends.at_initiator, &ends.initiator, resp, resp_bytes, opened), 0);
}

/* Points whose product with any scalar is known: 0, 1, of order 8 (twice), p - 1, p, p + 1. */
static const char *const low_order_points[] = {
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
};

Test(noise, public_keys_of_low_order_are_refused)
{
    uint8_t message[BYTES_MAX] = {0}, opened[BYTES_MAX];
    struct ends ends;

    for (size_t i = 0; i < sizeof(low_order_points) / sizeof(low_order_points[0]); i++) {
        begin(&ends, "p", 1);
        unhex(low_order_points[i], message); /* as the initiator's ephemeral key */
        cr_assert_eq(noise_read_init(&ends.at_responder, &ends.responder, message, sizeof(message), opened),
                     -EKEYREJECTED, "point %zu as an ephemeral key", i);

        noise_begin_initiator(&ends.at_initiator, message, "p", 1); /* as the responder's static key */
        cr_assert_eq(
            noise_write_init(&ends.at_initiator, &ends.initiator, &ends.initiator_ephemeral, NULL, 0, opened),
            -EKEYREJECTED, "point %zu as a static key", i);

        begin(&ends, "p", 1); /* as the responder's ephemeral key */
        cr_assert_eq(noise_read_resp(&ends.at_initiator, &ends.initiator, message, sizeof(message), opened),
                     -EKEYREJECTED, "point %zu in the answer", i);
    }
}

/* An initiator that claims a static key of low order can seal it properly: only `ss` tells. */
Test(noise, an_initiator_of_low_order_is_refused)
{
    uint8_t message[BYTES_MAX], opened[BYTES_MAX];
    struct ends ends;

    begin(&ends, "p", 1);
    memset(ends.initiator.public, 0, NOISE_KEY_BYTES);
    cr_assert_eq(
        noise_write_init(&ends.at_initiator, &ends.initiator, &ends.initiator_ephemeral, NULL, 0, message),
        0);
    cr_assert_eq(noise_read_init(&ends.at_responder, &ends.responder, message, NOISE_INIT_OVERHEAD, opened),
                 -EKEYREJECTED);
}

Test(noise, two_handshakes_of_the_same_static_keys_have_different_session_keys)
{
    uint8_t message[BYTES_MAX], opened[BYTES_MAX], keys[2][2][NOISE_KEY_BYTES];

    for (int round = 0; round < 2; round++) {
        struct ends ends;

        begin(&ends, "p", 1);
        noise_keypair_generate(&ends.initiator_ephemeral);
        cr_assert_eq(noise_write_init(&ends.at_initiator, &ends.initiator, &ends.initiator_ephemeral, NULL, 0,
                                      message),
                     0);
        cr_assert_eq(
            noise_read_init(&ends.at_responder, &ends.responder, message, NOISE_INIT_OVERHEAD, opened), 0);
        cr_assert_eq(noise_write_resp(&ends.at_responder, &ends.responder_ephemeral, NULL, 0, message), 0);
        noise_split(&ends.at_responder, keys[round][0], keys[round][1]);
    }
    cr_assert_arr_neq(keys[0][0], keys[1][0], NOISE_KEY_BYTES);
    cr_assert_arr_neq(keys[0][1], keys[1][1], NOISE_KEY_BYTES);
    cr_assert_arr_neq(keys[0][0], keys[0][1], NOISE_KEY_BYTES);
}
