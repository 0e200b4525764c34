/* program_mapped.c - what a simulated client does with its mapping; see program_internal.h */
#include "program_internal.h"

#include <string.h>

#include "mapped.h"

static uint64_t word_as_it_is(uint64_t word)
{
    return word;
}

static uint64_t number_of_line(uint64_t word)
{
    return word >> 3;
}

static void note_access(struct client *client, int error)
{
    client->accesses++;
    client->faults += error != 0;
    client->faults_in_a_row = error ? client->faults_in_a_row + 1 : 0;
    if (error)
        sim_note("an access to the mapping ends: %s", strerror(-error));
}

static void draw_access(struct thread *thread, struct flight *flight)
{
    static const enum oracle_kind word_kinds[] = {ORACLE_READ, ORACLE_READ, ORACLE_WRITE, ORACLE_SWAP,
                                                  ORACLE_CAS};
    enum role role = flight_draw_role(thread);

    *flight = (struct flight){.kind = ORACLE_READ, .first_line = flight_draw_line(thread, role), .lines = 1};
    flight->word = (int)dice_below(&thread->dice, dice_chance(&thread->dice, 800000) ? 2 : LINE_WORDS);
    if (role == ROLE_WORDS)
        flight->kind = word_kinds[dice_below(&thread->dice, 5)];
    else if (role == ROLE_COUNTERS && dice_chance(&thread->dice, 500000))
        flight->kind = ORACLE_ADD;
}

static void access_word(struct thread *thread, struct flight flight)
{
    struct client *client = thread->client;
    enum role role = role_of(flight.first_line);
    int error;

    error = mapped_run(client->mapped, flight.kind, flight_offset(&flight),
                       place_of(flight.first_line, (unsigned)flight.word), *flight_last_seen(thread, &flight),
                       role == ROLE_LINES ? number_of_line : word_as_it_is, &flight.old);
    note_access(client, error);
    if (!error && role == ROLE_WORDS)
        *flight_last_seen(thread, &flight) = flight.old;
    if (error && dice_chance(&thread->dice, 300000))
        mapped_advise(client->mapped, flight_offset(&flight), 1, CXE_ADVICE_REFRESH);
}

/* Looks at one word for a while: who is fenced meanwhile must not see what was there before for ever. */
static void watch_word(struct thread *thread)
{
    struct flight flight;
    unsigned times = (unsigned)dice_between(&thread->dice, 5, 200);

    draw_access(thread, &flight);
    flight.kind = ORACLE_READ;
    while (times-- > 0 && sim_now_ns() < thread->until_ns && !thread->client->faults_in_a_row) {
        access_word(thread, flight);
        sim_sleep(dice_below(&thread->dice, 30 * NS_PER_MS));
    }
}

/* Loads from many pages in order, so that prefetching has something to do, and eviction. */
static void scan(struct thread *thread)
{
    unsigned pages = (unsigned)dice_between(&thread->dice, 4, 40);
    unsigned page = (unsigned)dice_below(&thread->dice, thread->client->region_pages);

    for (; pages-- > 0 && page < thread->client->region_pages && !thread->client->faults_in_a_row; page++) {
        unsigned line = page * PAGE_LINES, word = 1;
        uint64_t ignored;

        note_access(thread->client,
                    mapped_run(thread->client->mapped, ORACLE_READ, (uint64_t)line * LINE_BYTES + word * 8,
                               place_of(line, word), 0,
                               role_of(line) == ROLE_LINES ? number_of_line : word_as_it_is, &ignored));
    }
}

static void manage_mapping(struct thread *thread)
{
    struct mapped *mapped = thread->client->mapped;
    uint64_t page = dice_below(&thread->dice, thread->client->region_pages);
    uint64_t pages = dice_between(&thread->dice, 1, thread->client->region_pages - page);

    switch (dice_below(&thread->dice, 6)) {
    case 0:
    case 1:
        mapped_sync(mapped, page * PAGE_BYTES, pages * PAGE_BYTES);
        return;
    case 2:
        mapped_advise(mapped, page * PAGE_BYTES, pages * PAGE_BYTES, CXE_ADVICE_COLD);
        return;
    case 3:
        mapped_advise(mapped, page * PAGE_BYTES, pages * PAGE_BYTES, CXE_ADVICE_REFRESH);
        return;
    case 4:
        mapped_prefetch(mapped, page * PAGE_BYTES, pages * PAGE_BYTES);
        return;
    case 5:
        mapped_check(mapped);
        return;
    }
}

void mapping_use(struct thread *thread)
{
    struct flight flight;

    if (dice_chance(&thread->dice, 970000)) {
        draw_access(thread, &flight);
        access_word(thread, flight);
    } else if (dice_chance(&thread->dice, 400000))
        watch_word(thread);
    else if (dice_chance(&thread->dice, 500000))
        scan(thread);
    else
        manage_mapping(thread);
}

bool mapping_usable(const struct client *client)
{
    return client->mapped && client->faults_in_a_row < 20;
}
