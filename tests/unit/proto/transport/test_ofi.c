/* test_ofi.c - what is peculiar to libfabric: providers, connections, signal handlers */
#include "ofi.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "pair.h"

static uint8_t frame[FRAME_BYTES_MAX], got[FRAME_BYTES_MAX];

static struct address loopback(void)
{
    struct address address;

    cr_assert_eq(address_parse("127.0.0.1", 0, &address), 0);
    return address;
}

static void expect_provider(const char *provider, int error)
{
    struct address address = loopback();
    struct endpoint *endpoint;

    cr_expect_eq(ofi_listen(provider, &address, &endpoint), error, "%s", provider);
    address.in.sin_port = htons(9); /* never reached */
    cr_expect_eq(ofi_connect(provider, &address, &endpoint), error, "%s", provider);
}

Test(ofi, providers_that_will_not_do)
{
    expect_provider("shm", -EPERM);
    expect_provider("shm;ofi_rxm", -EPERM);
    expect_provider("no-such-provider", -ENODEV);
    expect_provider("tcp;ofi_rxm", -ENODEV);
    expect_provider("udp", -ENODEV);
}

/* libfabric's dependencies install handlers when they are loaded. */
Test(ofi, signal_handlers_stay_as_they_were)
{
    struct sigaction before[_NSIG], after;
    struct pair pair;

    for (int number = 1; number < _NSIG; number++)
        sigaction(number, NULL, &before[number]);
    pair_open(&pair, PAIR_OFI_TCP);
    pair_close(&pair);
    for (int number = 1; number < _NSIG; number++)
        if (sigaction(number, NULL, &after) == 0)
            cr_expect_eq(after.sa_handler, before[number].sa_handler, "signal %d", number);
}

Test(ofi, nobody_listens)
{
    struct address address = loopback();
    struct endpoint *endpoint;
    socklen_t bytes = sizeof(address.in);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    /* Bound, but it does not listen: nobody else gets the port meanwhile. */
    cr_assert_eq(bind(fd, &address.sa, bytes), 0);
    cr_assert_eq(getsockname(fd, &address.sa, &bytes), 0);
    cr_assert_eq(ofi_connect("tcp", &address, &endpoint), -ECONNREFUSED);
    close(fd);
}

Test(ofi, a_port_belongs_to_one_server)
{
    struct address address = loopback();
    struct endpoint *first, *second;

    cr_assert_eq(ofi_listen("tcp", &address, &first), 0);
    cr_assert_eq(ofi_listen("tcp", &first->local, &second), -EADDRINUSE);
    endpoint_close(first);
}

Test(ofi, is_not_for_signal_handlers)
{
    struct pair pair;

    pair_open(&pair, PAIR_OFI_TCP);
    cr_assert_not(pair.client->async_signal_safe);
    cr_assert_not(pair.server->async_signal_safe);
    pair_close(&pair);
}

Test(ofi, a_client_comes_back_as_another_peer)
{
    struct address first, second;
    struct pair pair;

    pair_open(&pair, PAIR_OFI_TCP);
    cr_assert_eq(endpoint_send(pair.client, NULL, frame, 10), 0);
    cr_assert_eq(pair_receive(&pair, pair.server, got, sizeof(got), &first), 10);
    endpoint_close(pair.client);
    pair.client = NULL;
    pair.client = pair_connect(&pair, &pair.server->local);
    cr_assert_eq(endpoint_send(pair.client, NULL, frame, 11), 0);
    cr_assert_eq(pair_receive(&pair, pair.server, got, sizeof(got), &second), 11);
    cr_assert_not(address_equal(&first, &second));
    cr_assert_eq(endpoint_send(pair.server, &first, frame, 10), -ECONNRESET, "the old peer is gone");
    cr_assert_eq(endpoint_send(pair.server, &second, frame, 12), 0);
    cr_assert_eq(pair_receive(&pair, pair.client, got, sizeof(got), NULL), 12);
    pair_close(&pair);
}

/* Connections that end give their places back. */
Test(ofi, more_clients_than_places_one_after_the_other)
{
    struct pair pair;

    pair_open(&pair, PAIR_OFI_TCP);
    for (int i = 0; i < OFI_CONNECTIONS_MAX + 40; i++) {
        endpoint_close(pair.client);
        pair.client = NULL;
        pair.client = pair_connect(&pair, &pair.server->local);
        cr_assert_eq(endpoint_send(pair.client, NULL, frame, 300), 0);
        cr_assert_eq(pair_receive(&pair, pair.server, got, sizeof(got), NULL), 300);
    }
    pair_close(&pair);
}

/* A peer that takes nothing costs its own buffers, and nobody else's. */
Test(ofi, a_client_that_never_reads_stalls_itself_only)
{
    struct endpoint *idle;
    struct address from_idle, from;
    struct pair pair;
    int handed_on = 0;

    pair_open(&pair, PAIR_OFI_TCP);
    idle = pair_connect(&pair, &pair.server->local);
    cr_assert_eq(endpoint_send(idle, NULL, frame, 1), 0);
    cr_assert_eq(pair_receive(&pair, pair.server, got, sizeof(got), &from_idle), 1);
    while (endpoint_send(pair.server, &from_idle, frame, sizeof(frame)) == 0)
        cr_assert_lt(handed_on++, 10000, "it must stop somewhere");
    cr_assert_eq(endpoint_send(pair.server, &from_idle, frame, sizeof(frame)), -EAGAIN);
    cr_assert_eq(endpoint_send(pair.client, NULL, frame, 500), 0);
    cr_assert_eq(pair_receive(&pair, pair.server, got, sizeof(got), &from), 500);
    cr_assert_eq(endpoint_send(pair.server, &from, frame, 40000), 0);
    cr_assert_eq(pair_receive(&pair, pair.client, got, sizeof(got), NULL), 40000);
    endpoint_close(idle);
    pair_close(&pair);
}

/* A loop that serves the endpoint as it should comes to rest. */
static void expect_rest(struct endpoint *server)
{
    struct pollfd poller = {.fd = server->fd, .events = POLLIN};
    uint64_t until_ns = clock_now_ns() + 2 * NS_PER_S;

    while (clock_now_ns() < until_ns) {
        while (endpoint_receive(server, got, sizeof(got), NULL) != -EAGAIN)
            ;
        if (endpoint_arm(server) == 0 && poll(&poller, 1, 50) == 0)
            return;
    }
    cr_assert_fail("it wakes without a reason");
}

Test(ofi, the_server_rests_whoever_comes_and_goes)
{
    int stranger = socket(AF_INET, SOCK_STREAM, 0);
    struct pair pair;

    pair_open(&pair, PAIR_OFI_TCP);
    expect_rest(pair.server);
    cr_assert_eq(connect(stranger, &pair.server->local.sa, sizeof(struct sockaddr_in)), 0);
    expect_rest(pair.server);
    cr_assert_eq(send(stranger, "nonsense", 8, MSG_NOSIGNAL), 8);
    expect_rest(pair.server);
    close(stranger);
    expect_rest(pair.server);
    cr_assert_eq(endpoint_send(pair.client, NULL, frame, 500), 0);
    cr_assert_eq(pair_receive(&pair, pair.server, got, sizeof(got), NULL), 500);
    expect_rest(pair.server);
    endpoint_close(pair.client);
    pair.client = NULL;
    expect_rest(pair.server);
    pair_close(&pair);
}

/* The client sleeps with frames that the provider could not hand on yet: room wakes it, too. */
Test(ofi, a_sleeping_client_is_woken_by_room)
{
    struct pollfd poller = {.events = POLLIN};
    uint64_t until_ns = clock_now_ns() + 20 * NS_PER_S;
    int handed_on = 0, came = 0;
    struct pair pair;

    pair_open(&pair, PAIR_OFI_TCP);
    poller.fd = pair.client->fd;
    while (endpoint_send(pair.client, NULL, frame, sizeof(frame)) == 0)
        cr_assert_lt(handed_on++, 10000, "it must stop somewhere");
    expect_rest(pair.client);
    while (poll(&poller, 1, 0) == 0) {
        cr_assert_lt(clock_now_ns(), until_ns, "it sleeps on after %d frames of %d", came, handed_on);
        came += endpoint_receive(pair.server, got, sizeof(got), NULL) > 0;
    }
    while (came < handed_on) {
        cr_assert_gt(pair_receive(&pair, pair.server, got, sizeof(got), NULL), 0);
        came++;
    }
    expect_rest(pair.client);
    pair_close(&pair);
}

/* Bytes that are no connection request, from somebody who found the port. */
Test(ofi, a_stranger_on_the_port_disturbs_nobody)
{
    static const char http[] = "GET / HTTP/1.0\r\n\r\n";
    struct pair pair;
    int strangers[8];

    pair_open(&pair, PAIR_OFI_TCP);
    for (int i = 0; i < 8; i++) {
        strangers[i] = socket(AF_INET, SOCK_STREAM, 0);
        cr_assert_eq(connect(strangers[i], &pair.server->local.sa, sizeof(struct sockaddr_in)), 0);
        if (i % 2)
            cr_assert_gt(send(strangers[i], http, sizeof(http), MSG_NOSIGNAL), 0);
    }
    for (int i = 0; i < 8; i++) {
        if (i % 4 < 2)
            close(strangers[i]);
        cr_assert_eq(endpoint_send(pair.client, NULL, frame, 400), 0);
        cr_assert_eq(pair_receive(&pair, pair.server, got, sizeof(got), NULL), 400);
    }
    for (int i = 0; i < 8; i++)
        if (i % 4 >= 2)
            close(strangers[i]);
    pair_close(&pair);
}
