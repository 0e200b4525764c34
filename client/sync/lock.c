/* lock.c - a lock with a queue, handed over from ticket to ticket; see cxe_sync.h
 *
 * Who wants the lock draws a ticket t, and waits on slot t mod handles: a line of its own, since each handle
 * has one ticket at most in the queue, and there are no more handles than slots. The slot's word says what
 * became of the last ticket that it served:
 *
 *                    come back
 *                  .-----------.
 *                  v           |
 *   (older) --> WAITING --> ABANDONED --> SKIPPED --> (ticket t + handles)
 *      |           |           |            ^             ^
 *      |           |           '-> LEFT ----'             |
 *      '-----------'-------------------------> GRANTED ---'
 *
 * The word is ticket * 8 + state, so that it only rises, but for coming back. Hence the rules:
 *
 * S1  The lock belongs to the last ticket that was GRANTED; there is exactly one. If it is the next to be
 *     drawn the lock is free.
 *
 * S2  Every change of a slot is a compare-and-swap from the value seen. Hand-over and leaving meet there:
 *     one of them wins, and the other sees who.
 *
 * S3  A ticket is over once one behind it was granted. A slot's next ticket is drawn after its last one is
 *     over: so `older` is never anything that somebody still waits for.
 *
 * S4  Whoever passes the lock on from t goes from t + 1 to the first ticket that did not give up. Whoever
 *     else does so for the same t (cxe_lock_break) comes to the same one, and one of them grants it.
 *
 * A change of a slot whose outcome is unknown is made again: by S2 and the rising values it is done once.
 */
#include <stdlib.h>
#include <string.h>

#include "cxe_sync.h"
#include "error.h"
#include "word.h"

#define LOCK_MAGIC     0x316b636f6c657863ull /* "cxelock1" */
#define SLOTS_OFFSET   (2 * CXE_LINE_BYTES)
#define UNKNOWN_TRIES  3
#define SCAN_SLOTS     64
#define SLOT_TICKET(v) ((v) / 8)

/* Line 0. Line 1 begins with the next ticket to draw. */
struct lock_header {
    uint64_t magic;
    uint64_t handles;
    uint64_t open; /* handles in use, changed by fetch-add */
    uint64_t reserved[5];
};
_Static_assert(sizeof(struct lock_header) == CXE_LINE_BYTES, "the header is a line");

enum slot_state {
    SLOT_WAITING = 0,
    SLOT_ABANDONED = 1, /* may come back */
    SLOT_LEFT = 2,      /* its handle was closed: who skips it gives the handle back */
    SLOT_SKIPPED = 3,
    SLOT_GRANTED = 4,
};

enum place {
    PLACE_NONE,
    PLACE_QUEUED, /* has a ticket; what became of it stands in the slot */
    PLACE_HOLDS,
    PLACE_LOST, /* nobody knows whether a ticket was drawn */
};

struct cxe_lock {
    struct cxe_region *region;
    uint64_t offset;
    uint64_t handles;
    uint64_t ticket;
    enum place place;
    bool in_doubt; /* a hand-over was begun, and its outcome is unknown */
};

/* ---- slots ---- */

static uint64_t slot_value(uint64_t ticket, enum slot_state state)
{
    return ticket * 8 + state;
}

static uint64_t slot_offset(const struct cxe_lock *lock, uint64_t ticket)
{
    return lock->offset + SLOTS_OFFSET + ticket % lock->handles * CXE_LINE_BYTES;
}

static uint64_t next_offset(const struct cxe_lock *lock)
{
    return lock->offset + CXE_LINE_BYTES;
}

static uint64_t open_offset(const struct cxe_lock *lock)
{
    return lock->offset + offsetof(struct lock_header, open);
}

/* What the slot most likely holds when the ticket is drawn. */
static uint64_t slot_before(const struct cxe_lock *lock, uint64_t ticket)
{
    return ticket < lock->handles ? 0 : slot_value(ticket - lock->handles, SLOT_GRANTED);
}

/* Passed over, or granted and gone by. */
static bool ticket_is_over(uint64_t value, uint64_t ticket)
{
    return value == slot_value(ticket, SLOT_SKIPPED) || value > slot_value(ticket, SLOT_GRANTED);
}

/* By S2 it can be repeated when its outcome is unknown; `*in_doubt` then says that `*old_out` may be our own
 * doing. */
static int slot_change(struct cxe_lock *lock, uint64_t ticket, uint64_t expected, uint64_t desired,
                       bool *in_doubt, uint64_t *old_out)
{
    int error = -CXE_EUNKNOWN;

    for (unsigned try = 0; error == -CXE_EUNKNOWN && try < UNKNOWN_TRIES; try++) {
        error = word_cas(lock->region, slot_offset(lock, ticket), expected, desired, old_out);
        if (error == -CXE_EUNKNOWN)
            *in_doubt = true;
    }
    return error;
}

/* ---- making, opening ---- */

static uint64_t lock_bytes(uint64_t handles)
{
    return SLOTS_OFFSET + handles * CXE_LINE_BYTES;
}

uint64_t cxe_lock_bytes(uint32_t handles)
{
    return lock_bytes(handles);
}

/* Ticket 0 has the lock, and nobody has ticket 0: it is free. The header comes last. */
int cxe_lock_init(struct cxe_region *region, uint64_t offset, uint32_t handles)
{
    const struct lock_header header = {.magic = LOCK_MAGIC, .handles = handles};
    const uint64_t bytes = lock_bytes(handles), granted = slot_value(0, SLOT_GRANTED);
    uint8_t *lines;
    int error = word_check(region, offset, bytes);

    if (handles < 1 || handles > CXE_LOCK_HANDLES_MAX)
        error = fail(-EINVAL, "a lock for %u handles: expected 1 to %d", handles, CXE_LOCK_HANDLES_MAX);
    if (error)
        return error;
    lines = calloc(1, bytes);
    if (!lines)
        return fail(-ENOMEM, "not enough memory to make a lock");
    memcpy(lines + SLOTS_OFFSET, &granted, sizeof(granted));
    error = cxe_write(region, offset, lines, bytes);
    if (!error)
        error = cxe_write(region, offset, &header, sizeof(header));
    free(lines);
    return error;
}

static int read_header(struct cxe_region *region, uint64_t offset, struct lock_header *header)
{
    int error = word_check(region, offset, sizeof(*header));

    if (!error)
        error = cxe_read(region, offset, header, sizeof(*header));
    if (error)
        return error;
    if (header->magic != LOCK_MAGIC || header->handles < 1 || header->handles > CXE_LOCK_HANDLES_MAX)
        return fail(-EINVAL, "there is no lock at offset %llu", (unsigned long long)offset);
    return word_check(region, offset, lock_bytes(header->handles));
}

/* Counts one handle more, or (UINT64_MAX) less. */
static int count_open(struct cxe_lock *lock, uint64_t difference, uint64_t *old_out)
{
    return cxe_fetch(lock->region, CXE_FETCH_ADD, open_offset(lock), sizeof(difference), &difference,
                     old_out);
}

static int register_handle(struct cxe_lock *lock)
{
    uint64_t old;
    int error = count_open(lock, 1, &old);

    if (error || old < lock->handles)
        return error;
    error = count_open(lock, UINT64_MAX, &old);
    return error ? error
                 : fail(-EUSERS, "the lock has its %llu handles already", (unsigned long long)lock->handles);
}

int cxe_lock_open(struct cxe_region *region, uint64_t offset, struct cxe_lock **lock_out)
{
    struct lock_header header;
    struct cxe_lock *lock;
    int error = read_header(region, offset, &header);

    if (error)
        return error;
    lock = calloc(1, sizeof(*lock));
    if (!lock)
        return fail(-ENOMEM, "not enough memory for a lock");
    lock->region = region;
    lock->offset = offset;
    lock->handles = header.handles;
    error = register_handle(lock);
    if (error) {
        free(lock);
        return error;
    }
    *lock_out = lock;
    return 0;
}

/* ---- handing over ---- */

/* Makes one step behind a ticket: grants `next`, or skips it. Returns 1 if that has happened and the lock is
 * `next`'s, 0 to go on behind it; -EOWNERDEAD: somebody else had handed the lock over. */
static int pass_to(struct cxe_lock *lock, uint64_t next, bool *in_doubt)
{
    const uint64_t granted = slot_value(next, SLOT_GRANTED), skipped = slot_value(next, SLOT_SKIPPED);
    uint64_t seen = slot_before(lock, next), old, ignored;

    for (;;) {
        const bool left = seen == slot_value(next, SLOT_LEFT);
        const bool skip = left || seen == slot_value(next, SLOT_ABANDONED);
        int error;

        if (seen >= granted)
            return *in_doubt && seen == granted ? 1 : -EOWNERDEAD;
        if (seen == skipped)
            return 0;
        error = slot_change(lock, next, seen, skip ? skipped : granted, in_doubt, &old);
        if (error)
            return error;
        if (old == seen) {
            if (left)
                count_open(lock, UINT64_MAX, &ignored); /* if that fails, there is one handle less */
            return !skip;
        }
        seen = old;
    }
}

/* See S4. */
static int pass_on(struct cxe_lock *lock, uint64_t ticket, bool *in_doubt)
{
    int passed = 0;

    while (passed == 0)
        passed = pass_to(lock, ++ticket, in_doubt);
    return passed < 0 ? passed : 0;
}

int cxe_lock_release(struct cxe_lock *lock)
{
    int error;

    if (lock->place != PLACE_HOLDS)
        return fail(-EPERM, "this handle does not hold the lock");
    error = pass_on(lock, lock->ticket, &lock->in_doubt);
    if (error && error != -EOWNERDEAD)
        return error;
    lock->place = PLACE_NONE;
    lock->in_doubt = false;
    return error ? fail(error, "the lock was taken away from its holder") : 0;
}

uint64_t cxe_lock_ticket(const struct cxe_lock *lock)
{
    return lock->place == PLACE_HOLDS ? lock->ticket + 1 : 0;
}

/* ---- getting it ---- */

static int say_lost(struct cxe_lock *lock)
{
    lock->place = PLACE_LOST;
    return fail(-CXE_EUNKNOWN, "nobody can tell whether this handle has a place in the lock's queue");
}

static int draw_ticket(struct cxe_lock *lock)
{
    const uint64_t one = 1;
    int error = cxe_fetch(lock->region, CXE_FETCH_ADD, next_offset(lock), sizeof(one), &one, &lock->ticket);

    if (error == -CXE_EUNKNOWN)
        return say_lost(lock);
    if (!error)
        lock->place = PLACE_QUEUED;
    return error;
}

static void hold(struct cxe_lock *lock)
{
    lock->place = PLACE_HOLDS;
    lock->in_doubt = false;
}

/* Gives up as `state`; `seen` is what the slot held last. If that comes too late the lock is ours. After an
 * error the place is kept, and might yet be granted the lock. */
static int leave(struct cxe_lock *lock, uint64_t seen, enum slot_state state)
{
    const uint64_t ticket = lock->ticket, gone = slot_value(ticket, state);
    bool ignored = false;

    while (seen != gone) {
        uint64_t old;
        int error;

        if (seen == slot_value(ticket, SLOT_GRANTED)) {
            hold(lock);
            return 0;
        }
        if (ticket_is_over(seen, ticket)) {
            lock->place = PLACE_NONE;
            return 0;
        }
        error = slot_change(lock, ticket, seen, gone, &ignored, &old);
        if (error)
            return error;
        seen = old == seen ? gone : old;
    }
    return 0;
}

static int give_up(struct cxe_lock *lock, uint64_t seen)
{
    int error = leave(lock, seen, SLOT_ABANDONED);

    if (error || lock->place == PLACE_HOLDS)
        return error;
    return fail(-ETIMEDOUT, "the lock was not free in time");
}

/* Who had given up waits again, if it was not passed over yet: `*seen` is then WAITING. */
static int come_back(struct cxe_lock *lock, uint64_t *seen)
{
    const uint64_t waiting = slot_value(lock->ticket, SLOT_WAITING);
    bool ignored = false;
    uint64_t old;
    int error = slot_change(lock, lock->ticket, *seen, waiting, &ignored, &old);

    if (!error)
        *seen = old == *seen ? waiting : old;
    return error;
}

/* Waits until the ticket is granted or over, or the deadline passes. */
static int await_turn(struct cxe_lock *lock, uint64_t deadline_ns)
{
    const uint64_t ticket = lock->ticket;
    uint64_t seen = slot_before(lock, ticket);

    for (;;) {
        int error;

        if (seen == slot_value(ticket, SLOT_GRANTED)) {
            hold(lock);
            return 0;
        }
        if (ticket_is_over(seen, ticket)) {
            lock->place = PLACE_NONE;
            return 0;
        }
        if (seen == slot_value(ticket, SLOT_ABANDONED))
            error = come_back(lock, &seen);
        else
            error = word_wait(lock->region, slot_offset(lock, ticket), seen, deadline_ns, &seen);
        if (error)
            return error == -ETIMEDOUT ? give_up(lock, seen) : error;
    }
}

/* What a handle that is not merely outside answers to who wants the lock. */
static int check_place(struct cxe_lock *lock)
{
    if (lock->place == PLACE_HOLDS)
        return fail(-EDEADLK, "this handle holds the lock already");
    return lock->place == PLACE_LOST ? say_lost(lock) : 0;
}

int cxe_lock_acquire(struct cxe_lock *lock, uint64_t timeout_ns)
{
    const uint64_t deadline_ns = word_deadline_ns(timeout_ns);
    int error;

    if (timeout_ns == 0) {
        error = cxe_lock_try(lock);
        return error == -EBUSY ? -ETIMEDOUT : error;
    }
    error = check_place(lock);
    while (!error && lock->place != PLACE_HOLDS) {
        if (lock->place == PLACE_NONE)
            error = draw_ticket(lock);
        if (!error)
            error = await_turn(lock, deadline_ns);
    }
    return error;
}

/* What became of a ticket that was left in the queue. */
static int look_at_place(struct cxe_lock *lock)
{
    uint64_t seen;
    int error = word_read(lock->region, slot_offset(lock, lock->ticket), &seen);

    if (error)
        return error;
    if (seen == slot_value(lock->ticket, SLOT_GRANTED))
        hold(lock);
    else if (ticket_is_over(seen, lock->ticket))
        lock->place = PLACE_NONE;
    return 0;
}

/* Draws the next ticket if it has the lock already. */
static int draw_granted(struct cxe_lock *lock)
{
    uint64_t next, seen, old;
    int error = word_read(lock->region, next_offset(lock), &next);

    if (!error)
        error = word_read(lock->region, slot_offset(lock, next), &seen);
    if (error || seen != slot_value(next, SLOT_GRANTED))
        return error;
    error = word_cas(lock->region, next_offset(lock), next, next + 1, &old);
    if (error)
        return error == -CXE_EUNKNOWN ? say_lost(lock) : error;
    if (old == next) {
        lock->ticket = next;
        hold(lock);
    }
    return 0;
}

int cxe_lock_try(struct cxe_lock *lock)
{
    int error = check_place(lock);

    if (!error && lock->place == PLACE_QUEUED)
        error = look_at_place(lock);
    if (!error && lock->place == PLACE_NONE)
        error = draw_granted(lock);
    if (error || lock->place == PLACE_HOLDS)
        return error;
    return fail(-EBUSY, "the lock is not free");
}

/* ---- closing ---- */

/* Leaves the queue for good. If that comes too late, hands the lock over. */
static int quit(struct cxe_lock *lock)
{
    int error = leave(lock, slot_value(lock->ticket, SLOT_ABANDONED), SLOT_LEFT);

    if (error || lock->place != PLACE_HOLDS)
        return error;
    error = cxe_lock_release(lock);
    if (lock->place == PLACE_HOLDS)
        lock->place = PLACE_QUEUED; /* not held by anybody who knows: the slot says so next time */
    return error == -EOWNERDEAD ? 0 : error;
}

int cxe_lock_close(struct cxe_lock *lock)
{
    uint64_t ignored;
    int error = 0;

    if (lock->place == PLACE_HOLDS)
        return fail(-EBUSY, "the lock is held through this handle");
    if (lock->place == PLACE_QUEUED)
        error = quit(lock);
    /* Who still has a ticket has left the handle to whoever skips it. */
    if (!error && lock->place == PLACE_NONE)
        error = count_open(lock, UINT64_MAX, &ignored);
    if (error && error != -ESTALE && error != -CXE_EUNKNOWN)
        return error;
    free(lock);
    return 0;
}

/* ---- taking it away ---- */

/* The newest ticket that any slot names as granted. */
static int find_granted(struct cxe_lock *lock, uint64_t *ticket_out)
{
    uint64_t lines[SCAN_SLOTS][CXE_LINE_BYTES / sizeof(uint64_t)], newest = 0;

    for (uint64_t first = 0; first < lock->handles; first += SCAN_SLOTS) {
        const uint64_t left = lock->handles - first, count = left < SCAN_SLOTS ? left : SCAN_SLOTS;
        int error = cxe_read(lock->region, slot_offset(lock, first), lines, count * CXE_LINE_BYTES);

        if (error)
            return error;
        for (uint64_t i = 0; i < count; i++)
            if (lines[i][0] % 8 == SLOT_GRANTED && lines[i][0] > newest)
                newest = lines[i][0];
    }
    *ticket_out = SLOT_TICKET(newest);
    return 0;
}

/* Was it drawn? The ticket that has the lock and was not is a lock that is free. */
static int check_drawn(struct cxe_lock *lock, uint64_t ticket)
{
    uint64_t next;
    int error = word_read(lock->region, next_offset(lock), &next);

    if (error)
        return error;
    return ticket < next ? 0 : fail(-ENOENT, "the lock is free");
}

int cxe_lock_holder(struct cxe_lock *lock, uint64_t *ticket_out)
{
    uint64_t ticket;
    int error = find_granted(lock, &ticket);

    if (!error)
        error = check_drawn(lock, ticket);
    if (!error)
        *ticket_out = ticket + 1;
    return error;
}

int cxe_lock_break(struct cxe_lock *lock, uint64_t ticket)
{
    bool in_doubt = false;
    uint64_t seen;
    int error;

    if (ticket == 0)
        return fail(-ENOENT, "there is no ticket 0");
    ticket--; /* tickets are counted from 0 in the region, from 1 for our callers */
    error = check_drawn(lock, ticket);
    if (!error)
        error = word_read(lock->region, slot_offset(lock, ticket), &seen);
    if (!error && seen == slot_value(ticket, SLOT_GRANTED))
        error = pass_on(lock, ticket, &in_doubt);
    else if (!error)
        error = -EOWNERDEAD;
    if (error == -EOWNERDEAD)
        return fail(-ENOENT, "ticket %llu does not have the lock", (unsigned long long)ticket + 1);
    return error;
}
