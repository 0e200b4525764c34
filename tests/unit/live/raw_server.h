/* raw_server.h - a server that does what a test says: it shakes hands, and hands over every body */
#ifndef TESTS_LIVE_RAW_SERVER_H
#define TESTS_LIVE_RAW_SERVER_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>

#include "cxe.h"
#include "handshake.h"
#include "lane.h"
#include "record.h"
#include "wire.h"

#define RAW_SESSIONS_MAX 16

struct raw_session {
    struct record_sealer sealer;
    struct record_opener opener;
    struct sockaddr_in peer;
    struct handshake_offer offer;
    unsigned bodies; /* heard so far */
};

struct raw_server {
    /* Called by the server's thread for every body but PING, which it answers itself. */
    void (*heard)(struct raw_server *server, struct raw_session *session, const uint8_t *body,
                  size_t body_bytes, uint64_t counter);
    void *context;

    int fd;
    pthread_t thread;
    bool stopping;
    bool deaf; /* set by the test, atomic: it shakes no hands */
    struct noise_keypair key;
    char address[32];
    char key_text[64];
    struct handshake_server handshake;
    unsigned hellos; /* atomic */
    unsigned session_count;
    struct raw_session sessions[RAW_SESSIONS_MAX];
};

/* Set `heard` first. */
void raw_server_start(struct raw_server *server);
void raw_server_stop(struct raw_server *server);
/* Two lanes: sessions 0 and 1. */
struct cxe_connection *raw_server_connect(struct raw_server *server);
/* A lane more, or one less: then nothing is left in flight. */
struct lane *raw_server_open_lane(struct cxe_connection *connection, enum lane_kind kind);
void raw_server_close_lane(struct lane *lane);
/* A deadline that only a test that hangs meets. */
uint64_t far_ns(void);

/* By the server's thread, in `heard`. */
void raw_server_send(struct raw_server *server, struct raw_session *session, const void *body,
                     size_t body_bytes);
/* RESPONSE: `done` operations were done, and these are their values. */
void raw_server_respond(struct raw_server *server, struct raw_session *session, const uint8_t *request,
                        uint64_t counter, enum wire_status status, unsigned done, const void *values,
                        size_t value_bytes);
/* A body without more than a header. */
void raw_server_say(struct raw_server *server, struct raw_session *session, enum body_kind kind,
                    uint64_t seq);

#endif
