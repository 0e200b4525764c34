/* quiesce.c - see quiesce.h
 *
 * `epoch` only grows. A worker that announces epoch e has seen everything unlinked before the epoch became e,
 * because it read `epoch` with acquire and quiesce_retire moved it with release. A worker that comes online
 * has no such past: its announcement and its second look at the epoch must not pass each other, hence
 * sequential consistency there, whose partner is the increment in quiesce_retire.
 */
#include "quiesce.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "atomic.h"
#include "check.h"
#include "limits.h"
#include "spin.h"

#define OFFLINE 0

struct worker_state {
    _Alignas(64) uint64_t seen; /* written by the worker alone: the epoch it has passed, or OFFLINE */
};

struct quiesce {
    _Alignas(64) uint64_t epoch; /* from 1 */
    unsigned workers;
    struct worker_state states[];
};

int quiesce_open(unsigned workers, struct quiesce **quiesce_out)
{
    size_t bytes = sizeof(struct quiesce) + workers * sizeof(struct worker_state);
    struct quiesce *quiesce;

    CHECK(workers > 0 && workers <= WORKERS_MAX);
    quiesce = aligned_alloc(64, bytes);
    if (!quiesce)
        return -ENOMEM;
    quiesce->epoch = 1;
    quiesce->workers = workers;
    for (unsigned i = 0; i < workers; i++)
        quiesce->states[i].seen = OFFLINE;
    *quiesce_out = quiesce;
    return 0;
}

void quiesce_close(struct quiesce *quiesce)
{
    free(quiesce);
}

unsigned quiesce_workers(const struct quiesce *quiesce)
{
    return quiesce->workers;
}

void quiesce_pass(struct quiesce *quiesce, unsigned worker)
{
    uint64_t *seen = &quiesce->states[worker].seen;
    uint64_t epoch = load_acquire(&quiesce->epoch);

    assert(load_relaxed(seen) != OFFLINE);
    if (load_relaxed(seen) != epoch)
        store_release(seen, epoch);
}

void quiesce_offline(struct quiesce *quiesce, unsigned worker)
{
    store_release(&quiesce->states[worker].seen, OFFLINE);
}

void quiesce_online(struct quiesce *quiesce, unsigned worker)
{
    uint64_t epoch = load_acquire(&quiesce->epoch), before;

    do {
        before = epoch;
        store_seq_cst(&quiesce->states[worker].seen, before);
        epoch = load_seq_cst(&quiesce->epoch);
    } while (epoch != before);
}

uint64_t quiesce_retire(struct quiesce *quiesce)
{
    return fetch_add_seq_cst(&quiesce->epoch, 1) + 1;
}

static bool worker_passed(const struct quiesce *quiesce, unsigned worker, uint64_t ticket)
{
    uint64_t seen = load_seq_cst(&quiesce->states[worker].seen);

    return seen == OFFLINE || seen >= ticket;
}

bool quiesce_passed(const struct quiesce *quiesce, uint64_t ticket)
{
    for (unsigned worker = 0; worker < quiesce->workers; worker++)
        if (!worker_passed(quiesce, worker, ticket))
            return false;
    return true;
}

void quiesce_wait(struct quiesce *quiesce, unsigned worker)
{
    uint64_t ticket = quiesce_retire(quiesce);
    unsigned spins = 0;

    if (worker != QUIESCE_NO_WORKER)
        quiesce_offline(quiesce, worker);
    for (unsigned other = 0; other < quiesce->workers; other++)
        while (!worker_passed(quiesce, other, ticket))
            spin_pause(&spins);
    if (worker != QUIESCE_NO_WORKER)
        quiesce_online(quiesce, worker);
}
