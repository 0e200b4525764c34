/* test_executor.c - requests as they come off the wire: order, stops, values, and what every operation
 * answers */
#include "executor.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "codec.h"
#include "coherence.h"
#include "memory_fixture.h"

static struct memory memory;

/* A request being written, and what came of it. */
static struct {
    uint8_t body[FRAME_BYTES_MAX];
    uint8_t *at;
    unsigned ops;
    uint8_t values[FRAME_BYTES_MAX + 64];
    struct execution execution;
} frame;

static void setup(void)
{
    memory_open(&memory, 64, 1);
    frame.at = frame.body + sizeof(struct body_header);
}

static void teardown(void)
{
    memory_close(&memory);
}

TestSuite(executor, .init = setup, .fini = teardown, .timeout = 60);

static uint8_t *add(enum opcode opcode, unsigned width_log2, unsigned lines, uint64_t region, uint64_t offset)
{
    uint8_t *operand = codec_write_op(frame.at, opcode, width_log2, lines, region, offset);

    frame.at += codec_op_bytes(opcode, lines);
    memset(operand, 0, (size_t)(frame.at - operand));
    frame.ops++;
    return operand;
}

/* Runs what was added, as `tenant`, and starts a new request. Values land unaligned, with a guard behind
 * them. */
static uint8_t *run_as(uint16_t tenant)
{
    struct body_header header = {
        .kind = BODY_REQUEST, .op_count = le16_of((uint16_t)frame.ops), .seq = le64_of(1)};
    struct coherence_waiter waiter = {.mail.kind = MAIL_WAITER};
    struct requester requester = {.waiter = &waiter};
    struct request_summary summary;
    uint8_t *values = frame.values + 1;

    memcpy(frame.body, &header, sizeof(header));
    cr_assert_eq(codec_check_request(frame.body, (size_t)(frame.at - frame.body), &summary), 0);
    memset(frame.values, 0xcc, sizeof(frame.values));
    requester.tenant = tenant;
    requester.now_ns = clock_now_ns();
    frame.execution = (struct execution){0};
    cr_assert_eq(executor_run(memory.executor, &requester, frame.body, (size_t)(frame.at - frame.body),
                              values, &frame.execution),
                 0);
    cr_assert_leq(frame.execution.result_bytes, summary.result_bytes);
    cr_assert_leq(frame.execution.done, frame.ops);
    cr_assert_eq(frame.execution.done == frame.ops, frame.execution.status == STATUS_OK);
    cr_assert_eq(values[summary.result_bytes], 0xcc, "wrote beyond the values");
    frame.at = frame.body + sizeof(header);
    frame.ops = 0;
    return values;
}

static uint8_t *run(void)
{
    return run_as(1);
}

static uint8_t run_status(void)
{
    run();
    return frame.execution.status;
}

static void put_spec(uint8_t *operand, const char *name, uint64_t size, uint32_t flags)
{
    struct wire_region_spec spec = {.size = le64_of(size), .flags = le32_of(flags)};

    strncpy(spec.name, name, sizeof(spec.name) - 1);
    memcpy(operand, &spec, sizeof(spec));
}

static struct wire_region_info info_of(const uint8_t *values)
{
    struct wire_region_info info;

    memcpy(&info, values, sizeof(info));
    return info;
}

static uint64_t create(const char *name, uint64_t pages)
{
    const uint8_t *values;

    put_spec(add(OP_REGION_CREATE, 0, 0, 0, 0), name, pages * PAGE_BYTES, 0);
    values = run();
    cr_assert_eq(frame.execution.status, STATUS_OK);
    return le64_get(info_of(values).handle);
}

static void put_u64(uint8_t *operand, uint64_t value)
{
    memcpy(operand, &value, sizeof(value));
}

static uint64_t u64_at(const uint8_t *values)
{
    uint64_t value;

    memcpy(&value, values, sizeof(value));
    return value;
}

Test(executor, operations_run_in_order)
{
    uint64_t handle = create("a", 1);
    const uint8_t *values;

    memset(add(OP_MEM_WR, 0, 1, handle, 0), 1, LINE_BYTES);
    add(OP_MEM_RD, 0, 1, handle, 0);
    memset(add(OP_MEM_WR, 0, 1, handle, 0), 2, LINE_BYTES);
    put_u64(add(OP_FETCH_ADD, 3, 0, handle, 8), 5);
    add(OP_MEM_RD, 0, 1, handle, 0);
    values = run();
    cr_assert_eq(frame.execution.status, STATUS_OK);
    cr_assert_eq(frame.execution.done, 5);
    cr_assert_eq(frame.execution.result_bytes, LINE_BYTES + 16 + LINE_BYTES);
    cr_expect_eq(u64_at(values), 0x0101010101010101);
    cr_expect_eq(u64_at(values + LINE_BYTES), 0x0202020202020202);
    cr_expect_eq(u64_at(values + LINE_BYTES + 8), 0, "an old value's upper bytes are zero");
    cr_expect_eq(u64_at(values + LINE_BYTES + 16), 0x0202020202020202);
    cr_expect_eq(u64_at(values + LINE_BYTES + 16 + 8), 0x0202020202020207);
}

Test(executor, the_first_failure_ends_a_request)
{
    uint64_t handle = create("a", 1);
    const uint8_t *values;

    memset(add(OP_MEM_WR, 0, 1, handle, 0), 1, LINE_BYTES);
    put_u64(add(OP_SWAP, 3, 0, handle, 64), 7);
    memset(add(OP_MEM_WR, 0, 2, handle, PAGE_BYTES - LINE_BYTES), 9, 2 * LINE_BYTES);
    memset(add(OP_MEM_WR, 0, 1, handle, 128), 1, LINE_BYTES);
    run();
    cr_expect_eq(frame.execution.status, STATUS_RANGE);
    cr_expect_eq(frame.execution.done, 2);
    cr_expect_eq(frame.execution.result_bytes, 16, "of those that were done");
    add(OP_MEM_RD, 0, PAGE_LINES, handle, 0);
    values = run();
    cr_assert_eq(frame.execution.status, STATUS_OK);
    cr_expect_eq(u64_at(values), 0x0101010101010101);
    cr_expect_eq(u64_at(values + 64), 7);
    cr_expect_eq(u64_at(values + 128), 0, "nothing behind the failure was done");
    cr_expect_eq(u64_at(values + PAGE_BYTES - LINE_BYTES), 0, "nor half of it");
}

Test(executor, a_frame_full_of_operations)
{
    uint64_t handle = create("a", 8);
    const uint8_t *values;

    for (unsigned i = 0; i < 8 * PAGE_LINES; i++)
        put_u64(add(OP_MEM_WR, 0, 1, handle, i * LINE_BYTES), i);
    cr_assert_eq(run_status(), STATUS_OK);
    for (unsigned i = 0; i < 1000; i++)
        add(OP_MEM_RD, 0, 1, handle, i * 7 % (8 * PAGE_LINES) * LINE_BYTES);
    values = run();
    cr_assert_eq(frame.execution.done, 1000);
    for (unsigned i = 0; i < 1000; i++)
        cr_assert_eq(u64_at(values + i * LINE_BYTES), i * 7 % (8 * PAGE_LINES));
}

Test(executor, masks_stand_in_front_of_the_lines)
{
    uint64_t handle = create("a", 1);
    uint8_t *operand = add(OP_MEM_WR_PTL, 0, 3, handle, 64);
    const uint8_t *values;

    put_u64(operand, 1);               /* byte 0 of the first line */
    put_u64(operand + 8, 0);           /* nothing of the second */
    put_u64(operand + 16, 1ull << 63); /* byte 63 of the third */
    memset(operand + 24, 0xaa, 3 * LINE_BYTES);
    add(OP_MEM_RD, 0, 4, handle, 0);
    values = run();
    cr_assert_eq(frame.execution.status, STATUS_OK);
    for (unsigned i = 0; i < 4 * LINE_BYTES; i++)
        cr_assert_eq(values[i], i == 64 || i == 255 ? 0xaa : 0, "byte %u", i);
}

Test(executor, words_have_zeros_above_their_width)
{
    uint64_t handle = create("a", 1);
    uint8_t *operand;

    put_u64(add(OP_FETCH_ADD, 2, 0, handle, 0), 1ull << 32);
    cr_expect_eq(run_status(), STATUS_INVAL);
    put_u64(add(OP_FETCH_ADD, 3, 0, handle, 0) + 8, 1);
    cr_expect_eq(run_status(), STATUS_INVAL);
    operand = add(OP_CAS, 2, 0, handle, 0);
    put_u64(operand + 16, 1ull << 40);
    cr_expect_eq(run_status(), STATUS_INVAL);
    operand = add(OP_CAS, 4, 0, handle, 0);
    put_u64(operand + 24, 1ull << 40);
    cr_expect_eq(run_status(), STATUS_OK, "16 bytes are all value");
    put_u64(add(OP_FETCH_ADD, 2, 0, handle, 4), UINT32_MAX);
    put_u64(add(OP_FETCH_ADD, 2, 0, handle, 4), 2);
    add(OP_MEM_RD, 0, 1, handle, 0);
    run();
    cr_assert_eq(frame.execution.status, STATUS_OK);
    cr_expect_eq(u64_at(frame.values + 1 + 16), UINT32_MAX);
    cr_expect_eq(u64_at(frame.values + 1 + 32), 1ull << 32, "wraps within its width");
    cr_expect_eq(u64_at(frame.values + 1 + 40), 1ull << 40);
}

Test(executor, every_data_operation_names_what_is_wrong)
{
    static const struct {
        enum opcode opcode;
        unsigned width_log2, lines;
    } ops[] = {
        {OP_MEM_RD, 0, 1},    {OP_MEM_WR, 0, 1},    {OP_MEM_WR_PTL, 0, 1}, {OP_CAS, 2, 0},
        {OP_CAS, 3, 0},       {OP_CAS, 4, 0},       {OP_FETCH_ADD, 2, 0},  {OP_FETCH_ADD, 3, 0},
        {OP_SWAP, 2, 0},      {OP_SWAP, 3, 0},      {OP_FETCH_AND, 2, 0},  {OP_FETCH_AND, 3, 0},
        {OP_FETCH_OR, 2, 0},  {OP_FETCH_OR, 3, 0},  {OP_FETCH_XOR, 2, 0},  {OP_FETCH_XOR, 3, 0},
        {OP_FETCH_MIN, 2, 0}, {OP_FETCH_MIN, 3, 0}, {OP_FETCH_MAX, 2, 0},  {OP_FETCH_MAX, 3, 0},
    };
    uint64_t handle = create("a", 1);

    for (unsigned i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
        unsigned grain = ops[i].lines ? LINE_BYTES : 1u << ops[i].width_log2;
        const struct {
            uint64_t handle, offset;
            uint8_t status;
        } cases[] = {
            {handle, 0, STATUS_OK},
            {handle, PAGE_BYTES - grain, STATUS_OK},
            {handle, PAGE_BYTES, STATUS_RANGE},
            {handle, UINT64_MAX - grain + 1, STATUS_RANGE},
            {handle, 1, STATUS_INVAL},
            {handle, grain / 2, STATUS_INVAL},
            {handle, grain + grain - 1, STATUS_INVAL},
            {handle + 1, 0, STATUS_STALE},
            {handle ^ 1ull << 32, 0, STATUS_STALE},
            {0, 0, STATUS_STALE},
        };

        for (unsigned j = 0; j < sizeof(cases) / sizeof(cases[0]); j++) {
            add(ops[i].opcode, ops[i].width_log2, ops[i].lines, cases[j].handle, cases[j].offset);
            cr_expect_eq(run_status(), cases[j].status, "%s of %u: case %u: %s", op_infos[ops[i].opcode].name,
                         grain, j, status_name(frame.execution.status));
        }
        add(ops[i].opcode, ops[i].width_log2, ops[i].lines, handle, 0);
        run_as(2);
        cr_expect_eq(frame.execution.status, STATUS_STALE, "another tenant's");
    }
}

Test(executor, regions_over_the_wire)
{
    uint64_t handle = create("a/b", 2), copy;
    struct wire_region_info info;

    put_spec(add(OP_REGION_OPEN, 0, 0, 0, 0), "a/b", 0, 0);
    info = info_of(run());
    cr_expect_eq(le64_get(info.handle), handle);
    cr_expect_eq(le64_get(info.size), 2 * PAGE_BYTES);
    cr_expect_eq(le32_get(info.tenant), 1);
    cr_expect_str_eq(info.name, "a/b");
    memset(add(OP_MEM_WR, 0, 1, handle, 0), 1, LINE_BYTES);
    add(OP_REGION_STAT, 0, 0, handle, 0);
    cr_expect_eq(le64_get(info_of(run()).resident), PAGE_BYTES);
    add(OP_REGION_GROW, 0, 0, handle, 5 * PAGE_BYTES);
    cr_expect_eq(le64_get(info_of(run()).size), 5 * PAGE_BYTES);
    put_spec(add(OP_REGION_CLONE, 0, 0, handle, 0), "copy", 0, REGION_SEALED);
    info = info_of(run());
    cr_assert_eq(frame.execution.status, STATUS_OK);
    copy = le64_get(info.handle);
    cr_expect_eq(le32_get(info.flags), REGION_SEALED);
    add(OP_MEM_WR, 0, 1, copy, 0);
    cr_expect_eq(run_status(), STATUS_ACCESS);
    add(OP_REGION_SEAL, 0, 0, handle, 0);
    cr_expect_eq(le32_get(info_of(run()).flags), REGION_SEALED);
    add(OP_REGION_DELETE, 0, 0, handle, 0);
    add(OP_MEM_RD, 0, 1, handle, 0);
    run();
    cr_expect_eq(frame.execution.done, 1);
    cr_expect_eq(frame.execution.status, STATUS_STALE);
    put_spec(add(OP_REGION_OPEN, 0, 0, 0, 0), "a/b", 0, 0);
    cr_expect_eq(run_status(), STATUS_NOENT);
    add(OP_MEM_RD, 0, 1, copy, 0);
    cr_expect_eq(run()[0], 1);
}

Test(executor, control_operations_check_every_field)
{
    uint64_t handle = create("a", 1);
    uint8_t *operand;

    put_spec(add(OP_REGION_CREATE, 0, 0, 1, 0), "b", PAGE_BYTES, 0);
    cr_expect_eq(run_status(), STATUS_INVAL, "creating names no handle");
    put_spec(add(OP_REGION_CREATE, 0, 0, 0, 64), "b", PAGE_BYTES, 0);
    cr_expect_eq(run_status(), STATUS_INVAL, "nor an offset");
    operand = add(OP_REGION_CREATE, 0, 0, 0, 0);
    put_spec(operand, "b", PAGE_BYTES, 0);
    operand[sizeof(struct wire_region_spec) - 1] = 1;
    cr_expect_eq(run_status(), STATUS_INVAL, "reserved");
    put_spec(add(OP_REGION_CREATE, 0, 0, 0, 0), "b", PAGE_BYTES, 1u << 31);
    cr_expect_eq(run_status(), STATUS_INVAL, "unknown flags");
    put_spec(add(OP_REGION_OPEN, 0, 0, handle, 0), "a", 0, 0);
    cr_expect_eq(run_status(), STATUS_INVAL);
    put_spec(add(OP_REGION_CLONE, 0, 0, handle, 0), "b", PAGE_BYTES, 0);
    cr_expect_eq(run_status(), STATUS_INVAL, "a clone is as large as its origin");
    add(OP_REGION_STAT, 0, 0, handle, 8);
    cr_expect_eq(run_status(), STATUS_INVAL);
    add(OP_REGION_DELETE, 0, 0, handle, 8);
    cr_expect_eq(run_status(), STATUS_INVAL);
    add(OP_REGION_SEAL, 0, 0, handle, 8);
    cr_expect_eq(run_status(), STATUS_INVAL);
    add(OP_REGION_LIST, 0, 3, handle, 0);
    cr_expect_eq(run_status(), STATUS_INVAL);
    add(OP_SERVER_STAT, 0, 0, 0, 8);
    cr_expect_eq(run_status(), STATUS_INVAL);
    put_spec(add(OP_REGION_CREATE, 0, 0, 0, 0), "a", PAGE_BYTES, 0);
    cr_expect_eq(run_status(), STATUS_EXIST);
    put_spec(add(OP_REGION_CREATE, 0, 0, 0, 0), "b", 64 * PAGE_BYTES, 0);
    cr_expect_eq(run_status(), STATUS_NOSPC);
    regions_set_quota(memory.regions, 1, 2 * PAGE_BYTES);
    put_spec(add(OP_REGION_CREATE, 0, 0, 0, 0), "b", 2 * PAGE_BYTES, 0);
    cr_expect_eq(run_status(), STATUS_QUOTA);
    add(OP_REGION_STAT, 0, 0, handle, 0);
    cr_expect_eq(run_status(), STATUS_OK, "and the region is unharmed");
}

Test(executor, lists_come_in_pages)
{
    uint64_t handles[7], cursor = 0;
    const uint8_t *values;
    unsigned found = 0;
    char name[8];

    for (unsigned i = 0; i < 7; i++) {
        snprintf(name, sizeof(name), "r%u", i);
        handles[i] = create(name, 1);
    }
    while (found <= 7) {
        add(OP_REGION_LIST, 0, 3, 0, cursor);
        values = run();
        cr_assert_eq(frame.execution.status, STATUS_OK);
        cr_assert_eq(frame.execution.result_bytes, 3 * sizeof(struct wire_region_info));
        for (unsigned i = 0; i < 3; i++) {
            uint64_t handle = le64_get(info_of(values + i * sizeof(struct wire_region_info)).handle);

            if (handle == 0) {
                cr_assert_eq(found, 7);
                cr_assert_eq(i, 1, "of the third page one is left");
                return;
            }
            cr_assert_eq(handle, handles[found++]);
            cursor = (uint32_t)handle + 1;
        }
    }
    cr_assert_fail("the list does not end");
}

static void fill_info(void *context, uint16_t tenant, struct wire_server_info *info)
{
    info->sessions = le64_of(*(uint64_t *)context + tenant);
}

Test(executor, the_server_tells_about_itself)
{
    uint64_t sessions = 40;
    struct executor_options options = {.pool = memory.pool,
                                       .regions = memory.regions,
                                       .quiesce = memory.quiesce,
                                       .fill_server_info = fill_info,
                                       .context = &sessions};
    struct wire_server_info info;

    create("a", 3);
    regions_set_quota(memory.regions, 1, 10 * PAGE_BYTES);
    executor_close(memory.executor);
    cr_assert_eq(executor_open(&options, &memory.executor), 0);
    add(OP_SERVER_STAT, 0, 0, 0, 0);
    memcpy(&info, run(), sizeof(info));
    cr_assert_eq(frame.execution.status, STATUS_OK);
    cr_expect_eq(le64_get(info.pool_bytes), 64 * PAGE_BYTES);
    cr_expect_eq(le64_get(info.pool_free_bytes), 61 * PAGE_BYTES);
    cr_expect_eq(le64_get(info.quota_bytes), 10 * PAGE_BYTES);
    cr_expect_eq(le64_get(info.used_bytes), 3 * PAGE_BYTES);
    cr_expect_eq(le64_get(info.regions), 1);
    cr_expect_eq(le64_get(info.sessions), 41);
}

Test(executor, poison_is_told)
{
    uint64_t origin = create("origin", 64), copy;

    for (unsigned page = 0; page < 64; page++) {
        add(OP_MEM_WR, 0, 1, origin, page * PAGE_BYTES);
        cr_assert_eq(run_status(), STATUS_OK);
    }
    put_spec(add(OP_REGION_CLONE, 0, 0, origin, 0), "copy", 0, 0);
    copy = le64_get(info_of(run()).handle);
    add(OP_MEM_WR, 0, 1, copy, 0);
    cr_expect_eq(run_status(), STATUS_NOSPC);
    add(OP_MEM_WR, 0, 1, origin, 0);
    cr_expect_eq(run_status(), STATUS_OK);
    add(OP_MEM_RD, 0, 1, copy, PAGE_BYTES);
    add(OP_MEM_RD, 0, 2, copy, PAGE_BYTES - LINE_BYTES);
    run();
    cr_expect_eq(frame.execution.status, STATUS_POISON);
    cr_expect_eq(frame.execution.result_bytes, LINE_BYTES);
}

Test(executor, an_idle_server_is_not_woken)
{
    uint64_t now_ns = clock_now_ns(), handle;

    cr_expect_eq(executor_maintain(memory.executor, 0, now_ns), UINT64_MAX);
    handle = create("a", 64);
    cr_expect_eq(executor_maintain(memory.executor, 0, now_ns), UINT64_MAX);
    for (unsigned page = 0; page < 64; page++)
        cr_assert_eq(memory_fill(&memory, handle, page, 1), 0);
    add(OP_REGION_DELETE, 0, 0, handle, 0);
    cr_assert_eq(run_status(), STATUS_OK);
    memory_settle(&memory);
    cr_expect_eq((uint32_t)memory.pool->dirty_stack, 0, "everything is wiped before it sleeps");
    cr_expect_eq(executor_maintain(memory.executor, 0, now_ns), UINT64_MAX);
}
