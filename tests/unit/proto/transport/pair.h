/* pair.h - a server and a client of every kind of transport, for tests */
#ifndef PAIR_H
#define PAIR_H

#include "transport.h"

enum pair_kind {
    PAIR_ETH4,
    PAIR_ETH6,
    PAIR_LOOP,
    PAIR_OFI_TCP,
    PAIR_FAULT_ETH4, /* wrapped on both sides, with no faults switched on */
    PAIR_FAULT_LOOP,
    PAIR_FAULT_OFI_TCP,
    PAIR_KINDS,
};

struct pair {
    enum pair_kind kind;
    struct loop_network *network; /* NULL: the real one */
    struct endpoint *server;
    struct endpoint *client;
};

/* Opens both ends; skips the calling test where the host lacks something. */
void pair_open(struct pair *pair, enum pair_kind kind);
void pair_close(struct pair *pair);

/* One end of it. */
struct endpoint *pair_listen(struct pair *pair);
struct endpoint *pair_connect(struct pair *pair, const struct address *server);

/* Receives within five seconds, serving both ends meanwhile (ofi makes no progress otherwise); moves a
 * virtual clock on. Returns as endpoint_receive does. */
int pair_receive(struct pair *pair, struct endpoint *at, void *buffer, size_t buffer_bytes,
                 struct address *from_out);

/* The same bytes for the same seed. */
void pair_fill(uint8_t *bytes, size_t count, uint64_t seed);

const char *pair_name(enum pair_kind kind);

#endif
