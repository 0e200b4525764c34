/* directory.c - see directory.h
 *
 * Facts that hold in each state, besides D1 to D5:
 *
 *   HOME    Nobody may use a copy. No entry, unless somebody waits for the page.
 *   SHARED  Whoever may use a copy has its bit set, and reads only. Memory is the truth.
 *   OWNED   The named agent may store without telling. Memory may be old, but no line in it is newer than the
 *           owner's: nobody else has stored since the page was granted.
 *   BUSY    A transaction keeps the state, which only changes towards fewer holders until its turn comes:
 *           by answers, by the end of agents, and not by evictions, which are ignored.
 *
 * A transaction alternates between two phases. *Asking*: snoops of one kind go to all holders but the one who
 * asks; it ends when all were sent and all are answered. *Letting through*: the waiter at the head is ready,
 * with those behind it that need no further snoop; it ends when they are done or cancelled. Asking, once
 * begun, is finished even if the waiter for whom it began has gone: an answer then finds its snoop.
 *
 * The window of an agent may be full. A transaction that comes to such an agent stops there and joins its
 * list; an answer of the agent, or its end, makes it go on. No cycle can arise, since nobody needs anything
 * of the directory in order to answer a snoop.
 */
#include "directory.h"

#include <errno.h>
#include <stdlib.h>

#include "check.h"
#include "directory_internal.h"

#define SWEEP_GROUPS   16 /* looked at in each access while there is something to sweep */
#define RING_SLOTS_MIN 8

/* The page is not busy (any more). -ENOMEM only if it had no entry. */
static int put_word(struct directory *directory, uint64_t page, uint64_t word)
{
    struct entry *entry = entries_find(&directory->entries, page);

    if (word_state(word) == DIRECTORY_HOME) {
        if (entry)
            entries_remove(&directory->entries, page);
        return 0;
    }
    if (!entry)
        return entries_add(&directory->entries, page, word);
    entry_set(entry, word);
    return 0;
}

/* Snoops. */

static int ring_grow(struct agent *agent)
{
    unsigned capacity = agent->capacity ? agent->capacity * 2u : RING_SLOTS_MIN;
    struct transaction **ring = calloc(capacity, sizeof(struct transaction *));

    if (!ring)
        return -ENOMEM;
    for (uint16_t id = agent->first; id != agent->next; id++)
        ring[id % capacity] = agent->ring[id % agent->capacity];
    free(agent->ring);
    agent->ring = ring;
    agent->capacity = (uint16_t)capacity;
    return 0;
}

/* Without memory for a longer ring the window is as long as the ring is: then the oldest is open, so an
 * answer will come. */
static bool window_is_full(struct agent *agent)
{
    uint16_t span = (uint16_t)(agent->next - agent->first);

    return span == SNOOPS_MAX || (span == agent->capacity && ring_grow(agent) < 0);
}

static bool snoop_send(struct directory *directory, struct transaction *transaction, uint16_t number)
{
    struct agent *agent = directory->agents[number];
    uint16_t id;

    if (window_is_full(agent))
        return false;
    id = agent->next++;
    agent->ring[id % agent->capacity] = transaction;
    agent->open++;
    transaction->open++;
    directory->ops->snoop(directory->context, number, transaction->page, id, transaction->kind);
    return true;
}

static void block(struct agent *agent, struct transaction *transaction)
{
    transaction->blocked_next = NULL;
    if (agent->blocked)
        agent->blocked_last->blocked_next = transaction;
    else
        agent->blocked = transaction;
    agent->blocked_last = transaction;
}

/* Snoops all that have not been, or up to an agent whose window is full. */
static void snoop_holders(struct directory *directory, struct transaction *transaction)
{
    uint16_t number;

    while (
        (number = word_holder(directory, transaction->word, transaction->cursor, transaction->requester))) {
        transaction->cursor = number;
        if (!snoop_send(directory, transaction, number)) {
            block(directory->agents[number], transaction);
            return;
        }
        transaction->cursor++;
    }
    transaction->cursor = 0;
}

/* Transactions. */

static void enqueue(struct transaction *transaction, struct directory_waiter *waiter)
{
    waiter->queued = true;
    waiter->ready = false;
    waiter->next = NULL;
    waiter->prev = transaction->last;
    if (transaction->last)
        transaction->last->next = waiter;
    else
        transaction->first = waiter;
    transaction->last = waiter;
}

static void dequeue(struct transaction *transaction, struct directory_waiter *waiter)
{
    if (waiter->next)
        waiter->next->prev = waiter->prev;
    else
        transaction->last = waiter->prev;
    if (waiter->prev)
        waiter->prev->next = waiter->next;
    else
        transaction->first = waiter->next;
    waiter->queued = waiter->ready = false;
}

static int transaction_open(struct directory *directory, uint64_t page, uint64_t word,
                            struct transaction **transaction_out)
{
    struct transaction *transaction = calloc(1, sizeof(*transaction));

    if (!transaction)
        return -ENOMEM;
    CHECK(((uintptr_t)transaction & 15) == 0);
    transaction->page = page;
    transaction->word = word;
    transaction->next = directory->transactions;
    if (transaction->next)
        transaction->next->prev = transaction;
    directory->transactions = transaction;
    entry_set(entries_find(&directory->entries, page), word_busy(page % GROUP_PAGES, transaction));
    *transaction_out = transaction;
    return 0;
}

static void transaction_close(struct directory *directory, struct transaction *transaction)
{
    put_word(directory, transaction->page, transaction->word);
    if (transaction->next)
        transaction->next->prev = transaction->prev;
    if (transaction->prev)
        transaction->prev->next = transaction->next;
    else
        directory->transactions = transaction->next;
    free(transaction);
}

static void ask(struct directory *directory, struct transaction *transaction, struct directory_waiter *waiter)
{
    transaction->kind = access_snoop(waiter->access);
    transaction->requester = access_requester(waiter->access, waiter->agent);
    transaction->cursor = 1;
    snoop_holders(directory, transaction);
}

/* All that were asked for an INV have nothing now. Who was spared may have a copy, and it alone: that is what
 * OWNED says; and since it is about to own the page, it comes to the same. */
static uint64_t word_after_inv(const struct directory *directory, const struct transaction *transaction)
{
    uint64_t word = transaction->word;
    uint16_t spared = transaction->requester;

    if (!spared || !directory->agents[spared] || word_state(word) != DIRECTORY_SHARED ||
        !(word_vector(word) >> agent_bit(spared) & 1))
        return word_home(word_tag(word));
    return word_owned(word_tag(word), spared, directory->agents[spared]->generation);
}

/* No snoop is open, and nobody conflicts with the first who waits: its turn, and that of those who read with
 * it. */
static void let_through(struct directory *directory, struct transaction *transaction)
{
    struct directory_waiter *waiter = transaction->first;
    bool reads = access_snoop(waiter->access) == BI_SNP_DATA;

    /* A bit may be left of agents that are no more, and their number may be used again before the waiter
     * comes. */
    if (!reads && word_state(transaction->word) == DIRECTORY_SHARED) {
        transaction->requester = access_requester(waiter->access, waiter->agent);
        transaction->word = word_after_inv(directory, transaction);
    }
    do {
        waiter->ready = true;
        directory->ops->ready(directory->context, waiter);
        waiter = waiter->next;
    } while (reads && waiter && access_snoop(waiter->access) == BI_SNP_DATA &&
             !word_conflicts(directory, transaction->word, waiter->access, waiter->agent));
}

/* Nobody is ready and no snoop is open. */
static void advance(struct directory *directory, struct transaction *transaction)
{
    struct directory_waiter *waiter = transaction->first;

    if (!waiter)
        transaction_close(directory, transaction);
    else if (word_conflicts(directory, transaction->word, waiter->access, waiter->agent))
        ask(directory, transaction, waiter);
    else
        let_through(directory, transaction);
}

static void asked(struct directory *directory, struct transaction *transaction)
{
    if (transaction->open || transaction->cursor)
        return;
    if (transaction->kind == BI_SNP_INV)
        transaction->word = word_after_inv(directory, transaction);
    advance(directory, transaction);
}

static void unblock(struct directory *directory, struct agent *agent)
{
    struct transaction *transaction = agent->blocked;

    agent->blocked = NULL;
    while (transaction) {
        struct transaction *next = transaction->blocked_next;

        snoop_holders(directory, transaction);
        asked(directory, transaction);
        transaction = next;
    }
}

/* The snoop counts as answered. */
static void snoop_close(struct directory *directory, struct agent *agent, uint16_t id, enum bi_state state)
{
    struct transaction *transaction = agent->ring[id % agent->capacity];
    unsigned tag = word_tag(transaction->word);

    agent->ring[id % agent->capacity] = NULL;
    agent->open--;
    while (agent->first != agent->next && !agent->ring[agent->first % agent->capacity])
        agent->first++;
    transaction->open--;
    if (word_state(transaction->word) == DIRECTORY_OWNED)
        transaction->word =
            word_shared(tag, state == BI_STATE_SHARED ? 1ull << agent_bit(word_owner(transaction->word)) : 0);
    asked(directory, transaction);
}

/* What the snoop belongs to, or NULL. */
static struct transaction *find_open(const struct directory *directory, uint16_t number, uint64_t page,
                                     uint16_t id)
{
    const struct agent *agent = number <= AGENTS_MAX ? directory->agents[number] : NULL;
    struct transaction *transaction;

    if (!agent || (uint16_t)(id - agent->first) >= (uint16_t)(agent->next - agent->first))
        return NULL;
    transaction = agent->ring[id % agent->capacity];
    return transaction && transaction->page == page ? transaction : NULL;
}

bool directory_is_open(const struct directory *directory, uint16_t agent, uint64_t page, uint16_t id)
{
    return find_open(directory, agent, page, id) != NULL;
}

int directory_answer(struct directory *directory, uint16_t number, uint64_t page, uint16_t id,
                     enum bi_state state)
{
    struct transaction *transaction = find_open(directory, number, page, id);
    struct agent *agent;

    if (!transaction)
        return -ENOENT;
    if (state != BI_STATE_INVALID && (state != BI_STATE_SHARED || transaction->kind != BI_SNP_DATA))
        return -EINVAL;
    agent = directory->agents[number];
    snoop_close(directory, agent, id, state);
    unblock(directory, agent);
    return 0;
}

uint16_t directory_next_snoop(const struct directory *directory, uint16_t number)
{
    return directory->agents[number]->next;
}

/* Agents. */

int directory_attach(struct directory *directory, uint16_t *agent_out)
{
    struct agent *agent;
    uint16_t number = 1;

    while (number <= AGENTS_MAX && directory->agents[number])
        number++; /* low numbers first: up to VECTOR_BITS agents have a bit each */
    if (number > AGENTS_MAX)
        return -EUSERS;
    agent = calloc(1, sizeof(*agent));
    if (!agent || ring_grow(agent) < 0) {
        free(agent);
        return -ENOMEM;
    }
    agent->first = agent->next = 1;
    agent->generation = ++directory->generation;
    directory->agents[number] = agent;
    directory->members[agent_bit(number)]++;
    directory->agent_count++;
    if (directory->highest < number)
        directory->highest = number;
    *agent_out = number;
    return 0;
}

static void agent_free(struct agent *agent)
{
    free(agent->ring);
    free(agent);
}

void directory_detach(struct directory *directory, uint16_t number)
{
    struct agent *agent = directory->agents[number];

    CHECK(agent);
    /* From here on it has nothing, for all that looks. */
    directory->agents[number] = NULL;
    directory->members[agent_bit(number)]--;
    directory->agent_count--;
    while (directory->highest && !directory->agents[directory->highest])
        directory->highest--;
    for (uint16_t id = agent->first; id != agent->next; id++)
        if (agent->ring[id % agent->capacity])
            snoop_close(directory, agent, id, BI_STATE_INVALID);
    unblock(directory, agent);
    agent_free(agent);
    directory->sweep_left = (directory->entries.pages + GROUP_PAGES - 1) / GROUP_PAGES;
    if (directory->agent_count == 0 && !directory->transactions)
        entries_forget(&directory->entries);
}

/* A fence must not stop the world for all the pages that the agent had: every access does a little. */
static void sweep(struct directory *directory)
{
    for (unsigned i = 0; i < SWEEP_GROUPS && directory->sweep_left; i++, directory->sweep_left--) {
        uint64_t page = directory->sweep_group * GROUP_PAGES;

        for (unsigned tag = 0; directory->entries.heads[directory->sweep_group] && tag < GROUP_PAGES; tag++) {
            struct entry *entry = entries_find(&directory->entries, page + tag);

            if (entry)
                put_word(directory, page + tag, word_live(directory, entry_word(entry)));
        }
        if (++directory->sweep_group * GROUP_PAGES >= directory->entries.pages)
            directory->sweep_group = 0;
    }
}

/* Accesses. */

static int wait_for(struct directory *directory, struct entry *entry, struct directory_waiter *waiter)
{
    struct transaction *transaction = word_transaction(entry_word(entry));

    if (transaction) {
        enqueue(transaction, waiter);
        return -EINPROGRESS;
    }
    if (transaction_open(directory, waiter->page, entry_word(entry), &transaction) < 0)
        return -ENOMEM;
    enqueue(transaction, waiter);
    ask(directory, transaction, waiter);
    return -EINPROGRESS;
}

static struct transaction *waiter_transaction(const struct directory *directory,
                                              const struct directory_waiter *waiter)
{
    struct transaction *transaction =
        word_transaction(entry_word(entries_find(&directory->entries, waiter->page)));

    CHECK(transaction);
    return transaction;
}

static int pass(struct directory *directory, struct directory_waiter *waiter)
{
    struct transaction *transaction = waiter_transaction(directory, waiter);

    if (!waiter->ready)
        return -EINPROGRESS;
    CHECK(!word_conflicts(directory, transaction->word, waiter->access, waiter->agent));
    transaction->word = word_after(directory, transaction->word, waiter->access, waiter->agent);
    return 0;
}

int directory_access(struct directory *directory, uint64_t page, enum directory_access access, uint16_t agent,
                     struct directory_waiter *waiter)
{
    struct entry *entry;
    uint64_t word;

    CHECK(page < directory->entries.pages);
    CHECK(!access_grants(access) || (agent <= AGENTS_MAX && directory->agents[agent]));
    if (waiter->queued) {
        CHECK(waiter->page == page && waiter->access == access && waiter->agent == agent);
        return pass(directory, waiter);
    }
    if (directory->sweep_left)
        sweep(directory);
    entry = entries_find(&directory->entries, page);
    word = entry ? entry_word(entry) : word_home(page % GROUP_PAGES);
    if (word_transaction(word) || word_conflicts(directory, word, access, agent)) {
        waiter->page = page;
        waiter->access = access;
        waiter->agent = agent;
        return wait_for(directory, entry, waiter);
    }
    return put_word(directory, page, word_after(directory, word, access, agent));
}

/* Out of the queue; if that was the last of those let through, the next are. */
static void leave(struct directory *directory, struct directory_waiter *waiter)
{
    struct transaction *transaction = waiter_transaction(directory, waiter);
    bool was_ready = waiter->ready;

    dequeue(transaction, waiter);
    if (was_ready && !(transaction->first && transaction->first->ready))
        advance(directory, transaction);
}

void directory_done(struct directory *directory, struct directory_waiter *waiter)
{
    if (!waiter->queued)
        return;
    CHECK(waiter->ready);
    leave(directory, waiter);
}

void directory_cancel(struct directory *directory, struct directory_waiter *waiter)
{
    if (waiter->queued)
        leave(directory, waiter);
}

void directory_evicted(struct directory *directory, uint16_t agent, uint64_t page)
{
    uint64_t word = directory_word(directory, page);
    struct entry *entry = entries_find(&directory->entries, page);
    unsigned bit;

    if (!entry || word_transaction(entry_word(entry)) || !directory_holds(directory, agent, page))
        return;
    bit = agent_bit(agent);
    if (word_state(word) == DIRECTORY_OWNED)
        put_word(directory, page, word_home(word_tag(word)));
    else if (directory->members[bit] == 1)
        put_word(directory, page, word_shared(word_tag(word), word_vector(word) & ~(1ull << bit)));
}

/* Looking. */

bool directory_owns(const struct directory *directory, uint16_t agent, uint64_t page)
{
    uint64_t word = directory_word(directory, page);

    return agent && word_state(word) == DIRECTORY_OWNED && word_live_owner(directory, word) == agent;
}

bool directory_holds(const struct directory *directory, uint16_t agent, uint64_t page)
{
    return agent && word_holder(directory, directory_word(directory, page), agent, 0) == agent;
}

enum directory_state directory_state(const struct directory *directory, uint64_t page, uint16_t *owner_out)
{
    uint64_t word = directory_word(directory, page);

    if (!word_holder(directory, word, 1, 0))
        return DIRECTORY_HOME;
    if (word_state(word) == DIRECTORY_SHARED)
        return DIRECTORY_SHARED;
    *owner_out = word_owner(word);
    return DIRECTORY_OWNED;
}

unsigned directory_each_snoop(const struct directory *directory, uint16_t number, unsigned most,
                              void (*each)(void *context, uint64_t page, uint16_t id, enum bi_snp kind),
                              void *context)
{
    const struct agent *agent = directory->agents[number];

    if (!agent)
        return 0;
    for (uint16_t id = agent->first; id != agent->next && most; id++) {
        const struct transaction *transaction = agent->ring[id % agent->capacity];

        if (!transaction)
            continue;
        each(context, transaction->page, id, transaction->kind);
        most--;
    }
    return agent->open;
}

uint64_t directory_cached_pages(const struct directory *directory)
{
    return directory->entries.count;
}

uint64_t directory_bytes(const struct directory *directory)
{
    uint64_t bytes = sizeof(*directory) + entries_bytes(&directory->entries);

    for (uint16_t n = 1; n <= directory->highest; n++)
        if (directory->agents[n])
            bytes += sizeof(struct agent) + directory->agents[n]->capacity * sizeof(struct transaction *);
    for (const struct transaction *t = directory->transactions; t; t = t->next)
        bytes += sizeof(*t);
    return bytes;
}

int directory_open(uint64_t pages, const struct directory_ops *ops, void *context,
                   struct directory **directory_out)
{
    struct directory *directory = calloc(1, sizeof(*directory));

    if (!directory)
        return -ENOMEM;
    if (entries_open(&directory->entries, pages) < 0) {
        free(directory);
        return -ENOMEM;
    }
    directory->ops = ops;
    directory->context = context;
    *directory_out = directory;
    return 0;
}

void directory_close(struct directory *directory)
{
    struct transaction *transaction, *next;

    if (!directory)
        return;
    for (transaction = directory->transactions; transaction; transaction = next) {
        CHECK(!transaction->first);
        next = transaction->next;
        free(transaction);
    }
    for (uint16_t n = 1; n <= directory->highest; n++)
        if (directory->agents[n])
            agent_free(directory->agents[n]);
    entries_close(&directory->entries);
    free(directory);
}
