/* test_eth.c - what is peculiar to UDP: shards, ports, paths, signals */
#include "eth.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wire.h"

#define SHARDS_MOST 5

static void open_shards(const char *host, unsigned count, struct endpoint *shards[])
{
    struct address address;

    cr_assert_eq(address_parse(host, 0, &address), 0);
    for (unsigned i = 0; i < count; i++) {
        int error = eth_listen(&address, i, count, &shards[i]);

        if (error == -EADDRNOTAVAIL)
            cr_skip_test("this host has no %s", host);
        cr_assert_eq(error, 0, "shard %u: %s", i, strerror(-error));
        address = shards[i]->local;
    }
}

static void close_shards(unsigned count, struct endpoint *shards[])
{
    for (unsigned i = 0; i < count; i++)
        endpoint_close(shards[i]);
}

static void send_record(struct endpoint *client, uint8_t type, uint32_t receiver)
{
    struct record_header header = {
        .magic = WIRE_MAGIC, .version = WIRE_VERSION, .type = type, .receiver = le32_of(receiver)};

    cr_assert_eq(endpoint_send(client, NULL, &header, sizeof(header)), 0);
}

/* The number of the shard that gets the next frame. */
static unsigned who_receives(unsigned count, struct endpoint *shards[])
{
    struct pollfd pollers[SHARDS_MOST];
    uint8_t buffer[64];

    for (unsigned i = 0; i < count; i++)
        pollers[i] = (struct pollfd){.fd = shards[i]->fd, .events = POLLIN};
    cr_assert_eq(poll(pollers, count, 2000), 1);
    for (unsigned i = 0; i < count; i++)
        if (pollers[i].revents) {
            cr_assert_gt(endpoint_receive(shards[i], buffer, sizeof(buffer), NULL), 0);
            return i;
        }
    return count;
}

static void expect_steering(const char *host, unsigned count)
{
    static const uint32_t sessions[] = {0, 1, 2, 3, 0x100, 0x101, 0x10000, 0x1000003, 0xfffffffe, 0xffffffff};
    struct endpoint *shards[SHARDS_MOST], *client;

    open_shards(host, count, shards);
    for (size_t i = 0; i < sizeof(sessions) / sizeof(sessions[0]); i++) {
        unsigned got;

        /* A new client each time: its port must not matter. */
        cr_assert_eq(eth_connect(&shards[0]->local, &client), 0);
        send_record(client, RECORD_DATA, sessions[i]);
        got = who_receives(count, shards);
        cr_expect_eq(got, sessions[i] % count, "session %#x of %u shards went to %u", sessions[i], count,
                     got);
        endpoint_close(client);
    }
    close_shards(count, shards);
}

Test(eth, a_session_reaches_its_shard)
{
    expect_steering("127.0.0.1", 2);
    expect_steering("127.0.0.1", 3);
    expect_steering("127.0.0.1", SHARDS_MOST);
}

Test(eth, a_session_reaches_its_shard_over_ipv6)
{
    expect_steering("[::1]", 2);
}

Test(eth, one_client_shakes_hands_with_one_shard)
{
    static const uint8_t types[] = {RECORD_HELLO, RECORD_INIT, RECORD_HELLO, RECORD_INIT, RECORD_INIT};
    struct endpoint *shards[4], *client;
    unsigned shards_seen = 0;

    open_shards("127.0.0.1", 4, shards);
    for (unsigned i = 0; i < 64; i++) {
        unsigned first;

        cr_assert_eq(eth_connect(&shards[0]->local, &client), 0);
        send_record(client, types[0], 0);
        first = who_receives(4, shards);
        shards_seen |= 1u << first;
        for (size_t t = 1; t < sizeof(types); t++) {
            send_record(client, types[t], (uint32_t)t);
            cr_assert_eq(who_receives(4, shards), first);
        }
        endpoint_close(client);
    }
    cr_assert_eq(shards_seen, 0xf, "64 clients spread over all shards");
    close_shards(4, shards);
}

Test(eth, a_stump_of_a_record_reaches_some_shard)
{
    static const uint8_t stump[] = {WIRE_MAGIC, WIRE_VERSION, RECORD_DATA, 0, 1, 2};
    struct endpoint *shards[2], *client;

    open_shards("127.0.0.1", 2, shards);
    cr_assert_eq(eth_connect(&shards[0]->local, &client), 0);
    for (size_t bytes = 1; bytes <= sizeof(stump); bytes++) {
        cr_assert_eq(endpoint_send(client, NULL, stump, bytes), 0);
        cr_assert_lt(who_receives(2, shards), 2);
    }
    endpoint_close(client);
    close_shards(2, shards);
}

/* Else a daemon started twice would silently take half of the clients of the first. */
Test(eth, a_port_belongs_to_one_server)
{
    struct endpoint *shards[2], *second;

    open_shards("127.0.0.1", 2, shards);
    cr_assert_eq(eth_listen(&shards[0]->local, 0, 2, &second), -EADDRINUSE);
    cr_assert_eq(eth_listen(&shards[0]->local, 0, 1, &second), -EADDRINUSE);
    close_shards(2, shards);
    open_shards("127.0.0.1", 1, shards);
    cr_assert_eq(eth_listen(&shards[0]->local, 0, 1, &second), -EADDRINUSE);
    cr_assert_eq(eth_listen(&shards[0]->local, 1, 2, &second), -EADDRINUSE, "it did not ask for company");
    close_shards(1, shards);
}

Test(eth, an_address_that_is_not_ours)
{
    struct endpoint *endpoint;
    struct address address;

    cr_assert_eq(address_parse("192.0.2.1:0", 0, &address), 0);
    cr_assert_eq(eth_listen(&address, 0, 1, &endpoint), -EADDRNOTAVAIL);
    memset(&address, 0, sizeof(address));
    cr_assert_eq(eth_listen(&address, 0, 1, &endpoint), -EAFNOSUPPORT);
    cr_assert_eq(eth_connect(&address, &endpoint), -EAFNOSUPPORT);
}

Test(eth, an_empty_datagram_is_dropped)
{
    struct endpoint *server, *client;
    uint8_t buffer[64];

    open_shards("127.0.0.1", 1, &server);
    cr_assert_eq(eth_connect(&server->local, &client), 0);
    cr_assert_eq(send(client->fd, "", 0, 0), 0);
    cr_assert_eq(endpoint_send(client, NULL, "x", 1), 0);
    cr_assert(poll(&(struct pollfd){.fd = server->fd, .events = POLLIN}, 1, 2000) == 1);
    cr_assert_eq(endpoint_receive(server, buffer, sizeof(buffer), NULL), 1);
    cr_assert_eq(server->dropped_frames, 1);
    endpoint_close(client);
    endpoint_close(server);
}

Test(eth, errno_is_left_alone)
{
    static uint8_t huge[65536];
    struct endpoint *server, *client;
    uint8_t buffer[64];

    open_shards("127.0.0.1", 1, &server);
    cr_assert_eq(eth_connect(&server->local, &client), 0);
    cr_assert(client->async_signal_safe && server->async_signal_safe);
    errno = 12345;
    cr_assert_eq(endpoint_receive(client, buffer, sizeof(buffer), NULL), -EAGAIN);
    cr_assert_eq(endpoint_send(client, NULL, huge, sizeof(huge)), -EMSGSIZE);
    cr_assert_eq(endpoint_probe(client, NULL, huge, sizeof(huge)), -EMSGSIZE);
    cr_assert_eq(errno, 12345);
    endpoint_close(client);
    endpoint_close(server);
}

Test(eth, a_connected_client_hears_its_server_only)
{
    struct endpoint *server, *stranger, *client;
    uint8_t buffer[64];

    open_shards("127.0.0.1", 1, &server);
    open_shards("127.0.0.1", 1, &stranger);
    cr_assert_eq(eth_connect(&server->local, &client), 0);
    cr_assert_eq(endpoint_send(stranger, &client->local, "spoof", 5), 0);
    cr_assert_eq(endpoint_send(server, &client->local, "truth", 5), 0);
    cr_assert(poll(&(struct pollfd){.fd = client->fd, .events = POLLIN}, 1, 2000) == 1);
    cr_assert_eq(endpoint_receive(client, buffer, sizeof(buffer), NULL), 5);
    cr_assert_arr_eq(buffer, "truth", 5);
    cr_assert_eq(endpoint_receive(client, buffer, sizeof(buffer), NULL), -EAGAIN);
    endpoint_close(client);
    endpoint_close(stranger);
    endpoint_close(server);
}

Test(eth, out_of_descriptors_is_an_error_and_leaks_nothing)
{
    struct rlimit limit;
    struct endpoint *endpoint;
    struct address address;
    int next = open("/dev/null", O_RDONLY);

    cr_assert_eq(address_parse("127.0.0.1:0", 0, &address), 0);
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = (rlim_t)next + 1;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    cr_assert_eq(eth_listen(&address, 0, 1, &endpoint), -EMFILE);
    close(next);
    for (int i = 0; i < 100; i++) {
        cr_assert_eq(eth_listen(&address, 0, 1, &endpoint), 0);
        endpoint_close(endpoint);
    }
}

Test(eth, loopback_carries_the_longest_frame)
{
    struct endpoint *server, *client;

    open_shards("127.0.0.1", 1, &server);
    cr_assert_eq(server->frame_bytes_max, FRAME_BYTES_MAX);
    cr_assert_eq(eth_connect(&server->local, &client), 0);
    cr_assert_eq(client->frame_bytes_max, FRAME_BYTES_MAX);
    endpoint_close(client);
    endpoint_close(server);
}

/* A network namespace whose loopback has the MTU of an Ethernet. */
static void enter_small_network(unsigned mtu)
{
    char command[128];

    if (unshare(CLONE_NEWNET) < 0)
        cr_skip_test("network namespaces are not permitted here");
    snprintf(command, sizeof(command), "ip link set lo mtu %u && ip link set lo up", mtu);
    if (system(command) != 0)
        cr_skip_test("ip (Debian package iproute2) is not installed");
}

Test(eth, a_path_of_1500_is_seen_and_a_longer_frame_still_arrives)
{
    static uint8_t frame[4096], got[4096];
    struct endpoint *server, *client;
    struct address from;

    enter_small_network(1500);
    open_shards("127.0.0.1", 1, &server);
    cr_assert_eq(eth_connect(&server->local, &client), 0);
    cr_assert_eq(client->frame_bytes_max, FRAME_BYTES_1500);
    memset(frame, 0x5a, sizeof(frame));
    cr_assert_eq(endpoint_send(client, NULL, frame, sizeof(frame)), 0);
    cr_assert(poll(&(struct pollfd){.fd = server->fd, .events = POLLIN}, 1, 2000) == 1);
    cr_assert_eq(endpoint_receive(server, got, sizeof(got), &from), sizeof(frame));
    cr_assert_arr_eq(frame, got, sizeof(frame));
    endpoint_close(client);
    endpoint_close(server);
}

static void expect_probes(const char *host, size_t whole)
{
    static uint8_t frame[4096], got[4096];
    struct endpoint *server, *client;

    open_shards(host, 1, &server);
    cr_assert_eq(eth_connect(&server->local, &client), 0);
    cr_assert_eq(client->frame_bytes_max, whole);
    cr_assert_eq(endpoint_probe(client, NULL, frame, whole + 1), -EMSGSIZE, "%s", host);
    cr_assert_eq(endpoint_probe(client, NULL, frame, whole), 0);
    cr_assert(poll(&(struct pollfd){.fd = server->fd, .events = POLLIN}, 1, 2000) == 1);
    cr_assert_eq(endpoint_receive(server, got, sizeof(got), NULL), (int)whole);
    cr_assert_eq(endpoint_send(client, NULL, frame, whole + 1), 0, "probing leaves sending as it was");
    cr_assert(poll(&(struct pollfd){.fd = server->fd, .events = POLLIN}, 1, 2000) == 1);
    endpoint_close(client);
    endpoint_close(server);
}

Test(eth, a_probe_is_never_fragmented)
{
    enter_small_network(1500);
    expect_probes("127.0.0.1", 1500 - 28);
    expect_probes("[::1]", 1500 - 48);
}

static void post_run(struct endpoint *client, unsigned first, unsigned count, size_t frame_bytes)
{
    static uint8_t frame[4096];

    for (unsigned i = first; i < first + count; i++) {
        memset(frame, (int)i, frame_bytes);
        cr_assert_eq(endpoint_post(client, NULL, frame, frame_bytes), 0);
    }
}

static void expect_run(struct endpoint *server, unsigned first, unsigned count, size_t frame_bytes)
{
    static uint8_t got[4096];

    for (unsigned i = first; i < first + count; i++) {
        cr_assert(poll(&(struct pollfd){.fd = server->fd, .events = POLLIN}, 1, 10000) == 1);
        cr_assert_eq(endpoint_receive(server, got, sizeof(got), NULL), (int)frame_bytes, "frame %u", i);
        cr_assert_eq(got[0], (uint8_t)i);
        cr_assert_eq(got[frame_bytes - 1], (uint8_t)i);
    }
}

Test(eth, what_was_posted_stays_until_it_is_flushed_and_then_goes_as_one)
{
    static uint8_t got[65536];
    struct address address;
    struct endpoint *client;
    const int on = 1;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    socklen_t bytes = sizeof(address.in);

    if (setsockopt(fd, SOL_UDP, UDP_GRO, &on, sizeof(on)) < 0)
        cr_skip_test("this kernel has no UDP_GRO");
    cr_assert_eq(address_parse("127.0.0.1:0", 0, &address), 0);
    cr_assert_eq(bind(fd, &address.sa, sizeof(address.in)), 0);
    cr_assert_eq(getsockname(fd, &address.sa, &bytes), 0);
    cr_assert_eq(eth_connect(&address, &client), 0);
    post_run(client, 0, 5, 1000);
    cr_assert_eq(recv(fd, got, sizeof(got), 0), -1);
    cr_assert_eq(endpoint_flush(client), 0);
    cr_assert(poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 10000) == 1);
    cr_assert_eq(recv(fd, got, sizeof(got), 0), 5000, "this socket takes what came together as one");
    endpoint_close(client);
    close(fd);
}

/* The kernel refuses to cut a burst into frames longer than the path; each alone, IP brings through. */
Test(eth, a_burst_that_is_refused_goes_frame_by_frame)
{
    struct endpoint *server, *client;

    enter_small_network(1000);
    open_shards("127.0.0.1", 1, &server);
    cr_assert_eq(eth_connect(&server->local, &client), 0);
    for (unsigned round = 0; round < 3; round++) {
        post_run(client, 0, 10, 1300);
        cr_assert_eq(endpoint_flush(client), 0);
        expect_run(server, 0, 10, 1300);
        post_run(client, 20, 10, 500);
        cr_assert_eq(endpoint_flush(client), 0);
        expect_run(server, 20, 10, 500);
    }
    cr_assert_eq(client->sent_frames, 60);
    endpoint_close(client);
    endpoint_close(server);
}

Test(eth, what_follows_a_burst_is_not_cut)
{
    struct endpoint *server, *client;

    enter_small_network(1500);
    open_shards("127.0.0.1", 1, &server);
    cr_assert_eq(eth_connect(&server->local, &client), 0);
    post_run(client, 0, 3, 100);
    post_run(client, 3, 1, 1472);
    post_run(client, 4, 3, 100);
    post_run(client, 7, 1, 3000); /* too long to wait; IP fragments it */
    post_run(client, 8, 2, 100);
    cr_assert_eq(endpoint_send(client, NULL, "the next", 8), 0);
    expect_run(server, 0, 3, 100);
    expect_run(server, 3, 1, 1472);
    expect_run(server, 4, 3, 100);
    expect_run(server, 7, 1, 3000);
    expect_run(server, 8, 2, 100);
    endpoint_close(client);
    endpoint_close(server);
}

Test(eth, a_path_below_the_smallest_frame_is_left_to_ip)
{
    static uint8_t frame[FRAME_BYTES_MIN], got[FRAME_BYTES_MIN];
    struct endpoint *server, *client;

    enter_small_network(576);
    open_shards("127.0.0.1", 1, &server);
    cr_assert_eq(eth_connect(&server->local, &client), 0);
    cr_assert_eq(client->frame_bytes_max, FRAME_BYTES_MIN);
    cr_assert_eq(endpoint_send(client, NULL, frame, sizeof(frame)), 0);
    cr_assert(poll(&(struct pollfd){.fd = server->fd, .events = POLLIN}, 1, 2000) == 1);
    cr_assert_eq(endpoint_receive(server, got, sizeof(got), NULL), FRAME_BYTES_MIN);
    endpoint_close(client);
    endpoint_close(server);
}

/* A link that goes away is loss, not an error: it may come back. */
Test(eth, a_dead_link_is_loss)
{
    struct endpoint *server, *client;
    uint8_t buffer[64];

    enter_small_network(1500);
    open_shards("127.0.0.1", 1, &server);
    cr_assert_eq(eth_connect(&server->local, &client), 0);
    cr_assert_eq(system("ip link set lo down"), 0);
    for (int i = 0; i < 3; i++) {
        int error = endpoint_send(client, NULL, "x", 1);

        cr_assert(error == 0 || error == -EAGAIN, "%s", strerror(-error));
        cr_assert_eq(endpoint_receive(client, buffer, sizeof(buffer), NULL), -EAGAIN);
    }
    cr_assert_eq(system("ip link set lo up"), 0);
    cr_assert_eq(endpoint_send(client, NULL, "back", 4), 0);
    cr_assert(poll(&(struct pollfd){.fd = server->fd, .events = POLLIN}, 1, 2000) == 1);
    cr_assert_eq(endpoint_receive(server, buffer, sizeof(buffer), NULL), 4);
    endpoint_close(client);
    endpoint_close(server);
}

/* The next datagram's sender, as text; what the client sends must arrive. */
static void expect_from(struct endpoint *server, struct endpoint *client, const char *host)
{
    char text[64], expected[64];
    struct address from;
    uint8_t buffer[64];

    cr_assert_eq(endpoint_send(client, NULL, "x", 1), 0);
    cr_assert(poll(&(struct pollfd){.fd = server->fd, .events = POLLIN}, 1, 10000) == 1);
    cr_assert_eq(endpoint_receive(server, buffer, sizeof(buffer), &from), 1);
    snprintf(expected, sizeof(expected), "%s:%u", host, ntohs(client->local.in.sin_port));
    cr_assert_str_eq(address_format(&from, text, sizeof(text)), expected);
}

Test(eth, a_client_whose_address_is_gone_takes_the_one_it_has_now)
{
    struct endpoint *server, *client;
    struct address before;
    int fd;

    enter_small_network(1500);
    cr_assert_eq(system("ip address add 10.9.0.1/32 dev lo && ip address add 10.9.0.2/32 dev lo &&"
                        "ip route replace local 127.0.0.1 dev lo table local src 10.9.0.1"),
                 0);
    open_shards("127.0.0.1", 1, &server);
    cr_assert_eq(eth_connect(&server->local, &client), 0);
    fd = client->fd;
    expect_from(server, client, "10.9.0.1");
    before = client->local;
    cr_assert_eq(endpoint_reconnect(client), 0);
    cr_assert(address_equal(&client->local, &before), "nothing had changed");
    cr_assert_eq(system("ip address delete 10.9.0.1/32 dev lo"), 0);
    cr_assert_eq(endpoint_send(client, NULL, "x", 1), -ENETUNREACH);
    cr_assert_eq(endpoint_reconnect(client), -ENETUNREACH, "there is no way yet");
    cr_assert_eq(system("ip route replace local 127.0.0.1 dev lo table local src 10.9.0.2"), 0);
    cr_assert_eq(endpoint_reconnect(client), 0);
    expect_from(server, client, "10.9.0.2");
    cr_assert_eq(client->fd, fd, "who sleeps on it need not know");
    endpoint_close(client);
    endpoint_close(server);
}
