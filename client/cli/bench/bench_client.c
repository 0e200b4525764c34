/* bench_client.c - further clients, for what is measured among several; see bench.h */
#include <string.h>

#include "bench.h"
#include "connection.h"

int bench_client_open(const struct cxe_connection *connection, const char *region_name,
                      struct bench_client *client_out)
{
    struct bench_client client;
    int error = connection_reopen(connection, &client.connection);

    if (error)
        return bench_fail_call(error, "connecting another client");
    error = cxe_region_open(client.connection, region_name, &client.region);
    if (error) {
        bench_fail_call(error, "opening the region from another client");
        cxe_disconnect(client.connection);
        return error;
    }
    *client_out = client;
    return 0;
}

void bench_client_close(struct bench_client *client)
{
    if (!client->connection)
        return;
    cxe_region_close(client->region);
    cxe_disconnect(client->connection);
    memset(client, 0, sizeof(*client));
}
