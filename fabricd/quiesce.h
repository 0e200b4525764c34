/* quiesce.h - when has every worker let go of what was just unlinked? (QSBR)
 *
 * A worker holds pointers into shared tables only between two passes of its event loop. Who unlinks something
 * takes a ticket; once every worker has passed (or sleeps), nobody can hold it any more. The data path pays
 * one load a loop, nothing per operation.
 */
#ifndef FABRICD_QUIESCE_H
#define FABRICD_QUIESCE_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

struct quiesce;

/* A caller of quiesce_wait that is no worker, and so holds nothing. */
#define QUIESCE_NO_WORKER UINT_MAX

/* For workers 0..workers-1 (1..WORKERS_MAX), all offline at first. -ENOMEM. */
int quiesce_open(unsigned workers, struct quiesce **quiesce_out);
void quiesce_close(struct quiesce *quiesce);

unsigned quiesce_workers(const struct quiesce *quiesce);

/* At the top of a worker's loop: it holds nothing from before. Only by the worker's own thread, online. */
void quiesce_pass(struct quiesce *quiesce, unsigned worker);

/* Around sleeping: an offline worker holds nothing, and nobody waits for it. Only by the worker's own thread.
 */
void quiesce_offline(struct quiesce *quiesce, unsigned worker);
void quiesce_online(struct quiesce *quiesce, unsigned worker);

/* A ticket for what the caller has just unlinked (by release stores). Any thread; does not block. */
uint64_t quiesce_retire(struct quiesce *quiesce);

/* True once nobody can hold what was unlinked before the ticket was taken. Any thread; does not block. */
bool quiesce_passed(const struct quiesce *quiesce, uint64_t ticket);

/* Waits until every other worker has passed. The waiter counts as passed itself: it must hold nothing, and
 * two may wait for each other. `worker` must be online, or QUIESCE_NO_WORKER. Spins and yields; as long as
 * the longest request of another worker. */
void quiesce_wait(struct quiesce *quiesce, unsigned worker);

#endif
