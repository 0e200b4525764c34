/* program_line.c - a simulated client's operations by line, blocking and in flight; see program_internal.h */
#include "program_internal.h"

#include <string.h>

#include "connection.h"

enum role role_of(unsigned line)
{
    static const enum role roles[] = {ROLE_LINES, ROLE_LINES, ROLE_WORDS, ROLE_COUNTERS};

    return roles[line / PAGE_LINES % 4];
}

/* ---- places and values ---- */

uint32_t place_of(unsigned line, unsigned word)
{
    return role_of(line) == ROLE_LINES ? line * LINE_WORDS : line * LINE_WORDS + word;
}

static unsigned places_of_line(unsigned line)
{
    return role_of(line) == ROLE_LINES ? 1 : LINE_WORDS;
}

static void write_line(uint64_t *words, unsigned line, uint64_t number)
{
    for (unsigned i = 0; i < LINE_WORDS; i++)
        words[i] = role_of(line) == ROLE_LINES ? number << 3 | i : number + i;
}

/* The number that all words of the line agree on. */
static uint64_t read_line(const struct flight *flight, unsigned line)
{
    const uint64_t *words = flight->words[line - flight->first_line];
    uint64_t number = words[0] >> 3;

    for (unsigned i = 0; i < LINE_WORDS; i++)
        if (words[i] != (number == 0 ? 0 : number << 3 | i))
            sim_fail("torn line %u of region %llx: word 0 is %llx, word %u is %llx", line,
                     (unsigned long long)flight->handle, (unsigned long long)words[0], i,
                     (unsigned long long)words[i]);
    return number;
}

/* ---- the oracle's part ---- */

static void begin_place(struct thread *thread, struct flight *flight, uint32_t place)
{
    uint64_t number =
        oracle_begin(thread->client->number, flight->handle, place, flight->kind, flight->expected);

    if (flight->places++ == 0)
        flight->first_number = number;
}

void flight_begin(struct thread *thread, struct flight *flight)
{
    flight->busy = true;
    flight->began_ns = sim_clock_ns();
    flight->places = 0;
    flight->handle = thread->region->handle;
    if (flight->word >= 0) {
        begin_place(thread, flight, place_of(flight->first_line, (unsigned)flight->word));
        return;
    }
    for (unsigned line = flight->first_line; line < flight->first_line + flight->lines; line++)
        for (unsigned word = 0; word < places_of_line(line); word++)
            begin_place(thread, flight, place_of(line, word));
}

static void end_lines(struct flight *flight, enum oracle_outcome outcome)
{
    uint64_t number = flight->first_number;
    bool sees = flight->kind == ORACLE_READ && outcome == ORACLE_DONE;

    for (unsigned line = flight->first_line; line < flight->first_line + flight->lines; line++) {
        const uint64_t *words = flight->words[line - flight->first_line];

        if (role_of(line) == ROLE_LINES) {
            oracle_end(number++, outcome, sees ? read_line(flight, line) : 0);
            continue;
        }
        for (unsigned word = 0; word < LINE_WORDS; word++)
            oracle_end(number++, outcome, sees ? words[word] : 0);
    }
}

/* When an operation is told unknown before its time is over, its session was replaced by another, and nothing
 * of the old one is executed any more. (A queue counts the time of its silence, so there it is not that
 * simple.) */
static enum oracle_outcome outcome_of(const struct thread *thread, const struct flight *flight, int result)
{
    uint64_t took_ns = sim_clock_ns() - flight->began_ns;

    if (result == 0)
        return ORACLE_DONE;
    if (result != -CXE_EUNKNOWN)
        return ORACLE_NOT_DONE;
    return !thread->queue && took_ns < thread->client->timeout_ns ? ORACLE_SETTLED : ORACLE_UNKNOWN;
}

uint64_t *flight_last_seen(struct thread *thread, const struct flight *flight)
{
    return &thread->last_seen[(flight->first_line % 4) * LINE_WORDS + (unsigned)flight->word];
}

void flight_end(struct thread *thread, struct flight *flight, int result)
{
    sim_mix(flight->first_number ^ (uint64_t)(int64_t)result << 40 ^ flight->old);
    flight->busy = false;
    thread->client->operations++;
    if (result)
        sim_note("operation %llu ends: %s", (unsigned long long)flight->first_number, strerror(-result));
    if (result == -ESTALE)
        thread->lost = true;
    if (flight->word < 0) {
        end_lines(flight, outcome_of(thread, flight, result));
        return;
    }
    if (result == 0 && flight->kind != ORACLE_WRITE)
        *flight_last_seen(thread, flight) = flight->old;
    oracle_end(flight->first_number, outcome_of(thread, flight, result), flight->old);
}

/* ---- operations ---- */

unsigned flight_draw_line(struct thread *thread, enum role role)
{
    static const unsigned pages[][2] = {
        [ROLE_LINES] = {0, 1}, [ROLE_WORDS] = {2, 2}, [ROLE_COUNTERS] = {3, 3}};
    unsigned groups = dice_chance(&thread->dice, 900000) ? 2 : thread->client->region_pages / 4;
    unsigned page =
        pages[role][dice_below(&thread->dice, 2)] + 4 * (unsigned)dice_below(&thread->dice, groups);
    unsigned lines = dice_chance(&thread->dice, 900000) ? HOT_LINES : PAGE_LINES;

    return page * PAGE_LINES + (unsigned)dice_below(&thread->dice, lines);
}

enum role flight_draw_role(struct thread *thread)
{
    return (enum role)dice_below(&thread->dice, 3);
}

/* How many lines from `line` on, all of its page's role, are read or written. */
static unsigned draw_lines(struct thread *thread, unsigned line)
{
    unsigned page_end = (line / PAGE_LINES + 1) * PAGE_LINES, count;

    if (dice_chance(&thread->dice, 700000))
        return 1;
    count = (unsigned)dice_between(&thread->dice, 1, role_of(line) == ROLE_LINES ? LINES_MAX : 4);
    return line + count <= page_end ? count : page_end - line;
}

uint64_t flight_offset(const struct flight *flight)
{
    return (uint64_t)flight->first_line * LINE_BYTES + (flight->word > 0 ? (uint64_t)flight->word * 8 : 0);
}

static int run_read(struct thread *thread, struct flight *flight)
{
    size_t bytes = (size_t)flight->lines * LINE_BYTES;

    if (thread->queue)
        return cxe_queue_read(thread->queue, thread->region, flight_offset(flight), flight->words, bytes,
                              flight);
    return cxe_read(thread->region, flight_offset(flight), flight->words, bytes);
}

static int run_write(struct thread *thread, struct flight *flight)
{
    size_t bytes = (size_t)flight->lines * LINE_BYTES;
    uint64_t number = flight->first_number;

    for (unsigned i = 0; i < flight->lines; i++) {
        write_line(flight->words[i], flight->first_line + i, number);
        number += places_of_line(flight->first_line + i);
    }
    if (thread->queue)
        return cxe_queue_write(thread->queue, thread->region, flight_offset(flight), flight->words, bytes,
                               flight);
    return cxe_write(thread->region, flight_offset(flight), flight->words, bytes);
}

static int run_write_word(struct thread *thread, struct flight *flight)
{
    uint64_t offset = (uint64_t)flight->first_line * LINE_BYTES, mask = 0xffull << 8 * flight->word;

    memset(flight->words[0], 0xa5, LINE_BYTES); /* must not arrive */
    flight->words[0][flight->word] = flight->first_number;
    if (thread->queue)
        return cxe_queue_write_masked(thread->queue, thread->region, offset, flight->words[0], mask, flight);
    return cxe_write_masked(thread->region, offset, flight->words[0], mask);
}

static int run_cas(struct thread *thread, struct flight *flight)
{
    uint64_t *number = &flight->first_number;

    if (thread->queue)
        return cxe_queue_cas(thread->queue, thread->region, flight_offset(flight), 8, &flight->expected,
                             number, &flight->old, flight);
    return cxe_cas(thread->region, flight_offset(flight), 8, &flight->expected, number, &flight->old);
}

static int run_fetch(struct thread *thread, struct flight *flight, enum cxe_atomic atomic, uint64_t operand)
{
    if (thread->queue)
        return cxe_queue_fetch(thread->queue, thread->region, atomic, flight_offset(flight), 8, &operand,
                               &flight->old, flight);
    return cxe_fetch(thread->region, atomic, flight_offset(flight), 8, &operand, &flight->old);
}

static int run_wait(struct thread *thread, struct flight *flight)
{
    uint64_t timeout_ns = dice_below(&thread->dice, 100 * NS_PER_MS);

    int error =
        cxe_wait(thread->region, flight_offset(flight), 8, &flight->expected, timeout_ns, &flight->old);

    if (!error && sim_clock_ns() > flight->began_ns + 10 * NS_PER_MS)
        thread->client->woken++;
    if (!error && flight->old == flight->expected)
        sim_fail("a wait for another value than %llu ended with that", (unsigned long long)flight->expected);
    return error;
}

int flight_run(struct thread *thread, struct flight *flight)
{
    switch (flight->kind) {
    case ORACLE_READ:
        return flight->waits ? run_wait(thread, flight) : run_read(thread, flight);
    case ORACLE_WRITE:
        return flight->word < 0 ? run_write(thread, flight) : run_write_word(thread, flight);
    case ORACLE_CAS:
        return run_cas(thread, flight);
    case ORACLE_SWAP:
        return run_fetch(thread, flight, CXE_SWAP, flight->first_number);
    case ORACLE_ADD:
        return run_fetch(thread, flight, CXE_FETCH_ADD, 1);
    }
    return -EINVAL;
}

/* What it will be. */
void flight_draw(struct thread *thread, struct flight *flight)
{
    static const enum oracle_kind word_kinds[] = {ORACLE_READ, ORACLE_WRITE, ORACLE_SWAP, ORACLE_CAS,
                                                  ORACLE_CAS};
    enum role role = flight_draw_role(thread);

    *flight = (struct flight){.first_line = flight_draw_line(thread, role), .word = -1};
    if (role == ROLE_WORDS)
        flight->kind = word_kinds[dice_below(&thread->dice, 5)];
    else if (dice_chance(&thread->dice, 500000))
        flight->kind = ORACLE_READ;
    else
        flight->kind = role == ROLE_LINES ? ORACLE_WRITE : ORACLE_ADD;
    flight->waits = flight->kind == ORACLE_READ && role != ROLE_LINES && !thread->queue &&
                    dice_chance(&thread->dice, 200000);
    if ((flight->kind == ORACLE_READ && !flight->waits) ||
        (flight->kind == ORACLE_WRITE && dice_chance(&thread->dice, 800000)) || role == ROLE_LINES) {
        flight->lines = draw_lines(thread, flight->first_line);
        return;
    }
    flight->lines = 1;
    flight->word = (int)dice_below(&thread->dice, dice_chance(&thread->dice, 800000) ? 2 : LINE_WORDS);
    if (flight->kind == ORACLE_CAS || flight->waits)
        flight->expected = *flight_last_seen(thread, flight);
}

/* ---- blocking, and in flight ---- */

static void take_completions(struct thread *thread, const struct cxe_completion *completions, int count)
{
    for (int i = 0; i < count; i++)
        flight_end(thread, completions[i].context, completions[i].result);
}

void queue_drain(struct thread *thread)
{
    struct cxe_completion completions[DEPTH];
    int count;

    do {
        count = cxe_queue_wait(thread->queue, completions, DEPTH, UINT64_MAX);
        take_completions(thread, completions, count);
    } while (count > 0);
}

static struct flight *free_flight(struct thread *thread)
{
    for (unsigned i = 0; i < DEPTH; i++)
        if (!thread->flights[i].busy)
            return &thread->flights[i];
    return NULL;
}

void queue_start(struct thread *thread)
{
    struct cxe_completion completions[DEPTH];
    struct flight *flight;
    int result;

    while (!(flight = free_flight(thread)))
        take_completions(thread, completions, cxe_queue_wait(thread->queue, completions, DEPTH, UINT64_MAX));
    flight_draw(thread, flight);
    flight_begin(thread, flight);
    result = flight_run(thread, flight);
    if (result)
        flight_end(thread, flight, result); /* not even begun */
    if (result == -EAGAIN)
        queue_drain(thread); /* fences fill it, too */
    if (dice_chance(&thread->dice, 200000))
        cxe_queue_flush(thread->queue);
    else if (dice_chance(&thread->dice, 30000))
        cxe_queue_fence(thread->queue);
}

void flight_run_blocking(struct thread *thread)
{
    struct flight *flight = &thread->flights[0];

    flight_draw(thread, flight);
    flight_begin(thread, flight);
    flight_end(thread, flight, flight_run(thread, flight));
}
