/* server.c - see server.h */
#include "server.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "atomic.h"
#include "executor.h"
#include "keys.h"
#include "mailbox.h"
#include "pool.h"
#include "quiesce.h"
#include "region.h"

#define POOL_BYTES (64ull << 20)

static int find_tenant(void *context, const uint8_t public_key[NOISE_KEY_BYTES], uint16_t *tenant_out)
{
    struct server *server = context;

    (void)public_key;
    if (load_acquire(&server->tenants_refuse))
        return -EACCES;
    *tenant_out = 1;
    return 0;
}

static void open_memory(struct server *server)
{
    struct pool_options pool = {.bytes = POOL_BYTES, .workers = server->worker_count};
    struct regions_options regions = {.default_quota_bytes = REGIONS_QUOTA_UNLIMITED};
    struct executor_options executor;
    char why[256];

    cr_assert_eq(pool_open(&pool, why, sizeof(why), &server->pool), 0, "%s", why);
    cr_assert_eq(quiesce_open(server->worker_count, &server->quiesce), 0);
    regions.pool = server->pool;
    cr_assert_eq(mailboxes_open(server->worker_count, &server->mailboxes), 0);
    regions.quiesce = server->quiesce;
    regions.mailboxes = server->mailboxes;
    regions.lease_ns = server->lease_ns ? server->lease_ns : 60 * NS_PER_S;
    cr_assert_eq(regions_open(&regions, &server->regions), 0);
    executor = (struct executor_options){
        .pool = server->pool,
        .regions = server->regions,
        .quiesce = server->quiesce,
    };
    cr_assert_eq(executor_open(&executor, &server->executor), 0);
}

/* A port that nobody had a moment ago: several workers cannot ask the kernel for the same one. */
static uint16_t free_port(void)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t any_bytes = sizeof(any);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    cr_assert_eq(bind(fd, (struct sockaddr *)&any, any_bytes), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&any, &any_bytes), 0);
    close(fd);
    return ntohs(any.sin_port);
}

static void open_worker(struct server *server, unsigned index, uint64_t incarnation)
{
    struct address listen;
    struct worker_options options = {
        .index = index,
        .count = server->worker_count,
        .cpu = -1,
        .transport = server->transport ? server->transport : "eth",
        .listen = &listen,
        .listen_count = 1,
        .spin_ns = 50 * NS_PER_US,
        .idle_timeout_ns = server->idle_timeout_ns ? server->idle_timeout_ns : 60 * NS_PER_S,
        .sessions_max = 1024,
        .use_io_uring = true,
        .cipher_mask = server->cipher_mask ? server->cipher_mask : 7,
        .key = &server->key,
        .cookie_secret = server->cookie_secret,
        .handshake_limits = {.inits_per_second = 100000, .burst = 1000},
        .executor = server->executor,
        .regions = server->regions,
        .quiesce = server->quiesce,
        .mailboxes = server->mailboxes,
        .find_tenant = find_tenant,
        .context = server,
        .tenants_generation = &server->tenants_generation,
        .incarnation = incarnation,
    };
    char text[64], why[256];

    snprintf(text, sizeof(text), "127.0.0.1:%u", server->port);
    cr_assert_eq(address_parse(text, 0, &listen), 0);
    cr_assert_eq(worker_open(&options, &server->workers[index], why, sizeof(why)), 0, "%s", why);
}

static void open_workers(struct server *server)
{
    uint64_t incarnation;

    if (server->worker_count > 1 && server->port == 0)
        server->port = free_port();
    randombytes_buf(&incarnation, sizeof(incarnation));
    for (unsigned i = 0; i < server->worker_count; i++)
        open_worker(server, i, incarnation);
    server->worker = server->workers[0];
    address_format(worker_address(server->worker, 0), server->address, sizeof(server->address));
    server->port = ntohs(worker_address(server->worker, 0)->in.sin_port);
    for (unsigned i = 0; i < server->worker_count; i++)
        cr_assert_eq(worker_start(server->workers[i]), 0);
}

static void bring_up(struct server *server)
{
    if (server->worker_count == 0)
        server->worker_count = 1;
    open_memory(server);
    open_workers(server);
}

void server_start(struct server *server)
{
    cr_assert_geq(sodium_init(), 0);
    keys_generate(&server->key);
    keys_format(server->key.public, server->key_text);
    randombytes_buf(server->cookie_secret, sizeof(server->cookie_secret));
    bring_up(server);
}

void server_stop(struct server *server)
{
    for (unsigned i = 0; i < server->worker_count; i++)
        worker_stop(server->workers[i]);
    for (unsigned i = 0; i < server->worker_count; i++)
        worker_close(server->workers[i]);
    executor_close(server->executor);
    cr_assert(regions_valid(server->regions));
    regions_close(server->regions);
    quiesce_close(server->quiesce);
    mailboxes_close(server->mailboxes);
    pool_close(server->pool);
}

void server_restart(struct server *server)
{
    server_stop(server);
    bring_up(server);
}

struct cxe_connection *server_connect(struct server *server, const char *fault,
                                      enum cxe_encryption encryption)
{
    struct cxe_connect_options options = {
        .server = server->address,
        .server_key = server->key_text,
        .transport = server->transport,
        .fault = fault,
        .encryption = encryption,
        .timeout_ns = 20 * NS_PER_S,
        .lanes = 2,
    };
    struct cxe_connection *connection;

    cr_assert_eq(cxe_connect(&options, &connection), 0, "%s", cxe_last_error());
    return connection;
}
