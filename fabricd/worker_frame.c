/* worker_frame.c - the life of a datagram in the server
 *
 *   worker_frame
 *     hello, init             handshake.h; silence for whoever has no business here
 *     data                    record_open, then by the body's kind:
 *       request               codec_check_request, slots_judge, executor_run, slots_record, respond;
 *                             or, if it has to wait: worker_park, and some time later worker_run_parked
 *       ping, close
 *
 * Nothing a peer sends is trusted before its check, and what fails a check costs its session, never the
 * worker.
 */
#include "worker_internal.h"

#include <errno.h>
#include <string.h>

#include "atomic.h"
#include "codec.h"
#include "least.h"
#include "log.h"

#define BURST_FRAMES 4 /* taken in a round: more will come, so that their answers may leave together */

static void send_frame(struct worker *worker, unsigned endpoint_index, const struct address *to,
                       size_t frame_bytes)
{
    struct endpoint *endpoint = worker->endpoints[endpoint_index];
    int error = worker->burst < BURST_FRAMES ? endpoint_send(endpoint, to, worker->sent, frame_bytes)
                                             : endpoint_post(endpoint, to, worker->sent, frame_bytes);

    if (error < 0)
        return; /* as good as lost; the client will ask again */
    COUNT(worker, sent_frames, 1);
    COUNT(worker, sent_bytes, frame_bytes);
}

void worker_send_body(struct worker *worker, struct session *session, size_t body_bytes, uint64_t now_ns)
{
    int frame_bytes = record_seal(&session->sealer, worker->sent + RECORD_HEADER_BYTES, body_bytes,
                                  worker->sent, now_ns, NULL);

    if (frame_bytes > 0)
        send_frame(worker, session->endpoint, &session->peer, (size_t)frame_bytes);
    else
        worker_end_session(worker, session, false, now_ns);
}

void worker_put_header(struct worker *worker, const struct body_header *header)
{
    memcpy(worker->sent + RECORD_HEADER_BYTES, header, sizeof(*header));
}

static void say_close(struct worker *worker, struct session *session, uint64_t not_begun, uint64_t now_ns)
{
    struct body_header close = {.kind = BODY_CLOSE, .seq = le64_of(not_begun)};
    int frame_bytes;

    worker_put_header(worker, &close);
    frame_bytes = record_seal(&session->sealer, worker->sent + RECORD_HEADER_BYTES, sizeof(close),
                              worker->sent, now_ns, NULL);
    if (frame_bytes > 0)
        send_frame(worker, session->endpoint, &session->peer, (size_t)frame_bytes);
}

void worker_dismiss(struct worker *worker, struct session *session, uint64_t now_ns)
{
    if (session->confirmed)
        say_close(worker, session, slots_beyond(&session->slots), now_ns);
    worker_end_session(worker, session, false, now_ns);
}

void worker_end_session(struct worker *worker, struct session *session, bool tell, uint64_t now_ns)
{
    if (tell)
        say_close(worker, session, 0, now_ns);
    worker_give_up_all_parked(worker, session);
    session_free(worker->sessions, session);
    COUNT(worker, sessions_closed, 1);
    store_relaxed(&worker->counters.sessions, session_count(worker->sessions));
}

/* ---- requests ---- */

/* CXL's DevLoad from the length of the queue that this round of the loop found. */
static enum dev_load dev_load(const struct worker *worker)
{
    if (worker->burst < 4)
        return DEV_LOAD_LIGHT;
    if (worker->burst < 16)
        return DEV_LOAD_OPTIMAL;
    return worker->burst < 48 ? DEV_LOAD_MODERATE : DEV_LOAD_SEVERE;
}

static void count_execution(struct worker *worker, const struct execution *execution)
{
    COUNT(worker, requests, 1);
    COUNT(worker, failed_requests, execution->status != STATUS_OK);
    COUNT(worker, operations, execution->done);
    COUNT(worker, read_lines, execution->read_lines);
    COUNT(worker, written_lines, execution->written_lines);
    COUNT(worker, atomics, execution->atomics);
    COUNT(worker, control_operations, execution->controls);
    COUNT(worker, snoop_answers, execution->snoop_answers);
}

static void respond(struct worker *worker, struct session *session, const struct execution *execution,
                    uint64_t seq, uint64_t counter, uint64_t now_ns)
{
    bool granted = execution->grant.agent != 0 && !execution->grant.several;
    struct body_header header = {
        .kind = BODY_RESPONSE,
        .status = execution->status,
        .op_count = le16_of(execution->done),
        .dev_load = (uint8_t)dev_load(worker),
        .granted = granted,
        .snoop_next = le16_of(granted ? execution->grant.snoop_next : 0),
        .seq = le64_of(seq),
        .echo = le64_of(counter),
    };

    worker_put_header(worker, &header);
    worker_send_body(worker, session, sizeof(header) + execution->result_bytes, now_ns);
}

/* Takes note of what was done, so that a repeat of the request only gets the same answer. */
static void record(struct worker *worker, struct session *session, uint64_t seq, bool mutates,
                   uint64_t digest, const struct execution *execution)
{
    slots_record(&session->slots, seq, mutates, digest, execution->done, execution->status,
                 worker_body(worker), mutates ? (uint16_t)execution->result_bytes : 0);
    session->requests++;
    count_execution(worker, execution);
}

void worker_finish(struct worker *worker, struct session *session, uint64_t seq, bool mutates,
                   uint64_t digest, const struct execution *execution, uint64_t counter, uint64_t now_ns)
{
    record(worker, session, seq, mutates, digest, execution);
    respond(worker, session, execution, seq, counter, now_ns);
}

/* Who waits for a page comes before who has given it up: nobody waits for that one's answer. */
static void finish_snooped(struct worker *worker, struct session *session, uint64_t seq, bool mutates,
                           uint64_t digest, const struct execution *execution, uint64_t counter,
                           uint64_t now_ns)
{
    const uint32_t id = session->id;

    record(worker, session, seq, mutates, digest, execution);
    worker_take_mail(worker, now_ns);
    session = session_find(worker->sessions, id); /* one of the mails may have ended it */
    if (session)
        respond(worker, session, execution, seq, counter, now_ns);
}

static void execute(struct worker *worker, struct session *session, const uint8_t *body, size_t body_bytes,
                    const struct request_summary *summary, uint64_t digest, uint64_t counter, uint64_t now_ns)
{
    struct requester requester =
        worker_requester(worker, session, park_waiter(&worker->park, session->tenant), now_ns);
    struct execution execution = {0};
    const uint64_t seq = le64_get(((const struct body_header *)body)->seq);

    if (executor_run(worker->options.executor, &requester, body, body_bytes, worker_body(worker),
                     &execution) == -EINPROGRESS)
        worker_park(worker, session, body, body_bytes, summary, digest, &execution, now_ns);
    else if (execution.snoop_answers > 0 && execution.result_bytes == 0)
        finish_snooped(worker, session, seq, summary->mutates, digest, &execution, counter, now_ns);
    else
        worker_finish(worker, session, seq, summary->mutates, digest, &execution, counter, now_ns);
}

static void remember(struct worker *worker, struct session *session, uint64_t seq, uint64_t counter,
                     uint64_t now_ns)
{
    const struct slot *slot = slots_recall(&session->slots, seq);
    struct execution execution = {
        .done = slot->done, .status = slot->status, .result_bytes = slot->value_bytes};

    memcpy(worker_body(worker), slot->values, slot->value_bytes);
    respond(worker, session, &execution, seq, counter, now_ns);
    COUNT(worker, repeats, 1);
}

/* Well sealed but malformed: a broken client. Its session ends, and only its session. */
static void refuse(struct worker *worker, struct session *session, const char *what, uint64_t now_ns)
{
    log_limited(LOG_LEVEL_WARN, "session %u of tenant %u closed: %s", session->id, session->tenant, what);
    COUNT(worker, refused_proto, 1);
    worker_end_session(worker, session, true, now_ns);
}

static void request(struct worker *worker, struct session *session, const uint8_t *body, size_t body_bytes,
                    uint64_t counter, uint64_t now_ns)
{
    struct request_summary summary;
    uint64_t seq, digest;

    if (codec_check_request(body, body_bytes, &summary) < 0) {
        refuse(worker, session, "malformed request", now_ns);
        return;
    }
    if (RECORD_OVERHEAD + BODY_HEADER_BYTES + summary.result_bytes > session->frame_bytes_max) {
        refuse(worker, session, "request for more than fits the client's frames", now_ns);
        return;
    }
    seq = le64_get(((const struct body_header *)body)->seq);
    digest = summary.mutates ? slots_digest(body, body_bytes) : 0;
    store_relaxed(&worker->last_request_ns, now_ns);
    switch (slots_judge(&session->slots, seq, summary.mutates, digest)) {
    case SLOT_SUPERSEDE:
        worker_give_up_parked(worker, session, seq);
        execute(worker, session, body, body_bytes, &summary, digest, counter, now_ns);
        return;
    case SLOT_EXECUTE:
        execute(worker, session, body, body_bytes, &summary, digest, counter, now_ns);
        return;
    case SLOT_WAITS:
        worker_say_pending(worker, session, seq, now_ns);
        return;
    case SLOT_REMEMBER:
        remember(worker, session, seq, counter, now_ns);
        return;
    case SLOT_IGNORE:
        return;
    case SLOT_BROKEN:
        refuse(worker, session, "request number outside the window, or used twice", now_ns);
        return;
    }
}

static void pong(struct worker *worker, struct session *session, size_t body_bytes, uint64_t counter,
                 uint64_t now_ns)
{
    struct body_header header = {.kind = BODY_PONG, .echo = le64_of(counter)};

    worker_put_header(worker, &header);
    memset(worker_body(worker), 0, body_bytes - sizeof(header));
    worker_send_body(worker, session, body_bytes, now_ns);
}

/* ---- records ---- */

/* An authenticated frame that is the newest so far tells where the client is now. */
static void follow_peer(struct session *session, unsigned endpoint_index, const struct address *from,
                        uint64_t counter)
{
    if (counter != session->opener.newest_counter)
        return;
    session->endpoint = (uint8_t)endpoint_index;
    session->peer = *from;
}

static void count_refusal(struct worker *worker, int error)
{
    if (error == -EBADMSG)
        COUNT(worker, refused_tag, 1);
    else if (error == -EALREADY)
        COUNT(worker, refused_replay, 1);
    else
        COUNT(worker, refused_header, 1);
}

static void data(struct worker *worker, unsigned endpoint_index, const struct address *from,
                 size_t frame_bytes, uint64_t now_ns)
{
    uint8_t *frame = worker->received, *body = frame + RECORD_HEADER_BYTES;
    uint32_t id = le32_get(((struct record_header *)frame)->receiver);
    struct session *session = session_find(worker->sessions, id);
    uint64_t counter;
    int body_bytes;

    if (!session) {
        COUNT(worker, refused_header, 1);
        return;
    }
    body_bytes = record_open(&session->opener, frame, frame_bytes, now_ns, &counter);
    if (body_bytes < 0) {
        count_refusal(worker, body_bytes);
        return;
    }
    follow_peer(session, endpoint_index, from, counter);
    session_heard(worker->sessions, session, now_ns);
    if (codec_check_body(body, (size_t)body_bytes) < 0) {
        refuse(worker, session, "malformed body", now_ns);
        return;
    }
    switch ((enum body_kind)body[0]) {
    case BODY_REQUEST:
        request(worker, session, body, (size_t)body_bytes, counter, now_ns);
        return;
    case BODY_PING:
        pong(worker, session, (size_t)body_bytes, counter, now_ns);
        return;
    case BODY_CLOSE:
        worker_end_session(worker, session, false, now_ns);
        return;
    case BODY_PONG:
        return;
    case BODY_RESPONSE:
    case BODY_BISNP:
    case BODY_PENDING:
        refuse(worker, session, "an answer was sent to the server", now_ns);
        return;
    }
}

/* ---- handshakes ---- */

static void hello(struct worker *worker, unsigned endpoint_index, const struct address *from,
                  size_t frame_bytes, uint64_t now_ns)
{
    int bytes = handshake_server_hello(&worker->handshake, worker->received, frame_bytes, from, sizeof(*from),
                                       now_ns, worker->sent);

    COUNT(worker, handshake_hellos, 1);
    if (bytes > 0)
        send_frame(worker, endpoint_index, from, (size_t)bytes);
}

/* Fills in what the client gets; the status says whether it gets it. */
static struct handshake_grant grant_for(struct worker *worker, const struct handshake_offer *offer,
                                        unsigned endpoint_index, uint16_t tenant)
{
    enum record_cipher cipher;
    struct handshake_grant grant = {
        .frame_bytes_max =
            (uint32_t)least(offer->frame_bytes_max, worker->endpoints[endpoint_index]->frame_bytes_max),
        .tenant = tenant,
        .incarnation = worker->options.incarnation,
    };

    if (handshake_pick_cipher(offer->cipher_mask, worker->options.cipher_mask, &cipher) != 0)
        grant.status = STATUS_ACCESS;
    else if (load_relaxed(&worker->draining))
        grant.status = STATUS_BUSY;
    else if (offer->frame_bytes_max < FRAME_BYTES_MIN)
        grant.status = STATUS_INVAL;
    else
        grant.cipher = (uint8_t)cipher;
    return grant;
}

/* Ends the session that the new one replaces: once the client has the answer, nothing of the old one that is
 * still on its way is executed any more. Only its own client can name it. False: it is another worker's, and
 * not known to have ended yet; the client will ask again. */
static bool end_replaced(struct worker *worker, const struct handshake_claim *claim, uint16_t tenant,
                         uint64_t now_ns)
{
    uint32_t id = claim->offer.replaces;

    if (id == 0 || claim->offer.incarnation != worker->options.incarnation)
        return true;
    if (id % worker->options.count != worker->options.index)
        return worker_end_elsewhere(worker, id, tenant, claim->client_public, now_ns);
    worker_end_named(worker, id, tenant, claim->client_public, now_ns);
    return true;
}

static void admit(struct worker *worker, unsigned endpoint_index, const struct address *from,
                  struct handshake_claim *claim, uint16_t tenant, uint64_t now_ns)
{
    struct handshake_grant grant = grant_for(worker, &claim->offer, endpoint_index, tenant);
    struct session *session = NULL;
    struct handshake_keys keys;
    int bytes;

    if (grant.status == STATUS_OK) {
        if (!end_replaced(worker, claim, tenant, now_ns))
            return;
        session = session_alloc(worker->sessions, claim->client_ephemeral, now_ns);
        if (session)
            grant.server_session = session->id;
        else
            grant.status = STATUS_BUSY;
    }
    bytes = handshake_server_resp(&worker->handshake, claim, &grant, worker->sent, &keys);
    if (bytes < 0) {
        if (session)
            session_free(worker->sessions, session);
        return;
    }
    if (session) {
        session->tenant = tenant;
        session->endpoint = (uint8_t)endpoint_index;
        session->peer = *from;
        session->frame_bytes_max = grant.frame_bytes_max;
        memcpy(session->client_public, claim->client_public, NOISE_KEY_BYTES);
        record_sealer_init(&session->sealer, grant.cipher, keys.send, claim->offer.client_session, now_ns);
        record_opener_init(&session->opener, grant.cipher, keys.receive);
        memcpy(session->resp, worker->sent, (size_t)bytes);
        session->resp_bytes = (uint16_t)bytes;
        COUNT(worker, handshakes, 1);
        store_relaxed(&worker->counters.sessions, session_count(worker->sessions));
    }
    sodium_memzero(&keys, sizeof(keys));
    send_frame(worker, endpoint_index, from, (size_t)bytes);
}

static void init(struct worker *worker, unsigned endpoint_index, const struct address *from,
                 size_t frame_bytes, uint64_t now_ns)
{
    uint8_t ephemeral[NOISE_KEY_BYTES];
    struct handshake_claim claim;
    struct session *session;
    uint16_t tenant;
    int error;

    if (handshake_server_peek(worker->received, frame_bytes, ephemeral) < 0) {
        COUNT(worker, refused_header, 1);
        return;
    }
    session = session_find_ephemeral(worker->sessions, ephemeral);
    if (session) { /* a repeat: the same answer while it may have been lost, silence once it was not */
        if (!session->confirmed && address_equal(&session->peer, from)) {
            memcpy(worker->sent, session->resp, session->resp_bytes);
            send_frame(worker, endpoint_index, from, session->resp_bytes);
        }
        return;
    }
    error = handshake_server_open(&worker->handshake, worker->received, frame_bytes, from, sizeof(*from),
                                  now_ns, &claim);
    if (error == 0 && worker->options.find_tenant(worker->options.context, claim.client_public, &tenant) == 0)
        admit(worker, endpoint_index, from, &claim, tenant, now_ns);
    else if (error == -EAGAIN)
        COUNT(worker, handshakes_limited, 1);
    else
        COUNT(worker, handshakes_refused, 1);
    sodium_memzero(&claim, sizeof(claim));
}

void worker_frame(struct worker *worker, unsigned endpoint_index, const struct address *from,
                  size_t frame_bytes, uint64_t now_ns)
{
    const struct record_header *header = (const struct record_header *)worker->received;

    COUNT(worker, received_frames, 1);
    COUNT(worker, received_bytes, frame_bytes);
    if (frame_bytes >= sizeof(*header) && header->magic == WIRE_MAGIC && header->version == WIRE_VERSION) {
        switch (header->type) {
        case RECORD_DATA:
            data(worker, endpoint_index, from, frame_bytes, now_ns);
            return;
        case RECORD_HELLO:
            hello(worker, endpoint_index, from, frame_bytes, now_ns);
            return;
        case RECORD_INIT:
            init(worker, endpoint_index, from, frame_bytes, now_ns);
            return;
        }
    }
    COUNT(worker, refused_header, 1);
}
