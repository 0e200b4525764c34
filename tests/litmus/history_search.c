/* history_search.c - the general check: Wing and Gong's search with Lowe's memo
 *
 * Invocations and returns stand in one list by time. Whatever is invoked before the first return in the list
 * may be next: it is tried, its two entries leave the list, and the search goes on from the front. At a
 * return whose operation was not chosen there is no way on: take the last choice back, try the one behind it.
 * A pair (set of operations done, value) that was met before leads where it led before.
 */
#include "history.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    uint64_t time_ns;
    size_t event;
    bool is_return;
    struct entry *previous, *next, *partner; /* partner: an invocation's return; NULL if unknown */
};

/* One memo record: the set as `words` words, then the value. */
struct memo {
    uint64_t *records;
    size_t *table; /* record + 1 */
    size_t table_mask, count, count_max, record_words;
};

/* A choice, to be taken back. */
struct choice {
    struct entry *entry;
    uint64_t value; /* before it */
};

struct search {
    const struct history_event *events;
    struct entry *entries; /* 0: the head of the list */
    size_t entry_count;
    struct choice *choices;
    size_t choice_count;
    size_t owed;    /* operations not unknown and not chosen yet */
    uint64_t *done; /* the set, and room for the value behind it */
    size_t words;
    uint64_t value;
    struct memo memo;
};

/* ---- the list ---- */

/* By time; at one moment invocations first, since neither then precedes the other. */
static int compare_entries(const void *a, const void *b)
{
    const struct entry *first = a, *second = b;

    if (first->time_ns != second->time_ns)
        return first->time_ns < second->time_ns ? -1 : 1;
    if (first->is_return != second->is_return)
        return first->is_return ? 1 : -1;
    return first->event < second->event ? -1 : first->event > second->event;
}

static void make_entries(struct search *search, size_t count)
{
    size_t made = 1;

    for (size_t i = 0; i < count; i++) {
        search->entries[made++] = (struct entry){.time_ns = search->events[i].invoked_ns, .event = i};
        if (search->events[i].unknown)
            continue;
        search->entries[made++] =
            (struct entry){.time_ns = search->events[i].returned_ns, .event = i, .is_return = true};
        search->owed++;
    }
    search->entry_count = made;
    qsort(search->entries + 1, made - 1, sizeof(struct entry), compare_entries);
}

static int link_entries(struct search *search, size_t count)
{
    struct entry **invocations = calloc(count + 1, sizeof(struct entry *)), *last = &search->entries[0];

    if (!invocations)
        return -ENOMEM;
    for (size_t i = 1; i < search->entry_count; i++) {
        struct entry *entry = &search->entries[i];

        entry->previous = last;
        last->next = entry;
        last = entry;
        if (entry->is_return)
            invocations[entry->event]->partner = entry;
        else
            invocations[entry->event] = entry;
    }
    free(invocations);
    return 0;
}

static void unlink_entry(struct entry *entry)
{
    entry->previous->next = entry->next;
    if (entry->next)
        entry->next->previous = entry->previous;
}

static void relink_entry(struct entry *entry)
{
    entry->previous->next = entry;
    if (entry->next)
        entry->next->previous = entry;
}

/* ---- the memo ---- */

static uint64_t hash_record(const uint64_t *record, size_t words)
{
    uint64_t hash = 0;

    for (size_t i = 0; i < words; i++) {
        hash = (hash ^ record[i]) * 0x9E3779B97F4A7C15u;
        hash ^= hash >> 29;
    }
    return hash;
}

static void insert_slot(struct memo *memo, size_t record)
{
    size_t at = (size_t)hash_record(memo->records + record * memo->record_words, memo->record_words);

    for (at &= memo->table_mask; memo->table[at]; at = (at + 1) & memo->table_mask)
        ;
    memo->table[at] = record + 1;
}

/* Twice the room. */
static int grow_memo(struct memo *memo)
{
    size_t slots = memo->table ? 2 * (memo->table_mask + 1) : 64;
    uint64_t *records = realloc(memo->records, slots / 2 * memo->record_words * sizeof(uint64_t));
    size_t *table = calloc(slots, sizeof(*table));

    if (records)
        memo->records = records;
    if (!records || !table) {
        free(table);
        return -ENOMEM;
    }
    free(memo->table);
    memo->table = table;
    memo->table_mask = slots - 1;
    for (size_t i = 0; i < memo->count; i++)
        insert_slot(memo, i);
    return 0;
}

static bool remembers(const struct memo *memo, const uint64_t *record)
{
    size_t bytes = memo->record_words * sizeof(uint64_t);
    size_t at = (size_t)hash_record(record, memo->record_words) & memo->table_mask;

    for (; memo->table[at]; at = (at + 1) & memo->table_mask)
        if (memcmp(memo->records + (memo->table[at] - 1) * memo->record_words, record, bytes) == 0)
            return true;
    return false;
}

/* 1: met before; 0: new, and remembered from now on. */
static int meet(struct memo *memo, const uint64_t *record)
{
    int error;

    if (remembers(memo, record))
        return 1;
    if (memo->count == memo->count_max)
        return -E2BIG;
    if (2 * (memo->count + 1) > memo->table_mask && (error = grow_memo(memo)) < 0)
        return error;
    memcpy(memo->records + memo->count * memo->record_words, record, memo->record_words * sizeof(uint64_t));
    insert_slot(memo, memo->count++);
    return 0;
}

/* ---- the search ---- */

static void flip(struct search *search, size_t event)
{
    search->done[event / 64] ^= 1ull << (event % 64);
}

/* Tries the operation next. 1: it is chosen; 0: it does not fit here, or was tried from here. */
static int choose(struct search *search, struct entry *entry)
{
    const struct history_event *event = &search->events[entry->event];
    uint64_t after;
    int met;

    if (!history_step(event, search->value, &after))
        return 0;
    flip(search, entry->event);
    search->done[search->words] = after;
    met = meet(&search->memo, search->done);
    if (met != 0) {
        flip(search, entry->event);
        return met < 0 ? met : 0;
    }
    search->choices[search->choice_count++] = (struct choice){.entry = entry, .value = search->value};
    search->value = after;
    unlink_entry(entry);
    if (entry->partner) {
        unlink_entry(entry->partner);
        search->owed--;
    }
    return 1;
}

/* Takes the last choice back; returns its entry. */
static struct entry *take_back(struct search *search)
{
    struct choice *choice = &search->choices[--search->choice_count];

    if (choice->entry->partner) {
        relink_entry(choice->entry->partner);
        search->owed++;
    }
    relink_entry(choice->entry);
    flip(search, choice->entry->event);
    search->value = choice->value;
    return choice->entry;
}

static int run_search(struct search *search)
{
    struct entry *at = search->entries[0].next;

    while (search->owed > 0) {
        int chosen = 0;

        if (!at || at->is_return) {
            if (search->choice_count == 0)
                return -EILSEQ;
            at = take_back(search)->next;
            continue;
        }
        chosen = choose(search, at);
        if (chosen < 0)
            return chosen;
        at = chosen ? search->entries[0].next : at->next;
    }
    return 0;
}

int history_check(const struct history_event *events, size_t count, uint64_t initial, size_t states_max)
{
    struct search search = {.events = events, .words = (count + 63) / 64, .value = initial};
    int error;

    search.memo.count_max = states_max;
    search.memo.record_words = search.words + 1;
    search.entries = calloc(2 * count + 1, sizeof(*search.entries));
    search.choices = calloc(count + 1, sizeof(*search.choices));
    search.done = calloc(search.words + 1, sizeof(*search.done));
    error = search.entries && search.choices && search.done ? grow_memo(&search.memo) : -ENOMEM;
    if (!error) {
        make_entries(&search, count);
        error = link_entries(&search, count);
    }
    if (!error)
        error = run_search(&search);
    free(search.entries);
    free(search.choices);
    free(search.done);
    free(search.memo.records);
    free(search.memo.table);
    return error;
}
