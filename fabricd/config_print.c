/* config_print.c - a configuration as the YAML it could have come from */
#include "config.h"

#include <string.h>

#include "config_keys.h"
#include "keys.h"

/* The largest unit that tells the value exactly, since units_parse_bytes takes no fractions. */
static void print_bytes(FILE *out, uint64_t bytes)
{
    static const char letters[] = "KMGT";
    const char *letter = NULL;

    for (const char *next = letters; *next && bytes && bytes % 1024 == 0; letter = next++)
        bytes /= 1024;
    fprintf(out, "%llu", (unsigned long long)bytes);
    if (letter)
        fputc(*letter, out);
}

static void print_duration(FILE *out, uint64_t ns)
{
    static const struct {
        uint64_t ns;
        const char *suffix;
    } units[] = {{NS_PER_S, "s"}, {NS_PER_MS, "ms"}, {NS_PER_US, "us"}, {1, "ns"}};
    unsigned unit = 0;

    while (ns % units[unit].ns != 0)
        unit++;
    fprintf(out, "%llu%s", (unsigned long long)(ns / units[unit].ns), units[unit].suffix);
}

/* Single quotes: nothing but the quote itself means anything in them. */
static void print_quoted(FILE *out, const char *text)
{
    fputc('\'', out);
    for (; *text; text++)
        fprintf(out, *text == '\'' ? "''" : "%c", *text);
    fputc('\'', out);
}

static void print_text(FILE *out, const char *key, const char *text)
{
    fprintf(out, "%s: ", key);
    print_quoted(out, text);
    fputc('\n', out);
}

static void print_numbers(FILE *out, const char *key, const unsigned *numbers, unsigned count)
{
    fprintf(out, "%s: [", key);
    for (unsigned i = 0; i < count; i++)
        fprintf(out, i ? ", %u" : "%u", numbers[i]);
    fputs("]\n", out);
}

static void print_listen(const struct config *config, FILE *out)
{
    char address[64];

    fputs("listen: [", out);
    for (unsigned i = 0; i < config->listen_count; i++) {
        fputs(i ? ", " : "", out);
        print_quoted(out, address_format(&config->listen[i], address, sizeof(address)));
    }
    fputs("]\n", out);
}

static void print_pool(const struct config *config, FILE *out)
{
    unsigned nodes[NUMA_NODES_MAX], count = 0;

    for (unsigned node = 0; node < NUMA_NODES_MAX; node++)
        if (config->pool.node_mask >> node & 1)
            nodes[count++] = node;
    fputs("pool:\n  size: ", out);
    print_bytes(out, config->pool.total_bytes);
    fputc('\n', out);
    print_numbers(out, "  nodes", nodes, count);
    fprintf(out, "  policy: %s\n", config_policy_names[config->pool.policy]);
    fprintf(out, "  huge_pages: %s\n", config->pool.huge_pages ? "true" : "false");
    fprintf(out, "  prefault: %s\n", config->pool.prefault ? "true" : "false");
}

static void print_tenant(const struct tenant *tenant, FILE *out)
{
    char key[KEYS_TEXT_BYTES];

    fprintf(out, "  - name: '%s'\n    id: %u\n", tenant->name, tenant->id);
    keys_format(tenant->public_key, key);
    fprintf(out, "    public_key: %s\n", key);
    if (tenant->has_previous_key) {
        keys_format(tenant->previous_key, key);
        fprintf(out, "    previous_key: %s\n", key);
    }
    fputs("    quota: ", out);
    if (tenant->quota_bytes == TENANT_QUOTA_UNLIMITED)
        fputs("unlimited", out);
    else
        print_bytes(out, tenant->quota_bytes);
    fputc('\n', out);
}

static void print_metrics(const struct config *config, FILE *out)
{
    char address[64];

    fputs("metrics:\n", out);
    print_text(out, "  listen",
               config->metrics_on ? address_format(&config->metrics_listen, address, sizeof(address))
                                  : "none");
}

static void print_times(const struct config *config, FILE *out)
{
    const struct {
        const char *key;
        uint64_t ns;
    } times[] = {{"spin", config->spin_ns},
                 {"idle_timeout", config->idle_timeout_ns},
                 {"lease", config->lease_ns},
                 {"drain_timeout", config->drain_timeout_ns}};

    for (unsigned i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        fprintf(out, "%s: ", times[i].key);
        print_duration(out, times[i].ns);
        fputc('\n', out);
    }
}

void config_print(const struct config *config, FILE *out)
{
    print_listen(config, out);
    print_text(out, "transport", config->transport);
    if (config->fault[0])
        print_text(out, "fault", config->fault);
    fprintf(out, "workers: %u\n", config->workers);
    print_numbers(out, "cpus", config->cpus, config->cpu_count);
    print_times(config, out);
    fprintf(out, "encryption: %s\n", config_encryption_names[config->encryption]);
    if (config->key_file[0])
        print_text(out, "key_file", config->key_file);
    if (config->control_socket[0])
        print_text(out, "control_socket", config->control_socket);
    fprintf(out, "log_level: %s\n", config_log_level_names[config->log_level]);
    print_pool(config, out);
    print_metrics(config, out);
    fprintf(out, "handshake:\n  per_second: %u\n  burst: %u\n", config->handshake.inits_per_second,
            config->handshake.burst);
    fputs(config->tenant_count ? "tenants:\n" : "tenants: []\n", out);
    for (unsigned i = 0; i < config->tenant_count; i++)
        print_tenant(&config->tenants[i], out);
}
