/* bench.h - measuring line operations and page faults beside their floors
 *
 * A figure is measured in rounds: floor, subject, floor, subject. What is reported is the median over the
 * rounds with its quartiles; the ratio is taken round by round, so that a machine that slows down for a
 * moment slows both. All of this runs on one thread; a probe may have others.
 */
#ifndef CXE_BENCH_BENCH_H
#define CXE_BENCH_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#include "cxe.h"

#define BENCH_ROUNDS_MAX 99
#define BENCH_FLOORS_MAX 2

struct bench_options {
    uint64_t figure_ns; /* measuring time of a figure, its floor included */
    unsigned rounds;
    unsigned depth;     /* lines in flight when pipelined */
    unsigned clients;   /* that compete for a lock */
    const char *figure; /* measure only those whose names contain it; NULL: all */
    int client_cpu;     /* -1: not pinned */
    int server_cpu;
};

/* ---- what can be measured for a while ---- */

/* What a probe saw in one round: latencies, or so much work in so much time. */
struct bench_sample {
    uint32_t *latencies_ns; /* room for BENCH_LATENCIES_MAX; not in order */
    uint64_t work;          /* latencies, or things done */
    uint64_t elapsed_ns;
};
#define BENCH_LATENCIES_MAX (1u << 20)

struct bench_probe {
    /* Works for about duration_ns and fills *sample. Returns 0 or negative errno; has then said why
     * (bench_fail). */
    int (*run)(void *context, uint64_t duration_ns, struct bench_sample *sample);
    void *context;
};

/* Stores one latency; false: there is no room for another. */
static inline bool bench_note(struct bench_sample *sample, uint64_t latency_ns)
{
    sample->latencies_ns[sample->work++] = latency_ns < UINT32_MAX ? (uint32_t)latency_ns : UINT32_MAX;
    return sample->work < BENCH_LATENCIES_MAX;
}

/* Remembers the sentence that the command ends with, and returns `error`. */
int bench_fail(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));
const char *bench_failure(void);

/* The same for a failed call into the library: "what: its sentence". */
int bench_fail_call(int error, const char *what);

/* ---- figures ---- */

enum bench_kind {
    BENCH_LATENCY, /* p50, p90, p99, p999 in us; less is better */
    BENCH_RATE,    /* work a second, times `scale`; more is better */
};

struct bench_comparison {
    const char *name; /* "eth.plain.read_64B" */
    enum bench_kind kind;
    const char *unit; /* of a rate */
    double scale;     /* of a rate: units to one piece of work */
    struct bench_probe subject;
    struct bench_probe floors[BENCH_FLOORS_MAX]; /* latencies whose medians add up */
    unsigned floor_count;
    const char *floor_name;
    bool floor_is_rate;       /* the one floor is a rate too: what was before, or a rival */
    struct bench_probe extra; /* a latency that is granted on top: taken off before the ratio. No run: none */
    double ratio_goal;        /* subject / floor at most; of a rate, at least; 0: none */
    double value_goal;        /* a rate: at least; 0: none */
    uint64_t least_work;      /* a round that did less is no measurement, and the run fails */
};

struct bench_report;

/* Measures (if options->figure allows), adds the figures to the report, prints a line. 0 or negative errno.
 */
int bench_compare(const struct bench_options *options, struct bench_report *report,
                  const struct bench_comparison *comparison);

/* ---- the benches; each over one connection, and more like it where several clients are wanted ---- */

/* How the server is reached, and which floors are comparable with it. */
struct bench_link {
    const char *name;     /* "eth.plain" */
    const char *provider; /* of libfabric; NULL: eth */
    bool encrypted;
    bool local; /* the server runs on this host, so its floors can be measured here */
};

int bench_line(const struct bench_options *options, struct bench_report *report,
               const struct bench_link *link, struct cxe_connection *connection);
int bench_page(const struct bench_options *options, struct bench_report *report,
               const struct bench_link *link, struct cxe_connection *connection);
int bench_lock(const struct bench_options *options, struct bench_report *report,
               const struct bench_link *link, struct cxe_connection *connection);
int bench_share(const struct bench_options *options, struct bench_report *report,
                const struct bench_link *link, struct cxe_connection *connection);

/* ---- small things that they share ---- */

/* Pins the calling thread; -1: leaves it. 0 or negative errno. */
int bench_pin(int cpu);

/* Lets the calling thread run where it may, as other clients do. */
void bench_unpin(void);

/* A random number; `state` is not 0. */
static inline uint64_t bench_random(uint64_t *state)
{
    /* xorshift64: fast enough not to show, random enough to defeat every prefetcher. */
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* 0 .. count - 1 in an order that is random, and the same each time. */
void bench_shuffle(uint32_t *order, uint32_t count);

/* A region of its own with these flags (and EPHEMERAL), each line starting with its own number
 * (bench_word_at); deleted by the server some time after the benchmark, however that ends. */
int bench_region_make(struct cxe_connection *connection, uint64_t bytes, uint32_t flags,
                      struct cxe_region **region_out);
void bench_region_drop(struct cxe_connection *connection, struct cxe_region *region);

/* Another client: sessions of its own, with the same server and keys, and the region opened there. */
struct bench_client {
    struct cxe_connection *connection;
    struct cxe_region *region;
};
int bench_client_open(const struct cxe_connection *connection, const char *region_name,
                      struct bench_client *client_out);
void bench_client_close(struct bench_client *client); /* one that is all zeros is closed */

/* The first 8 bytes of the line at `offset` in such a region. */
static inline uint64_t bench_word_at(uint64_t offset)
{
    return offset / CXE_LINE_BYTES * 0x9E3779B97F4A7C15ull + 1; /* never 0: a zero is not data */
}

#endif
