/* fuzz_handshake.c - damaged HELLO, COOKIE, INIT and RESP at both ends of a handshake
 *
 * The input is a patch to a genuine frame, so that no corpus is needed to get past the first checks:
 *   byte 0: which frame; byte 1: where the patch begins; byte 2: bytes to cut off or add; the rest: XORed in.
 * The empty patch must be taken, and no other, but for bytes that are the sender's choice.
 */
#include <errno.h>
#include <sodium.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "check.h"
#include "handshake.h"
#include "handshake_wire.h"

static const char address[] = "192.0.2.1:7000";
static const uint8_t cookie_secret[32] = "the same for every input, 32 b.";
static const struct handshake_limits limits = {.inits_per_second = UINT32_MAX, .burst = UINT32_MAX};
static const struct handshake_offer offer = {.client_session = 1,
                                             .frame_bytes_max = FRAME_BYTES_1500,
                                             .cipher_mask = 1u << RECORD_CIPHER_CHACHA20POLY1305};
static const struct handshake_grant grant = {
    .server_session = 2, .frame_bytes_max = FRAME_BYTES_1500, .cipher = RECORD_CIPHER_CHACHA20POLY1305};

enum frame_kind { HELLO, COOKIE, INIT, RESP, FRAME_KINDS };

/* A handshake that went well, and its ends as they were before each frame arrived. */
static struct {
    struct handshake_server server;
    struct handshake_client client_before_cookie, client_before_resp;
    struct {
        uint8_t bytes[HANDSHAKE_FRAME_BYTES];
        size_t count;
    } frames[FRAME_KINDS];
} genuine;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const uint8_t client_secret[NOISE_KEY_BYTES] = {1}, server_secret[NOISE_KEY_BYTES] = {2};
    struct noise_keypair client_keys, server_keys;
    struct handshake_client client;
    struct handshake_claim claim;
    struct handshake_keys keys;

    (void)argc;
    (void)argv;
    CHECK(sodium_init() >= 0);
    noise_keypair_derive(client_secret, &client_keys);
    noise_keypair_derive(server_secret, &server_keys);
    handshake_client_init(&client, &client_keys, server_keys.public, &offer);
    handshake_server_init(&genuine.server, &server_keys, cookie_secret, &limits);

    genuine.frames[HELLO].count = handshake_client_hello(&client, genuine.frames[HELLO].bytes);
    genuine.frames[COOKIE].count = (size_t)handshake_server_hello(
        &genuine.server, genuine.frames[HELLO].bytes, genuine.frames[HELLO].count, address, sizeof(address),
        0, genuine.frames[COOKIE].bytes);
    genuine.client_before_cookie = client;
    genuine.frames[INIT].count = (size_t)handshake_client_cookie(
        &client, genuine.frames[COOKIE].bytes, genuine.frames[COOKIE].count, genuine.frames[INIT].bytes);
    genuine.client_before_resp = client;
    CHECK(handshake_server_open(&genuine.server, genuine.frames[INIT].bytes, genuine.frames[INIT].count,
                                address, sizeof(address), 0, &claim) == 0);
    genuine.frames[RESP].count =
        (size_t)handshake_server_resp(&genuine.server, &claim, &grant, genuine.frames[RESP].bytes, &keys);
    return 0;
}

static void take_hello(const uint8_t *frame, size_t frame_bytes)
{
    struct handshake_server server = genuine.server;
    uint8_t answer[HANDSHAKE_FRAME_BYTES];
    int length = handshake_server_hello(&server, frame, frame_bytes, address, sizeof(address), 0, answer);

    CHECK(length < 0 || (size_t)length <= frame_bytes);
}

static void take_cookie(const uint8_t *frame, size_t frame_bytes, bool changed)
{
    struct handshake_client client = genuine.client_before_cookie;
    uint8_t answer[HANDSHAKE_FRAME_BYTES];
    int length = handshake_client_cookie(&client, frame, frame_bytes, answer);

    CHECK(changed || length > 0);
    if (length < 0)
        CHECK(memcmp(&client, &genuine.client_before_cookie, sizeof(client)) == 0);
}

static void take_init(const uint8_t *frame, size_t frame_bytes, bool changed)
{
    struct handshake_server server = genuine.server;
    uint8_t ephemeral[NOISE_KEY_BYTES];
    struct handshake_claim claim;
    int error = handshake_server_open(&server, frame, frame_bytes, address, sizeof(address), 0, &claim);

    CHECK((error == 0) == !changed);
    if (error != -EPROTO)
        CHECK(handshake_server_peek(frame, frame_bytes, ephemeral) == 0);
}

static void take_resp(const uint8_t *frame, size_t frame_bytes, bool changed)
{
    struct handshake_client client = genuine.client_before_resp;
    struct handshake_grant granted;
    struct handshake_keys keys;
    int error = handshake_client_resp(&client, frame, frame_bytes, &granted, &keys);

    CHECK((error == 0) == !changed);
    if (error)
        CHECK(memcmp(&client, &genuine.client_before_resp, sizeof(client)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t frame[2 * HANDSHAKE_FRAME_BYTES] = {0};
    enum frame_kind kind;
    size_t count, from;
    bool changed;

    if (size < 3)
        return 0;
    kind = data[0] % FRAME_KINDS;
    count = genuine.frames[kind].count;
    memcpy(frame, genuine.frames[kind].bytes, count);
    count = data[2] < 128 ? count + data[2] : count - (256 - data[2] < (int)count ? 256 - data[2] : count);
    from = data[1];
    for (size_t i = 3; i < size && from + i - 3 < count; i++)
        frame[from + i - 3] ^= data[i];
    changed = count != genuine.frames[kind].count || memcmp(frame, genuine.frames[kind].bytes, count) != 0;

    switch (kind) {
    case HELLO:
        take_hello(frame, count);
        break;
    case COOKIE:
        take_cookie(frame, count, changed);
        break;
    case INIT:
        take_init(frame, count, changed);
        break;
    case RESP:
        take_resp(frame, count, changed);
        break;
    case FRAME_KINDS:
        break;
    }
    return 0;
}
