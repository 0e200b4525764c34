/* coherence_internal.h - what the files of the coherence module share; nobody else includes it */
#ifndef FABRICD_COHERENCE_INTERNAL_H
#define FABRICD_COHERENCE_INTERNAL_H

#include "coherence.h"

#define LINE_BUCKET_BITS 6
#define LINE_BUCKETS     (1 << LINE_BUCKET_BITS)

/* A snoop not sent yet. */
struct fresh_snoop {
    uint64_t page;
    uint16_t id;
    uint8_t kind; /* enum bi_snp */
};

struct agent {
    uint32_t id; /* on the wire: random half, directory number */
    uint64_t expires_ns;
    struct coherence_binding *binding; /* owned by binding->worker, who frees it after it was replaced here */
    /* Not sent yet: those below, and of the open ones all from `more_from` on, if there are more. */
    bool more;
    uint16_t more_from;
    unsigned fresh_count;
    struct fresh_snoop fresh[COHERENCE_NEWS_SNOOPS];
};

/* All under the lock. */
struct coherence {
    _Alignas(64) uint32_t lock; /* atomic */
    bool ended;
    bool settled; /* everybody goes by the lock */
    struct coherence_options options;
    struct directory *directory; /* NULL: no agents since a while, nobody waits for a page */
    struct agent **agents;       /* by directory number */
    uint32_t agents_room, agent_count;
    uint16_t next_half; /* the next agent's upper half: from a random one on, so that none comes back soon */
    struct coherence_waiter *waiters;
    uint32_t page_waiters, line_waiters;
    struct coherence_waiter *lines[LINE_BUCKETS]; /* those not called yet, by hash of the line's number */
};

/* Many lines have the same place in their pages: so the upper bits count as well. */
static inline unsigned line_bucket(uint64_t line)
{
    return (unsigned)(line * 0x9E3779B97F4A7C15u >> (64 - LINE_BUCKET_BITS));
}

static inline void post_waiter(struct coherence *coherence, struct coherence_waiter *waiter)
{
    mailbox_post(coherence->options.mailboxes, waiter->worker, &waiter->mail);
}

static inline void post_binding(struct coherence *coherence, struct coherence_binding *binding)
{
    mailbox_post(coherence->options.mailboxes, binding->worker, &binding->mail);
}

/* coherence_agents.c: the directory wants the agent snooped. */
void coherence_snoop(void *context, uint16_t number, uint64_t page, uint16_t id, enum bi_snp kind);
/* Takes the agent out, and tells its binding's worker. */
void coherence_remove_agent(struct coherence *coherence, struct agent *agent);

/* coherence_wait.c: a page was granted to an agent that may change it unseen. */
void coherence_page_left(struct coherence *coherence, uint64_t page);
void coherence_link(struct coherence *coherence, struct coherence_waiter *waiter, enum coherence_wait waits);
/* It waits no longer; a page it waits for is the next one's. From here on it may be freed. */
void coherence_unlink(struct coherence *coherence, struct coherence_waiter *waiter);

#endif
