/* fault.h - an endpoint around an endpoint that loses, doubles, reorders, delays, damages and cuts
 *
 * Both directions suffer alike, each with its own stream of random numbers: the same seed and the same frames
 * give the same faults. What is held back lies in storage taken at the start; when that is full, a frame that
 * should wait is lost instead. Nothing is allocated later, so it is as fit for signal handlers as the inner
 * endpoint is. Frames held back on the way out leave when the owner next calls any function of the endpoint;
 * `fd` becomes readable in time for that.
 */
#ifndef CXE_TRANSPORT_FAULT_H
#define CXE_TRANSPORT_FAULT_H

#include "transport.h"

#define FAULT_HELD_FRAMES 256               /* held back at once, per direction */
#define FAULT_REORDER_NS  (300 * NS_PER_US) /* how long a reordered frame lets others overtake it */
#define FAULT_ERROR_BYTES 160

enum fault_cut {
    FAULT_CUT_NONE = 0,
    FAULT_CUT_IN = 1,  /* nothing is received */
    FAULT_CUT_OUT = 2, /* nothing is sent */
    FAULT_CUT_BOTH = FAULT_CUT_IN | FAULT_CUT_OUT,
};

/* Probabilities are in millionths, per frame and direction. */
struct fault_spec {
    uint32_t drop_ppm;
    uint32_t dup_ppm;
    uint32_t reorder_ppm;
    uint32_t corrupt_ppm;   /* one byte is changed */
    uint64_t longest_bytes; /* longer frames vanish; 0: none does */
    uint64_t delay_low_ns, delay_high_ns;
    enum fault_cut cut;
    uint64_t cut_from_ns, cut_until_ns; /* since the opening */
    uint64_t seed;                      /* 0: take one from the system */
};

/* Reads "drop=10%,dup=5%,reorder=5%,corrupt=0.1%,longest=1472,delay=0..2ms,cut=both@2s..4s,seed=42": any of
 * these keys, each once, in any order. Percentages have up to four decimals; delay is "2ms" or "0..2ms"; cut
 * is in, out or both, from the start or in the given time since the opening. An empty text means no faults.
 * -EINVAL, and in `error_out` one sentence that names the key and what was expected. */
int fault_parse(const char *text, struct fault_spec *spec_out, char error_out[FAULT_ERROR_BYTES]);

/* Counters, both directions together. */
struct fault_counts {
    uint64_t frames; /* that met the dice */
    uint64_t dropped, doubled, reordered, delayed, corrupted, cut;
    uint64_t overflowed; /* lost because the storage was full */
};

/* Wraps `inner`, which it owns from then on (not if it fails). `now_ns` NULL: the real clock; else a virtual
 * one (`context` is its argument), and then there is no descriptor to sleep on. Writes the seed to the log,
 * so that a run can be repeated. -ENOMEM and the errors of epoll and timerfd. */
int fault_wrap(struct endpoint *inner, const struct fault_spec *spec, uint64_t (*now_ns)(void *context),
               void *context, struct endpoint **endpoint_out);

/* For endpoints made by fault_wrap. */
void fault_cut(struct endpoint *endpoint, enum fault_cut cut); /* at once, and until the next call */
uint64_t fault_seed(const struct endpoint *endpoint);
struct fault_counts fault_counts(const struct endpoint *endpoint);
uint64_t
fault_next_ns(const struct endpoint *endpoint); /* when the next held frame is due; UINT64_MAX: none */

#endif
