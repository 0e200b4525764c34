/* record.h - sealed records: AEAD with counter nonces, replay window, key phases
 *
 * Pure: no I/O, no clock but the time passed in. One sealer to a session and direction, one opener at the
 * other end; each is owned by one thread at a time.
 */
#ifndef CXE_SECURE_RECORD_H
#define CXE_SECURE_RECORD_H

#include <sodium.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "aes_gcm.h"
#include "limits.h"

#define RECORD_KEY_BYTES     32
#define RECORD_REKEY_NS      (120 * NS_PER_S) /* a key's sending life, */
#define RECORD_REKEY_FRAMES  (1ull << 32)     /* or this many frames, whichever ends first */
#define RECORD_OVERLAP_NS    (10 * NS_PER_S) /* how long the opener still takes frames under the key before */
#define RECORD_COUNTER_MAX   (UINT64_MAX - (1ull << 16)) /* hard stop: nonces never wrap */
#define RECORD_REPLAY_WINDOW 1024                        /* frames; older ones are refused unseen */

/* How records are protected. The server chooses inside the handshake, where nobody can strip it. */
enum record_cipher {
    RECORD_CIPHER_PLAIN = 0,     /* tag: XXH3-128 seeded with a session secret; finds damage, not malice */
    RECORD_CIPHER_AES256GCM = 1, /* where both CPUs have it */
    RECORD_CIPHER_CHACHA20POLY1305 = 2, /* IETF */
};
#define RECORD_CIPHER_COUNT 3

/* Bit 1 << enum record_cipher for each that this CPU can do. PLAIN is always among them; whether to allow it
 * is the caller's question. To be called once before anything else here, after sodium_init(): the first call
 * looks for the fastest AES and is not async-signal-safe. */
uint8_t record_ciphers_available(void);

/* One key, expanded for its cipher. */
struct record_key {
    struct aes_gcm_key aes; /* 16-byte aligned by its type */
    uint8_t raw[RECORD_KEY_BYTES];
    uint64_t tag_seed; /* PLAIN */
};

struct record_sealer {
    struct record_key key;
    enum record_cipher cipher;
    uint32_t receiver; /* the peer's name for the session */
    uint8_t phase;
    uint64_t counter; /* next to use; from 1 */
    uint64_t rekey_at_counter;
    uint64_t rekey_at_ns;
};

struct record_opener {
    struct record_key keys[2]; /* [phase & 1] */
    enum record_cipher cipher;
    bool keyed;                 /* false: takes nothing */
    uint8_t phase;              /* the newest seen */
    uint64_t previous_until_ns; /* the key before is taken until then */
    uint64_t newest_counter;
    uint64_t window[RECORD_REPLAY_WINDOW / 64];
};

/* `cipher` must be one of record_ciphers_available(). The key is the caller's to wipe. */
void record_sealer_init(struct record_sealer *sealer, enum record_cipher cipher,
                        const uint8_t key[RECORD_KEY_BYTES], uint32_t receiver, uint64_t now_ns);
void record_opener_init(struct record_opener *opener, enum record_cipher cipher,
                        const uint8_t key[RECORD_KEY_BYTES]);

/* Seals `body_bytes` of body into `frame_out`, which has room for RECORD_OVERHEAD more. `body` may be
 * frame_out + RECORD_HEADER_BYTES (sealed in place) or lie elsewhere, not in between. Changes the key first
 * when it is due. Returns the frame's length and the counter used (counter_out may be NULL). -EKEYEXPIRED:
 * the counter is at its hard stop; the session must end. Async-signal-safe. */
int record_seal(struct record_sealer *sealer, const uint8_t *body, size_t body_bytes, uint8_t *frame_out,
                uint64_t now_ns, uint64_t *counter_out);

/* Opens a DATA record in place: the body is then at frame + RECORD_HEADER_BYTES. Nothing changes in the
 * opener unless the tag is right; a refused frame's body is undefined, but no plaintext. Returns the body's
 * length. -EPROTO: not a DATA record of this version, or too short; -EBADMSG: damaged, forged, or under a key
 * we do not take; -EALREADY: seen before, or too old to tell. Async-signal-safe. */
int record_open(struct record_opener *opener, uint8_t *frame, size_t frame_bytes, uint64_t now_ns,
                uint64_t *counter_out);

/* Forget the keys. Wiped ones, like all those that are zero throughout, seal no more (-EKEYEXPIRED) and open
 * no more (-EBADMSG). */
void record_sealer_wipe(struct record_sealer *sealer);
void record_opener_wipe(struct record_opener *opener);

#endif
