/* zipf.c - how many values a second can be looked up in a large hash table, if some are much more popular?
 *
 * Keys are drawn by Zipf's law with exponent 0.99, as YCSB does, and scattered, so that popular keys have
 * unpopular neighbours. Values have 256 bytes, and every one that is read is compared with what its key says
 * it must be.
 * `--trace` writes which pages were touched, so that one can compute what other caches would have made of
 * them.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "workload.h"
#include "zipf_law.h"

#define VALUE_WORDS 32 /* with the key in the first */
#define PAGE        4096
#define PARTS       16 /* of the table, when it is filled */

struct entry {
    uint64_t words[VALUE_WORDS];
};

struct table {
    struct entry *entries;
    uint64_t mask;
};

/* ---- the table: open addressing, linear probing ---- */

static uint64_t key_of(uint64_t rank)
{
    return mix64(rank) | 1; /* never 0, which is an empty entry */
}

static struct entry *next(const struct table *table, struct entry *entry)
{
    return entry == &table->entries[table->mask] ? table->entries : entry + 1;
}

static struct entry *first(const struct table *table, uint64_t key)
{
    return &table->entries[mix64(key) & table->mask];
}

static struct entry *find(const struct table *table, uint64_t key)
{
    for (struct entry *entry = first(table, key);; entry = next(table, entry))
        if (entry->words[0] == key || entry->words[0] == 0)
            return entry;
}

static void put(const struct table *table, uint64_t key)
{
    struct entry *entry = find(table, key);

    for (unsigned i = 0; i < VALUE_WORDS; i++)
        entry->words[i] = key * (2 * i + 1);
}

/* Part by part of the table: to fill far memory at random would take longer than what is measured. */
static void put_all(const struct table *table, uint64_t keys)
{
    const uint64_t part = table->mask / PARTS + 1;

    for (uint64_t at = 0; at <= table->mask; at += part)
        for (uint64_t rank = 1; rank <= keys; rank++)
            if ((uint64_t)(first(table, key_of(rank)) - table->entries) / part == at / part)
                put(table, key_of(rank));
}

static bool right(const struct entry *entry, uint64_t key)
{
    for (unsigned i = 0; i < VALUE_WORDS; i++)
        if (entry->words[i] != key * (2 * i + 1))
            return false;
    return true;
}

static uint32_t pages_of(const struct table *table)
{
    return (uint32_t)((table->mask + 1) * sizeof(struct entry) / PAGE);
}

static uint32_t page_of(const struct table *table, const struct entry *entry)
{
    return (uint32_t)((uint64_t)((const char *)entry - (const char *)table->entries) / PAGE);
}

/* The pages that a search ending at `found` looks at; most of them at one. */
static void note_pages(FILE *trace, const struct table *table, uint64_t key, const struct entry *found)
{
    uint32_t page, last = page_of(table, found);

    for (page = page_of(table, first(table, key));; page = (page + 1) % pages_of(table)) {
        if (fwrite(&page, sizeof(page), 1, trace) != 1)
            workload_fail("the trace cannot be written: %s", strerror(errno));
        if (page == last)
            return;
    }
}

static void get_many(const struct table *table, const struct zipf *zipf, uint64_t *state, uint64_t gets,
                     FILE *trace)
{
    for (uint64_t i = 0; i < gets; i++) {
        uint64_t key = key_of(zipf_next(zipf, state));
        const struct entry *entry = find(table, key);

        if (!right(entry, key))
            workload_fail("the value of key %" PRIu64 " is wrong", key);
        if (trace)
            note_pages(trace, table, key, entry);
    }
}

int main(int argc, char **argv)
{
    struct workload workload = {
        .question =
            "how many values a second can be looked up in a large hash table, if some are much more popular?",
        .bytes = 64ull << 20,
        .seed = 1,
    };
    struct table table;
    uint64_t slots = 1, keys, gets;
    struct zipf zipf;
    FILE *trace = NULL;
    double start;

    workload_begin(&workload, argc, argv);
    while (slots * 2 * sizeof(struct entry) <= workload.bytes)
        slots *= 2;
    keys = slots / 4 * 3;
    gets = workload.work ? workload.work : 4 * keys;
    zipf = zipf_of(keys);
    table.entries = workload_memory(&workload, slots * sizeof(struct entry));
    table.mask = slots - 1;
    start = seconds_now();
    put_all(&table, keys);
    workload_result("put", (double)keys / (seconds_now() - start), "values/s");
    if (workload.trace && !(trace = fopen(workload.trace, "wb")))
        workload_fail("%s: %s", workload.trace, strerror(errno));
    get_many(&table, &zipf, &workload.seed, gets / 4,
             trace); /* until the popular ones are where they belong */
    start = seconds_now();
    get_many(&table, &zipf, &workload.seed, gets, trace);
    workload_result("get", (double)gets / (seconds_now() - start), "values/s");
    if (trace && fclose(trace) != 0)
        workload_fail("%s: %s", workload.trace, strerror(errno));
    return 0;
}
