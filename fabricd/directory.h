/* directory.h - who caches which page of one shared region, and who has to wait for whom
 *
 * A page is in one of three states:
 *
 *                       MEM_RD_SHARED                       MEM_RD_ANY
 *            HOME --------------------------> SHARED --------------------------> OWNED
 *             ^ ^    nobody has a copy:         |      all other copies gone       |
 *             | |    memory is the truth        | copies for reading:              | one copy, writable:
 *             | '-------------------------------'   memory is still the truth      |   that copy is the truth
 *             |                 BI_SNP_INV answered, or MEM_CLN_EVCT               |
 *             '--------------------------------------------------------------------'
 *                               (BI_SNP_DATA answered SHARED: to SHARED)
 *
 * Invariants, checked by directory_valid():
 *   D1  OWNED names exactly one agent, and no other agent may use a copy.
 *   D2  The directory is a superset of the truth: who may use a copy is in it; who is in it may have none.
 *   D3  While an access to a page waits for snoops, no other access to that page is let through, but what the
 *       snooped need in order to answer (the owner's write-back, BI_RSP).
 *   D4  Accesses to a page that have to wait are let through in the order they came; reading ones that follow
 *       each other, together.
 *   D5  A snoop is open from when it was sent until it is answered or its agent ended; every one belongs to
 *       exactly one page's queue, which goes on when the last of its snoops is closed.
 *
 * D2 is what makes the protocol simple. A grant may be repeated, an eviction may be silent, an agent's number
 * may be used again by another agent, many agents may share one bit: all that only makes the directory name
 * too many, and who is snooped for a page it does not have says so. The one thing that must never happen is
 * to take an agent out while it uses a copy, and only its own answer (or its end) does that.
 *
 * Pure: no I/O, no clock, no lock (the caller has one for each directory). What is to be done comes back
 * through `struct directory_ops`. Memory: 1 byte for each page, 12 for each page cached anywhere, and what
 * waits. Sources: CXL 3.0, 3.3 (HDM-DB, back-invalidate) and 4.2 for the names; the limited vector of sharers
 * is Gupta, Weber, Mowry: Reducing Memory and Traffic Requirements for Scalable Directory-Based Cache
 * Coherence Schemes (1990), where a bit stands for several agents.
 */
#ifndef FABRICD_DIRECTORY_H
#define FABRICD_DIRECTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire.h"

struct directory;

/* Agents have numbers, 1..AGENTS_MAX; 0 is nobody: an access by a line operation, which keeps no copy. */

enum directory_state { DIRECTORY_HOME, DIRECTORY_SHARED, DIRECTORY_OWNED };

enum directory_access {
    DIRECTORY_LOAD,       /* a line is read: the owner, if any, must have written back */
    DIRECTORY_STORE,      /* a line is changed: nobody may have a copy */
    DIRECTORY_READ_SHARE, /* the agent gets a copy for reading */
    DIRECTORY_READ_OWN,   /* the agent gets the only copy */
};

/* Somebody whose access waits; the caller's memory, at first all zero, the directory's from when
 * directory_access says -EINPROGRESS until directory_done or directory_cancel. */
struct directory_waiter {
    uint64_t page;
    enum directory_access access;
    uint16_t agent;
    bool ready;  /* its access may go on: see directory_ops.ready */
    bool queued; /* the directory knows it */
    struct directory_waiter *next, *prev;
};

/* Called from inside the functions below, under the caller's lock; they must not call the directory back. */
struct directory_ops {
    /* Sends a snoop; it is repeated by the caller (directory_each_snoop) until it is answered. */
    void (*snoop)(void *context, uint16_t agent, uint64_t page, uint16_t id, enum bi_snp kind);
    /* The waiter's turn has come: the page is now reserved for it (and for other readers, if it reads). The
     * caller repeats directory_access with it and then says directory_done; or says directory_cancel. */
    void (*ready)(void *context, struct directory_waiter *waiter);
};

/* For a region of `pages`, at least 1. -ENOMEM. */
int directory_open(uint64_t pages, const struct directory_ops *ops, void *context,
                   struct directory **directory_out);
/* Nobody may wait. NULL: does nothing. */
void directory_close(struct directory *directory);

/* A new agent that has nothing; its number may have been another's. -EUSERS: there are AGENTS_MAX. -ENOMEM.
 */
int directory_attach(struct directory *directory, uint16_t *agent_out);
/* The agent is no more (it left, or was fenced): it has nothing, its open snoops count as answered. What
 * still waits in its name keeps its place, and is to be cancelled by the caller, at the latest when it is
 * ready. */
void directory_detach(struct directory *directory, uint16_t agent);

/* May the access go on now? 0: yes; the caller does it before it lets go of its lock, and for a READ_SHARE or
 * READ_OWN the agent is now in the directory. -EINPROGRESS: it waits, and `waiter` (filled in here) is
 * queued. -ENOMEM: nothing has happened. A waiter that is ready passes at once, however often it is asked;
 * one that is queued and not ready still waits. READ_SHARE and READ_OWN: the agent lives, which the caller
 * has looked at. LOAD and STORE are for nobody: `agent` does not matter, its own copy is asked for like
 * others. */
int directory_access(struct directory *directory, uint64_t page, enum directory_access access, uint16_t agent,
                     struct directory_waiter *waiter);
/* The access is over: if the waiter was queued (and so ready), the page is the next one's. */
void directory_done(struct directory *directory, struct directory_waiter *waiter);
/* The waiter goes, ready or not, queued or not. */
void directory_cancel(struct directory *directory, struct directory_waiter *waiter);

/* The id that the agent's next snoop will have. */
uint16_t directory_next_snoop(const struct directory *directory, uint16_t agent);

/* May the agent write changed lines of the page back? Only the owner may. */
bool directory_owns(const struct directory *directory, uint16_t agent, uint64_t page);

/* Is this snoop open? */
bool directory_is_open(const struct directory *directory, uint16_t agent, uint64_t page, uint16_t id);

/* The agent answers a snoop. -ENOENT: no such snoop is open (answered before, or the agent was fenced
 * meanwhile); -EINVAL: one cannot keep that (SHARED after an INV). Then nothing has happened. */
int directory_answer(struct directory *directory, uint16_t agent, uint64_t page, uint16_t id,
                     enum bi_state state);
/* MemClnEvct: the agent has no copy any more, and none on its way: it asks for the page again only when it
 * has the answer to this. Ignored while somebody waits for the page. */
void directory_evicted(struct directory *directory, uint16_t agent, uint64_t page);

/* How many snoops are open at the agent; calls `each` for at most `most` of them, the oldest first. */
unsigned directory_each_snoop(const struct directory *directory, uint16_t agent, unsigned most,
                              void (*each)(void *context, uint64_t page, uint16_t id, enum bi_snp kind),
                              void *context);

/* For tests, metrics and the simulator. The owner is written if there is one. Pages are counted as cached
 * for a while after the last agent that had them was detached. */
enum directory_state directory_state(const struct directory *directory, uint64_t page, uint16_t *owner_out);
/* May the agent have a copy, for all the directory knows? */
bool directory_holds(const struct directory *directory, uint16_t agent, uint64_t page);
uint64_t directory_bytes(const struct directory *directory);
uint64_t directory_cached_pages(const struct directory *directory);

/* The invariants. Looks at everything: for small regions. */
bool directory_valid(const struct directory *directory);

#endif
