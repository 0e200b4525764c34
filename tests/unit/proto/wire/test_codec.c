/* test_codec.c - requests that are right to the last byte, and all the ways in which they are not */
#include "codec.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#define BODY_BYTES_MAX (FRAME_BYTES_MAX - RECORD_OVERHEAD)

static uint8_t body[BODY_BYTES_MAX + 4096];

/* ---- building ---- */

static void write_header(uint8_t kind, unsigned op_count, uint64_t seq)
{
    struct body_header header = {.kind = kind, .op_count = le16_of((uint16_t)op_count), .seq = le64_of(seq)};

    memcpy(body, &header, sizeof(header));
}

static unsigned width_of(unsigned opcode)
{
    return op_infos[opcode].flags & OP_ATOMIC ? 3 : 0;
}

static unsigned lines_of(unsigned opcode)
{
    return op_infos[opcode].flags & OP_LINES || op_infos[opcode].result_line_bytes > 0 ? 2 : 0;
}

/* One operation behind `at`, its operand zero. */
static uint8_t *append(uint8_t *at, unsigned opcode, unsigned width, unsigned lines)
{
    size_t operand_bytes = codec_op_bytes((enum opcode)opcode, lines) - OP_HEADER_BYTES;

    at = codec_write_agent_op(at, (enum opcode)opcode, width, lines,
                              op_infos[opcode].flags & OP_AGENT ? 9 : 0, 0x100000002u, 0x40);
    memset(at, 0, operand_bytes);
    return at + operand_bytes;
}

/* A request of one operation; returns its length. */
static size_t request_of(unsigned opcode, unsigned width, unsigned lines)
{
    write_header(BODY_REQUEST, 1, 1);
    return (size_t)(append(body + BODY_HEADER_BYTES, opcode, width, lines) - body);
}

static int check(size_t body_bytes)
{
    /* A copy of just that size on the heap: a sanitizer then sees a read beyond it. */
    uint8_t *copy = malloc(body_bytes ? body_bytes : 1);
    struct request_summary summary;
    int error;

    memcpy(copy, body, body_bytes);
    error = codec_check_request(copy, body_bytes, &summary);
    free(copy);
    return error;
}

#define EACH_OPCODE(opcode)                           \
    for (unsigned opcode = 0; opcode < 256; opcode++) \
        if (op_infos[opcode].known)

/* ---- sizes ---- */

Test(codec, every_operation_has_the_size_of_its_row)
{
    static const struct {
        enum opcode opcode;
        unsigned lines;
        size_t op_bytes, result_bytes;
    } cases[] = {
        {OP_MEM_RD, 1, 24, 64},
        {OP_MEM_RD, 64, 24, 4096},
        {OP_MEM_RD_SHARED, 1, 24, 64},
        {OP_MEM_RD_ANY, 64, 24, 4096},
        {OP_MEM_CLN_EVCT, 0, 24, 0},
        {OP_WAIT, 0, 56, 16},
        {OP_BI_ATTACH, 0, 24, 16},
        {OP_BI_DETACH, 0, 24, 0},
        {OP_BI_RSP, 0, 32, 0},
        {OP_MEM_RD, 1022, 24, 65408},
        {OP_MEM_WR, 1, 24 + 64, 0},
        {OP_MEM_WR, 22, 24 + 22 * 64, 0},
        {OP_MEM_WR_PTL, 1, 24 + 72, 0},
        {OP_MEM_WR_PTL, 3, 24 + 216, 0},
        {OP_CAS, 0, 24 + 32, 16},
        {OP_FETCH_ADD, 0, 24 + 16, 16},
        {OP_SWAP, 0, 40, 16},
        {OP_FETCH_AND, 0, 40, 16},
        {OP_FETCH_OR, 0, 40, 16},
        {OP_FETCH_XOR, 0, 40, 16},
        {OP_FETCH_MIN, 0, 40, 16},
        {OP_FETCH_MAX, 0, 40, 16},
        {OP_REGION_CREATE, 0, 24 + 80, 96},
        {OP_REGION_OPEN, 0, 104, 96},
        {OP_REGION_STAT, 0, 24, 96},
        {OP_REGION_LIST, 10, 24, 960},
        {OP_REGION_GROW, 0, 24, 96},
        {OP_REGION_DELETE, 0, 24, 0},
        {OP_REGION_SEAL, 0, 24, 96},
        {OP_REGION_CLONE, 0, 104, 96},
        {OP_SERVER_STAT, 0, 24, 96},
    };
    bool covered[256] = {false};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cr_expect_eq(codec_op_bytes(cases[i].opcode, cases[i].lines), cases[i].op_bytes, "%s",
                     op_infos[cases[i].opcode].name);
        cr_expect_eq(codec_result_bytes(cases[i].opcode, cases[i].lines), cases[i].result_bytes, "%s",
                     op_infos[cases[i].opcode].name);
        covered[cases[i].opcode] = true;
    }
    EACH_OPCODE(opcode)
    cr_expect(covered[opcode], "no case for %s", op_infos[opcode].name);
}

/* ---- round trips ---- */

Test(codec, what_is_written_is_read)
{
    EACH_OPCODE(opcode)
    {
        size_t bytes = request_of(opcode, width_of(opcode), lines_of(opcode));
        const uint8_t *at = body + BODY_HEADER_BYTES;
        struct op_view op;

        cr_assert_eq(codec_read_op(&at, body + bytes, &op), 0, "%s", op_infos[opcode].name);
        cr_expect(at == body + bytes);
        cr_expect_eq(op.opcode, opcode);
        cr_expect_eq(op.width_log2, width_of(opcode));
        cr_expect_eq(op.line_count, lines_of(opcode));
        cr_expect_eq(op.region, 0x100000002u);
        cr_expect_eq(op.offset, 0x40);
        cr_expect(op.operand == body + BODY_HEADER_BYTES + OP_HEADER_BYTES);
        cr_expect_eq(op.operand_bytes + OP_HEADER_BYTES, codec_op_bytes((enum opcode)opcode, op.line_count));
        cr_expect_eq(op.result_bytes, codec_result_bytes((enum opcode)opcode, op.line_count));
        cr_expect_eq(check(bytes), 0, "%s", op_infos[opcode].name);
    }
}

Test(codec, the_wire_is_little_endian)
{
    static const uint8_t expected[OP_HEADER_BYTES] = {0x02, 0,    0x34, 0x12, 0,    0,    0,    0,
                                                      8,    7,    6,    5,    4,    3,    2,    1,
                                                      0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11};

    codec_write_op(body, OP_MEM_WR, 0, 0x1234, 0x0102030405060708u, 0x1112131415161718u);
    cr_assert_arr_eq(body, expected, sizeof(expected));
}

Test(codec, several_operations_add_up)
{
    struct request_summary summary;
    uint8_t *at = body + BODY_HEADER_BYTES;

    write_header(BODY_REQUEST, 3, 7);
    at = append(at, OP_MEM_RD, 0, 3);
    at = append(at, OP_CAS, 4, 0);
    at = append(at, OP_MEM_WR, 0, 2);
    cr_assert_eq(codec_check_request(body, (size_t)(at - body), &summary), 0);
    cr_assert_eq(summary.result_bytes, 3 * 64 + 16);
    cr_assert(summary.mutates);

    write_header(BODY_REQUEST, 1, 7);
    at = append(body + BODY_HEADER_BYTES, OP_MEM_RD, 0, 3);
    cr_assert_eq(codec_check_request(body, (size_t)(at - body), &summary), 0);
    cr_assert_not(summary.mutates);
}

/* ---- malformed ---- */

Test(codec, no_prefix_of_a_request_is_one)
{
    EACH_OPCODE(opcode)
    {
        size_t bytes = request_of(opcode, width_of(opcode), lines_of(opcode));

        for (size_t cut = 0; cut < bytes; cut++)
            cr_expect_eq(check(cut), -EPROTO, "%s cut at %zu", op_infos[opcode].name, cut);
    }
}

Test(codec, no_byte_may_trail)
{
    EACH_OPCODE(opcode)
    {
        size_t bytes = request_of(opcode, width_of(opcode), lines_of(opcode));

        for (size_t more = 1; more <= OP_HEADER_BYTES + 1; more++) {
            memset(body + bytes, 0, more);
            cr_expect_eq(check(bytes + more), -EPROTO, "%s and %zu more", op_infos[opcode].name, more);
        }
    }
}

Test(codec, unknown_operations_are_refused)
{
    size_t bytes = request_of(OP_SERVER_STAT, 0, 0);

    for (unsigned opcode = 0; opcode < 256; opcode++) {
        if (op_infos[opcode].known)
            continue;
        body[BODY_HEADER_BYTES] = (uint8_t)opcode;
        cr_expect_eq(check(bytes), -EPROTO, "%#x", opcode);
    }
}

Test(codec, an_agent_is_named_where_it_belongs)
{
    EACH_OPCODE(opcode)
    {
        size_t bytes = request_of(opcode, width_of(opcode), lines_of(opcode));
        bool must = op_infos[opcode].flags & OP_AGENT, may = op_infos[opcode].flags & OP_MAY_AGENT;
        struct le32 agent = {0};

        memcpy(body + BODY_HEADER_BYTES + offsetof(struct op_header, agent), &agent, sizeof(agent));
        cr_expect_eq(check(bytes), must ? -EPROTO : 0, "%#x without one", opcode);
        for (unsigned bit = 0; bit < 32; bit++) {
            agent = le32_of(1u << bit);
            memcpy(body + BODY_HEADER_BYTES + offsetof(struct op_header, agent), &agent, sizeof(agent));
            cr_expect_eq(check(bytes), must || may ? 0 : -EPROTO, "%#x, bit %u", opcode, bit);
        }
    }
}

Test(codec, the_width_fits_the_operation)
{
    EACH_OPCODE(opcode)
    for (unsigned width = 0; width < 256; width++) {
        size_t bytes = request_of(opcode, width, lines_of(opcode));
        bool atomic = op_infos[opcode].flags & OP_ATOMIC;
        bool right = atomic ? width == 2 || width == 3 || (width == 4 && opcode == OP_CAS) : width == 0;

        cr_expect_eq(check(bytes), right ? 0 : -EPROTO, "%s of width %u", op_infos[opcode].name, width);
    }
}

Test(codec, the_count_fits_the_operation)
{
    EACH_OPCODE(opcode)
    {
        bool counts = lines_of(opcode) > 0;

        cr_expect_eq(check(request_of(opcode, width_of(opcode), 0)), counts ? -EPROTO : 0, "%s of 0",
                     op_infos[opcode].name);
        if (counts)
            cr_expect_eq(check(request_of(opcode, width_of(opcode), 1)), 0);
    }
    /* An operation that counts nothing must say 0, though its length would be right with any number. */
    size_t bytes = request_of(OP_FETCH_ADD, 3, 0);

    body[BODY_HEADER_BYTES + offsetof(struct op_header, line_count)] = 1;
    cr_expect_eq(check(bytes), -EPROTO);
}

/* Counts that claim more than the frame holds, at every width of the field. */
Test(codec, a_count_larger_than_the_frame_is_refused)
{
    static const unsigned counts[] = {3, 255, 256, 1023, 1024, 32767, 32768, 65535};

    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        struct le16 count = le16_of((uint16_t)counts[i]);

        for (unsigned opcode = OP_MEM_WR; opcode <= OP_MEM_WR_PTL; opcode++) {
            size_t bytes = request_of(opcode, 0, 2);

            memcpy(body + BODY_HEADER_BYTES + offsetof(struct op_header, line_count), &count, sizeof(count));
            cr_expect_eq(check(bytes), -EPROTO, "%s of %u", op_infos[opcode].name, counts[i]);
        }
    }
}

Test(codec, an_answer_fits_a_frame)
{
    const unsigned most = (FRAME_BYTES_MAX - RECORD_OVERHEAD - BODY_HEADER_BYTES) / LINE_BYTES;
    uint8_t *at = body + BODY_HEADER_BYTES;

    cr_expect_eq(check(request_of(OP_MEM_RD, 0, most)), 0);
    cr_expect_eq(check(request_of(OP_MEM_RD, 0, most + 1)), -EPROTO);
    cr_expect_eq(check(request_of(OP_MEM_RD, 0, 65535)), -EPROTO);

    /* Neither may the sum of many, nor wrap: 1024 reads of 4 MiB are 2^32 bytes. */
    write_header(BODY_REQUEST, FRAME_OPS_MAX, 1);
    for (unsigned i = 0; i < FRAME_OPS_MAX; i++)
        at = append(at, OP_MEM_RD, 0, 65535);
    cr_expect_eq(check((size_t)(at - body)), -EPROTO);
    write_header(BODY_REQUEST, 2, 1);
    at = append(append(body + BODY_HEADER_BYTES, OP_MEM_RD, 0, most), OP_MEM_RD, 0, 1);
    cr_expect_eq(check((size_t)(at - body)), -EPROTO);
}

Test(codec, what_changes_something_can_be_remembered)
{
    const unsigned most = SLOT_RECORD_BYTES / 16;
    uint8_t *at = body + BODY_HEADER_BYTES;

    write_header(BODY_REQUEST, most, 1);
    for (unsigned i = 0; i < most; i++)
        at = append(at, OP_CAS, 3, 0);
    cr_expect_eq(check((size_t)(at - body)), 0);
    at = append(at, OP_CAS, 3, 0);
    write_header(BODY_REQUEST, most + 1, 1);
    cr_expect_eq(check((size_t)(at - body)), -EPROTO);

    write_header(BODY_REQUEST, 2, 1);
    at = append(append(body + BODY_HEADER_BYTES, OP_MEM_WR, 0, 1), OP_MEM_RD, 0, 17);
    cr_expect_eq(check((size_t)(at - body)), -EPROTO);
    at = append(append(body + BODY_HEADER_BYTES, OP_MEM_WR, 0, 1), OP_MEM_RD, 0, 16);
    cr_expect_eq(check((size_t)(at - body)), 0);
}

Test(codec, the_number_of_operations_is_what_the_header_says)
{
    uint8_t *at = body + BODY_HEADER_BYTES;
    size_t bytes;

    for (unsigned i = 0; i < 3; i++)
        at = append(at, OP_MEM_RD, 0, 1);
    bytes = (size_t)(at - body);
    for (unsigned count = 0; count < 8; count++) {
        write_header(BODY_REQUEST, count, 1);
        cr_expect_eq(check(bytes), count == 3 ? 0 : -EPROTO, "%u", count);
    }
    write_header(BODY_REQUEST, 0, 1);
    cr_expect_eq(check(BODY_HEADER_BYTES), -EPROTO, "no operations");
    write_header(BODY_REQUEST, 65535, 1);
    cr_expect_eq(check(bytes), -EPROTO);
}

Test(codec, at_most_so_many_operations)
{
    uint8_t *at = body + BODY_HEADER_BYTES;

    for (unsigned i = 0; i < FRAME_OPS_MAX + 1; i++)
        at = append(at, OP_REGION_DELETE, 0, 0);
    write_header(BODY_REQUEST, FRAME_OPS_MAX + 1, 1);
    cr_expect_eq(check((size_t)(at - body)), -EPROTO);
    write_header(BODY_REQUEST, FRAME_OPS_MAX, 1);
    cr_expect_eq(check((size_t)(at - body) - OP_HEADER_BYTES), 0);
}

Test(codec, requests_are_numbered_from_one)
{
    size_t bytes = request_of(OP_MEM_RD, 0, 1);

    write_header(BODY_REQUEST, 1, 0);
    cr_expect_eq(check(bytes), -EPROTO);
    write_header(BODY_REQUEST, 1, UINT64_MAX);
    cr_expect_eq(check(bytes), 0);
}

Test(codec, only_a_request_is_a_request)
{
    size_t bytes = request_of(OP_MEM_RD, 0, 1);

    for (unsigned kind = 0; kind < 256; kind++) {
        body[0] = (uint8_t)kind;
        cr_expect_eq(check(bytes), kind == BODY_REQUEST ? 0 : -EPROTO, "kind %u", kind);
    }
}

/* ---- the header of a body ---- */

Test(codec, kinds_of_body)
{
    for (unsigned kind = 0; kind < 256; kind++) {
        bool known = kind >= BODY_REQUEST && kind <= BODY_PENDING;

        write_header((uint8_t)kind, 0, 0);
        cr_expect_eq(codec_check_body(body, BODY_HEADER_BYTES), known ? 0 : -EPROTO, "kind %u", kind);
        for (size_t cut = 0; cut < BODY_HEADER_BYTES; cut++)
            cr_expect_eq(codec_check_body(body, cut), -EPROTO);
    }
}

/* Every byte of the header that a kind does not use must be zero; those that it uses may be anything. */
Test(codec, unused_fields_of_a_body_are_zero)
{
    static const struct {
        uint8_t kind;
        bool status, dev_load, echo;
    } uses[] = {
        {BODY_REQUEST, false, false, false}, {BODY_RESPONSE, true, true, true},
        {BODY_PING, false, false, false},    {BODY_PONG, false, false, true},
        {BODY_CLOSE, false, false, false},   {BODY_BISNP, false, false, false},
        {BODY_PENDING, false, false, false},
    };

    for (size_t i = 0; i < sizeof(uses) / sizeof(uses[0]); i++)
        for (size_t at = 1; at < BODY_HEADER_BYTES; at++) {
            bool next =
                at >= offsetof(struct body_header, snoop_next) && at < offsetof(struct body_header, seq);
            bool granted = at == offsetof(struct body_header, granted) && uses[i].kind != BODY_RESPONSE;
            bool refused = next || granted ||
                           (at == offsetof(struct body_header, status) && !uses[i].status) ||
                           (at == offsetof(struct body_header, dev_load) && !uses[i].dev_load) ||
                           (at >= offsetof(struct body_header, echo) && !uses[i].echo);

            write_header(uses[i].kind, 0, 0);
            body[at] = 1;
            cr_expect_eq(codec_check_body(body, BODY_HEADER_BYTES) != 0, refused, "kind %u, byte %zu",
                         uses[i].kind, at);
        }
}

Test(codec, a_grant_says_which_snoops_were_before_it)
{
    write_header(BODY_RESPONSE, 0, 0);
    body[offsetof(struct body_header, granted)] = 1;
    body[offsetof(struct body_header, snoop_next) + 1] = 0xff;
    cr_expect_eq(codec_check_body(body, BODY_HEADER_BYTES), 0);
    body[offsetof(struct body_header, granted)] = 2;
    cr_expect_eq(codec_check_body(body, BODY_HEADER_BYTES), -EPROTO);
}

/* ---- status and errno ---- */

Test(codec, status_and_errno_are_one_to_one)
{
    unsigned known = 0;

#define STATUS(code, name, error, text)                            \
    cr_expect_eq(status_to_errno(code), -(error));                 \
    cr_expect_eq(status_of_errno(-(error)), STATUS_##name, #name); \
    cr_expect_str_eq(status_name(code), #name);                    \
    known++;
#include "messages.def"
    for (unsigned status = known; status < 256; status++) {
        cr_expect_eq(status_to_errno((uint8_t)status), -EPROTO);
        cr_expect_str_eq(status_name((uint8_t)status), "unassigned");
    }
    cr_expect_eq(status_of_errno(-EXDEV), STATUS_PROTO, "an error that has no number");
    cr_expect_eq(status_of_errno(1), STATUS_PROTO);
}

/* ---- damage ---- */

/* Whatever is flipped: refused, or understood within the frame. Sanitizers watch. */
Test(codec, no_single_flip_is_read_beyond_the_end)
{
    EACH_OPCODE(opcode)
    {
        size_t bytes = request_of(opcode, width_of(opcode), lines_of(opcode));

        for (size_t bit = 0; bit < 8 * (BODY_HEADER_BYTES + OP_HEADER_BYTES); bit++) {
            int error;

            body[bit / 8] ^= (uint8_t)(1u << bit % 8);
            error = check(bytes);
            cr_expect(error == 0 || error == -EPROTO);
            body[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        cr_expect_eq(check(bytes), 0);
    }
}

/* A BISNP body with `count` snoops, all right. */
struct snoop_body {
    struct body_header header;
    struct wire_bi_snp snoops[4];
};

static struct snoop_body snoop_body(unsigned count)
{
    struct snoop_body body = {.header = {.kind = BODY_BISNP, .op_count = le16_of((uint16_t)count)}};

    for (unsigned i = 0; i < 4; i++)
        body.snoops[i] = (struct wire_bi_snp){
            .region = le64_of(9),
            .offset = le64_of(i * PAGE_BYTES),
            .agent = le32_of(7),
            .id = le16_of((uint16_t)(1 + i)),
            .kind = i % 2 ? BI_SNP_DATA : BI_SNP_INV,
        };
    return body;
}

static int read_snoops(const struct snoop_body *body, unsigned count)
{
    const struct wire_bi_snp *snoops;

    return codec_read_snoops((const uint8_t *)body, sizeof(body->header) + count * sizeof(body->snoops[0]),
                             &snoops);
}

Test(codec, snoops_are_read_where_they_stand)
{
    struct snoop_body body = snoop_body(4);
    const struct wire_bi_snp *snoops;

    cr_assert_eq(codec_read_snoops((const uint8_t *)&body, sizeof(body), &snoops), 4);
    cr_assert_eq(snoops, body.snoops);
    body.snoops[2] = (struct wire_bi_snp){.region = le64_of(9), .agent = le32_of(7), .kind = BI_SNP_GONE};
    cr_assert_eq(read_snoops(&body, 4), 4);
}

Test(codec, malformed_snoops_are_refused)
{
    struct snoop_body good = snoop_body(3), body;

    cr_assert_eq(read_snoops(&good, 3), 3);
    cr_assert_eq(read_snoops(&good, 2), -EPROTO, "fewer than the header says");
    cr_assert_eq(read_snoops(&good, 4), -EPROTO, "more than the header says");
    body = good;
    body.header.op_count = le16_of(0);
    cr_assert_eq(read_snoops(&body, 0), -EPROTO);
    body = good;
    body.header.kind = BODY_PENDING;
    cr_assert_eq(read_snoops(&body, 3), -EPROTO);
    body = good;
    body.header.seq = le64_of(1);
    cr_assert_eq(read_snoops(&body, 3), -EPROTO);
    body = good;
    body.snoops[2].kind = 4;
    cr_assert_eq(read_snoops(&body, 3), -EPROTO);
    body = good;
    body.snoops[2].reserved = 1;
    cr_assert_eq(read_snoops(&body, 3), -EPROTO);
    body = good;
    body.snoops[2].agent = le32_of(0);
    cr_assert_eq(read_snoops(&body, 3), -EPROTO);
    body = good;
    body.snoops[1].offset = le64_of(LINE_BYTES);
    cr_assert_eq(read_snoops(&body, 3), -EPROTO, "a page begins where a page begins");
    body = good;
    body.snoops[0].kind = BI_SNP_GONE;
    cr_assert_eq(read_snoops(&body, 3), -EPROTO, "GONE has no number");
}
