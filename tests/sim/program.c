/* program.c - see program.h
 *
 * Regions are small, so that threads meet. The page says what a place is: pages 0 and 1 (mod 4) hold lines
 * that are written whole, with the same number in all their words, so that a torn one shows; page 2 words
 * that are written, compared and swapped one by one; page 3 counters.
 */
#include "program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "connection.h"
#include "mapped.h"
#include "oracle.h"

#define REGIONS    2
#define LINE_WORDS (LINE_BYTES / 8)
#define HOT_LINES  3  /* of each page: where most operations go */
#define LINES_MAX  40 /* of one operation: several frames */
#define DEPTH      12 /* of a queue */
#define PLACES_MAX (LINES_MAX * LINE_WORDS)

enum role { ROLE_LINES, ROLE_WORDS, ROLE_COUNTERS };

/* An operation under way. */
struct flight {
    bool busy;
    bool waits; /* READ: until the word is not `expected` any more */
    enum oracle_kind kind;
    uint64_t handle;
    unsigned first_line, lines; /* what it covers: whole lines, */
    int word;                   /* or a word of the first */
    uint64_t first_number;      /* of as many as there are places */
    unsigned places;
    uint64_t expected, old;
    uint64_t began_ns; /* by the client's clock */
    uint64_t words[LINES_MAX][LINE_WORDS];
};

struct thread {
    struct client *client;
    struct dice dice;
    uint64_t until_ns;
    uint32_t mapped_ppm; /* operations by mapping, where there is one */
    struct cxe_region *region;
    unsigned region_number;
    struct cxe_queue *queue;            /* NULL: blocking calls */
    struct flight flights[DEPTH];       /* [0] for blocking calls */
    uint64_t last_seen[4 * LINE_WORDS]; /* of words, for CAS: by place, roughly */
    bool lost;                          /* the region is gone */
};

static enum role role_of(unsigned line)
{
    static const enum role roles[] = {ROLE_LINES, ROLE_LINES, ROLE_WORDS, ROLE_COUNTERS};

    return roles[line / PAGE_LINES % 4];
}

/* ---- places and values ---- */

static uint32_t place_of(unsigned line, unsigned word)
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

static void begin(struct thread *thread, struct flight *flight)
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

static uint64_t *last_seen(struct thread *thread, const struct flight *flight)
{
    return &thread->last_seen[(flight->first_line % 4) * LINE_WORDS + (unsigned)flight->word];
}

static void end(struct thread *thread, struct flight *flight, int result)
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
        *last_seen(thread, flight) = flight->old;
    oracle_end(flight->first_number, outcome_of(thread, flight, result), flight->old);
}

/* ---- operations ---- */

static unsigned draw_line(struct thread *thread, enum role role)
{
    static const unsigned pages[][2] = {
        [ROLE_LINES] = {0, 1}, [ROLE_WORDS] = {2, 2}, [ROLE_COUNTERS] = {3, 3}};
    unsigned groups = dice_chance(&thread->dice, 900000) ? 2 : thread->client->region_pages / 4;
    unsigned page =
        pages[role][dice_below(&thread->dice, 2)] + 4 * (unsigned)dice_below(&thread->dice, groups);
    unsigned lines = dice_chance(&thread->dice, 900000) ? HOT_LINES : PAGE_LINES;

    return page * PAGE_LINES + (unsigned)dice_below(&thread->dice, lines);
}

static enum role draw_role(struct thread *thread)
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

static uint64_t offset_of(const struct flight *flight)
{
    return (uint64_t)flight->first_line * LINE_BYTES + (flight->word > 0 ? (uint64_t)flight->word * 8 : 0);
}

static int run_read(struct thread *thread, struct flight *flight)
{
    size_t bytes = (size_t)flight->lines * LINE_BYTES;

    if (thread->queue)
        return cxe_queue_read(thread->queue, thread->region, offset_of(flight), flight->words, bytes, flight);
    return cxe_read(thread->region, offset_of(flight), flight->words, bytes);
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
        return cxe_queue_write(thread->queue, thread->region, offset_of(flight), flight->words, bytes,
                               flight);
    return cxe_write(thread->region, offset_of(flight), flight->words, bytes);
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
        return cxe_queue_cas(thread->queue, thread->region, offset_of(flight), 8, &flight->expected, number,
                             &flight->old, flight);
    return cxe_cas(thread->region, offset_of(flight), 8, &flight->expected, number, &flight->old);
}

static int run_fetch(struct thread *thread, struct flight *flight, enum cxe_atomic atomic, uint64_t operand)
{
    if (thread->queue)
        return cxe_queue_fetch(thread->queue, thread->region, atomic, offset_of(flight), 8, &operand,
                               &flight->old, flight);
    return cxe_fetch(thread->region, atomic, offset_of(flight), 8, &operand, &flight->old);
}

static int run_wait(struct thread *thread, struct flight *flight)
{
    uint64_t timeout_ns = dice_below(&thread->dice, 100 * NS_PER_MS);

    int error = cxe_wait(thread->region, offset_of(flight), 8, &flight->expected, timeout_ns, &flight->old);

    if (!error && sim_clock_ns() > flight->began_ns + 10 * NS_PER_MS)
        thread->client->woken++;
    if (!error && flight->old == flight->expected)
        sim_fail("a wait for another value than %llu ended with that", (unsigned long long)flight->expected);
    return error;
}

static int run(struct thread *thread, struct flight *flight)
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
static void draw(struct thread *thread, struct flight *flight)
{
    static const enum oracle_kind word_kinds[] = {ORACLE_READ, ORACLE_WRITE, ORACLE_SWAP, ORACLE_CAS,
                                                  ORACLE_CAS};
    enum role role = draw_role(thread);

    *flight = (struct flight){.first_line = draw_line(thread, role), .word = -1};
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
        flight->expected = *last_seen(thread, flight);
}

/* ---- blocking, and in flight ---- */

static void take_completions(struct thread *thread, const struct cxe_completion *completions, int count)
{
    for (int i = 0; i < count; i++)
        end(thread, completions[i].context, completions[i].result);
}

static void drain_queue(struct thread *thread)
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

static void start_queued(struct thread *thread)
{
    struct cxe_completion completions[DEPTH];
    struct flight *flight;
    int result;

    while (!(flight = free_flight(thread)))
        take_completions(thread, completions, cxe_queue_wait(thread->queue, completions, DEPTH, UINT64_MAX));
    draw(thread, flight);
    begin(thread, flight);
    result = run(thread, flight);
    if (result)
        end(thread, flight, result); /* not even begun */
    if (result == -EAGAIN)
        drain_queue(thread); /* fences fill it, too */
    if (dice_chance(&thread->dice, 200000))
        cxe_queue_flush(thread->queue);
    else if (dice_chance(&thread->dice, 30000))
        cxe_queue_fence(thread->queue);
}

static void run_blocking(struct thread *thread)
{
    struct flight *flight = &thread->flights[0];

    draw(thread, flight);
    begin(thread, flight);
    end(thread, flight, run(thread, flight));
}

/* ---- by mapping ---- */

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
    enum role role = draw_role(thread);

    *flight = (struct flight){.kind = ORACLE_READ, .first_line = draw_line(thread, role), .lines = 1};
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

    error = mapped_run(client->mapped, flight.kind, offset_of(&flight),
                       place_of(flight.first_line, (unsigned)flight.word), *last_seen(thread, &flight),
                       role == ROLE_LINES ? number_of_line : word_as_it_is, &flight.old);
    note_access(client, error);
    if (!error && role == ROLE_WORDS)
        *last_seen(thread, &flight) = flight.old;
    if (error && dice_chance(&thread->dice, 300000))
        mapped_advise(client->mapped, offset_of(&flight), 1, CXE_ADVICE_REFRESH);
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

static void use_mapping(struct thread *thread)
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

/* Nothing comes of it any more: the region is gone, or the server. */
static bool mapping_usable(const struct client *client)
{
    return client->mapped && client->faults_in_a_row < 20;
}

/* ---- regions ---- */

static int open_region(const struct client *client, const char *name, struct cxe_region **region_out)
{
    int error = cxe_region_open(client->connection, name, region_out);

    if (error != -ENOENT)
        return error;
    return cxe_region_create(client->connection, name, client->region_pages * PAGE_BYTES,
                             client->shared ? CXE_REGION_SHARED : 0, region_out);
}

static int find_region(struct thread *thread)
{
    char name[16];

    snprintf(name, sizeof(name), "region%u", thread->region_number);
    return open_region(thread->client, name, &thread->region);
}

static void leave_region(struct thread *thread)
{
    if (thread->queue)
        drain_queue(thread);
    if (thread->region)
        CHECK(cxe_region_close(thread->region) == 0);
    thread->region = NULL;
    thread->lost = false;
}

static void delete_region(struct thread *thread)
{
    char name[16];

    snprintf(name, sizeof(name), "region%u", thread->region_number);
    sim_note("%s deletes %s", thread->client->host.node.name, name);
    cxe_region_delete(thread->client->connection, name);
}

/* ---- the life of a thread ---- */

static bool time_is_up(const struct thread *thread)
{
    return sim_now_ns() >= thread->until_ns;
}

static void pause(struct thread *thread)
{
    if (thread->queue && dice_chance(&thread->dice, 500000))
        drain_queue(thread);
    sim_sleep(dice_below(&thread->dice, thread->client->pause_ns));
}

static void burst(struct thread *thread)
{
    unsigned operations = (unsigned)dice_between(&thread->dice, 1, 20);

    while (operations-- > 0 && !thread->lost && !time_is_up(thread)) {
        if (mapping_usable(thread->client) && dice_chance(&thread->dice, thread->mapped_ppm))
            use_mapping(thread);
        else if (thread->queue)
            start_queued(thread);
        else
            run_blocking(thread);
    }
}

static void work(struct thread *thread)
{
    while (!time_is_up(thread)) {
        if (!thread->region && find_region(thread) != 0) {
            sim_sleep(dice_between(&thread->dice, NS_PER_MS, 50 * NS_PER_MS));
            continue;
        }
        burst(thread);
        if (thread->lost)
            leave_region(thread);
        else if (dice_chance(&thread->dice, 4000))
            delete_region(thread);
        pause(thread);
    }
}

static void *thread_main(void *context)
{
    struct thread *thread = context;

    if (dice_chance(&thread->dice, 400000) &&
        cxe_queue_open(thread->client->connection, DEPTH, &thread->queue) != 0)
        thread->queue = NULL;
    work(thread);
    leave_region(thread);
    if (thread->queue)
        cxe_queue_close(thread->queue);
    return NULL;
}

/* ---- the mapping of a client, used by all its threads ---- */

/* A private region is mapped by one client and used by nobody else. */
static void open_mapping(struct client *client)
{
    static const enum cxe_gone_policy policies[] = {CXE_GONE_WAIT, CXE_GONE_DEADLINE, CXE_GONE_FAIL_FAST};
    const struct cxe_map_options options = {
        .local_bytes = CXE_LOCAL_BYTES_MIN,
        .fault_mode = CXE_FAULT_INLINE,
        .gone_policy = policies[dice_below(&client->dice, 3)],
        .gone_deadline_ns = dice_between(&client->dice, 50, 5000) * NS_PER_MS,
        .flags = (uint32_t)dice_below(&client->dice, 4) * CXE_MAP_NO_PREFETCH, /* and NO_CLEANER */
    };
    char name[16];

    client->faults_in_a_row = 0;
    client->mapped_number = (unsigned)dice_below(&client->dice, REGIONS);
    if (client->shared)
        snprintf(name, sizeof(name), "region%u", client->mapped_number);
    else
        snprintf(name, sizeof(name), "own%u", client->number);
    if (open_region(client, name, &client->mapped_region) != 0)
        return;
    if (mapped_open(client->number, client->mapped_region, &options, &client->mapped) == 0)
        return;
    sim_note("no mapping: %s", cxe_last_error());
    cxe_region_close(client->mapped_region);
}

/* What cannot be written back stands in the way, until the loss is taken note of; of a region that is gone,
 * for ever. */
static void close_mapping(struct client *client)
{
    uint64_t patience_ns = sim_now_ns() + NS_PER_S;

    if (!client->mapped)
        return;
    while (mapped_close(client->mapped) != 0) {
        sim_note("still mapped: %s", cxe_last_error());
        mapped_advise(client->mapped, 0, client->region_pages * PAGE_BYTES, CXE_ADVICE_REFRESH);
        sim_sleep(50 * NS_PER_MS);
        if (sim_now_ns() < patience_ns)
            continue;
        client->stuck = true;
        sim_sleep_until(SIM_NEVER);
    }
    client->mapped = NULL;
    CHECK(cxe_region_close(client->mapped_region) == 0);
}

/* ---- the life of a client ---- */

#define THREADS_MAX 4

static void run_threads(struct client *client)
{
    static const uint32_t mapped_ppm[] = {200000, 500000, 980000};
    struct thread *threads = calloc(THREADS_MAX, sizeof(*threads));
    struct sim_thread *handles[THREADS_MAX];
    uint64_t until_ns = sim_now_ns() + dice_between(&client->dice, NS_PER_S, 20 * NS_PER_S);

    CHECK(threads && client->threads <= THREADS_MAX);
    for (unsigned i = 0; i < client->threads; i++) {
        threads[i].client = client;
        threads[i].dice = dice_of(dice_draw(&client->dice), "thread");
        threads[i].until_ns = until_ns < client->until_ns ? until_ns : client->until_ns;
        threads[i].mapped_ppm = mapped_ppm[dice_below(&client->dice, 3)];
        threads[i].region_number = (unsigned)dice_below(&client->dice, REGIONS);
        handles[i] = sim_spawn(&client->host.node, client->host.node.name, thread_main, &threads[i]);
    }
    for (unsigned i = 0; i < client->threads; i++)
        sim_join(handles[i]);
    free(threads);
}

static void *client_main(void *context)
{
    struct client *client = context;

    while (sim_now_ns() < client->until_ns) {
        struct cxe_connection *connection;

        if (server_connect(client->server, client->timeout_ns, 2 + (unsigned)dice_below(&client->dice, 3),
                           &connection) != 0) {
            sim_sleep(dice_between(&client->dice, NS_PER_MS, 100 * NS_PER_MS));
            continue;
        }
        client->connection = connection;
        client->reconnects++;
        if (dice_chance(&client->dice, 700000))
            open_mapping(client);
        run_threads(client);
        close_mapping(client);
        client->connection = NULL;
        CHECK(cxe_disconnect(connection) == 0);
    }
    return NULL;
}

void client_start(struct client *client)
{
    client->main = sim_spawn(&client->host.node, client->host.node.name, client_main, client);
}

void client_kill(struct client *client)
{
    client->connection = NULL;
    if (client->mapped)
        mapped_lost(client->mapped);
    client->mapped = NULL;
    client->stuck = false;
    sim_kill_node(&client->host.node);
    net_kill_host(&client->host);
    sim_note("%s killed", client->host.node.name);
}

/* ---- the last look ---- */

static void read_region(struct thread *thread)
{
    unsigned lines = thread->client->region_pages * PAGE_LINES, some = PAGE_LINES / 2;
    struct flight *flight = &thread->flights[0];

    for (unsigned line = 0; line < lines; line += some) {
        int error;

        *flight = (struct flight){.kind = ORACLE_READ, .first_line = line, .lines = some, .word = -1};
        begin(thread, flight);
        error = run(thread, flight);
        if (error)
            sim_fail("line %u cannot be read: %s", line, cxe_last_error());
        end(thread, flight, 0);
    }
}

static void *read_all(void *context)
{
    struct thread *thread = calloc(1, sizeof(*thread));
    struct client *client = context;
    struct cxe_connection *connection;

    CHECK(thread);
    thread->client = client;
    if (server_connect(client->server, 20 * NS_PER_S, 2, &connection) != 0)
        sim_fail("nobody can connect any more: %s", cxe_last_error());
    client->connection = connection;
    for (; thread->region_number < REGIONS; thread->region_number++) {
        if (find_region(thread) != 0)
            sim_fail("no region %u: %s", thread->region_number, cxe_last_error());
        read_region(thread);
        leave_region(thread);
    }
    client->connection = NULL;
    CHECK(cxe_disconnect(connection) == 0);
    free(thread);
    return NULL;
}

void client_read_all(struct client *client)
{
    sim_join(sim_spawn(&client->host.node, client->host.node.name, read_all, client));
}
