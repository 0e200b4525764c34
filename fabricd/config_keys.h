/* config_keys.h - every key's text and what turns it into a field; inside config*.c and their tests only */
#ifndef FABRICD_CONFIG_KEYS_H
#define FABRICD_CONFIG_KEYS_H

#include "config.h"

#define CONFIG_VALUE_BYTES_MAX 4096 /* the longest value looked at; PATH_MAX is as long */
#define CONFIG_LIST_MAX        64   /* the longest list of plain values: CPUs and NUMA nodes */

static_assert(CONFIG_LIST_MAX >= WORKERS_MAX && CONFIG_LIST_MAX >= NUMA_NODES_MAX,
              "lists hold what may be asked");

enum config_kind { CONFIG_TEXT, CONFIG_LIST };

/* A list as libcyaml fills it. */
struct config_items {
    char **items;
    unsigned count;
};

/* The values of a file as they stand there; NULL or empty where the file is silent. */
#define CONFIG_MEMBER_TEXT(name) char *name;
#define CONFIG_MEMBER_LIST(name) struct config_items name;

struct config_tenant_text {
#define TENANT_KEY(name, kind, expected) CONFIG_MEMBER_##kind(name)
#include "config.def"
};

struct config_text {
#define TOP_KEY(name, kind, expected) CONFIG_MEMBER_##kind(name)
#include "config.def"
    struct config_pool_text {
#define POOL_KEY(name, kind, expected) CONFIG_MEMBER_##kind(name)
#include "config.def"
    } pool;
    struct config_metrics_text {
#define METRICS_KEY(name, kind, expected) CONFIG_MEMBER_##kind(name)
#include "config.def"
    } metrics;
    struct config_handshake_text {
#define HANDSHAKE_KEY(name, kind, expected) CONFIG_MEMBER_##kind(name)
#include "config.def"
    } handshake;
    struct config_tenant_text *tenants;
    unsigned tenants_count;
};

/* One key outside the tenants. `set` takes one value (of a list: the next) and answers 0, -EINVAL (not what
 * is expected), -ENOENT (a host that does not exist), -E2BIG (more values than there is room for). */
struct config_key {
    const char *path; /* "pool.size" */
    const char *expected;
    int (*set)(struct config *config, const char *text);
    size_t text_offset; /* in struct config_text */
    enum config_kind kind;
};
extern const struct config_key config_keys[];
extern const unsigned config_key_count;

/* One key of a tenant. */
struct config_tenant_key {
    const char *name; /* "quota" */
    const char *expected;
    int (*set)(struct tenant *tenant, const char *text);
    size_t text_offset; /* in struct config_tenant_text */
};
extern const struct config_tenant_key config_tenant_keys[];
extern const unsigned config_tenant_key_count;

/* The texts of enumerated values, for reading and printing alike. */
extern const char *const config_encryption_names[3]; /* enum encryption */
extern const char *const config_policy_names[3];     /* enum pool_policy */
extern const char *const config_log_level_names[4];  /* enum log_level */

/* Fills *text_out from YAML through libcyaml. `config_file_free` whatever the outcome was 0. -EINVAL with a
 * sentence without file name in problem_out and the line in *line_out; -ENOMEM. */
struct yaml_index;
int config_file_parse(const char *text, size_t text_bytes, const struct yaml_index *index,
                      struct config_text **text_out, unsigned *line_out, struct config_problem *problem_out);
void config_file_free(struct config_text *text);

#endif
