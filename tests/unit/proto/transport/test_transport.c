/* test_transport.c - the contract of transport.h, kept by every transport */
#include "transport.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fault.h"
#include "ofi.h"
#include "pair.h"

/* Each case runs once for each kind of transport. */
#define CONTRACT(name)                                                                           \
    static void contract_##name(struct pair *pair);                                              \
    ParameterizedTestParameters(transport, name)                                                 \
    {                                                                                            \
        static int kinds[] = {PAIR_ETH4,       PAIR_ETH6,       PAIR_LOOP,         PAIR_OFI_TCP, \
                              PAIR_FAULT_ETH4, PAIR_FAULT_LOOP, PAIR_FAULT_OFI_TCP};             \
        return cr_make_param_array(int, kinds, sizeof(kinds) / sizeof(kinds[0]));                \
    }                                                                                            \
    ParameterizedTest(int *kind, transport, name)                                                \
    {                                                                                            \
        struct pair pair;                                                                        \
        pair_open(&pair, (enum pair_kind) * kind);                                               \
        contract_##name(&pair);                                                                  \
        pair_close(&pair);                                                                       \
    }                                                                                            \
    static void contract_##name(struct pair *pair)

static uint8_t sent[FRAME_BYTES_MAX], got[FRAME_BYTES_MAX];

CONTRACT(frames_of_every_size_survive_both_ways)
{
    const size_t longest = pair->client->frame_bytes_max;
    const size_t sizes[] = {1,   2,   16,   63,   64,   65,   127,   128,   129,         511,
                            512, 513, 1231, 1232, 1472, 4096, 16384, 65000, longest - 1, longest};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_t bytes = sizes[i];
        struct address from;

        pair_fill(sent, bytes, bytes);
        memset(got, 0, sizeof(got));
        cr_assert_eq(endpoint_send(pair->client, NULL, sent, bytes), 0);
        cr_assert_eq(pair_receive(pair, pair->server, got, sizeof(got), &from), (int)bytes, "%s, %zu bytes",
                     pair_name(pair->kind), bytes);
        cr_assert_arr_eq(sent, got, bytes);
        memset(got, 0, sizeof(got));
        cr_assert_eq(endpoint_send(pair->server, &from, sent, bytes), 0);
        cr_assert_eq(pair_receive(pair, pair->client, got, sizeof(got), NULL), (int)bytes);
        cr_assert_arr_eq(sent, got, bytes);
    }
}

CONTRACT(boundaries_are_kept)
{
    for (size_t bytes = 1; bytes <= 12; bytes++)
        cr_assert_eq(endpoint_send(pair->client, NULL, sent, bytes * 37), 0);
    for (size_t bytes = 1; bytes <= 12; bytes++)
        cr_assert_eq(pair_receive(pair, pair->server, got, sizeof(got), NULL), (int)bytes * 37);
    cr_assert_eq(endpoint_receive(pair->server, got, sizeof(got), NULL), -EAGAIN);
}

CONTRACT(a_frame_longer_than_the_buffer_is_dropped_and_counted)
{
    cr_assert_eq(endpoint_send(pair->client, NULL, sent, 200), 0);
    cr_assert_eq(endpoint_send(pair->client, NULL, sent, 101), 0);
    cr_assert_eq(endpoint_send(pair->client, NULL, sent, 100), 0);
    cr_assert_eq(pair_receive(pair, pair->server, got, 100, NULL), 100);
    cr_assert_eq(pair->server->dropped_frames, 2);
    cr_assert_eq(pair->server->received_frames, 1);
}

CONTRACT(a_frame_that_no_path_takes_is_refused)
{
    static uint8_t huge[1 << 20];

    cr_assert_eq(endpoint_send(pair->client, NULL, huge, 65536), -EMSGSIZE);
    cr_assert_eq(endpoint_send(pair->client, NULL, huge, sizeof(huge)), -EMSGSIZE);
    cr_assert_eq(pair->client->sent_frames, 0);
}

/* Runs of one length, a shorter one at their end, longer ones between them; some sent, most posted. */
CONTRACT(posted_frames_arrive_once_in_order_and_whole)
{
    enum { FRAMES = 120 };
    static size_t lengths[FRAMES];
    uint64_t seed = 20261122;

    cr_log_info("seed %llu", (unsigned long long)seed);
    for (unsigned i = 0; i < FRAMES; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        lengths[i] = i > 0 && (seed >> 60) < 11 ? lengths[i - 1] : 1 + (seed >> 33) % 3000;
    }
    for (unsigned i = 0; i < FRAMES; i++) {
        pair_fill(sent, lengths[i], i);
        cr_assert_eq((i % 37 == 36 ? endpoint_send : endpoint_post)(pair->client, NULL, sent, lengths[i]), 0);
        if (i % 12 != 11) /* some transports have room for no more */
            continue;
        cr_assert_eq(endpoint_flush(pair->client), 0);
        for (unsigned j = i - 11; j <= i; j++) {
            pair_fill(sent, lengths[j], j);
            cr_assert_eq(pair_receive(pair, pair->server, got, sizeof(got), NULL), (int)lengths[j],
                         "%s, frame %u", pair_name(pair->kind), j);
            cr_assert_arr_eq(sent, got, lengths[j]);
        }
    }
    cr_assert_eq(endpoint_receive(pair->server, got, sizeof(got), NULL), -EAGAIN);
    cr_assert_eq(pair->client->sent_frames, FRAMES);
}

CONTRACT(posted_frames_reach_each_its_own_peer)
{
    struct endpoint *clients[2] = {pair->client, pair_connect(pair, &pair->server->local)};
    struct address from[2];

    for (unsigned i = 0; i < 2; i++) {
        cr_assert_eq(endpoint_send(clients[i], NULL, "here", 4), 0);
        cr_assert_eq(pair_receive(pair, pair->server, got, sizeof(got), &from[i]), 4);
    }
    for (uint8_t i = 0; i < 12; i++)
        cr_assert_eq(endpoint_post(pair->server, &from[i / 2 % 2], &i, 1), 0);
    cr_assert_eq(endpoint_flush(pair->server), 0);
    for (uint8_t i = 0; i < 12; i++) {
        cr_assert_eq(pair_receive(pair, clients[i / 2 % 2], got, sizeof(got), NULL), 1);
        cr_assert_eq(got[0], i);
    }
    endpoint_close(clients[1]);
}

CONTRACT(nothing_there_is_eagain)
{
    cr_assert_eq(endpoint_receive(pair->server, got, sizeof(got), NULL), -EAGAIN);
    cr_assert_eq(endpoint_receive(pair->client, got, sizeof(got), NULL), -EAGAIN);
}

CONTRACT(counters_count_what_was_carried)
{
    for (size_t bytes = 10; bytes <= 30; bytes += 10) {
        cr_assert_eq(endpoint_send(pair->client, NULL, sent, bytes), 0);
        cr_assert_eq(pair_receive(pair, pair->server, got, sizeof(got), NULL), (int)bytes);
    }
    cr_assert_eq(pair->client->sent_frames, 3);
    cr_assert_eq(pair->client->sent_bytes, 60);
    cr_assert_eq(pair->server->received_frames, 3);
    cr_assert_eq(pair->server->received_bytes, 60);
}

static bool readable(int fd, int timeout_ms)
{
    struct pollfd poller = {.fd = fd, .events = POLLIN};

    return poll(&poller, 1, timeout_ms) == 1;
}

/* What a loop does that never spins: a frame must not be slept through. */
CONTRACT(after_arm_a_frame_wakes_the_sleeper)
{
    struct endpoint *server = pair->server;

    if (pair->network) {
        cr_assert_lt(server->fd, 0);
        cr_assert_eq(endpoint_arm(server), 0);
        return;
    }
    for (int round = 0; round < 20; round++) {
        int tries = 0, received;

        cr_assert_eq(endpoint_send(pair->client, NULL, sent, 64), 0);
        while ((received = endpoint_receive(server, got, sizeof(got), NULL)) == -EAGAIN) {
            cr_assert_lt(tries++, 100, "%s: woken in vain too often", pair_name(pair->kind));
            if (endpoint_arm(server) == 0)
                cr_assert(readable(server->fd, 2000), "%s: slept through a frame", pair_name(pair->kind));
        }
        cr_assert_eq(received, 64);
    }
    while (endpoint_arm(server) != 0)
        cr_assert_eq(endpoint_receive(server, got, sizeof(got), NULL), -EAGAIN);
    cr_assert_not(readable(server->fd, 20), "%s: wakes without a reason", pair_name(pair->kind));
}

CONTRACT(the_sender_is_named_and_can_be_answered)
{
    struct endpoint *second = pair_connect(pair, &pair->server->local);
    struct address from[2], again;

    cr_assert_eq(endpoint_send(pair->client, NULL, "first", 5), 0);
    cr_assert_eq(pair_receive(pair, pair->server, got, sizeof(got), &from[0]), 5);
    cr_assert_eq(endpoint_send(second, NULL, "second", 6), 0);
    cr_assert_eq(pair_receive(pair, pair->server, got, sizeof(got), &from[1]), 6);
    cr_assert_not(address_equal(&from[0], &from[1]));
    cr_assert_eq(endpoint_send(pair->server, &from[1], "to second", 9), 0);
    cr_assert_eq(pair_receive(pair, second, got, sizeof(got), NULL), 9);
    cr_assert_eq(endpoint_send(pair->server, &from[0], "to first", 8), 0);
    cr_assert_eq(pair_receive(pair, pair->client, got, sizeof(got), NULL), 8);
    cr_assert_eq(endpoint_send(pair->client, NULL, "first", 5), 0);
    cr_assert_eq(pair_receive(pair, pair->server, got, sizeof(got), &again), 5);
    cr_assert(address_equal(&from[0], &again));
    endpoint_close(second);
}

CONTRACT(a_probe_arrives_like_any_frame)
{
    cr_assert_eq(endpoint_probe(pair->client, NULL, sent, 1400), 0);
    cr_assert_eq(pair_receive(pair, pair->server, got, sizeof(got), NULL), 1400);
}

/* Many frames under way: none may be mangled, though some may be lost (-EAGAIN) on the way out. */
CONTRACT(a_burst_arrives_whole)
{
    const int frames = 64;
    int handed_on = 0;

    for (int i = 0; i < frames; i++) {
        pair_fill(sent, 2000, (uint64_t)i);
        sent[0] = (uint8_t)i;
        handed_on += endpoint_send(pair->client, NULL, sent, 2000) == 0;
    }
    cr_assert_geq(handed_on, 8);
    for (int i = 0; i < handed_on; i++) {
        cr_assert_eq(pair_receive(pair, pair->server, got, sizeof(got), NULL), 2000);
        pair_fill(sent, 2000, got[0]);
        cr_assert_arr_eq(sent + 1, got + 1, 1999);
    }
}

/* The peer's host says that nobody is there; ofi says it at connecting. */
CONTRACT(a_server_that_is_gone_is_told_of_once)
{
    int first;

    endpoint_close(pair->server);
    pair->server = NULL;
    if (pair->kind == PAIR_OFI_TCP || pair->kind == PAIR_FAULT_OFI_TCP) {
        cr_assert_eq(pair_receive(pair, pair->client, got, sizeof(got), NULL), -ECONNRESET);
        cr_assert_eq(endpoint_send(pair->client, NULL, sent, 64), -ECONNRESET);
        return;
    }
    cr_assert_eq(endpoint_send(pair->client, NULL, sent, 64), 0);
    first = pair_receive(pair, pair->client, got, sizeof(got), NULL);
    cr_assert_eq(first, -ECONNREFUSED, "%s: %s", pair_name(pair->kind), strerror(-first));
    cr_assert_eq(endpoint_receive(pair->client, got, sizeof(got), NULL), -EAGAIN);
    cr_assert_eq(endpoint_send(pair->client, NULL, sent, 64), 0, "the endpoint goes on");
}

/* ---- the choice by name ---- */

Test(transport, names_that_mean_nothing_are_refused)
{
    static const char *const names[] = {"", "udp", "eth:", "ofi:", "ETH", "ofi tcp", "loop"};
    struct endpoint *endpoint;
    struct address address;

    cr_assert_eq(address_parse("127.0.0.1:0", 0, &address), 0);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        cr_expect_eq(transport_connect(names[i], &address, NULL, &endpoint), -EINVAL, "\"%s\"", names[i]);
        cr_expect_eq(transport_listen(names[i], &address, 0, 1, NULL, &endpoint), -EINVAL);
    }
}

Test(transport, a_bad_fault_spec_opens_nothing)
{
    struct endpoint *endpoint;
    struct address address;

    cr_assert_eq(address_parse("127.0.0.1:0", 0, &address), 0);
    cr_assert_eq(transport_connect("eth", &address, "drop=200%", &endpoint), -EINVAL);
    cr_assert_eq(transport_listen("eth", &address, 0, 1, "lose=1%", &endpoint), -EINVAL);
}

Test(transport, eth_is_the_default_and_faults_go_around_it)
{
    struct endpoint *server, *client;
    struct address address;

    cr_assert_eq(address_parse("127.0.0.1:0", 0, &address), 0);
    cr_assert_eq(transport_listen(NULL, &address, 0, 1, NULL, &server), 0);
    cr_assert_eq(transport_connect(NULL, &server->local, "drop=100%,seed=9", &client), 0);
    cr_assert_eq(fault_seed(client), 9);
    cr_assert(client->async_signal_safe);
    cr_assert_eq(endpoint_send(client, NULL, sent, 10), 0);
    cr_assert_not(readable(server->fd, 20));
    endpoint_close(client);
    endpoint_close(server);
}

Test(transport, endpoints_of_one_process_do_not_suffer_alike)
{
    struct endpoint *first, *second;
    struct address address;

    cr_assert_eq(address_parse("127.0.0.1:9", 0, &address), 0);
    cr_assert_eq(transport_connect("eth", &address, "drop=1%,seed=9", &first), 0);
    cr_assert_eq(transport_connect("eth", &address, "drop=1%,seed=9", &second), 0);
    cr_assert_neq(fault_seed(first), fault_seed(second));
    endpoint_close(first);
    endpoint_close(second);
}

Test(transport, ofi_has_one_shard)
{
    struct endpoint *endpoint;
    struct address address;

    cr_assert_eq(address_parse("127.0.0.1:0", 0, &address), 0);
    cr_assert_eq(transport_listen("ofi", &address, 1, 2, NULL, &endpoint), -EOPNOTSUPP);
}
