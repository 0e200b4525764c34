/* loop.c - see loop.h */
#include "loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

struct parcel {
    struct parcel *next;
    uint64_t due_ns;
    struct address from;
    size_t frame_bytes;
    uint8_t frame[];
};

struct loop {
    struct endpoint endpoint;
    struct loop_network *network;
    struct loop *next;
    struct address server;
    bool connected;
    bool refused;                 /* the last send found nobody; not yet reported */
    struct parcel *first, **last; /* under way to here, the earliest first */
    unsigned parcel_count;
};

struct loop_network {
    uint64_t now_ns;
    uint64_t latency_ns;
    uint64_t next_id;
    struct loop *endpoints;
};

static struct loop *loop_of(struct endpoint *endpoint)
{
    return (struct loop *)endpoint; /* its first member */
}

static struct loop *find(struct loop_network *network, const struct address *address)
{
    for (struct loop *at = network->endpoints; at; at = at->next)
        if (address_equal(&at->endpoint.local, address))
            return at;
    return NULL;
}

static int enqueue(struct loop *to, const struct address *from, const void *frame, size_t frame_bytes)
{
    struct parcel *parcel;

    if (to->parcel_count == LOOP_INBOX_FRAMES)
        return -EAGAIN;
    parcel = malloc(sizeof(*parcel) + frame_bytes);
    if (!parcel)
        return -EAGAIN;
    parcel->next = NULL;
    parcel->due_ns = to->network->now_ns + to->network->latency_ns;
    parcel->from = *from;
    parcel->frame_bytes = frame_bytes;
    memcpy(parcel->frame, frame, frame_bytes);
    *to->last = parcel;
    to->last = &parcel->next;
    to->parcel_count++;
    return 0;
}

static void dequeue(struct loop *loop)
{
    struct parcel *parcel = loop->first;

    loop->first = parcel->next;
    if (!loop->first)
        loop->last = &loop->first;
    loop->parcel_count--;
    free(parcel);
}

static int take_refusal(struct loop *loop)
{
    bool refused = loop->refused;

    loop->refused = false;
    return refused ? -ECONNREFUSED : 0;
}

static int loop_send(struct endpoint *endpoint, const struct address *to, const void *frame,
                     size_t frame_bytes)
{
    struct loop *loop = loop_of(endpoint), *peer;
    int error = take_refusal(loop);

    if (error)
        return error;
    if (frame_bytes == 0 || frame_bytes > FRAME_BYTES_MAX)
        return -EMSGSIZE;
    peer = find(loop->network, loop->connected ? &loop->server : to);
    loop->refused = loop->connected && !peer;
    error = peer ? enqueue(peer, &endpoint->local, frame, frame_bytes) : 0;
    if (error)
        return error;
    endpoint->sent_frames++;
    endpoint->sent_bytes += frame_bytes;
    return 0;
}

static int loop_receive(struct endpoint *endpoint, void *buffer, size_t buffer_bytes,
                        struct address *from_out)
{
    struct loop *loop = loop_of(endpoint);
    int error = take_refusal(loop);

    if (error)
        return error;
    while (loop->first && loop->first->due_ns <= loop->network->now_ns) {
        struct parcel *parcel = loop->first;
        size_t frame_bytes = parcel->frame_bytes;

        if (frame_bytes <= buffer_bytes) {
            memcpy(buffer, parcel->frame, frame_bytes);
            if (from_out)
                *from_out = parcel->from;
        }
        dequeue(loop);
        if (frame_bytes > buffer_bytes) {
            endpoint->dropped_frames++;
            continue;
        }
        endpoint->received_frames++;
        endpoint->received_bytes += frame_bytes;
        return (int)frame_bytes;
    }
    return -EAGAIN;
}

static int loop_arm(struct endpoint *endpoint)
{
    struct loop *loop = loop_of(endpoint);
    bool waiting = loop->first && loop->first->due_ns <= loop->network->now_ns;

    return waiting || loop->refused ? -EAGAIN : 0;
}

static void loop_close(struct endpoint *endpoint)
{
    struct loop *loop = loop_of(endpoint), **link = &loop->network->endpoints;

    while (*link != loop)
        link = &(*link)->next;
    *link = loop->next;
    while (loop->first)
        dequeue(loop);
    free(loop);
}

static const struct endpoint_ops loop_ops = {
    .send = loop_send,
    .probe = loop_send, /* everything goes in one piece */
    .receive = loop_receive,
    .arm = loop_arm,
    .close = loop_close,
};

static int make_endpoint(struct loop_network *network, struct loop **loop_out)
{
    struct loop *loop = calloc(1, sizeof(*loop));

    if (!loop)
        return -ENOMEM;
    loop->endpoint.ops = &loop_ops;
    loop->endpoint.fd = -1;
    loop->endpoint.frame_bytes_max = FRAME_BYTES_MAX;
    loop->endpoint.local.peer.family = AF_UNSPEC;
    loop->endpoint.local.peer.id = ++network->next_id;
    loop->network = network;
    loop->last = &loop->first;
    loop->next = network->endpoints;
    network->endpoints = loop;
    *loop_out = loop;
    return 0;
}

int loop_listen(struct loop_network *network, struct endpoint **endpoint_out)
{
    struct loop *loop;
    int error = make_endpoint(network, &loop);

    if (!error)
        *endpoint_out = &loop->endpoint;
    return error;
}

int loop_connect(struct loop_network *network, const struct address *server, struct endpoint **endpoint_out)
{
    struct loop *loop;
    int error = make_endpoint(network, &loop);

    if (error)
        return error;
    loop->connected = true;
    loop->server = *server;
    *endpoint_out = &loop->endpoint;
    return 0;
}

int loop_network_open(uint64_t latency_ns, struct loop_network **network_out)
{
    struct loop_network *network = calloc(1, sizeof(*network));

    if (!network)
        return -ENOMEM;
    network->now_ns = 1;
    network->latency_ns = latency_ns;
    *network_out = network;
    return 0;
}

void loop_network_close(struct loop_network *network)
{
    if (!network)
        return;
    CHECK(!network->endpoints);
    free(network);
}

uint64_t loop_now_ns(void *network)
{
    return ((const struct loop_network *)network)->now_ns;
}

void loop_advance_ns(struct loop_network *network, uint64_t ns)
{
    network->now_ns += ns;
}

uint64_t loop_next_ns(const struct loop_network *network)
{
    uint64_t next_ns = UINT64_MAX;

    for (const struct loop *at = network->endpoints; at; at = at->next)
        if (at->first && at->first->due_ns < next_ns)
            next_ns = at->first->due_ns;
    return next_ns;
}
