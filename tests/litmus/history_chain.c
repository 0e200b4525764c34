/* history_chain.c - the O(n) check: stores that name what they replaced form a chain
 *
 * Number the values along the chain, 0 for the initial one. Event groups are then ordered: store 1, those
 * that saw value 1, store 2, ... Any order that respects the groups explains what was seen, and within the
 * readers of one value any order will do. So the history is linearizable if and only if nobody in a later
 * group returned before somebody in an earlier group was invoked. One pass with the latest invocation so far
 * tells.
 */
#include "history.h"

#include <errno.h>
#include <stdlib.h>

#define NOBODY SIZE_MAX

/* A value, who stored it, and who replaced it. */
struct link {
    uint64_t value;
    size_t writer;                      /* NOBODY: the initial value */
    size_t next;                        /* index of the link that replaced this one */
    bool named;                         /* somebody saw it */
    bool placed;                        /* reached from the initial value */
    size_t readers_first, readers_last; /* who returned first, who was invoked last */
};

struct chain {
    const struct history_event *events;
    size_t count;
    struct link *links; /* 0: the initial value */
    size_t link_count;
    size_t *table; /* link + 1 by hash of the value; 0: free */
    size_t table_mask;
    struct history_fault *fault;
};

static uint64_t returned_ns(const struct history_event *event)
{
    return event->unknown ? UINT64_MAX : event->returned_ns;
}

/* Does it store, or may it have? */
static bool stores(const struct history_event *event)
{
    return event->kind == HISTORY_SWAP ||
           (event->kind == HISTORY_CAS && (event->unknown || event->seen == event->expected));
}

static uint64_t replaced(const struct history_event *event)
{
    return event->unknown ? event->expected : event->seen;
}

static int refuse(struct chain *chain, const char *what, size_t first, size_t second)
{
    *chain->fault = (struct history_fault){.what = what, .first = first, .second = second};
    return -EILSEQ;
}

/* ---- links by value ---- */

static size_t *slot_of(struct chain *chain, uint64_t value)
{
    size_t at = (size_t)((value * 0x9E3779B97F4A7C15u) >> 20) & chain->table_mask;

    while (chain->table[at] && chain->links[chain->table[at] - 1].value != value)
        at = (at + 1) & chain->table_mask;
    return &chain->table[at];
}

static struct link *find(struct chain *chain, uint64_t value)
{
    size_t found = *slot_of(chain, value);

    return found ? &chain->links[found - 1] : NULL;
}

static int add(struct chain *chain, uint64_t value, size_t writer)
{
    size_t *slot = slot_of(chain, value);

    if (*slot)
        return -EINVAL; /* stored twice */
    chain->links[chain->link_count] = (struct link){
        .value = value, .writer = writer, .next = NOBODY, .readers_first = NOBODY, .readers_last = NOBODY};
    *slot = ++chain->link_count;
    return 0;
}

static int open_chain(struct chain *chain)
{
    size_t size = 4;

    while (size < 2 * (chain->count + 1))
        size *= 2;
    chain->table_mask = size - 1;
    chain->table = calloc(size, sizeof(*chain->table));
    chain->links = calloc(chain->count + 1, sizeof(*chain->links));
    return chain->table && chain->links ? 0 : -ENOMEM;
}

static int add_all(struct chain *chain, uint64_t initial)
{
    int error = add(chain, initial, NOBODY);

    for (size_t i = 0; !error && i < chain->count; i++) {
        const struct history_event *event = &chain->events[i];

        if (event->kind == HISTORY_WRITE || event->kind == HISTORY_ADD ||
            (event->unknown && event->kind != HISTORY_CAS))
            return -EINVAL;
        if (stores(event))
            error = add(chain, event->argument, i);
    }
    return error;
}

/* ---- the chain ---- */

/* Somebody saw `value`: it was stored. If by a CAS of unknown outcome, that one did happen, and saw what it
 * expected; and so on. */
static int name_value(struct chain *chain, uint64_t value, size_t by)
{
    for (;;) {
        struct link *link = find(chain, value);

        if (!link)
            return refuse(chain, "saw a value that nobody stored", by, by);
        if (link->named || link->writer == NOBODY || !chain->events[link->writer].unknown) {
            link->named = true;
            return 0;
        }
        link->named = true;
        by = link->writer;
        value = chain->events[by].expected;
    }
}

static int name_all(struct chain *chain)
{
    int error = 0;

    for (size_t i = 0; !error && i < chain->count; i++)
        if (!chain->events[i].unknown)
            error = name_value(chain, chain->events[i].seen, i);
    return error;
}

/* Took part: a store that was done, or whose value was seen. */
static bool took_part(const struct chain *chain, const struct link *link)
{
    return link->writer != NOBODY && (link->named || !chain->events[link->writer].unknown);
}

static int connect_links(struct chain *chain)
{
    for (size_t i = 1; i < chain->link_count; i++) {
        const struct link *link = &chain->links[i];
        struct link *before;

        if (!took_part(chain, link))
            continue;
        before = find(chain, replaced(&chain->events[link->writer]));
        if (before->next != NOBODY)
            return refuse(chain, "replaced the same value", chain->links[before->next].writer, link->writer);
        before->next = i;
    }
    return 0;
}

static int place_links(struct chain *chain)
{
    for (size_t at = 0; at != NOBODY; at = chain->links[at].next)
        chain->links[at].placed = true;
    for (size_t i = 1; i < chain->link_count; i++)
        if (took_part(chain, &chain->links[i]) && !chain->links[i].placed)
            return refuse(chain, "replaced a value that was stored only later", chain->links[i].writer,
                          chain->links[i].writer);
    return 0;
}

static void place_readers(struct chain *chain)
{
    for (size_t i = 0; i < chain->count; i++) {
        const struct history_event *event = &chain->events[i], *first, *last;
        struct link *link;

        if (stores(event) || event->unknown)
            continue;
        link = find(chain, event->seen);
        first = link->readers_first == NOBODY ? NULL : &chain->events[link->readers_first];
        last = link->readers_last == NOBODY ? NULL : &chain->events[link->readers_last];
        if (!first || event->returned_ns < first->returned_ns)
            link->readers_first = i;
        if (!last || event->invoked_ns > last->invoked_ns)
            link->readers_last = i;
    }
}

/* ---- time ---- */

/* The latest invocation among the groups so far. */
struct latest {
    uint64_t invoked_ns;
    size_t event;
};

static int follow(struct chain *chain, const struct latest *latest, size_t event)
{
    if (event != NOBODY && returned_ns(&chain->events[event]) < latest->invoked_ns)
        return refuse(chain, "returned before what it must follow was invoked", event, latest->event);
    return 0;
}

static void take_in(const struct chain *chain, struct latest *latest, size_t event)
{
    if (event != NOBODY && chain->events[event].invoked_ns >= latest->invoked_ns)
        *latest = (struct latest){.invoked_ns = chain->events[event].invoked_ns, .event = event};
}

static int check_time(struct chain *chain)
{
    struct latest latest = {.event = NOBODY};
    int error = 0;

    for (size_t at = 0; !error && at != NOBODY; at = chain->links[at].next) {
        const struct link *link = &chain->links[at];

        error = follow(chain, &latest, link->writer);
        take_in(chain, &latest, link->writer);
        if (!error)
            error = follow(chain, &latest, link->readers_first);
        take_in(chain, &latest, link->readers_last);
    }
    return error;
}

static int check_links(struct chain *chain)
{
    int error = name_all(chain);

    if (!error)
        error = connect_links(chain);
    if (!error)
        error = place_links(chain);
    if (error)
        return error;
    place_readers(chain);
    return check_time(chain);
}

int history_check_chain(const struct history_event *events, size_t count, uint64_t initial,
                        struct history_fault *fault_out)
{
    struct chain chain = {.events = events, .count = count, .fault = fault_out};
    int error = open_chain(&chain);

    if (!error)
        error = add_all(&chain, initial);
    if (!error)
        error = check_links(&chain);
    free(chain.table);
    free(chain.links);
    return error;
}
