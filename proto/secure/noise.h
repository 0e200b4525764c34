/* noise.h - Noise_IK_25519_ChaChaPoly_SHA512, both roles
 *
 *   <- s                       the initiator knows the responder's static key
 *   -> e, es, s, ss            message 1: the initiator's ephemeral key, its static key sealed, a payload
 * sealed
 *   <- e, ee, se               message 2: the responder's ephemeral key, a payload sealed
 *
 * Source: the Noise Protocol Framework, revision 34. In IK every key seals exactly once, so the nonce is
 * always zero and none is kept.
 *
 * All functions are async-signal-safe once sodium_init() has succeeded. None blocks. What they leave on the
 * stack they wipe.
 */
#ifndef CXE_SECURE_NOISE_H
#define CXE_SECURE_NOISE_H

#include <stddef.h>
#include <stdint.h>

#define NOISE_KEY_BYTES  32
#define NOISE_HASH_BYTES 64
#define NOISE_TAG_BYTES  16

/* What the messages add to their payloads. */
#define NOISE_INIT_OVERHEAD (NOISE_KEY_BYTES + NOISE_KEY_BYTES + NOISE_TAG_BYTES + NOISE_TAG_BYTES)
#define NOISE_RESP_OVERHEAD (NOISE_KEY_BYTES + NOISE_TAG_BYTES)

struct noise_keypair {
    uint8_t secret[NOISE_KEY_BYTES];
    uint8_t public[NOISE_KEY_BYTES];
};

/* A handshake under way: the symmetric state and what the second message needs. */
struct noise_handshake {
    uint8_t chaining_key[NOISE_HASH_BYTES];
    uint8_t hash[NOISE_HASH_BYTES];
    uint8_t key[NOISE_KEY_BYTES];
    uint8_t ephemeral_secret[NOISE_KEY_BYTES]; /* initiator: our own, between message 1 and message 2 */
    uint8_t remote_static[NOISE_KEY_BYTES];
    uint8_t remote_ephemeral[NOISE_KEY_BYTES];
};

/* A new pair from the kernel's random numbers. */
void noise_keypair_generate(struct noise_keypair *pair_out);

/* The pair that belongs to a secret key. */
void noise_keypair_derive(const uint8_t secret[NOISE_KEY_BYTES], struct noise_keypair *pair_out);

/* Starts a handshake. `prologue` is what both sides must agree on; it is not sent. */
void noise_begin_initiator(struct noise_handshake *handshake, const uint8_t responder_public[NOISE_KEY_BYTES],
                           const void *prologue, size_t prologue_bytes);
void noise_begin_responder(struct noise_handshake *handshake, const uint8_t responder_public[NOISE_KEY_BYTES],
                           const void *prologue, size_t prologue_bytes);

/* Initiator: writes message 1, payload_bytes + NOISE_INIT_OVERHEAD long. `ephemeral` must be fresh.
 * -EKEYREJECTED: the responder's public key is of low order; the handshake is wiped. */
int noise_write_init(struct noise_handshake *handshake, const struct noise_keypair *self,
                     const struct noise_keypair *ephemeral, const void *payload, size_t payload_bytes,
                     uint8_t *message_out);

/* Responder: reads message 1; its payload is message_bytes - NOISE_INIT_OVERHEAD long. Afterwards
 * handshake->remote_static is the initiator's key, proven; whether it is welcome is the caller's question.
 * -EPROTO: too short; -EKEYREJECTED: a key of low order; -EBADMSG: damaged, or not for us. On any of them the
 * handshake is wiped and payload_out is not written. */
int noise_read_init(struct noise_handshake *handshake, const struct noise_keypair *self,
                    const uint8_t *message, size_t message_bytes, void *payload_out);

/* Responder: writes message 2, payload_bytes + NOISE_RESP_OVERHEAD long. `ephemeral` must be fresh.
 * -EKEYREJECTED: a key of low order; the handshake is wiped. */
int noise_write_resp(struct noise_handshake *handshake, const struct noise_keypair *ephemeral,
                     const void *payload, size_t payload_bytes, uint8_t *message_out);

/* Initiator: reads message 2; its payload is message_bytes - NOISE_RESP_OVERHEAD long. Errors as for
 * noise_read_init, but the handshake stays as it was, so that a forged answer does not end it. */
int noise_read_resp(struct noise_handshake *handshake, const struct noise_keypair *self,
                    const uint8_t *message, size_t message_bytes, void *payload_out);

/* After message 2: the two transport keys. Wipes the handshake. */
void noise_split(struct noise_handshake *handshake, uint8_t initiator_to_responder_out[NOISE_KEY_BYTES],
                 uint8_t responder_to_initiator_out[NOISE_KEY_BYTES]);

/* Forgets everything. */
void noise_wipe(struct noise_handshake *handshake);

#endif
