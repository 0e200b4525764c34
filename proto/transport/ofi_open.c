/* ofi_open.c - makes an endpoint over libfabric: provider, objects, listener or connection; see ofi.h */
#include "ofi_private.h"

#include <netdb.h>
#include <rdma/fi_cm.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "log.h"

static int find_provider(struct ofi *ofi, const char *provider, const struct address *address, uint64_t flags)
{
    char node[INET6_ADDRSTRLEN], service[8];
    struct fi_info *hints;
    socklen_t bytes = address->sa.sa_family == AF_INET ? sizeof(address->in) : sizeof(address->in6);
    int error;

    if (strstr(provider, "shm")) {
        log_error("ofi: provider \"%s\" is not allowed: it installs signal handlers of its own", provider);
        return -EPERM;
    }
    ofi->library = ofi_library();
    if (!ofi->library)
        return -ENOSYS;
    if (getnameinfo(&address->sa, bytes, node, sizeof(node), service, sizeof(service),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return -EAFNOSUPPORT;
    hints = ofi->library->dupinfo(NULL);
    if (!hints)
        return -ENOMEM;
    hints->caps = FI_MSG;
    hints->ep_attr->type = FI_EP_MSG;
    hints->domain_attr->threading = FI_THREAD_DOMAIN; /* one thread owns it all */
    hints->domain_attr->mr_mode = FI_MR_LOCAL;
    hints->rx_attr->iov_limit = 2;                    /* head and rest */
    hints->fabric_attr->prov_name = strdup(provider); /* freed with the hints */
    error = ofi->library->getinfo(FI_VERSION(1, 17), node, service, flags, hints, &ofi->info);
    ofi->library->freeinfo(hints);
    if (error) {
        ofi->info = NULL;
        log_error("ofi: provider \"%s\" has no message endpoint (FI_EP_MSG) for %s; \"tcp\" is one that does",
                  provider, node);
        return -ENODEV;
    }
    return 0;
}

/* Where tcp has a list of descriptors to sleep on, it polls them. With a single one it keeps them in an epoll
 * set, which costs it a good microsecond for each message, but is better for the many connections of a
 * server. */
static int open_queue(struct ofi *ofi)
{
    struct fi_cq_attr attr = {
        .size = (size_t)ofi->connection_count * OFI_BUFFERS, /* an overrun would be fatal */
        .format = FI_CQ_FORMAT_MSG,
        .wait_obj = FI_WAIT_FD,
    };

    ofi->sleep.lists = ofi->connection_count == 1 && strcmp(ofi->info->fabric_attr->prov_name, "tcp") == 0;
    if (ofi->sleep.lists)
        attr.wait_obj = FI_WAIT_POLLFD;
    return fi_cq_open(ofi->domain, &attr, &ofi->cq, NULL);
}

static int open_objects(struct ofi *ofi)
{
    struct fi_eq_attr eq = {.wait_obj = FI_WAIT_FD};
    int error = ofi->library->fabric(ofi->info->fabric_attr, &ofi->fabric, NULL);

    if (!error)
        error = fi_eq_open(ofi->fabric, &eq, &ofi->eq, NULL);
    if (!error)
        error = fi_domain(ofi->fabric, ofi->info, &ofi->domain, NULL);
    if (!error)
        error = open_queue(ofi);
    return ofi_errno(error);
}

static int open_ofi(const char *provider, const struct address *address, uint64_t flags, unsigned connections,
                    struct ofi **ofi_out)
{
    struct ofi *ofi = calloc(1, sizeof(*ofi));
    int error;

    if (!ofi)
        return -ENOMEM;
    ofi->endpoint.ops = &ofi_ops;
    ofi->endpoint.fd = -1;
    ofi->endpoint.frame_bytes_max = FRAME_BYTES_MAX;
    ofi->ready_last = &ofi->ready;
    ofi->connection_count = connections;
    ofi->connections = calloc(connections, sizeof(*ofi->connections));
    error = ofi->connections ? find_provider(ofi, provider, address, flags) : -ENOMEM;
    if (!error)
        error = open_objects(ofi);
    if (!error)
        error = ofi_sleep_open(ofi);
    if (error) {
        endpoint_close(&ofi->endpoint);
        return error;
    }
    if (ofi->info->ep_attr->max_msg_size < FRAME_BYTES_MAX)
        ofi->endpoint.frame_bytes_max = (uint32_t)ofi->info->ep_attr->max_msg_size;
    *ofi_out = ofi;
    return 0;
}

/* Waits until the one connection stands. */
static int await_connected(struct ofi *ofi)
{
    uint64_t until_ns = clock_now_ns() + OFI_CONNECT_NS;
    struct fi_eq_cm_entry entry;
    struct fi_eq_err_entry failure = {0};
    uint32_t event;

    while (clock_now_ns() < until_ns) {
        ssize_t got = fi_eq_sread(ofi->eq, &event, &entry, sizeof(entry), 100, 0);

        if (got == -FI_EAVAIL)
            return fi_eq_readerr(ofi->eq, &failure, 0) > 0 && failure.err ? ofi_errno(-failure.err) : -EIO;
        if (got >= 0)
            return event == FI_CONNECTED ? 0 : -ECONNREFUSED;
        if (got != -FI_EAGAIN && got != -FI_ETIMEDOUT && got != -FI_EINTR)
            return ofi_errno(got);
    }
    return -ETIMEDOUT;
}

int ofi_connect(const char *provider, const struct address *server, struct endpoint **endpoint_out)
{
    size_t local_bytes = sizeof(struct address);
    struct ofi *ofi;
    int error = open_ofi(provider, server, 0, 1, &ofi);

    if (error)
        return error;
    error = ofi_open_connection(ofi, ofi->connections, ofi->info);
    if (!error)
        error = ofi_errno(fi_connect(ofi->connections->ep, ofi->info->dest_addr, NULL, 0));
    if (!error)
        error = await_connected(ofi);
    if (!error)
        error = ofi_errno(fi_getname(&ofi->connections->ep->fid, &ofi->endpoint.local, &local_bytes));
    if (error) {
        endpoint_close(&ofi->endpoint);
        return error;
    }
    *endpoint_out = &ofi->endpoint;
    return 0;
}

int ofi_listen(const char *provider, const struct address *local, struct endpoint **endpoint_out)
{
    size_t local_bytes = sizeof(struct address);
    struct ofi *ofi;
    int error = open_ofi(provider, local, FI_SOURCE, OFI_CONNECTIONS_MAX, &ofi);

    if (error)
        return error;
    error = fi_passive_ep(ofi->fabric, ofi->info, &ofi->pep, NULL);
    if (!error)
        error = fi_pep_bind(ofi->pep, &ofi->eq->fid, 0);
    if (!error)
        error = fi_listen(ofi->pep);
    if (!error)
        error = fi_getname(&ofi->pep->fid, &ofi->endpoint.local, &local_bytes);
    if (error) {
        endpoint_close(&ofi->endpoint);
        return ofi_errno(error);
    }
    *endpoint_out = &ofi->endpoint;
    return 0;
}
