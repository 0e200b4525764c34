/* lane_internal.h - the inside of a lane
 *
 *   lane.c        who holds it, posting, waiting, cancelling
 *   lane_open.c   its memory, its endpoint and its first session
 *   lane_frame.c  operations into frames, answers into results
 *   lane_path.c   requests longer than the path carries travel in pieces
 *   lane_link.c   handshake, reconnect, what becomes of requests when a session is lost
 *   lane_order.c  operations on one line keep their order
 *
 * Invariants, checked by lane_valid():
 *   L1  a frame is free, building, or in flight; the window knows the last two as taken
 *   L2  at most one frame is building, and nothing of it was ever sent
 *   L3  op->parts counts the parts in frames that point to it
 *   L4  only the first posted operation may be issued in part
 *   L5  busy counts the operations posted or with parts
 *   L6  the piece of a frame that was sent is its first operations, one at least
 */
#ifndef CXE_CLIENT_LANE_INTERNAL_H
#define CXE_CLIENT_LANE_INTERNAL_H

#include "codec.h"
#include "connection.h"
#include "give_way.h"
#include "handshake.h"
#include "lane.h"
#include "record.h"
#include "transport.h"
#include "window.h"

/* An operation that only keeps later ones behind earlier ones; never on the wire. */
#define OP_FENCE 0

/* A piece of an operation that stands in a frame. */
struct part {
    struct op *op; /* NULL: cancelled */
    uint32_t first_line;
    uint32_t result_bytes : 31; /* of this part in the answer */
    uint32_t chained : 1;       /* op->chained */
};

/* A request: kept in clear until it is answered, to be repeated. */
struct frame {
    uint64_t seq;
    uint32_t body_bytes;
    uint32_t result_bytes; /* of the answer, if all is done */
    uint16_t op_count;
    bool mutates;
    bool rest; /* holds what an answered request left undone, and waits for a number */

    /* What travels under its number: everything, or the first operations, if the path carries no more. */
    uint16_t piece_ops;
    uint32_t piece_bytes; /* of body */
    uint32_t piece_result_bytes;
    uint64_t piece_counter; /* answers to records before this one are to a longer piece; 0: there was none */
    bool piece_mutates;

    struct part parts[FRAME_OPS_MAX + 1]; /* and room to cut an operation in two */
    uint8_t body[FRAME_BYTES_MAX - RECORD_OVERHEAD + OP_HEADER_BYTES] __attribute__((aligned(64)));
};

enum link_state {
    LINK_IDLE,  /* no handshake under way */
    LINK_HELLO, /* HELLO sent */
    LINK_TRIAL, /* the server is there: the session gets a last chance to answer */
    LINK_INIT,  /* INIT sent: it ends the old session, so there is no way back */
};

/* The session and how it is (re)made. */
struct link {
    enum link_state state;
    bool up;             /* requests may leave over it. Answers are taken as long as there is no other */
    bool suspended;      /* not up, but only because of an INIT that the server may still refuse */
    bool confirmed;      /* the server knows that we have its RESP */
    uint64_t confirm_ns; /* until then: ask at this time */
    struct record_sealer sealer;
    struct record_opener opener;
    struct handshake_grant grant; /* of the session in use */
    uint32_t session;             /* our name for it */
    uint64_t heard_ns;            /* its last authentic frame */
    uint64_t asked_ns;            /* the first transmission since then; 0: none */

    struct handshake_client handshake;
    uint32_t new_session; /* our name for the session in the making */
    uint8_t init[HANDSHAKE_FRAME_BYTES];
    uint32_t init_bytes;
    unsigned tries;
    uint64_t retry_ns;
    int refused; /* what the last handshake came to: -ECONNREFUSED, -EACCES ...; 0: nothing bad yet */
    bool cookie_seen;
    uint64_t trial_until_ns;
};

struct order;

struct lane {
    struct cxe_connection *connection;
    struct endpoint *endpoint;
    struct link link;
    struct window window;
    struct frame *frames[SESSION_SLOTS]; /* by slot; permuted when a session is replaced */
    uint64_t building;                   /* number of the frame being filled; 0: none */
    unsigned rests;                      /* frames marked so */
    struct op *posted_first, *posted_last;
    unsigned busy;
    struct give_way give_way; /* of whoever waits on it */
    unsigned completed;       /* since the last lane_progress */
    unsigned untaken;         /* a queue's: completions that its user has not seen yet */
    enum lane_kind kind;
    struct order *order;                                                            /* a queue's; else NULL */
    void (*heard)(void *context, const struct wire_bi_snp *snoops, unsigned count); /* a listening lane's */
    void *listener;
    uint32_t lingers;          /* atomic; see link_linger. Written by the holder */
    unsigned snooped;          /* bodies given to `heard` since the last lane_progress */
    uint32_t frame_bytes;      /* the longest that is sent, or asked for */
    uint64_t long_ns;          /* when a frame above FRAME_BYTES_MIN last proved to get through */
    uint64_t doubt_ns;         /* when it first was in doubt that they do; 0: it is not */
    unsigned doubts;           /* since then */
    int broken;                /* negative errno: the peer broke the protocol; every operation ends with it */
    bool endpoint_lost;        /* the transport's connection broke (ofi) */
    uint64_t reconnect_ns;     /* not before */
    uint64_t repeats;          /* of sessions before this one */
    struct lane *next_resting; /* a waiting lane's, while nobody waits on it */
    struct frame *frame_memory;
    uint8_t received[FRAME_BYTES_MAX] __attribute__((aligned(64)));
    uint8_t sealed[FRAME_BYTES_MAX] __attribute__((aligned(64)));
    uint32_t held __attribute__((aligned(64))); /* the lock */
};

/* May requests be sent that never were? While the session is in doubt they wait: should it be lost, they are
 * known not to be done. */
static inline bool lane_sends(const struct lane *lane)
{
    return lane->link.up && lane->link.state == LINK_IDLE;
}

/* ---- lane.c ---- */

/* Progresses until the session stands, or it is known why there is none. */
void lane_settle(struct lane *lane, uint64_t deadline_ns);
/* Ends the operation: outcome, done, accounts. */
void lane_finish_op(struct lane *lane, struct op *op);
bool lane_valid(const struct lane *lane);

/* ---- lane_frame.c ---- */

/* Would the operation and those chained to it fit a frame of their own? */
bool lane_chain_fits(const struct lane *lane, const struct op *first);
/* Moves posted operations into frames as far as the window allows; sends the full ones. */
void lane_fill(struct lane *lane);
/* Sends the frame being filled, if any. */
void lane_flush(struct lane *lane);
/* Sends the frames that wait in the endpoint to leave together, if any. */
void lane_leave(struct lane *lane);
/* Sends a request, the first time or again. A queue's may wait until lane_leave. */
void lane_transmit(struct lane *lane, struct frame *frame);
/* Takes the body of a RESPONSE. */
void lane_answer(struct lane *lane, const uint8_t *body, size_t body_bytes, uint64_t now_ns);
/* Ends all parts of a frame with `result`; the frame is then empty. */
void lane_fail_frame(struct lane *lane, struct frame *frame, int result);
/* The frame was sent, and nobody will tell what became of it: what may have changed something ends with
 * -CXE_EUNKNOWN, what only reads stays, to be asked again. The frame is empty if there is nothing of that. */
void lane_fail_mutations(struct lane *lane, struct frame *frame);
/* Takes an ownerless part out of a frame that was not sent under its number: it is then surely not done. */
void lane_drop_part(struct lane *lane, struct frame *frame, unsigned index);

static inline struct frame *lane_frame(struct lane *lane, uint64_t seq)
{
    return lane->frames[seq % SESSION_SLOTS];
}

/* Did what stands in the frame leave at least once? What an answer left undone did not. */
static inline bool lane_was_sent(const struct lane *lane, const struct frame *frame)
{
    return !frame->rest && lane->window.slots[frame->seq % SESSION_SLOTS].tries > 0;
}

/* Was anything sent that is not answered? */
static inline bool lane_asks(const struct lane *lane)
{
    return lane->window.in_flight > (lane->building != 0);
}

/* The same but for what the server says it has and keeps waiting. */
static inline bool lane_wonders(const struct lane *lane)
{
    return lane->window.in_flight - lane->window.parked > (lane->building != 0);
}

/* ---- lane_path.c ---- */

/* Chooses what of the frame travels under its number: as much as the lane's frames hold. True if something
 * longer has travelled under it before. */
bool path_choose_piece(struct lane *lane, struct frame *frame);
/* Repeats a frame. If it seems that frames of its length do not get through, they are shorter from now on. */
void path_repeat(struct lane *lane, struct frame *frame, uint64_t now_ns);
/* May an answer to record `echo` (0: to one that waited at the server, nobody knows which) be to the piece
 * that travels now? `fits`: it has the shape for that. */
bool path_takes_answer(const struct frame *frame, uint64_t echo, bool fits);
/* The server keeps a request waiting: that it is not answered tells nothing of the path. */
void path_parked(struct lane *lane);
/* The frame was answered. */
void path_answered(struct lane *lane, const struct frame *frame, uint64_t now_ns);
/* A new session may have frames up to `granted`: decides on their length. */
void path_adopt(struct lane *lane, uint32_t granted, uint64_t now_ns);
/* After a while longer frames are tried again: the path may have changed. */
void path_tick(struct lane *lane, uint64_t now_ns);

/* ---- lane_link.c ---- */

/* Asks for a sign of life. */
void link_ping(struct lane *lane, uint64_t now_ns);

/* Whatever the link has to do now: handshakes, trials, giving up. */
void link_tick(struct lane *lane, uint64_t now_ns);
/* Takes a handshake record. */
void link_handshake_frame(struct lane *lane, const uint8_t *frame, size_t frame_bytes, uint64_t now_ns);
/* When link_tick has something to do, at the latest. */
uint64_t link_next_ns(const struct lane *lane, uint64_t now_ns);
/* What the endpoint returned: refusals are hints, other errors mean that the transport's connection is gone.
 */
void link_note_error(struct lane *lane, int error);
/* Ends the session, and tells the server if it stands: nothing of it is repeated. link_tick makes another. */
void link_close(struct lane *lane);
/* An authentic frame of the session came. */
void link_heard(struct lane *lane, uint64_t now_ns);
/* Something was cancelled that may still reach the server and be done: until the session is replaced, or the
 * server has ended it. */
void link_linger(struct lane *lane, bool lingers);
/* The server ended the session. It has not begun requests of the number `not_begun` or above; 0: it does not
 * say. */
void link_closed(struct lane *lane, uint64_t not_begun);

/* ---- lane_order.c ---- */

int order_open(struct order **order_out);
void order_close(struct order *order);
/* Marks the lines as being in request `seq`. False, if one of them is in another request in flight. */
bool order_claim(struct order *order, const struct window *window, uint64_t region, uint64_t offset,
                 uint32_t lines, uint64_t seq);
/* The claim of this line comes soon: have its bucket fetched. The table is larger than the nearest caches. */
void order_prefetch(const struct order *order, uint64_t region, uint64_t offset);
/* A request got the new number `seq`, its lines' marks name the old one: nothing later leaves before it is
 * answered. */
void order_barrier(struct order *order, uint64_t seq);
/* Numbers start anew. */
void order_reset(struct order *order);

#endif
