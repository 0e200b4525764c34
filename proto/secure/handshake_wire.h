/* handshake_wire.h - the layout of HELLO, COOKIE, INIT and RESP; docs/WIRE.md is the normative text
 *
 * Little endian, no padding, reserved fields zero, lengths exact. In all four the header's key_phase and
 * counter are zero; `receiver` is zero but in RESP, where it is the client's name for the session.
 */
#ifndef CXE_SECURE_HANDSHAKE_WIRE_H
#define CXE_SECURE_HANDSHAKE_WIRE_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "handshake.h"
#include "wire.h"

struct hello_frame {
    struct record_header header;
    uint8_t nonce[HANDSHAKE_NONCE_BYTES];
    uint8_t reserved[HANDSHAKE_COOKIE_BYTES]; /* the size of the answer */
};

struct cookie_frame {
    struct record_header header;
    uint8_t nonce[HANDSHAKE_NONCE_BYTES]; /* of the HELLO */
    uint8_t cookie[HANDSHAKE_COOKIE_BYTES];
};

/* The payload of Noise message 1: struct handshake_offer. */
struct wire_offer {
    struct le32 client_session;
    struct le32 frame_bytes_max;
    uint8_t cipher_mask; /* bits of ciphers that the server does not know are no error */
    uint8_t reserved[3];
    struct le32 replaces;
    struct le64 incarnation;
};

struct init_frame {
    struct record_header header;
    uint8_t nonce[HANDSHAKE_NONCE_BYTES];
    uint8_t cookie[HANDSHAKE_COOKIE_BYTES];
    uint8_t message[HANDSHAKE_MESSAGE1_BYTES]; /* begins with the client's ephemeral key */
};

/* The payload of Noise message 2: struct handshake_grant. */
struct wire_grant {
    struct le32 server_session;
    struct le32 frame_bytes_max;
    uint8_t cipher;
    uint8_t status;
    struct le16 tenant;
    struct le32 reserved;
    struct le64 incarnation;
};

#define HANDSHAKE_MESSAGE2_BYTES (NOISE_RESP_OVERHEAD + sizeof(struct wire_grant))

struct resp_frame {
    struct record_header header;
    uint8_t message[HANDSHAKE_MESSAGE2_BYTES];
};

static_assert(sizeof(struct hello_frame) == 48, "hello");
static_assert(offsetof(struct hello_frame, nonce) == 16, "hello nonce");
static_assert(offsetof(struct hello_frame, reserved) == 32, "hello padding");
static_assert(sizeof(struct cookie_frame) == 48, "cookie");
static_assert(offsetof(struct cookie_frame, nonce) == 16, "cookie nonce");
static_assert(offsetof(struct cookie_frame, cookie) == 32, "cookie cookie");
static_assert(sizeof(struct wire_offer) == 24, "offer");
static_assert(offsetof(struct wire_offer, frame_bytes_max) == 4, "offer frame_bytes_max");
static_assert(offsetof(struct wire_offer, cipher_mask) == 8, "offer cipher_mask");
static_assert(offsetof(struct wire_offer, reserved) == 9, "offer reserved");
static_assert(offsetof(struct wire_offer, replaces) == 12, "offer replaces");
static_assert(offsetof(struct wire_offer, incarnation) == 16, "offer incarnation");
static_assert(sizeof(struct init_frame) == 168, "init");
static_assert(offsetof(struct init_frame, nonce) == 16, "init nonce");
static_assert(offsetof(struct init_frame, cookie) == 32, "init cookie");
static_assert(offsetof(struct init_frame, message) == 48, "init message");
static_assert(sizeof(struct wire_grant) == 24, "grant");
static_assert(offsetof(struct wire_grant, frame_bytes_max) == 4, "grant frame_bytes_max");
static_assert(offsetof(struct wire_grant, cipher) == 8, "grant cipher");
static_assert(offsetof(struct wire_grant, status) == 9, "grant status");
static_assert(offsetof(struct wire_grant, tenant) == 10, "grant tenant");
static_assert(offsetof(struct wire_grant, reserved) == 12, "grant reserved");
static_assert(offsetof(struct wire_grant, incarnation) == 16, "grant incarnation");
static_assert(sizeof(struct resp_frame) == 88, "resp");

static_assert(HANDSHAKE_MESSAGE1_BYTES == NOISE_INIT_OVERHEAD + sizeof(struct wire_offer), "message 1");
static_assert(sizeof(struct cookie_frame) <= sizeof(struct hello_frame), "COOKIE does not amplify HELLO");
static_assert(sizeof(struct resp_frame) <= sizeof(struct init_frame), "RESP does not amplify INIT");
static_assert(sizeof(struct init_frame) <= HANDSHAKE_FRAME_BYTES, "every handshake frame fits");

#endif
