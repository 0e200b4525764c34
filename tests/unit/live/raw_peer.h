/* raw_peer.h - a peer that speaks the protocol by hand, and so can break it anywhere */
#ifndef TESTS_LIVE_RAW_PEER_H
#define TESTS_LIVE_RAW_PEER_H

#include "handshake.h"
#include "record.h"
#include "server.h"
#include "wire.h"

struct raw_peer {
    int fd;
    struct noise_keypair key;
    struct handshake_client handshake;
    struct handshake_grant grant;
    struct record_sealer sealer;
    struct record_opener opener;
    uint8_t init[HANDSHAKE_FRAME_BYTES]; /* as sent */
    size_t init_bytes;
    uint8_t resp[HANDSHAKE_FRAME_BYTES]; /* as received */
    size_t resp_bytes;
};

/* A socket towards the server, nothing said yet. */
void raw_open(struct raw_peer *peer, const struct server *server);
void raw_close(struct raw_peer *peer);
/* The handshake of an open peer, for a session as offered; `sealer` and `opener` are then the new one's. */
void raw_offer(struct raw_peer *peer, const struct server *server, const struct handshake_offer *offer);
/* Both, for sessions of this cipher. */
void raw_shake_hands(struct raw_peer *peer, const struct server *server, enum record_cipher cipher);

void raw_send(struct raw_peer *peer, const void *frame, size_t frame_bytes);
/* The next datagram, or 0 after `wait_ms` of silence. */
size_t raw_receive(struct raw_peer *peer, void *frame, size_t room, int wait_ms);

/* Seals a body, to be sent some time. Returns the frame's length. */
size_t raw_seal(struct raw_peer *peer, const void *body, size_t body_bytes, uint8_t *frame_out);
/* Seals and sends a body. */
void raw_send_body(struct raw_peer *peer, const void *body, size_t body_bytes);
/* The next body the server sends, copied to `body`; 0 after `wait_ms` of silence. */
size_t raw_receive_body(struct raw_peer *peer, void *body, size_t room, int wait_ms);

/* Writes a request's header; the operations follow it. */
uint8_t *raw_request(uint8_t *body, uint64_t seq, unsigned op_count);

#endif
