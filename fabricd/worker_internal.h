/* worker_internal.h - what the files of the worker share: worker.c, the loop; worker_frame.c, what a frame
 * does; worker_park.c, requests that wait; worker_agents.c, snoops and leases; worker_order.c, between
 * workers */
#ifndef FABRICD_WORKER_INTERNAL_H
#define FABRICD_WORKER_INTERNAL_H

#include <pthread.h>

#include "coherence.h"
#include "executor.h"
#include "give_way.h"
#include "mailbox.h"
#include "park.h"
#include "poller.h"
#include "codec.h"
#include "session.h"
#include "timers.h"
#include "worker.h"

/* What another worker is asked to do: to end this session, if it is this client's. */
enum order_state { ORDER_FREE, ORDER_GIVEN, ORDER_DONE };
struct worker_order {
    struct mail mail; /* first */
    uint32_t session;
    uint16_t tenant;
    uint8_t state; /* enum order_state, atomic; GIVEN: the other worker's */
    uint64_t given_ns;
    uint8_t client_public[NOISE_KEY_BYTES];
};
#define WORKER_ORDERS 256

/* In struct timer.kind. */
enum worker_timer { WORKER_TIMER_PARKED, WORKER_TIMER_BINDING };

struct worker {
    struct worker_options options;
    struct endpoint *endpoints[WORKER_LISTEN_MAX];
    struct address addresses[WORKER_LISTEN_MAX];
    struct session_table *sessions;
    struct handshake_server handshake;
    struct poller *poller;
    struct timers timers;
    struct park park;
    struct coherence_binding *bindings; /* of the agents that listen here */
    struct worker_order orders[WORKER_ORDERS];
    pthread_t thread;
    bool started;
    uint64_t tenants_seen; /* options.tenants_generation when the sessions were last looked through */
    uint64_t last_frame_ns;
    uint64_t gap_ns;          /* smoothed time between bursts: is spinning worth it? */
    uint64_t housekeeping_ns; /* due then, however busy */
    unsigned burst;           /* frames taken in this round of the loop, for DevLoad */
    struct give_way give_way;
    bool snooping; /* a snoop went out, and nothing has come since */
    struct worker_counters counters;
    bool stopping;            /* written by worker_stop, read by the thread: atomic */
    bool draining;            /* written by worker_drain: atomic */
    uint64_t last_request_ns; /* written by the thread, read by worker_quiet: atomic */
    uint8_t received[FRAME_BYTES_MAX] __attribute__((aligned(64)));
    uint8_t sent[FRAME_BYTES_MAX] __attribute__((aligned(64)));
};

/* The worker is the only writer of its counters: no locked instruction is needed, only untorn stores. */
#define COUNT(worker, name, amount) \
    store_relaxed(&(worker)->counters.name, (worker)->counters.name + (uint64_t)(amount))

/* Does what a datagram asks for, and answers it. It lies in worker->received. */
void worker_frame(struct worker *worker, unsigned endpoint_index, const struct address *from,
                  size_t frame_bytes, uint64_t now_ns);

/* Ends a session; `tell`: the client gets a CLOSE. */
void worker_end_session(struct worker *worker, struct session *session, bool tell, uint64_t now_ns);
/* The same when no request of it is being executed, and none is to blame: the CLOSE says which requests were
 * never begun, for the client to send them again over another session. */
void worker_dismiss(struct worker *worker, struct session *session, uint64_t now_ns);

/* An answer is built in worker->sent: the header, what worker_body points to, and off it goes. */
void worker_put_header(struct worker *worker, const struct body_header *header);
static inline uint8_t *worker_body(struct worker *worker)
{
    return worker->sent + RECORD_HEADER_BYTES + sizeof(struct body_header);
}
/* Seals and sends it; may end the session. `body_bytes` with the header. */
void worker_send_body(struct worker *worker, struct session *session, size_t body_bytes, uint64_t now_ns);

/* A request is done: records, counts, answers. Its values stand in worker_body. `counter`: of the record to
 * answer, 0 if that was too long ago to measure anything by. */
void worker_finish(struct worker *worker, struct session *session, uint64_t seq, bool mutates,
                   uint64_t digest, const struct execution *execution, uint64_t counter, uint64_t now_ns);

/* worker_park.c */

/* What executor_run is to know of the request's sender. */
struct requester worker_requester(const struct worker *worker, const struct session *session,
                                  struct coherence_waiter *waiter, uint64_t now_ns);
/* A request that was run with the park's waiter has to wait. Its values so far stand in worker_body. */
void worker_park(struct worker *worker, struct session *session, const uint8_t *body, size_t body_bytes,
                 const struct request_summary *summary, uint64_t digest, const struct execution *execution,
                 uint64_t now_ns);
/* Tells the client that its request waits. */
void worker_say_pending(struct worker *worker, struct session *session, uint64_t seq, uint64_t now_ns);
/* What waits in the slot of `seq` is not wanted any more; what waits in the session. */
void worker_give_up_parked(struct worker *worker, struct session *session, uint64_t seq);
void worker_give_up_all_parked(struct worker *worker, struct session *session);
void worker_mail_for_parked(struct worker *worker, struct parked *parked, uint64_t now_ns);
void worker_run_parked(struct worker *worker, struct parked *parked, uint64_t now_ns);

/* worker_order.c */

/* Ends the session of that name, if it is this client's. */
void worker_end_named(struct worker *worker, uint32_t id, uint16_t tenant,
                      const uint8_t client_public[NOISE_KEY_BYTES], uint64_t now_ns);
/* The same for a session of another worker. False: not known to have ended yet; ask again. True is said once.
 */
bool worker_end_elsewhere(struct worker *worker, uint32_t session, uint16_t tenant,
                          const uint8_t client_public[NOISE_KEY_BYTES], uint64_t now_ns);
void worker_obey(struct worker *worker, struct worker_order *order, uint64_t now_ns);

/* worker_agents.c */
/* It is this worker's from now on. */
void worker_adopt(struct worker *worker, struct coherence_binding *binding);
void worker_mail_for_binding(struct worker *worker, struct coherence_binding *binding, uint64_t now_ns);
void worker_attend(struct worker *worker, struct coherence_binding *binding, uint64_t now_ns);
/* What other threads have for this worker, done now. It may end sessions. */
void worker_take_mail(struct worker *worker, uint64_t now_ns);
/* The worker was not there for a while: that is not its clients' fault. */
void worker_extend_leases(struct worker *worker, uint64_t lost_ns, uint64_t now_ns);
/* At the end, when no other worker runs any more. */
void worker_drop_bindings(struct worker *worker);

#endif
