/* pager_snoop.h - the inside of a coherent mapping: its cache agent, the lease, the snoops it answers
 *
 * One thread for each coherent mapping holds a listening lane as long as it runs. It alone attaches, renews,
 * fences and answers; everybody else only reads `agent`, and takes it away (to 0) when the server says that
 * it is no more.
 *
 *   pager_snoop.c   the thread; snoops, and what each state of a page makes of one
 *   pager_answer.c  answers on their way, with the changed lines
 *   pager_lease.c   attaching, renewing, fencing
 */
#ifndef CXE_CLIENT_PAGER_SNOOP_H
#define CXE_CLIENT_PAGER_SNOOP_H

#include "pager_internal.h"

#define ANSWERS 64  /* on their way at once */
#define GRANTS  256 /* pages whose time of arrival is remembered; a power of two */

/* What the server wants, and has not been answered. */
struct snoop {
    uint32_t page; /* UINT32_MAX: none of the mapping's */
    uint64_t region_offset;
    uint16_t id;
    uint8_t kind; /* enum bi_snp */
    uint64_t heard_ns;
    uint64_t due_ns; /* not before */
};

struct answer {
    bool taken;
    bool in_hand; /* the page is BUSY until this is over */
    bool asking;  /* the lines, more than a frame, wait until the server said that the snoop is still open */
    bool told;    /* the answer proper is among the operations */
    uint8_t kind; /* of the snoop */
    uint16_t id;
    uint8_t state; /* enum bi_state: what we have left */
    uint32_t page;
    uint32_t agent;
    uint64_t region_offset; /* of the page */
    uint64_t changed;       /* its lines that the server has not got */
    uint64_t retry_ns;      /* it failed: again then. 0: in flight */
    bool unsure;            /* nobody could tell whether an earlier try was done */
    uint64_t verify_ns;     /* done, if the agent was alive after then; 0 */
    unsigned op_count;
    struct wire_bi_rsp question, response;
    struct op ops[PAGE_RUNS_MAX + 2];
    uint8_t copy[PAGE_BYTES];
};

struct snooper {
    /* Anybody's to read. */
    uint32_t agent; /* its name, 0: none. The thread sets it, anybody clears it */
    int32_t error;  /* why there will never be another; 0 */
    uint64_t lease_ns;
    uint64_t valid_until_ns; /* by our own clock, ahead of the server's */
    uint64_t grants[GRANTS]; /* page << 32 | when, in microseconds modulo 2^32; relaxed */
    uint64_t denied[GRANTS]; /* page << 32 | id of the newest snoop answered while it was being fetched */
    int wake_fd;
    uint32_t stopping;
    uint32_t pass_lock; /* held by the thread while it is at pages */

    /* The thread's. */
    struct lane *lane;
    pthread_t thread;
    bool running;
    uint32_t attached;  /* what `agent` was when the thread last set it; 0 from the fence on */
    uint32_t old;       /* fenced by ourselves: the server is to be told */
    uint32_t session;   /* the lane's when the agent was last bound to it */
    uint64_t renew_ns;  /* when to ask for the lease again */
    bool asking;        /* `ask` is in flight, and `leave` if it was needed */
    uint32_t asked_for; /* 0: for a new agent */
    uint64_t asked_ns;
    uint64_t alive_ns; /* when the newest question left that the server answered with a lease */
    struct op leave, ask;
    struct wire_agent_info info;

    uint32_t in_hand;       /* answers that hold a page */
    uint8_t wasted[GRANTS]; /* how often a page was granted for a store and went before one came; by page */
    unsigned answer_count;
    unsigned snoop_count;
    struct snoop snoops[SNOOPS_MAX];
    bool any_seen;
    uint16_t newest_seen;
    uint64_t seen[SNOOPS_MAX / 64]; /* of the last SNOOPS_MAX ids, by id modulo that */
    struct answer answers[ANSWERS];
};

/* ---- pager_lease.c ---- */

/* Attaches; blocks until the deadline. */
int lease_open(struct pager *pager, uint64_t deadline_ns);
/* Renews, fences, attaches anew: whatever is due. */
void lease_tick(struct pager *pager, uint64_t now_ns);
uint64_t lease_next_ns(const struct snooper *snooper);
/* The page, ours (BUSY or DROPPING), is lost with the stores on it. */
void lease_lose_page(struct pager *pager, uint32_t page);

/* ---- pager_answer.c ---- */

/* A free one, or NULL. */
struct answer *answer_take(struct snooper *snooper);
void answer_give(struct snooper *snooper, struct answer *answer);
/* Sends it. The caller has filled in kind, id, state, page, agent, region_offset; and changed, copy and
 * in_hand, if lines go with it. */
void answer_send(struct pager *pager, struct answer *answer);
/* Takes note of those that are over, sends those again that failed. */
void answer_collect_all(struct pager *pager, uint64_t now_ns);
/* Fenced: pages in hand are lost, nothing is repeated. */
void answer_forget_all(struct pager *pager);
uint64_t answer_next_ns(const struct snooper *snooper);

/* ---- pager_snoop.c ---- */

/* Another agent: nothing was heard yet. */
void snoop_forget_all(struct snooper *snooper);

#endif
