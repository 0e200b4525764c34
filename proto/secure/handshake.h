/* handshake.h - from two static keys to a session: cookie exchange, then Noise_IK_25519_ChaChaPoly_SHA512
 *
 *   client                                   server
 *   HELLO  nonce, padding           -->           keeps no state
 *                                  <--   COOKIE  keyed hash of address, time and nonce; no longer than HELLO
 *   INIT   cookie, Noise message 1  -->           cookie first, then the rate limit, only then public-key
 * work
 *                                  <--   RESP    Noise message 2; no longer than INIT
 *
 * A repeated INIT (the answer was lost, or somebody replays it) gets the same RESP, or nothing; never a
 * second session. Pure: no I/O; time and address come in as arguments. Source: the Noise Protocol Framework,
 * revision 34.
 */
#ifndef CXE_SECURE_HANDSHAKE_H
#define CXE_SECURE_HANDSHAKE_H

#include <stddef.h>
#include <stdint.h>

#include "limits.h"
#include "noise.h"
#include "record.h"

#define HANDSHAKE_COOKIE_BYTES   16
#define HANDSHAKE_COOKIE_LIFE_NS (60 * NS_PER_S)
#define HANDSHAKE_FRAME_BYTES    256 /* every handshake frame fits */

#define HANDSHAKE_NONCE_BYTES    16
#define HANDSHAKE_MESSAGE1_BYTES (NOISE_INIT_OVERHEAD + 24) /* with struct wire_offer */

/* What the client asks for; travels encrypted in INIT. */
struct handshake_offer {
    uint32_t client_session;  /* the client's name for the session: `receiver` of frames to it */
    uint32_t frame_bytes_max; /* the longest frame it can take */
    uint8_t cipher_mask;      /* bit 1 << enum record_cipher: what it accepts */
    uint32_t replaces;        /* the server's name for the session that this one replaces; 0: none */
    uint64_t incarnation;     /* of the server that gave it that name; 0 with none */
};

/* What the server grants; travels encrypted in RESP. */
struct handshake_grant {
    uint32_t server_session; /* the server's name for the session */
    uint32_t frame_bytes_max;
    uint8_t cipher; /* enum record_cipher */
    uint8_t status; /* enum wire_status: OK, or why not (ACCESS: no cipher in common, BUSY: full, draining) */
    uint16_t tenant; /* LD-ID */
    uint64_t incarnation;
};

/* What both ends have afterwards. */
struct handshake_keys {
    uint8_t send[RECORD_KEY_BYTES];
    uint8_t receive[RECORD_KEY_BYTES];
};

/* ---- client ---- */

enum handshake_step {
    HANDSHAKE_DONE, /* or never begun: takes nothing */
    HANDSHAKE_HELLO,
    HANDSHAKE_INIT, /* message1 made; RESP awaited */
};

struct handshake_client {
    enum handshake_step step;
    struct noise_handshake noise;
    struct handshake_offer offer;
    uint8_t nonce[HANDSHAKE_NONCE_BYTES];
    uint8_t server_public[NOISE_KEY_BYTES];
    struct noise_keypair self;
    uint8_t message1[HANDSHAKE_MESSAGE1_BYTES]; /* made once: a repeated INIT must name the same session */
};

/* Async-signal-safe, as are the other client functions: a page fault may have to reconnect. */
void handshake_client_init(struct handshake_client *client, const struct noise_keypair *self,
                           const uint8_t server_public[NOISE_KEY_BYTES], const struct handshake_offer *offer);

/* Writes HELLO (room: HANDSHAKE_FRAME_BYTES). Returns its length. May be repeated. */
size_t handshake_client_hello(struct handshake_client *client, uint8_t *frame_out);

/* Takes COOKIE, writes INIT (room: HANDSHAKE_FRAME_BYTES). Returns its length; -EPROTO: not an answer to our
 * HELLO (ignore it); -EKEYREJECTED: the server's public key is no key (of low order). When RESP does not
 * come, repeat from HELLO: cookies age; the INIT that follows carries the same Noise message as the first. */
int handshake_client_cookie(struct handshake_client *client, const uint8_t *frame, size_t frame_bytes,
                            uint8_t *init_out);

/* Takes RESP. 0: done, or the server said why not (see grant_out->status; then keys_out is not written); the
 * client's secrets are wiped. -EPROTO, -EBADMSG: not for us (ignore it), or a server that breaks the rules,
 * such as a cipher that was not offered. */
int handshake_client_resp(struct handshake_client *client, const uint8_t *frame, size_t frame_bytes,
                          struct handshake_grant *grant_out, struct handshake_keys *keys_out);

/* Forgets everything, at any step. */
void handshake_client_wipe(struct handshake_client *client);

/* ---- server ---- */

/* The cipher for a session: PLAIN for a client that offers it, which is how it asks for no encryption; for
 * others the first that both have of AES-256-GCM, ChaCha20-Poly1305. -EACCES: none in common. */
int handshake_pick_cipher(uint8_t client_mask, uint8_t server_mask, enum record_cipher *cipher_out);

struct handshake_limits {
    uint32_t inits_per_second; /* public-key operations begun, all clients together; a token bucket */
    uint32_t burst;
};

/* Shared by nobody: one per worker. */
struct handshake_server {
    struct noise_keypair self;
    uint8_t cookie_secret[32];
    struct handshake_limits limits;
    uint64_t tokens_milli;
    uint64_t refilled_at_ns;
    uint64_t hellos, cookies_bad, limited, opened, refused; /* counters */
};

/* `cookie_secret` is the same for all workers of a daemon: HELLO and INIT may reach different ones. */
void handshake_server_init(struct handshake_server *server, const struct noise_keypair *self,
                           const uint8_t cookie_secret[32], const struct handshake_limits *limits);

/* Takes HELLO from `address` (any bytes that name the sender). Writes COOKIE; returns its length, or -EPROTO.
 */
int handshake_server_hello(struct handshake_server *server, const uint8_t *frame, size_t frame_bytes,
                           const void *address, size_t address_bytes, uint64_t now_ns, uint8_t *cookie_out);

/* A client's INIT, opened. */
struct handshake_claim {
    struct noise_handshake noise;
    struct handshake_offer offer;
    uint8_t client_public[NOISE_KEY_BYTES];
    uint8_t client_ephemeral[NOISE_KEY_BYTES]; /* names this very INIT: a repeat carries the same */
};

/* The ephemeral key of an INIT, unopened, for recognising repeats before any work. Anybody can copy it: what
 * a repeat gets is the very RESP of the first, or nothing. -EPROTO: not an INIT. */
int handshake_server_peek(const uint8_t *frame, size_t frame_bytes, uint8_t ephemeral_out[NOISE_KEY_BYTES]);

/* Takes INIT. -EPROTO: malformed; -EACCES: bad or stale cookie; -EAGAIN: over the rate limit; -EBADMSG: not
 * for our key, or damaged. All of them are answered with silence. */
int handshake_server_open(struct handshake_server *server, const uint8_t *frame, size_t frame_bytes,
                          const void *address, size_t address_bytes, uint64_t now_ns,
                          struct handshake_claim *claim_out);

/* Writes RESP (room: HANDSHAKE_FRAME_BYTES) for a claim, once; returns its length. Wipes the claim's secrets.
 * With grant->status other than OK no keys result, and keys_out may be NULL. -EBADMSG: the claim was spent,
 * or did not come from handshake_server_open. */
int handshake_server_resp(struct handshake_server *server, struct handshake_claim *claim,
                          const struct handshake_grant *grant, uint8_t *resp_out,
                          struct handshake_keys *keys_out);

#endif
