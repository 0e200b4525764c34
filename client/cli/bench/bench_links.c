/* bench_links.c - see bench_links.h */
#include "bench_links.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "limits.h"
#include "private_server.h"
#include "transport.h"

/* ---- over a server of our own ---- */

static const struct {
    struct bench_link link;
    const char *transport;
} private_links[] = {
    {{.name = "eth.plain", .local = true}, "eth"},
    {{.name = "eth.encrypted", .encrypted = true, .local = true}, "eth"},
    {{.name = "ofi.tcp", .provider = "tcp", .local = true}, "ofi:tcp"},
};
#define PRIVATE_LINKS (sizeof(private_links) / sizeof(private_links[0]))

bool links_named(const char *name)
{
    for (size_t i = 0; i < PRIVATE_LINKS; i++)
        if (strcmp(name, private_links[i].link.name) == 0)
            return true;
    return false;
}

static int run_private(const struct bench *bench, const struct bench_options *options,
                       struct bench_report *report, const struct bench_link *link,
                       const struct private_server *server, struct cxe_connect_options *connect)
{
    struct bench_link mine = *link;
    struct cxe_connection *connection;
    int error = private_server_connect(server, connect, &connection);

    if (error)
        return error;
    connect->server = server->address;
    connect->server_key = server->public_key;
    mine.connect = connect;
    mine.server_pid = server->pid;
    if (bench->alone) {
        cxe_disconnect(connection);
        return bench->run(options, report, &mine, NULL);
    }
    error = bench->run(options, report, &mine, connection);
    cxe_disconnect(connection);
    return error;
}

static int measure_private(const struct bench *bench, const struct bench_options *options,
                           struct bench_report *report, unsigned index, uint64_t timeout_ns)
{
    const struct bench_link *link = &private_links[index].link;
    struct cxe_connect_options connect = {
        .transport = private_links[index].transport,
        .encryption = link->encrypted ? CXE_ENCRYPTION_DEFAULT : CXE_ENCRYPTION_OFF,
        .timeout_ns = timeout_ns,
    };
    const struct private_server_options settings = {
        .transport = connect.transport,
        .pool_bytes = bench->pool_bytes + bench->item_bytes * options->items,
        .cpu = options->server_cpu,
    };
    struct private_server server;
    int error = private_server_start(&settings, &server);

    if (!error)
        error = run_private(bench, options, report, link, &server, &connect);
    private_server_stop(&server);
    return error;
}

int links_measure_private(const struct bench *bench, const struct bench_options *options,
                          struct bench_report *report, const char *only, uint64_t timeout_ns)
{
    int error = 0;

    /* What these say is for other servers. */
    unsetenv("CXE_FAULT");
    unsetenv("CXE_KEY");
    unsetenv("CXE_ENCRYPTION");
    for (unsigned i = 0; i < PRIVATE_LINKS && !error; i++)
        if (!only || strcmp(only, private_links[i].link.name) == 0)
            error = measure_private(bench, options, report, i, timeout_ns);
    return error;
}

/* ---- over a server that runs already ---- */

static bool server_is_local(const char *text)
{
    struct address address;

    return address_parse(text, CXE_PORT_DEFAULT, &address) == 0 && address_is_loopback(&address);
}

int links_measure_server(const struct bench *bench, const struct bench_options *options,
                         struct bench_report *report, const struct cxe_connect_options *connect)
{
    const char *transport = connect->transport ? connect->transport : getenv("CXE_TRANSPORT");
    const char *server = connect->server ? connect->server : getenv("CXE_SERVER");
    const bool ofi = transport && strncmp(transport, "ofi", 3) == 0;
    struct cxe_connection_info info;
    struct cxe_connection *connection;
    struct bench_link link = {.local = server_is_local(server), .connect = connect};
    char name[64];
    int error = cxe_connect(connect, &connection);

    if (error)
        return bench_fail(error, "server %s: %s", server, cxe_last_error());
    error = cxe_connection_info(connection, &info);
    if (ofi)
        link.provider = transport[3] == ':' ? transport + 4 : "tcp";
    link.encrypted = !error && info.encrypted;
    snprintf(name, sizeof(name), "%s%s.%s", ofi ? "ofi." : "eth", ofi ? link.provider : "",
             link.encrypted ? "encrypted" : "plain");
    link.name = name;
    if (bench->alone) {
        cxe_disconnect(connection);
        return bench->run(options, report, &link, NULL);
    }
    if (!error)
        error = bench->run(options, report, &link, connection);
    cxe_disconnect(connection);
    return error;
}
