/* record.c - sealed records: AEAD with counter nonces, replay window, key phases
 *
 * Key phases. The sealer replaces its key by a hash of it and counts the phase up in the header; counters go
 * on. The opener holds the current key and, for a while, the one before. A frame of the next phase makes it
 * derive that key on the side; only a right tag makes the change.
 */
#include "record.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <xxhash.h>

#include "wire.h"

#define WINDOW_BITS RECORD_REPLAY_WINDOW

static_assert(sizeof(struct record_header) == RECORD_HEADER_BYTES, "the header is the associated data");
static_assert(RECORD_TAG_BYTES == AES_GCM_TAG_BYTES, "AES-GCM tag");
static_assert(RECORD_TAG_BYTES == crypto_aead_chacha20poly1305_ietf_ABYTES, "Poly1305 tag");
static_assert(RECORD_TAG_BYTES == sizeof(XXH128_canonical_t), "XXH3 tag");
static_assert(RECORD_KEY_BYTES == AES_GCM_KEY_BYTES, "AES key");
static_assert(RECORD_KEY_BYTES == crypto_aead_chacha20poly1305_ietf_KEYBYTES, "ChaCha20 key");
static_assert((WINDOW_BITS & (WINDOW_BITS - 1)) == 0, "the window wraps by a mask");

uint8_t record_ciphers_available(void)
{
    uint8_t mask = 1u << RECORD_CIPHER_PLAIN | 1u << RECORD_CIPHER_CHACHA20POLY1305;

    if (aes_gcm_available())
        mask |= 1u << RECORD_CIPHER_AES256GCM;
    return mask;
}

/* ---- keys ---- */

static void key_expand(struct record_key *key, enum record_cipher cipher)
{
    switch (cipher) {
    case RECORD_CIPHER_AES256GCM:
        aes_gcm_expand(&key->aes, key->raw);
        break;
    case RECORD_CIPHER_CHACHA20POLY1305:
        break;
    case RECORD_CIPHER_PLAIN:
        memcpy(&key->tag_seed, key->raw, sizeof(key->tag_seed));
        key->tag_seed = le64toh(key->tag_seed);
        break;
    }
}

static void key_init(struct record_key *key, enum record_cipher cipher, const uint8_t raw[RECORD_KEY_BYTES])
{
    memcpy(key->raw, raw, RECORD_KEY_BYTES);
    key_expand(key, cipher);
}

/* next = BLAKE2b(key, label): who learns `next` cannot go back. `next` may be `key`. */
static void key_derive_next(struct record_key *next, enum record_cipher cipher, const struct record_key *key)
{
    static const uint8_t label[] = "CXE next record key";
    uint8_t raw[RECORD_KEY_BYTES];

    crypto_generichash(raw, sizeof(raw), label, sizeof(label) - 1, key->raw, RECORD_KEY_BYTES);
    key_init(next, cipher, raw);
    sodium_memzero(raw, sizeof(raw));
}

/* ---- one record ---- */

/* Four zero bytes, then the counter as it stands in the header. */
struct nonce {
    uint32_t zero;
    uint8_t counter[8];
};
static_assert(sizeof(struct nonce) == AES_GCM_NONCE_BYTES, "AES-GCM nonce");
static_assert(sizeof(struct nonce) == crypto_aead_chacha20poly1305_ietf_NPUBBYTES, "ChaCha20-Poly1305 nonce");

static struct nonce nonce_of(const uint8_t *frame)
{
    struct nonce nonce = {0};

    memcpy(nonce.counter, frame + offsetof(struct record_header, counter), sizeof(nonce.counter));
    return nonce;
}

static void plain_tag(const struct record_key *key, const uint8_t *frame, size_t covered_bytes,
                      uint8_t *tag_out)
{
    XXH128_canonical_t tag;

    XXH128_canonicalFromHash(&tag, XXH3_128bits_withSeed(frame, covered_bytes, key->tag_seed));
    memcpy(tag_out, &tag, sizeof(tag));
}

/* The header stands in the frame already. The ciphers take any alignment, and body == sealed. */
static void seal_body(const struct record_sealer *sealer, const uint8_t *body, size_t body_bytes,
                      uint8_t *frame)
{
    const struct nonce nonce = nonce_of(frame);
    const uint8_t *npub = (const uint8_t *)&nonce;
    uint8_t *sealed = frame + RECORD_HEADER_BYTES;
    uint8_t *tag = sealed + body_bytes;

    switch (sealer->cipher) {
    case RECORD_CIPHER_AES256GCM:
        aes_gcm_seal(&sealer->key.aes, npub, frame, RECORD_HEADER_BYTES, body, body_bytes, sealed, tag);
        break;
    case RECORD_CIPHER_CHACHA20POLY1305:
        crypto_aead_chacha20poly1305_ietf_encrypt_detached(sealed, tag, NULL, body, body_bytes, frame,
                                                           RECORD_HEADER_BYTES, NULL, npub, sealer->key.raw);
        break;
    case RECORD_CIPHER_PLAIN:
        if (body != sealed)
            memcpy(sealed, body, body_bytes);
        plain_tag(&sealer->key, frame, RECORD_HEADER_BYTES + body_bytes, tag);
        break;
    }
}

/* Decrypts in place. A forged body is cleared, so a frame can be tried under one key only. */
static int open_body(const struct record_key *key, enum record_cipher cipher, uint8_t *frame,
                     size_t body_bytes)
{
    const struct nonce nonce = nonce_of(frame);
    const uint8_t *npub = (const uint8_t *)&nonce;
    uint8_t *body = frame + RECORD_HEADER_BYTES;
    const uint8_t *tag = body + body_bytes;
    uint8_t expected[RECORD_TAG_BYTES];
    int differs = -1;

    switch (cipher) {
    case RECORD_CIPHER_AES256GCM:
        differs = aes_gcm_open(&key->aes, npub, frame, RECORD_HEADER_BYTES, body, body_bytes, tag);
        break;
    case RECORD_CIPHER_CHACHA20POLY1305:
        differs = crypto_aead_chacha20poly1305_ietf_decrypt_detached(body, NULL, body, body_bytes, tag, frame,
                                                                     RECORD_HEADER_BYTES, npub, key->raw);
        break;
    case RECORD_CIPHER_PLAIN:
        plain_tag(key, frame, RECORD_HEADER_BYTES + body_bytes, expected);
        differs = memcmp(expected, tag, sizeof(expected));
        break;
    }
    return differs ? -EBADMSG : 0;
}

/* ---- replay window ----
 *
 * Bit (counter mod WINDOW_BITS) of the window says that the counter has been seen, for the WINDOW_BITS
 * counters up to and including the newest. Older counters have no bit and are refused.
 */

static bool window_bit(const struct record_opener *opener, uint64_t counter)
{
    return opener->window[counter % WINDOW_BITS / 64] >> (counter % 64) & 1;
}

static bool window_takes(const struct record_opener *opener, uint64_t counter)
{
    if (counter > opener->newest_counter)
        return true;
    if (opener->newest_counter - counter >= WINDOW_BITS)
        return false;
    return !window_bit(opener, counter);
}

/* Bits of counters that were skipped still hold what their predecessors a window ago left there. */
static void window_advance(struct record_opener *opener, uint64_t counter)
{
    if (counter - opener->newest_counter >= WINDOW_BITS) {
        memset(opener->window, 0, sizeof(opener->window));
    } else {
        for (uint64_t skipped = opener->newest_counter + 1; skipped < counter; skipped++)
            opener->window[skipped % WINDOW_BITS / 64] &= ~(1ull << skipped % 64);
    }
    opener->newest_counter = counter;
}

static void window_mark(struct record_opener *opener, uint64_t counter)
{
    if (counter > opener->newest_counter)
        window_advance(opener, counter);
    opener->window[counter % WINDOW_BITS / 64] |= 1ull << counter % 64;
}

/* ---- sealer ---- */

static void sealer_schedule(struct record_sealer *sealer, uint64_t now_ns)
{
    sealer->rekey_at_ns = now_ns + RECORD_REKEY_NS;
    sealer->rekey_at_counter = sealer->counter + RECORD_REKEY_FRAMES;
    if (sealer->rekey_at_counter < sealer->counter)
        sealer->rekey_at_counter = UINT64_MAX;
}

void record_sealer_init(struct record_sealer *sealer, enum record_cipher cipher,
                        const uint8_t key[RECORD_KEY_BYTES], uint32_t receiver, uint64_t now_ns)
{
    memset(sealer, 0, sizeof(*sealer));
    sealer->cipher = cipher;
    sealer->receiver = receiver;
    sealer->counter = 1;
    key_init(&sealer->key, cipher, key);
    sealer_schedule(sealer, now_ns);
}

int record_seal(struct record_sealer *sealer, const uint8_t *body, size_t body_bytes, uint8_t *frame_out,
                uint64_t now_ns, uint64_t *counter_out)
{
    struct record_header header;

    if (sealer->counter == 0 || sealer->counter > RECORD_COUNTER_MAX)
        return -EKEYEXPIRED;
    if (now_ns >= sealer->rekey_at_ns || sealer->counter >= sealer->rekey_at_counter) {
        key_derive_next(&sealer->key, sealer->cipher, &sealer->key);
        sealer->phase++;
        sealer_schedule(sealer, now_ns);
    }
    header = (struct record_header){
        .magic = WIRE_MAGIC,
        .version = WIRE_VERSION,
        .type = RECORD_DATA,
        .key_phase = sealer->phase,
        .receiver = le32_of(sealer->receiver),
        .counter = le64_of(sealer->counter),
    };
    memcpy(frame_out, &header, sizeof(header));
    seal_body(sealer, body, body_bytes, frame_out);
    if (counter_out)
        *counter_out = sealer->counter;
    sealer->counter++;
    return (int)(body_bytes + RECORD_OVERHEAD);
}

void record_sealer_wipe(struct record_sealer *sealer)
{
    sodium_memzero(sealer, sizeof(*sealer));
}

/* ---- opener ---- */

void record_opener_init(struct record_opener *opener, enum record_cipher cipher,
                        const uint8_t key[RECORD_KEY_BYTES])
{
    memset(opener, 0, sizeof(*opener));
    opener->keyed = true;
    opener->cipher = cipher;
    key_init(&opener->keys[0], cipher, key);
}

/* The frame claims the next phase. Commits to it only when the tag is right. */
static int open_next_phase(struct record_opener *opener, uint8_t *frame, size_t body_bytes, uint64_t now_ns)
{
    struct record_key next;
    int error;

    key_derive_next(&next, opener->cipher, &opener->keys[opener->phase & 1]);
    error = open_body(&next, opener->cipher, frame, body_bytes);
    if (!error) {
        opener->phase++;
        opener->keys[opener->phase & 1] = next;
        opener->previous_until_ns = now_ns + RECORD_OVERLAP_NS;
    }
    sodium_memzero(&next, sizeof(next));
    return error;
}

static int open_in_phase(struct record_opener *opener, uint8_t phase, uint8_t *frame, size_t body_bytes,
                         uint64_t now_ns)
{
    const uint8_t ahead = (uint8_t)(phase - opener->phase);

    if (ahead == 0)
        return open_body(&opener->keys[phase & 1], opener->cipher, frame, body_bytes);
    if (ahead == 1)
        return open_next_phase(opener, frame, body_bytes, now_ns);
    if (ahead == UINT8_MAX && now_ns < opener->previous_until_ns)
        return open_body(&opener->keys[phase & 1], opener->cipher, frame, body_bytes);
    return -EBADMSG;
}

/* The key before has had its time. */
static void forget_previous(struct record_opener *opener)
{
    struct record_key *previous = &opener->keys[(opener->phase & 1) ^ 1];

    sodium_memzero(previous, sizeof(*previous));
    opener->previous_until_ns = 0;
}

int record_open(struct record_opener *opener, uint8_t *frame, size_t frame_bytes, uint64_t now_ns,
                uint64_t *counter_out)
{
    struct record_header header;
    uint64_t counter;
    int error;

    if (!opener->keyed)
        return -EBADMSG;
    if (frame_bytes < RECORD_OVERHEAD)
        return -EPROTO;
    memcpy(&header, frame, sizeof(header));
    counter = le64_get(header.counter);
    if (header.magic != WIRE_MAGIC || header.version != WIRE_VERSION || header.type != RECORD_DATA)
        return -EPROTO;
    if (counter == 0 || counter > RECORD_COUNTER_MAX)
        return -EPROTO;
    if (!window_takes(opener, counter))
        return -EALREADY;
    error = open_in_phase(opener, header.key_phase, frame, frame_bytes - RECORD_OVERHEAD, now_ns);
    if (error)
        return error;
    window_mark(opener, counter);
    if (opener->previous_until_ns != 0 && now_ns >= opener->previous_until_ns)
        forget_previous(opener);
    if (counter_out)
        *counter_out = counter;
    return (int)(frame_bytes - RECORD_OVERHEAD);
}

void record_opener_wipe(struct record_opener *opener)
{
    sodium_memzero(opener, sizeof(*opener));
}
