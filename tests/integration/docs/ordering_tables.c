/* ordering_tables.c - prints the tables of docs/ORDERING.md from the shapes, for check_ordering.py to compare
 */
#include <stdio.h>

#include "shapes.h"

static const char *const kept[] = {
    [SHAPE_ORDER_ALL] = "all operations of a thread",
    [SHAPE_ORDER_SERVER] = "operations of a thread at one server",
    [SHAPE_ORDER_LINE] = "operations of a thread on one line",
};

static void print_modes(void)
{
    printf("@ modes\n| mode | keeps in order |\n");
    for (unsigned i = 0; i < SHAPE_MODES; i++)
        printf("| %s | %s |\n", shape_modes[i].name, kept[shape_modes[i].order]);
}

static void print_op(const struct shape_op *op)
{
    if (op->kind == SHAPE_CAS)
        printf("r%u = CAS %c %u->%u", op->reg, "xyz"[op->var], op -> expected, op -> value);
    else if (op->kind == SHAPE_STORE)
        printf("W %c=%u", "xyz"[op->var], op -> value);
    else
        printf("R r%u=%c", op->reg, "xyz"[op->var]);
}

static void print_threads(const struct shape *shape)
{
    for (unsigned thread = 0; thread < shape_threads(shape); thread++) {
        printf("%s", thread > 0 ? " // " : "");
        for (unsigned i = 0; i < shape_ops(shape, thread); i++) {
            printf("%s", i > 0 ? "; " : "");
            print_op(&shape->threads[thread][i]);
        }
    }
}

/* Where the weak outcome is allowed: the placements form a chain, each allowing what the one before does. */
static const char *where(const struct shape *shape, enum shape_mode mode)
{
    static const char *const first[] = {"always", "between lines", "between pages", "between servers"};

    for (unsigned placement = 0; placement < SHAPE_PLACEMENTS; placement++)
        if (shape_has_placement(shape, placement) &&
            shape_allows_weak(shape, placement, shape_modes[mode].order))
            return first[placement];
    return "never";
}

static void print_shapes(void)
{
    printf("@ shapes\n| shape | threads | outcome |");
    for (unsigned mode = 0; mode < SHAPE_MODES; mode++)
        printf(" %s |", shape_modes[mode].name);
    printf("\n");
    for (unsigned i = 0; i < shape_count; i++) {
        printf("| %s | ", shapes[i].name);
        print_threads(&shapes[i]);
        printf(" | %s |", shapes[i].weak_text);
        for (unsigned mode = 0; mode < SHAPE_MODES; mode++)
            printf(" %s |", where(&shapes[i], mode));
        printf("\n");
    }
}

int main(void)
{
    print_modes();
    print_shapes();
    return 0;
}
