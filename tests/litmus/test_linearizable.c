/* test_linearizable.c - client processes on a few words of a live server, over paths that lose, double,
 * reorder and damage, with the server stopped now and then: every word's history has one order that explains
 * it
 *
 * Runs come in epochs. In each, every process does some thousand operations through a queue, several in
 * flight, on words that were just cleared; then the test's process checks what they wrote down. Most words
 * are changed by CAS alone, each storing a number of its own, and checked as chains; on the others anything
 * is done, with few values, and the search decides.
 *
 * $CXE_LINEAR_OPERATIONS: how many to check; a hundred million in a soak.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "atomic.h"
#include "clock.h"
#include "daemon.h"
#include "helper.h"
#include "history.h"
#include "limits.h"
#include "log.h"
#include "random.h"

TestSuite(linearizable);

#define PROCESSES   4
#define WORDS       16
#define CHAIN_WORDS 12   /* of these the first are chains */
#define DEPTH       8    /* operations in flight of a process */
#define EVENTS      4096 /* of a process in an epoch */
#define BLOCKS      16   /* memory is used again after so many epochs */
#define STATES_MAX  4000000
#define OPERATIONS  120000
#define SMALL       4 /* values of words that are no chains */

#define CLIENT_FAULT "drop=0.5%%,dup=1%%,reorder=2%%,corrupt=0.1%%,seed=%" PRIu64
#define SERVER_FAULT "drop=0.2%,dup=1%,reorder=1%,seed=7"

/* What a process wrote down. */
struct note {
    struct history_event event;
    uint32_t word;
};

struct board {
    bool broken; /* the control: a CAS in two steps */
    uint64_t epoch;
    int error;
    char why[200];
    uint32_t counts[PROCESSES];
    struct note notes[PROCESSES][EVENTS];
};

/* ---- a process ---- */

struct flight {
    struct note note;
    uint64_t old;
    uint8_t line[LINE_BYTES];
    bool taken;
};

struct client {
    struct cxe_connection *connection;
    struct cxe_region *region;
    struct cxe_queue *queue;
    struct board *board;
    uint32_t process;
    uint64_t random, stored; /* numbers stored so far */
    uint64_t seen[WORDS];    /* last */
    struct flight flights[DEPTH];
};

static uint64_t offset_of(uint64_t epoch, unsigned word)
{
    return epoch % BLOCKS * 2 * PAGE_BYTES + word % 2 * PAGE_BYTES + word / 4 * LINE_BYTES + word / 2 % 2 * 8;
}

static void give_up(struct client *client, int error)
{
    snprintf(client->board->why, sizeof(client->board->why), "%s: %s", strerror(-error), cxe_last_error());
    store_release(&client->board->error, error);
}

/* What to do next to a word: of chains read or CAS, of others anything. */
static void choose(struct client *client, struct note *note)
{
    uint64_t dice = random_next(&client->random);

    note->word = (uint32_t)(dice % WORDS);
    note->event = (struct history_event){.process = client->process, .expected = client->seen[note->word]};
    if (note->word < CHAIN_WORDS) {
        note->event.kind = dice >> 8 & 1 ? HISTORY_CAS : HISTORY_READ;
        note->event.argument = (uint64_t)(client->process + 1) << 48 | ++client->stored;
        return;
    }
    note->event.kind = (uint8_t)((dice >> 8) % (HISTORY_ADD + 1));
    note->event.argument = (dice >> 16) % SMALL;
    note->event.expected = (dice >> 24) % SMALL;
}

static int start(struct client *client, struct flight *flight)
{
    struct history_event *event = &flight->note.event;
    uint64_t offset = offset_of(client->board->epoch, flight->note.word), line = offset - offset % LINE_BYTES;
    unsigned within = (unsigned)(offset % LINE_BYTES);

    event->invoked_ns = clock_now_ns();
    switch ((enum history_kind)event->kind) {
    case HISTORY_READ:
        return cxe_queue_read(client->queue, client->region, line, flight->line, LINE_BYTES, flight);
    case HISTORY_WRITE:
        memcpy(flight->line + within, &event->argument, 8);
        return cxe_queue_write_masked(client->queue, client->region, line, flight->line, 0xffull << within,
                                      flight);
    case HISTORY_SWAP:
        return cxe_queue_fetch(client->queue, client->region, CXE_SWAP, offset, 8, &event->argument,
                               &flight->old, flight);
    case HISTORY_CAS:
        return cxe_queue_cas(client->queue, client->region, offset, 8, &event->expected, &event->argument,
                             &flight->old, flight);
    case HISTORY_ADD:
        return cxe_queue_fetch(client->queue, client->region, CXE_FETCH_ADD, offset, 8, &event->argument,
                               &flight->old, flight);
    }
    return -EINVAL;
}

static void finish(struct client *client, struct flight *flight, int result)
{
    struct history_event *event = &flight->note.event;
    struct board *board = client->board;

    flight->taken = false;
    event->returned_ns = clock_now_ns();
    event->unknown = result == -CXE_EUNKNOWN;
    if (result < 0 && !event->unknown)
        give_up(client, result);
    if (result < 0 && event->kind == HISTORY_READ)
        return;
    event->seen = flight->old;
    if (event->kind == HISTORY_READ)
        memcpy(&event->seen, flight->line + offset_of(board->epoch, flight->note.word) % LINE_BYTES, 8);
    if (event->kind != HISTORY_WRITE && !event->unknown)
        client->seen[flight->note.word] = event->seen;
    if (event->kind == HISTORY_CAS && event->seen == event->expected && !event->unknown)
        client->seen[flight->note.word] = event->argument;
    board->notes[client->process][board->counts[client->process]++] = flight->note;
}

/* The control's CAS: others may come in between, and their store is lost. */
static int compare_then_write(struct client *client, struct flight *flight)
{
    struct history_event *event = &flight->note.event;
    uint64_t offset = offset_of(client->board->epoch, flight->note.word);
    uint64_t line = offset - offset % LINE_BYTES, mask = 0xffull << offset % LINE_BYTES;
    int error;

    event->invoked_ns = clock_now_ns();
    error = cxe_read(client->region, line, flight->line, LINE_BYTES);
    if (error)
        return error;
    memcpy(&flight->old, flight->line + offset % LINE_BYTES, 8);
    if (flight->old != event->expected)
        return 0;
    memcpy(flight->line + offset % LINE_BYTES, &event->argument, 8);
    return cxe_write_masked(client->region, line, flight->line, mask);
}

static bool start_next(struct client *client, struct flight *flight)
{
    int error;

    memset(flight, 0, sizeof(*flight));
    choose(client, &flight->note);
    if (client->board->broken && flight->note.event.kind == HISTORY_CAS) {
        finish(client, flight, compare_then_write(client, flight));
        return false;
    }
    error = start(client, flight);
    if (error)
        give_up(client, error);
    flight->taken = !error;
    return flight->taken;
}

static void take_completions(struct client *client, unsigned *in_flight)
{
    struct cxe_completion completions[DEPTH];
    int got = cxe_queue_wait(client->queue, completions, DEPTH, UINT64_MAX);

    if (got < 0)
        give_up(client, got);
    for (int i = 0; i < got; i++)
        finish(client, completions[i].context, completions[i].result);
    *in_flight -= got > 0 ? (unsigned)got : 0;
}

static void run_epoch(struct client *client)
{
    unsigned started = 0, in_flight = 0;

    memset(client->seen, 0, sizeof(client->seen));
    client->board->counts[client->process] = 0;
    while ((started < EVENTS || in_flight > 0) && !load_acquire(&client->board->error)) {
        for (unsigned i = 0; i < DEPTH && started < EVENTS; i++)
            if (!client->flights[i].taken) {
                in_flight += start_next(client, &client->flights[i]);
                started++;
            }
        if (in_flight > 0)
            take_completions(client, &in_flight);
    }
}

/* ---- the processes ---- */

struct setting {
    struct daemon daemon;
    struct cxe_connection *connection;
    struct cxe_region *region;
    struct helper helpers[PROCESSES];
    struct board *board;
    uint64_t seed, random;
};

static void be_process(const struct helper *self, void *context, unsigned process)
{
    struct setting *setting = context;
    static struct client client;
    char fault[100];
    int error;

    client.board = setting->board;
    client.process = process;
    client.random = setting->seed + process;
    snprintf(fault, sizeof(fault), CLIENT_FAULT, setting->seed + 100 + process);
    error = daemon_connect(&setting->daemon, fault, CXE_ENCRYPTION_DEFAULT, &client.connection);
    if (!error)
        error = cxe_region_open(client.connection, "words", &client.region);
    if (!error)
        error = cxe_queue_open(client.connection, DEPTH, &client.queue);
    if (error)
        give_up(&client, error);
    while (helper_ready(self))
        run_epoch(&client);
}

static void await_processes(struct setting *setting)
{
    for (unsigned i = 0; i < PROCESSES; i++)
        cr_assert(helper_await(&setting->helpers[i]), "process %u of the test is gone", i);
    cr_assert_eq(setting->board->error, 0, "%s; CXE_TEST_SEED=%" PRIu64, setting->board->why, setting->seed);
}

static void open_setting(struct setting *setting)
{
    setting->seed = setting->random = random_seed();
    setting->board =
        mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(setting->board, MAP_FAILED);
    daemon_start(&setting->daemon, 2, SERVER_FAULT);
    cr_assert_eq(daemon_connect(&setting->daemon, NULL, CXE_ENCRYPTION_DEFAULT, &setting->connection), 0,
                 "%s", cxe_last_error());
    cr_assert_eq(
        cxe_region_create(setting->connection, "words", BLOCKS * 2 * PAGE_BYTES, 0, &setting->region), 0,
        "%s", cxe_last_error());
    for (uint32_t i = 0; i < PROCESSES; i++)
        helper_start(&setting->helpers[i], be_process, setting, i);
    await_processes(setting);
}

static void close_setting(struct setting *setting)
{
    helpers_end(setting->helpers, PROCESSES);
    cxe_region_close(setting->region);
    cxe_disconnect(setting->connection);
    daemon_stop(&setting->daemon);
    munmap(setting->board, sizeof(struct board));
}

/* ---- checking ---- */

static struct history_event events[PROCESSES * EVENTS + 1];

static size_t collect(const struct board *board, unsigned word)
{
    size_t count = 0;

    for (unsigned process = 0; process < PROCESSES; process++)
        for (uint32_t i = 0; i < board->counts[process]; i++)
            if (board->notes[process][i].word == word)
                events[count++] = board->notes[process][i].event;
    return count;
}

static int check_word(unsigned word, size_t count, struct history_fault *fault)
{
    *fault = (struct history_fault){.what = "no order explains it"};
    if (word < CHAIN_WORDS)
        return history_check_chain(events, count, 0, fault);
    return history_check(events, count, 0, STATES_MAX);
}

/* A read at the very end that sees a value replaced long ago must not pass. */
static void expect_refusal(unsigned word, size_t count)
{
    struct history_event late = {
        .kind = HISTORY_READ, .invoked_ns = UINT64_MAX - 2, .returned_ns = UINT64_MAX - 1};
    struct history_fault fault;

    if (word >= CHAIN_WORDS)
        late.seen = UINT64_MAX / 2; /* that is only never stored */
    events[count] = late;
    cr_assert_eq(check_word(word, count + 1, &fault), -EILSEQ, "word %u", word);
}

/* Returns how many words were refused. */
static unsigned check_epoch(struct setting *setting, uint64_t *checked)
{
    unsigned refused = 0;

    for (unsigned word = 0; word < WORDS; word++) {
        size_t count = collect(setting->board, word);
        struct history_fault fault;
        int error = check_word(word, count, &fault);

        cr_assert(error == 0 || error == -EILSEQ, "word %u, %zu events: %s", word, count, strerror(-error));
        refused += error != 0;
        *checked += count;
        if (error && !setting->board->broken) {
            fprintf(stderr, "epoch %" PRIu64 ", word %u: %s\n", setting->board->epoch, word, fault.what);
            if (word < CHAIN_WORDS) {
                fprintf(stderr, "  %s\n", history_print(&events[fault.first]));
                fprintf(stderr, "  %s\n", history_print(&events[fault.second]));
            }
        }
        if (!error && setting->board->epoch == 0)
            expect_refusal(word, count);
    }
    return refused;
}

/* The server stands still for a while: long enough for repeats, sometimes for a new session. */
static void stop_server_a_while(struct setting *setting)
{
    usleep((useconds_t)(random_next(&setting->random) % 20000));
    kill(setting->daemon.pid, SIGSTOP);
    usleep((useconds_t)(random_next(&setting->random) % 150000));
    kill(setting->daemon.pid, SIGCONT);
}

static unsigned run_and_check(struct setting *setting, bool stop, uint64_t *checked)
{
    static const uint8_t zeros[2 * PAGE_BYTES];

    cr_assert_eq(
        cxe_write(setting->region, setting->board->epoch % BLOCKS * sizeof(zeros), zeros, sizeof(zeros)), 0,
        "%s", cxe_last_error());
    for (unsigned i = 0; i < PROCESSES; i++)
        helper_tell(&setting->helpers[i]);
    if (stop)
        stop_server_a_while(setting);
    await_processes(setting);
    return check_epoch(setting, checked);
}

Test(linearizable, every_word_has_one_order_that_explains_what_clients_saw)
{
    const char *text = getenv("CXE_LINEAR_OPERATIONS");
    uint64_t wanted = text ? strtoull(text, NULL, 0) : OPERATIONS, checked = 0;
    struct setting setting = {0};

    open_setting(&setting);
    while (checked < wanted) {
        unsigned refused = run_and_check(&setting, setting.board->epoch % 2 == 0, &checked);

        cr_assert_eq(refused, 0, "%u words are not linearizable; CXE_TEST_SEED=%" PRIu64, refused,
                     setting.seed);
        setting.board->epoch++;
    }
    printf("%" PRIu64 " operations checked in %" PRIu64 " epochs\n", checked, setting.board->epoch);
    close_setting(&setting);
}

Test(linearizable, a_lost_update_is_found)
{
    struct setting setting = {0};
    uint64_t checked = 0;
    unsigned refused = 0;

    open_setting(&setting);
    setting.board->broken = true;
    while (refused == 0 && checked < 100 * PROCESSES * EVENTS) {
        refused = run_and_check(&setting, false, &checked);
        setting.board->epoch++;
    }
    cr_expect_gt(refused, 0, "%" PRIu64 " operations with a CAS in two steps, and none was lost", checked);
    close_setting(&setting);
}
