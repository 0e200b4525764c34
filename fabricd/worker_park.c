/* worker_park.c - requests that wait for a page, a line or a deadline, and go on later */
#include "worker_internal.h"

#include <errno.h>
#include <string.h>

#include "atomic.h"
#include "log.h"

/* A waiter whose line may be written unseen looks again after so long. */
#define LOOK_LATER_NS NS_PER_MS

struct requester worker_requester(const struct worker *worker, const struct session *session,
                                  struct coherence_waiter *waiter, uint64_t now_ns)
{
    return (struct requester){
        .worker = worker->options.index,
        .tenant = session->tenant,
        .session = session->id,
        .now_ns = now_ns,
        .waiter = waiter,
    };
}

static void count_parked(struct worker *worker)
{
    store_relaxed(&worker->counters.parked, worker->park.all.count);
}

/* A deadline that is over was looked at: then only what it waits for lets it go on. */
static void set_timer(struct worker *worker, struct parked *parked, uint64_t now_ns)
{
    uint64_t deadline_ns = parked->execution.deadline_ns;

    if (deadline_ns > now_ns && deadline_ns < UINT64_MAX)
        timers_set(&worker->timers, &parked->timer, deadline_ns);
    else
        timers_cancel(&worker->timers, &parked->timer);
}

void worker_park(struct worker *worker, struct session *session, const uint8_t *body, size_t body_bytes,
                 const struct request_summary *summary, uint64_t digest, const struct execution *execution,
                 uint64_t now_ns)
{
    struct parked *parked = park_keep(&worker->park, session->tenant, &session->parked, body, body_bytes,
                                      worker_body(worker), summary->result_bytes, execution);

    if (!parked) { /* part of it may be done, and to say which part there is no way */
        log_limited(LOG_LEVEL_WARN, "session %u closed: no memory for a request that waits", session->id);
        worker_end_session(worker, session, true, now_ns);
        return;
    }
    parked->session = session;
    parked->seq = le64_get(((const struct body_header *)body)->seq);
    parked->digest = digest;
    parked->mutates = summary->mutates;
    parked->timer.kind = WORKER_TIMER_PARKED;
    slots_park(&session->slots, parked->seq, digest);
    set_timer(worker, parked, now_ns);
    COUNT(worker, parked_requests, 1);
    count_parked(worker);
}

static void drop(struct worker *worker, struct parked *parked)
{
    timers_cancel(&worker->timers, &parked->timer);
    park_drop(&worker->park, parked);
    count_parked(worker);
}

void worker_run_parked(struct worker *worker, struct parked *parked, uint64_t now_ns)
{
    struct session *session = parked->session;
    struct requester requester = worker_requester(worker, session, &parked->waiter, now_ns);
    struct execution execution;
    uint64_t seq = parked->seq, digest = parked->digest;
    bool mutates = parked->mutates;

    if (executor_run(worker->options.executor, &requester, parked->body, parked->body_bytes, parked->values,
                     &parked->execution) == -EINPROGRESS) {
        set_timer(worker, parked, now_ns);
        return;
    }
    execution = parked->execution;
    memcpy(worker_body(worker), parked->values, execution.result_bytes);
    drop(worker, parked);
    worker_finish(worker, session, seq, mutates, digest, &execution, 0, now_ns);
}

void worker_mail_for_parked(struct worker *worker, struct parked *parked, uint64_t now_ns)
{
    uint64_t later_ns = now_ns + LOOK_LATER_NS;

    if (!park_came_out(parked))
        return;
    if (!coherence_looks_later(&parked->waiter))
        worker_run_parked(worker, parked, now_ns);
    else if (!parked->timer.set || parked->timer.due_ns > later_ns)
        timers_set(&worker->timers, &parked->timer, later_ns);
}

void worker_say_pending(struct worker *worker, struct session *session, uint64_t seq, uint64_t now_ns)
{
    struct body_header header = {.kind = BODY_PENDING, .seq = le64_of(seq)};

    worker_put_header(worker, &header);
    worker_send_body(worker, session, sizeof(header), now_ns);
}

void worker_give_up_parked(struct worker *worker, struct session *session, uint64_t seq)
{
    for (struct parked *parked = session->parked, *next; parked; parked = next) {
        next = parked->next;
        if (parked->seq % SESSION_SLOTS != seq % SESSION_SLOTS)
            continue;
        slots_unpark(&session->slots, parked->seq);
        drop(worker, parked);
    }
}

void worker_give_up_all_parked(struct worker *worker, struct session *session)
{
    while (session->parked)
        drop(worker, session->parked);
}
