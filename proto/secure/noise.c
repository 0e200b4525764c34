/* noise.c - Noise_IK_25519_ChaChaPoly_SHA512, both roles */
#include "noise.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <string.h>

/* Exactly 32 bytes, so it is padded with zeros to the length of a hash instead of being hashed. */
static const char protocol_name[] = "Noise_IK_25519_ChaChaPoly_SHA512";

/* Every key seals once: the nonce is always zero. */
static const uint8_t nonce_zero[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];

static_assert(sizeof(protocol_name) - 1 <= NOISE_HASH_BYTES, "the name is not hashed");
static_assert(NOISE_KEY_BYTES == crypto_scalarmult_curve25519_BYTES, "X25519");
static_assert(NOISE_HASH_BYTES == crypto_hash_sha512_BYTES, "SHA-512");
static_assert(NOISE_HASH_BYTES == crypto_auth_hmacsha512_BYTES, "HMAC-SHA512");
static_assert(NOISE_TAG_BYTES == crypto_aead_chacha20poly1305_ietf_ABYTES, "Poly1305");

void noise_keypair_derive(const uint8_t secret[NOISE_KEY_BYTES], struct noise_keypair *pair_out)
{
    memmove(pair_out->secret, secret, NOISE_KEY_BYTES);
    /* Cannot fail: the base point is not of low order. */
    (void)crypto_scalarmult_curve25519_base(pair_out->public, pair_out->secret);
}

void noise_keypair_generate(struct noise_keypair *pair_out)
{
    uint8_t secret[NOISE_KEY_BYTES];

    randombytes_buf(secret, sizeof(secret));
    noise_keypair_derive(secret, pair_out);
    sodium_memzero(secret, sizeof(secret));
}

void noise_wipe(struct noise_handshake *handshake)
{
    sodium_memzero(handshake, sizeof(*handshake));
}

/* One block of HMAC over two pieces; `b` may be empty. */
static void hmac(const uint8_t key[NOISE_HASH_BYTES], const void *a, size_t a_bytes, const void *b,
                 size_t b_bytes, uint8_t mac_out[NOISE_HASH_BYTES])
{
    crypto_auth_hmacsha512_state state;

    crypto_auth_hmacsha512_init(&state, key, NOISE_HASH_BYTES);
    crypto_auth_hmacsha512_update(&state, a, a_bytes);
    crypto_auth_hmacsha512_update(&state, b, b_bytes);
    crypto_auth_hmacsha512_final(&state, mac_out);
    sodium_memzero(&state, sizeof(state));
}

/* HKDF with two outputs (4.3):  t = HMAC(ck, ikm);  out1 = HMAC(t, 1);  out2 = HMAC(t, out1 || 2).
 * The second is cut to a key's length, as MixKey and Split do where the hash is longer. out1 may be ck. */
static void hkdf(const uint8_t chaining_key[NOISE_HASH_BYTES], const void *input, size_t input_bytes,
                 uint8_t out1[NOISE_HASH_BYTES], uint8_t out2[NOISE_KEY_BYTES])
{
    uint8_t temporary[NOISE_HASH_BYTES], second[NOISE_HASH_BYTES];

    hmac(chaining_key, input, input_bytes, NULL, 0, temporary);
    hmac(temporary, "\x01", 1, NULL, 0, out1);
    hmac(temporary, out1, NOISE_HASH_BYTES, "\x02", 1, second);
    memcpy(out2, second, NOISE_KEY_BYTES);
    sodium_memzero(temporary, sizeof(temporary));
    sodium_memzero(second, sizeof(second));
}

/* h = HASH(h || data) */
static void mix_hash(struct noise_handshake *handshake, const void *data, size_t data_bytes)
{
    crypto_hash_sha512_state state;

    crypto_hash_sha512_init(&state);
    crypto_hash_sha512_update(&state, handshake->hash, NOISE_HASH_BYTES);
    crypto_hash_sha512_update(&state, data, data_bytes);
    crypto_hash_sha512_final(&state, handshake->hash);
}

/* ck, k = HKDF(ck, DH(secret, public)). Refuses public keys of low order, which make the result a constant.
 */
static int mix_dh(struct noise_handshake *handshake, const uint8_t secret[NOISE_KEY_BYTES],
                  const uint8_t public[NOISE_KEY_BYTES])
{
    uint8_t shared[NOISE_KEY_BYTES];
    int error = -EKEYREJECTED;

    if (crypto_scalarmult_curve25519(shared, secret, public) == 0) {
        hkdf(handshake->chaining_key, shared, sizeof(shared), handshake->chaining_key, handshake->key);
        error = 0;
    }
    sodium_memzero(shared, sizeof(shared));
    return error;
}

/* c = ENCRYPT(k, 0, h, plain);  h = HASH(h || c) */
static void seal_and_hash(struct noise_handshake *handshake, const void *plain, size_t plain_bytes,
                          uint8_t *sealed_out)
{
    crypto_aead_chacha20poly1305_ietf_encrypt(sealed_out, NULL, plain, plain_bytes, handshake->hash,
                                              NOISE_HASH_BYTES, NULL, nonce_zero, handshake->key);
    mix_hash(handshake, sealed_out, plain_bytes + NOISE_TAG_BYTES);
}

/* p = DECRYPT(k, 0, h, sealed);  h = HASH(h || sealed) */
static int open_and_hash(struct noise_handshake *handshake, const uint8_t *sealed, size_t sealed_bytes,
                         void *plain_out)
{
    if (crypto_aead_chacha20poly1305_ietf_decrypt(plain_out, NULL, NULL, sealed, sealed_bytes,
                                                  handshake->hash, NOISE_HASH_BYTES, nonce_zero,
                                                  handshake->key) != 0)
        return -EBADMSG;
    mix_hash(handshake, sealed, sealed_bytes);
    return 0;
}

static void begin(struct noise_handshake *handshake, const uint8_t responder_public[NOISE_KEY_BYTES],
                  const void *prologue, size_t prologue_bytes)
{
    memset(handshake, 0, sizeof(*handshake));
    memcpy(handshake->hash, protocol_name, sizeof(protocol_name) - 1);
    memcpy(handshake->chaining_key, handshake->hash, NOISE_HASH_BYTES);
    mix_hash(handshake, prologue, prologue_bytes);
    mix_hash(handshake, responder_public, NOISE_KEY_BYTES); /* <- s */
}

void noise_begin_initiator(struct noise_handshake *handshake, const uint8_t responder_public[NOISE_KEY_BYTES],
                           const void *prologue, size_t prologue_bytes)
{
    begin(handshake, responder_public, prologue, prologue_bytes);
    memcpy(handshake->remote_static, responder_public, NOISE_KEY_BYTES);
}

void noise_begin_responder(struct noise_handshake *handshake, const uint8_t responder_public[NOISE_KEY_BYTES],
                           const void *prologue, size_t prologue_bytes)
{
    begin(handshake, responder_public, prologue, prologue_bytes);
}

int noise_write_init(struct noise_handshake *handshake, const struct noise_keypair *self,
                     const struct noise_keypair *ephemeral, const void *payload, size_t payload_bytes,
                     uint8_t *message_out)
{
    uint8_t *at = message_out;

    /* e */
    memcpy(at, ephemeral->public, NOISE_KEY_BYTES);
    memcpy(handshake->ephemeral_secret, ephemeral->secret, NOISE_KEY_BYTES);
    mix_hash(handshake, at, NOISE_KEY_BYTES);
    at += NOISE_KEY_BYTES;
    /* es */
    if (mix_dh(handshake, ephemeral->secret, handshake->remote_static) != 0)
        goto wipe;
    /* s */
    seal_and_hash(handshake, self->public, NOISE_KEY_BYTES, at);
    at += NOISE_KEY_BYTES + NOISE_TAG_BYTES;
    /* ss */
    if (mix_dh(handshake, self->secret, handshake->remote_static) != 0)
        goto wipe;
    /* payload */
    seal_and_hash(handshake, payload, payload_bytes, at);
    return 0;

wipe:
    noise_wipe(handshake);
    return -EKEYREJECTED;
}

int noise_read_init(struct noise_handshake *handshake, const struct noise_keypair *self,
                    const uint8_t *message, size_t message_bytes, void *payload_out)
{
    const uint8_t *at = message;
    int error = -EPROTO;

    if (message_bytes < NOISE_INIT_OVERHEAD)
        goto wipe;
    /* e */
    memcpy(handshake->remote_ephemeral, at, NOISE_KEY_BYTES);
    mix_hash(handshake, at, NOISE_KEY_BYTES);
    at += NOISE_KEY_BYTES;
    /* es */
    error = mix_dh(handshake, self->secret, handshake->remote_ephemeral);
    if (error)
        goto wipe;
    /* s */
    error = open_and_hash(handshake, at, NOISE_KEY_BYTES + NOISE_TAG_BYTES, handshake->remote_static);
    if (error)
        goto wipe;
    at += NOISE_KEY_BYTES + NOISE_TAG_BYTES;
    /* ss */
    error = mix_dh(handshake, self->secret, handshake->remote_static);
    if (error)
        goto wipe;
    /* payload */
    error = open_and_hash(handshake, at, message_bytes - (size_t)(at - message), payload_out);
    if (error)
        goto wipe;
    return 0;

wipe:
    noise_wipe(handshake);
    return error;
}

int noise_write_resp(struct noise_handshake *handshake, const struct noise_keypair *ephemeral,
                     const void *payload, size_t payload_bytes, uint8_t *message_out)
{
    /* e */
    memcpy(message_out, ephemeral->public, NOISE_KEY_BYTES);
    mix_hash(handshake, message_out, NOISE_KEY_BYTES);
    /* ee */
    if (mix_dh(handshake, ephemeral->secret, handshake->remote_ephemeral) != 0)
        goto wipe;
    /* se */
    if (mix_dh(handshake, ephemeral->secret, handshake->remote_static) != 0)
        goto wipe;
    /* payload */
    seal_and_hash(handshake, payload, payload_bytes, message_out + NOISE_KEY_BYTES);
    return 0;

wipe:
    noise_wipe(handshake);
    return -EKEYREJECTED;
}

int noise_read_resp(struct noise_handshake *handshake, const struct noise_keypair *self,
                    const uint8_t *message, size_t message_bytes, void *payload_out)
{
    struct noise_handshake next;
    int error = -EPROTO;

    if (message_bytes < NOISE_RESP_OVERHEAD)
        return error;
    next = *handshake;
    /* e */
    memcpy(next.remote_ephemeral, message, NOISE_KEY_BYTES);
    mix_hash(&next, message, NOISE_KEY_BYTES);
    /* ee */
    error = mix_dh(&next, next.ephemeral_secret, next.remote_ephemeral);
    if (error)
        goto wipe;
    /* se */
    error = mix_dh(&next, self->secret, next.remote_ephemeral);
    if (error)
        goto wipe;
    /* payload */
    error = open_and_hash(&next, message + NOISE_KEY_BYTES, message_bytes - NOISE_KEY_BYTES, payload_out);
    if (error)
        goto wipe;
    *handshake = next;
wipe:
    noise_wipe(&next);
    return error;
}

void noise_split(struct noise_handshake *handshake, uint8_t initiator_to_responder_out[NOISE_KEY_BYTES],
                 uint8_t responder_to_initiator_out[NOISE_KEY_BYTES])
{
    uint8_t first[NOISE_HASH_BYTES];

    hkdf(handshake->chaining_key, NULL, 0, first, responder_to_initiator_out);
    memcpy(initiator_to_responder_out, first, NOISE_KEY_BYTES);
    sodium_memzero(first, sizeof(first));
    noise_wipe(handshake);
}
