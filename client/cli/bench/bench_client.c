/* bench_client.c - further clients, for what is measured among several; see bench.h */
#include <string.h>

#include "bench.h"
#include "connection.h"

static int open_region(struct cxe_connection *connection, const char *region_name,
                       struct bench_client *client_out)
{
    struct bench_client client = {.connection = connection};
    int error = cxe_region_open(connection, region_name, &client.region);

    if (error) {
        bench_fail_call(error, "opening the region from another client");
        cxe_disconnect(connection);
        return error;
    }
    *client_out = client;
    return 0;
}

int bench_client_open(const struct cxe_connection *connection, const char *region_name,
                      struct bench_client *client_out)
{
    struct cxe_connection *other;
    int error = connection_reopen(connection, &other);

    return error ? bench_fail_call(error, "connecting another client")
                 : open_region(other, region_name, client_out);
}

int bench_client_connect(const struct cxe_connect_options *connect, const char *region_name,
                         struct bench_client *client_out)
{
    struct cxe_connection *other;
    int error = cxe_connect(connect, &other);

    return error ? bench_fail_call(error, "connecting another client")
                 : open_region(other, region_name, client_out);
}

void bench_client_close(struct bench_client *client)
{
    if (!client->connection)
        return;
    cxe_region_close(client->region);
    cxe_disconnect(client->connection);
    memset(client, 0, sizeof(*client));
}
