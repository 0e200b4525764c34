/* shapes.h - litmus shapes, the modes and placements they are run in, and which outcomes each allows
 *
 * A shape is a handful of threads, each with a few loads, stores and compare-and-swaps on two or three words
 * that are zero at first. Its outcome is what the loads saw and what the words hold at the end. The memory is
 * one (a server does one operation on a line after the other), so all that can differ is the order in which a
 * thread's operations get there. What a mode promises of that order decides which outcomes are allowed: they
 * are computed, by doing the operations in every order that keeps the promise.
 *
 * The names are those of the literature (Alglave, Maranget, Tautschnig 2014; Maranget, Sarkar, Sewell 2012).
 * Pure data and pure functions: for live servers and for simulated ones.
 */
#ifndef TESTS_SHAPES_H
#define TESTS_SHAPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHAPE_THREADS_MAX   4
#define SHAPE_OPS_MAX       3 /* of a thread */
#define SHAPE_VARS_MAX      3
#define SHAPE_REGISTERS_MAX 4
#define SHAPE_VALUE_MAX     3
#define SHAPE_OUTCOMES      (1u << 2 * (SHAPE_REGISTERS_MAX + SHAPE_VARS_MAX))
#define SHAPE_BLOCK_BYTES   (SHAPE_VARS_MAX * 4096) /* memory of one execution, on each server */

enum shape_op_kind {
    SHAPE_NONE, /* the thread has no more */
    SHAPE_STORE,
    SHAPE_LOAD,
    SHAPE_CAS,
    SHAPE_SPLIT_CAS, /* broken on purpose: a load, and a store if it saw what was expected */
};

struct shape_op {
    uint8_t kind; /* enum shape_op_kind */
    uint8_t var;
    uint8_t value;    /* STORE, CAS: what is stored */
    uint8_t expected; /* CAS */
    uint8_t reg;      /* LOAD, CAS: which register gets what was there */
};

/* "Register 1 holds 0" or "variable 0 holds 2 at the end". */
struct shape_term {
    bool is_final;
    uint8_t index, value;
};

struct shape {
    const char *name;
    const char *weak_text; /* the outcome that tells this shape from others, for people; */
    struct shape_term weak[SHAPE_REGISTERS_MAX + SHAPE_VARS_MAX]; /* and as terms that all hold: */
    uint8_t weak_terms;                                           /* no interleaving gives it */
    struct shape_op threads[SHAPE_THREADS_MAX][SHAPE_OPS_MAX];
};
extern const struct shape shapes[];
extern const unsigned shape_count;

enum shape_placement { SHAPE_SAME_LINE, SHAPE_SAME_PAGE, SHAPE_SAME_REGION, SHAPE_TWO_SERVERS };
#define SHAPE_PLACEMENTS 4
extern const char *const shape_placement_names[SHAPE_PLACEMENTS];

/* What a mode keeps in program order. */
enum shape_order {
    SHAPE_ORDER_ALL,    /* every operation of a thread, */
    SHAPE_ORDER_SERVER, /* those that go to one server, */
    SHAPE_ORDER_LINE,   /* those on one line */
};

enum shape_mode {
    SHAPE_BLOCKING,  /* each operation waits for its answer */
    SHAPE_PIPELINED, /* a queue: all are started, then awaited */
    SHAPE_FRAME,     /* a queue, and all operations leave in one frame */
    SHAPE_FENCE,     /* a queue with a fence between any two */
    SHAPE_MAPPED,    /* loads, stores and CAS instructions on a coherent mapping */
    SHAPE_MIXED,     /* even threads: line operations that wait; odd ones: a coherent mapping */
};
#define SHAPE_MODES 6

struct shape_mode_info {
    const char *name;
    enum shape_order order;
};
extern const struct shape_mode_info shape_modes[SHAPE_MODES];

/* ---- the shape's parts ---- */

unsigned shape_threads(const struct shape *shape);
unsigned shape_ops(const struct shape *shape, unsigned thread);
unsigned shape_vars(const struct shape *shape);

/* Shapes of one variable look the same wherever it lies: only the first placement is run. */
bool shape_has_placement(const struct shape *shape, enum shape_placement placement);

/* Where a variable lies: which server, which byte of the execution's block there. */
unsigned shape_server(enum shape_placement placement, unsigned var);
uint64_t shape_offset(enum shape_placement placement, unsigned var);

/* ---- outcomes ---- */

/* Registers and final values as one number below SHAPE_OUTCOMES; those the shape has not are 0. */
unsigned shape_outcome(const uint8_t registers[SHAPE_REGISTERS_MAX], const uint8_t finals[SHAPE_VARS_MAX]);

bool shape_is_weak(const struct shape *shape, unsigned outcome);

/* Sets bit `outcome` of every outcome that the order allows in this placement. */
struct shape_set {
    uint64_t bits[SHAPE_OUTCOMES / 64];
};
void shape_allowed(const struct shape *shape, enum shape_placement placement, enum shape_order order,
                   struct shape_set *set_out);

static inline bool shape_set_has(const struct shape_set *set, unsigned outcome)
{
    return set->bits[outcome / 64] >> outcome % 64 & 1;
}

/* Does any allowed outcome satisfy the shape's weak terms? */
bool shape_allows_weak(const struct shape *shape, enum shape_placement placement, enum shape_order order);

/* "r0=1 r1=0 x=1 y=1", as far as the shape has them; valid until the thread's next call. */
const char *shape_print_outcome(const struct shape *shape, unsigned outcome);

#endif
