/* scenario.c - see scenario.h
 *
 * The director draws a cluster, lets it work, and does something to it every now and then. In the end
 * everything heals, every client must come to its end, all memory is read once more, and the oracle looks at
 * it all.
 */
#include "scenario.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "atomic.h"
#include "broken.h"
#include "check.h"
#include "cluster.h"
#include "log.h"
#include "oracle.h"
#include "program.h"
#include "sim_libc.h"

#define CLIENTS_MAX   5
#define INSPECT_EVERY 211              /* switches */
#define RECOVERY_NS   (120 * NS_PER_S) /* when all is well again, everybody must be done within this */

static struct {
    struct dice dice;
    struct server server;
    struct client clients[CLIENTS_MAX];
    unsigned client_count;
    unsigned region_pages;
    bool shared;
    uint64_t until_ns;
    struct scenario_result result;
} scene;

static uint64_t draw(uint64_t low, uint64_t high)
{
    return dice_between(&scene.dice, low, high);
}

static bool chance(uint32_t percent)
{
    return dice_chance(&scene.dice, percent * 10000);
}

/* ---- the cluster ---- */

/* Clocks begin with a machine's boot, and none is exact. */
static void draw_clock(struct sim_node *node)
{
    node->clock_offset_ns = draw(0, 1000000) * NS_PER_S;
    node->clock_ppm = (int64_t)draw(0, 20000) - 10000;
}

static void draw_server(void)
{
    struct server *server = &scene.server;

    server->workers = (unsigned)draw(1, SERVER_WORKERS_MAX);
    server->idle_timeout_ns = chance(50) ? draw(1, 3) * NS_PER_S : 60 * NS_PER_S;
    server->plain = chance(25);
    server->lease_ns = draw(200, 2000) * NS_PER_MS;
    draw_clock(&server->host.node);
    server_init(server, 0);
}

static void draw_client(unsigned number)
{
    static const char *const names[CLIENTS_MAX] = {"client0", "client1", "client2", "client3", "client4"};
    struct client *client = &scene.clients[number];

    client->host.node.name = names[number];
    client->number = number;
    client->server = &scene.server;
    client->until_ns = scene.until_ns;
    client->timeout_ns = draw(100, 5000) * NS_PER_MS;
    client->pause_ns = (chance(20) ? draw(5, 50) : draw(50, 1000)) * NS_PER_MS;
    client->threads = (unsigned)draw(1, 3);
    client->dice = dice_of(dice_draw(&scene.dice), "client");
    client->region_pages = scene.region_pages;
    client->shared = scene.shared;
    draw_clock(&client->host.node);
}

static void draw_cluster(const struct scenario_options *options)
{
    static const uint32_t frame_bytes[] = {FRAME_BYTES_MIN, FRAME_BYTES_1500, 8972, FRAME_BYTES_MAX};

    scene.dice = dice_of(options->seed, "director");
    scene.until_ns = sim_now_ns() + draw(5, 40) * NS_PER_S;
    net_begin(options->seed, frame_bytes[draw(0, 3)]);
    scene.region_pages = chance(60) ? 8 : 128;
    scene.shared = chance(70);
    sim_set_preemption(chance(50) ? draw(50, 5000) : 0);
    draw_server();
    scene.client_count = (unsigned)draw(2, CLIENTS_MAX);
    for (unsigned i = 0; i < scene.client_count; i++)
        draw_client(i);
}

static void inspect(void)
{
    server_check(&scene.server);
    for (unsigned i = 0; i < scene.client_count; i++)
        if (scene.clients[i].connection)
            connection_check(scene.clients[i].connection);
}

/* ---- what is done to it ---- */

static struct net_host *draw_host(void)
{
    uint64_t number = draw(0, scene.client_count);

    return number == scene.client_count ? &scene.server.host : &scene.clients[number].host;
}

static struct client *draw_victim(void)
{
    return &scene.clients[draw(0, scene.client_count - 1)];
}

static uint32_t rate(uint32_t most_ppm)
{
    return chance(50) ? (uint32_t)draw(1, most_ppm) : 0;
}

/* Now and then little gets through, and much of that long after. */
static struct net_weather draw_weather(void)
{
    uint64_t delay_ns = chance(50) ? draw(0, 20 * NS_PER_MS) : draw(0, 100 * NS_PER_US);

    if (chance(25))
        return (struct net_weather){.drop_ppm = (uint32_t)draw(400000, 950000),
                                    .late_ppm = (uint32_t)draw(1, 500000)};
    return (struct net_weather){
        .drop_ppm = rate(300000),
        .double_ppm = rate(200000),
        .corrupt_ppm = rate(100000),
        .reorder_ppm = rate(300000),
        .late_ppm = rate(100000),
        .delay_low_ns = delay_ns / 2,
        .delay_high_ns = delay_ns,
    };
}

static void calm(struct net_host *host)
{
    host->in = (struct net_weather){0};
    host->out = (struct net_weather){0};
}

static void change_weather(void)
{
    struct net_host *host = draw_host();

    host->out = draw_weather();
    host->in = draw_weather();
    sim_note("bad weather at %s", host->node.name);
}

static void clear_weather(void)
{
    struct net_host *host = draw_host();

    calm(host);
    sim_note("calm at %s", host->node.name);
}

static void cut_for(struct net_host *host, bool out, bool in, uint64_t ns)
{
    sim_note("%s cut%s%s for %llu ms", host->node.name, out ? " out" : "", in ? " in" : "",
             (unsigned long long)(ns / NS_PER_MS));
    host->out.cut = out;
    host->in.cut = in;
    sim_sleep(ns);
    host->out.cut = host->in.cut = false;
}

static void cut_link(void)
{
    bool out = chance(60), in = !out || chance(40);

    cut_for(draw_host(), out, in, draw(NS_PER_MS, chance(20) ? 6 * NS_PER_S : 800 * NS_PER_MS));
}

/* What it asked for is done and not answered, and then the server forgets it. */
static void forget_client(void)
{
    struct net_host *host = &draw_victim()->host;

    cut_for(host, false, true, draw(NS_PER_MS, 200 * NS_PER_MS));
    if (scene.server.idle_timeout_ns < 10 * NS_PER_S)
        cut_for(host, true, true, scene.server.idle_timeout_ns + draw(0, NS_PER_S));
}

static void stop_host(struct net_host *host, uint64_t *counter)
{
    uint64_t ns = draw(NS_PER_MS, chance(20) ? 8 * NS_PER_S : 500 * NS_PER_MS);

    sim_note("%s stopped for %llu ms", host->node.name, (unsigned long long)(ns / NS_PER_MS));
    sim_stop_node(&host->node, sim_now_ns() + ns);
    ++*counter;
}

static void stop_client(void)
{
    stop_host(&draw_victim()->host, &scene.result.client_stops);
}

static void stop_server(void)
{
    stop_host(&scene.server.host, &scene.result.server_stops);
}

static void rebind_client(void)
{
    struct client *client = draw_victim();

    sim_note("%s rebound", client->host.node.name);
    net_rebind(&client->host);
}

static void kill_client(void)
{
    struct client *client = draw_victim();

    if (client->host.node.locks_held > 0)
        return; /* they are everybody's in here */
    client_kill(client);
    sim_sleep(draw(0, NS_PER_S));
    client_start(client);
    scene.result.client_kills++;
}

static void kill_server(void)
{
    scene.server.host.silent = chance(50);
    server_kill(&scene.server);
    sim_sleep(draw(0, chance(30) ? 5 * NS_PER_S : 500 * NS_PER_MS));
    server_start(&scene.server);
    scene.result.server_kills++;
}

static void restart_server(void)
{
    server_stop(&scene.server);
    sim_sleep(draw(0, 200 * NS_PER_MS));
    server_start(&scene.server);
    scene.result.server_restarts++;
}

static const struct {
    void (*act)(void);
    unsigned weight;
} deeds[] = {{change_weather, 30}, {clear_weather, 15}, {cut_link, 15},     {forget_client, 6},
             {stop_client, 8},     {stop_server, 5},    {rebind_client, 8}, {kill_client, 4},
             {kill_server, 3},     {restart_server, 1}};

static void do_something(void)
{
    unsigned total = 0, pick, i = 0;

    for (unsigned j = 0; j < sizeof(deeds) / sizeof(deeds[0]); j++)
        total += deeds[j].weight;
    pick = (unsigned)draw(0, total - 1);
    while (pick >= deeds[i].weight)
        pick -= deeds[i++].weight;
    deeds[i].act();
}

/* ---- the end ---- */

static void heal(void)
{
    sim_note("everything heals");
    calm(&scene.server.host);
    scene.server.host.node.stopped_until_ns = 0;
    for (unsigned i = 0; i < scene.client_count; i++) {
        calm(&scene.clients[i].host);
        scene.clients[i].host.node.stopped_until_ns = 0;
    }
}

/* A client that cannot let go of what it has mapped is ended, as one would do by hand. */
static void tend_clients(bool again)
{
    for (unsigned i = 0; i < scene.client_count; i++) {
        struct client *client = &scene.clients[i];

        if (!client->stuck || client->host.node.locks_held > 0)
            continue;
        client_kill(client);
        if (again)
            client_start(client);
    }
}

static void await_clients(void)
{
    uint64_t deadline_ns = sim_now_ns() + RECOVERY_NS;

    for (unsigned i = 0; i < scene.client_count; i++) {
        while (!sim_finished(scene.clients[i].main) && sim_now_ns() < deadline_ns) {
            sim_sleep(10 * NS_PER_MS);
            tend_clients(false);
        }
        if (!sim_finished(scene.clients[i].main))
            sim_fail("%s hangs, long after everything healed", scene.clients[i].host.node.name);
    }
}

static void judge(void)
{
    char why[1024];

    if (!oracle_check(why, sizeof(why)))
        sim_fail("memory could not have behaved so: %s", why);
}

static void count_accesses(struct scenario_result *result)
{
    for (unsigned i = 0; i < scene.client_count; i++) {
        result->accesses += scene.clients[i].accesses;
        result->poisoned += scene.clients[i].faults;
        result->woken += scene.clients[i].woken;
    }
}

static void fill_result(uint64_t began_ns)
{
    struct scenario_result *result = &scene.result;
    const struct net_counts net = net_counts();
    const struct oracle_counts oracle = oracle_counts();

    result->frames = net.frames;
    result->dropped = net.dropped;
    result->doubled = net.doubled;
    result->corrupted = net.corrupted;
    result->reordered = net.reordered;
    result->late = net.late;
    result->cut = net.cut;
    result->refused = net.refused;
    result->rebound = net.rebound;
    result->operations = oracle.operations;
    result->done = oracle.done;
    result->not_done = oracle.not_done;
    result->unknown = oracle.unknown;
    result->settled = oracle.settled;
    result->unknown_seen = oracle.unknown_seen;
    count_accesses(result);
    result->simulated_ns = sim_now_ns() - began_ns;
    result->switches = sim_switches();
    result->hash = sim_hash();
}

void scenario_run(const struct scenario_options *options, struct scenario_result *result_out)
{
    uint64_t began_ns;

    log_set_level(options->trace ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
    sim_libc_begin(options->seed);
    sim_begin(options->seed, options->trace);
    if (options->broken)
        CHECK(broken_set(options->broken, options->seed));
    began_ns = sim_now_ns();
    draw_cluster(options);
    sim_set_inspector(inspect, INSPECT_EVERY);
    server_start(&scene.server);
    for (unsigned i = 0; i < scene.client_count; i++)
        client_start(&scene.clients[i]);
    while (sim_now_ns() < scene.until_ns) {
        sim_sleep(draw(10 * NS_PER_MS, 2 * NS_PER_S));
        do_something();
        tend_clients(true);
    }
    heal();
    await_clients();
    client_read_all(&scene.clients[0]);
    judge();
    server_stop(&scene.server);
    fill_result(began_ns);
    *result_out = scene.result;
}
