/* fabricd.c - see fabricd.h */
#include "fabricd_internal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "atomic.h"
#include "clock.h"
#include "config_keys.h"
#include "keys.h"
#include "log.h"
#include "tenant.h"
#include "units.h"

#define DRAIN_LOOK_MS 20 /* how often a drain looks whether the workers are quiet */

/* ---- reload ---- */

int fabricd_admit(struct fabricd *daemon, const struct config *config)
{
    int error = tenants_publish(config->tenants, config->tenant_count, config->tenant_count == 0);
    unsigned count;
    const struct tenant *tenants = tenants_list(&count);

    for (unsigned i = 0; !error && i < count; i++)
        regions_set_quota(daemon->regions, tenants[i].id, tenants[i].quota_bytes);
    return error;
}

static void tell_what_must_wait(const struct fabricd *daemon, const struct config *config)
{
    unsigned cursor = 0;
    const char *key;

    while ((key = config_restart_needed(daemon->config, config, &cursor)))
        log_warn("reload: %s changed; it takes effect at the next start", key);
}

/* Under the reload lock. */
static int reload_locked(struct fabricd *daemon, char *why, size_t why_bytes)
{
    struct config_problem problem;
    struct config *config;
    int error = config_load(daemon->options->config_file, daemon->options->overrides,
                            daemon->options->override_count, &config, &problem);

    if (error) {
        snprintf(why, why_bytes, "%s", problem.text);
        return error;
    }
    error = fabricd_admit(daemon, config);
    if (error) {
        snprintf(why, why_bytes, "not enough memory for the tenants");
    } else {
        tell_what_must_wait(daemon, config);
        log_set_level(config->log_level);
        daemon->drain_timeout_ns = config->drain_timeout_ns;
    }
    config_free(config);
    return error;
}

int fabricd_reload(struct fabricd *daemon, char *why, size_t why_bytes)
{
    int error;

    pthread_mutex_lock(&daemon->reload_lock);
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu", clock_now_ns() / NS_PER_US);
    error = reload_locked(daemon, why, why_bytes);
    sd_notify(0, "READY=1");
    pthread_mutex_unlock(&daemon->reload_lock);
    if (error)
        log_error("reload: %s; the old configuration stays", why);
    else
        log_info("reloaded");
    return error;
}

int fabricd_reload_for_control(void *daemon, char *why, size_t why_bytes)
{
    return fabricd_reload(daemon, why, why_bytes);
}

/* ---- serve and drain ---- */

void fabricd_ask_drain(void *context)
{
    struct fabricd *daemon = context;
    const uint64_t one = 1;

    store_release(&daemon->drain_asked, true);
    if (write(daemon->wake_fd, &one, sizeof(one)) < 0)
        log_error("cannot wake the main thread: %s", strerror(errno));
}

static bool workers_quiet(const struct fabricd *daemon)
{
    for (unsigned i = 0; i < daemon->started; i++)
        if (!worker_quiet(daemon->workers[i]))
            return false;
    return true;
}

/* Looks at the signals that came. True: one asks to stop. */
static bool take_signals(struct fabricd *daemon)
{
    struct signalfd_siginfo signal_info;
    char why[WHY_BYTES];
    bool stop = false;

    while (read(daemon->signal_fd, &signal_info, sizeof(signal_info)) == (ssize_t)sizeof(signal_info)) {
        if (signal_info.ssi_signo == SIGHUP)
            fabricd_reload(daemon, why, sizeof(why)); /* it has told the log */
        else
            stop = true;
    }
    return stop;
}

static void serve(struct fabricd *daemon)
{
    struct pollfd fds[] = {{.fd = daemon->signal_fd, .events = POLLIN},
                           {.fd = daemon->wake_fd, .events = POLLIN}};
    uint64_t ignored;

    while (!take_signals(daemon) && !load_acquire(&daemon->drain_asked)) {
        poll(fds, 2, -1);
        if (read(daemon->wake_fd, &ignored, sizeof(ignored)) < 0)
            continue; /* it was a signal */
    }
}

/* New clients are turned away; those that are there get their answers until they pause, or time is up, or a
 * second signal comes. */
static void drain(struct fabricd *daemon)
{
    struct pollfd fd = {.fd = daemon->signal_fd, .events = POLLIN};
    uint64_t timeout_ns, begun_ns = clock_now_ns();

    pthread_mutex_lock(&daemon->reload_lock);
    timeout_ns = daemon->drain_timeout_ns;
    pthread_mutex_unlock(&daemon->reload_lock);
    log_info("draining");
    sd_notify(0, "STOPPING=1\nSTATUS=Draining");
    store_relaxed(&daemon->source.draining, true);
    for (unsigned i = 0; i < daemon->started; i++)
        worker_drain(daemon->workers[i]);
    while (!workers_quiet(daemon) && clock_now_ns() - begun_ns < timeout_ns) {
        poll(&fd, 1, DRAIN_LOOK_MS);
        if (take_signals(daemon)) {
            log_warn("told to stop again: not waiting any longer");
            return;
        }
    }
    if (!workers_quiet(daemon))
        log_warn("clients were still busy when the drain timed out");
}

static void tell_ready(const struct fabricd *daemon)
{
    const struct config *config = daemon->config;
    char key[KEYS_TEXT_BYTES], pool[24], address[64];

    units_format_bytes(config->pool.total_bytes, pool, sizeof(pool));
    keys_format(daemon->secrets->key.public, key);
    for (unsigned i = 0; i < config->listen_count; i++)
        log_info("listening on %s over %s, encryption %s, public key %s",
                 address_format(&daemon->listen[i], address, sizeof(address)), config->transport,
                 config_encryption_names[config->encryption], key);
    log_info("serving %s with %u workers (%s); control socket %s", pool, config->workers,
             daemon->source.poller, daemon->control_path[0] ? daemon->control_path : "none");
    if (config->tenant_count == 0)
        log_warn("no tenants are configured: every program on this host may use the pool, as tenant '%s'",
                 TENANT_OPEN_NAME);
    if (config->encryption == ENCRYPTION_OFF && !config_is_local(config))
        log_warn("encryption is off: whoever is on the path can read and change the memory");
    sd_notifyf(0, "READY=1\nSTATUS=Serving %s on %s", pool,
               address_format(&daemon->listen[0], address, sizeof(address)));
}

/* ---- up and down ---- */

static int run(struct fabricd *daemon)
{
    unsigned up = 0;
    char why[WHY_BYTES] = "";
    int error = 0;

    while (up < boot_step_count) {
        log_debug("starting: %s", boot_steps[up].name);
        error = boot_steps[up].start(daemon, why, sizeof(why));
        if (error)
            break;
        up++;
    }
    if (error) {
        log_error("%s", why);
    } else {
        tell_ready(daemon);
        serve(daemon);
        drain(daemon);
    }
    while (up-- > 0)
        if (boot_steps[up].stop)
            boot_steps[up].stop(daemon);
    if (!error)
        log_info("stopped");
    return error ? 1 : 0;
}

/* --check goes as far as can be gone without touching anything. */
static int check(const struct config *config)
{
    struct noise_keypair key;
    char why[KEYS_WHY_BYTES];
    int error = 0;

    if (config->key_file[0])
        error = keys_read_secret(config->key_file, &key, why, sizeof(why));
    sodium_memzero(&key, sizeof(key));
    if (error) {
        log_error("%s", why);
        return OPTIONS_EXIT_USAGE;
    }
    config_print(config, stdout);
    return fflush(stdout) == 0 ? 0 : 1;
}

int fabricd_run(const struct options *options)
{
    struct fabricd daemon = {.options = options, .reload_lock = PTHREAD_MUTEX_INITIALIZER};
    struct config_problem problem;
    int status;

    if (config_load(options->config_file, options->overrides, options->override_count, &daemon.config,
                    &problem) != 0) {
        log_error("%s", problem.text);
        return OPTIONS_EXIT_USAGE;
    }
    log_set_level(daemon.config->log_level);
    daemon.drain_timeout_ns = daemon.config->drain_timeout_ns;
    daemon.source.started_ns = clock_now_ns();
    status = options->check ? check(daemon.config) : run(&daemon);
    config_free(daemon.config);
    return status;
}
