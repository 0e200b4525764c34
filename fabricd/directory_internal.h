/* directory_internal.h - what the directory's files share
 *
 * A page that is cached anywhere, or waited for, has an entry: 12 bytes in a slab, found through a head for
 * each group of four pages. Its word, from the low end:
 *
 *   2 bits   which of the group's four pages
 *   2 bits   enum directory_state, or DIRECTORY_BUSY
 *   60 bits  SHARED: a bit for each of VECTOR_BITS groups of agents
 *            OWNED: 16 bits of the owner's number, 32 of its generation
 *            BUSY: the address of a transaction, whose low four bits are zero; it keeps the word meanwhile
 *
 * A word may name agents that are no more: they do not count (word_holder), and are swept out in time.
 */
#ifndef FABRICD_DIRECTORY_INTERNAL_H
#define FABRICD_DIRECTORY_INTERNAL_H

#include "directory.h"

#define DIRECTORY_BUSY 3

#define GROUP_PAGES 4

struct entry {
    uint32_t word[2]; /* a u64, which would ask for 16 bytes */
    uint32_t next;    /* index + 1 of the next entry of the group, or of the next free one; 0: none */
};

struct entries {
    uint32_t *heads;    /* [pages / GROUP_PAGES] index + 1; 0: none */
    struct entry *slab; /* address space for all pages */
    uint64_t pages;
    size_t usable_bytes; /* of the slab: what is memory */
    uint32_t used;       /* ever, since it was empty */
    uint32_t freed;      /* index + 1, chained by `next` */
    uint32_t count;      /* in the chains */
};

/* A page that somebody waits for. Its snoops go out in the order of the agents' numbers. */
struct transaction {
    struct transaction *next, *prev;       /* of all in the directory */
    struct transaction *blocked_next;      /* of those that wait for the same agent's window */
    struct directory_waiter *first, *last; /* in the order they came; those that are ready lead */
    uint64_t page;
    uint64_t word;      /* what the page's entry would say */
    uint32_t open;      /* snoops */
    uint32_t counted;   /* for directory_valid */
    uint16_t cursor;    /* the agents below it have been snooped; 0: all have */
    uint16_t requester; /* who is not snooped, because the page is asked for in its name; 0: nobody */
    enum bi_snp kind;
} __attribute__((aligned(16)));

/* `ring` holds the snoops numbered `first` up to but not including `next`, each at its number modulo
 * `capacity`: the transaction it belongs to, or NULL if it was answered. The first is open. */
struct agent {
    struct transaction **ring;
    struct transaction *blocked, *blocked_last;
    uint32_t generation; /* tells it from the others that had its number */
    uint16_t first, next;
    uint16_t open;
    uint16_t capacity;
};

struct directory {
    struct entries entries;
    const struct directory_ops *ops;
    void *context;
    struct transaction *transactions;
    uint32_t generation; /* of the newest agent */
    uint16_t highest;    /* agent in use */
    uint16_t agent_count;
    uint64_t sweep_group, sweep_left; /* where to look for words that name nobody any more */
    uint8_t members[VECTOR_BITS];     /* agents that a bit stands for */
    struct agent *agents[AGENTS_MAX + 1];
};

static_assert(sizeof(struct entry) == 12, "12 bytes a cached page");
static_assert(VECTOR_BITS <= 60, "the vector fits beside tag and state");
static_assert(AGENTS_MAX < UINT16_MAX, "a cursor goes one past the last agent");
static_assert((SNOOPS_MAX & (SNOOPS_MAX - 1)) == 0 && SNOOPS_MAX <= UINT16_MAX / 2,
              "snoops are numbered modulo 65536 and compared within a window");

static inline unsigned word_tag(uint64_t word)
{
    return word & 3;
}

static inline unsigned word_state(uint64_t word)
{
    return word >> 2 & 3;
}

static inline uint64_t word_vector(uint64_t word)
{
    return word >> 4 & ((1ull << VECTOR_BITS) - 1);
}

static inline uint16_t word_owner(uint64_t word)
{
    return (uint16_t)(word >> 4);
}

static inline uint32_t word_generation(uint64_t word)
{
    return (uint32_t)(word >> 20);
}

static inline unsigned agent_bit(uint16_t agent)
{
    return (agent - 1u) % VECTOR_BITS;
}

int entries_open(struct entries *entries, uint64_t pages);
void entries_close(struct entries *entries);
/* NULL: it has none. */
struct entry *entries_find(const struct entries *entries, uint64_t page);
/* With the given word, whose tag fits the page. -ENOMEM. */
int entries_add(struct entries *entries, uint64_t page, uint64_t word);
void entries_remove(struct entries *entries, uint64_t page);
/* All of them at once, if it can be done cheaply. */
void entries_forget(struct entries *entries);
uint64_t entries_bytes(const struct entries *entries);
uint64_t entry_word(const struct entry *entry);
void entry_set(struct entry *entry, uint64_t word);

/* A vector of nobody makes HOME. */
uint64_t word_shared(unsigned tag, uint64_t vector);
uint64_t word_home(unsigned tag);
uint64_t word_owned(unsigned tag, uint16_t owner, uint32_t generation);
uint64_t word_busy(unsigned tag, struct transaction *transaction);
struct transaction *word_transaction(uint64_t word); /* NULL: not busy */
/* The owner, if it still lives; else 0. */
uint16_t word_live_owner(const struct directory *directory, uint64_t word);
/* The lowest agent from `from` on that lives, that the word names, and that is not `but`; 0: none. */
uint16_t word_holder(const struct directory *directory, uint64_t word, uint16_t from, uint16_t but);
/* Without those that are no more. */
uint64_t word_live(const struct directory *directory, uint64_t word);
/* Must somebody be snooped before the access? */
bool word_conflicts(const struct directory *directory, uint64_t word, enum directory_access access,
                    uint16_t agent);
/* By an access that conflicts with nobody. */
uint64_t word_after(const struct directory *directory, uint64_t word, enum directory_access access,
                    uint16_t agent);

bool access_grants(enum directory_access access);
enum bi_snp access_snoop(enum directory_access access);
/* In whose name; 0 for a line operation, whoever sends it: its sender's own copy must go like any other. */
uint16_t access_requester(enum directory_access access, uint16_t agent);

/* What the page's entry says, or would say if nobody waited. */
uint64_t directory_word(const struct directory *directory, uint64_t page);

#endif
