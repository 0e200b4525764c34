/* fuzz_codec.c - bodies as a peer might send them: read within their bounds, and understood in one way only
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "codec.h"

/* What the check lets through must be what was written: putting the operations together again from their
 * views gives the same bytes, and the sums agree with the parts. */
static void check_accepted(const uint8_t *body, size_t body_bytes, const struct request_summary *summary)
{
    const uint8_t *at = body + BODY_HEADER_BYTES, *end = body + body_bytes;
    uint8_t *again = malloc(body_bytes), *write_at = again + BODY_HEADER_BYTES;
    uint32_t result_bytes = 0, count = 0;
    bool mutates = false;
    struct op_view op;

    memcpy(again, body, BODY_HEADER_BYTES);
    for (; at != end; count++) {
        CHECK(codec_read_op(&at, end, &op) == 0);
        CHECK(op.operand >= body && op.operand + op.operand_bytes == at);
        CHECK(codec_op_bytes((enum opcode)op.opcode, op.line_count) == OP_HEADER_BYTES + op.operand_bytes);
        CHECK(codec_result_bytes((enum opcode)op.opcode, op.line_count) == op.result_bytes);
        write_at = codec_write_agent_op(write_at, (enum opcode)op.opcode, op.width_log2, op.line_count,
                                        op.agent, op.region, op.offset);
        memcpy(write_at, op.operand, op.operand_bytes);
        write_at += op.operand_bytes;
        result_bytes += op.result_bytes;
        mutates |= (op_infos[op.opcode].flags & OP_MUTATES) != 0;
    }
    CHECK(memcmp(again, body, body_bytes) == 0);
    CHECK(count >= 1 && count <= FRAME_OPS_MAX);
    CHECK(result_bytes == summary->result_bytes && mutates == summary->mutates);
    CHECK(result_bytes <= FRAME_BYTES_MAX - RECORD_OVERHEAD - BODY_HEADER_BYTES);
    CHECK(!mutates || result_bytes <= SLOT_RECORD_BYTES);
    free(again);
}

/* Makes a body that is nearly right out of any bytes: known operations with fitting lengths, so that the
 * fuzzer spends its time behind the first check. Returns its length. */
static size_t mend(const uint8_t *data, size_t data_bytes, uint8_t *body, size_t room)
{
    struct body_header header = {.kind = BODY_REQUEST, .seq = le64_of(1)};
    uint8_t *at = body + sizeof(header);
    unsigned count = 0;

    while (data_bytes >= 4) {
        unsigned lines = data[1] % 24, width = data[2] % 5;
        size_t bytes = codec_op_bytes((enum opcode)data[0], lines), copied;

        if (!op_infos[data[0]].known || bytes > room - (size_t)(at - body))
            break;
        codec_write_agent_op(at, (enum opcode)data[0], width, lines,
                             op_infos[data[0]].flags & OP_AGENT ? data[3] : 0, data[3],
                             (uint64_t)data[3] << 6);
        copied = data_bytes - 4 < bytes - OP_HEADER_BYTES ? data_bytes - 4 : bytes - OP_HEADER_BYTES;
        memset(at + OP_HEADER_BYTES, 0, bytes - OP_HEADER_BYTES);
        memcpy(at + OP_HEADER_BYTES, data + 4, copied);
        at += bytes;
        data += 4;
        data_bytes -= 4;
        count++;
    }
    header.op_count = le16_of((uint16_t)count);
    memcpy(body, &header, sizeof(header));
    return (size_t)(at - body);
}

static void check_body(const uint8_t *bytes, size_t count)
{
    uint8_t *body = malloc(count ? count : 1); /* of just that size, so that the sanitizer sees its end */
    struct request_summary summary;
    int error;

    memcpy(body, bytes, count);
    error = codec_check_request(body, count, &summary);
    CHECK(error == 0 || error == -EPROTO);
    if (!error) {
        CHECK(codec_check_body(body, count) == 0);
        check_accepted(body, count, &summary);
    }
    free(body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t data_bytes)
{
    static uint8_t mended[FRAME_BYTES_MAX];

    check_body(data, data_bytes);
    check_body(mended, mend(data, data_bytes, mended, sizeof(mended)));
    return 0;
}

/* Besides the usual mutations: replace the input by a right request of one operation of every code. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t data_bytes, size_t room);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t data_bytes, size_t room, unsigned seed)
{
    static uint8_t request[FRAME_BYTES_MAX];
    uint8_t pick[4] = {(uint8_t)seed, (uint8_t)(seed >> 8), (uint8_t)(seed >> 16), (uint8_t)(seed >> 24)};
    size_t bytes = mend(pick, sizeof(pick), request, sizeof(request));

    if (seed % 8 == 0 && bytes > BODY_HEADER_BYTES && bytes <= room) {
        memcpy(data, request, bytes);
        return bytes;
    }
    return LLVMFuzzerMutate(data, data_bytes, room);
}
