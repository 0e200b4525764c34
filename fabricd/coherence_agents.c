/* coherence_agents.c - cache agents: their leases, who listens for them, and their snoops; see coherence.h */
#include "coherence.h"

#include <errno.h>
#include <stdlib.h>

#include "atomic.h"
#include "check.h"
#include "coherence_internal.h"

#define AGENTS_ROOM_MIN 8

static struct agent *find(const struct coherence *coherence, uint32_t id)
{
    uint32_t number = (uint16_t)id;
    struct agent *agent = number < coherence->agents_room ? coherence->agents[number] : NULL;

    return agent && agent->id == id ? agent : NULL;
}

int coherence_find_agent(const struct coherence *coherence, uint32_t agent, uint16_t *number_out)
{
    if (!find(coherence, agent))
        return -EOWNERDEAD;
    *number_out = (uint16_t)agent;
    return 0;
}

uint16_t coherence_next_snoop(const struct coherence *coherence, uint16_t number)
{
    return directory_next_snoop(coherence->directory, number);
}

bool coherence_owns(const struct coherence *coherence, uint16_t number, uint64_t page)
{
    return directory_owns(coherence->directory, number, page);
}

bool coherence_is_open(const struct coherence *coherence, uint16_t number, uint64_t page, uint16_t id)
{
    return directory_is_open(coherence->directory, number, page, id);
}

int coherence_answer(struct coherence *coherence, uint16_t number, uint64_t page, uint16_t id,
                     enum bi_state state)
{
    return directory_answer(coherence->directory, number, page, id, state);
}

void coherence_evicted(struct coherence *coherence, uint16_t number, uint64_t page)
{
    directory_evicted(coherence->directory, number, page);
}

uint32_t coherence_agent_count(const struct coherence *coherence)
{
    return coherence->agent_count;
}

/* ---- snoops ---- */

void coherence_snoop(void *context, uint16_t number, uint64_t page, uint16_t id, enum bi_snp kind)
{
    struct coherence *coherence = context;
    struct agent *agent = coherence->agents[number];

    CHECK(agent);
    if (!agent->more && agent->fresh_count < COHERENCE_NEWS_SNOOPS) {
        agent->fresh[agent->fresh_count++] = (struct fresh_snoop){page, id, (uint8_t)kind};
    } else if (!agent->more) {
        agent->more = true;
        agent->more_from = id;
    }
    post_binding(coherence, agent->binding);
}

static void ready(void *context, struct directory_waiter *waiter)
{
    post_waiter(context,
                (struct coherence_waiter *)((char *)waiter - offsetof(struct coherence_waiter, access)));
}

/* ---- coming and going ---- */

static int room_for(struct coherence *coherence, uint32_t number)
{
    uint32_t room = coherence->agents_room ? coherence->agents_room : AGENTS_ROOM_MIN;
    struct agent **agents;

    while (room <= number)
        room *= 2;
    if (room == coherence->agents_room)
        return 0;
    agents = realloc(coherence->agents, room * sizeof(struct agent *));
    if (!agents)
        return -ENOMEM;
    for (uint32_t i = coherence->agents_room; i < room; i++)
        agents[i] = NULL;
    coherence->agents = agents;
    coherence->agents_room = room;
    return 0;
}

static int open_directory(struct coherence *coherence)
{
    static const struct directory_ops ops = {.snoop = coherence_snoop, .ready = ready};

    if (coherence->directory)
        return 0;
    return directory_open(coherence->options.pages, &ops, coherence, &coherence->directory);
}

static struct coherence_binding *binding_alloc(const struct coherence *coherence, unsigned worker,
                                               uint32_t session, uint32_t agent)
{
    struct coherence_binding *binding = calloc(1, sizeof(*binding));

    if (!binding)
        return NULL;
    binding->mail.kind = MAIL_BINDING;
    binding->worker = worker;
    binding->tenant = coherence->options.tenant;
    binding->region = coherence->options.region;
    binding->session = session;
    binding->agent = agent;
    return binding;
}

int coherence_attach(struct coherence *coherence, unsigned worker, uint32_t session, uint64_t now_ns,
                     uint32_t *agent_out)
{
    struct agent *agent;
    uint16_t number;

    if (fetch_add_relaxed(coherence->options.tenant_agents, 1) >= TENANT_AGENTS_MAX)
        goto uncount;
    agent = calloc(1, sizeof(*agent));
    if (!agent || open_directory(coherence) != 0 || directory_attach(coherence->directory, &number) != 0)
        goto free_agent;
    if (room_for(coherence, number) != 0)
        goto detach;
    agent->id = (uint32_t)coherence->next_half++ << 16 | number;
    agent->expires_ns = now_ns + coherence->options.lease_ns;
    agent->binding = binding_alloc(coherence, worker, session, agent->id);
    if (!agent->binding)
        goto detach;
    coherence->agents[number] = agent;
    coherence->agent_count++;
    post_binding(coherence, agent->binding); /* which makes it its worker's */
    *agent_out = agent->id;
    return 0;

detach:
    directory_detach(coherence->directory, number);
free_agent:
    free(agent);
uncount:
    fetch_sub_relaxed(coherence->options.tenant_agents, 1);
    return -EBUSY;
}

int coherence_renew(struct coherence *coherence, uint32_t id, unsigned worker, uint32_t session,
                    uint64_t now_ns)
{
    struct agent *agent = find(coherence, id);
    struct coherence_binding *binding;

    if (!agent)
        return -EOWNERDEAD;
    agent->expires_ns = now_ns + coherence->options.lease_ns;
    binding = agent->binding;
    if (binding->worker == worker && binding->session == session)
        return 0;
    if (binding->worker != worker) {
        struct coherence_binding *old = binding;

        binding = binding_alloc(coherence, worker, session, id);
        if (!binding)
            return -EBUSY;
        agent->binding = binding;
        post_binding(coherence, old); /* to see that it is nobody's any more */
    }
    binding->session = session; /* by its own worker's thread */
    agent->fresh_count = 0;     /* what was sent to the old session may be lost: all that are open again */
    agent->more = true;
    agent->more_from = (uint16_t)(directory_next_snoop(coherence->directory, (uint16_t)id) - SNOOPS_MAX);
    post_binding(coherence, binding);
    return 0;
}

static void take_out(struct coherence *coherence, struct agent *agent)
{
    uint16_t number = (uint16_t)agent->id;

    coherence->agents[number] = NULL;
    coherence->agent_count--;
    fetch_sub_relaxed(coherence->options.tenant_agents, 1);
    free(agent);
    directory_detach(coherence->directory, number);
}

void coherence_remove_agent(struct coherence *coherence, struct agent *agent)
{
    struct coherence_binding *binding = agent->binding;

    take_out(coherence, agent);
    post_binding(coherence, binding);
}

int coherence_detach(struct coherence *coherence, uint32_t id)
{
    struct agent *agent = find(coherence, id);

    if (!agent)
        return -EOWNERDEAD;
    agent->binding->left = true;
    coherence_remove_agent(coherence, agent);
    return 0;
}

/* ---- news for the listener ---- */

static void put_snoop(const struct coherence *coherence, uint32_t agent, struct coherence_news *news,
                      uint64_t page, uint16_t id, enum bi_snp kind)
{
    news->snoops[news->count++] = (struct wire_bi_snp){
        .region = le64_of(coherence->options.region),
        .offset = le64_of(page * PAGE_BYTES),
        .agent = le32_of(agent),
        .id = le16_of(id),
        .kind = (uint8_t)kind,
    };
}

struct collector {
    const struct coherence *coherence;
    struct agent *agent;
    struct coherence_news *news;
};

/* Fills the list of those not sent. */
static void collect_unsent(void *context, uint64_t page, uint16_t id, enum bi_snp kind)
{
    struct agent *agent = ((const struct collector *)context)->agent;

    if (!agent->more || (int16_t)(id - agent->more_from) < 0)
        return;
    if (agent->fresh_count < COHERENCE_NEWS_SNOOPS) {
        agent->fresh[agent->fresh_count++] = (struct fresh_snoop){page, id, (uint8_t)kind};
        agent->more_from = (uint16_t)(id + 1);
    }
}

/* Behind the new ones, what there is room for. */
static void collect_sent(void *context, uint64_t page, uint16_t id, enum bi_snp kind)
{
    const struct collector *collector = context;
    struct coherence_news *news = collector->news;

    for (unsigned i = 0; i < news->fresh; i++)
        if (le16_get(news->snoops[i].id) == id)
            return;
    if (news->count < COHERENCE_NEWS_SNOOPS)
        put_snoop(collector->coherence, collector->agent->id, news, page, id, kind);
}

static void gather(struct coherence *coherence, struct agent *agent, bool all, struct coherence_news *news)
{
    struct collector collector = {coherence, agent, news};
    uint16_t number = (uint16_t)agent->id;

    if (agent->more && agent->fresh_count == 0) {
        directory_each_snoop(coherence->directory, number, SNOOPS_MAX, collect_unsent, &collector);
        agent->more = agent->more_from != directory_next_snoop(coherence->directory, number);
    }
    for (unsigned i = 0; i < agent->fresh_count; i++)
        put_snoop(coherence, agent->id, news, agent->fresh[i].page, agent->fresh[i].id,
                  (enum bi_snp)agent->fresh[i].kind);
    news->fresh = news->count;
    agent->fresh_count = 0;
    if (agent->more && news->fresh > 0)
        post_binding(coherence, agent->binding); /* for the rest of them */
    else
        agent->more = false; /* they were answered meanwhile */
    news->waiting = directory_each_snoop(coherence->directory, number, all ? SNOOPS_MAX : 0, collect_sent,
                                         &collector) > 0;
}

void coherence_attend(struct coherence *coherence, struct coherence_binding *binding, uint64_t heard_ns,
                      uint64_t now_ns, bool repeat, struct coherence_news *news_out)
{
    struct agent *agent = find(coherence, binding->agent);

    news_out->count = 0;
    news_out->fenced = news_out->waiting = false;
    if (!agent || agent->binding != binding) {
        news_out->fate = agent || binding->left ? COHERENCE_ELSEWHERE : COHERENCE_GONE;
        return;
    }
    if (heard_ns + coherence->options.lease_ns > agent->expires_ns)
        agent->expires_ns = heard_ns + coherence->options.lease_ns;
    if (agent->expires_ns <= now_ns) {
        news_out->fate = COHERENCE_GONE;
        news_out->fenced = true;
        take_out(coherence, agent);
        return;
    }
    news_out->fate = COHERENCE_LIVES;
    news_out->expires_ns = agent->expires_ns;
    gather(coherence, agent, repeat, news_out);
}

void coherence_extend(struct coherence *coherence, const struct coherence_binding *binding, uint64_t lost_ns,
                      uint64_t now_ns)
{
    struct agent *agent = find(coherence, binding->agent);
    uint64_t most_ns = now_ns + coherence->options.lease_ns;

    if (!agent || agent->binding != binding)
        return;
    agent->expires_ns += lost_ns;
    if (agent->expires_ns > most_ns)
        agent->expires_ns = most_ns;
}
