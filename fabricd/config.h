/* config.h - what the daemon is told: a YAML file, with options of the command line above it
 *
 * config.def lists the keys; docs/OPERATIONS.md says what each means.
 */
#ifndef FABRICD_CONFIG_H
#define FABRICD_CONFIG_H

#include <linux/limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "handshake.h"
#include "limits.h"
#include "log.h"
#include "pool.h"
#include "tenant.h"
#include "transport.h"
#include "worker.h"

#define CONFIG_FILE_BYTES_MAX  (1u << 20)
#define CONFIG_LISTEN_MAX      WORKER_LISTEN_MAX
#define CONFIG_TRANSPORT_BYTES 64
#define CONFIG_FAULT_BYTES     256
#define CONFIG_SOCKET_BYTES    108 /* sizeof sun_path */
#define CONFIG_POOL_BYTES_MIN  (1ull << 20)
#define CONFIG_LEASE_NS_MIN    (200 * NS_PER_MS)
#define CONFIG_LEASE_NS_MAX    (60 * NS_PER_S)
#define CONFIG_SPIN_NS_MAX     (10 * NS_PER_MS)
#define CONFIG_PROBLEM_BYTES   512

enum encryption { ENCRYPTION_REQUIRED, ENCRYPTION_ALLOWED, ENCRYPTION_OFF };

struct config {
    struct address listen[CONFIG_LISTEN_MAX];
    unsigned listen_count;
    char transport[CONFIG_TRANSPORT_BYTES];
    char fault[CONFIG_FAULT_BYTES]; /* see fault.h; empty: none */
    unsigned workers;
    unsigned cpus[WORKERS_MAX]; /* worker i is pinned to cpus[i]; none: not pinned */
    unsigned cpu_count;
    uint64_t spin_ns; /* the longest a worker looks for frames before it sleeps */
    enum encryption encryption;
    char key_file[PATH_MAX];                  /* empty: a key made at start, and gone at the end */
    char control_socket[CONFIG_SOCKET_BYTES]; /* empty: the default, once the port is known */
    uint64_t idle_timeout_ns;                 /* a session unheard of for so long is closed */
    uint64_t lease_ns;                        /* a coherent mapping unheard of for so long is fenced */
    uint64_t drain_timeout_ns;                /* how long a stop waits for sessions to end by themselves */
    enum log_level log_level;
    struct {
        uint64_t total_bytes;
        uint64_t node_mask; /* bit n: NUMA node n; 0: wherever the kernel likes */
        enum pool_policy policy;
        bool huge_pages;
        bool prefault;
    } pool;
    bool metrics_on;
    struct address metrics_listen;
    struct handshake_limits handshake;
    struct tenant *tenants; /* none: open mode, see tenant.h */
    unsigned tenant_count;
};

/* A value given on the command line. */
struct config_override {
    const char *key;    /* as in config.def: "pool.size" */
    const char *option; /* as typed: "--pool" */
    const char *text;
};

/* One sentence: what is wrong, where it stands, what was expected. */
struct config_problem {
    char text[CONFIG_PROBLEM_BYTES];
};

/* Reads `file` (NULL: none), puts the overrides above it and the defaults below it, and checks the whole.
 * The caller frees the result. Resolves host names, so it may block. -EINVAL, -ENOMEM or what opening the
 * file said, with *problem_out set. */
int config_load(const char *file, const struct config_override *overrides, unsigned override_count,
                struct config **config_out, struct config_problem *problem_out);

/* The same from a text; `file` is only its name in sentences. */
int config_load_text(const char *text, size_t text_bytes, const char *file,
                     const struct config_override *overrides, unsigned override_count,
                     struct config **config_out, struct config_problem *problem_out);

void config_free(struct config *config);

/* Writes the configuration, defaults included, as YAML that config_load takes. */
void config_print(const struct config *config, FILE *out);

/* Names the keys whose change needs a restart ("pool.size"), one a call; *cursor is 0 at first. NULL: no
 * more. */
const char *config_restart_needed(const struct config *running, const struct config *wanted,
                                  unsigned *cursor);

/* Does every listen address stay on this host? */
bool config_is_local(const struct config *config);

/* Where the control socket is unless told: RUNTIME/cxe/fabricd-PORT.sock. -ENAMETOOLONG. */
int config_default_socket(uint16_t port, char path_out[CONFIG_SOCKET_BYTES]);

/* The directory of the public key and the default control socket: $XDG_RUNTIME_DIR/cxe or /run/cxe. */
void config_runtime_dir(char *path_out, size_t path_bytes);

#endif
