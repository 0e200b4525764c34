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
#include <sys/types.h>

#include "cxe.h"

#define BENCH_ROUNDS_MAX 99
#define BENCH_FLOORS_MAX 2

struct bench_options {
    uint64_t figure_ns; /* measuring time of a figure, its floor included */
    unsigned rounds;
    unsigned depth;     /* lines in flight when pipelined */
    unsigned clients;   /* that compete for a lock */
    unsigned threads;   /* that fault, at most */
    uint64_t rate;      /* of an open loop, operations a second; 0: shares of the capacity */
    uint64_t items;     /* to scale to, at most */
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
    BENCH_COST,    /* ns of each piece of work on the average, times `scale`; less is better */
};

struct bench_comparison {
    const char *name; /* "eth.plain.read_64B" */
    enum bench_kind kind;
    const char *unit; /* of a rate or a cost */
    double scale;     /* of these: units to one piece of work, or to a ns of it */
    struct bench_probe subject;
    struct bench_probe floors[BENCH_FLOORS_MAX]; /* of the same kind; they add up */
    unsigned floor_count;
    const char *floor_name;
    struct bench_probe extra; /* a latency that is granted on top: taken off before the ratio. No run: none */
    double ratio_goal;        /* subject / floor at most; of a rate, at least; 0: none */
    double value_goal;        /* the same for the value */
    uint64_t least_work;      /* a round that did less is no measurement, and the run fails */
    const struct bench_series *series; /* NULL: in no picture. The curves of latencies are percentiles */

    /* Of a latency: how many a second as well, as "NAME.rate". NULL: no. */
    const char *rate_unit;
    const struct bench_series *rate_series;
};

struct bench_report;
struct bench_series;

/* Measures (if options->figure allows), adds the figures to the report, prints a line. 0 or negative errno.
 */
int bench_compare(const struct bench_options *options, struct bench_report *report,
                  const struct bench_comparison *comparison);

/* A figure that is not a probe's: a value a round, and the floor's of the same rounds. */
struct bench_value {
    const char *name;
    const char *unit;
    bool more_is_better;
    double *values;             /* in the order of the rounds; comes back sorted, as the floor's */
    double *floor_values;       /* if there is a floor */
    const double *extra_values; /* taken off before the ratio; NULL: nothing */
    unsigned count;             /* at most BENCH_ROUNDS_MAX */
    const char *floor_name;     /* NULL: none */
    double ratio_goal;          /* at most, or at least if more is better; 0: none */
    double value_goal;
    const struct bench_series *series;
    const char *note; /* for people, at the end of the line; NULL: this figure is for JSON only */
};
void bench_report_value(struct bench_report *report, const struct bench_value *value);

/* The median of `values`, at most BENCH_ROUNDS_MAX, which stay in their order. */
double bench_median(const double *values, unsigned count);

/* Does options->figure allow this one? */
bool bench_wanted(const struct bench_options *options, const char *name);

/* ---- the benches; each over one connection, and more like it where several clients are wanted ---- */

/* How the server is reached, and which floors are comparable with it. */
struct bench_link {
    const char *name;     /* "eth.plain" */
    const char *provider; /* of libfabric; NULL: eth */
    bool encrypted;
    bool local; /* the server runs on this host, so its floors can be measured here */
    const struct cxe_connect_options *connect; /* for more connections like it */
    pid_t server_pid;                          /* of a server of our own; 0: unknown */
};

int bench_line(const struct bench_options *options, struct bench_report *report,
               const struct bench_link *link, struct cxe_connection *connection);
int bench_depth(const struct bench_options *options, struct bench_report *report,
                const struct bench_link *link, struct cxe_connection *connection);
int bench_frame(const struct bench_options *options, struct bench_report *report,
                const struct bench_link *link, struct cxe_connection *connection);
int bench_open(const struct bench_options *options, struct bench_report *report,
               const struct bench_link *link, struct cxe_connection *connection);
int bench_page(const struct bench_options *options, struct bench_report *report,
               const struct bench_link *link, struct cxe_connection *connection);
int bench_fault(const struct bench_options *options, struct bench_report *report,
                const struct bench_link *link, struct cxe_connection *connection);
int bench_load(const struct bench_options *options, struct bench_report *report,
               const struct bench_link *link, struct cxe_connection *connection);
int bench_writeback(const struct bench_options *options, struct bench_report *report,
                    const struct bench_link *link, struct cxe_connection *connection);
int bench_idle(const struct bench_options *options, struct bench_report *report,
               const struct bench_link *link, struct cxe_connection *connection);
int bench_scale(const struct bench_options *options, struct bench_report *report,
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
/* The same, all zeros. */
int bench_region_make_empty(struct cxe_connection *connection, uint64_t bytes, uint32_t flags,
                            struct cxe_region **region_out);
void bench_region_drop(struct cxe_connection *connection, struct cxe_region *region);

/* cxe_map; the library's threads run where they may, as those of any program. */
int bench_map(const struct bench_options *options, struct cxe_region *region,
              const struct cxe_map_options *map, void **memory_out);

/* Another client: sessions of its own, with the same server and keys, and the region opened there. */
struct bench_client {
    struct cxe_connection *connection;
    struct cxe_region *region;
};
int bench_client_open(const struct cxe_connection *connection, const char *region_name,
                      struct bench_client *client_out);
int bench_client_connect(const struct cxe_connect_options *connect, const char *region_name,
                         struct bench_client *client_out); /* the same with other options */
void bench_client_close(struct bench_client *client);      /* one that is all zeros is closed */

/* The first 8 bytes of the line at `offset` in such a region. */
static inline uint64_t bench_word_at(uint64_t offset)
{
    return offset / CXE_LINE_BYTES * 0x9E3779B97F4A7C15ull + 1; /* never 0: a zero is not data */
}

#endif
