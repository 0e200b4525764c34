/* directory_valid.c - the directory's invariants, as code */
#include "directory_internal.h"

/* True; or false, with a place to put a breakpoint. */
#define HOLDS(condition)  \
    do {                  \
        if (!(condition)) \
            return false; \
    } while (0)

static bool agent_valid(const struct agent *agent)
{
    uint16_t span = (uint16_t)(agent->next - agent->first);
    unsigned open = 0;

    HOLDS(span <= agent->capacity && span <= SNOOPS_MAX);
    HOLDS(span == 0 || agent->ring[agent->first % agent->capacity]);
    for (uint16_t id = agent->first; id != agent->next; id++) {
        struct transaction *transaction = agent->ring[id % agent->capacity];

        if (!transaction)
            continue;
        transaction->counted++;
        open++;
    }
    HOLDS(open == agent->open);
    HOLDS(!agent->blocked || open > 0); /* or nothing would ever make them go on */
    return true;
}

static bool agents_valid(const struct directory *directory)
{
    unsigned members[VECTOR_BITS] = {0}, count = 0;

    HOLDS(!directory->agents[0]);
    for (unsigned n = 1; n <= AGENTS_MAX; n++) {
        if (!directory->agents[n])
            continue;
        HOLDS(n <= directory->highest);
        HOLDS(directory->agents[n]->generation <= directory->generation);
        HOLDS(agent_valid(directory->agents[n]));
        members[agent_bit((uint16_t)n)]++;
        count++;
    }
    for (unsigned bit = 0; bit < VECTOR_BITS; bit++)
        HOLDS(members[bit] == directory->members[bit]);
    return count == directory->agent_count;
}

/* D4: those let through lead; and they are let through only when no snoop is open (D3). */
static bool queue_valid(const struct directory *directory, const struct transaction *transaction)
{
    const struct directory_waiter *prev = NULL, *waiter;

    for (waiter = transaction->first; waiter; prev = waiter, waiter = waiter->next) {
        HOLDS(waiter->prev == prev);
        HOLDS(waiter->queued && waiter->page == transaction->page);
        HOLDS(!waiter->ready || !prev || prev->ready);
        HOLDS(!waiter->ready || (transaction->open == 0 && transaction->cursor == 0));
        HOLDS(!waiter->ready || !word_conflicts(directory, transaction->word, waiter->access, waiter->agent));
    }
    return transaction->last == prev;
}

static bool is_blocked(const struct directory *directory, const struct transaction *transaction)
{
    const struct agent *agent = directory->agents[transaction->cursor];
    const struct transaction *blocked = agent ? agent->blocked : NULL;

    while (blocked && blocked != transaction)
        blocked = blocked->blocked_next;
    return blocked != NULL;
}

static bool transaction_valid(const struct directory *directory, const struct transaction *transaction)
{
    const struct entry *entry = entries_find(&directory->entries, transaction->page);

    HOLDS(entry && word_transaction(entry_word(entry)) == transaction);
    HOLDS(word_tag(transaction->word) == transaction->page % GROUP_PAGES);
    HOLDS(!word_transaction(transaction->word));
    HOLDS(transaction->open == transaction->counted); /* D5 */
    HOLDS(transaction->cursor == 0 || is_blocked(directory, transaction));
    /* Something will make it go on: an answer, or who was let through. */
    HOLDS(transaction->open || transaction->cursor || (transaction->first && transaction->first->ready));
    return queue_valid(directory, transaction);
}

static bool transactions_valid(const struct directory *directory)
{
    const struct transaction *prev = NULL, *transaction;

    for (transaction = directory->transactions; transaction;
         prev = transaction, transaction = transaction->next) {
        HOLDS(transaction->prev == prev);
        HOLDS(transaction_valid(directory, transaction));
    }
    return true;
}

/* D1 by construction: OWNED has room for one name. */
static bool word_valid(const struct directory *directory, uint64_t word)
{
    switch (word_state(word)) {
    case DIRECTORY_SHARED:
        return word_vector(word) != 0;
    case DIRECTORY_OWNED:
        return word_owner(word) >= 1 && word_owner(word) <= AGENTS_MAX &&
               word_generation(word) <= directory->generation;
    case DIRECTORY_BUSY:
        return true; /* transaction_valid */
    }
    return false; /* a page at home has no entry */
}

static bool entries_valid(const struct directory *directory, unsigned *busy_out)
{
    const struct entries *entries = &directory->entries;
    uint32_t count = 0, freed = 0;

    HOLDS(entries->used * sizeof(struct entry) <= entries->usable_bytes);
    for (uint64_t group = 0; group * GROUP_PAGES < entries->pages && count < entries->count; group++) {
        unsigned tags = 0;

        for (uint32_t number = entries->heads[group]; number; number = entries->slab[number - 1].next) {
            uint64_t word = entry_word(&entries->slab[number - 1]);

            HOLDS(number <= entries->used);
            HOLDS(!(tags >> word_tag(word) & 1));
            HOLDS(word_valid(directory, word));
            tags |= 1u << word_tag(word);
            *busy_out += word_state(word) == DIRECTORY_BUSY;
            count++;
        }
    }
    for (uint32_t number = entries->freed; number && freed <= entries->used; freed++)
        number = entries->slab[number - 1].next;
    HOLDS(count == entries->count);
    return count + freed == entries->used;
}

bool directory_valid(const struct directory *directory)
{
    unsigned busy = 0;

    HOLDS(entries_valid(directory, &busy));
    for (struct transaction *transaction = directory->transactions; transaction;
         transaction = transaction->next) {
        transaction->counted = 0;
        HOLDS(busy-- > 0);
    }
    HOLDS(busy == 0);
    return agents_valid(directory) && transactions_valid(directory);
}
