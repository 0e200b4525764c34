/* pair.c - see pair.h */
#include "pair.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "eth.h"
#include "fault.h"
#include "loop.h"
#include "ofi.h"

#define LATENCY_NS (10 * NS_PER_US)
#define PATIENCE   (5 * NS_PER_S)

static const struct {
    const char *name;
    enum pair_kind inner;
    const char *host;
} kinds[PAIR_KINDS] = {
    [PAIR_ETH4] = {"eth4", PAIR_ETH4, "127.0.0.1"},
    [PAIR_ETH6] = {"eth6", PAIR_ETH6, "::1"},
    [PAIR_LOOP] = {"loop", PAIR_LOOP, NULL},
    [PAIR_OFI_TCP] = {"ofi:tcp", PAIR_OFI_TCP, "127.0.0.1"},
    [PAIR_FAULT_ETH4] = {"fault over eth4", PAIR_ETH4, "127.0.0.1"},
    [PAIR_FAULT_LOOP] = {"fault over loop", PAIR_LOOP, NULL},
    [PAIR_FAULT_OFI_TCP] = {"fault over ofi:tcp", PAIR_OFI_TCP, "127.0.0.1"},
};

const char *pair_name(enum pair_kind kind)
{
    return kinds[kind].name;
}

static struct endpoint *wrap(struct pair *pair, struct endpoint *inner)
{
    const struct fault_spec spec = {.seed = 1};
    struct endpoint *outer;

    if (kinds[pair->kind].inner == pair->kind)
        return inner;
    cr_assert_eq(fault_wrap(inner, &spec, pair->network ? loop_now_ns : NULL, pair->network, &outer), 0);
    return outer;
}

struct endpoint *pair_listen(struct pair *pair)
{
    struct endpoint *endpoint = NULL;
    struct address any;
    int error;

    if (kinds[pair->kind].inner == PAIR_LOOP) {
        cr_assert_eq(loop_listen(pair->network, &endpoint), 0);
        return wrap(pair, endpoint);
    }
    cr_assert_eq(address_parse(kinds[pair->kind].host, 0, &any), 0);
    if (kinds[pair->kind].inner == PAIR_OFI_TCP)
        error = ofi_listen("tcp", &any, &endpoint);
    else
        error = eth_listen(&any, 0, 1, &endpoint);
    if (error == -EADDRNOTAVAIL || error == -EAFNOSUPPORT || error == -ENOSYS)
        cr_skip_test("this host has no %s", pair_name(pair->kind));
    cr_assert_eq(error, 0, "%s: listen: %s", pair_name(pair->kind), strerror(-error));
    return wrap(pair, endpoint);
}

struct connecting {
    const struct address *server;
    struct endpoint *endpoint;
    int error;
};

static void *connect_ofi(void *argument)
{
    struct connecting *connecting = argument;

    connecting->error = ofi_connect("tcp", connecting->server, &connecting->endpoint);
    return NULL;
}

/* The client blocks until the server accepts, which it does when its owner lets it work. */
static int connect_meanwhile(struct pair *pair, const struct address *server, struct endpoint **endpoint_out)
{
    struct connecting connecting = {.server = server};
    pthread_t thread;

    cr_assert_eq(pthread_create(&thread, NULL, connect_ofi, &connecting), 0);
    while (pthread_tryjoin_np(thread, NULL) != 0) {
        endpoint_arm(pair->server);
        usleep(100);
    }
    *endpoint_out = connecting.endpoint;
    return connecting.error;
}

struct endpoint *pair_connect(struct pair *pair, const struct address *server)
{
    struct endpoint *endpoint = NULL;
    int error;

    switch (kinds[pair->kind].inner) {
    case PAIR_LOOP:
        error = loop_connect(pair->network, server, &endpoint);
        break;
    case PAIR_OFI_TCP:
        error = connect_meanwhile(pair, server, &endpoint);
        break;
    default:
        error = eth_connect(server, &endpoint);
    }
    cr_assert_eq(error, 0, "%s: connect: %s", pair_name(pair->kind), strerror(-error));
    return wrap(pair, endpoint);
}

void pair_open(struct pair *pair, enum pair_kind kind)
{
    *pair = (struct pair){.kind = kind};
    if (kinds[kind].inner == PAIR_LOOP)
        cr_assert_eq(loop_network_open(LATENCY_NS, &pair->network), 0);
    pair->server = pair_listen(pair);
    pair->client = pair_connect(pair, &pair->server->local);
}

void pair_close(struct pair *pair)
{
    endpoint_close(pair->client);
    endpoint_close(pair->server);
    loop_network_close(pair->network);
}

/* Lets the other end work: it may have something to push out. */
static void serve(struct endpoint *endpoint)
{
    if (endpoint)
        endpoint_arm(endpoint);
}

int pair_receive(struct pair *pair, struct endpoint *at, void *buffer, size_t buffer_bytes,
                 struct address *from_out)
{
    uint64_t until_ns = clock_now_ns() + PATIENCE;
    int received;

    while ((received = endpoint_receive(at, buffer, buffer_bytes, from_out)) == -EAGAIN &&
           clock_now_ns() < until_ns) {
        serve(at == pair->server ? pair->client : pair->server);
        if (pair->network)
            loop_advance_ns(pair->network, LATENCY_NS);
        else if (endpoint_arm(at) == 0)
            poll(&(struct pollfd){.fd = at->fd, .events = POLLIN}, 1, 1);
    }
    return received;
}

void pair_fill(uint8_t *bytes, size_t count, uint64_t seed)
{
    for (size_t i = 0; i < count; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        bytes[i] = (uint8_t)(seed >> 56);
    }
}
