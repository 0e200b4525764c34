/* lane_link.c - making a session, and making another when it is lost
 *
 *          need a session            COOKIE, nothing in flight              RESP
 *   IDLE --------------------> HELLO --------------------------> INIT ------------------> IDLE, up
 *     ^                          | COOKIE, requests in flight     ^  RESP says no: IDLE, with the old session
 *     |                          v                                |  if that stands
 *     +------------------------ TRIAL ----------------------------+
 *       the session answers after all     it stays silent
 *
 * When the server falls silent the lane shakes hands again while it goes on repeating its requests. If the
 * server answers the handshake but, after a last round of repeats, not the requests, the session is lost (it
 * expired, or the server restarted). The INIT names it, and the server ends it before it answers: from then
 * on no datagram of it that is still on its way does anything. So what only reads moves to the new session,
 * and what may have changed something ends with -CXE_EUNKNOWN: it was done or not, nobody can tell which, but
 * it will not be later. A server that ends a session by itself says which requests it has not begun: those
 * move, whatever they do.
 *
 * The server keeps a session that it never heard of for a few seconds only. So a new one begins with a PING
 * where there is no request to begin it with, repeated until anything is heard.
 */
#include "lane_internal.h"

#include <errno.h>
#include <string.h>

#include "atomic.h"
#include "check.h"
#include "clock.h"
#include "least.h"

#define LINK_SUSPECT_NS (400 * NS_PER_MS) /* silent for so long: shake hands, to find out what is wrong */
#define LINK_REJOIN_NS  (100 * NS_PER_MS) /* from one attempt to find a way to the server to the next */
#define LINK_IDLE_NS    (60 * NS_PER_S)   /* unused for so long: the server may have dropped the session */
#define LINK_TRIAL_NS   (300 * NS_PER_MS) /* and two round trips: fifteen repeats get through a bad network */
#define LINK_REPEAT_NS  (20 * NS_PER_MS)  /* repeats in a trial */
#define LINK_RETRY_NS   (50 * NS_PER_MS)  /* doubled with every try, */
#define LINK_RETRY_MAX  5                 /* but not more often than this */
#define LINK_INIT_TRIES 4                 /* then the cookie may be stale: back to HELLO */

static uint8_t cipher_mask(const struct lane *lane)
{
    if (!lane->connection->encrypted)
        return 1u << RECORD_CIPHER_PLAIN;
    return record_ciphers_available() & (uint8_t) ~(1u << RECORD_CIPHER_PLAIN);
}

void link_note_error(struct lane *lane, int error)
{
    if (error == -ECONNREFUSED)
        lane->link.refused = error;
    else if (error && error != -EAGAIN && error != -EMSGSIZE)
        lane->endpoint_lost = true;
}

static void send_bare(struct lane *lane, enum body_kind kind, uint64_t now_ns)
{
    struct body_header body = {.kind = (uint8_t)kind};
    int frame_bytes =
        record_seal(&lane->link.sealer, (const uint8_t *)&body, sizeof(body), lane->sealed, now_ns, NULL);

    if (frame_bytes > 0)
        link_note_error(lane, endpoint_send(lane->endpoint, NULL, lane->sealed, (size_t)frame_bytes));
}

/* link_tick makes a new session and settles what was in flight. */
static void end_session(struct lane *lane)
{
    lane->link.up = false;
    lane->link.suspended = false;
}

void link_linger(struct lane *lane, bool lingers)
{
    if (lane->lingers == lingers)
        return;
    store_release(&lane->lingers, (uint32_t)lingers);
    if (lingers)
        fetch_add_acq_rel(&lane->connection->lingering, 1u);
    else
        fetch_sub_acq_rel(&lane->connection->lingering, 1u);
}

/* The server has not done the request, and will not: it is as if it had never left. What was cancelled since,
 * as perhaps done, must not be done now. */
static void take_back(struct lane *lane, struct frame *frame)
{
    window_unsend(&lane->window, frame->seq);
    for (unsigned i = frame->op_count; i-- > 0;)
        if (!frame->parts[i].op)
            lane_drop_part(lane, frame, i);
}

void link_closed(struct lane *lane, uint64_t not_begun)
{
    end_session(lane);
    link_linger(lane, false);
    if (not_begun == 0)
        return;
    for (uint64_t seq = most(not_begun, lane->window.oldest); seq < lane->window.next_seq; seq++)
        if (window_in_flight(&lane->window, seq) && lane_was_sent(lane, lane_frame(lane, seq)))
            take_back(lane, lane_frame(lane, seq));
}

void link_ping(struct lane *lane, uint64_t now_ns)
{
    send_bare(lane, BODY_PING, now_ns);
}

void link_close(struct lane *lane)
{
    if (!lane->link.up && !lane->link.suspended)
        return;
    end_session(lane);
    send_bare(lane, BODY_CLOSE, clock_now_ns());
}

/* ---- handshake ---- */

static void schedule_retry(struct link *link, uint64_t now_ns)
{
    unsigned doublings = link->tries < LINK_RETRY_MAX ? link->tries : LINK_RETRY_MAX;

    link->tries++;
    link->retry_ns = now_ns + (LINK_RETRY_NS << doublings);
}

static void send_hello(struct lane *lane, uint64_t now_ns)
{
    size_t bytes = handshake_client_hello(&lane->link.handshake, lane->sealed);

    link_note_error(lane, endpoint_send(lane->endpoint, NULL, lane->sealed, bytes));
    schedule_retry(&lane->link, now_ns);
}

static void start_handshake(struct lane *lane, uint64_t now_ns)
{
    struct link *link = &lane->link;
    struct handshake_offer offer = {
        .client_session = randombytes_random() | 1, /* never 0 */
        .frame_bytes_max =
            (uint32_t)least(lane->endpoint->frame_bytes_max, lane->connection->frame_bytes_max),
        .cipher_mask = cipher_mask(lane),
        .replaces = link->grant.server_session, /* of the first, 0 */
        .incarnation = link->grant.incarnation,
    };

    handshake_client_init(&link->handshake, &lane->connection->self, lane->connection->server_public, &offer);
    link->new_session = offer.client_session;
    link->state = LINK_HELLO;
    link->cookie_seen = false;
    send_hello(lane, now_ns);
}

static void send_init(struct lane *lane, uint64_t now_ns)
{
    link_note_error(lane, endpoint_send(lane->endpoint, NULL, lane->link.init, lane->link.init_bytes));
    schedule_retry(&lane->link, now_ns);
}

static void begin_init(struct lane *lane, uint64_t now_ns)
{
    struct link *link = &lane->link;

    link->suspended |= link->up;
    link->up = false;
    link->state = LINK_INIT;
    link->tries = 0;
    send_init(lane, now_ns);
}

static void repeat_all(struct lane *lane, uint64_t now_ns)
{
    for (uint64_t seq = lane->window.oldest; seq < lane->window.next_seq; seq++)
        if (window_in_flight(&lane->window, seq) && lane_was_sent(lane, lane_frame(lane, seq)))
            path_repeat(lane, lane_frame(lane, seq), now_ns);
}

static void try_session(struct lane *lane, uint64_t now_ns)
{
    lane->link.retry_ns = now_ns + LINK_REPEAT_NS;
    repeat_all(lane, now_ns);
}

static void begin_trial(struct lane *lane, uint64_t now_ns)
{
    lane->link.state = LINK_TRIAL;
    lane->link.trial_until_ns = now_ns + LINK_TRIAL_NS + 2 * lane->window.srtt_ns;
    try_session(lane, now_ns);
}

static void take_cookie(struct lane *lane, const uint8_t *frame, size_t frame_bytes, uint64_t now_ns)
{
    struct link *link = &lane->link;
    int bytes = handshake_client_cookie(&link->handshake, frame, frame_bytes, link->init);

    if (bytes < 0)
        return; /* not an answer to us */
    link->init_bytes = (uint32_t)bytes;
    link->cookie_seen = true;
    if (link->up && lane_asks(lane))
        begin_trial(lane, now_ns);
    else
        begin_init(lane, now_ns);
}

/* ---- replacing the session ---- */

/* Does the request move to the new session? Otherwise its operations have ended. */
static bool survives(struct lane *lane, struct frame *frame)
{
    if (!lane_was_sent(lane, frame))
        return true; /* never executed, that is known */
    if (frame->mutates)
        lane_fail_mutations(lane, frame);
    return frame->op_count > 0;
}

/* Sorts the frames: survivors first, in the order of their numbers. Returns how many there are. */
static unsigned sort_survivors(struct lane *lane, struct frame *sorted[SESSION_SLOTS])
{
    const struct window *window = &lane->window;
    struct frame *others[SESSION_SLOTS];
    unsigned survivors = 0, other_count = 0;
    bool seen[SESSION_SLOTS] = {false};

    for (uint64_t seq = window->oldest; seq < window->next_seq; seq++) {
        struct frame *frame = lane_frame(lane, seq);

        if (window_in_flight(window, seq) && frame->op_count > 0 && survives(lane, frame)) {
            seen[seq % SESSION_SLOTS] = true;
            sorted[survivors++] = frame;
        }
    }
    for (unsigned i = 0; i < SESSION_SLOTS; i++) {
        if (seen[i])
            continue;
        if (lane->frames[i]->rest)
            sorted[survivors++] = lane->frames[i];
        else
            others[other_count++] = lane->frames[i];
    }
    memcpy(sorted + survivors, others, other_count * sizeof(others[0]));
    return survivors;
}

/* Gives the survivors new numbers, from 1, and sends them. */
static void move_requests(struct lane *lane)
{
    struct frame *sorted[SESSION_SLOTS];
    unsigned survivors = sort_survivors(lane, sorted);

    lane->repeats += lane->window.repeats;
    window_init(&lane->window);
    lane->building = 0;
    lane->rests = 0;
    for (unsigned i = 0; i < SESSION_SLOTS; i++) {
        sorted[i]->rest = false;
        sorted[i]->op_count = i < survivors ? sorted[i]->op_count : 0;
        lane->frames[(i + 1) % SESSION_SLOTS] = sorted[i]; /* number i + 1 */
    }
    if (lane->order) {
        order_reset(lane->order);
        order_barrier(lane->order, survivors);
    }
    for (unsigned i = 0; i < survivors; i++)
        sorted[i]->seq = window_take(&lane->window);
    for (unsigned i = 0; i < survivors; i++)
        lane_transmit(lane, sorted[i]);
}

static void adopt(struct lane *lane, const struct handshake_grant *grant, const struct handshake_keys *keys,
                  uint64_t now_ns)
{
    struct link *link = &lane->link;

    record_sealer_init(&link->sealer, grant->cipher, keys->send, grant->server_session, now_ns);
    record_opener_init(&link->opener, grant->cipher, keys->receive);
    link->grant = *grant;
    link->session = link->new_session;
    link->heard_ns = now_ns;
    link->asked_ns = 0;
    link->refused = 0;
    link->tries = 0;
    link->state = LINK_IDLE;
    link->up = true;
    link->suspended = false;
    link->confirmed = false;
    link->confirm_ns = now_ns;
    link_linger(lane, false);
    path_adopt(lane, grant->frame_bytes_max, now_ns);
    move_requests(lane);
}

static void take_resp(struct lane *lane, const uint8_t *frame, size_t frame_bytes, uint64_t now_ns)
{
    struct link *link = &lane->link;
    struct handshake_grant grant;
    struct handshake_keys keys;

    if (handshake_client_resp(&link->handshake, frame, frame_bytes, &grant, &keys) < 0)
        return; /* forged, or not for us */
    if (grant.status != STATUS_OK || grant.cipher >= RECORD_CIPHER_COUNT ||
        !(cipher_mask(lane) & (1u << grant.cipher)) || grant.frame_bytes_max < FRAME_BYTES_MIN) {
        link->refused = grant.status != STATUS_OK ? status_to_errno(grant.status) : -EPROTO;
        link->state = LINK_IDLE;
        link->up = link->suspended;
        link->suspended = false;
        schedule_retry(link, now_ns);
    } else {
        adopt(lane, &grant, &keys, now_ns);
    }
    sodium_memzero(&keys, sizeof(keys));
}

void link_handshake_frame(struct lane *lane, const uint8_t *frame, size_t frame_bytes, uint64_t now_ns)
{
    uint8_t type = ((const struct record_header *)frame)->type;

    if (type == RECORD_COOKIE && lane->link.state == LINK_HELLO)
        take_cookie(lane, frame, frame_bytes, now_ns);
    else if (type == RECORD_RESP && lane->link.state == LINK_INIT)
        take_resp(lane, frame, frame_bytes, now_ns);
}

/* ---- time ---- */

void link_heard(struct lane *lane, uint64_t now_ns)
{
    struct link *link = &lane->link;

    link->heard_ns = now_ns;
    link->asked_ns = lane_wonders(lane) ? now_ns : 0;
    link->refused = 0;
    link->confirmed = true;
    if (link->state == LINK_IDLE || !link->up)
        return;
    link->state = LINK_IDLE; /* the session lives: no other is needed */
    link->tries = 0;
}

static bool needs_session(struct lane *lane, uint64_t now_ns)
{
    struct link *link = &lane->link;

    if (!link->up)
        return now_ns >= link->retry_ns;
    if (link->asked_ns != 0 && now_ns > link->asked_ns + LINK_SUSPECT_NS)
        return now_ns >= link->retry_ns;
    if (link->asked_ns == 0 && lane->posted_first && now_ns > link->heard_ns + LINK_IDLE_NS) {
        link->up = false;
        return true;
    }
    return false;
}

/* Only a transport that is not for signal handlers needs this. */
static int replace_endpoint(struct lane *lane)
{
    const struct cxe_connection *connection = lane->connection;
    struct endpoint *endpoint;
    int error = transport_connect(connection->transport, &connection->server,
                                  connection->fault[0] ? connection->fault : NULL, &endpoint);

    if (error)
        return error;
    endpoint_close(lane->endpoint);
    lane->endpoint = endpoint;
    return 0;
}

/* A connection of the transport broke (ofi), or our address is no longer ours (eth). The session outlives it:
 * the server follows us to the new one. */
static void reconnect_endpoint(struct lane *lane, uint64_t now_ns)
{
    int error;

    if (now_ns < lane->reconnect_ns)
        return;
    lane->reconnect_ns = now_ns + LINK_REJOIN_NS;
    error = endpoint_reconnect(lane->endpoint);
    if (error == -EOPNOTSUPP)
        error = replace_endpoint(lane);
    if (error)
        return;
    lane->endpoint_lost = false;
    if (lane->link.up)
        repeat_all(lane, now_ns);
    if (lane->link.state == LINK_INIT)
        start_handshake(lane, now_ns); /* the cookie was for the old address */
}

static void confirm(struct lane *lane, uint64_t now_ns)
{
    lane->link.confirm_ns = now_ns + LINK_RETRY_NS;
    if (!lane_asks(lane))
        link_ping(lane, now_ns);
}

void link_tick(struct lane *lane, uint64_t now_ns)
{
    struct link *link = &lane->link;

    if (lane->endpoint_lost)
        reconnect_endpoint(lane, now_ns);
    if (!link->up && link->asked_ns == 0 && lane->busy > 0)
        link->asked_ns = now_ns; /* operations wait, and it is the handshake that is not answered */
    switch (link->state) {
    case LINK_IDLE:
        if (needs_session(lane, now_ns))
            start_handshake(lane, now_ns);
        else if (link->up && !link->confirmed && now_ns >= link->confirm_ns)
            confirm(lane, now_ns);
        return;
    case LINK_HELLO:
        if (now_ns < link->retry_ns)
            return;
        endpoint_reconnect(lane->endpoint); /* our address may still be ours, but lead nowhere any more */
        send_hello(lane, now_ns);
        return;
    case LINK_INIT:
        if (now_ns < link->retry_ns)
            return;
        if (link->tries < LINK_INIT_TRIES)
            send_init(lane, now_ns);
        else
            start_handshake(lane, now_ns);
        return;
    case LINK_TRIAL:
        if (!link->up || now_ns >= link->trial_until_ns)
            begin_init(lane, now_ns);
        else if (now_ns >= link->retry_ns)
            try_session(lane, now_ns);
        return;
    }
}

uint64_t link_next_ns(const struct lane *lane, uint64_t now_ns)
{
    const struct link *link = &lane->link;

    switch (link->state) {
    case LINK_IDLE:
        if (!link->up)
            return link->retry_ns;
        if (!link->confirmed)
            return link->confirm_ns;
        if (!link->asked_ns)
            return now_ns + LINK_SUSPECT_NS;
        return most(link->asked_ns + LINK_SUSPECT_NS, link->retry_ns);
    case LINK_HELLO:
    case LINK_INIT:
    case LINK_TRIAL:
        return link->retry_ns;
    }
    return now_ns;
}
