/* floor_ofi.c - libfabric's own ping-pong: a message endpoint at each end, both polling; see floor.h */
#include "floor_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "atomic.h"
#include "clock.h"
#include "ofi_library.h"

#define FLOOR_STOP 0x73746f70u /* instead of FLOOR_MAGIC: the round is over */
#define CONNECT_MS 5000

/* One end. Two buffers: one is posted for receiving, one is for sending. */
struct ofi_end {
    const struct ofi_library *library;
    struct fi_info *info;
    struct fid_fabric *fabric;
    struct fid_domain *domain;
    struct fid_eq *eq;
    struct fid_cq *cq;
    struct fid_pep *pep; /* the answering end's */
    struct fid_ep *ep;
    struct fid_mr *mr; /* where the provider wants it */
    bool sending;      /* the send buffer is the provider's */
    bool received;
    uint8_t receive_buffer[FLOOR_BYTES_MAX];
    uint8_t send_buffer[FLOOR_BYTES_MAX];
};

/* ---- messages ---- */

static void *descriptor_of(const struct ofi_end *end)
{
    return end->mr ? fi_mr_desc(end->mr) : NULL;
}

static int post_receive(struct ofi_end *end)
{
    end->received = false;
    return (int)fi_recv(end->ep, end->receive_buffer, FLOOR_BYTES_MAX, descriptor_of(end), FI_ADDR_UNSPEC,
                        end);
}

/* 0, also when nothing was there. */
static int poll_completions(struct ofi_end *end)
{
    struct fi_cq_msg_entry entry;
    const ssize_t count = fi_cq_read(end->cq, &entry, 1);

    if (count == 1 && entry.flags & FI_RECV)
        end->received = true;
    else if (count == 1 && entry.flags & FI_SEND)
        end->sending = false;
    return count < 0 && count != -FI_EAGAIN ? -ECONNRESET : 0;
}

static int await(struct ofi_end *end, const bool *flag, bool wanted)
{
    uint64_t idle = 0, until_ns = 0;

    while (*flag != wanted) {
        int error = poll_completions(end);

        if (error)
            return error;
        if (++idle % 1024 != 0)
            continue;
        if (until_ns == 0)
            until_ns = clock_now_ns() + FLOOR_TIMEOUT_NS;
        else if (clock_now_ns() > until_ns)
            return -ETIMEDOUT;
    }
    return 0;
}

static int send_bytes(struct ofi_end *end, size_t bytes)
{
    ssize_t error;

    if (bytes <= end->info->tx_attr->inject_size)
        return (int)fi_inject(end->ep, end->send_buffer, bytes, FI_ADDR_UNSPEC);
    error = fi_send(end->ep, end->send_buffer, bytes, descriptor_of(end), FI_ADDR_UNSPEC, end);
    if (!error)
        end->sending = true;
    return (int)error;
}

static int send_request(struct ofi_end *end, uint32_t magic, const struct floor_frames *frames)
{
    const struct floor_request request = {magic, (uint32_t)frames->answer_bytes};
    int error = await(end, &end->sending, false);

    if (error)
        return error;
    memcpy(end->send_buffer, &request, sizeof(request));
    return send_bytes(end, frames->request_bytes);
}

/* ---- opening and closing ---- */

static void close_end(struct ofi_end *end)
{
    if (end->ep)
        fi_close(&end->ep->fid);
    if (end->pep)
        fi_close(&end->pep->fid);
    if (end->mr)
        fi_close(&end->mr->fid);
    if (end->cq)
        fi_close(&end->cq->fid);
    if (end->domain)
        fi_close(&end->domain->fid);
    if (end->eq)
        fi_close(&end->eq->fid);
    if (end->fabric)
        fi_close(&end->fabric->fid);
    if (end->info)
        end->library->freeinfo(end->info);
    free(end);
}

static int find_provider(struct ofi_end *end, const char *provider, uint16_t port, uint64_t flags)
{
    struct fi_info *hints;
    char service[8];
    int error;

    end->library = ofi_library();
    hints = end->library ? end->library->dupinfo(NULL) : NULL;
    if (!hints)
        return -ENOSYS;
    hints->caps = FI_MSG;
    hints->ep_attr->type = FI_EP_MSG;
    hints->domain_attr->threading = FI_THREAD_DOMAIN;
    hints->domain_attr->mr_mode = FI_MR_LOCAL;
    hints->fabric_attr->prov_name = strdup(provider); /* freed with the hints */
    snprintf(service, sizeof(service), "%u", port);
    error = end->library->getinfo(FI_VERSION(1, 17), "127.0.0.1", service, flags, hints, &end->info);
    end->library->freeinfo(hints);
    return error;
}

/* Everything but the endpoint itself. No wait objects but the event queue's: we poll. */
static int open_end(const char *provider, uint16_t port, uint64_t flags, struct ofi_end **end_out)
{
    struct ofi_end *end = calloc(1, sizeof(*end));
    struct fi_eq_attr eq = {.wait_obj = FI_WAIT_UNSPEC};
    struct fi_cq_attr cq = {.size = 64, .format = FI_CQ_FORMAT_MSG, .wait_obj = FI_WAIT_NONE};
    int error;

    if (!end)
        return -ENOMEM;
    error = find_provider(end, provider, port, flags);
    if (!error)
        error = end->library->fabric(end->info->fabric_attr, &end->fabric, NULL);
    if (!error)
        error = fi_eq_open(end->fabric, &eq, &end->eq, NULL);
    if (!error)
        error = fi_domain(end->fabric, end->info, &end->domain, NULL);
    if (!error)
        error = fi_cq_open(end->domain, &cq, &end->cq, NULL);
    if (!error && end->info->domain_attr->mr_mode & FI_MR_LOCAL)
        error = fi_mr_reg(end->domain, end->receive_buffer, 2 * (size_t)FLOOR_BYTES_MAX, FI_SEND | FI_RECV, 0,
                          0, 0, &end->mr, NULL);
    if (error) {
        close_end(end);
        return error;
    }
    *end_out = end;
    return 0;
}

static int open_endpoint(struct ofi_end *end, struct fi_info *info)
{
    int error = fi_endpoint(end->domain, info, &end->ep, NULL);

    if (!error)
        error = fi_ep_bind(end->ep, &end->eq->fid, 0);
    if (!error)
        error = fi_ep_bind(end->ep, &end->cq->fid, FI_TRANSMIT | FI_RECV);
    if (!error)
        error = fi_enable(end->ep);
    return error ? error : post_receive(end);
}

static int await_event(struct ofi_end *end, uint32_t wanted, struct fi_eq_cm_entry *entry)
{
    uint32_t event = 0;
    const ssize_t got = fi_eq_sread(end->eq, &event, entry, sizeof(*entry), CONNECT_MS, 0);

    return got > 0 && event == wanted ? 0 : -ECONNREFUSED;
}

/* ---- the answering process ---- */

struct ofi_service {
    const char *provider;
    int control_fd; /* out: the port; in: one byte begins a round */
};

static int listen_for_one(struct ofi_end *end, int control_fd)
{
    struct fi_eq_cm_entry entry = {0};
    struct sockaddr_in local = {0};
    size_t local_bytes = sizeof(local);
    int error = fi_passive_ep(end->fabric, end->info, &end->pep, NULL);

    if (!error)
        error = fi_pep_bind(end->pep, &end->eq->fid, 0);
    if (!error)
        error = fi_listen(end->pep);
    if (!error)
        error = fi_getname(&end->pep->fid, &local, &local_bytes);
    if (!error && write(control_fd, &local.sin_port, sizeof(local.sin_port)) != sizeof(local.sin_port))
        error = -EPIPE;
    if (!error)
        error = await_event(end, FI_CONNREQ, &entry);
    if (!error)
        error = open_endpoint(end, entry.info);
    if (!error)
        error = fi_accept(end->ep, NULL, 0);
    return error ? error : await_event(end, FI_CONNECTED, &entry);
}

/* Answers until it is told to stop, or something is wrong: then there is nothing to answer any more. */
static int serve_round(struct ofi_end *end)
{
    for (;;) {
        struct floor_request request;
        int error = 0;

        while (!error && !end->received) {
            error = poll_completions(end);
            cpu_relax();
        }
        memcpy(&request, end->receive_buffer, sizeof(request));
        if (!error)
            error = post_receive(end);
        if (error || request.magic == FLOOR_STOP)
            return error;
        error = await(end, &end->sending, false);
        if (!error && request.magic == FLOOR_MAGIC && request.answer_bytes <= FLOOR_BYTES_MAX)
            error = send_bytes(end, request.answer_bytes);
        if (error)
            return error;
    }
}

static _Noreturn void ofi_serve(void *context)
{
    const struct ofi_service *service = context;
    struct ofi_end *end;
    char byte;
    int error = open_end(service->provider, 0, FI_SOURCE, &end);

    if (!error)
        error = listen_for_one(end, service->control_fd);
    while (!error && read(service->control_fd, &byte, 1) == 1)
        error = serve_round(end);
    _exit(error ? 1 : 0);
}

/* ---- this end ---- */

struct ofi_echo {
    struct floor_echo echo;
    struct ofi_end *end;
    int control_fd;
};

static int ofi_exchange(struct floor_echo *echo, const struct floor_frames *frames)
{
    struct ofi_end *end = ((struct ofi_echo *)echo)->end; /* its first member */
    int error = send_request(end, FLOOR_MAGIC, frames);

    if (!error)
        error = await(end, &end->received, true);
    return error ? error : post_receive(end);
}

static int ofi_begin(struct floor_echo *echo)
{
    return write(((struct ofi_echo *)echo)->control_fd, "", 1) == 1 ? 0 : -EPIPE;
}

static int ofi_end_round(struct floor_echo *echo)
{
    const struct floor_frames stop = {.request_bytes = sizeof(struct floor_request)};

    return send_request(((struct ofi_echo *)echo)->end, FLOOR_STOP, &stop);
}

static void ofi_close(struct floor_echo *echo)
{
    struct ofi_echo *ofi = (struct ofi_echo *)echo;

    if (ofi->end)
        close_end(ofi->end);
    if (ofi->control_fd >= 0)
        close(ofi->control_fd);
    free(ofi);
}

static int connect_end(struct ofi_echo *ofi, const char *provider)
{
    struct fi_eq_cm_entry entry;
    in_port_t port;
    int error;

    if (read(ofi->control_fd, &port, sizeof(port)) != sizeof(port))
        return -ECONNREFUSED;
    error = open_end(provider, ntohs(port), 0, &ofi->end);
    if (!error)
        error = open_endpoint(ofi->end, ofi->end->info);
    if (!error)
        error = fi_connect(ofi->end->ep, ofi->end->info->dest_addr, NULL, 0);
    return error ? error : await_event(ofi->end, FI_CONNECTED, &entry);
}

int floor_ofi_open(const char *provider, int server_cpu, struct floor_echo **echo_out)
{
    struct ofi_echo *ofi = calloc(1, sizeof(*ofi));
    int control[2], error;

    if (!ofi || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, control) < 0) {
        free(ofi);
        return bench_fail(-ENOMEM, "no memory for the floor");
    }
    ofi->control_fd = control[0];
    ofi->echo = (struct floor_echo){
        .exchange = ofi_exchange, .begin = ofi_begin, .end = ofi_end_round, .close = ofi_close};
    error =
        floor_fork(server_cpu, ofi_serve,
                   &(struct ofi_service){.provider = provider, .control_fd = control[1]}, &ofi->echo.child);
    close(control[1]); /* the child has it */
    if (!error) {
        error = connect_end(ofi, provider);
        if (error)
            bench_fail(error, "the floor cannot use libfabric's provider '%s'", provider);
    }
    if (error) {
        floor_close(&ofi->echo);
        return error;
    }
    *echo_out = &ofi->echo;
    return 0;
}
