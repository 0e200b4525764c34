/* directory_word.c - what a page's word says, and what becomes of it */
#include "directory_internal.h"

uint64_t word_home(unsigned tag)
{
    return tag | DIRECTORY_HOME << 2;
}

uint64_t word_shared(unsigned tag, uint64_t vector)
{
    return vector ? tag | DIRECTORY_SHARED << 2 | vector << 4 : word_home(tag);
}

uint64_t word_owned(unsigned tag, uint16_t owner, uint32_t generation)
{
    return tag | DIRECTORY_OWNED << 2 | (uint64_t)owner << 4 | (uint64_t)generation << 20;
}

struct transaction *word_transaction(uint64_t word)
{
    return word_state(word) == DIRECTORY_BUSY ? (struct transaction *)(uintptr_t)(word & ~15ull) : NULL;
}

uint64_t word_busy(unsigned tag, struct transaction *transaction)
{
    return tag | DIRECTORY_BUSY << 2 | (uintptr_t)transaction;
}

uint16_t word_live_owner(const struct directory *directory, uint64_t word)
{
    const struct agent *agent = directory->agents[word_owner(word)];

    return agent && agent->generation == word_generation(word) ? word_owner(word) : 0;
}

uint16_t word_holder(const struct directory *directory, uint64_t word, uint16_t from, uint16_t but)
{
    uint64_t vector = word_vector(word);
    uint16_t owner;

    switch (word_state(word)) {
    case DIRECTORY_SHARED:
        for (uint16_t n = from; n <= directory->highest; n++)
            if (directory->agents[n] && n != but && vector >> agent_bit(n) & 1)
                return n;
        return 0;
    case DIRECTORY_OWNED:
        owner = word_live_owner(directory, word);
        return owner >= from && owner != but ? owner : 0;
    }
    return 0;
}

bool access_grants(enum directory_access access)
{
    return access == DIRECTORY_READ_SHARE || access == DIRECTORY_READ_OWN;
}

enum bi_snp access_snoop(enum directory_access access)
{
    return access == DIRECTORY_LOAD || access == DIRECTORY_READ_SHARE ? BI_SNP_DATA : BI_SNP_INV;
}

uint16_t access_requester(enum directory_access access, uint16_t agent)
{
    return access_grants(access) ? agent : 0;
}

bool word_conflicts(const struct directory *directory, uint64_t word, enum directory_access access,
                    uint16_t agent)
{
    if (access_snoop(access) == BI_SNP_DATA && word_state(word) != DIRECTORY_OWNED)
        return false;
    return word_holder(directory, word, 1, access_requester(access, agent)) != 0;
}

uint64_t word_after(const struct directory *directory, uint64_t word, enum directory_access access,
                    uint16_t agent)
{
    unsigned tag = word_tag(word);
    uint64_t vector = word_state(word) == DIRECTORY_SHARED ? word_vector(word) : 0;

    switch (access) {
    case DIRECTORY_LOAD:
        return word;
    case DIRECTORY_STORE:
        return word_home(tag);
    case DIRECTORY_READ_SHARE:
        /* Its own page: a repeat of an old request must not take it away. */
        if (word_state(word) == DIRECTORY_OWNED && word_live_owner(directory, word) == agent)
            return word;
        return word_shared(tag, vector | 1ull << agent_bit(agent));
    case DIRECTORY_READ_OWN:
        return word_owned(tag, agent, directory->agents[agent]->generation);
    }
    return word;
}

uint64_t directory_word(const struct directory *directory, uint64_t page)
{
    const struct entry *entry = entries_find(&directory->entries, page);
    uint64_t word = entry ? entry_word(entry) : word_home(page % GROUP_PAGES);
    const struct transaction *transaction = word_transaction(word);

    return transaction ? transaction->word : word;
}

uint64_t word_live(const struct directory *directory, uint64_t word)
{
    uint64_t vector = word_vector(word);

    if (word_state(word) == DIRECTORY_OWNED)
        return word_live_owner(directory, word) ? word : word_home(word_tag(word));
    if (word_state(word) != DIRECTORY_SHARED)
        return word;
    for (unsigned bit = 0; bit < VECTOR_BITS; bit++)
        if (!directory->members[bit])
            vector &= ~(1ull << bit);
    return word_shared(word_tag(word), vector);
}
