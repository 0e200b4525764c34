/* lane.h - one session to the server and the operations travelling over it
 *
 * A connection has a few lanes that its threads share, and one more for each queue. Who wants something takes
 * a free lane, sends, polls and goes: there is no receiving thread to hand over to, and a lane nobody holds
 * does nothing.
 *
 * Everything here but open and close is async-signal-safe when the endpoint is: a page fault runs through it
 * in a SIGBUS handler. Hence the rules for whoever holds a lane: no allocation, no stdio, no lock that an
 * application thread can hold while it faults, and never touch memory that can fault (operands and results
 * are ordinary memory; callers bounce what lies in a mapping).
 */
#ifndef CXE_CLIENT_LANE_H
#define CXE_CLIENT_LANE_H

#include <stdbool.h>
#include <stdint.h>

#include "cxe.h"
#include "wire.h"

struct lane;

/* One operation of any length: the lane cuts it into frames. The caller's memory; it is the lane's from
 * lane_post until `done` is called or lane_cancel returns. */
struct op {
    uint8_t opcode;      /* enum opcode */
    uint8_t width_log2;  /* atomics */
    uint32_t line_count; /* line operations (any number), REGION_LIST; else 0 */
    uint32_t agent;      /* operations of a coherent mapping: its cache agent; else 0 */
    uint64_t region;
    uint64_t offset;
    const void *operand;   /* MEM_WR: line_count lines. Others: as on the wire. Must last until `done` */
    const uint64_t *masks; /* MEM_WR_PTL: line_count byte masks; its lines are `operand` */
    void *result;          /* room for the values: line_count lines, or as on the wire */

    /* Called once, by whoever makes the lane progress, with the lane held. It may post other operations.
     * NULL: none. `result`: 0, or negative errno; -CXE_EUNKNOWN: sent, and nobody can tell. */
    void (*done)(struct op *op, int result);
    void *context; /* the caller's */

    bool finished; /* cleared when it is posted, set just before `done`, with `outcome` */
    int outcome;
    /* A finished read for an agent. `given`: snoops of the agent whose ids are before snoop_next (modulo
     * 65536) were sent before any of it was given. Else nothing is known of that. */
    bool given;
    uint16_t snoop_next;

    /* The lane's own. */
    uint32_t issued_lines; /* cut into frames so far */
    uint32_t parts;        /* frames that hold a part and are not answered */
    bool issued;           /* the last part is in a frame */
    bool part_done;        /* some of it took effect, or may have */
    bool part_given;       /* `given` and snoop_next say something of the parts answered so far */
    bool chained;          /* in the frame of the one posted before it, and only done if that was */
    struct op *next;
};

/* What a lane is for. */
enum lane_kind {
    LANE_PLAIN, /* whoever holds it wants his answers soon, and sees to order himself */
    LANE_QUEUE, /* part-filled frames wait while two others are in flight; operations on a line keep order */
    LANE_LISTENING, /* hears back-invalidate snoops as well: see lane_listen */
    LANE_WAITING,   /* answers come when they come: sleeps at once */
};

/* Connects; blocks until the session stands or the deadline is over. -ECONNREFUSED, -EKEYREJECTED, -EACCES,
 * -EBUSY, -ETIMEDOUT, and what the transport says. */
int lane_open(struct cxe_connection *connection, enum lane_kind kind, uint64_t deadline_ns,
              struct lane **lane_out);

/* Nothing may be posted or in flight. `tell`: the server gets a CLOSE. NULL: nothing happens. */
void lane_close(struct lane *lane, bool tell);

/* A free lane of the connection, held. Spins, and yields, while all are taken. Release it soon. */
struct lane *lane_acquire(struct cxe_connection *connection);
/* This very lane, held; sleeps in between while it is taken, so for who is in no hurry. */
void lane_hold(struct lane *lane);
/* The same at once or not at all: for who waits for what somebody else started over it (a prefetch). */
bool lane_hold_try(struct lane *lane);
void lane_release(struct lane *lane);

/* For a thread that streams, between two pieces and with no lane in hand: if others of the connection wait
 * for an answer, perhaps on this very core, it is theirs for a moment. Else they would have it in turn with
 * the stream, a whole slice of the scheduler each. */
void lane_offer_core(struct cxe_connection *connection);

/* Waits until nothing that was cancelled on the connection's lanes can be done any more: what is done instead
 * of it might be overtaken otherwise. `own`: one of them that the caller holds, NULL: none. 0, or -ETIMEDOUT,
 * or why that cannot be known. */
int lane_outlive(struct cxe_connection *connection, struct lane *own, uint64_t deadline_ns);

/* All that follows: by the holder. */

/* Queues the operation behind those posted before; it leaves at the latest with lane_progress. Operations on
 * one line keep their order. */
void lane_post(struct lane *lane, struct op *op);

/* Posts operations that travel in one frame, in order; where one fails, those behind it are not done, and end
 * with -ECANCELED. -EMSGSIZE: they do not fit a frame; nothing is posted. Should the server make another
 * session of shorter frames before they left, they end with -EMSGSIZE, not done. Who cancels one of them
 * cancels all, the last first. Not on a queue's lane. */
int lane_post_together(struct lane *lane, struct op *ops, unsigned count);

/* Sends what was posted, as far as the window has room, without looking for answers. Blocks only if the lane
 * is not fit: over a transport whose connection broke, until there is another. */
void lane_push(struct lane *lane);
bool lane_is_fit(const struct lane *lane);

/* One step, never blocks: takes answers, completes operations, repeats what is overdue, reconnects, sends
 * what the window has room for. Returns how many operations it completed. */
unsigned lane_progress(struct lane *lane);

/* Progresses until the operation is finished: spins a while, then sleeps in between. Returns op->outcome, or
 * -ETIMEDOUT at the deadline (clock_now_ns time; UINT64_MAX: none): the operation then still travels, see
 * lane_cancel. */
int lane_wait(struct lane *lane, struct op *op, uint64_t deadline_ns);

/* The same until any operation completed, or none is left. */
int lane_wait_any(struct lane *lane, uint64_t deadline_ns);

/* The same until nothing is in flight or posted. */
int lane_drain(struct lane *lane, uint64_t deadline_ns);

/* Takes the operation back; its memory is the caller's again, `done` is not called. Returns -ETIMEDOUT if it
 * surely changed nothing, -CXE_EUNKNOWN if it may have. The lane never sends it again: if a part of it that
 * changes something was sent and not answered, the session ends, and so do, with -CXE_EUNKNOWN, other
 * operations in flight on it that change something. */
int lane_cancel(struct lane *lane, struct op *op);

/* Posts, waits, cancels at the deadline: the common case. */
int lane_run(struct lane *lane, struct op *op, uint64_t deadline_ns);

/* Of a listening lane, before its first progress: back-invalidate snoops go to `heard`, a body's at once, in
 * the order of their arrival; duplicates included. Called by whoever makes the lane progress, with the lane
 * held: it may post, and must not wait. The snoops are its only while it runs. */
void lane_listen(struct lane *lane,
                 void (*heard)(void *context, const struct wire_bi_snp *snoops, unsigned count),
                 void *context);

/* Progresses, and sleeps in between, until a snoop was heard or an operation completed: 0. -ETIMEDOUT: the
 * deadline came (clock_now_ns time; UINT64_MAX: none). -EINTR: `wake_fd` is readable (-1: there is none); it
 * is the caller's to read. */
int lane_listen_wait(struct lane *lane, uint64_t deadline_ns, int wake_fd);

/* Changes whenever the session is replaced: what was bound to the old one has to be bound anew. */
uint32_t lane_session(const struct lane *lane);

/* Operations posted or in flight. */
unsigned lane_busy(const struct lane *lane);

/* Does the server answer? The time since its last answer while something was in flight; 0 if nothing is
 * overdue. */
uint64_t lane_silence_ns(const struct lane *lane);

/* Lines of a write that fit one frame, with room to spare for further operations; for who batches by the
 * frame. */
unsigned lane_frame_lines(const struct lane *lane);

#endif
