/* worker_agents.c - the agents that listen on this worker's sessions: their snoops and their leases */
#include "worker_internal.h"

#include <stdlib.h>
#include <string.h>

#include "atomic.h"
#include "least.h"
#include "log.h"
#include "region_coherent.h"

#define REPEAT_FIRST_NS (5 * NS_PER_MS)
#define REPEAT_MOST_NS  (100 * NS_PER_MS)

static void send_snoops(struct worker *worker, struct session *session, const struct wire_bi_snp *snoops,
                        unsigned count, uint64_t now_ns)
{
    struct body_header header = {.kind = BODY_BISNP, .op_count = le16_of((uint16_t)count)};

    worker_put_header(worker, &header);
    memcpy(worker_body(worker), snoops, count * sizeof(*snoops));
    worker_send_body(worker, session, sizeof(header) + count * sizeof(*snoops), now_ns);
    worker->snooping = true;
}

/* Once, and it may get lost: the agent's next word gets FENCED in any case. */
static void say_gone(struct worker *worker, const struct coherence_binding *binding, uint64_t now_ns)
{
    struct session *session = session_find(worker->sessions, binding->session);
    struct wire_bi_snp gone = {
        .region = le64_of(binding->region), .agent = le32_of(binding->agent), .kind = BI_SNP_GONE};

    if (session)
        send_snoops(worker, session, &gone, 1, now_ns);
}

void worker_adopt(struct worker *worker, struct coherence_binding *binding)
{
    if (binding->link)
        return;
    binding->timer.kind = WORKER_TIMER_BINDING;
    binding->next = worker->bindings;
    binding->link = &worker->bindings;
    if (binding->next)
        binding->next->link = &binding->next;
    worker->bindings = binding;
    COUNT(worker, agents, 1);
}

static void forget(struct worker *worker, struct coherence_binding *binding)
{
    timers_cancel(&worker->timers, &binding->timer);
    *binding->link = binding->next;
    if (binding->next)
        binding->next->link = binding->link;
    COUNT(worker, agents, -1);
    binding->link = NULL;
    binding->forgotten = true;
    if (!mail_posted(&binding->mail))
        free(binding);
}

/* With the lock; NULL: the region is no more. */
static struct coherence *enter(const struct worker *worker, const struct coherence_binding *binding)
{
    const struct region_caller caller = {worker->options.regions, worker->options.index, binding->tenant};
    struct coherence *coherence;

    if (region_find_coherence(&caller, binding->region, &coherence) < 0 || coherence_enter(coherence) < 0)
        return NULL;
    return coherence;
}

static void get_news(struct worker *worker, struct coherence_binding *binding, bool repeat, uint64_t now_ns,
                     struct coherence_news *news_out)
{
    const struct session *session = session_find(worker->sessions, binding->session);
    struct coherence *coherence = enter(worker, binding);

    if (!coherence) {
        *news_out = (struct coherence_news){.fate = COHERENCE_GONE};
        return;
    }
    coherence_attend(coherence, binding, session ? session->heard_ns : 0, now_ns, repeat, news_out);
    coherence_unlock(coherence);
}

/* When to repeat, and when to look at the lease. */
static void set_timer(struct worker *worker, struct coherence_binding *binding,
                      const struct coherence_news *news, bool repeated, uint64_t now_ns)
{
    uint64_t due_ns = news->expires_ns;

    if (!news->waiting) {
        binding->repeat_ns = 0;
    } else if (binding->repeat_ns == 0 || (repeated && news->fresh > 0)) {
        binding->repeat_ns = REPEAT_FIRST_NS;
        binding->repeat_due_ns = now_ns + binding->repeat_ns;
    } else if (repeated) {
        binding->repeat_ns = least(2 * binding->repeat_ns, REPEAT_MOST_NS);
        binding->repeat_due_ns = now_ns + binding->repeat_ns;
    } else if (news->fresh > 0) { /* sooner, if anything: what was sent before must not wait for ever */
        binding->repeat_ns = REPEAT_FIRST_NS;
        binding->repeat_due_ns = least(binding->repeat_due_ns, now_ns + binding->repeat_ns);
    }
    if (binding->repeat_ns > 0)
        due_ns = least(due_ns, binding->repeat_due_ns);
    timers_set(&worker->timers, &binding->timer, due_ns);
}

static void deliver(struct worker *worker, struct coherence_binding *binding,
                    const struct coherence_news *news, uint64_t now_ns)
{
    struct session *session = session_find(worker->sessions, binding->session);

    if (news->count == 0 || !session)
        return;
    COUNT(worker, snoops, news->fresh);
    COUNT(worker, repeated_snoops, news->count - news->fresh);
    send_snoops(worker, session, news->snoops, news->count, now_ns);
}

void worker_attend(struct worker *worker, struct coherence_binding *binding, uint64_t now_ns)
{
    bool repeat = binding->repeat_ns > 0 && binding->repeat_due_ns <= now_ns;
    struct coherence_news news;

    get_news(worker, binding, repeat, now_ns, &news);
    if (news.fate == COHERENCE_LIVES) {
        set_timer(worker, binding, &news, repeat, now_ns);
        deliver(worker, binding, &news, now_ns);
        return;
    }
    if (news.fenced) {
        COUNT(worker, fenced_agents, 1);
        log_limited(LOG_LEVEL_WARN, "agent %08x of tenant %u fenced: not heard for a lease", binding->agent,
                    binding->tenant);
    }
    if (news.fate == COHERENCE_GONE)
        say_gone(worker, binding, now_ns);
    forget(worker, binding);
}

void worker_mail_for_binding(struct worker *worker, struct coherence_binding *binding, uint64_t now_ns)
{
    if (binding->forgotten) {
        free(binding);
        return;
    }
    worker_adopt(worker, binding);
    worker_attend(worker, binding, now_ns);
}

void worker_extend_leases(struct worker *worker, uint64_t lost_ns, uint64_t now_ns)
{
    for (const struct coherence_binding *binding = worker->bindings; binding; binding = binding->next) {
        struct coherence *coherence = enter(worker, binding);

        if (!coherence)
            continue;
        coherence_extend(coherence, binding, lost_ns, now_ns);
        coherence_unlock(coherence);
    }
}

void worker_drop_bindings(struct worker *worker)
{
    while (worker->bindings)
        forget(worker, worker->bindings);
}
