/* fuzz_executor.c - arbitrary requests of two tenants against a small pool, which must stay in order
 *
 * The input is a sequence of requests: one byte of tenant and flags, two of length, a body. A handle whose
 * upper half is zero is completed with the generation of that slot, for random bytes would never guess one.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "codec.h"
#include "coherence.h"
#include "executor.h"
#include "mailbox.h"
#include "pool.h"
#include "quiesce.h"
#include "region.h"
#include "region_coherent.h"

#define POOL_PAGES 24

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

static struct pool *pool;
static struct quiesce *quiesce;
static struct mailboxes *mailboxes;
static struct regions *regions;
static struct executor *executor;
static uint64_t now_ns;

static void open_all(void)
{
    struct regions_options options = {.default_quota_bytes = 3 * POOL_PAGES / 2 * PAGE_BYTES};
    char why[256];

    CHECK(pool_open(&(struct pool_options){.bytes = POOL_PAGES * PAGE_BYTES, .workers = 1}, why, sizeof(why),
                    &pool) == 0);
    CHECK(quiesce_open(1, &quiesce) == 0);
    quiesce_online(quiesce, 0);
    options.pool = pool;
    CHECK(mailboxes_open(1, &mailboxes) == 0);
    options.quiesce = quiesce;
    options.mailboxes = mailboxes;
    options.lease_ns = NS_PER_S;
    CHECK(regions_open(&options, &regions) == 0);
    CHECK(executor_open(&(struct executor_options){.pool = pool, .regions = regions, .quiesce = quiesce},
                        &executor) == 0);
}

/* An agent's binding is the worker's; one whose agent is no more is freed. */
static void take_mail(void)
{
    struct mail *chain = mailbox_take(mailboxes, 0), *mail;

    while ((mail = mailbox_next(&chain))) {
        struct coherence_binding *binding = (struct coherence_binding *)mail;
        struct region_caller caller = {regions, 0, binding->tenant};
        struct coherence_news news = {.fate = COHERENCE_GONE};
        struct coherence *coherence;

        if (mail->kind != MAIL_BINDING)
            continue;
        if (region_find_coherence(&caller, binding->region, &coherence) == 0 &&
            coherence_enter(coherence) == 0) {
            coherence_attend(coherence, binding, now_ns, now_ns, false, &news);
            coherence_unlock(coherence);
        }
        if (news.fate != COHERENCE_LIVES)
            free(binding);
    }
}

/* Opening takes longer than most inputs, so the tables are kept, and each input leaves them empty. */
static void delete_all(void)
{
    for (uint16_t tenant = 1; tenant <= 2; tenant++) {
        struct region_info info;
        uint64_t cursor = 0;

        while (regions_next(regions, 0, tenant, &cursor, &info) == 0)
            CHECK(regions_delete(regions, 0, tenant, info.handle) == 0);
    }
    while (executor_maintain(executor, 0, now_ns) == now_ns)
        ;
    take_mail();
    CHECK(pool_free_bytes(pool) == POOL_PAGES * PAGE_BYTES);
}

static uint64_t handle_of_slot(uint16_t tenant, uint32_t slot)
{
    uint64_t cursor = slot;
    struct region_info info;

    if (regions_next(regions, 0, tenant, &cursor, &info) == 0)
        return info.handle;
    return slot;
}

static void complete_handles(uint16_t tenant, uint8_t *body, size_t bytes)
{
    const uint8_t *at = body + sizeof(struct body_header), *end = body + bytes;

    while (at < end) {
        uint8_t *header = body + (at - body);
        struct le64 handle;
        struct op_view op;

        CHECK(codec_read_op(&at, end, &op) == 0);
        if (op.region >> 32 != 0 || op.region == 0)
            continue;
        handle = le64_of(handle_of_slot(tenant, (uint32_t)op.region - 1));
        memcpy(header + offsetof(struct op_header, region), &handle, sizeof(handle));
    }
}

static void run(uint16_t tenant, const uint8_t *data, size_t bytes)
{
    uint8_t *body = malloc(bytes + 1),
            *values; /* exactly as large as they may be, for the address sanitizer */
    struct request_summary summary;
    struct coherence_waiter waiter = {.mail.kind = MAIL_WAITER};
    struct requester requester = {.tenant = tenant, .session = 1, .now_ns = now_ns, .waiter = &waiter};
    struct execution execution = {0};

    CHECK(body != NULL);
    memcpy(body, data, bytes);
    if (codec_check_request(body, bytes, &summary) == 0) {
        complete_handles(tenant, body, bytes);
        values = malloc(summary.result_bytes + 1);
        CHECK(values != NULL);
        if (executor_run(executor, &requester, body, bytes, values, &execution) == -EINPROGRESS) {
            CHECK(waiter.waits != COHERENCE_WAITS_NOT);
            coherence_leave(&waiter); /* as if its session had ended */
        }
        CHECK(waiter.waits == COHERENCE_WAITS_NOT);
        take_mail();
        CHECK(execution.result_bytes <= summary.result_bytes);
        CHECK(execution.status != STATUS_PROTO && execution.status != STATUS_OPNOTSUPP);
        for (uint32_t i = 0; i < execution.result_bytes; i++) /* every byte of the answer was written */
            __asm__ volatile("" : : "r"(values[i]));
        free(values);
    }
    free(body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!pool)
        open_all();
    now_ns = 1ull << 62;
    while (size >= 3) {
        uint16_t tenant = 1 + (data[0] & 1);
        bool maintain = data[0] & 2, sleep_long = data[0] & 4;
        size_t bytes = data[1] | (size_t)data[2] << 8;

        data += 3;
        size -= 3;
        if (bytes > size)
            bytes = size;
        run(tenant, data, bytes);
        data += bytes;
        size -= bytes;
        now_ns += sleep_long ? 100 * NS_PER_S : NS_PER_MS;
        if (maintain)
            executor_maintain(executor, 0, now_ns);
    }
    CHECK(regions_valid(regions));
    CHECK(pool_valid(pool));
    delete_all();
    return 0;
}

/* Well-formed requests, most of the time: random bytes hardly ever are. */
static uint64_t draw(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static const uint8_t opcodes[] = {
#define OPERATION(code, name, operand, operand_line, result, result_line, flags) code,
#include "messages.def"
};

static void draw_operand(uint8_t *operand, size_t bytes, uint8_t opcode, uint64_t *state)
{
    struct wire_region_spec spec = {0};

    for (size_t i = 0; i < bytes; i++)
        operand[i] = (uint8_t)(op_infos[opcode].flags & OP_ATOMIC && i % 16 >= 4 ? 0 : draw(state));
    if (bytes != sizeof(spec) || draw(state) % 16 == 0)
        return;
    spec.name[0] = (char)('a' + draw(state) % 4);
    if (opcode == OP_REGION_CREATE)
        spec.size = le64_of(draw(state) % 16 * PAGE_BYTES);
    spec.flags = le32_of((uint32_t)draw(state) % 8 == 0 ? (uint32_t)draw(state) % 4 : 0);
    memcpy(operand, &spec, sizeof(spec));
}

static uint64_t draw_offset(uint8_t opcode, unsigned width_log2, uint64_t *state)
{
    uint8_t flags = op_infos[opcode].flags;

    if (draw(state) % 16 == 0)
        return draw(state) >> draw(state) % 64;
    if (opcode == OP_REGION_GROW)
        return draw(state) % 16 * PAGE_BYTES;
    if (flags & OP_LINES)
        return draw(state) % (12 * PAGE_LINES) * LINE_BYTES;
    return flags & OP_ATOMIC ? draw(state) % (12 * PAGE_BYTES) >> width_log2 << width_log2 : 0;
}

/* Appends one operation if it fits; returns the first byte behind it. */
static uint8_t *draw_op(uint8_t *at, const uint8_t *end, uint64_t *state)
{
    uint8_t opcode = opcodes[draw(state) % sizeof(opcodes)];
    const struct op_info *info = &op_infos[opcode];
    bool counts = (info->flags & OP_LINES) || info->result_line_bytes > 0,
         handle = opcode != OP_REGION_CREATE;
    unsigned lines = counts ? 1 + (unsigned)(draw(state) % (draw(state) % 4 ? 9 : 130)) : 0;
    unsigned width_log2 =
        info->flags & OP_ATOMIC ? 2 + (unsigned)(draw(state) % (opcode == OP_CAS ? 3 : 2)) : 0;
    size_t bytes = codec_op_bytes((enum opcode)opcode, lines);

    if (opcode == OP_REGION_OPEN || opcode == OP_REGION_LIST || opcode == OP_SERVER_STAT)
        handle = false;
    if ((size_t)(end - at) < bytes)
        return at;
    codec_write_op(at, (enum opcode)opcode, width_log2, lines, handle ? 1 + draw(state) % 6 : 0,
                   draw_offset(opcode, width_log2, state));
    draw_operand(at + sizeof(struct op_header), bytes - sizeof(struct op_header), opcode, state);
    return at + bytes;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    struct body_header header = {.kind = BODY_REQUEST, .seq = le64_of(1)};
    uint8_t *body = data + size + 3, *at = body + sizeof(header);
    const uint8_t *end = data + max_size;
    uint64_t state = seed;
    unsigned wanted = 1 + (unsigned)(draw(&state) % 6), count = 0;

    if (draw(&state) % 4 == 0 || max_size - size < 400)
        return LLVMFuzzerMutate(data, size, max_size);
    for (uint8_t *next; count < wanted && (next = draw_op(at, end, &state)) != at; at = next)
        count++;
    header.op_count = le16_of((uint16_t)count);
    memcpy(body, &header, sizeof(header));
    data[size] = (uint8_t)draw(&state);
    data[size + 1] = (uint8_t)(at - body);
    data[size + 2] = (uint8_t)((at - body) >> 8);
    return (size_t)(at - data);
}
