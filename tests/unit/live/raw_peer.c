/* raw_peer.c - see raw_peer.h */
#include "raw_peer.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "keys.h"

void raw_open(struct raw_peer *peer, const struct server *server)
{
    struct address address;

    memset(peer, 0, sizeof(*peer));
    keys_generate(&peer->key);
    record_ciphers_available();
    cr_assert_eq(address_parse(server->address, 0, &address), 0);
    peer->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    cr_assert_geq(peer->fd, 0);
    cr_assert_eq(connect(peer->fd, &address.sa, sizeof(address.in)), 0);
}

void raw_close(struct raw_peer *peer)
{
    close(peer->fd);
}

void raw_send(struct raw_peer *peer, const void *frame, size_t frame_bytes)
{
    cr_assert_eq(send(peer->fd, frame, frame_bytes, 0), (ssize_t)frame_bytes);
}

size_t raw_receive(struct raw_peer *peer, void *frame, size_t room, int wait_ms)
{
    struct pollfd readable = {.fd = peer->fd, .events = POLLIN};
    ssize_t bytes;

    if (poll(&readable, 1, wait_ms) <= 0)
        return 0;
    bytes = recv(peer->fd, frame, room, 0);
    return bytes > 0 ? (size_t)bytes : 0;
}

void raw_offer(struct raw_peer *peer, const struct server *server, const struct handshake_offer *offer)
{
    uint8_t frame[HANDSHAKE_FRAME_BYTES];
    struct handshake_keys keys;
    size_t bytes;
    int init_bytes;

    handshake_client_init(&peer->handshake, &peer->key, server->key.public, offer);
    raw_send(peer, frame, handshake_client_hello(&peer->handshake, frame));
    bytes = raw_receive(peer, frame, sizeof(frame), 5000);
    init_bytes = handshake_client_cookie(&peer->handshake, frame, bytes, peer->init);
    cr_assert_gt(init_bytes, 0);
    peer->init_bytes = (size_t)init_bytes;
    peer->resp_bytes = 0;
    for (int tries = 0; tries < 100 && peer->resp_bytes == 0;
         tries++) { /* another worker may have to be asked */
        raw_send(peer, peer->init, peer->init_bytes);
        peer->resp_bytes = raw_receive(peer, peer->resp, sizeof(peer->resp), 100);
    }
    cr_assert_eq(handshake_client_resp(&peer->handshake, peer->resp, peer->resp_bytes, &peer->grant, &keys),
                 0);
    cr_assert_eq(peer->grant.status, STATUS_OK);
    record_sealer_init(&peer->sealer, peer->grant.cipher, keys.send, peer->grant.server_session,
                       clock_now_ns());
    record_opener_init(&peer->opener, peer->grant.cipher, keys.receive);
}

void raw_shake_hands(struct raw_peer *peer, const struct server *server, enum record_cipher cipher)
{
    struct handshake_offer offer = {
        .client_session = 77, .frame_bytes_max = FRAME_BYTES_MAX, .cipher_mask = (uint8_t)(1u << cipher)};

    raw_open(peer, server);
    raw_offer(peer, server, &offer);
}

size_t raw_seal(struct raw_peer *peer, const void *body, size_t body_bytes, uint8_t *frame_out)
{
    int frame_bytes = record_seal(&peer->sealer, body, body_bytes, frame_out, clock_now_ns(), NULL);

    cr_assert_gt(frame_bytes, 0);
    return (size_t)frame_bytes;
}

void raw_send_body(struct raw_peer *peer, const void *body, size_t body_bytes)
{
    static uint8_t frame[FRAME_BYTES_MAX];

    raw_send(peer, frame, raw_seal(peer, body, body_bytes, frame));
}

size_t raw_receive_body(struct raw_peer *peer, void *body, size_t room, int wait_ms)
{
    static uint8_t frame[FRAME_BYTES_MAX];
    size_t bytes = raw_receive(peer, frame, sizeof(frame), wait_ms);
    int body_bytes;

    if (bytes == 0)
        return 0;
    body_bytes = record_open(&peer->opener, frame, bytes, clock_now_ns(), NULL);
    cr_assert_gt(body_bytes, 0, "the server sent what does not open: %d", body_bytes);
    cr_assert_leq((size_t)body_bytes, room);
    memcpy(body, frame + RECORD_HEADER_BYTES, (size_t)body_bytes);
    return (size_t)body_bytes;
}

uint8_t *raw_request(uint8_t *body, uint64_t seq, unsigned op_count)
{
    struct body_header header = {
        .kind = BODY_REQUEST, .op_count = le16_of((uint16_t)op_count), .seq = le64_of(seq)};

    memcpy(body, &header, sizeof(header));
    return body + sizeof(header);
}
