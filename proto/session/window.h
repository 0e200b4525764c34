/* window.h - the client's half of exactly-once: which requests are in flight, when to repeat them, how many
 * to allow
 *
 * Pure: no I/O, reads no clock. Time comes in as nanoseconds that never go back.
 *
 * Invariants, checked by window_valid():
 *   W1  oldest <= next_seq, and next_seq - oldest <= SESSION_SLOTS
 *   W2  slot i holds a seq congruent to i, in oldest..next_seq-1 if it is in flight
 *   W3  in_flight counts the slots in flight; every seq below oldest is answered
 *   W4  1 <= allowed <= SESSION_SLOTS
 *   W5  parked counts the slots in flight that are parked
 *
 * Repeats: after a time-out (RFC 6298, but with a floor fit for a LAN), or as soon as three frames sent later
 * are answered (the packet threshold of RFC 9002, 6.1.1). Each transmission has its own record counter, which
 * the answer echoes, so the round trip of a repeated request is known exactly (no Karn's rule). The window
 * halves at a loss, at most once a round trip, and grows by one a round trip (RFC 5681).
 *
 * A request that waits in the server for something is parked: its repeats are answered with PENDING. They
 * come less and less often, and say nothing about losses, nor its answer about round trips.
 */
#ifndef CXE_SESSION_WINDOW_H
#define CXE_SESSION_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#include "limits.h"

#define WINDOW_RTO_FIRST_NS (50 * NS_PER_MS)
#define WINDOW_RTO_MIN_NS   (4 * NS_PER_MS) /* a scheduler's time slice: a busy peer is not a lost frame */
#define WINDOW_RTO_MAX_NS   (250 * NS_PER_MS)
#define WINDOW_REORDER      3

/* A parked request is repeated after so long, doubled with every PENDING up to the other: the server may have
 * lost its session, or we the answer. */
#define WINDOW_PARKED_FIRST_NS (16 * NS_PER_MS)
#define WINDOW_PARKED_MAX_NS   NS_PER_S

struct window_slot {
    uint64_t seq;
    uint64_t sent_ns;                      /* last transmission */
    uint64_t counter;                      /* its record counter */
    uint64_t first_sent_ns, first_counter; /* of the first transmission */
    uint64_t due_ns;                       /* repeat then */
    uint32_t tries;                        /* transmissions so far */
    uint16_t pendings;                     /* PENDINGs so far, as far as they matter */
    bool parked;                           /* the last transmission was answered with PENDING */
    bool in_flight;
};

struct window {
    struct window_slot slots[SESSION_SLOTS];
    uint64_t next_seq;
    uint64_t oldest; /* the lowest not answered; next_seq if none */
    unsigned in_flight;
    unsigned parked;             /* of them */
    unsigned allowed;            /* congestion window, frames */
    unsigned threshold;          /* below it `allowed` grows by one an answer, above by one a round trip */
    unsigned allowed_before;     /* the last cut, in case it was for nothing */
    unsigned grown;              /* answers since `allowed` last grew */
    uint64_t srtt_ns, rttvar_ns; /* 0: not measured yet */
    uint64_t newest_answered;    /* highest counter echoed */
    uint64_t cut_counter;        /* losses of frames sent before it do not cut the window again */
    uint64_t repeats;
};

void window_init(struct window *window);

/* May another request start? */
bool window_open(const struct window *window);

/* Takes the next number; its slot is seq mod SESSION_SLOTS. The request counts as in flight from the first
 * window_sent on, but the slot is taken now. Only if window_open. */
uint64_t window_take(struct window *window);

/* A transmission of `seq` left with this record counter. */
void window_sent(struct window *window, uint64_t seq, uint64_t counter, uint64_t now_ns);

/* `seq` is in flight, but what left of it will never be taken: as if it had not left. */
void window_unsend(struct window *window, uint64_t seq);

/* An answer to `seq`. True if it was in flight: the slot is then free. `counter` is the echoed one. */
bool window_answered(struct window *window, uint64_t seq, uint64_t counter, uint64_t now_ns);

/* PENDING for `seq`: the server has it, and will answer later. */
void window_parked(struct window *window, uint64_t seq, uint64_t now_ns);

/* A request that must be repeated now, or 0. Notes the loss; the caller transmits and calls window_sent. */
uint64_t window_overdue(struct window *window, uint64_t now_ns);

/* When window_overdue will have something if nothing is answered before; UINT64_MAX if nothing is in flight.
 */
uint64_t window_next_due_ns(const struct window *window);

bool window_in_flight(const struct window *window, uint64_t seq);

bool window_valid(const struct window *window);

#endif
