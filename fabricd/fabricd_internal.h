/* fabricd_internal.h - what fabricd.c (the order of things) and fabricd_boot.c (the things) share */
#ifndef FABRICD_FABRICD_INTERNAL_H
#define FABRICD_FABRICD_INTERNAL_H

#include <pthread.h>

#include "config.h"
#include "control.h"
#include "executor.h"
#include "fabricd.h"
#include "key_announce.h"
#include "metrics.h"
#include "noise.h"
#include "pool.h"
#include "quiesce.h"
#include "region.h"
#include "worker.h"

#define WHY_BYTES 512

/* On pages that are left out of core dumps. */
struct secrets {
    struct noise_keypair key;
    uint8_t cookie_secret[32];
};

struct fabricd {
    const struct options *options;
    struct config *config; /* as of the start: what workers and listeners were made from */
    struct secrets *secrets;
    uint64_t incarnation;
    int signal_fd;
    int wake_fd; /* eventfd: the main thread has something to look at */
    struct quiesce *quiesce;
    struct mailboxes *mailboxes;
    struct pool *pool;
    struct regions *regions;
    struct executor *executor;
    struct worker *workers[WORKERS_MAX];
    unsigned started;                         /* workers that run */
    struct address listen[CONFIG_LISTEN_MAX]; /* with the port the kernel chose, if it did */
    struct key_announcement announcements[CONFIG_LISTEN_MAX];
    char control_path[CONFIG_SOCKET_BYTES];
    struct control *control;
    struct metrics_source source;

    pthread_mutex_t reload_lock; /* reloads come from the main thread and from the control thread */
    uint64_t drain_timeout_ns;   /* under reload_lock */

    bool drain_asked;     /* written by the control thread: atomic */
    unsigned prefaulters; /* threads still at it: atomic */
    int prefault_error;   /* of any of them: atomic */
    uint64_t told_ns;     /* when the prefault's progress was last told: atomic */
};

/* One thing the daemon consists of. */
struct boot_step {
    const char *name;
    /* 0, or a negative errno with a sentence in `why`. */
    int (*start)(struct fabricd *daemon, char *why, size_t why_bytes);
    void (*stop)(struct fabricd *daemon); /* after a start that succeeded; NULL: nothing to undo */
};
extern const struct boot_step boot_steps[];
extern const unsigned boot_step_count;

/* Reads the configuration again and applies what can be applied. 0, or -EINVAL with a sentence in `why` and
 * everything as it was. Any thread. */
int fabricd_reload(struct fabricd *daemon, char *why, size_t why_bytes);

/* Puts a configuration's tenants in force, quotas included. -ENOMEM. */
int fabricd_admit(struct fabricd *daemon, const struct config *config);

/* Asks the main thread to drain and stop. Any thread. */
void fabricd_ask_drain(void *daemon);

/* Control's way to fabricd_reload. */
int fabricd_reload_for_control(void *daemon, char *why, size_t why_bytes);

#endif
