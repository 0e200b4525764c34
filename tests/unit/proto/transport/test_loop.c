/* test_loop.c - the network in the process: its clock and its queues */
#include "loop.h"

#include <criterion/criterion.h>
#include <errno.h>

static struct loop_network *network;
static struct endpoint *server, *client;
static uint8_t buffer[64];

static void setup(void)
{
    cr_assert_eq(loop_network_open(1000, &network), 0);
    cr_assert_eq(loop_listen(network, &server), 0);
    cr_assert_eq(loop_connect(network, &server->local, &client), 0);
}

static void teardown(void)
{
    endpoint_close(client);
    endpoint_close(server);
    loop_network_close(network);
}

TestSuite(loop, .init = setup, .fini = teardown);

Test(loop, nothing_arrives_before_its_time)
{
    cr_assert_eq(loop_next_ns(network), UINT64_MAX);
    cr_assert_eq(endpoint_send(client, NULL, "x", 1), 0);
    cr_assert_eq(loop_next_ns(network), loop_now_ns(network) + 1000);
    loop_advance_ns(network, 999);
    cr_assert_eq(endpoint_receive(server, buffer, sizeof(buffer), NULL), -EAGAIN);
    cr_assert_eq(endpoint_arm(server), 0);
    loop_advance_ns(network, 1);
    cr_assert_eq(endpoint_arm(server), -EAGAIN);
    cr_assert_eq(endpoint_receive(server, buffer, sizeof(buffer), NULL), 1);
    cr_assert_eq(loop_next_ns(network), UINT64_MAX);
}

Test(loop, time_moves_only_by_advance)
{
    uint64_t before = loop_now_ns(network);

    for (int i = 0; i < 1000; i++)
        endpoint_receive(server, buffer, sizeof(buffer), NULL);
    cr_assert_eq(loop_now_ns(network), before);
}

Test(loop, a_full_inbox_refuses)
{
    for (int i = 0; i < LOOP_INBOX_FRAMES; i++)
        cr_assert_eq(endpoint_send(client, NULL, "x", 1), 0);
    cr_assert_eq(endpoint_send(client, NULL, "x", 1), -EAGAIN);
    loop_advance_ns(network, 1000);
    cr_assert_eq(endpoint_receive(server, buffer, sizeof(buffer), NULL), 1);
    cr_assert_eq(endpoint_send(client, NULL, "x", 1), 0);
}

Test(loop, a_server_that_answers_nobody_is_not_told)
{
    struct address gone = client->local;

    gone.peer.id = 999;
    cr_assert_eq(endpoint_send(server, &gone, "x", 1), 0);
    cr_assert_eq(endpoint_receive(server, buffer, sizeof(buffer), NULL), -EAGAIN);
}

Test(loop, closing_drops_what_was_under_way)
{
    cr_assert_eq(endpoint_send(client, NULL, "x", 1), 0);
    endpoint_close(server);
    cr_assert_eq(loop_next_ns(network), UINT64_MAX);
    cr_assert_eq(loop_listen(network, &server), 0);
    cr_assert_not(address_equal(&server->local, &client->local));
}
