/* explore.c - see explore.h */
#include "explore.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

struct seen {
    uint64_t hash;
    uint32_t number; /* of the state, from 1; 0: free */
};

struct state {
    uint32_t parent; /* which state it was first reached from, and how; 0: the start */
    uint16_t action;
    bool ends; /* the end can be reached from it */
};

struct step_taken {
    uint32_t from, to;
};

/* A state that was reached, and from which nothing has been tried yet. */
struct pending {
    struct pending *next;
    uint32_t number;
    struct world world;
};

static struct {
    struct seen *table;
    uint32_t table_size, state_count;
    struct state *states; /* [number] */
    size_t states_size;
    struct step_taken *steps;
    size_t steps_used, steps_size;
    struct pending *first, *last, *unused;
} search;

static void *must_realloc(void *memory, size_t bytes)
{
    memory = realloc(memory, bytes);
    CHECK(memory);
    return memory;
}

static struct seen *find(struct seen *table, uint32_t size, uint64_t hash)
{
    uint32_t at = (uint32_t)hash & (size - 1);

    while (table[at].number && table[at].hash != hash)
        at = (at + 1) & (size - 1);
    return &table[at];
}

static void grow(void)
{
    uint32_t size = search.table_size * 2;
    struct seen *table = calloc(size, sizeof(*table));

    CHECK(table);
    for (uint32_t i = 0; i < search.table_size; i++)
        if (search.table[i].number)
            *find(table, size, search.table[i].hash) = search.table[i];
    free(search.table);
    search.table = table;
    search.table_size = size;
}

static void begin(void)
{
    if (!search.table) {
        search.table_size = 1024;
        search.table = must_realloc(NULL, search.table_size * sizeof(*search.table));
    }
    memset(search.table, 0, search.table_size * sizeof(*search.table));
    search.state_count = 0;
    search.steps_used = 0;
}

static void put_pending(uint32_t number)
{
    struct pending *pending = search.unused;

    if (pending)
        search.unused = pending->next;
    else
        pending = must_realloc(NULL, sizeof(*pending));
    pending->next = NULL;
    pending->number = number;
    pending->world = world;
    if (search.first)
        search.last->next = pending;
    else
        search.first = pending;
    search.last = pending;
}

static struct pending *take_pending(void)
{
    struct pending *pending = search.first;

    if (pending)
        search.first = pending->next;
    return pending;
}

static void drop_pending(struct pending *pending)
{
    pending->next = search.unused;
    search.unused = pending;
}

/* The number of the state the world is in now; a new one is put among those to be tried. */
static uint32_t visit(const struct setup *setup, uint32_t parent, unsigned action)
{
    uint64_t hash = world_hash(setup);
    struct seen *seen;

    if (search.state_count * 2 >= search.table_size)
        grow();
    seen = find(search.table, search.table_size, hash);
    if (seen->number)
        return seen->number;
    *seen = (struct seen){hash, ++search.state_count};
    if (search.state_count >= search.states_size) {
        search.states_size = search.state_count * 2 + 1024;
        search.states = must_realloc(search.states, search.states_size * sizeof(*search.states));
    }
    search.states[seen->number] = (struct state){parent, (uint16_t)action, world_finished(setup)};
    put_pending(seen->number);
    return seen->number;
}

static void remember_step(uint32_t from, uint32_t to)
{
    if (search.steps_used == search.steps_size) {
        search.steps_size = search.steps_size * 2 + 1024;
        search.steps = must_realloc(search.steps, search.steps_size * sizeof(*search.steps));
    }
    search.steps[search.steps_used++] = (struct step_taken){from, to};
}

static size_t write_trace(const struct setup *setup, uint32_t number, char *text, size_t text_bytes)
{
    const struct state *state = &search.states[number];
    size_t at = 0;

    if (state->parent == 0)
        return 0;
    at = write_trace(setup, state->parent, text, text_bytes);
    if (at + 80 > text_bytes)
        return at;
    world_describe(setup, state->action, text + at, text_bytes - at - 1);
    at += strlen(text + at);
    return at + (size_t)sprintf(text + at, "\n");
}

/* Everything that can happen in a state. False: something is wrong, and the world as it is. */
static bool try_all(const struct setup *setup, const struct pending *pending, uint32_t *wrong_out)
{
    unsigned actions = world_actions(setup), possible = 0;

    *wrong_out = pending->number;
    world = pending->world;
    for (unsigned action = 0; action < actions; action++) {
        uint32_t next;

        if (!world_act(setup, action))
            continue;
        possible++;
        world_check(setup);
        next = visit(setup, pending->number, action);
        remember_step(pending->number, next);
        *wrong_out = next;
        if (world_wrong)
            return false;
        world = pending->world;
    }
    *wrong_out = pending->number;
    if (possible == 0 && !world_finished(setup))
        world_wrong = "nothing can happen any more, and not all are at their end";
    return !world_wrong;
}

/* Backward from the ends, until nothing is added. Steps were remembered away from the start, so going through
 * them backward adds much at once. */
static bool ends_everywhere(uint32_t *wrong_out)
{
    bool more = true;

    while (more) {
        more = false;
        for (size_t i = search.steps_used; i-- > 0;) {
            const struct step_taken *step = &search.steps[i];

            if (search.states[step->to].ends && !search.states[step->from].ends)
                more = search.states[step->from].ends = true;
        }
    }
    for (*wrong_out = 1; *wrong_out <= search.state_count; ++*wrong_out)
        if (!search.states[*wrong_out].ends)
            return false;
    return true;
}

void explore(const struct setup *setup, struct found *found)
{
    struct pending *pending;
    uint32_t wrong = 0;

    begin();
    world_open(setup);
    world_wrong = NULL;
    visit(setup, 0, 0);
    while ((pending = take_pending())) {
        bool right = try_all(setup, pending, &wrong);

        drop_pending(pending);
        if (!right)
            break;
    }
    if (!world_wrong && !ends_everywhere(&wrong))
        world_wrong = "there is a state from which the end cannot be reached";
    while ((pending = take_pending()))
        drop_pending(pending);
    found->states = search.state_count;
    found->steps = search.steps_used;
    found->wrong = world_wrong;
    found->trace[0] = '\0';
    if (world_wrong)
        write_trace(setup, wrong, found->trace, sizeof(found->trace));
}
