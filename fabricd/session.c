/* session.c - see session.h */
#include "session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "check.h"

/* Oldest first; the confirmed and the unconfirmed have a list each, since they expire after different times.
 */
struct age_list {
    struct session *oldest, *newest;
    uint32_t count;
};

struct session_table {
    struct session *sessions; /* [sessions_max], untouched pages cost nothing */
    uint32_t sessions_max;
    uint32_t used;         /* indices ever used */
    struct session *freed; /* chained by `older` */
    unsigned shard, shard_count;
    struct age_list ages[2]; /* [confirmed] */
    struct session **by_ephemeral;
    uint32_t hash_mask;
};

static size_t round_to_page(size_t bytes)
{
    return (bytes + PAGE_BYTES - 1) & ~(size_t)(PAGE_BYTES - 1);
}

static size_t table_bytes(const struct session_table *table)
{
    return round_to_page(table->sessions_max * sizeof(struct session));
}

int session_table_open(uint32_t sessions_max, unsigned shard, unsigned shard_count,
                       struct session_table **table_out)
{
    struct session_table *table = calloc(1, sizeof(*table));
    uint32_t buckets = 1;

    if (!table)
        return -ENOMEM;
    while (buckets < sessions_max)
        buckets *= 2;
    table->sessions_max = sessions_max;
    table->shard = shard;
    table->shard_count = shard_count;
    table->hash_mask = buckets - 1;
    table->by_ephemeral = calloc(buckets, sizeof(struct session *));
    if (!table->by_ephemeral)
        goto free_table;
    table->sessions = mmap(NULL, table_bytes(table), PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (table->sessions == MAP_FAILED)
        goto free_hash;
    madvise(table->sessions, table_bytes(table),
            MADV_DONTDUMP); /* keys; a hint that can only fail on old kernels */
    *table_out = table;
    return 0;
free_hash:
    free(table->by_ephemeral);
free_table:
    free(table);
    return -ENOMEM;
}

void session_table_close(struct session_table *table)
{
    if (!table)
        return;
    for (uint32_t i = 0; i < table->used; i++)
        if (table->sessions[i].open)
            session_free(table, &table->sessions[i]);
    munmap(table->sessions, table_bytes(table));
    free(table->by_ephemeral);
    free(table);
}

static void age_append(struct age_list *list, struct session *session)
{
    session->newer = NULL;
    session->older = list->newest;
    if (list->newest)
        list->newest->newer = session;
    else
        list->oldest = session;
    list->newest = session;
    list->count++;
}

static void age_remove(struct age_list *list, struct session *session)
{
    if (session->older)
        session->older->newer = session->newer;
    else
        list->oldest = session->newer;
    if (session->newer)
        session->newer->older = session->older;
    else
        list->newest = session->older;
    list->count--;
}

/* The key is uniformly random: its first bytes are the hash. */
static struct session **bucket_of(struct session_table *table, const uint8_t *ephemeral)
{
    uint32_t hash;

    memcpy(&hash, ephemeral, sizeof(hash));
    return &table->by_ephemeral[hash & table->hash_mask];
}

static bool is_full(const struct session_table *table)
{
    return !table->freed && table->used == table->sessions_max;
}

/* The id says shard, index, and which use of the index this is, so that a late frame finds nothing.
 * Generations start at 1, so no id is 0, and stop where the id would leave 32 bits. */
static void name_session(const struct session_table *table, struct session *session)
{
    uint32_t ids = table->sessions_max * table->shard_count;
    uint32_t generations = UINT32_MAX / ids;

    session->generation = session->generation + 1 < generations ? session->generation + 1 : 1;
    session->id = session->generation * ids + session->index * table->shard_count + table->shard;
}

struct session *session_alloc(struct session_table *table, const uint8_t client_ephemeral[NOISE_KEY_BYTES],
                              uint64_t now_ns)
{
    struct session *session;
    struct session **bucket = bucket_of(table, client_ephemeral);

    if (table->ages[false].count >= SESSION_UNCONFIRMED_MAX ||
        (is_full(table) && table->ages[false].count > 0))
        session_free(table, table->ages[false].oldest);
    if (table->freed) {
        session = table->freed;
        table->freed = session->older;
    } else if (table->used < table->sessions_max) {
        session = &table->sessions[table->used];
        session->index = table->used++;
    } else {
        return NULL;
    }
    name_session(table, session);
    session->open = true;
    session->heard_ns = now_ns;
    memcpy(session->client_ephemeral, client_ephemeral, NOISE_KEY_BYTES);
    session->same_hash = *bucket;
    *bucket = session;
    age_append(&table->ages[false], session);
    return session;
}

void session_free(struct session_table *table, struct session *session)
{
    struct session **link = bucket_of(table, session->client_ephemeral);
    uint32_t index = session->index, generation = session->generation;

    CHECK(session->open);
    while (*link != session)
        link = &(*link)->same_hash;
    *link = session->same_hash;
    age_remove(&table->ages[session->confirmed], session);
    sodium_memzero(session, sizeof(*session));
    session->index = index;
    session->generation = generation;
    session->older = table->freed;
    table->freed = session;
}

struct session *session_find(struct session_table *table, uint32_t id)
{
    uint32_t index = id / table->shard_count % table->sessions_max;
    struct session *session = &table->sessions[index];

    return index < table->used && session->open && session->id == id ? session : NULL;
}

struct session *session_find_ephemeral(struct session_table *table,
                                       const uint8_t client_ephemeral[NOISE_KEY_BYTES])
{
    struct session *session = *bucket_of(table, client_ephemeral);

    while (session && memcmp(session->client_ephemeral, client_ephemeral, NOISE_KEY_BYTES) != 0)
        session = session->same_hash;
    return session;
}

void session_heard(struct session_table *table, struct session *session, uint64_t now_ns)
{
    struct age_list *list = &table->ages[true];

    session->heard_ns = now_ns;
    if (session->confirmed && list->newest == session)
        return; /* by far the most frequent case */
    age_remove(&table->ages[session->confirmed], session);
    session->confirmed = true;
    age_append(list, session);
}

struct session *session_next_expiry(struct session_table *table, uint64_t idle_timeout_ns,
                                    uint64_t *expires_ns_out)
{
    struct session *confirmed = table->ages[true].oldest, *unconfirmed = table->ages[false].oldest;
    uint64_t confirmed_ns = confirmed ? confirmed->heard_ns + idle_timeout_ns : UINT64_MAX;
    uint64_t unconfirmed_ns = unconfirmed ? unconfirmed->heard_ns + SESSION_UNCONFIRMED_NS : UINT64_MAX;

    *expires_ns_out = confirmed_ns < unconfirmed_ns ? confirmed_ns : unconfirmed_ns;
    return confirmed_ns < unconfirmed_ns ? confirmed : unconfirmed;
}

uint32_t session_count(const struct session_table *table)
{
    return table->ages[true].count + table->ages[false].count;
}

struct session *session_next(struct session_table *table, uint32_t *cursor)
{
    while (*cursor < table->used) {
        struct session *session = &table->sessions[(*cursor)++];

        if (session->open)
            return session;
    }
    return NULL;
}

static bool list_valid(const struct age_list *list, bool confirmed)
{
    uint32_t count = 0;
    uint64_t heard_ns = 0;

    for (const struct session *session = list->oldest; session; session = session->newer) {
        if (!session->open || session->confirmed != confirmed || session->heard_ns < heard_ns)
            return false;
        heard_ns = session->heard_ns;
        count++;
    }
    return count == list->count;
}

bool session_table_valid(const struct session_table *table)
{
    uint32_t open = 0;

    for (uint32_t i = 0; i < table->used; i++) {
        const struct session *session = &table->sessions[i];

        open += session->open;
        if (session->index != i || (session->open && !slots_valid(&session->slots)))
            return false;
        if (session->open && session->id % table->shard_count != table->shard)
            return false;
    }
    return open == session_count(table) && list_valid(&table->ages[true], true) &&
           list_valid(&table->ages[false], false);
}
