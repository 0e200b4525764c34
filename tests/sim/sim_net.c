/* sim_net.c - see sim_net.h */
#include "sim_net.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "sim_fd.h"
#include "wire.h"

#define PORTS_MAX     8192
#define INBOX_FRAMES  2048 /* more under way to one port are lost */
#define BASE_DELAY_NS (5 * NS_PER_US)

struct parcel {
    struct parcel *next;
    uint64_t due_ns;
    struct address from;
    size_t frame_bytes;
    uint8_t frame[];
};

struct sim_endpoint;

/* Where frames go to. It outlives who listens there. */
struct port {
    struct address address;
    unsigned shard, shard_count;
    struct net_host *host;
    struct sim_endpoint *owner; /* NULL: nobody listens */
    struct parcel *first;       /* by due_ns */
    unsigned parcels;
};

struct sim_endpoint {
    struct endpoint endpoint;
    struct sim_fd fd;
    struct port *port;
    struct address server;
    bool connected, refused;
};

static struct {
    struct port ports[PORTS_MAX];
    unsigned port_count, client_ports;
    uint32_t frame_bytes_max;
    struct dice dice;
    struct net_counts counts;
} net;

void net_begin(uint64_t seed, uint32_t frame_bytes_max)
{
    net.dice = dice_of(seed, "network");
    net.frame_bytes_max = frame_bytes_max;
}

struct net_counts net_counts(void)
{
    return net.counts;
}

/* ---- ports ---- */

static struct port *find_port(const struct address *address, unsigned shard)
{
    for (unsigned i = net.port_count; i-- > 0;)
        if (net.ports[i].shard == shard && address_equal(&net.ports[i].address, address))
            return &net.ports[i];
    return NULL;
}

static struct port *make_port(const struct address *address, unsigned shard, unsigned shard_count)
{
    struct port *port = find_port(address, shard);

    if (port)
        return port;
    CHECK(net.port_count < PORTS_MAX);
    port = &net.ports[net.port_count++];
    port->address = *address;
    port->shard = shard;
    port->shard_count = shard_count;
    port->host = (struct net_host *)sim_node_of(sim_self());
    return port;
}

static struct address next_client_address(void)
{
    struct address address;

    memset(&address, 0, sizeof(address));
    address.in.sin_family = AF_INET;
    address.in.sin_addr.s_addr = htonl(0x0a010000u + ++net.client_ports);
    address.in.sin_port = htons(40000);
    return address;
}

/* The worker's port that the frame belongs to, as in eth.h. */
static struct port *steer(const struct address *to, const struct address *from, const uint8_t *frame,
                          size_t frame_bytes)
{
    struct port *port = find_port(to, 0);
    struct record_header header = {0};
    uint32_t shard;

    if (!port || port->shard_count <= 1)
        return port;
    memcpy(&header, frame, frame_bytes < sizeof(header) ? frame_bytes : sizeof(header));
    if (header.type == RECORD_DATA)
        shard = le32_get(header.receiver);
    else
        shard = ntohl(from->in.sin_addr.s_addr) * 2654435761u >> 16;
    return find_port(to, shard % port->shard_count);
}

static struct parcel *take_parcel(struct port *port)
{
    struct parcel *parcel = port->first;

    port->first = parcel->next;
    port->parcels--;
    return parcel;
}

/* Those that have arrived by then. */
static void free_parcels(struct port *port, uint64_t until_ns)
{
    while (port->first && port->first->due_ns <= until_ns)
        free(take_parcel(port));
}

/* ---- weather ---- */

static void enqueue(struct port *to, const struct address *from, const uint8_t *frame, size_t frame_bytes,
                    uint64_t due_ns, bool corrupt)
{
    struct parcel *parcel, **link = &to->first;

    if (to->parcels == INBOX_FRAMES) {
        net.counts.lost++;
        return;
    }
    parcel = malloc(sizeof(*parcel) + frame_bytes);
    CHECK(parcel);
    parcel->due_ns = due_ns;
    parcel->from = *from;
    parcel->frame_bytes = frame_bytes;
    memcpy(parcel->frame, frame, frame_bytes);
    if (corrupt)
        parcel->frame[dice_below(&net.dice, frame_bytes)] ^= (uint8_t)dice_between(&net.dice, 1, 255);
    while (*link && (*link)->due_ns <= due_ns)
        link = &(*link)->next;
    parcel->next = *link;
    *link = parcel;
    to->parcels++;
    if (to->owner)
        sim_fd_notify(&to->owner->fd, to->first->due_ns);
}

/* Of a whole way: out of one host and into the other. */
static struct net_weather between(const struct net_host *from, const struct net_host *to)
{
    const struct net_weather *out = &from->out, *in = &to->in;

    return (struct net_weather){
        .drop_ppm = out->drop_ppm + in->drop_ppm,
        .double_ppm = out->double_ppm + in->double_ppm,
        .corrupt_ppm = out->corrupt_ppm + in->corrupt_ppm,
        .reorder_ppm = out->reorder_ppm + in->reorder_ppm,
        .late_ppm = out->late_ppm + in->late_ppm,
        .delay_low_ns = BASE_DELAY_NS + out->delay_low_ns + in->delay_low_ns,
        .delay_high_ns = BASE_DELAY_NS + out->delay_high_ns + in->delay_high_ns,
        .cut = out->cut || in->cut,
    };
}

static void send_copy(struct port *to, const struct address *from, const uint8_t *frame, size_t frame_bytes,
                      uint64_t due_ns, uint64_t spread_ns, uint64_t *counter)
{
    ++*counter;
    enqueue(to, from, frame, frame_bytes, due_ns + dice_below(&net.dice, spread_ns), false);
}

static void travel(const struct net_host *from_host, const struct address *from, struct port *to,
                   const uint8_t *frame, size_t frame_bytes)
{
    const struct net_weather weather = between(from_host, to->host);
    uint64_t due_ns = sim_now_ns() + dice_between(&net.dice, weather.delay_low_ns, weather.delay_high_ns);
    bool corrupt;

    net.counts.frames++;
    if (weather.cut) {
        net.counts.cut++;
        return;
    }
    if (dice_chance(&net.dice, weather.late_ppm))
        send_copy(to, from, frame, frame_bytes, due_ns, NET_LATE_NS, &net.counts.late);
    if (dice_chance(&net.dice, weather.drop_ppm)) {
        net.counts.dropped++;
        return;
    }
    if (dice_chance(&net.dice, weather.double_ppm))
        send_copy(to, from, frame, frame_bytes, due_ns, NET_REORDER_NS, &net.counts.doubled);
    if (dice_chance(&net.dice, weather.reorder_ppm)) {
        net.counts.reordered++;
        due_ns += dice_below(&net.dice, NET_REORDER_NS);
    }
    corrupt = dice_chance(&net.dice, weather.corrupt_ppm);
    net.counts.corrupted += corrupt;
    enqueue(to, from, frame, frame_bytes, due_ns, corrupt);
}

/* ---- endpoints ---- */

static struct sim_endpoint *of_endpoint(struct endpoint *endpoint)
{
    return (struct sim_endpoint *)endpoint; /* its first member */
}

static int take_refusal(struct sim_endpoint *self)
{
    bool refused = self->refused;

    self->refused = false;
    return refused ? -ECONNREFUSED : 0;
}

static int net_send(struct endpoint *endpoint, const struct address *to, const void *frame,
                    size_t frame_bytes)
{
    struct sim_endpoint *self = of_endpoint(endpoint);
    const struct address *target = self->connected ? &self->server : to;
    struct port *port;
    int error;

    sim_step();
    error = take_refusal(self);
    if (error)
        return error;
    if (frame_bytes == 0 || frame_bytes > FRAME_BYTES_MAX)
        return -EMSGSIZE;
    port = steer(target, &self->port->address, frame, frame_bytes);
    for (size_t i = 0; i < frame_bytes; i += 16)
        sim_mix(((const uint8_t *)frame)[i]);
    endpoint->sent_frames++;
    endpoint->sent_bytes += frame_bytes;
    if (!port)
        return 0;
    if (self->connected && !port->owner && !port->host->silent && !port->host->in.cut &&
        !self->port->host->out.cut) {
        net.counts.refused++;
        self->refused = true;
    }
    travel(self->port->host, &self->port->address, port, frame, frame_bytes);
    return 0;
}

static int net_receive(struct endpoint *endpoint, void *buffer, size_t buffer_bytes, struct address *from_out)
{
    struct sim_endpoint *self = of_endpoint(endpoint);
    struct parcel *parcel;
    int error = take_refusal(self), frame_bytes;

    if (error)
        return error;
    parcel = self->port->first;
    if (!parcel || parcel->due_ns > sim_now_ns())
        return -EAGAIN;
    CHECK(parcel->frame_bytes <= buffer_bytes);
    frame_bytes = (int)parcel->frame_bytes;
    memcpy(buffer, parcel->frame, parcel->frame_bytes);
    if (from_out)
        *from_out = parcel->from;
    free(take_parcel(self->port));
    endpoint->received_frames++;
    endpoint->received_bytes += (uint64_t)frame_bytes;
    sim_step();
    return frame_bytes;
}

static uint64_t endpoint_ready_ns(struct sim_fd *fd)
{
    const struct sim_endpoint *self =
        (const struct sim_endpoint *)((uint8_t *)fd - offsetof(struct sim_endpoint, fd));

    if (self->refused)
        return 0;
    return self->port->first ? self->port->first->due_ns : SIM_NEVER;
}

static int net_arm(struct endpoint *endpoint)
{
    return endpoint_ready_ns(&of_endpoint(endpoint)->fd) <= sim_now_ns() ? -EAGAIN : 0;
}

static void net_close(struct endpoint *endpoint)
{
    struct sim_endpoint *self = of_endpoint(endpoint);

    sim_fd_close(&self->fd);
    self->port->owner = NULL;
    free_parcels(self->port, sim_now_ns()); /* what the socket had; the rest is still under way */
    free(self);
}

static const struct endpoint_ops net_ops = {
    .send = net_send, .probe = net_send, .receive = net_receive, .arm = net_arm, .close = net_close};

static struct sim_endpoint *make_endpoint(struct port *port)
{
    struct sim_endpoint *self = calloc(1, sizeof(*self));

    CHECK(self && !port->owner);
    self->endpoint.ops = &net_ops;
    self->endpoint.frame_bytes_max = net.frame_bytes_max;
    self->endpoint.async_signal_safe = true;
    self->endpoint.local = port->address;
    self->fd.ready_ns = endpoint_ready_ns;
    sim_fd_open(&self->fd);
    self->endpoint.fd = self->fd.number;
    self->port = port;
    port->owner = self;
    return self;
}

/* ---- in the place of transport.c ---- */

int __wrap_transport_connect(const char *transport, const struct address *server, const char *fault_spec,
                             struct endpoint **endpoint_out);
int __wrap_transport_connect(const char *transport, const struct address *server, const char *fault_spec,
                             struct endpoint **endpoint_out)
{
    struct address address = next_client_address();
    struct sim_endpoint *self = make_endpoint(make_port(&address, 0, 1));

    (void)transport;
    (void)fault_spec;
    self->connected = true;
    self->server = *server;
    *endpoint_out = &self->endpoint;
    return 0;
}

int __wrap_transport_listen(const char *transport, const struct address *local, unsigned shard,
                            unsigned shard_count, const char *fault_spec, struct endpoint **endpoint_out);
int __wrap_transport_listen(const char *transport, const struct address *local, unsigned shard,
                            unsigned shard_count, const char *fault_spec, struct endpoint **endpoint_out)
{
    struct port *port = make_port(local, shard, shard_count);

    (void)transport;
    (void)fault_spec;
    if (port->owner)
        return -EADDRINUSE;
    *endpoint_out = &make_endpoint(port)->endpoint;
    return 0;
}

/* ---- hosts ---- */

void net_kill_host(struct net_host *host)
{
    for (unsigned i = 0; i < net.port_count; i++)
        if (net.ports[i].host == host && net.ports[i].owner)
            net_close(&net.ports[i].owner->endpoint);
}

void net_rebind(struct net_host *host)
{
    unsigned count = net.port_count;

    for (unsigned i = 0; i < count; i++) {
        struct port *old = &net.ports[i], *port;
        struct address address;

        if (old->host != host || !old->owner)
            continue;
        address = next_client_address();
        port = make_port(&address, 0, 1);
        port->host = host;
        port->owner = old->owner;
        port->owner->port = port;
        port->owner->endpoint.local = address;
        old->owner = NULL;
        free_parcels(old, SIM_NEVER);
    }
    net.counts.rebound++;
}
