/* config_keys.c - see config_keys.h */
#include "config_keys.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "fault.h"
#include "keys.h"
#include "units.h"

const char *const config_encryption_names[3] = {"required", "allowed", "off"};
const char *const config_policy_names[3] = {"bind", "interleave", "preferred"};
const char *const config_log_level_names[4] = {"error", "warning", "info", "debug"};

static_assert(WORKERS_MAX == 64 && NUMA_NODES_MAX == 64 && TENANT_NAME_BYTES == 32 &&
                  POOL_PAGES_MAX * PAGE_BYTES == 8ull << 40 && CONFIG_POOL_BYTES_MIN == 1u << 20,
              "config.def tells people these numbers");

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static int parse_name(const char *text, const char *const *names, unsigned count, unsigned *index_out)
{
    for (unsigned i = 0; i < count; i++)
        if (strcmp(text, names[i]) == 0) {
            *index_out = i;
            return 0;
        }
    return -EINVAL;
}

static int parse_bool(const char *text, bool *value_out)
{
    static const char *const names[] = {"false", "true"};
    unsigned index;

    if (parse_name(text, names, COUNT(names), &index) != 0)
        return -EINVAL;
    *value_out = index == 1;
    return 0;
}

static int parse_unsigned(const char *text, unsigned low, unsigned high, unsigned *value_out)
{
    uint64_t value;

    if (units_parse_count(text, low, high, &value) != 0)
        return -EINVAL;
    *value_out = (unsigned)value;
    return 0;
}

static int parse_duration(const char *text, uint64_t low_ns, uint64_t high_ns, uint64_t *ns_out)
{
    uint64_t ns;

    if (units_parse_duration(text, &ns) != 0 || ns < low_ns || ns > high_ns)
        return -EINVAL;
    *ns_out = ns;
    return 0;
}

static int copy_text(const char *text, char *field, size_t field_bytes)
{
    size_t bytes = strlen(text) + 1;

    if (bytes == 1 || bytes > field_bytes)
        return -EINVAL;
    for (const char *at = text; *at; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            return -EINVAL;        /* nobody means a line break in a name */
    memset(field, 0, field_bytes); /* fields of two configurations are compared bytewise */
    memcpy(field, text, bytes);
    return 0;
}

/* ---- the setters, in the order of config.def ---- */

static int set_listen(struct config *config, const char *text)
{
    int error;

    if (config->listen_count == CONFIG_LISTEN_MAX)
        return -E2BIG;
    error = address_parse(text, CXE_PORT_DEFAULT, &config->listen[config->listen_count]);
    if (!error)
        config->listen_count++;
    return error;
}

static int set_transport(struct config *config, const char *text)
{
    if (strcmp(text, "eth") != 0 && strcmp(text, "ofi") != 0 &&
        (strncmp(text, "ofi:", 4) != 0 || text[4] == '\0'))
        return -EINVAL;
    return copy_text(text, config->transport, sizeof(config->transport));
}

static int set_workers(struct config *config, const char *text)
{
    return parse_unsigned(text, 1, WORKERS_MAX, &config->workers);
}

static int set_cpus(struct config *config, const char *text)
{
    cpu_set_t online;
    unsigned cpu;

    if (config->cpu_count == WORKERS_MAX)
        return -E2BIG;
    if (parse_unsigned(text, 0, CPU_SETSIZE - 1, &cpu) != 0)
        return -EINVAL;
    if (sched_getaffinity(0, sizeof(online), &online) == 0 && !CPU_ISSET(cpu, &online))
        return -EINVAL;
    config->cpus[config->cpu_count++] = cpu;
    return 0;
}

static int set_spin(struct config *config, const char *text)
{
    return parse_duration(text, 0, CONFIG_SPIN_NS_MAX, &config->spin_ns);
}

static int set_encryption(struct config *config, const char *text)
{
    unsigned index;
    int error = parse_name(text, config_encryption_names, COUNT(config_encryption_names), &index);

    if (!error)
        config->encryption = (enum encryption)index;
    return error;
}

static int set_key_file(struct config *config, const char *text)
{
    return copy_text(text, config->key_file, sizeof(config->key_file));
}

static int set_control_socket(struct config *config, const char *text)
{
    return copy_text(text, config->control_socket, sizeof(config->control_socket));
}

static int set_idle_timeout(struct config *config, const char *text)
{
    return parse_duration(text, NS_PER_S, 1440 * 60 * NS_PER_S, &config->idle_timeout_ns);
}

static int set_lease(struct config *config, const char *text)
{
    return parse_duration(text, CONFIG_LEASE_NS_MIN, CONFIG_LEASE_NS_MAX, &config->lease_ns);
}

static int set_drain_timeout(struct config *config, const char *text)
{
    return parse_duration(text, 0, 10 * 60 * NS_PER_S, &config->drain_timeout_ns);
}

static int set_log_level(struct config *config, const char *text)
{
    unsigned index;
    int error = parse_name(text, config_log_level_names, COUNT(config_log_level_names), &index);

    if (!error)
        config->log_level = (enum log_level)index;
    return error;
}

static int set_fault(struct config *config, const char *text)
{
    char why[FAULT_ERROR_BYTES];
    struct fault_spec spec;

    if (fault_parse(text, &spec, why) != 0)
        return -EINVAL;
    return copy_text(text, config->fault, sizeof(config->fault));
}

static int set_pool_size(struct config *config, const char *text)
{
    uint64_t bytes;

    if (units_parse_bytes(text, &bytes) != 0 || bytes % PAGE_BYTES != 0 || bytes < CONFIG_POOL_BYTES_MIN ||
        bytes / PAGE_BYTES > POOL_PAGES_MAX)
        return -EINVAL;
    config->pool.total_bytes = bytes;
    return 0;
}

static int set_pool_nodes(struct config *config, const char *text)
{
    unsigned node;

    if (parse_unsigned(text, 0, NUMA_NODES_MAX - 1, &node) != 0)
        return -EINVAL;
    config->pool.node_mask |= 1ull << node;
    return 0;
}

static int set_pool_policy(struct config *config, const char *text)
{
    unsigned index;
    int error = parse_name(text, config_policy_names, COUNT(config_policy_names), &index);

    if (!error)
        config->pool.policy = (enum pool_policy)index;
    return error;
}

static int set_pool_huge_pages(struct config *config, const char *text)
{
    return parse_bool(text, &config->pool.huge_pages);
}

static int set_pool_prefault(struct config *config, const char *text)
{
    return parse_bool(text, &config->pool.prefault);
}

static int set_metrics_listen(struct config *config, const char *text)
{
    struct address address;
    int error;

    config->metrics_on = false;
    memset(&config->metrics_listen, 0, sizeof(config->metrics_listen));
    if (strcmp(text, "none") == 0)
        return 0;
    error = address_parse(text, 0, &address);
    if (error || address.in.sin_port == 0)
        return error ?: -EINVAL;
    config->metrics_listen = address;
    config->metrics_on = true;
    return 0;
}

static int set_handshake_per_second(struct config *config, const char *text)
{
    return parse_unsigned(text, 1, 1000000, &config->handshake.inits_per_second);
}

static int set_handshake_burst(struct config *config, const char *text)
{
    return parse_unsigned(text, 1, 1000000, &config->handshake.burst);
}

static int set_tenant_name(struct tenant *tenant, const char *text)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

    if (text[strspn(text, allowed)] != '\0')
        return -EINVAL;
    return copy_text(text, tenant->name, sizeof(tenant->name));
}

static int set_tenant_id(struct tenant *tenant, const char *text)
{
    uint64_t id;

    if (units_parse_count(text, 1, UINT16_MAX, &id) != 0)
        return -EINVAL;
    tenant->id = (uint16_t)id;
    return 0;
}

static int parse_public_key(const char *text, uint8_t key_out[NOISE_KEY_BYTES])
{
    char why[KEYS_WHY_BYTES];

    return keys_read_public(text, key_out, why, sizeof(why)) == 0 ? 0 : -EINVAL;
}

static int set_tenant_public_key(struct tenant *tenant, const char *text)
{
    return parse_public_key(text, tenant->public_key);
}

static int set_tenant_previous_key(struct tenant *tenant, const char *text)
{
    int error = parse_public_key(text, tenant->previous_key);

    if (!error)
        tenant->has_previous_key = true;
    return error;
}

static int set_tenant_quota(struct tenant *tenant, const char *text)
{
    if (strcmp(text, "unlimited") == 0) {
        tenant->quota_bytes = TENANT_QUOTA_UNLIMITED;
        return 0;
    }
    return units_parse_bytes(text, &tenant->quota_bytes) == 0 ? 0 : -EINVAL;
}

/* ---- the tables ---- */

const struct config_key config_keys[] = {
#define ROW(path, name, member, kind, expected) \
    {path, expected, set_##name, offsetof(struct config_text, member), CONFIG_##kind},
#define TOP_KEY(name, kind, expected)     ROW(#name, name, name, kind, expected)
#define POOL_KEY(name, kind, expected)    ROW("pool." #name, pool_##name, pool.name, kind, expected)
#define METRICS_KEY(name, kind, expected) ROW("metrics." #name, metrics_##name, metrics.name, kind, expected)
#define HANDSHAKE_KEY(name, kind, expected) \
    ROW("handshake." #name, handshake_##name, handshake.name, kind, expected)
#include "config.def"
#undef ROW
};
const unsigned config_key_count = COUNT(config_keys);

const struct config_tenant_key config_tenant_keys[] = {
#define TENANT_KEY(name, kind, expected) \
    {#name, expected, set_tenant_##name, offsetof(struct config_tenant_text, name)},
#include "config.def"
};
const unsigned config_tenant_key_count = COUNT(config_tenant_keys);
