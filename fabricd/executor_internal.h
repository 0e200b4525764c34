/* executor_internal.h - what the two halves of the executor share */
#ifndef FABRICD_EXECUTOR_INTERNAL_H
#define FABRICD_EXECUTOR_INTERNAL_H

#include "codec.h"
#include "executor.h"
#include "region_access.h"

struct executor {
    struct executor_options options;
};

/* executor_control.c: one control operation. 0 or negative errno; the values (op->result_bytes) go to
 * values_out. */
int executor_control(struct executor *executor, const struct region_caller *caller, const struct op_view *op,
                     uint8_t *values_out);

#endif
