/* worker.c - the event loop: poll while it is worth it, then sleep
 *
 * Polling is adaptive. A wake-up costs more than ten round trips, so after a frame the worker looks for the
 * next one for at most spin_ns. Whether that pays is measured: `gap_ns` follows the time between bursts, and
 * where that is longer than four times the limit the worker sleeps at once, since it would only burn the time
 * and then sleep anyway. A worker without work sleeps without a time-out, unless a session's end or the
 * pool's housekeeping is due.
 */
#include "worker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "atomic.h"
#include "check.h"
#include "clock.h"
#include "log.h"
#include "quiesce.h"
#include "region_coherent.h"
#include "worker_internal.h"

#define ROUND_FRAMES_MAX 64 /* taken from one endpoint before the loop looks around */
#define QUIET_NS         (100 * NS_PER_MS)
#define HOUSEKEEPING_NS  (10 * NS_PER_MS) /* while there are always frames: at the latest so often */
#define PORT_PATIENCE_NS (5 * NS_PER_S)
#define PORT_RETRY_NS    (20 * NS_PER_MS)
#define ALONE_NS         (10 * NS_PER_US) /* of a spin: without offering the core to others */
#define LATE_LEASE_PART  4                /* of a lease: who is later than that was stopped */

#define container_of(member, type, name) ((type *)((char *)(member)-offsetof(type, name)))

/* ---- boot ---- */

/* The main thread takes signals when the workers run; until then they are pending. */
static bool told_to_stop(void)
{
    sigset_t pending;

    sigemptyset(&pending);
    sigpending(&pending);
    return sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1;
}

/* A daemon that was killed holds its ports a little longer than it lives: the kernel takes its io_uring down
 * in the background, and the sockets with it. So a port in use is waited for before it is called taken. */
static int listen_on(struct worker *worker, unsigned listener, const char *address)
{
    const struct worker_options *options = &worker->options;
    const struct timespec pause = {.tv_nsec = PORT_RETRY_NS};
    uint64_t deadline_ns = clock_now_ns() + PORT_PATIENCE_NS;
    bool told = false;

    for (;;) {
        int error = transport_listen(options->transport, &options->listen[listener], options->index,
                                     options->count, options->fault, &worker->endpoints[listener]);

        if (error != -EADDRINUSE || clock_now_ns() >= deadline_ns)
            return error;
        if (!told)
            log_info("waiting up to %u s for %s, which is in use", (unsigned)(PORT_PATIENCE_NS / NS_PER_S),
                     address);
        told = true;
        if (told_to_stop()) {
            log_info("told to stop while waiting for %s", address);
            return error;
        }
        nanosleep(&pause, NULL);
    }
}

static int listen_all(struct worker *worker, char *why_out, size_t why_bytes)
{
    const struct worker_options *options = &worker->options;

    for (unsigned i = 0; i < options->listen_count; i++) {
        char address[64];
        int error = listen_on(worker, i, address_format(&options->listen[i], address, sizeof(address)));

        if (error) {
            snprintf(why_out, why_bytes, "cannot listen on %s over %s: %s", address, options->transport,
                     strerror(-error));
            return error;
        }
        worker->addresses[i] = worker->endpoints[i]->local;
    }
    return 0;
}

static int watch_all(struct worker *worker)
{
    int error = poller_open(worker->options.use_io_uring, &worker->poller);

    if (error)
        return error;
    error = poller_add(worker->poller, mailbox_fd(worker->options.mailboxes, worker->options.index));
    for (unsigned i = 0; !error && i < worker->options.listen_count; i++)
        if (worker->endpoints[i]->fd >= 0)
            error = poller_add(worker->poller, worker->endpoints[i]->fd);
    return error;
}

int worker_open(const struct worker_options *options, struct worker **worker_out, char *why_out,
                size_t why_bytes)
{
    /* Mapped, not allocated: it holds frames and keys, which belong in no core dump. */
    struct worker *worker =
        mmap(NULL, sizeof(*worker), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int error = -ENOMEM;

    snprintf(why_out, why_bytes, "not enough memory for a worker");
    if (worker == MAP_FAILED)
        return error;
    madvise(worker, sizeof(*worker), MADV_DONTDUMP);
    worker->options = *options;
    handshake_server_init(&worker->handshake, options->key, options->cookie_secret,
                          &options->handshake_limits);
    error = park_init(&worker->park, options->index);
    if (error)
        goto close_worker;
    error = session_table_open(options->sessions_max, options->index, options->count, &worker->sessions);
    if (error)
        goto close_worker;
    error = listen_all(worker, why_out, why_bytes);
    if (error)
        goto close_worker;
    error = watch_all(worker);
    if (error) {
        snprintf(why_out, why_bytes, "cannot watch the sockets: %s", strerror(-error));
        goto close_worker;
    }
    *worker_out = worker;
    return 0;
close_worker:
    worker_close(worker);
    return error;
}

void worker_drop_mail(struct worker *worker)
{
    struct mail *chain = mailbox_take(worker->options.mailboxes, worker->options.index), *mail;

    while ((mail = mailbox_next(&chain))) {
        if (mail->kind == MAIL_WAITER)
            park_came_out((struct parked *)mail);
        else if (mail->kind == MAIL_BINDING)
            worker_adopt(worker, (struct coherence_binding *)mail);
    }
}

void worker_close(struct worker *worker)
{
    if (!worker)
        return;
    CHECK(!worker->started);
    poller_close(worker->poller); /* first: it holds on to the sockets */
    for (unsigned i = 0; i < worker->options.listen_count; i++)
        endpoint_close(worker->endpoints[i]);
    worker_drop_mail(worker);
    worker_drop_bindings(worker);
    park_fini(&worker->park);
    session_table_close(worker->sessions);
    sodium_memzero(worker, sizeof(*worker));
    munmap(worker, sizeof(*worker));
}

const struct address *worker_address(const struct worker *worker, unsigned listen_index)
{
    return &worker->addresses[listen_index];
}

const struct worker_counters *worker_counters(const struct worker *worker)
{
    return &worker->counters;
}

const char *worker_poller(const struct worker *worker)
{
    return poller_name(worker->poller);
}

/* ---- the loop ---- */

/* Takes what has arrived. Returns how many frames. */
static unsigned receive_round(struct worker *worker, uint64_t now_ns)
{
    unsigned frames = 0;

    for (unsigned i = 0; i < worker->options.listen_count; i++) {
        for (unsigned taken = 0; taken < ROUND_FRAMES_MAX; taken++) {
            struct address from;
            int bytes =
                endpoint_receive(worker->endpoints[i], worker->received, sizeof(worker->received), &from);

            if (bytes <= 0)
                break; /* empty; or an error that concerns one peer, whose session will say so */
            worker->burst = ++frames;
            worker->snooping = false;
            worker_frame(worker, i, &from, (size_t)bytes, now_ns);
        }
    }
    return frames;
}

/* What the round posted leaves. */
static void flush_all(struct worker *worker)
{
    for (unsigned i = 0; i < worker->options.listen_count; i++)
        endpoint_flush(worker->endpoints[i]); /* an error concerns one peer, which will ask again */
}

static void end_expired(struct worker *worker, uint64_t now_ns, uint64_t *next_ns_out)
{
    struct session *session;

    while ((session = session_next_expiry(worker->sessions, worker->options.idle_timeout_ns, next_ns_out)) &&
           *next_ns_out <= now_ns)
        worker_dismiss(worker, session, now_ns);
}

/* The tenants changed: whose key is nobody's any more, or another tenant's, has to leave. */
static void end_removed_tenants(struct worker *worker, uint64_t now_ns)
{
    uint64_t generation = load_acquire(worker->options.tenants_generation);
    struct session *session;
    uint32_t cursor = 0;

    if (generation == worker->tenants_seen)
        return;
    worker->tenants_seen = generation;
    while ((session = session_next(worker->sessions, &cursor))) {
        uint16_t tenant;

        if (worker->options.find_tenant(worker->options.context, session->client_public, &tenant) < 0 ||
            tenant != session->tenant)
            worker_dismiss(worker, session, now_ns);
    }
}

void worker_take_mail(struct worker *worker, uint64_t now_ns)
{
    struct mail *chain = mailbox_take(worker->options.mailboxes, worker->options.index), *mail;

    while ((mail = mailbox_next(&chain))) {
        switch ((enum mail_kind)mail->kind) {
        case MAIL_WAITER:
            worker_mail_for_parked(worker, (struct parked *)mail, now_ns);
            break;
        case MAIL_BINDING:
            worker_mail_for_binding(worker, (struct coherence_binding *)mail, now_ns);
            break;
        case MAIL_ORDER:
            worker_obey(worker, (struct worker_order *)mail, now_ns);
            break;
        }
    }
}

static void run_timers(struct worker *worker, uint64_t now_ns)
{
    struct timer *timer;

    while ((timer = timers_due(&worker->timers, now_ns))) {
        if (timer->kind == WORKER_TIMER_PARKED)
            worker_run_parked(worker, container_of(timer, struct parked, timer), now_ns);
        else
            worker_attend(worker, container_of(timer, struct coherence_binding, timer), now_ns);
    }
}

/* What has a time of its own. Returns when it wants to run next. */
static uint64_t housekeeping(struct worker *worker, uint64_t now_ns)
{
    uint64_t expiry_ns, maintenance_ns;

    worker->housekeeping_ns = now_ns + HOUSEKEEPING_NS;
    end_expired(worker, now_ns, &expiry_ns);
    maintenance_ns = executor_maintain(worker->options.executor, worker->options.index, now_ns);
    return expiry_ns < maintenance_ns ? expiry_ns : maintenance_ns;
}

static bool all_armed(struct worker *worker)
{
    for (unsigned i = 0; i < worker->options.listen_count; i++)
        if (endpoint_arm(worker->endpoints[i]) < 0)
            return false;
    return true;
}

static void sleep_until(struct worker *worker, uint64_t wake_ns, uint64_t now_ns)
{
    struct mailboxes *mailboxes = worker->options.mailboxes;
    unsigned index = worker->options.index;

    if (wake_ns <= now_ns || !all_armed(worker) || !mailbox_doze(mailboxes, index))
        return;
    COUNT(worker, sleeps, 1);
    quiesce_offline(worker->options.quiesce, index);
    poller_wait(worker->poller, wake_ns == UINT64_MAX ? UINT64_MAX : wake_ns - now_ns);
    quiesce_online(worker->options.quiesce, index);
    mailbox_rise(mailboxes, index);
}

/* Is it worth looking for another frame instead of sleeping? */
static bool keep_spinning(const struct worker *worker, uint64_t now_ns)
{
    uint64_t spin_ns = worker->options.spin_ns;

    return now_ns - worker->last_frame_ns < spin_ns && worker->gap_ns < 4 * spin_ns;
}

static void note_burst(struct worker *worker, uint64_t now_ns)
{
    uint64_t gap_ns = now_ns - worker->last_frame_ns;

    if (gap_ns > 8 * worker->options.spin_ns)
        gap_ns = 8 * worker->options.spin_ns; /* one long pause must not take long to be forgotten */
    worker->gap_ns = (7 * worker->gap_ns + gap_ns) / 8;
}

/* It is later than it should be, if nobody had stopped us. */
static void note_lateness(struct worker *worker, uint64_t expected_ns, uint64_t now_ns)
{
    if (worker->bindings &&
        now_ns > expected_ns + regions_lease_ns(worker->options.regions) / LATE_LEASE_PART)
        worker_extend_leases(worker, now_ns - expected_ns, now_ns);
}

/* Until the next thing is due. Returns what time it is then. */
static uint64_t rest(struct worker *worker, uint64_t now_ns)
{
    uint64_t wake_ns = housekeeping(worker, now_ns), timer_ns = timers_next_ns(&worker->timers), woken_ns;

    if (timer_ns < wake_ns)
        wake_ns = timer_ns;
    sleep_until(worker, wake_ns, now_ns);
    woken_ns = clock_now_ns();
    note_lateness(worker, wake_ns > now_ns ? wake_ns : now_ns, woken_ns);
    return woken_ns;
}

/* Who is to send the next frame may need this very core. Returns what time it is then: what came meanwhile
 * must not be taken for older than it is. */
static uint64_t offer_core(struct worker *worker, uint64_t now_ns)
{
    uint64_t back_ns = give_way(&worker->give_way, now_ns);

    note_lateness(worker, now_ns, back_ns);
    return back_ns;
}

static void loop(struct worker *worker)
{
    uint64_t now_ns = clock_now_ns();

    worker->last_frame_ns = now_ns;
    while (!load_acquire(&worker->stopping)) {
        uint64_t before_ns = now_ns;
        unsigned frames;

        quiesce_pass(worker->options.quiesce, worker->options.index);
        end_removed_tenants(worker, now_ns); /* before their next request is served */
        worker->burst = 0;
        frames = receive_round(worker, now_ns);
        worker_take_mail(worker, now_ns);
        run_timers(worker, now_ns);
        flush_all(worker);
        now_ns = clock_now_ns();
        note_lateness(worker, before_ns, now_ns);
        if (frames) {
            note_burst(worker, before_ns);
            worker->last_frame_ns = now_ns;
            COUNT(worker, busy_ns, now_ns - before_ns);
            if (now_ns >= worker->housekeeping_ns)
                housekeeping(worker, now_ns);
        } else if (keep_spinning(worker, now_ns)) {
            COUNT(worker, spin_ns, now_ns - before_ns);
            if (worker->snooping || now_ns - worker->last_frame_ns > ALONE_NS)
                now_ns = offer_core(worker, now_ns);
            else
                cpu_relax();
        } else {
            now_ns = rest(worker, now_ns);
        }
    }
}

static void say_goodbye(struct worker *worker)
{
    uint64_t now_ns = clock_now_ns();
    struct session *session;
    uint32_t cursor = 0;

    while ((session = session_next(worker->sessions, &cursor)))
        worker_dismiss(worker, session, now_ns);
}

static void *thread_main(void *argument)
{
    struct worker *worker = argument;

    quiesce_online(worker->options.quiesce, worker->options.index);
    loop(worker);
    worker->burst = 0; /* from here on, whatever is sent leaves at once */
    say_goodbye(worker);
    quiesce_offline(worker->options.quiesce, worker->options.index);
    return NULL;
}

static void pin(pthread_attr_t *attributes, int cpu)
{
    cpu_set_t cpus;

    CPU_ZERO(&cpus);
    CPU_SET(cpu, &cpus);
    pthread_attr_setaffinity_np(attributes, sizeof(cpus), &cpus);
}

int worker_start(struct worker *worker)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    int error;

    pthread_attr_init(&attributes);
    if (worker->options.cpu >= 0)
        pin(&attributes, worker->options.cpu);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* inherited: signals are the main thread's */
    error = pthread_create(&worker->thread, &attributes, thread_main, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    worker->started = error == 0;
    return -error;
}

/* ---- called from other threads ---- */

static void wake(struct worker *worker)
{
    mailbox_wake(worker->options.mailboxes, worker->options.index);
}

void worker_drain(struct worker *worker)
{
    store_release(&worker->draining, true);
    wake(worker);
}

bool worker_quiet(const struct worker *worker)
{
    return load_relaxed(&worker->counters.sessions) == 0 ||
           clock_now_ns() - load_relaxed(&worker->last_request_ns) > QUIET_NS;
}

void worker_stop(struct worker *worker)
{
    if (!worker->started)
        return;
    store_release(&worker->stopping, true);
    wake(worker);
    pthread_join(worker->thread, NULL);
    worker->started = false;
}
