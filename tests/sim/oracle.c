/* oracle.c - see oracle.h
 *
 * Registers. All that saw one value, with its writer, form a cluster: between the write and the last of them
 * the register held that value. An operation that saw a value and replaced it (swap, CAS) puts its own
 * cluster right behind the one it saw, so clusters form chains. With f the earliest return in a chain and s
 * its latest invocation, chain A comes before B if f(A) < s(B); a register is linearizable if and only if
 * each chain's own order fits the clock, and no two chains come before each other (Gibbons and Korach, 1997:
 * there are no longer cycles without one of two). That is found by sorting the chains with f < s, which must
 * not overlap; of the others none may lie within one of these.
 *
 * Time is the number of operations begun and ended so far.
 */
#include "oracle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

#define NEVER UINT64_MAX
#define NONE  UINT32_MAX

struct operation {
    uint64_t region, expected, saw, began, ended; /* `ended`: NEVER while nobody knows */
    uint32_t place, client;
    uint8_t kind, outcome;
    bool seen; /* somebody saw its value */
};

static struct {
    struct operation *operations; /* number 1 is at [0] */
    uint64_t count, room, clock;
    uint64_t unknown_seen;
} oracle;

uint64_t oracle_begin(unsigned client, uint64_t region, uint32_t place, enum oracle_kind kind,
                      uint64_t expected)
{
    if (oracle.count == oracle.room) {
        oracle.room = oracle.room ? 2 * oracle.room : 4096;
        oracle.operations = realloc(oracle.operations, oracle.room * sizeof(*oracle.operations));
        CHECK(oracle.operations);
    }
    oracle.operations[oracle.count] = (struct operation){
        .region = region,
        .place = place,
        .client = client,
        .kind = (uint8_t)kind,
        .expected = expected,
        .began = ++oracle.clock,
        .ended = NEVER,
    };
    return ++oracle.count;
}

void oracle_end(uint64_t number, enum oracle_outcome outcome, uint64_t saw)
{
    struct operation *operation = &oracle.operations[number - 1];

    operation->outcome = (uint8_t)outcome;
    operation->saw = saw;
    operation->ended = outcome == ORACLE_UNKNOWN ? NEVER : ++oracle.clock;
}

static bool only_saw(const struct operation *operation)
{
    return operation->kind == ORACLE_READ ||
           (operation->kind == ORACLE_CAS && operation->saw != operation->expected);
}

void oracle_lose(const uint64_t *numbers, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct operation *operation = &oracle.operations[numbers[i] - 1];

        operation->outcome = only_saw(operation) ? ORACLE_NOT_DONE : ORACLE_UNKNOWN;
        operation->ended = NEVER;
        operation->saw = 0;
    }
}

void oracle_reset(void)
{
    free(oracle.operations);
    memset(&oracle, 0, sizeof(oracle));
}

/* Does nobody know whether it was done? */
static bool unknown(const struct operation *operation)
{
    return operation->outcome == ORACLE_UNKNOWN || operation->outcome == ORACLE_SETTLED;
}

struct oracle_counts oracle_counts(void)
{
    struct oracle_counts counts = {.operations = oracle.count, .unknown_seen = oracle.unknown_seen};

    for (uint64_t i = 0; i < oracle.count; i++) {
        counts.done += oracle.operations[i].outcome == ORACLE_DONE;
        counts.not_done += oracle.operations[i].outcome == ORACLE_NOT_DONE;
        counts.unknown += unknown(&oracle.operations[i]);
        counts.settled += oracle.operations[i].outcome == ORACLE_SETTLED;
    }
    return counts;
}

/* ---- one register or counter ---- */

struct group {
    uint64_t *numbers; /* of its operations */
    size_t count;
    char *why;
    unsigned why_bytes;
};

static struct operation *at(uint64_t number)
{
    return &oracle.operations[number - 1];
}

static const char *describe(uint64_t number)
{
    static const char *const kinds[] = {"read", "write", "swap", "CAS", "add"};
    static const char *const outcomes[] = {"unknown", "settled", "done", "not done"};
    static char texts[4][160];
    static unsigned next;
    char *text = texts[next++ % 4];
    const struct operation *operation = at(number);

    snprintf(text, sizeof(texts[0]), "%s %llu of client %u [%llu..%lld] %s, saw %llu, expected %llu",
             kinds[operation->kind], (unsigned long long)number, operation->client,
             (unsigned long long)operation->began, (long long)operation->ended, outcomes[operation->outcome],
             (unsigned long long)operation->saw, (unsigned long long)operation->expected);
    return text;
}

static bool refuse(const struct group *group, const char *what, uint64_t first, uint64_t second)
{
    const struct operation *operation = at(first);

    snprintf(group->why, group->why_bytes, "region %llx place %u: %s: %s%s%s",
             (unsigned long long)operation->region, operation->place, what, describe(first),
             second ? "; " : "", second ? describe(second) : "");
    return false;
}

/* Does it name the value it saw? */
static bool sees(const struct operation *operation)
{
    return operation->outcome == ORACLE_DONE && operation->kind != ORACLE_WRITE;
}

/* Did it store its value? What nobody knows counts if somebody saw it. */
static bool stored(const struct operation *operation)
{
    if (operation->kind == ORACLE_READ || operation->kind == ORACLE_ADD)
        return false;
    if (unknown(operation))
        return operation->seen;
    if (operation->kind == ORACLE_CAS && operation->saw != operation->expected)
        return false;
    return operation->outcome == ORACLE_DONE;
}

/* It is known which value it replaced. */
static bool replaced(const struct operation *operation, uint64_t *value_out)
{
    if (!stored(operation) || operation->kind == ORACLE_WRITE)
        return false;
    if (operation->kind == ORACLE_SWAP && unknown(operation))
        return false;
    *value_out = operation->kind == ORACLE_CAS ? operation->expected : operation->saw;
    return true;
}

/* ---- registers ---- */

/* The value that an operation saw was surely written there, not later, and then that write has been done. */
static bool check_seen(const struct group *group, uint64_t reader)
{
    uint64_t value = at(reader)->saw;
    struct operation *writer;

    if (value == 0)
        return true;
    if (value > oracle.count)
        return refuse(group, "saw what nobody ever wrote", reader, 0);
    writer = at(value);
    if (writer->region != at(reader)->region || writer->place != at(reader)->place)
        return refuse(group, "saw what was written elsewhere", reader, value);
    if (writer->kind == ORACLE_READ || writer->outcome == ORACLE_NOT_DONE ||
        (writer->kind == ORACLE_CAS && writer->outcome == ORACLE_DONE && writer->saw != writer->expected))
        return refuse(group, "saw what was surely not written", reader, value);
    if (writer->began > at(reader)->ended)
        return refuse(group, "saw the future", reader, value);
    if (writer->seen)
        return true;
    writer->seen = true;
    if (!unknown(writer))
        return true;
    oracle.unknown_seen++;
    if (writer->kind != ORACLE_CAS)
        return true;
    writer->saw = writer->expected; /* or it would not have been done */
    return check_seen(group, value);
}

static bool check_all_seen(const struct group *group)
{
    for (size_t i = 0; i < group->count; i++)
        if (sees(at(group->numbers[i])) && !check_seen(group, group->numbers[i]))
            return false;
    return true;
}

/* Everybody who had to do with one value. */
struct cluster {
    uint64_t value;
    uint64_t first_ended, last_began;       /* of the writer and those who saw it */
    uint64_t first_ended_by, last_began_by; /* 0: the zeros at the beginning */
    uint32_t next;                          /* the cluster that replaced it */
    bool has_previous;
};

struct zone {
    uint64_t f, s, f_by, s_by;
};

static int by_value(const void *a, const void *b)
{
    uint64_t left = ((const struct cluster *)a)->value, right = ((const struct cluster *)b)->value;

    return left < right ? -1 : left > right;
}

static struct cluster *find(struct cluster *clusters, size_t count, uint64_t value)
{
    struct cluster key = {.value = value};

    return bsearch(&key, clusters, count, sizeof(*clusters), by_value);
}

static void join(struct cluster *cluster, uint64_t number)
{
    const struct operation *operation = at(number);

    if (operation->ended < cluster->first_ended) {
        cluster->first_ended = operation->ended;
        cluster->first_ended_by = number;
    }
    if (operation->began > cluster->last_began) {
        cluster->last_began = operation->began;
        cluster->last_began_by = number;
    }
}

/* One for the zeros and one for each value stored, by value. */
static size_t make_clusters(const struct group *group, struct cluster *clusters)
{
    size_t count = 1;

    clusters[0] = (struct cluster){.next = NONE};
    for (size_t i = 0; i < group->count; i++) {
        uint64_t number = group->numbers[i];

        if (!stored(at(number)))
            continue;
        clusters[count] = (struct cluster){.value = number, .first_ended = NEVER, .next = NONE};
        join(&clusters[count++], number);
    }
    return count; /* numbers rise: they are sorted */
}

static bool link_clusters(const struct group *group, struct cluster *clusters, size_t count)
{
    for (size_t i = 0; i < group->count; i++) {
        uint64_t number = group->numbers[i], old;
        struct cluster *cluster, *mine;

        if (sees(at(number)))
            join(find(clusters, count, at(number)->saw), number);
        if (!replaced(at(number), &old))
            continue;
        cluster = find(clusters, count, old);
        join(cluster, number);
        if (cluster->next != NONE)
            return refuse(group, "replaced what another one replaced", number, clusters[cluster->next].value);
        mine = find(clusters, count, number);
        cluster->next = (uint32_t)(mine - clusters);
        mine->has_previous = true;
    }
    return true;
}

/* From the first cluster of a chain to its last. */
static bool walk_chain(const struct group *group, struct cluster *clusters, struct cluster *first,
                       struct zone *zone_out, size_t *walked)
{
    struct zone zone = {first->first_ended, first->last_began, first->first_ended_by, first->last_began_by};

    ++*walked;
    for (struct cluster *cluster = first; cluster->next != NONE;) {
        cluster = &clusters[cluster->next];
        ++*walked;
        if (cluster->first_ended < zone.s)
            return refuse(group, "saw a value that had been replaced", zone.s_by, cluster->first_ended_by);
        if (cluster->first_ended < zone.f) {
            zone.f = cluster->first_ended;
            zone.f_by = cluster->first_ended_by;
        }
        if (cluster->last_began > zone.s) {
            zone.s = cluster->last_began;
            zone.s_by = cluster->last_began_by;
        }
    }
    *zone_out = zone;
    return true;
}

static int by_f(const void *a, const void *b)
{
    uint64_t left = ((const struct zone *)a)->f, right = ((const struct zone *)b)->f;

    return left < right ? -1 : left > right;
}

static bool forward(const struct zone *zone)
{
    return zone->f < zone->s;
}

static bool refuse_zones(const struct group *group, const struct zone *a, const struct zone *b)
{
    return refuse(group, "each of two values was there both before and after the other", a->s_by,
                  b->f_by ? b->f_by : b->s_by);
}

/* The last zone of the sorted ones that begins before `time`, or NULL. */
static const struct zone *last_before(const struct zone *zones, size_t count, uint64_t time)
{
    size_t low = 0, high = count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (zones[middle].f < time)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? &zones[low - 1] : NULL;
}

static bool check_zones(const struct group *group, struct zone *zones, size_t count)
{
    size_t forwards = 0;

    for (size_t i = 0; i < count; i++)
        if (forward(&zones[i])) {
            struct zone zone = zones[forwards];

            zones[forwards++] = zones[i];
            zones[i] = zone;
        }
    qsort(zones, forwards, sizeof(*zones), by_f);
    for (size_t i = 1; i < forwards; i++)
        if (zones[i].f < zones[i - 1].s)
            return refuse_zones(group, &zones[i - 1], &zones[i]);
    for (size_t i = forwards; i < count; i++) {
        const struct zone *around = last_before(zones, forwards, zones[i].s);

        if (around && zones[i].f < around->s)
            return refuse_zones(group, around, &zones[i]);
    }
    return true;
}

static bool check_register(const struct group *group)
{
    struct cluster *clusters = calloc(group->count + 1, sizeof(*clusters));
    struct zone *zones = calloc(group->count + 1, sizeof(*zones));
    size_t count, zone_count = 0, walked = 0;
    bool fine;

    CHECK(clusters && zones);
    count = make_clusters(group, clusters);
    fine = link_clusters(group, clusters, count);
    for (size_t i = 0; fine && i < count; i++)
        if (!clusters[i].has_previous)
            fine = walk_chain(group, clusters, &clusters[i], &zones[zone_count++], &walked);
    if (fine && walked < count)
        fine = refuse(group, "values replaced each other in a circle", group->numbers[0], 0);
    fine = fine && check_zones(group, zones, zone_count);
    free(clusters);
    free(zones);
    return fine;
}

/* ---- counters ---- */

static int by_ended(const void *a, const void *b)
{
    uint64_t left = at(*(const uint64_t *)a)->ended, right = at(*(const uint64_t *)b)->ended;

    return left < right ? -1 : left > right;
}

static int by_saw(const void *a, const void *b)
{
    uint64_t left = at(*(const uint64_t *)a)->saw, right = at(*(const uint64_t *)b)->saw;

    return left < right ? -1 : left > right;
}

static uint64_t left_behind(const struct operation *operation)
{
    return operation->saw + (operation->kind == ORACLE_ADD);
}

/* Nobody sees less than what was there before he began, nor more than was begun before he ended. Both numbers
 * lists hold the same operations: as they began, and as they ended. */
static bool check_counter_order(const struct group *group, const uint64_t *ended)
{
    uint64_t most = 0, most_by = 0, begun = 0;
    size_t i = 0, j = 0;

    while (i < group->count || j < group->count) {
        const struct operation *begins = i < group->count ? at(group->numbers[i]) : NULL;
        struct operation *ends = at(ended[j]);

        if (begins && begins->began < ends->ended) {
            begun += begins->kind == ORACLE_ADD && begins->outcome != ORACLE_NOT_DONE;
            at(group->numbers[i++])->expected = most; /* free here: the least it must see */
            continue;
        }
        if (ends->ended == NEVER)
            return true;
        if (sees(ends) && ends->saw < ends->expected)
            return refuse(group, "counted backwards", ended[j], most_by);
        if (sees(ends) && left_behind(ends) > begun)
            return refuse(group, "counted more than was added", ended[j], 0);
        if (sees(ends) && left_behind(ends) > most) {
            most = left_behind(ends);
            most_by = ended[j];
        }
        j++;
    }
    return true;
}

/* Each addition saw another number; those that are missing were done by somebody nobody knows of. */
static bool check_counter_once(const struct group *group, uint64_t *sorted)
{
    uint64_t previous = 0, next = 0, unknowns = 0, missing = 0;

    qsort(sorted, group->count, sizeof(*sorted), by_saw);
    for (size_t i = 0; i < group->count; i++) {
        const struct operation *operation = at(sorted[i]);

        unknowns += operation->kind == ORACLE_ADD && unknown(operation);
        if (!sees(operation))
            continue;
        if (operation->kind == ORACLE_ADD && previous && at(previous)->saw == operation->saw)
            return refuse(group, "two additions saw the same number", previous, sorted[i]);
        if (operation->saw > next)
            missing += operation->saw - next;
        if (left_behind(operation) > next)
            next = left_behind(operation);
        if (operation->kind == ORACLE_ADD)
            previous = sorted[i];
    }
    if (missing > unknowns)
        return refuse(group, "counted more than once", group->numbers[0], 0);
    return true;
}

static bool check_counter(const struct group *group)
{
    uint64_t *sorted = calloc(group->count, sizeof(*sorted));
    bool fine;

    CHECK(sorted);
    memcpy(sorted, group->numbers, group->count * sizeof(*sorted));
    qsort(sorted, group->count, sizeof(*sorted), by_ended);
    fine = check_counter_order(group, sorted) && check_counter_once(group, sorted);
    free(sorted);
    return fine;
}

/* ---- all of them ---- */

static int by_place(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    const struct operation *x = at(left), *y = at(right);

    if (x->region != y->region)
        return x->region < y->region ? -1 : 1;
    if (x->place != y->place)
        return x->place < y->place ? -1 : 1;
    return left < right ? -1 : left > right;
}

static bool same_place(uint64_t a, uint64_t b)
{
    return at(a)->region == at(b)->region && at(a)->place == at(b)->place;
}

static bool check_group(const struct group *group)
{
    for (size_t i = 0; i < group->count; i++)
        if (at(group->numbers[i])->kind == ORACLE_ADD)
            return check_counter(group);
    return check_all_seen(group) && check_register(group);
}

bool oracle_check(char *why, unsigned why_bytes)
{
    uint64_t *numbers = calloc(oracle.count + 1, sizeof(*numbers));
    bool fine = true;

    CHECK(numbers);
    oracle.unknown_seen = 0;
    for (uint64_t i = 0; i < oracle.count; i++) {
        numbers[i] = i + 1;
        oracle.operations[i].seen = false;
    }
    qsort(numbers, oracle.count, sizeof(*numbers), by_place);
    for (uint64_t first = 0, end; fine && first < oracle.count; first = end) {
        end = first + 1;
        while (end < oracle.count && same_place(numbers[first], numbers[end]))
            end++;
        fine = check_group(&(struct group){numbers + first, end - first, why, why_bytes});
    }
    free(numbers);
    return fine;
}
