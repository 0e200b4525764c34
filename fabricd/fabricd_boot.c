/* fabricd_boot.c - the things the daemon consists of, in the order in which they come up */
#include "fabricd_internal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "atomic.h"
#include "clock.h"
#include "config_keys.h"
#include "keys.h"
#include "log.h"
#include "mailbox.h"
#include "record.h"
#include "tenant.h"
#include "units.h"

#define FDS_OF_WORKER      (4 + 2 * WORKER_LISTEN_MAX) /* poller, wake-up, sockets and what wraps them */
#define FDS_OF_DAEMON      (32 + 2 * CONTROL_CONNECTIONS_MAX)
#define STACK_BYTES_MIN    (256 << 10) /* threads get what the process may have; half of it is enough by far */
#define PREFAULT_THREADS   8           /* more of them only wait for the same memory */
#define PROGRESS_PERIOD_NS NS_PER_S

/* ---- the process ---- */

/* Before any thread exists, so that all of them inherit the mask and signals come here only. */
static int start_signals(struct fabricd *daemon, char *why, size_t why_bytes)
{
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a log that may not grow any more is no reason to end */
    daemon->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    daemon->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (daemon->signal_fd >= 0 && daemon->wake_fd >= 0)
        return 0;
    snprintf(why, why_bytes, "cannot watch signals: %s", strerror(errno));
    return -EIO;
}

static void stop_signals(struct fabricd *daemon)
{
    close(daemon->signal_fd);
    close(daemon->wake_fd);
}

static int check_stack(char *why, size_t why_bytes)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_STACK, &limit) != 0 || limit.rlim_cur >= STACK_BYTES_MIN)
        return 0;
    snprintf(why, why_bytes, "a stack of %llu KiB is too small, %u KiB are needed: raise it (ulimit -s)",
             (unsigned long long)limit.rlim_cur >> 10, STACK_BYTES_MIN >> 10);
    return -ENOMEM;
}

static int check_descriptors(struct fabricd *daemon, char *why, size_t why_bytes)
{
    rlim_t wanted = FDS_OF_DAEMON + (rlim_t)daemon->config->workers * FDS_OF_WORKER;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return 0;
    limit.rlim_cur = wanted;
    if (limit.rlim_max >= wanted && setrlimit(RLIMIT_NOFILE, &limit) == 0)
        return 0;
    snprintf(why, why_bytes,
             "%u workers need %llu file descriptors, and the limit is %llu: raise it (ulimit -n)",
             daemon->config->workers, (unsigned long long)wanted, (unsigned long long)limit.rlim_max);
    return -EMFILE;
}

static int check_limits(struct fabricd *daemon, char *why, size_t why_bytes)
{
    int error = check_stack(why, why_bytes);

    return error ? error : check_descriptors(daemon, why, why_bytes);
}

/* Keys made of anything but good random numbers are worse than no daemon; the same for time that stands. */
static int start_secrets(struct fabricd *daemon, char *why, size_t why_bytes)
{
    struct timespec now;

    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0) {
        snprintf(why, why_bytes, "the monotonic clock does not work here: %s", strerror(errno));
        return -EIO;
    }
    do {
        if (getrandom(&daemon->incarnation, sizeof(daemon->incarnation), 0) !=
            (ssize_t)sizeof(daemon->incarnation)) {
            snprintf(why, why_bytes, "the kernel gives no random numbers: %s", strerror(errno));
            return -EIO;
        }
    } while (daemon->incarnation == 0);
    if (sodium_init() < 0) {
        snprintf(why, why_bytes, "libsodium does not work here");
        return -EIO;
    }
    daemon->secrets = secret_pages_alloc(sizeof(*daemon->secrets));
    if (!daemon->secrets) {
        snprintf(why, why_bytes, "no memory for keys");
        return -ENOMEM;
    }
    randombytes_buf(daemon->secrets->cookie_secret, sizeof(daemon->secrets->cookie_secret));
    if (daemon->config->encryption != ENCRYPTION_OFF)
        prctl(PR_SET_DUMPABLE, 0);
    return 0;
}

static void stop_secrets(struct fabricd *daemon)
{
    secret_pages_free(daemon->secrets, sizeof(*daemon->secrets));
    prctl(PR_SET_DUMPABLE, 1); /* nothing is left to hide */
}

static int start_key(struct fabricd *daemon, char *why, size_t why_bytes)
{
    if (daemon->config->key_file[0])
        return keys_read_secret(daemon->config->key_file, &daemon->secrets->key, why, why_bytes);
    keys_generate(&daemon->secrets->key);
    return 0;
}

/* ---- the memory ---- */

static int start_quiesce(struct fabricd *daemon, char *why, size_t why_bytes)
{
    snprintf(why, why_bytes, "not enough memory");
    return quiesce_open(daemon->config->workers, &daemon->quiesce);
}

static int start_mailboxes(struct fabricd *daemon, char *why, size_t why_bytes)
{
    int error = mailboxes_open(daemon->config->workers, &daemon->mailboxes);

    if (error)
        snprintf(why, why_bytes, "cannot make the workers' mailboxes: %s", strerror(-error));
    return error;
}

static void stop_mailboxes(struct fabricd *daemon)
{
    mailboxes_close(daemon->mailboxes);
}

static void stop_quiesce(struct fabricd *daemon)
{
    quiesce_close(daemon->quiesce);
}

static int start_pool(struct fabricd *daemon, char *why, size_t why_bytes)
{
    const struct config *config = daemon->config;
    const struct pool_options options = {.bytes = config->pool.total_bytes,
                                         .workers = config->workers,
                                         .node_mask = config->pool.node_mask,
                                         .policy = config->pool.policy,
                                         .huge_pages = config->pool.huge_pages};

    return pool_open(&options, why, why_bytes, &daemon->pool);
}

static void stop_pool(struct fabricd *daemon)
{
    pool_close(daemon->pool);
}

static int start_regions(struct fabricd *daemon, char *why, size_t why_bytes)
{
    const struct regions_options options = {
        .pool = daemon->pool,
        .quiesce = daemon->quiesce,
        .mailboxes = daemon->mailboxes,
        .default_quota_bytes = REGIONS_QUOTA_UNLIMITED,
        .lease_ns = daemon->config->lease_ns,
    };

    snprintf(why, why_bytes, "not enough memory for the table of regions");
    return regions_open(&options, &daemon->regions);
}

static void stop_regions(struct fabricd *daemon)
{
    regions_close(daemon->regions);
}

/* What SERVER_STAT says beyond the memory. */
static void fill_server_info(void *context, uint16_t tenant, struct wire_server_info *info)
{
    const struct fabricd *daemon = context;
    struct worker_counters totals;

    (void)tenant;
    metrics_totals(&daemon->source, &totals);
    info->incarnation = le64_of(daemon->incarnation);
    info->uptime_ns = le64_of(clock_now_ns() - daemon->source.started_ns);
    info->cpu_ns = le64_of(metrics_cpu_ns());
    info->sessions = le64_of(totals.sessions);
    info->received_bytes = le64_of(totals.received_bytes);
    info->sent_bytes = le64_of(totals.sent_bytes);
    info->operations = le64_of(totals.operations);
}

static int start_executor(struct fabricd *daemon, char *why, size_t why_bytes)
{
    const struct executor_options options = {.pool = daemon->pool,
                                             .regions = daemon->regions,
                                             .quiesce = daemon->quiesce,
                                             .fill_server_info = fill_server_info,
                                             .context = daemon};

    snprintf(why, why_bytes, "not enough memory for the executor");
    return executor_open(&options, &daemon->executor);
}

static void stop_executor(struct fabricd *daemon)
{
    executor_close(daemon->executor);
}

/* ---- who may come ---- */

static int start_tenants(struct fabricd *daemon, char *why, size_t why_bytes)
{
    int error = fabricd_admit(daemon, daemon->config);

    if (error)
        snprintf(why, why_bytes, "not enough memory for the tenants");
    return error;
}

static void stop_tenants(struct fabricd *daemon)
{
    (void)daemon;
    tenants_clear();
}

static int find_tenant(void *context, const uint8_t public_key[NOISE_KEY_BYTES], uint16_t *tenant_out)
{
    const struct tenant *tenant = tenants_find_by_key(public_key);

    (void)context;
    if (!tenant)
        return -EACCES;
    *tenant_out = tenant->id;
    return 0;
}

static uint8_t cipher_mask(enum encryption encryption)
{
    const uint8_t plain = 1u << RECORD_CIPHER_PLAIN, all = record_ciphers_available();

    switch (encryption) {
    case ENCRYPTION_REQUIRED:
        return all & (uint8_t)~plain;
    case ENCRYPTION_ALLOWED:
        return all | plain;
    case ENCRYPTION_OFF:
        return plain;
    }
    return 0;
}

/* ---- the workers ---- */

static uint32_t share_of(uint32_t total, unsigned workers)
{
    return total / workers > 0 ? total / workers : 1;
}

static struct worker_options worker_options(const struct fabricd *daemon, unsigned index)
{
    const struct config *config = daemon->config;

    return (struct worker_options){
        .index = index,
        .count = config->workers,
        .cpu = config->cpu_count ? (int)config->cpus[index] : -1,
        .transport = config->transport,
        .listen = config->listen,
        .listen_count = config->listen_count,
        .fault = config->fault[0] ? config->fault : NULL,
        .spin_ns = config->spin_ns,
        .idle_timeout_ns = config->idle_timeout_ns,
        .sessions_max = SESSIONS_MAX,
        .use_io_uring = true,
        .cipher_mask = cipher_mask(config->encryption),
        .key = &daemon->secrets->key,
        .cookie_secret = daemon->secrets->cookie_secret,
        .handshake_limits = {.inits_per_second =
                                 share_of(config->handshake.inits_per_second, config->workers),
                             .burst = share_of(config->handshake.burst, config->workers)},
        .incarnation = daemon->incarnation,
        .executor = daemon->executor,
        .regions = daemon->regions,
        .quiesce = daemon->quiesce,
        .mailboxes = daemon->mailboxes,
        .find_tenant = find_tenant,
        .tenants_generation = tenants_generation(),
    };
}

static void close_workers(struct fabricd *daemon)
{
    for (unsigned i = 0; i < daemon->config->workers; i++)
        if (daemon->workers[i])
            worker_drop_mail(daemon->workers[i]);
    for (unsigned i = 0; i < daemon->config->workers; i++)
        worker_close(daemon->workers[i]);
}

/* The sockets are bound before the memory is taken: whoever starts twice hears of it soon. */
static int open_workers(struct fabricd *daemon, char *why, size_t why_bytes)
{
    const struct config *config = daemon->config;

    for (unsigned i = 0; i < config->workers; i++) {
        struct worker_options options = worker_options(daemon, i);
        int error = worker_open(&options, &daemon->workers[i], why, why_bytes);

        if (error) {
            close_workers(daemon);
            return error;
        }
        daemon->source.counters[i] = worker_counters(daemon->workers[i]);
    }
    for (unsigned i = 0; i < config->listen_count; i++)
        daemon->listen[i] = *worker_address(daemon->workers[0], i);
    daemon->source.worker_count = config->workers;
    daemon->source.poller = worker_poller(daemon->workers[0]);
    return 0;
}

static void stop_workers(struct fabricd *daemon)
{
    while (daemon->started > 0)
        worker_stop(daemon->workers[--daemon->started]);
}

static int start_workers(struct fabricd *daemon, char *why, size_t why_bytes)
{
    while (daemon->started < daemon->config->workers) {
        int error = worker_start(daemon->workers[daemon->started]);

        if (error) {
            snprintf(why, why_bytes, "cannot start the thread of worker %u: %s", daemon->started,
                     strerror(-error));
            stop_workers(daemon);
            return error;
        }
        daemon->started++;
    }
    return 0;
}

/* ---- control and metrics ---- */

static int choose_control_path(struct fabricd *daemon, char *why, size_t why_bytes)
{
    int error;

    if (daemon->config->control_socket[0]) {
        strcpy(daemon->control_path, daemon->config->control_socket);
        return 0;
    }
    error = key_announce_directory(why, why_bytes);
    if (error) {
        log_warn("no control socket: %s; set control_socket to have one", why);
        return 0;
    }
    error = config_default_socket(ntohs(daemon->listen[0].in.sin_port), daemon->control_path);
    if (error)
        snprintf(why, why_bytes, "control_socket: the default path is too long; name a shorter one");
    return error;
}

static int start_control(struct fabricd *daemon, char *why, size_t why_bytes)
{
    const struct config *config = daemon->config;
    struct control_options options = {.metrics = config->metrics_on ? &config->metrics_listen : NULL,
                                      .source = &daemon->source,
                                      .reload = fabricd_reload_for_control,
                                      .drain = fabricd_ask_drain,
                                      .context = daemon};
    int error = choose_control_path(daemon, why, why_bytes);

    if (error)
        return error;
    daemon->source.incarnation = daemon->incarnation;
    daemon->source.pool = daemon->pool;
    daemon->source.regions = daemon->regions;
    daemon->source.transport = config->transport;
    daemon->source.encryption = config_encryption_names[config->encryption];
    daemon->source.listen = daemon->listen;
    daemon->source.listen_count = config->listen_count;
    options.socket_path = daemon->control_path[0] ? daemon->control_path : NULL;
    return control_open(&options, &daemon->control, why, why_bytes);
}

static void stop_control(struct fabricd *daemon)
{
    control_close(daemon->control);
    daemon->control = NULL;
}

/* ---- prefault ---- */

static void tell_progress(void *context, uint64_t done_bytes, uint64_t total_bytes)
{
    struct fabricd *daemon = context;
    uint64_t now_ns = clock_now_ns(), told_ns = load_relaxed(&daemon->told_ns);
    char done[24], total[24];

    if (now_ns - told_ns < PROGRESS_PERIOD_NS || !cas_acq_rel(&daemon->told_ns, &told_ns, now_ns))
        return;
    units_format_bytes(done_bytes, done, sizeof(done));
    units_format_bytes(total_bytes, total, sizeof(total));
    log_info("taking memory: %s of %s", done, total);
    sd_notifyf(0, "STATUS=Taking memory: %s of %s", done, total);
}

static void *prefault(void *context)
{
    struct fabricd *daemon = context;
    const uint64_t one = 1;
    int error = pool_prefault(daemon->pool, tell_progress, daemon);

    if (error)
        store_relaxed(&daemon->prefault_error, error);
    if (fetch_sub_acq_rel(&daemon->prefaulters, 1) == 1 && write(daemon->wake_fd, &one, sizeof(one)) < 0)
        log_error("cannot wake the main thread: %s", strerror(errno));
    return NULL;
}

/* Waits for the prefaulting threads. A signal to stop ends the process at once: nobody was served yet, and
 * prefaulting cannot be interrupted. */
static void await_prefault(struct fabricd *daemon)
{
    struct pollfd fds[] = {{.fd = daemon->wake_fd, .events = POLLIN},
                           {.fd = daemon->signal_fd, .events = POLLIN}};
    struct signalfd_siginfo signal_info;

    while (load_acquire(&daemon->prefaulters) > 0 && !load_acquire(&daemon->drain_asked)) {
        poll(fds, 2, -1);
        if (read(daemon->signal_fd, &signal_info, sizeof(signal_info)) == (ssize_t)sizeof(signal_info) &&
            signal_info.ssi_signo != SIGHUP)
            store_release(&daemon->drain_asked, true);
    }
    if (load_acquire(&daemon->prefaulters) > 0) {
        log_info("told to stop while taking memory");
        stop_control(daemon);
        _exit(0);
    }
}

static int start_prefault(struct fabricd *daemon, char *why, size_t why_bytes)
{
    unsigned wanted = daemon->config->workers < PREFAULT_THREADS ? daemon->config->workers : PREFAULT_THREADS;
    pthread_t threads[PREFAULT_THREADS];
    unsigned running = 0;
    int error;

    if (!daemon->config->pool.prefault)
        return 0;
    daemon->told_ns = clock_now_ns();
    store_release(&daemon->prefaulters, wanted);
    while (running < wanted && pthread_create(&threads[running], NULL, prefault, daemon) == 0)
        running++;
    if (running < wanted)
        fetch_sub_acq_rel(&daemon->prefaulters, wanted - running);
    if (running > 0)
        await_prefault(daemon);
    for (unsigned i = 0; i < running; i++)
        pthread_join(threads[i], NULL);
    if (running == 0) {
        snprintf(why, why_bytes, "pool: no thread could be started to take the memory: %s", strerror(EAGAIN));
        return -EAGAIN;
    }
    error = load_relaxed(&daemon->prefault_error);
    if (error)
        snprintf(why, why_bytes, "pool: the kernel did not give the memory: %s; make pool.size smaller",
                 strerror(-error));
    return error;
}

/* ---- the public key ---- */

static int announce_key(struct fabricd *daemon, char *why, size_t why_bytes)
{
    for (unsigned i = 0; i < daemon->config->listen_count; i++)
        if (key_announce(ntohs(daemon->listen[i].in.sin_port), daemon->secrets->key.public,
                         &daemon->announcements[i], why, why_bytes) != 0)
            log_warn("%s; clients must be told the server's key", why);
    return 0;
}

static void withdraw_key(struct fabricd *daemon)
{
    for (unsigned i = 0; i < daemon->config->listen_count; i++)
        key_announce_withdraw(&daemon->announcements[i], daemon->secrets->key.public);
}

const struct boot_step boot_steps[] = {
    {"signals", start_signals, stop_signals},
    {"limits", check_limits, NULL},
    {"secrets", start_secrets, stop_secrets},
    {"key", start_key, NULL},
    {"quiescence", start_quiesce, stop_quiesce},
    {"mailboxes", start_mailboxes, stop_mailboxes},
    {"pool", start_pool, stop_pool},
    {"regions", start_regions, stop_regions},
    {"executor", start_executor, stop_executor},
    {"tenants", start_tenants, stop_tenants},
    {"sockets", open_workers, close_workers},
    {"control", start_control, stop_control},
    {"memory", start_prefault, NULL},
    {"public key", announce_key, withdraw_key},
    {"workers", start_workers, stop_workers},
};
const unsigned boot_step_count = sizeof(boot_steps) / sizeof(boot_steps[0]);
