/* worker.h - one event loop: receives frames, runs them, answers; polls while it is worth it, then sleeps
 *
 * A daemon has a worker for each core it may use. A session belongs to the worker whose number its id
 * carries, so that nothing about a session is ever shared; what workers share is the memory (executor) and
 * who may come in (tenants).
 */
#ifndef FABRICD_WORKER_H
#define FABRICD_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "handshake.h"
#include "transport.h"

#define WORKER_LISTEN_MAX 4

struct executor;
struct mailboxes;
struct quiesce;
struct regions;
struct worker;

/* Written by the worker only, relaxed; read by anyone. */
struct worker_counters {
#define WORKER_COUNTER(name, unit, help) uint64_t name;
#include "counters.def"
};

/* All pointers are borrowed and outlive the worker. */
struct worker_options {
    unsigned index, count;
    int cpu; /* to pin to; -1: none */
    const char *transport;
    const struct address *listen; /* port 0: the kernel's choice, see worker_address; only with count == 1 */
    unsigned listen_count;        /* 1..WORKER_LISTEN_MAX */
    const char *fault;            /* NULL but in tests */
    uint64_t spin_ns;             /* how long to look for a next frame before sleeping; 0: never */
    uint64_t idle_timeout_ns;     /* a session nobody hears of for so long is ended */
    uint32_t sessions_max;        /* at most SESSIONS_MAX */
    bool use_io_uring;            /* where the kernel lets us; else epoll */
    uint8_t cipher_mask;          /* ciphers granted, bit 1 << enum record_cipher */
    const struct noise_keypair *key;
    const uint8_t *cookie_secret;             /* 32 bytes, the same for all workers */
    struct handshake_limits handshake_limits; /* of this worker */
    uint64_t incarnation;
    struct executor *executor;
    struct regions *regions;
    struct quiesce *quiesce;
    struct mailboxes *mailboxes;
    /* Whose key is it? 0, or -EACCES: nobody's. Called by the worker's thread, while online in the
     * quiescence. */
    int (*find_tenant)(void *context, const uint8_t public_key[NOISE_KEY_BYTES], uint16_t *tenant_out);
    void *context;
    /* Changes whenever the tenants do: sessions whose key is then nobody's are ended. Read with load_acquire.
     */
    const uint64_t *tenants_generation;
};

/* Binds the sockets; no thread yet. Negative errno, with a sentence in why_out. */
int worker_open(const struct worker_options *options, struct worker **worker_out, char *why_out,
                size_t why_bytes);

/* Where it listens, with the port the kernel chose. */
const struct address *worker_address(const struct worker *worker, unsigned listen_index);

/* Starts the thread. It blocks all signals. */
int worker_start(struct worker *worker);

/* No new sessions from now on; requests of those that are there are served. Any thread. */
void worker_drain(struct worker *worker);

/* True if no request came for the last 100 ms or no session is left: the drain may end. Any thread. */
bool worker_quiet(const struct worker *worker);

/* Tells the clients (CLOSE), ends the thread and waits for it. Any other thread. */
void worker_stop(struct worker *worker);

/* What came by mail after the thread had ended is dropped. For all workers before any of them is closed,
 * since it may be in another one's memory. */
void worker_drop_mail(struct worker *worker);

/* After worker_stop, or if it was never started. */
void worker_close(struct worker *worker);

const struct worker_counters *worker_counters(const struct worker *worker);

/* "io_uring" or "epoll". */
const char *worker_poller(const struct worker *worker);

#endif
