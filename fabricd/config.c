/* config.c - defaults, file, command line, and whether they make sense together */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "config_keys.h"
#include "yaml_index.h"

#define DEFAULT_POOL_BYTES       (256ull << 20)
#define DEFAULT_SPIN_NS          (50 * NS_PER_US)
#define DEFAULT_IDLE_TIMEOUT_NS  (60 * NS_PER_S)
#define DEFAULT_LEASE_NS         (5 * NS_PER_S)
#define DEFAULT_DRAIN_TIMEOUT_NS (5 * NS_PER_S)
#define DEFAULT_INITS_PER_SECOND 2000
#define DEFAULT_INIT_BURST       200

/* While one configuration is read. */
struct loading {
    struct config *config;
    struct config_problem *problem;
    const char *file;
    const struct yaml_index *index;
};

/* Texts from a file end up in the sentence: nothing there may upset a terminal or make two lines of one. */
static void make_printable(struct config_problem *problem)
{
    for (char *at = problem->text; *at; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            *at = '?';
}

__attribute__((format(printf, 3, 4))) static int refuse(const struct loading *loading, const char *path,
                                                        const char *format, ...)
{
    struct config_problem *problem = loading->problem;
    unsigned line = loading->index && path ? yaml_index_line(loading->index, path) : 0;
    va_list arguments;
    int used = 0;

    if (loading->file && line)
        used = snprintf(problem->text, sizeof(problem->text), "%s:%u: ", loading->file, line);
    else if (loading->file)
        used = snprintf(problem->text, sizeof(problem->text), "%s: ", loading->file);
    if (used < 0 || (size_t)used >= sizeof(problem->text))
        used = 0;
    va_start(arguments, format);
    vsnprintf(problem->text + used, sizeof(problem->text) - (size_t)used, format, arguments);
    va_end(arguments);
    return -EINVAL;
}

/* A setter's refusal as a sentence; `path` locates it in the file, `name` is what the reader knows it as. */
static int refuse_value(const struct loading *loading, const char *path, const char *name,
                        const char *expected, const char *text, int error)
{
    char quoted[48];

    snprintf(quoted, sizeof(quoted), "%.40s%s", text, strlen(text) > 40 ? "..." : "");
    if (error == -ENOENT)
        return refuse(loading, path, "%s: no host is known by the name in '%s'", name, quoted);
    if (error == -E2BIG)
        return refuse(loading, path, "%s: too many values at '%s'", name, quoted);
    return refuse(loading, path, "%s: expected %s, found '%s'", name, expected, quoted);
}

/* ---- from the file ---- */

static int apply_list(const struct loading *loading, const struct config_key *key,
                      const struct config_items *list)
{
    for (unsigned i = 0; i < list->count; i++) {
        char path[YAML_PATH_BYTES];
        int error = key->set(loading->config, list->items[i]);

        snprintf(path, sizeof(path), "%s[%u]", key->path, i);
        if (error)
            return refuse_value(loading, path, key->path, key->expected, list->items[i], error);
    }
    return 0;
}

static int apply_keys(const struct loading *loading, const struct config_text *text)
{
    int error = 0;

    for (unsigned i = 0; i < config_key_count && !error; i++) {
        const struct config_key *key = &config_keys[i];
        const void *at = (const char *)text + key->text_offset;
        const char *value;

        if (key->kind == CONFIG_LIST) {
            error = apply_list(loading, key, at);
            continue;
        }
        value = *(char *const *)at;
        error = value ? key->set(loading->config, value) : 0;
        if (error)
            error = refuse_value(loading, key->path, key->path, key->expected, value, error);
    }
    return error;
}

static int apply_tenant(const struct loading *loading, const struct config_tenant_text *text, unsigned number)
{
    struct tenant *tenant = &loading->config->tenants[number];
    char path[YAML_PATH_BYTES];

    tenant->quota_bytes = TENANT_QUOTA_UNLIMITED;
    for (unsigned i = 0; i < config_tenant_key_count; i++) {
        const struct config_tenant_key *key = &config_tenant_keys[i];
        const char *value = *(char *const *)((const char *)text + key->text_offset);
        int error = value ? key->set(tenant, value) : 0;

        snprintf(path, sizeof(path), "tenants[%u].%s", number, key->name);
        if (error)
            return refuse_value(loading, path, path, key->expected, value, error);
    }
    snprintf(path, sizeof(path), "tenants[%u]", number);
    if (!text->name || !text->public_key)
        return refuse(loading, path, "%s: a tenant needs %s", path, text->name ? "a public_key" : "a name");
    return 0;
}

static int apply_tenants(const struct loading *loading, const struct config_text *text)
{
    struct config *config = loading->config;
    int error = 0;

    if (text->tenants_count == 0)
        return 0;
    config->tenants = calloc(text->tenants_count, sizeof(*config->tenants));
    if (!config->tenants)
        return -ENOMEM;
    config->tenant_count = text->tenants_count;
    for (unsigned i = 0; i < text->tenants_count && !error; i++)
        error = apply_tenant(loading, &text->tenants[i], i);
    return error;
}

static int refuse_twin(const struct loading *loading, unsigned number, const char *what, unsigned twin)
{
    char path[YAML_PATH_BYTES];

    snprintf(path, sizeof(path), "tenants[%u]", number);
    return refuse(loading, path, "%s: the same %s as tenants[%u]", path, what, twin);
}

static bool same_key(const uint8_t a[NOISE_KEY_BYTES], const uint8_t b[NOISE_KEY_BYTES])
{
    return memcmp(a, b, NOISE_KEY_BYTES) == 0;
}

/* Would some client's key open both? */
static bool keys_meet(const struct tenant *a, const struct tenant *b)
{
    return same_key(a->public_key, b->public_key) ||
           (a->has_previous_key && same_key(a->previous_key, b->public_key)) ||
           (b->has_previous_key && same_key(b->previous_key, a->public_key)) ||
           (a->has_previous_key && b->has_previous_key && same_key(a->previous_key, b->previous_key));
}

/* Gives ids by position where none was given; then names, ids and keys must all differ. */
static int settle_tenants(const struct loading *loading)
{
    struct tenant *tenants = loading->config->tenants;

    for (unsigned i = 0; i < loading->config->tenant_count; i++) {
        if (tenants[i].id == 0)
            tenants[i].id = (uint16_t)(i + 1);
        for (unsigned j = 0; j < i; j++) {
            if (strcmp(tenants[i].name, tenants[j].name) == 0)
                return refuse_twin(loading, i, "name", j);
            if (tenants[i].id == tenants[j].id)
                return refuse_twin(loading, i, "id (by default the position, from 1)", j);
            if (keys_meet(&tenants[i], &tenants[j]))
                return refuse_twin(loading, i, "key", j);
        }
    }
    return 0;
}

static int apply_file(struct loading *loading, const char *text, size_t text_bytes)
{
    struct config_text *values = NULL;
    struct yaml_problem problem = {.line = 0};
    struct yaml_index *index = NULL;
    struct config_problem sentence;
    unsigned line = 0;
    int error = yaml_index_open(text, text_bytes, &index, &problem);

    if (error == -EINVAL)
        snprintf(loading->problem->text, sizeof(loading->problem->text), "%s:%u: %s", loading->file,
                 problem.line, problem.text);
    if (error)
        return error;
    error = config_file_parse(text, text_bytes, index, &values, &line, &sentence);
    if (error == -EINVAL)
        snprintf(loading->problem->text, sizeof(loading->problem->text), "%s:%u: %.400s", loading->file,
                 line ? line : 1, sentence.text);
    loading->index = index;
    if (!error && values)
        error = apply_keys(loading, values) ?: apply_tenants(loading, values) ?: settle_tenants(loading);
    loading->index = NULL;
    config_file_free(values);
    yaml_index_close(index);
    return error;
}

/* The whole file, which must be regular and not absurdly large; the caller frees. A NUL follows the text. */
static int read_file(const struct loading *loading, char **text_out, size_t *text_bytes_out)
{
    struct stat status;
    size_t used = 0;
    ssize_t got;
    char *text;
    int error, fd = open(loading->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0 || fstat(fd, &status) != 0) {
        error = -errno;
        refuse(loading, NULL, "cannot read the configuration: %s", strerror(errno));
        goto close_file;
    }
    error = !S_ISREG(status.st_mode) ? refuse(loading, NULL, "expected a regular file")
            : status.st_size > (off_t)CONFIG_FILE_BYTES_MAX
                ? refuse(loading, NULL, "expected a file of at most %u bytes", CONFIG_FILE_BYTES_MAX)
                : 0;
    if (error)
        goto close_file;
    text = malloc((size_t)status.st_size + 1);
    error = text ? 0 : -ENOMEM;
    if (error)
        goto close_file;
    while (used < (size_t)status.st_size && (got = read(fd, text + used, (size_t)status.st_size - used)) > 0)
        used += (size_t)got;
    text[used] = '\0';
    *text_out = text;
    *text_bytes_out = used;
close_file:
    if (fd >= 0)
        close(fd);
    return error;
}

/* ---- from the command line ---- */

static const struct config_key *find_key(const char *path)
{
    for (unsigned i = 0; i < config_key_count; i++)
        if (strcmp(config_keys[i].path, path) == 0)
            return &config_keys[i];
    return NULL;
}

static int apply_overrides(struct loading *loading, const struct config_override *overrides, unsigned count)
{
    const struct loading command_line = {.config = loading->config, .problem = loading->problem};
    bool listen_given = false;

    for (unsigned i = 0; i < count; i++) {
        const struct config_override *override = &overrides[i];
        const struct config_key *key = find_key(override->key);
        int error;

        CHECK(key); /* the table in options.c names keys of config.def */
        if (strcmp(key->path, "listen") == 0 && !listen_given) {
            listen_given = true;
            loading->config->listen_count = 0; /* the options replace the file's list */
            memset(loading->config->listen, 0, sizeof(loading->config->listen));
        }
        error = key->set(loading->config, override->text);
        if (error)
            return refuse_value(&command_line, NULL, override->option, key->expected, override->text, error);
    }
    return 0;
}

/* ---- the whole ---- */

static void set_defaults(struct config *config)
{
    memset(config, 0, sizeof(*config)); /* padding too: configurations are compared bytewise */
    strcpy(config->transport, "eth");
    config->spin_ns = DEFAULT_SPIN_NS;
    config->idle_timeout_ns = DEFAULT_IDLE_TIMEOUT_NS;
    config->lease_ns = DEFAULT_LEASE_NS;
    config->drain_timeout_ns = DEFAULT_DRAIN_TIMEOUT_NS;
    config->log_level = LOG_LEVEL_INFO;
    config->pool.total_bytes = DEFAULT_POOL_BYTES;
    config->pool.prefault = true;
    config->handshake.inits_per_second = DEFAULT_INITS_PER_SECOND;
    config->handshake.burst = DEFAULT_INIT_BURST;
}

void config_runtime_dir(char *path_out, size_t path_bytes)
{
    const char *base = getenv("XDG_RUNTIME_DIR");

    snprintf(path_out, path_bytes, "%s/cxe", base && *base ? base : "/run");
}

bool config_is_local(const struct config *config)
{
    for (unsigned i = 0; i < config->listen_count; i++)
        if (!address_is_loopback(&config->listen[i]))
            return false;
    return true;
}

static unsigned cpus_allowed(void)
{
    cpu_set_t allowed;
    unsigned count = sched_getaffinity(0, sizeof(allowed), &allowed) == 0 ? (unsigned)CPU_COUNT(&allowed) : 1;

    return count < WORKERS_MAX ? count : WORKERS_MAX;
}

static int settle_workers(const struct loading *loading)
{
    struct config *config = loading->config;
    bool one_only = strncmp(config->transport, "ofi", 3) == 0; /* it has one listener to a port */

    if (config->workers == 0)
        config->workers = config->cpu_count ? config->cpu_count : one_only ? 1 : cpus_allowed();
    if (one_only && config->workers != 1)
        return refuse(loading, NULL, "workers: transport ofi is served by 1, found %u", config->workers);
    if (config->cpu_count != 0 && config->cpu_count != config->workers)
        return refuse(loading, NULL, "cpus: expected one CPU for each of the %u workers, found %u",
                      config->workers, config->cpu_count);
    return 0;
}

int config_default_socket(uint16_t port, char path_out[CONFIG_SOCKET_BYTES])
{
    char directory[PATH_MAX], path[CONFIG_SOCKET_BYTES];
    int length;

    config_runtime_dir(directory, sizeof(directory));
    length = snprintf(path, sizeof(path), "%s/fabricd-%u.sock", directory, port);
    if (length < 0 || (size_t)length >= sizeof(path))
        return -ENAMETOOLONG;
    memcpy(path_out, path, sizeof(path));
    return 0;
}

/* The kernel chooses a port for one socket; a second worker could not have the same. */
static int settle_listen(const struct loading *loading)
{
    struct config *config = loading->config;

    if (config->listen_count == 0)
        config->listen[config->listen_count++].in = (struct sockaddr_in){
            .sin_family = AF_INET, .sin_port = htons(CXE_PORT_DEFAULT), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    for (unsigned i = 0; i < config->listen_count; i++)
        if (config->listen[i].in.sin_port == 0 && config->workers != 1)
            return refuse(loading, NULL, "listen: port 0 (any that is free) needs workers: 1, found %u",
                          config->workers);
    return 0;
}

/* Who can be reached from elsewhere must know whom it lets in, and prove who it is. */
static int check_exposure(const struct loading *loading)
{
    const struct config *config = loading->config;
    bool no_tenants = config->tenant_count == 0, no_key = !config->key_file[0];
    char address[64];

    for (unsigned i = 0; i < config->listen_count && (no_tenants || no_key); i++)
        if (!address_is_loopback(&config->listen[i]))
            return refuse(
                loading, NULL, "refusing to listen on %s without %s%s%s: add %s%s%s, or listen on 127.0.0.1",
                address_format(&config->listen[i], address, sizeof(address)), no_tenants ? "tenants" : "",
                no_tenants && no_key ? " and " : "", no_key ? "a key" : "", no_tenants ? "tenants:" : "",
                no_tenants && no_key ? " and " : "", no_key ? "key_file:" : "");
    return 0;
}

static int settle(const struct loading *loading)
{
    struct config *config = loading->config;
    int error;

    if (config->pool.policy == POOL_PREFERRED && __builtin_popcountll(config->pool.node_mask) != 1)
        return refuse(loading, NULL, "pool.policy: preferred takes exactly one entry in pool.nodes, found %d",
                      __builtin_popcountll(config->pool.node_mask));
    error = settle_workers(loading) ?: settle_listen(loading);
    return error ?: check_exposure(loading);
}

static int load(struct loading *loading, const char *text, size_t text_bytes,
                const struct config_override *overrides, unsigned override_count)
{
    int error;

    set_defaults(loading->config);
    error = text ? apply_file(loading, text, text_bytes) : 0;
    if (!error)
        error = apply_overrides(loading, overrides, override_count);
    if (!error)
        error = settle(loading);
    if (error == -ENOMEM)
        refuse(loading, NULL, "out of memory while reading the configuration");
    if (error)
        make_printable(loading->problem);
    return error;
}

int config_load_text(const char *text, size_t text_bytes, const char *file,
                     const struct config_override *overrides, unsigned override_count,
                     struct config **config_out, struct config_problem *problem_out)
{
    struct loading loading = {.problem = problem_out, .file = file};
    int error;

    loading.config = malloc(sizeof(*loading.config));
    if (!loading.config) {
        refuse(&loading, NULL, "out of memory while reading the configuration");
        return -ENOMEM;
    }
    error = load(&loading, text, text_bytes, overrides, override_count);
    if (error) {
        config_free(loading.config);
        return error;
    }
    *config_out = loading.config;
    return 0;
}

int config_load(const char *file, const struct config_override *overrides, unsigned override_count,
                struct config **config_out, struct config_problem *problem_out)
{
    const struct loading loading = {.problem = problem_out, .file = file};
    size_t text_bytes = 0;
    char *text = NULL;
    int error = file ? read_file(&loading, &text, &text_bytes) : 0;

    if (error == -ENOMEM)
        refuse(&loading, NULL, "out of memory while reading the configuration");
    if (!error)
        error = config_load_text(text, text_bytes, file, overrides, override_count, config_out, problem_out);
    free(text);
    return error;
}

void config_free(struct config *config)
{
    if (!config)
        return;
    free(config->tenants);
    free(config);
}

/* What cannot change while the daemon runs. Fields hold zeros where nothing was said, so bytes compare. */
const char *config_restart_needed(const struct config *running, const struct config *wanted, unsigned *cursor)
{
#define FIXED(path, member)                                            \
    {                                                                  \
        path, offsetof(struct config, member), sizeof(running->member) \
    }
    static const struct {
        const char *path;
        size_t offset, bytes;
    } fixed[] = {
        FIXED("listen", listen),
        FIXED("listen", listen_count),
        FIXED("transport", transport),
        FIXED("fault", fault),
        FIXED("workers", workers),
        FIXED("cpus", cpus),
        FIXED("cpus", cpu_count),
        FIXED("spin", spin_ns),
        FIXED("encryption", encryption),
        FIXED("key_file", key_file),
        FIXED("control_socket", control_socket),
        FIXED("idle_timeout", idle_timeout_ns),
        FIXED("lease", lease_ns),
        FIXED("pool.size", pool.total_bytes),
        FIXED("pool.nodes", pool.node_mask),
        FIXED("pool.policy", pool.policy),
        FIXED("pool.huge_pages", pool.huge_pages),
        FIXED("pool.prefault", pool.prefault),
        FIXED("metrics.listen", metrics_listen),
        FIXED("handshake.per_second", handshake.inits_per_second),
        FIXED("handshake.burst", handshake.burst),
    };
#undef FIXED
    while (*cursor < sizeof(fixed) / sizeof(fixed[0])) {
        const char *path = fixed[*cursor].path;
        size_t offset = fixed[*cursor].offset;

        if (memcmp((const char *)running + offset, (const char *)wanted + offset, fixed[(*cursor)++].bytes) !=
            0)
            return path;
    }
    return NULL;
}
