/* metrics.h - the daemon's figures for Prometheus (text) and for people and tools (JSON) */
#ifndef FABRICD_METRICS_H
#define FABRICD_METRICS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "limits.h"
#include "transport.h"
#include "worker.h"

struct pool;
struct regions;

/* Where the figures come from; everything is borrowed, and read only. The tenants are those in force. */
struct metrics_source {
    uint64_t incarnation;
    uint64_t started_ns; /* CLOCK_MONOTONIC */
    const struct pool *pool;
    struct regions *regions;
    const struct worker_counters *counters[WORKERS_MAX]; /* of each worker */
    unsigned worker_count;
    const char *poller; /* worker_poller */
    const char *transport;
    const char *encryption; /* as in the configuration */
    const struct address *listen;
    unsigned listen_count;
    bool draining; /* atomic */
};

/* Writes all series in the text format of Prometheus, version 0.0.4. Any thread; may wait for a control
 * operation on the regions. Errors stay in the stream. */
void metrics_write(const struct metrics_source *source, FILE *out);

/* GET /status: the daemon, the pool, tenants and workers. NULL: no memory. Any thread. */
json_t *metrics_status(const struct metrics_source *source);

/* GET /regions: the first METRICS_REGIONS_MAX regions, with "truncated". NULL: no memory. Any thread. */
#define METRICS_REGIONS_MAX 10000
json_t *metrics_regions(const struct metrics_source *source);

/* Sums over the workers, for SERVER_STAT. */
void metrics_totals(const struct metrics_source *source, struct worker_counters *totals_out);

/* User and system time of the process. */
uint64_t metrics_cpu_ns(void);

#endif
