/* raw_server.c - see raw_server.h */
#include "raw_server.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "atomic.h"
#include "clock.h"
#include "keys.h"
#include "lane_internal.h"

void raw_server_send(struct raw_server *server, struct raw_session *session, const void *body,
                     size_t body_bytes)
{
    static uint8_t frame[FRAME_BYTES_MAX]; /* one thread sends */
    int frame_bytes = record_seal(&session->sealer, body, body_bytes, frame, clock_now_ns(), NULL);

    cr_assert_gt(frame_bytes, 0);
    sendto(server->fd, frame, (size_t)frame_bytes, 0, (struct sockaddr *)&session->peer,
           sizeof(session->peer));
}

void raw_server_respond(struct raw_server *server, struct raw_session *session, const uint8_t *request,
                        uint64_t counter, enum wire_status status, unsigned done, const void *values,
                        size_t value_bytes)
{
    uint8_t body[2048];
    struct body_header header = {
        .kind = BODY_RESPONSE,
        .status = (uint8_t)status,
        .op_count = le16_of((uint16_t)done),
        .seq = ((const struct body_header *)request)->seq,
        .echo = le64_of(counter),
    };

    memcpy(body, &header, sizeof(header));
    memcpy(body + sizeof(header), values, value_bytes);
    raw_server_send(server, session, body, sizeof(header) + value_bytes);
}

void raw_server_say(struct raw_server *server, struct raw_session *session, enum body_kind kind, uint64_t seq)
{
    struct body_header header = {.kind = (uint8_t)kind, .seq = le64_of(seq)};

    raw_server_send(server, session, &header, sizeof(header));
}

static void take_init(struct raw_server *server, const uint8_t *frame, size_t frame_bytes,
                      const struct sockaddr_in *from)
{
    struct raw_session *session = &server->sessions[server->session_count];
    struct handshake_claim claim;
    struct handshake_grant grant = {
        .server_session = server->session_count + 1,
        .frame_bytes_max = FRAME_BYTES_1500,
        .cipher = RECORD_CIPHER_CHACHA20POLY1305,
        .incarnation = 1,
    };
    struct handshake_keys keys;
    uint8_t resp[HANDSHAKE_FRAME_BYTES];
    int bytes;

    if (handshake_server_open(&server->handshake, frame, frame_bytes, from, sizeof(*from), clock_now_ns(),
                              &claim) < 0)
        return;
    cr_assert_lt(server->session_count, RAW_SESSIONS_MAX);
    bytes = handshake_server_resp(&server->handshake, &claim, &grant, resp, &keys);
    record_sealer_init(&session->sealer, grant.cipher, keys.send, claim.offer.client_session, clock_now_ns());
    record_opener_init(&session->opener, grant.cipher, keys.receive);
    session->peer = *from;
    session->offer = claim.offer;
    server->session_count++;
    sendto(server->fd, resp, (size_t)bytes, 0, (const struct sockaddr *)from, sizeof(*from));
}

static void take_data(struct raw_server *server, uint8_t *frame, size_t frame_bytes)
{
    uint32_t id = le32_get(((const struct record_header *)frame)->receiver);
    const uint8_t *body = frame + RECORD_HEADER_BYTES;
    struct raw_session *session;
    uint64_t counter;
    int body_bytes;

    if (id == 0 || id > server->session_count)
        return;
    session = &server->sessions[id - 1];
    body_bytes = record_open(&session->opener, frame, frame_bytes, clock_now_ns(), &counter);
    if (body_bytes < (int)sizeof(struct body_header))
        return;
    if (body[0] == BODY_PING) {
        struct body_header pong = {.kind = BODY_PONG, .echo = le64_of(counter)};

        raw_server_send(server, session, &pong, sizeof(pong));
        return;
    }
    session->bodies++;
    server->heard(server, session, body, (size_t)body_bytes, counter);
}

static void take_frame(struct raw_server *server)
{
    static uint8_t frame[FRAME_BYTES_MAX] __attribute__((aligned(64)));
    uint8_t cookie[HANDSHAKE_FRAME_BYTES];
    struct sockaddr_in from = {0};
    socklen_t from_bytes = sizeof(from);
    ssize_t bytes = recvfrom(server->fd, frame, sizeof(frame), 0, (struct sockaddr *)&from, &from_bytes);

    if (bytes < (ssize_t)sizeof(struct record_header))
        return;
    switch (frame[offsetof(struct record_header, type)]) {
    case RECORD_HELLO:
        fetch_add_relaxed(&server->hellos, 1);
        if (load_relaxed(&server->deaf))
            return;
        bytes = handshake_server_hello(&server->handshake, frame, (size_t)bytes, &from, sizeof(from),
                                       clock_now_ns(), cookie);
        if (bytes > 0)
            sendto(server->fd, cookie, (size_t)bytes, 0, (struct sockaddr *)&from, sizeof(from));
        return;
    case RECORD_INIT:
        take_init(server, frame, (size_t)bytes, &from);
        return;
    case RECORD_DATA:
        take_data(server, frame, (size_t)bytes);
        return;
    }
}

static void *serve(void *argument)
{
    struct raw_server *server = argument;
    struct pollfd readable = {.fd = server->fd, .events = POLLIN};

    while (!load_acquire(&server->stopping))
        if (poll(&readable, 1, 10) > 0)
            take_frame(server);
    return NULL;
}

void raw_server_start(struct raw_server *server)
{
    struct handshake_limits limits = {.inits_per_second = 100000, .burst = 1000};
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t any_bytes = sizeof(any);
    uint8_t secret[32] = {1};

    cr_assert_geq(sodium_init(), 0);
    record_ciphers_available();
    keys_generate(&server->key);
    keys_format(server->key.public, server->key_text);
    handshake_server_init(&server->handshake, &server->key, secret, &limits);
    server->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(server->fd, (struct sockaddr *)&any, any_bytes), 0);
    cr_assert_eq(getsockname(server->fd, (struct sockaddr *)&any, &any_bytes), 0);
    snprintf(server->address, sizeof(server->address), "127.0.0.1:%u", ntohs(any.sin_port));
    cr_assert_eq(pthread_create(&server->thread, NULL, serve, server), 0);
}

void raw_server_stop(struct raw_server *server)
{
    store_release(&server->stopping, true);
    pthread_join(server->thread, NULL);
    close(server->fd);
}

struct cxe_connection *raw_server_connect(struct raw_server *server)
{
    struct cxe_connect_options options = {
        .server = server->address,
        .server_key = server->key_text,
        .timeout_ns = 20 * NS_PER_S,
        .lanes = 2,
    };
    struct cxe_connection *connection;

    cr_assert_eq(cxe_connect(&options, &connection), 0, "%s", cxe_last_error());
    return connection;
}

uint64_t far_ns(void)
{
    return clock_now_ns() + 60 * NS_PER_S;
}

struct lane *raw_server_open_lane(struct cxe_connection *connection, enum lane_kind kind)
{
    struct lane *lane;

    cr_assert_eq(lane_open(connection, kind, far_ns(), &lane), 0);
    return lane;
}

void raw_server_close_lane(struct lane *lane)
{
    cr_assert(lane_valid(lane));
    lane_close(lane, true);
}
