/* cmd_status.c - cxe status: what the server has and does */
#include "cli.h"

#include <stdio.h>

#include "limits.h"
#include "units.h"

static json_t *status_json(const struct cxe_server_info *server, const struct cxe_connection_info *connection)
{
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:i, s:i, s:o}", "incarnation",
        cli_json_u64(server->incarnation), "uptime_ns", cli_json_u64(server->uptime_ns), "cpu_ns",
        cli_json_u64(server->cpu_ns), "pool_bytes", cli_json_u64(server->pool_bytes), "pool_free_bytes",
        cli_json_u64(server->pool_free_bytes), "quota_bytes",
        server->quota_bytes == UINT64_MAX ? json_null() : cli_json_u64(server->quota_bytes), "used_bytes",
        cli_json_u64(server->used_bytes), "regions", cli_json_u64(server->regions), "sessions",
        cli_json_u64(server->sessions), "received_bytes", cli_json_u64(server->received_bytes), "sent_bytes",
        cli_json_u64(server->sent_bytes), "operations", cli_json_u64(server->operations), "encrypted",
        connection->encrypted, "tenant", (int)connection->tenant, "frame_bytes", (int)connection->frame_bytes,
        "rtt_ns", cli_json_u64(connection->rtt_ns));
}

/* Somebody without a quota is told so, not 16 EiB. */
static const char *format_quota(uint64_t bytes, char *text, size_t text_bytes)
{
    return bytes == UINT64_MAX ? "no limit" : units_format_bytes(bytes, text, text_bytes);
}

static void print_status(const struct cxe_server_info *server, const struct cxe_connection_info *connection)
{
    char a[32], b[32];

    printf("server      up %s, %s of CPU time, incarnation %016jx\n",
           units_format_duration(server->uptime_ns, a, sizeof(a)),
           units_format_duration(server->cpu_ns, b, sizeof(b)), (uintmax_t)server->incarnation);
    printf("pool        %s, ", units_format_bytes(server->pool_bytes, a, sizeof(a)));
    printf("%s free\n", units_format_bytes(server->pool_free_bytes, b, sizeof(b)));
    printf("tenant      %u: %s of %s in %ju regions\n", connection->tenant,
           units_format_bytes(server->used_bytes, a, sizeof(a)),
           format_quota(server->quota_bytes, b, sizeof(b)), (uintmax_t)server->regions);
    printf("traffic     %s in, ", units_format_bytes(server->received_bytes, a, sizeof(a)));
    printf("%s out, %ju operations, %ju sessions\n", units_format_bytes(server->sent_bytes, b, sizeof(b)),
           (uintmax_t)server->operations, (uintmax_t)server->sessions);
    printf("connection  %s, frames of %u bytes, round trip %s\n",
           connection->encrypted ? "encrypted" : "not encrypted", connection->frame_bytes,
           units_format_duration(connection->rtt_ns, a, sizeof(a)));
}

int cmd_status(int argc, char **argv)
{
    static const struct cli_syntax syntax = {
        .arguments = "",
        .doc = "Says what the server has and does.",
    };
    struct cxe_server_info server;
    struct cxe_connection_info info;
    struct cxe_connection *connection;
    int error, status;

    cli_parse(&syntax, argc, argv, NULL, NULL);
    status = cli_connect(&connection);
    if (status)
        return status;
    error = cxe_server_info(connection, &server);
    if (!error)
        error = cxe_connection_info(connection, &info);
    if (error)
        status = cli_fail(error, "asking the server");
    cli_close(connection, NULL);
    if (error)
        return status;
    if (cli_json())
        return cli_print_json(status_json(&server, &info));
    print_status(&server, &info);
    return cli_flush();
}
