/* test_worker_order.c - clients that come back to another worker: each is let in once its old session has
 * ended
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "atomic.h"
#include "worker_internal.h"

#define CLIENTS 1000

static struct mailboxes *mailboxes;
static struct worker *worker; /* number 0 of 2; no thread, no sockets */

static void setup(void)
{
    cr_assert_eq(mailboxes_open(2, &mailboxes), 0);
    worker = calloc(1, sizeof(*worker));
    worker->options.count = 2;
    worker->options.mailboxes = mailboxes;
}

static void teardown(void)
{
    free(worker);
    mailboxes_close(mailboxes);
}

TestSuite(worker_order, .init = setup, .fini = teardown, .timeout = 60);

/* The other worker does what it was asked to. */
static unsigned obey(void)
{
    struct mail *chain = mailbox_take(mailboxes, 1), *mail;
    unsigned orders = 0;

    while ((mail = mailbox_next(&chain))) {
        store_release(&((struct worker_order *)mail)->state, ORDER_DONE);
        orders++;
    }
    return orders;
}

static bool ask(uint32_t session, uint8_t client, uint64_t now_ns)
{
    uint8_t key[NOISE_KEY_BYTES];

    memset(key, client, sizeof(key));
    return worker_end_elsewhere(worker, session, 1, key, now_ns);
}

Test(worker_order, a_client_is_let_in_when_its_session_has_ended_and_only_once)
{
    cr_expect_not(ask(7, 1, 0));
    cr_expect_not(ask(7, 1, 0), "it has not ended yet");
    cr_expect_eq(obey(), 1, "asked once");
    cr_expect_not(ask(7, 2, 0), "that was another client's session");
    cr_expect(ask(7, 1, 0));
    cr_expect_not(ask(7, 1, 0), "by now the name may be another session's");
    cr_expect_eq(obey(), 2);
}

/* All of them lost their sessions at once, and ask again in the same order. */
Test(worker_order, many_that_come_back_together_are_all_let_in)
{
    static bool in[CLIENTS];
    unsigned left = CLIENTS, rounds;

    for (rounds = 0; left > 0 && rounds < 100; rounds++) {
        for (unsigned i = 0; i < CLIENTS; i++) {
            if (in[i] || !ask(2 * i + 1, (uint8_t)i, rounds * 50 * NS_PER_MS))
                continue;
            in[i] = true;
            left--;
        }
        obey();
    }
    cr_expect_eq(left, 0, "%u are still outside", left);
    cr_expect_leq(rounds, 20);
}

Test(worker_order, what_nobody_asks_for_again_is_forgotten)
{
    for (unsigned i = 0; i < WORKER_ORDERS; i++)
        ask(2 * i + 1, 1, 0);
    obey();
    ask(9999, 2, NS_PER_MS);
    cr_expect_eq(obey(), 0, "all are taken");
    ask(9999, 2, 10 * NS_PER_S);
    cr_expect_eq(obey(), 1);
}
