/* server.c - see server.h */
#include "server.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "atomic.h"
#include "keys.h"

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
    struct worker_options options = core_worker_options(&server->core, server->worker_count);
    char text[64], why[256];

    snprintf(text, sizeof(text), "127.0.0.1:%u", server->port);
    cr_assert_eq(address_parse(text, 0, &listen), 0);
    options.index = index;
    options.transport = server->transport ? server->transport : "eth";
    options.listen = &listen;
    options.spin_ns = 50 * NS_PER_US;
    options.idle_timeout_ns = server->idle_timeout_ns ? server->idle_timeout_ns : 60 * NS_PER_S;
    options.sessions_max = 1024;
    options.use_io_uring = true;
    options.cipher_mask = server->cipher_mask ? server->cipher_mask : 7;
    options.key = &server->key;
    options.cookie_secret = server->cookie_secret;
    options.find_tenant = find_tenant;
    options.context = server;
    options.tenants_generation = &server->tenants_generation;
    options.incarnation = incarnation;
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
    core_open(&server->core, POOL_BYTES, server->worker_count,
              server->lease_ns ? server->lease_ns : 60 * NS_PER_S);
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
    const char *broken = core_close(&server->core, server->workers, server->worker_count);

    cr_assert_null(broken, "%s", broken);
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

struct cxe_region *server_region(struct cxe_connection *connection, uint64_t *handle_out)
{
    struct cxe_region *region;
    struct cxe_region_info info;

    cr_assert_eq(cxe_region_create(connection, "r", 65536, 0, &region), 0);
    cr_assert_eq(cxe_region_stat(region, &info), 0);
    *handle_out = info.handle;
    return region;
}
