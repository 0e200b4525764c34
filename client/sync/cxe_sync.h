/* cxe_sync.h - locks, counters and channels that live in a region, for clients on any machines
 *
 * Part of libcxe, beside cxe.h, whose rules hold here too: 0 or a negative errno, results through the last
 * parameter, cxe_last_error for the sentence. Nobody polls: who waits sleeps in cxe_wait until the server
 * sees the line change.
 *
 * All state lies in the region: one client makes a thing (`_init`), the others find it at the offset they are
 * told. Offsets are multiples of CXE_LINE_BYTES. The layouts stand in docs/API.md. Handles belong to one
 * thread at a time; threads that compete for a lock have a handle each. Close them before their region.
 *
 * Timeouts are in nanoseconds; 0: do not wait; UINT64_MAX: for ever. They bound the waiting for other
 * clients; that the server does not answer shows after the connection's own timeout, also as -ETIMEDOUT.
 */
#ifndef CXE_SYNC_H
#define CXE_SYNC_H

#include "cxe.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- lock: a queue of waiters, each on a line of its own; it is handed over to the next one ---- */

struct cxe_lock;

/* How much of the region a lock for so many handles takes. */
uint64_t cxe_lock_bytes(uint32_t handles);

/* Makes a free lock, for at most `handles` handles at once (1 to CXE_LOCK_HANDLES_MAX). Nobody may use what
 * was there. */
int cxe_lock_init(struct cxe_region *region, uint64_t offset, uint32_t handles);
#define CXE_LOCK_HANDLES_MAX 65536

/* -EINVAL: there is no lock; -EUSERS: it has all its handles already. A client that dies without closing its
 * handles takes them along until the next cxe_lock_init: be generous, a handle costs a line. */
int cxe_lock_open(struct cxe_region *region, uint64_t offset, struct cxe_lock **lock_out);

/* -EBUSY: it holds the lock. Another error: the server could not be told, and the handle is still open. That
 * the region is gone is no error. */
int cxe_lock_close(struct cxe_lock *lock);

/* Waits for its turn: first come, first served. Then the lock is ours, for as long as we like.
 *
 *   -ETIMEDOUT     not ours. The place in the queue is kept until the queue gets there, when it is passed
 *                  over: who asks again before stands where it stood
 *   -CXE_EUNKNOWN  the queue may have a place that nobody stands in: the handle is of no more use, and who
 *                  gets stuck behind that place needs cxe_lock_break
 *   -EDEADLK       this handle holds it already */
int cxe_lock_acquire(struct cxe_lock *lock, uint64_t timeout_ns);

/* Takes the lock if it is free and nobody waits for it. -EBUSY: it is not; no place in the queue is taken.
 * -CXE_EUNKNOWN, -EDEADLK: as above. */
int cxe_lock_try(struct cxe_lock *lock);

/* Hands it over to the next one who waits.
 *   -EPERM         this handle does not hold it
 *   -EOWNERDEAD    it was taken away (cxe_lock_break): what it protects may have been changed by others
 *   another error  nobody was told, as far as is known: release it again */
int cxe_lock_release(struct cxe_lock *lock);

/* A number that rises with each holder: whoever is told to do something under the lock can refuse one that
 * comes late, from a holder that the lock was taken from. 0 while this handle does not hold it. */
uint64_t cxe_lock_ticket(const struct cxe_lock *lock);

/* A holder that dies, or is cut off, holds the lock for ever: nobody else can know that it will not come
 * back. Who does know, or has waited long enough, can take it away. */

/* The ticket that has the lock now. -ENOENT: it is free. */
int cxe_lock_holder(struct cxe_lock *lock, uint64_t *ticket_out);

/* Takes the lock from that ticket, and hands it over to the next one. -ENOENT: it does not have it. */
int cxe_lock_break(struct cxe_lock *lock, uint64_t ticket);

/* ---- counter: one line ---- */

#define CXE_COUNTER_BYTES CXE_LINE_BYTES

int cxe_counter_init(struct cxe_region *region, uint64_t offset, uint64_t value);
/* `value_out`: the sum; it wraps. As cxe_fetch: exactly once, or not at all, or -CXE_EUNKNOWN. */
int cxe_counter_add(struct cxe_region *region, uint64_t offset, uint64_t amount, uint64_t *value_out);
int cxe_counter_read(struct cxe_region *region, uint64_t offset, uint64_t *value_out);
/* Until it is `least` or more. A counter that only rises is not missed when it goes on at once; of one that
 * falls again a waiter may see nothing. Each change wakes every waiter for a look. */
int cxe_counter_wait(struct cxe_region *region, uint64_t offset, uint64_t least, uint64_t timeout_ns,
                     uint64_t *value_out);

/* ---- channel: a bounded queue of items of one size, with any number of senders and receivers ---- */

struct cxe_channel;

/* How much of the region a channel of so many items takes. */
uint64_t cxe_channel_bytes(uint32_t item_bytes, uint32_t items);

/* Makes an empty channel. Items of 1 to CXE_CHANNEL_ITEM_MAX bytes; those of up to CXE_CHANNEL_ITEM_LINE
 * travel in one line, and fastest. Room for 1 to CXE_CHANNEL_ITEMS_MAX. */
int cxe_channel_init(struct cxe_region *region, uint64_t offset, uint32_t item_bytes, uint32_t items);
#define CXE_CHANNEL_ITEM_LINE 48
#define CXE_CHANNEL_ITEM_MAX  (1u << 20)
#define CXE_CHANNEL_ITEMS_MAX (1u << 20)

/* -EINVAL: there is no channel. */
int cxe_channel_open(struct cxe_region *region, uint64_t offset, struct cxe_channel **channel_out);
/* Ends what a call of this handle could not. -EBUSY: an item was taken out and not received: pop again.
 * Another error: the server could not be told, and the handle is still open. That the region is gone is no
 * error. */
int cxe_channel_close(struct cxe_channel *channel);
uint32_t cxe_channel_item_bytes(const struct cxe_channel *channel);

/* Waits for room, and puts the item behind the others. What one handle pushes is popped in that order.
 *   -ETIMEDOUT     it was full all the time, or the server did not answer: the item is not in it
 *   -CXE_EUNKNOWN  the server stopped answering half-way: the item is there, or the handle keeps it, and it
 *                  goes in before this handle's next one, or when it is closed. If there is no such call it
 *                  may be missing, and may stop those who pop */
int cxe_channel_push(struct cxe_channel *channel, const void *item, uint64_t timeout_ns);

/* Waits for an item, and takes it: each goes to one receiver, once. After an error nothing is lost: if an
 * item was taken out it is what this handle's next pop returns. A receiver that dies with it takes it along,
 * and those who push stop there when they have come round. -ETIMEDOUT: it was empty all the time, or the
 * server did not answer. */
int cxe_channel_pop(struct cxe_channel *channel, void *item_out, uint64_t timeout_ns);

#ifdef __cplusplus
}
#endif

#endif
