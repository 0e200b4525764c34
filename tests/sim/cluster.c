/* cluster.c - see cluster.h */
#include "cluster.h"

#include <stdio.h>
#include <string.h>

#include "check.h"
#include "keys.h"
#include "lane_internal.h"
#include "pool.h"
#include "region.h"
#include "worker_internal.h"

#define POOL_BYTES   (4ull << 20)
#define MEMORY_EVERY 20 /* its checks look at every page */
#define SESSIONS_OF  256
#define VALID_OR_DIE(condition)                           \
    do {                                                  \
        if (!(condition))                                 \
            sim_fail("invariant broken: %s", #condition); \
    } while (0)

/* ---- boot ---- */

static int find_tenant(void *context, const uint8_t public_key[NOISE_KEY_BYTES], uint16_t *tenant_out)
{
    (void)context;
    (void)public_key;
    *tenant_out = 1;
    return 0;
}

static void open_workers(struct server *server)
{
    struct worker_options options = core_worker_options(&server->core, server->workers);
    char why[256];

    options.transport = "sim";
    options.listen = &server->address;
    options.spin_ns = 0; /* what it spins for is not simulated: a frame's coming costs nothing */
    options.idle_timeout_ns = server->idle_timeout_ns;
    options.sessions_max = SESSIONS_OF;
    options.cipher_mask = server->plain ? 1u << RECORD_CIPHER_PLAIN : record_ciphers_available();
    options.key = &server->key;
    options.cookie_secret = server->cookie_secret;
    options.find_tenant = find_tenant;
    options.context = server;
    options.tenants_generation = &server->tenants_generation;
    randombytes_buf(&options.incarnation, sizeof(options.incarnation));
    for (unsigned i = 0; i < server->workers; i++) {
        options.index = i;
        CHECK(worker_open(&options, &server->worker[i], why, sizeof(why)) == 0);
    }
    for (unsigned i = 0; i < server->workers; i++)
        CHECK(worker_start(server->worker[i]) == 0);
}

static void *boot(void *context)
{
    struct server *server = context;

    randombytes_buf(server->cookie_secret, sizeof(server->cookie_secret));
    core_open(&server->core, POOL_BYTES, server->workers, server->lease_ns);
    open_workers(server);
    server->up = true;
    server->incarnations++;
    return NULL;
}

void server_init(struct server *server, unsigned number)
{
    server->host.node.name = "server";
    server->address.in.sin_family = AF_INET;
    server->address.in.sin_addr.s_addr = htonl(0x0a000001u + number);
    server->address.in.sin_port = htons(CXE_PORT_DEFAULT);
    address_format(&server->address, server->address_text, sizeof(server->address_text));
    keys_generate(&server->key);
    keys_format(server->key.public, server->key_text);
}

void server_start(struct server *server)
{
    sim_join(sim_spawn(&server->host.node, "boot", boot, server));
    sim_note("server up, incarnation %llu", (unsigned long long)server->incarnations);
}

/* ---- end ---- */

static void *shut_down(void *context)
{
    struct server *server = context;
    const char *broken = core_close(&server->core, server->worker, server->workers);

    if (broken)
        sim_fail("invariant broken: %s", broken);
    return NULL;
}

void server_stop(struct server *server)
{
    server->up = false;
    sim_join(sim_spawn(&server->host.node, "shutdown", shut_down, server));
    sim_note("server stopped");
}

/* What it had in memory is left behind: nothing leads to it any more. */
void server_kill(struct server *server)
{
    server->up = false;
    sim_kill_node(&server->host.node);
    net_kill_host(&server->host);
    sim_note("server killed");
}

/* ---- invariants ---- */

static struct sim_thread *thread_of(const struct worker *worker)
{
    return (struct sim_thread *)(uintptr_t)worker->thread; // NOLINT: see sim_libc.c
}

static bool at_rest(const struct worker *worker)
{
    return worker->started && sim_at_rest(thread_of(worker));
}

static void check_sessions(struct session_table *sessions)
{
    struct session *session;
    uint32_t cursor = 0;

    VALID_OR_DIE(session_table_valid(sessions));
    while ((session = session_next(sessions, &cursor)))
        VALID_OR_DIE(slots_valid(&session->slots));
}

void server_check(const struct server *server)
{
    static unsigned inspections;
    bool all_at_rest = true;

    if (!server->up)
        return;
    for (unsigned i = 0; i < server->workers; i++) {
        bool rests = at_rest(server->worker[i]);

        if (rests)
            check_sessions(server->worker[i]->sessions);
        all_at_rest = all_at_rest && rests;
    }
    if (!all_at_rest || ++inspections % MEMORY_EVERY != 0)
        return;
    VALID_OR_DIE(regions_valid(server->core.regions));
    VALID_OR_DIE(pool_valid(server->core.pool));
}

/* ---- clients ---- */

int server_connect(const struct server *server, uint64_t timeout_ns, unsigned lanes,
                   struct cxe_connection **connection_out)
{
    const struct cxe_connect_options options = {
        .server = server->address_text,
        .server_key = server->key_text,
        .transport = "sim",
        .encryption = server->plain ? CXE_ENCRYPTION_OFF : CXE_ENCRYPTION_DEFAULT,
        .timeout_ns = timeout_ns,
        .lanes = lanes,
    };

    return cxe_connect(&options, connection_out);
}

void connection_check(const struct cxe_connection *connection)
{
    for (unsigned i = 0; i < connection->lane_count; i++)
        if (connection->lanes[i] && connection->lanes[i]->held == 0)
            VALID_OR_DIE(lane_valid(connection->lanes[i]));
}
