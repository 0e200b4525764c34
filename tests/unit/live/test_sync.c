/* test_sync.c - locks, counters and channels among clients of a real server, also over a bad network */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "atomic.h"
#include "cxe_sync.h"
#include "limits.h"
#include "server.h"

#define CLIENTS        6
#define PASSES         40
#define ITEMS          60
#define LOCK_OFFSET    0
#define PLAIN_OFFSET   4096 /* a line that only the lock protects */
#define COUNTER_OFFSET 4160
#define CHANNEL_OFFSET 8192
#define REGION_BYTES   32768

struct path {
    char name[16];
    char fault[64];
    enum cxe_encryption encryption;
};

static struct path paths[] = {
    {"plain", "", CXE_ENCRYPTION_OFF},
    {"encrypted", "", CXE_ENCRYPTION_DEFAULT},
    {"bad network", "drop=5%,dup=5%,reorder=5%,seed=3", CXE_ENCRYPTION_OFF},
};

/* A client, with sessions of its own. */
struct client {
    struct cxe_connection *connection;
    struct cxe_region *region;
    unsigned number;
    void *shared;
    pthread_t thread;
};

static struct server server;
static struct client clients[CLIENTS];

static void open_client(struct client *client, const struct path *path, unsigned number)
{
    client->number = number;
    client->connection = server_connect(&server, path->fault[0] ? path->fault : NULL, path->encryption);
    if (number == 0)
        cr_assert_eq(cxe_region_create(client->connection, "r", REGION_BYTES, 0, &client->region), 0);
    else
        cr_assert_eq(cxe_region_open(client->connection, "r", &client->region), 0);
}

static void close_client(struct client *client)
{
    cr_assert_eq(cxe_region_close(client->region), 0, "%s", cxe_last_error());
    cr_assert_eq(cxe_disconnect(client->connection), 0, "%s", cxe_last_error());
}

static void set_up(const struct path *path)
{
    memset(&server, 0, sizeof(server));
    server_start(&server);
    for (unsigned i = 0; i < CLIENTS; i++)
        open_client(&clients[i], path, i);
}

static void tear_down(void)
{
    for (unsigned i = 0; i < CLIENTS; i++)
        close_client(&clients[i]);
    server_stop(&server);
}

static void run_all(void *(*body)(void *), void *shared)
{
    for (unsigned i = 0; i < CLIENTS; i++) {
        clients[i].shared = shared;
        cr_assert_eq(pthread_create(&clients[i].thread, NULL, body, &clients[i]), 0);
    }
    for (unsigned i = 0; i < CLIENTS; i++)
        pthread_join(clients[i].thread, NULL);
}

TestSuite(sync, .timeout = 170);

#define FOR_EACH_PATH(suite, name)                                                        \
    ParameterizedTestParameters(suite, name)                                              \
    {                                                                                     \
        return cr_make_param_array(struct path, paths, sizeof(paths) / sizeof(paths[0])); \
    }                                                                                     \
    ParameterizedTest(struct path *path, suite, name)

/* ---- lock ---- */

static struct cxe_lock *open_lock(const struct client *client)
{
    struct cxe_lock *lock;

    cr_assert_eq(cxe_lock_open(client->region, LOCK_OFFSET, &lock), 0, "%s", cxe_last_error());
    return lock;
}

/* Reads, adds one, writes: whoever comes in between makes it lose a number. */
static void add_under_lock(struct client *client, uint64_t *inside)
{
    uint64_t line[8];

    cr_assert_eq(fetch_add_relaxed(inside, 1), 0, "two are inside");
    cr_assert_eq(cxe_read(client->region, PLAIN_OFFSET, line, sizeof(line)), 0, "%s", cxe_last_error());
    line[0]++;
    cr_assert_eq(cxe_write(client->region, PLAIN_OFFSET, line, sizeof(line)), 0, "%s", cxe_last_error());
    fetch_add_relaxed(inside, (uint64_t)-1);
}

/* Half of the clients lose patience now and then. */
static void *pass_lock(void *argument)
{
    struct client *client = argument;
    struct cxe_lock *lock = open_lock(client);
    unsigned seed = client->number;

    for (unsigned passes = 0; passes < PASSES;) {
        const bool patient = client->number % 2 || rand_r(&seed) % 2;
        int error = cxe_lock_acquire(lock, patient ? UINT64_MAX : (uint64_t)rand_r(&seed) % NS_PER_MS);

        if (error) {
            cr_assert(!patient && error == -ETIMEDOUT, "%d: %s", error, cxe_last_error());
            continue;
        }
        add_under_lock(client, client->shared);
        cr_assert_eq(cxe_lock_release(lock), 0, "%s", cxe_last_error());
        passes++;
    }
    cr_assert_eq(cxe_lock_close(lock), 0, "%s", cxe_last_error());
    return NULL;
}

FOR_EACH_PATH(sync, under_the_lock_nothing_is_lost)
{
    uint64_t inside = 0, line[8];

    set_up(path);
    cr_assert_eq(cxe_lock_init(clients[0].region, LOCK_OFFSET, CLIENTS), 0, "%s", cxe_last_error());
    run_all(pass_lock, &inside);
    cr_assert_eq(cxe_read(clients[0].region, PLAIN_OFFSET, line, sizeof(line)), 0);
    cr_assert_eq(line[0], CLIENTS * PASSES);
    tear_down();
}

static void *note_turn(void *argument)
{
    struct client *client = argument;
    struct cxe_lock *lock = open_lock(client);
    uint64_t turn;

    cr_assert_eq(cxe_lock_acquire(lock, UINT64_MAX), 0, "%s", cxe_last_error());
    cr_assert_eq(cxe_counter_add(client->region, COUNTER_OFFSET, 1, &turn), 0);
    cr_assert_eq(turn, client->number, "client %u had turn %ju", client->number, (uintmax_t)turn);
    cr_assert_eq(cxe_lock_release(lock), 0);
    cr_assert_eq(cxe_lock_close(lock), 0);
    return NULL;
}

/* The next ticket to draw stands in the lock's second line: it tells who has come. */
FOR_EACH_PATH(sync, who_comes_first_is_served_first)
{
    struct cxe_lock *lock;
    uint64_t ignored;

    set_up(path);
    cr_assert_eq(cxe_lock_init(clients[0].region, LOCK_OFFSET, CLIENTS), 0);
    cr_assert_eq(cxe_counter_init(clients[0].region, COUNTER_OFFSET, 0), 0);
    lock = open_lock(&clients[0]);
    cr_assert_eq(cxe_lock_acquire(lock, UINT64_MAX), 0, "%s", cxe_last_error());
    for (unsigned i = 1; i < CLIENTS; i++) {
        pthread_create(&clients[i].thread, NULL, note_turn, &clients[i]);
        cr_assert_eq(
            cxe_counter_wait(clients[0].region, LOCK_OFFSET + LINE_BYTES, i + 1, UINT64_MAX, &ignored), 0,
            "%s", cxe_last_error());
    }
    cr_assert_eq(cxe_lock_release(lock), 0);
    for (unsigned i = 1; i < CLIENTS; i++)
        pthread_join(clients[i].thread, NULL);
    cr_assert_eq(cxe_lock_close(lock), 0);
    tear_down();
}

/* The client ends without a word: nobody tells the lock. */
FOR_EACH_PATH(sync, a_lock_whose_holder_is_gone_can_be_broken)
{
    struct client dead = {0};
    struct cxe_lock *lock, *held;
    uint64_t ticket;

    set_up(path);
    cr_assert_eq(cxe_lock_init(clients[0].region, LOCK_OFFSET, CLIENTS), 0);
    open_client(&dead, path, CLIENTS);
    held = open_lock(&dead);
    cr_assert_eq(cxe_lock_acquire(held, UINT64_MAX), 0);
    free(held);
    close_client(&dead);
    lock = open_lock(&clients[0]);
    cr_assert_eq(cxe_lock_acquire(lock, 20 * NS_PER_MS), -ETIMEDOUT);
    cr_assert_eq(cxe_lock_holder(lock, &ticket), 0, "%s", cxe_last_error());
    cr_assert_eq(cxe_lock_break(lock, ticket), 0, "%s", cxe_last_error());
    cr_assert_eq(cxe_lock_acquire(lock, UINT64_MAX), 0, "%s", cxe_last_error());
    cr_assert_gt(cxe_lock_ticket(lock), ticket);
    cr_assert_eq(cxe_lock_release(lock), 0);
    cr_assert_eq(cxe_lock_close(lock), 0);
    tear_down();
}

Test(sync, who_waits_for_a_lock_in_a_region_that_is_deleted_is_told)
{
    struct cxe_lock *locks[2];

    set_up(&paths[0]);
    cr_assert_eq(cxe_lock_init(clients[0].region, LOCK_OFFSET, CLIENTS), 0);
    for (unsigned i = 0; i < 2; i++)
        locks[i] = open_lock(&clients[i]);
    cr_assert_eq(cxe_lock_acquire(locks[0], UINT64_MAX), 0);
    cr_assert_eq(cxe_lock_acquire(locks[1], NS_PER_MS), -ETIMEDOUT);
    cr_assert_eq(cxe_region_delete(clients[2].connection, "r"), 0, "%s", cxe_last_error());
    cr_assert_eq(cxe_lock_acquire(locks[1], UINT64_MAX), -ESTALE, "%s", cxe_last_error());
    cr_assert_eq(cxe_lock_release(locks[0]), -ESTALE, "%s", cxe_last_error());
    cr_assert_eq(cxe_lock_close(locks[1]), 0, "%s", cxe_last_error());
    free(locks[0]);
    tear_down();
}

/* ---- counter ---- */

/* A barrier: the last one to come wakes all. */
static void *meet(void *argument)
{
    struct client *client = argument;
    uint64_t value;

    for (uint64_t round = 1; round <= 10; round++) {
        cr_assert_eq(cxe_counter_add(client->region, COUNTER_OFFSET, 1, &value), 0, "%s", cxe_last_error());
        cr_assert_eq(cxe_counter_wait(client->region, COUNTER_OFFSET, round * CLIENTS, UINT64_MAX, &value), 0,
                     "%s", cxe_last_error());
        cr_assert_geq(value, round * CLIENTS);
        cr_assert_lt(value, (round + 1) * CLIENTS, "somebody ran ahead");
    }
    return NULL;
}

FOR_EACH_PATH(sync, clients_meet_at_a_counter)
{
    uint64_t value;

    set_up(path);
    cr_assert_eq(cxe_counter_init(clients[0].region, COUNTER_OFFSET, 0), 0);
    run_all(meet, NULL);
    cr_assert_eq(cxe_counter_read(clients[0].region, COUNTER_OFFSET, &value), 0);
    cr_assert_eq(value, 10 * CLIENTS);
    tear_down();
}

/* ---- channel ---- */

struct flow {
    uint64_t received;
    uint64_t seen[CLIENTS * ITEMS];
};

/* Longer than a line: its parts must belong together. */
struct item {
    uint64_t number;
    uint8_t text[100];
};

static void fill_item(struct item *item, uint64_t number)
{
    item->number = number;
    memset(item->text, (int)(number % 251), sizeof(item->text));
}

static void send_items(struct client *client)
{
    struct cxe_channel *channel;
    struct item item;

    cr_assert_eq(cxe_channel_open(client->region, CHANNEL_OFFSET, &channel), 0, "%s", cxe_last_error());
    for (uint64_t i = 0; i < ITEMS; i++) {
        fill_item(&item, client->number * (uint64_t)ITEMS + i);
        cr_assert_eq(cxe_channel_push(channel, &item, UINT64_MAX), 0, "%s", cxe_last_error());
    }
    cr_assert_eq(cxe_channel_close(channel), 0, "%s", cxe_last_error());
}

static void take_item(struct flow *flow, const struct item *item, uint64_t last[CLIENTS])
{
    const uint64_t sender = item->number / ITEMS;
    struct item expected = {0};

    cr_assert_lt(sender, CLIENTS);
    fill_item(&expected, item->number);
    cr_assert_arr_eq(item->text, expected.text, sizeof(item->text));
    cr_assert_geq(item->number + 1, last[sender] + 1, "items of one sender changed order");
    last[sender] = item->number + 1;
    cr_assert_eq(fetch_add_relaxed(&flow->seen[item->number], 1), 0, "an item came twice");
    fetch_add_relaxed(&flow->received, 1);
}

static void receive_items(struct client *client, struct flow *flow)
{
    const uint64_t all = CLIENTS / 2 * ITEMS;
    struct cxe_channel *channel;
    uint64_t last[CLIENTS] = {0};
    struct item item = {0};

    cr_assert_eq(cxe_channel_open(client->region, CHANNEL_OFFSET, &channel), 0, "%s", cxe_last_error());
    while (load_relaxed(&flow->received) < all) {
        int error = cxe_channel_pop(channel, &item, 50 * NS_PER_MS);

        if (!error)
            take_item(flow, &item, last);
        else
            cr_assert_eq(error, -ETIMEDOUT, "%s", cxe_last_error());
    }
    cr_assert_eq(cxe_channel_close(channel), 0, "%s", cxe_last_error());
}

static void *send_or_receive(void *argument)
{
    struct client *client = argument;

    if (client->number < CLIENTS / 2)
        send_items(client);
    else
        receive_items(client, client->shared);
    return NULL;
}

FOR_EACH_PATH(sync, a_channel_loses_and_doubles_nothing)
{
    struct flow flow = {0};

    set_up(path);
    cr_assert_eq(cxe_channel_init(clients[0].region, CHANNEL_OFFSET, sizeof(struct item), 8), 0, "%s",
                 cxe_last_error());
    run_all(send_or_receive, &flow);
    for (unsigned i = 0; i < CLIENTS / 2 * ITEMS; i++)
        cr_assert_eq(flow.seen[i], 1, "item %u", i);
    tear_down();
}
