/* program.c - see program.h */
#include "program_internal.h"

#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "connection.h"
#include "mapped.h"

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
        queue_drain(thread);
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
        queue_drain(thread);
    sim_sleep(dice_below(&thread->dice, thread->client->pause_ns));
}

static void burst(struct thread *thread)
{
    unsigned operations = (unsigned)dice_between(&thread->dice, 1, 20);

    while (operations-- > 0 && !thread->lost && !time_is_up(thread)) {
        if (mapping_usable(thread->client) && dice_chance(&thread->dice, thread->mapped_ppm))
            mapping_use(thread);
        else if (thread->queue)
            queue_start(thread);
        else
            flight_run_blocking(thread);
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
        flight_begin(thread, flight);
        error = flight_run(thread, flight);
        if (error)
            sim_fail("line %u cannot be read: %s", line, cxe_last_error());
        flight_end(thread, flight, 0);
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
