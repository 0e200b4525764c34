/* coherence.h - what makes a region's lines, its mapped copies and those who wait for a line agree
 *
 * A region has a `struct coherence` from when the first cache agent attached to it or the first WAIT waited
 * in it, until it ends. Every line operation of such a region goes under its lock, which is held for one
 * page's worth of work and by nobody who waits for anything. In it: the directory (while there are agents),
 * the agents with their leases, and those who wait for a line.
 *
 * Three things meet here, on different threads:
 *   - a request that has to wait leaves a `struct coherence_waiter` and is run again by its worker when that
 *     comes back through the mailbox;
 *   - an agent's snoops go out by the worker whose session it listens on: its `struct coherence_binding`,
 *     which that worker owns, comes through the mailbox when there is something to send;
 *   - a region's end makes all of them come back, to find the region gone.
 *
 * All functions but those of the last part: under the lock. No function blocks.
 */
#ifndef FABRICD_COHERENCE_H
#define FABRICD_COHERENCE_H

#include <stdbool.h>
#include <stdint.h>

#include "directory.h"
#include "mailbox.h"
#include "timers.h"

struct coherence;

/* Somebody who waits: for his turn at a page, or for a line to change. Owned by a worker; zeroed but for
 * mail.kind and worker. */
struct coherence_waiter {
    struct mail mail; /* first: how it comes back to its worker */
    unsigned worker;
    struct coherence *coherence; /* atomic; NULL: it waits for nothing */
    struct directory_waiter access;
    uint64_t line;                         /* LINE: which one */
    uint8_t waits;                         /* enum coherence_wait */
    bool look_soon;                        /* LINE: it came back only to be told to look a moment later */
    struct coherence_waiter *next, **link; /* all of a coherence */
    struct coherence_waiter *line_next, **line_link; /* those of lines with the same hash; NULL: called */
};

enum coherence_wait { COHERENCE_WAITS_NOT, COHERENCE_WAITS_PAGE, COHERENCE_WAITS_LINE };

/* An agent's other half: with the worker whose session it listens on, who owns it once it came through the
 * mailbox for the first time. */
struct coherence_binding {
    struct mail mail; /* first */
    unsigned worker;
    uint16_t tenant;
    uint32_t agent; /* its name on the wire */
    uint64_t region;
    bool left; /* its client detached: nobody need be told; under the lock */
    /* The worker's. */
    uint32_t session;
    bool forgotten; /* it only waits to come out of the mailbox */
    struct timer timer;
    uint64_t repeat_ns; /* the present pause between repeats; 0: no snoop is open */
    uint64_t repeat_due_ns;
    struct coherence_binding *next, **link; /* of all the worker's */
};

/* ---- pages ---- */

void coherence_lock(struct coherence *coherence);
void coherence_unlock(struct coherence *coherence);
/* The same as coherence_lock, unless the region has ended: -ESTALE. */
int coherence_enter(struct coherence *coherence);

/* May this access to the page go on? 0: yes, now, and then coherence_done; -EINPROGRESS: the waiter waits,
 * and the same call with it is to be made again when it came back; -ESTALE: the region is no more; -EBUSY: no
 * memory. `agent`: 0, or what coherence_find_agent said. */
int coherence_access(struct coherence *coherence, uint64_t page, enum directory_access access, uint16_t agent,
                     struct coherence_waiter *waiter);
void coherence_done(struct coherence *coherence, struct coherence_waiter *waiter);

/* Lines were stored to: whoever waits for one of them comes back. */
void coherence_stored(struct coherence *coherence, uint64_t first_line, unsigned lines);

/* Everybody goes by the lock now; or need not any more. Who waits for a line waits only while they do: else
 * a store might be under way that calls nobody. */
void coherence_settle(struct coherence *coherence, bool settled);
bool coherence_is_settled(const struct coherence *coherence);

/* The waiter waits until the line is stored to; also if `page` leaves for an agent that may write it unseen.
 */
void coherence_wait_line(struct coherence *coherence, uint64_t line, struct coherence_waiter *waiter);
/* It came back, for whatever reason, and looks again: it does not wait for the line any more. */
void coherence_look_again(struct coherence *coherence, struct coherence_waiter *waiter);

/* ---- agents ---- */

/* The agent's number in the directory. -EOWNERDEAD: no such agent. */
int coherence_find_agent(const struct coherence *coherence, uint32_t agent, uint16_t *number_out);
/* The id that the agent's next snoop will have: those before it were sent before now. */
uint16_t coherence_next_snoop(const struct coherence *coherence, uint16_t number);
bool coherence_owns(const struct coherence *coherence, uint16_t number, uint64_t page);
bool coherence_is_open(const struct coherence *coherence, uint16_t number, uint64_t page, uint16_t id);
int coherence_answer(struct coherence *coherence, uint16_t number, uint64_t page, uint16_t id,
                     enum bi_state state);
void coherence_evicted(struct coherence *coherence, uint16_t number, uint64_t page);

/* A new agent that listens on the session; expires at now_ns + lease. -EBUSY: too many, in the region or of
 * the tenant, or no memory. */
int coherence_attach(struct coherence *coherence, unsigned worker, uint32_t session, uint64_t now_ns,
                     uint32_t *agent_out);
/* Renews the agent's lease, and lets it listen on that session from now on. -EOWNERDEAD, -EBUSY. */
int coherence_renew(struct coherence *coherence, uint32_t agent, unsigned worker, uint32_t session,
                    uint64_t now_ns);
/* The agent leaves. -EOWNERDEAD. */
int coherence_detach(struct coherence *coherence, uint32_t agent);

uint32_t coherence_agent_count(const struct coherence *coherence);
/* Does anybody have agents, or wait for a page? Then the region must keep its size, and its frames. */
bool coherence_busy(const struct coherence *coherence);
/* Is there nobody at all? */
bool coherence_idle(const struct coherence *coherence);
uint64_t coherence_directory_bytes(const struct coherence *coherence);
uint64_t coherence_cached_pages(const struct coherence *coherence);
/* The region has so many pages from now on. Not while it is busy. */
void coherence_resize(struct coherence *coherence, uint64_t pages);

/* ---- for the binding's worker ---- */

#define COHERENCE_NEWS_SNOOPS 48 /* as many as the shortest frame carries */

enum coherence_fate {
    COHERENCE_LIVES,
    COHERENCE_ELSEWHERE, /* it listens on another worker now, or left: this binding is nobody's */
    COHERENCE_GONE,      /* fenced just now or before, or its region ended: the client ought to know */
};

struct coherence_news {
    enum coherence_fate fate;
    bool fenced;         /* just now */
    uint64_t expires_ns; /* LIVES: when it will be fenced */
    bool waiting;        /* snoops are open */
    unsigned fresh;      /* how many of the following were not sent before */
    unsigned count;
    struct wire_bi_snp snoops[COHERENCE_NEWS_SNOOPS];
};

/* What is new for the binding's agent, whose session was heard at heard_ns (0: it is no more). Fences it if
 * its time is over. `repeat`: the oldest open snoops again, not only those that were not sent yet. */
void coherence_attend(struct coherence *coherence, struct coherence_binding *binding, uint64_t heard_ns,
                      uint64_t now_ns, bool repeat, struct coherence_news *news_out);

/* The server was not there for `lost_ns` (until now_ns) and may have missed the agent: it gets that much
 * more. */
void coherence_extend(struct coherence *coherence, const struct coherence_binding *binding, uint64_t lost_ns,
                      uint64_t now_ns);

/* ---- without the lock ---- */

struct coherence_options {
    struct mailboxes *mailboxes; /* borrowed */
    uint64_t lease_ns;
    uint16_t tenant;
    uint32_t *tenant_agents; /* borrowed, atomic: how many agents the tenant has */
    uint64_t region;         /* its handle */
    uint64_t pages;
};

/* -ENOMEM. */
int coherence_open(const struct coherence_options *options, struct coherence **coherence_out);
/* The region is gone (its handle names nothing any more): all that wait, and all agents, come back to their
 * workers. */
void coherence_end(struct coherence *coherence);
/* When nobody can know it any more. */
void coherence_close(struct coherence *coherence);

/* The waiter waits no longer, whatever for, and will not be posted any more. By its worker. */
void coherence_leave(struct coherence_waiter *waiter);
/* The waiter came back: was it only to look again a moment later? By its worker. */
bool coherence_looks_later(struct coherence_waiter *waiter);

/* The invariants. Takes the lock. */
bool coherence_valid(struct coherence *coherence);

#endif
