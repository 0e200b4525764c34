/* handshake.c - HELLO, COOKIE, INIT, RESP: the two ends of a handshake */
#include "handshake.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

#include "handshake_wire.h"

/* Half of a cookie's life: a cookie is good in the bucket it was made in and in the one after. */
#define COOKIE_BUCKET_NS (HANDSHAKE_COOKIE_LIFE_NS / 2)

/* Tokens are counted in thousandths, so that slow rates refill smoothly. */
#define TOKEN_MILLI 1000u

/* What both ends must agree on before anything else: another protocol or version does not get past message 1.
 */
static const uint8_t prologue[] = {'C', 'X', 'E', ' ', 'h', 'a', 'n',
                                   'd', 's', 'h', 'a', 'k', 'e', WIRE_VERSION};

static struct record_header header_of(enum record_type type, uint32_t receiver)
{
    return (struct record_header){
        .magic = WIRE_MAGIC, .version = WIRE_VERSION, .type = (uint8_t)type, .receiver = le32_of(receiver)};
}

static int header_check(const struct record_header *header, enum record_type type, uint32_t receiver)
{
    const struct record_header expected = header_of(type, receiver);

    return memcmp(header, &expected, sizeof(expected)) == 0 ? 0 : -EPROTO;
}

/* ---- client ---- */

void handshake_client_init(struct handshake_client *client, const struct noise_keypair *self,
                           const uint8_t server_public[NOISE_KEY_BYTES], const struct handshake_offer *offer)
{
    memset(client, 0, sizeof(*client));
    client->step = HANDSHAKE_HELLO;
    client->offer = *offer;
    client->self = *self;
    memcpy(client->server_public, server_public, NOISE_KEY_BYTES);
    randombytes_buf(client->nonce, sizeof(client->nonce));
}

void handshake_client_wipe(struct handshake_client *client)
{
    sodium_memzero(client, sizeof(*client));
}

size_t handshake_client_hello(struct handshake_client *client, uint8_t *frame_out)
{
    struct hello_frame hello = {.header = header_of(RECORD_HELLO, 0)};

    memcpy(hello.nonce, client->nonce, sizeof(hello.nonce));
    memcpy(frame_out, &hello, sizeof(hello));
    return sizeof(hello);
}

/* Noise message 1, once. */
static int client_make_message1(struct handshake_client *client)
{
    const struct wire_offer offer = {
        .client_session = le32_of(client->offer.client_session),
        .frame_bytes_max = le32_of(client->offer.frame_bytes_max),
        .cipher_mask = client->offer.cipher_mask,
        .replaces = le32_of(client->offer.replaces),
        .incarnation = le64_of(client->offer.incarnation),
    };
    struct noise_keypair ephemeral;
    int error;

    noise_keypair_generate(&ephemeral);
    noise_begin_initiator(&client->noise, client->server_public, prologue, sizeof(prologue));
    error =
        noise_write_init(&client->noise, &client->self, &ephemeral, &offer, sizeof(offer), client->message1);
    sodium_memzero(&ephemeral, sizeof(ephemeral));
    if (!error)
        client->step = HANDSHAKE_INIT;
    return error;
}

int handshake_client_cookie(struct handshake_client *client, const uint8_t *frame, size_t frame_bytes,
                            uint8_t *init_out)
{
    struct init_frame init = {.header = header_of(RECORD_INIT, 0)};
    struct cookie_frame cookie;
    int error;

    if (client->step == HANDSHAKE_DONE || frame_bytes != sizeof(cookie))
        return -EPROTO;
    memcpy(&cookie, frame, sizeof(cookie));
    if (header_check(&cookie.header, RECORD_COOKIE, 0) != 0 ||
        memcmp(cookie.nonce, client->nonce, sizeof(cookie.nonce)) != 0)
        return -EPROTO;
    if (client->step == HANDSHAKE_HELLO) {
        error = client_make_message1(client);
        if (error)
            return error;
    }
    memcpy(init.nonce, cookie.nonce, sizeof(init.nonce));
    memcpy(init.cookie, cookie.cookie, sizeof(init.cookie));
    memcpy(init.message, client->message1, sizeof(init.message));
    memcpy(init_out, &init, sizeof(init));
    return (int)sizeof(init);
}

/* A server may refuse us in any words; what it grants must be what we can do. */
static int grant_read(const struct wire_grant *wire, const struct handshake_offer *offer,
                      struct handshake_grant *grant_out)
{
    if (le32_get(wire->reserved) != 0)
        return -EPROTO;
    if (wire->status == STATUS_OK) {
        if (wire->cipher >= RECORD_CIPHER_COUNT || !(offer->cipher_mask & 1u << wire->cipher))
            return -EPROTO;
        if (le32_get(wire->frame_bytes_max) < FRAME_BYTES_MIN)
            return -EPROTO;
    }
    *grant_out = (struct handshake_grant){
        .server_session = le32_get(wire->server_session),
        .frame_bytes_max = le32_get(wire->frame_bytes_max),
        .cipher = wire->cipher,
        .status = wire->status,
        .tenant = le16_get(wire->tenant),
        .incarnation = le64_get(wire->incarnation),
    };
    return 0;
}

int handshake_client_resp(struct handshake_client *client, const uint8_t *frame, size_t frame_bytes,
                          struct handshake_grant *grant_out, struct handshake_keys *keys_out)
{
    struct resp_frame resp;
    struct wire_grant wire;
    int error;

    if (client->step != HANDSHAKE_INIT || frame_bytes != sizeof(resp))
        return -EPROTO;
    memcpy(&resp, frame, sizeof(resp));
    error = header_check(&resp.header, RECORD_RESP, client->offer.client_session);
    if (error)
        return error;
    if (noise_read_resp(&client->noise, &client->self, resp.message, sizeof(resp.message), &wire) != 0)
        return -EBADMSG;
    error = grant_read(&wire, &client->offer, grant_out);
    if (!error && grant_out->status == STATUS_OK)
        noise_split(&client->noise, keys_out->send, keys_out->receive);
    handshake_client_wipe(client);
    return error;
}

/* ---- server ---- */

int handshake_pick_cipher(uint8_t client_mask, uint8_t server_mask, enum record_cipher *cipher_out)
{
    const uint8_t plain = 1u << RECORD_CIPHER_PLAIN;
    const uint8_t common = client_mask & server_mask & (client_mask & plain ? plain : (uint8_t)~plain);

    if (common & plain)
        *cipher_out = RECORD_CIPHER_PLAIN;
    else if (common & 1u << RECORD_CIPHER_AES256GCM)
        *cipher_out = RECORD_CIPHER_AES256GCM;
    else if (common & 1u << RECORD_CIPHER_CHACHA20POLY1305)
        *cipher_out = RECORD_CIPHER_CHACHA20POLY1305;
    else
        return -EACCES;
    return 0;
}

void handshake_server_init(struct handshake_server *server, const struct noise_keypair *self,
                           const uint8_t cookie_secret[32], const struct handshake_limits *limits)
{
    memset(server, 0, sizeof(*server));
    server->self = *self;
    memcpy(server->cookie_secret, cookie_secret, sizeof(server->cookie_secret));
    server->limits = *limits;
    server->tokens_milli = (uint64_t)limits->burst * TOKEN_MILLI;
}

/* cookie = BLAKE2b(secret, bucket || nonce || address) */
static void cookie_make(const struct handshake_server *server, uint64_t bucket,
                        const uint8_t nonce[HANDSHAKE_NONCE_BYTES], const void *address, size_t address_bytes,
                        uint8_t cookie_out[HANDSHAKE_COOKIE_BYTES])
{
    const struct le64 bucket_wire = le64_of(bucket);
    crypto_generichash_state state;

    crypto_generichash_init(&state, server->cookie_secret, sizeof(server->cookie_secret),
                            HANDSHAKE_COOKIE_BYTES);
    crypto_generichash_update(&state, (const uint8_t *)&bucket_wire, sizeof(bucket_wire));
    crypto_generichash_update(&state, nonce, HANDSHAKE_NONCE_BYTES);
    crypto_generichash_update(&state, address, address_bytes);
    crypto_generichash_final(&state, cookie_out, HANDSHAKE_COOKIE_BYTES);
    sodium_memzero(&state, sizeof(state));
}

static bool cookie_good(const struct handshake_server *server, const struct init_frame *init,
                        const void *address, size_t address_bytes, uint64_t now_ns)
{
    const uint64_t bucket = now_ns / COOKIE_BUCKET_NS;
    uint8_t expected[HANDSHAKE_COOKIE_BYTES];

    for (uint64_t age = 0; age <= 1; age++) {
        cookie_make(server, bucket - age, init->nonce, address, address_bytes, expected);
        if (sodium_memcmp(expected, init->cookie, sizeof(expected)) == 0)
            return true;
    }
    return false;
}

int handshake_server_hello(struct handshake_server *server, const uint8_t *frame, size_t frame_bytes,
                           const void *address, size_t address_bytes, uint64_t now_ns, uint8_t *cookie_out)
{
    struct cookie_frame cookie = {.header = header_of(RECORD_COOKIE, 0)};
    struct hello_frame hello;

    if (frame_bytes != sizeof(hello))
        return -EPROTO;
    memcpy(&hello, frame, sizeof(hello));
    if (header_check(&hello.header, RECORD_HELLO, 0) != 0 ||
        !sodium_is_zero(hello.reserved, sizeof(hello.reserved)))
        return -EPROTO;
    server->hellos++;
    memcpy(cookie.nonce, hello.nonce, sizeof(cookie.nonce));
    cookie_make(server, now_ns / COOKIE_BUCKET_NS, hello.nonce, address, address_bytes, cookie.cookie);
    memcpy(cookie_out, &cookie, sizeof(cookie));
    return (int)sizeof(cookie);
}

static int init_read(const uint8_t *frame, size_t frame_bytes, struct init_frame *init_out)
{
    if (frame_bytes != sizeof(*init_out))
        return -EPROTO;
    memcpy(init_out, frame, sizeof(*init_out));
    return header_check(&init_out->header, RECORD_INIT, 0);
}

int handshake_server_peek(const uint8_t *frame, size_t frame_bytes, uint8_t ephemeral_out[NOISE_KEY_BYTES])
{
    struct init_frame init;
    int error = init_read(frame, frame_bytes, &init);

    if (error)
        return error;
    memcpy(ephemeral_out, init.message, NOISE_KEY_BYTES);
    return 0;
}

static void tokens_refill(struct handshake_server *server, uint64_t now_ns)
{
    const uint64_t rate = server->limits.inits_per_second;
    const uint64_t full_milli = (uint64_t)server->limits.burst * TOKEN_MILLI;
    const uint64_t ns_per_milli = NS_PER_S / TOKEN_MILLI;
    uint64_t elapsed_ns, gained_milli;

    if (rate == 0 || now_ns <= server->refilled_at_ns)
        return;
    elapsed_ns = now_ns - server->refilled_at_ns;
    /* Long enough to fill the bucket; this also keeps the product below within 64 bits. */
    if (elapsed_ns / NS_PER_S > server->limits.burst / rate) {
        server->tokens_milli = full_milli;
        server->refilled_at_ns = now_ns;
        return;
    }
    gained_milli = elapsed_ns * rate / ns_per_milli;
    if (gained_milli == 0)
        return; /* keep the remainder for later */
    server->tokens_milli += gained_milli;
    server->refilled_at_ns += gained_milli * ns_per_milli / rate;
    if (server->tokens_milli > full_milli)
        server->tokens_milli = full_milli;
}

static bool token_take(struct handshake_server *server, uint64_t now_ns)
{
    tokens_refill(server, now_ns);
    if (server->tokens_milli < TOKEN_MILLI)
        return false;
    server->tokens_milli -= TOKEN_MILLI;
    return true;
}

static int offer_read(const struct wire_offer *wire, struct handshake_offer *offer_out)
{
    if (!sodium_is_zero(wire->reserved, sizeof(wire->reserved)))
        return -EPROTO;
    if (le32_get(wire->frame_bytes_max) < FRAME_BYTES_MIN)
        return -EPROTO;
    if (le32_get(wire->replaces) == 0 && le64_get(wire->incarnation) != 0)
        return -EPROTO;
    *offer_out = (struct handshake_offer){
        .client_session = le32_get(wire->client_session),
        .frame_bytes_max = le32_get(wire->frame_bytes_max),
        .cipher_mask = wire->cipher_mask,
        .replaces = le32_get(wire->replaces),
        .incarnation = le64_get(wire->incarnation),
    };
    return 0;
}

/* The public-key work. */
static int claim_open(const struct handshake_server *server, const struct init_frame *init,
                      struct handshake_claim *claim_out)
{
    struct wire_offer wire;
    int error;

    noise_begin_responder(&claim_out->noise, server->self.public, prologue, sizeof(prologue));
    if (noise_read_init(&claim_out->noise, &server->self, init->message, sizeof(init->message), &wire) != 0)
        return -EBADMSG;
    error = offer_read(&wire, &claim_out->offer);
    if (error) {
        noise_wipe(&claim_out->noise);
        return error;
    }
    memcpy(claim_out->client_public, claim_out->noise.remote_static, NOISE_KEY_BYTES);
    memcpy(claim_out->client_ephemeral, claim_out->noise.remote_ephemeral, NOISE_KEY_BYTES);
    return 0;
}

int handshake_server_open(struct handshake_server *server, const uint8_t *frame, size_t frame_bytes,
                          const void *address, size_t address_bytes, uint64_t now_ns,
                          struct handshake_claim *claim_out)
{
    struct init_frame init;
    int error = init_read(frame, frame_bytes, &init);

    if (error)
        return error;
    if (!cookie_good(server, &init, address, address_bytes, now_ns)) {
        server->cookies_bad++;
        return -EACCES;
    }
    if (!token_take(server, now_ns)) {
        server->limited++;
        return -EAGAIN;
    }
    error = claim_open(server, &init, claim_out);
    if (error)
        return error;
    server->opened++;
    return 0;
}

int handshake_server_resp(struct handshake_server *server, struct handshake_claim *claim,
                          const struct handshake_grant *grant, uint8_t *resp_out,
                          struct handshake_keys *keys_out)
{
    const struct wire_grant wire = {
        .server_session = le32_of(grant->server_session),
        .frame_bytes_max = le32_of(grant->frame_bytes_max),
        .cipher = grant->cipher,
        .status = grant->status,
        .tenant = le16_of(grant->tenant),
        .incarnation = le64_of(grant->incarnation),
    };
    struct resp_frame resp = {.header = header_of(RECORD_RESP, claim->offer.client_session)};
    struct noise_keypair ephemeral;
    int error;

    noise_keypair_generate(&ephemeral);
    error = noise_write_resp(&claim->noise, &ephemeral, &wire, sizeof(wire), resp.message);
    sodium_memzero(&ephemeral, sizeof(ephemeral));
    if (error)
        return -EBADMSG;
    if (grant->status == STATUS_OK) {
        noise_split(&claim->noise, keys_out->receive, keys_out->send);
    } else {
        noise_wipe(&claim->noise);
        server->refused++;
    }
    memcpy(resp_out, &resp, sizeof(resp));
    return (int)sizeof(resp);
}
