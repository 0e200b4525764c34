/* bench_links.h - the connections that a bench is run over */
#ifndef CXE_BENCH_LINKS_H
#define CXE_BENCH_LINKS_H

#include <stddef.h>
#include <stdint.h>

#include "bench.h"

/* One subcommand. */
struct bench {
    const char *name;
    const char *summary;  /* a few words */
    const char *question; /* a sentence */
    int (*run)(const struct bench_options *options, struct bench_report *report,
               const struct bench_link *link, struct cxe_connection *connection);
    uint64_t pool_bytes; /* of a server of our own; 0: PRIVATE_POOL_BYTES */
    uint64_t item_bytes; /* and for each of options->items on top */
    bool alone;          /* it connects by itself (link->connect): before that nobody is connected */
};

/* Is it the name of a connection to a server of our own? */
bool links_named(const char *name);

/* Over a server of our own for each of the connections, or that called `only` (NULL: all). Returns 0 or
 * negative errno; bench_failure says why. */
int links_measure_private(const struct bench *bench, const struct bench_options *options,
                          struct bench_report *report, const char *only, uint64_t timeout_ns);

/* Over one connection to a server that runs already; connect->server may be NULL, as for cxe_connect. */
int links_measure_server(const struct bench *bench, const struct bench_options *options,
                         struct bench_report *report, const struct cxe_connect_options *connect);

#endif
