/* session.h - a client's session at the server, and the table of a worker's sessions
 *
 * Owned by one worker; no locks. A session is born unconfirmed by an INIT and confirmed by the first record
 * that opens: who only replays an INIT never gets that far. Unconfirmed ones are few and short-lived.
 */
#ifndef FABRICD_SESSION_H
#define FABRICD_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "handshake.h"
#include "record.h"
#include "slots.h"
#include "transport.h"

struct parked;

#define SESSION_UNCONFIRMED_NS  (5 * NS_PER_S)
#define SESSION_UNCONFIRMED_MAX 1024

struct session {
    struct record_sealer sealer;
    struct record_opener opener;
    uint32_t id; /* its name on the wire */
    uint16_t tenant;
    bool confirmed;
    uint8_t endpoint;         /* the worker's endpoint it was last heard on, */
    struct address peer;      /* and from where */
    uint32_t frame_bytes_max; /* the longest frame the client takes */
    uint64_t heard_ns;
    uint64_t requests;
    struct slots slots;
    uint8_t client_public[NOISE_KEY_BYTES];
    uint8_t client_ephemeral[NOISE_KEY_BYTES];
    struct parked *parked;               /* the worker's: requests that wait, see park.h */
    uint8_t resp[HANDSHAKE_FRAME_BYTES]; /* for a repeated INIT */
    uint16_t resp_bytes;
    /* The table's. */
    bool open;
    uint32_t index;
    uint32_t generation;
    struct session *older, *newer; /* of its age list, by heard_ns */
    struct session *same_hash;     /* of the index by client_ephemeral */
};

struct session_table;

/* Room for `sessions_max` sessions, reserved but not touched; kept out of core dumps. Ids are congruent to
 * `shard` modulo `shard_count`. -ENOMEM. */
int session_table_open(uint32_t sessions_max, unsigned shard, unsigned shard_count,
                       struct session_table **table_out);
void session_table_close(struct session_table *table);

/* A new unconfirmed session, zeroed but for id and keys of the table, heard at `now_ns`. When there are too
 * many unconfirmed ones the oldest of them goes. NULL: the table is full. */
struct session *session_alloc(struct session_table *table, const uint8_t client_ephemeral[NOISE_KEY_BYTES],
                              uint64_t now_ns);
/* Wipes it. */
void session_free(struct session_table *table, struct session *session);

struct session *session_find(struct session_table *table, uint32_t id);
struct session *session_find_ephemeral(struct session_table *table,
                                       const uint8_t client_ephemeral[NOISE_KEY_BYTES]);

/* It was heard now; the first time, it becomes confirmed. */
void session_heard(struct session_table *table, struct session *session, uint64_t now_ns);

/* The session whose time ends first and when; NULL if there is none. */
struct session *session_next_expiry(struct session_table *table, uint64_t idle_timeout_ns,
                                    uint64_t *expires_ns_out);

uint32_t session_count(const struct session_table *table);

/* Iterates over all open ones: pass NULL first; returns NULL at the end. The one returned last may be freed.
 */
struct session *session_next(struct session_table *table, uint32_t *cursor);

bool session_table_valid(const struct session_table *table);

#endif
