/* metrics.c - see metrics.h */
#include "metrics.h"

#include <string.h>
#include <sys/resource.h>

#include "atomic.h"
#include "clock.h"
#include "log.h"
#include "pool.h"
#include "quiesce.h"
#include "region.h"
#include "region_coherent.h"
#include "tenant.h"

enum counter_unit { UNIT_total, UNIT_gauge, UNIT_ns };

static const struct counter_row {
    const char *name;
    const char *help;
    size_t offset; /* in struct worker_counters */
    enum counter_unit unit;
} counter_rows[] = {
#define WORKER_COUNTER(name, unit, help) {#name, help, offsetof(struct worker_counters, name), UNIT_##unit},
#include "counters.def"
};
#define COUNTER_ROWS (sizeof(counter_rows) / sizeof(counter_rows[0]))

static uint64_t counter_value(const struct metrics_source *source, unsigned worker,
                              const struct counter_row *row)
{
    return load_relaxed((const uint64_t *)((const char *)source->counters[worker] + row->offset));
}

void metrics_totals(const struct metrics_source *source, struct worker_counters *totals_out)
{
    memset(totals_out, 0, sizeof(*totals_out));
    for (size_t i = 0; i < COUNTER_ROWS; i++)
        for (unsigned worker = 0; worker < source->worker_count; worker++)
            *(uint64_t *)((char *)totals_out + counter_rows[i].offset) +=
                counter_value(source, worker, &counter_rows[i]);
}

uint64_t metrics_cpu_ns(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * NS_PER_S +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * NS_PER_US;
}

static double seconds(uint64_t ns)
{
    return (double)ns / (double)NS_PER_S;
}

/* ---- Prometheus ---- */

static void write_head(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void write_counter(const struct metrics_source *source, const struct counter_row *row, FILE *out)
{
    char name[80];
    int stem = (int)strlen(row->name) - (row->unit == UNIT_ns ? (int)strlen("_ns") : 0);

    snprintf(name, sizeof(name), "fabricd_%.*s%s", stem, row->name,
             row->unit == UNIT_ns      ? "_seconds_total"
             : row->unit == UNIT_total ? "_total"
                                       : "");
    write_head(out, name, row->unit == UNIT_gauge ? "gauge" : "counter", row->help);
    for (unsigned worker = 0; worker < source->worker_count; worker++) {
        uint64_t value = counter_value(source, worker, row);

        if (row->unit == UNIT_ns)
            fprintf(out, "%s{worker=\"%u\"} %.9f\n", name, worker, seconds(value));
        else
            fprintf(out, "%s{worker=\"%u\"} %llu\n", name, worker, (unsigned long long)value);
    }
}

static void write_single(FILE *out, const char *name, const char *type, const char *help, double value)
{
    write_head(out, name, type, help);
    fprintf(out, "%s %.17g\n", name, value);
}

static uint64_t account_quota(const struct regions_account *account)
{
    return account->quota_bytes;
}

static uint64_t account_used(const struct regions_account *account)
{
    return account->used_bytes;
}

static uint64_t account_regions(const struct regions_account *account)
{
    return account->regions;
}

static void write_tenants(const struct metrics_source *source, FILE *out)
{
    static const struct {
        const char *name, *help;
        uint64_t (*value)(const struct regions_account *account);
    } rows[] = {
        {"fabricd_tenant_quota_bytes", "Bytes the tenant's regions may have; +Inf: no quota.", account_quota},
        {"fabricd_tenant_used_bytes", "Bytes promised to the tenant's regions.", account_used},
        {"fabricd_tenant_regions", "Regions of the tenant.", account_regions},
    };
    unsigned count;
    const struct tenant *tenants = tenants_list(&count);

    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        write_head(out, rows[row].name, "gauge", rows[row].help);
        for (unsigned i = 0; i < count; i++) {
            struct regions_account account;
            uint64_t value;

            regions_get_account(source->regions, tenants[i].id, &account);
            value = rows[row].value(&account);
            fprintf(out, "%s{tenant=\"%s\"} ", rows[row].name, tenants[i].name);
            if (value == REGIONS_QUOTA_UNLIMITED)
                fputs("+Inf\n", out);
            else
                fprintf(out, "%llu\n", (unsigned long long)value);
        }
    }
}

static void write_coherence(const struct metrics_source *source, FILE *out)
{
    struct regions_coherence_info info;

    regions_get_coherence(source->regions, QUIESCE_NO_WORKER, &info);
    write_single(out, "fabricd_coherent_regions", "gauge",
                 "Regions that are mapped coherently, or waited in.", (double)info.regions);
    write_single(out, "fabricd_cached_pages", "gauge", "Their pages that some client may have a copy of.",
                 (double)info.cached_pages);
    write_single(out, "fabricd_directory_bytes", "gauge", "Memory that their directories take.",
                 (double)info.directory_bytes);
}

void metrics_write(const struct metrics_source *source, FILE *out)
{
    write_head(out, "fabricd_info", "gauge", "What runs; always 1.");
    fprintf(out, "fabricd_info{version=\"" FABRICD_VERSION "\",incarnation=\"%016llx\"} 1\n",
            (unsigned long long)source->incarnation);
    write_single(out, "fabricd_uptime_seconds", "gauge", "Time since the start.",
                 seconds(clock_now_ns() - source->started_ns));
    write_single(out, "fabricd_cpu_seconds_total", "counter", "User and system time of the daemon.",
                 seconds(metrics_cpu_ns()));
    write_single(out, "fabricd_draining", "gauge", "1 while the daemon waits for its clients to go.",
                 load_relaxed(&source->draining));
    write_single(out, "fabricd_pool_bytes", "gauge", "Memory that is served.",
                 (double)(source->pool->pages * PAGE_BYTES));
    write_single(out, "fabricd_pool_free_bytes", "gauge", "Memory neither in use nor promised to a region.",
                 (double)pool_free_bytes(source->pool));
    write_single(out, "fabricd_log_lines_dropped_total", "counter",
                 "Log lines lost, or kept back by a rate limit.", (double)log_dropped());
    write_coherence(source, out);
    write_tenants(source, out);
    for (size_t i = 0; i < COUNTER_ROWS; i++)
        write_counter(source, &counter_rows[i], out);
}

/* ---- JSON ---- */

/* Numbers above 2^63 do not fit jansson's integers; only an absent quota is that large. */
static json_t *quota_json(uint64_t quota_bytes)
{
    return quota_bytes > INT64_MAX ? json_null() : json_integer((json_int_t)quota_bytes);
}

static json_t *tenants_json(const struct metrics_source *source)
{
    unsigned count;
    const struct tenant *tenants = tenants_list(&count);
    json_t *list = json_array();

    for (unsigned i = 0; i < count; i++) {
        struct regions_account account;

        regions_get_account(source->regions, tenants[i].id, &account);
        json_array_append_new(list, json_pack("{s:s, s:i, s:o, s:I, s:I}", "name", tenants[i].name, "id",
                                              tenants[i].id, "quota_bytes", quota_json(account.quota_bytes),
                                              "used_bytes", (json_int_t)account.used_bytes, "regions",
                                              (json_int_t)account.regions));
    }
    return list;
}

static json_t *workers_json(const struct metrics_source *source, uint64_t uptime_ns)
{
    json_t *list = json_array();

    for (unsigned worker = 0; worker < source->worker_count; worker++) {
        json_t *object = json_object();
        uint64_t busy_ns = load_relaxed(&source->counters[worker]->busy_ns);

        json_object_set_new(object, "worker", json_integer(worker));
        json_object_set_new(object, "busy_share",
                            json_real(uptime_ns ? (double)busy_ns / (double)uptime_ns : 0));
        for (size_t i = 0; i < COUNTER_ROWS; i++)
            json_object_set_new(object, counter_rows[i].name,
                                json_integer((json_int_t)counter_value(source, worker, &counter_rows[i])));
        json_array_append_new(list, object);
    }
    return list;
}

static json_t *listen_json(const struct metrics_source *source)
{
    json_t *list = json_array();
    char address[64];

    for (unsigned i = 0; i < source->listen_count; i++)
        json_array_append_new(list,
                              json_string(address_format(&source->listen[i], address, sizeof(address))));
    return list;
}

json_t *metrics_status(const struct metrics_source *source)
{
    uint64_t uptime_ns = clock_now_ns() - source->started_ns;
    struct worker_counters totals;
    char incarnation[17];

    metrics_totals(source, &totals);
    snprintf(incarnation, sizeof(incarnation), "%016llx", (unsigned long long)source->incarnation);
    return json_pack("{s:s, s:s, s:f, s:f, s:b, s:o, s:s, s:s, s:s, s:I, s:{s:I, s:I}, s:o, s:o}", "version",
                     FABRICD_VERSION, "incarnation", incarnation, "uptime_seconds", seconds(uptime_ns),
                     "cpu_seconds", seconds(metrics_cpu_ns()), "draining",
                     (int)load_relaxed(&source->draining), "listen", listen_json(source), "transport",
                     source->transport, "poller", source->poller, "encryption", source->encryption,
                     "sessions", (json_int_t)totals.sessions, "pool", "bytes",
                     (json_int_t)(source->pool->pages * PAGE_BYTES), "free_bytes",
                     (json_int_t)pool_free_bytes(source->pool), "tenants", tenants_json(source), "workers",
                     workers_json(source, uptime_ns));
}

static json_t *region_json(const struct tenant *tenant, const struct region_info *info)
{
    char handle[19];

    snprintf(handle, sizeof(handle), "0x%016llx", (unsigned long long)info->handle);
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:b, s:b, s:b}", "tenant", tenant->name, "name", info->name,
                     "handle", handle, "bytes", (json_int_t)info->bytes, "resident_bytes",
                     (json_int_t)info->resident_bytes, "sealed", (info->flags & REGION_SEALED) != 0,
                     "ephemeral", (info->flags & REGION_EPHEMERAL) != 0, "shared",
                     (info->flags & REGION_SHARED) != 0);
}

json_t *metrics_regions(const struct metrics_source *source)
{
    unsigned count;
    const struct tenant *tenants = tenants_list(&count);
    json_t *list = json_array();
    bool truncated = false;

    for (unsigned i = 0; i < count && !truncated; i++) {
        struct region_info info;
        uint64_t cursor = 0;

        while (!truncated &&
               regions_next(source->regions, QUIESCE_NO_WORKER, tenants[i].id, &cursor, &info) == 0) {
            json_array_append_new(list, region_json(&tenants[i], &info));
            truncated = json_array_size(list) == METRICS_REGIONS_MAX;
        }
    }
    return json_pack("{s:o, s:b}", "regions", list, "truncated", (int)truncated);
}
