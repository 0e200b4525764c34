/* worker_order.c - what one worker asks of another: to end a session
 *
 * A client that gives a session up may come back to another worker, which must not answer before that session
 * has ended. It keeps a few orders of its own and answers once the one in question is carried out; until then
 * the client repeats its INIT.
 */
#include "worker_internal.h"

#include <string.h>

#include "atomic.h"

/* What was carried out is kept so long for the client to ask again: were it given away at once, many clients
 * that come back together would take it from each other for ever. */
#define ORDER_KEEP_NS NS_PER_S

/* The client's order about that session, or NULL. */
static struct worker_order *find_order(struct worker *worker, uint32_t session, uint16_t tenant,
                                       const uint8_t client_public[NOISE_KEY_BYTES])
{
    for (unsigned i = 0; i < WORKER_ORDERS; i++) {
        struct worker_order *order = &worker->orders[i];

        if (load_acquire(&order->state) != ORDER_FREE && order->session == session &&
            order->tenant == tenant && memcmp(order->client_public, client_public, NOISE_KEY_BYTES) == 0)
            return order;
    }
    return NULL;
}

/* NULL: all are under way, or were just carried out. */
static struct worker_order *free_order(struct worker *worker, uint64_t now_ns)
{
    for (unsigned i = 0; i < WORKER_ORDERS; i++) {
        struct worker_order *order = &worker->orders[i];
        uint8_t state = load_acquire(&order->state);

        if (state == ORDER_FREE || (state == ORDER_DONE && now_ns >= order->given_ns + ORDER_KEEP_NS))
            return order;
    }
    return NULL;
}

bool worker_end_elsewhere(struct worker *worker, uint32_t session, uint16_t tenant,
                          const uint8_t client_public[NOISE_KEY_BYTES], uint64_t now_ns)
{
    struct worker_order *order = find_order(worker, session, tenant, client_public);

    if (order) {
        if (load_acquire(&order->state) != ORDER_DONE)
            return false;
        store_relaxed(&order->state, ORDER_FREE);
        return true;
    }
    order = free_order(worker, now_ns);
    if (!order)
        return false;
    order->mail.kind = MAIL_ORDER;
    order->session = session;
    order->tenant = tenant;
    order->given_ns = now_ns;
    memcpy(order->client_public, client_public, NOISE_KEY_BYTES);
    store_release(&order->state, ORDER_GIVEN);
    mailbox_post(worker->options.mailboxes, session % worker->options.count, &order->mail);
    return false;
}

void worker_end_named(struct worker *worker, uint32_t id, uint16_t tenant,
                      const uint8_t client_public[NOISE_KEY_BYTES], uint64_t now_ns)
{
    struct session *session = session_find(worker->sessions, id);

    if (session && session->tenant == tenant &&
        memcmp(session->client_public, client_public, NOISE_KEY_BYTES) == 0)
        worker_end_session(worker, session, false, now_ns);
}

void worker_obey(struct worker *worker, struct worker_order *order, uint64_t now_ns)
{
    worker_end_named(worker, order->session, order->tenant, order->client_public, now_ns);
    store_release(&order->state, ORDER_DONE); /* from here on it is its giver's again */
}
