/* executor_control.c - control operations: between the wire's structures and the region module's */
#include <errno.h>
#include <string.h>

#include "check.h"
#include "executor_internal.h"
#include "pool.h"
#include "region.h"

/* Where an operation names no region or offset, those fields are zero. */
static int read_spec(const struct op_view *op, struct region_spec *spec_out)
{
    struct wire_region_spec wire;

    memcpy(&wire, op->operand, sizeof(wire));
    if (wire.reserved.raw != 0 || op->offset != 0)
        return -EINVAL;
    memcpy(spec_out->name, wire.name, sizeof(spec_out->name));
    spec_out->bytes = le64_get(wire.size);
    spec_out->flags = le32_get(wire.flags);
    return 0;
}

static void write_info(const struct region_info *info, uint8_t *values_out)
{
    struct wire_region_info wire = {
        .handle = le64_of(info->handle),
        .size = le64_of(info->bytes),
        .resident = le64_of(info->resident_bytes),
        .tenant = le32_of(info->tenant),
        .flags = le32_of(info->flags),
    };

    memcpy(wire.name, info->name, sizeof(wire.name));
    memcpy(values_out, &wire, sizeof(wire));
}

static int run_with_spec(const struct region_caller *caller, const struct op_view *op,
                         struct region_info *info)
{
    struct region_spec spec;
    int error = read_spec(op, &spec);

    if (error)
        return error;
    if (op->opcode == OP_REGION_CLONE)
        return regions_clone(caller->regions, caller->worker, caller->tenant, op->region, &spec, info);
    if (op->region != 0)
        return -EINVAL;
    if (op->opcode == OP_REGION_CREATE)
        return regions_create(caller->regions, caller->worker, caller->tenant, &spec, info);
    return regions_open_named(caller->regions, caller->worker, caller->tenant, &spec, info);
}

static int run_on_handle(const struct region_caller *caller, const struct op_view *op,
                         struct region_info *info)
{
    if (op->opcode == OP_REGION_GROW)
        return regions_grow(caller->regions, caller->worker, caller->tenant, op->region, op->offset, info);
    if (op->offset != 0)
        return -EINVAL;
    if (op->opcode == OP_REGION_SEAL)
        return regions_seal(caller->regions, caller->worker, caller->tenant, op->region, info);
    return regions_stat(caller->regions, caller->worker, caller->tenant, op->region, info);
}

static int run_list(const struct region_caller *caller, const struct op_view *op, uint8_t *values_out)
{
    uint64_t cursor = op->offset;
    struct region_info info;

    if (op->region != 0)
        return -EINVAL;
    for (unsigned i = 0; i < op->line_count; i++) {
        if (regions_next(caller->regions, caller->worker, caller->tenant, &cursor, &info) != 0)
            info = (struct region_info){0};
        write_info(&info, values_out + i * sizeof(struct wire_region_info));
    }
    return 0;
}

static int run_delete(const struct region_caller *caller, const struct op_view *op)
{
    if (op->offset != 0)
        return -EINVAL;
    return regions_delete(caller->regions, caller->worker, caller->tenant, op->region);
}

static int run_server_stat(struct executor *executor, const struct region_caller *caller,
                           const struct op_view *op, uint8_t *values_out)
{
    const struct executor_options *options = &executor->options;
    struct regions_account account;
    struct wire_server_info info;

    if (op->region != 0 || op->offset != 0)
        return -EINVAL;
    regions_get_account(caller->regions, caller->tenant, &account);
    info = (struct wire_server_info){
        .pool_bytes = le64_of(options->pool->pages * PAGE_BYTES),
        .pool_free_bytes = le64_of(pool_free_bytes(options->pool)),
        .quota_bytes = le64_of(account.quota_bytes),
        .used_bytes = le64_of(account.used_bytes),
        .regions = le64_of(account.regions),
    };
    if (options->fill_server_info)
        options->fill_server_info(options->context, caller->tenant, &info);
    memcpy(values_out, &info, sizeof(info));
    return 0;
}

int executor_control(struct executor *executor, const struct region_caller *caller, const struct op_view *op,
                     uint8_t *values_out)
{
    struct region_info info;
    int error = -EREMOTE;

    switch (op->opcode) {
    case OP_REGION_LIST:
        return run_list(caller, op, values_out);
    case OP_REGION_DELETE:
        return run_delete(caller, op);
    case OP_SERVER_STAT:
        return run_server_stat(executor, caller, op, values_out);
    case OP_REGION_CREATE:
    case OP_REGION_OPEN:
    case OP_REGION_CLONE:
        error = run_with_spec(caller, op, &info);
        break;
    case OP_REGION_STAT:
    case OP_REGION_GROW:
    case OP_REGION_SEAL:
        error = run_on_handle(caller, op, &info);
        break;
    }
    if (!error)
        write_info(&info, values_out);
    return error;
}
