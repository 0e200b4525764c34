/* executor_internal.h - what the two halves of the executor share */
#ifndef FABRICD_EXECUTOR_INTERNAL_H
#define FABRICD_EXECUTOR_INTERNAL_H

#include "codec.h"
#include "executor.h"
#include "region_access.h"

struct executor {
    struct executor_options options;
};

static inline struct region_place place_of(const struct op_view *op)
{
    return (struct region_place){.handle = op->region, .offset = op->offset};
}

/* An atomic's operands, checked. -EINVAL. */
int executor_read_operands(const struct op_view *op, struct wire_word operands_out[2]);

/* executor_coherent.c: an operation on a coherent region, or one that there is only for those. Goes on where
 * it stood. 0; -EINPROGRESS: see executor_run; or what the operation failed with. */
int executor_coherent(struct executor *executor, const struct requester *requester, const struct op_view *op,
                      uint8_t *values_out, struct execution *execution);

/* executor_control.c: one control operation. 0 or negative errno; the values (op->result_bytes) go to
 * values_out. */
int executor_control(struct executor *executor, const struct region_caller *caller, const struct op_view *op,
                     uint8_t *values_out);

#endif
