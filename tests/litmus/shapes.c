/* shapes.c - the table, and the orders it can be done in; see shapes.h */
#include "shapes.h"

#include <stdio.h>
#include <string.h>

#define X 0
#define Y 1
#define Z 2

#define W(variable, stored)                                       \
    {                                                             \
        .kind = SHAPE_STORE, .var = (variable), .value = (stored) \
    }
#define R(variable, into)                                    \
    {                                                        \
        .kind = SHAPE_LOAD, .var = (variable), .reg = (into) \
    }
#define C(variable, old, new, into)                                                            \
    {                                                                                          \
        .kind = SHAPE_CAS, .var = (variable), .expected = (old), .value = (new), .reg = (into) \
    }
#define REG(number, held)                  \
    {                                      \
        .index = (number), .value = (held) \
    }
#define END(variable, held)                                    \
    {                                                          \
        .is_final = true, .index = (variable), .value = (held) \
    }
#define WEAK(text, ...)                       \
    .weak_text = text, .weak = {__VA_ARGS__}, \
    .weak_terms = sizeof((struct shape_term[]){__VA_ARGS__}) / sizeof(struct shape_term)

const struct shape shapes[] = {
    {"CoRR", WEAK("r0=1 r1=0", REG(0, 1), REG(1, 0)), {{W(X, 1)}, {R(X, 0), R(X, 1)}}},
    {"CoWW", WEAK("x=1", END(X, 1)), {{W(X, 1), W(X, 2)}}},
    {"CoRW", WEAK("r0=2 x=2", REG(0, 2), END(X, 2)), {{R(X, 0), W(X, 1)}, {W(X, 2)}}},
    {"CoWR", WEAK("r0=2 x=1", REG(0, 2), END(X, 1)), {{W(X, 1), R(X, 0)}, {W(X, 2)}}},
    {"MP", WEAK("r0=1 r1=0", REG(0, 1), REG(1, 0)), {{W(X, 1), W(Y, 1)}, {R(Y, 0), R(X, 1)}}},
    {"SB", WEAK("r0=0 r1=0", REG(0, 0), REG(1, 0)), {{W(X, 1), R(Y, 0)}, {W(Y, 1), R(X, 1)}}},
    {"LB", WEAK("r0=1 r1=1", REG(0, 1), REG(1, 1)), {{R(X, 0), W(Y, 1)}, {R(Y, 1), W(X, 1)}}},
    {"IRIW",
     WEAK("r0=1 r1=0 r2=1 r3=0", REG(0, 1), REG(1, 0), REG(2, 1), REG(3, 0)),
     {{W(X, 1)}, {W(Y, 1)}, {R(X, 0), R(Y, 1)}, {R(Y, 2), R(X, 3)}}},
    {"2+2W", WEAK("x=1 y=1", END(X, 1), END(Y, 1)), {{W(X, 1), W(Y, 2)}, {W(Y, 1), W(X, 2)}}},
    {"R", WEAK("r0=0 y=2", REG(0, 0), END(Y, 2)), {{W(X, 1), W(Y, 1)}, {W(Y, 2), R(X, 0)}}},
    {"S", WEAK("r0=1 x=2", REG(0, 1), END(X, 2)), {{W(X, 2), W(Y, 1)}, {R(Y, 0), W(X, 1)}}},
    {"WRC",
     WEAK("r0=1 r1=1 r2=0", REG(0, 1), REG(1, 1), REG(2, 0)),
     {{W(X, 1)}, {R(X, 0), W(Y, 1)}, {R(Y, 1), R(X, 2)}}},
    {"ISA2",
     WEAK("r0=1 r1=1 r2=0", REG(0, 1), REG(1, 1), REG(2, 0)),
     {{W(X, 1), W(Y, 1)}, {R(Y, 0), W(Z, 1)}, {R(Z, 1), R(X, 2)}}},
    {"CAS-CAS", WEAK("r0=0 r1=0", REG(0, 0), REG(1, 0)), {{C(X, 0, 1, 0)}, {C(X, 0, 2, 1)}}},
    {"CAS-W", WEAK("r0=0 x=1", REG(0, 0), END(X, 1)), {{C(X, 0, 1, 0)}, {W(X, 2)}}},
    {"MP-CAS",
     WEAK("r0=0 r1=1 r2=0", REG(0, 0), REG(1, 1), REG(2, 0)),
     {{W(X, 1), C(Y, 0, 1, 0)}, {R(Y, 1), R(X, 2)}}},
    {"CAS-MP",
     WEAK("r0=0 r1=1 r2=0", REG(0, 0), REG(1, 1), REG(2, 0)),
     {{C(X, 0, 1, 0), W(Y, 1)}, {R(Y, 1), R(X, 2)}}},
};
const unsigned shape_count = sizeof(shapes) / sizeof(shapes[0]);

const char *const shape_placement_names[SHAPE_PLACEMENTS] = {"same line", "same page", "same region",
                                                             "two servers"};

const struct shape_mode_info shape_modes[SHAPE_MODES] = {
    [SHAPE_BLOCKING] = {"blocking", SHAPE_ORDER_ALL},  [SHAPE_PIPELINED] = {"pipelined", SHAPE_ORDER_LINE},
    [SHAPE_FRAME] = {"one frame", SHAPE_ORDER_SERVER}, [SHAPE_FENCE] = {"fence", SHAPE_ORDER_SERVER},
    [SHAPE_MAPPED] = {"mapped", SHAPE_ORDER_ALL},      [SHAPE_MIXED] = {"mixed", SHAPE_ORDER_ALL},
};

/* ---- the shape's parts ---- */

unsigned shape_ops(const struct shape *shape, unsigned thread)
{
    unsigned count = 0;

    while (count < SHAPE_OPS_MAX && shape->threads[thread][count].kind != SHAPE_NONE)
        count++;
    return count;
}

unsigned shape_threads(const struct shape *shape)
{
    unsigned count = 0;

    while (count < SHAPE_THREADS_MAX && shape_ops(shape, count) > 0)
        count++;
    return count;
}

/* One more than the highest register (or variable) that any operation names. */
static unsigned highest(const struct shape *shape, bool registers)
{
    unsigned count = 0;

    for (unsigned thread = 0; thread < shape_threads(shape); thread++)
        for (unsigned i = 0; i < shape_ops(shape, thread); i++) {
            const struct shape_op *op = &shape->threads[thread][i];
            unsigned number = registers ? op->reg : op->var;

            if ((!registers || op->kind != SHAPE_STORE) && number >= count)
                count = number + 1;
        }
    return count;
}

unsigned shape_vars(const struct shape *shape)
{
    return highest(shape, false);
}

bool shape_has_placement(const struct shape *shape, enum shape_placement placement)
{
    return placement == SHAPE_SAME_LINE || shape_vars(shape) > 1;
}

unsigned shape_server(enum shape_placement placement, unsigned var)
{
    return placement == SHAPE_TWO_SERVERS ? var % 2 : 0;
}

uint64_t shape_offset(enum shape_placement placement, unsigned var)
{
    switch (placement) {
    case SHAPE_SAME_LINE:
        return 8 * var;
    case SHAPE_SAME_PAGE:
        return 9 * 64 * var; /* lines apart, and under different version words */
    case SHAPE_SAME_REGION:
    case SHAPE_TWO_SERVERS:
        return 4096 * var;
    }
    return 0;
}

/* ---- outcomes ---- */

unsigned shape_outcome(const uint8_t registers[SHAPE_REGISTERS_MAX], const uint8_t finals[SHAPE_VARS_MAX])
{
    unsigned outcome = 0;

    for (unsigned i = SHAPE_VARS_MAX; i-- > 0;)
        outcome = outcome << 2 | finals[i];
    for (unsigned i = SHAPE_REGISTERS_MAX; i-- > 0;)
        outcome = outcome << 2 | registers[i];
    return outcome;
}

static unsigned register_of(unsigned outcome, unsigned index)
{
    return outcome >> 2 * index & 3;
}

static unsigned final_of(unsigned outcome, unsigned index)
{
    return register_of(outcome, SHAPE_REGISTERS_MAX + index);
}

bool shape_is_weak(const struct shape *shape, unsigned outcome)
{
    for (unsigned i = 0; i < shape->weak_terms; i++) {
        const struct shape_term *term = &shape->weak[i];

        if ((term->is_final ? final_of(outcome, term->index) : register_of(outcome, term->index)) !=
            term->value)
            return false;
    }
    return true;
}

const char *shape_print_outcome(const struct shape *shape, unsigned outcome)
{
    static _Thread_local char text[96];
    size_t length = 0;

    for (unsigned i = 0; i < highest(shape, true); i++)
        length +=
            (size_t)snprintf(text + length, sizeof(text) - length, "r%u=%u ", i, register_of(outcome, i));
    for (unsigned i = 0; i < shape_vars(shape); i++)
        length +=
            (size_t)snprintf(text + length, sizeof(text) - length, "%c=%u ", "xyz"[i], final_of(outcome, i));
    text[length - 1] = '\0';
    return text;
}

/* ---- every order ---- */

struct machine {
    uint8_t memory[SHAPE_VARS_MAX], registers[SHAPE_REGISTERS_MAX];
    uint8_t done[SHAPE_THREADS_MAX]; /* bit i: the thread's operation i */
};

struct model {
    const struct shape *shape;
    enum shape_placement placement;
    enum shape_order order;
    unsigned threads;
    struct shape_set *set;
};

static bool keeps(const struct model *model, const struct shape_op *first, const struct shape_op *second)
{
    switch (model->order) {
    case SHAPE_ORDER_ALL:
        return true;
    case SHAPE_ORDER_SERVER:
        return shape_server(model->placement, first->var) == shape_server(model->placement, second->var);
    case SHAPE_ORDER_LINE:
        return first->var == second->var || model->placement == SHAPE_SAME_LINE;
    }
    return true;
}

static bool may_go(const struct model *model, const struct machine *machine, unsigned thread, unsigned op)
{
    const struct shape_op *ops = model->shape->threads[thread];

    if (machine->done[thread] & 1u << op)
        return false;
    for (unsigned i = 0; i < op; i++)
        if (!(machine->done[thread] & 1u << i) && keeps(model, &ops[i], &ops[op]))
            return false;
    return true;
}

static void perform(struct machine *machine, const struct shape_op *op)
{
    uint8_t old = machine->memory[op->var];

    if (op->kind != SHAPE_STORE)
        machine->registers[op->reg] = old;
    if (op->kind == SHAPE_STORE || (op->kind == SHAPE_CAS && old == op->expected))
        machine->memory[op->var] = op->value;
}

/* Recursion as deep as the shape has operations. */
static void explore(const struct model *model, const struct machine *machine)
{
    bool over = true;

    for (unsigned thread = 0; thread < model->threads; thread++)
        for (unsigned i = 0; i < shape_ops(model->shape, thread); i++) {
            struct machine next = *machine;

            over = over && (machine->done[thread] & 1u << i);
            if (!may_go(model, machine, thread, i))
                continue;
            perform(&next, &model->shape->threads[thread][i]);
            next.done[thread] |= (uint8_t)(1u << i);
            explore(model, &next);
        }
    if (over) {
        unsigned outcome = shape_outcome(machine->registers, machine->memory);
        model->set->bits[outcome / 64] |= 1ull << outcome % 64;
    }
}

void shape_allowed(const struct shape *shape, enum shape_placement placement, enum shape_order order,
                   struct shape_set *set_out)
{
    const struct model model = {.shape = shape,
                                .placement = placement,
                                .order = order,
                                .threads = shape_threads(shape),
                                .set = set_out};
    const struct machine machine = {0};

    memset(set_out, 0, sizeof(*set_out));
    explore(&model, &machine);
}

bool shape_allows_weak(const struct shape *shape, enum shape_placement placement, enum shape_order order)
{
    struct shape_set set;

    shape_allowed(shape, placement, order, &set);
    for (unsigned outcome = 0; outcome < SHAPE_OUTCOMES; outcome++)
        if (shape_set_has(&set, outcome) && shape_is_weak(shape, outcome))
            return true;
    return false;
}
