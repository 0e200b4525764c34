/* codec.h - from bytes to operations and back; pure, no I/O, no allocation
 *
 * A request is checked whole before any of it is executed, so that a malformed frame leaves no trace.
 */
#ifndef CXE_WIRE_CODEC_H
#define CXE_WIRE_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "wire.h"

/* One row of the operation table; `known` is false for codes nobody has. */
struct op_info {
    const char *name;
    uint16_t operand_bytes;
    uint16_t operand_line_bytes;
    uint16_t result_bytes;
    uint16_t result_line_bytes;
    uint8_t flags; /* enum op_flags */
    bool known;
};
extern const struct op_info op_infos[256];

/* An operation as it stands in a frame; `operand` points into the frame. */
struct op_view {
    uint8_t opcode;
    uint8_t width_log2;
    uint16_t line_count;
    uint32_t agent;
    uint64_t region;
    uint64_t offset;
    const uint8_t *operand;
    uint32_t operand_bytes;
    uint32_t result_bytes;
};

/* Reads the operation at *at and moves *at behind it. `end` is the frame's end.
 * 0, or -EPROTO: it does not fit, its code is unknown, a reserved field is not zero, or a count makes no
 * sense. */
int codec_read_op(const uint8_t **at, const uint8_t *end, struct op_view *op_out);

/* What a whole request adds up to. */
struct request_summary {
    uint32_t result_bytes; /* of all operations, if all are done */
    bool mutates;          /* one at least changes something */
};

/* Checks a REQUEST body (header and operations) to the last byte.
 * -EPROTO: malformed, trailing bytes, no operations, too many, or (if it mutates) an answer too long to
 * remember. */
int codec_check_request(const uint8_t *body, size_t body_bytes, struct request_summary *summary_out);

/* Appends an operation's header at `at`; the operand is the caller's to add. Returns the first byte behind
 * it. The caller has made sure of the room: see codec_op_bytes. */
static inline uint8_t *codec_write_agent_op(uint8_t *at, enum opcode opcode, unsigned width_log2,
                                            unsigned line_count, uint32_t agent, uint64_t region,
                                            uint64_t offset)
{
    struct op_header header = {
        .opcode = (uint8_t)opcode,
        .width_log2 = (uint8_t)width_log2,
        .line_count = le16_of((uint16_t)line_count),
        .agent = le32_of(agent),
        .region = le64_of(region),
        .offset = le64_of(offset),
    };

    memcpy(at, &header, sizeof(header));
    return at + sizeof(header);
}

/* The same for an operation that is for no cache agent. */
static inline uint8_t *codec_write_op(uint8_t *at, enum opcode opcode, unsigned width_log2,
                                      unsigned line_count, uint64_t region, uint64_t offset)
{
    return codec_write_agent_op(at, opcode, width_log2, line_count, 0, region, offset);
}

/* Bytes an operation takes in a request, and its values take in the answer. */
static inline size_t codec_op_bytes(enum opcode opcode, unsigned line_count)
{
    const struct op_info *info = &op_infos[opcode];

    return sizeof(struct op_header) + info->operand_bytes + (size_t)info->operand_line_bytes * line_count;
}

static inline size_t codec_result_bytes(enum opcode opcode, unsigned line_count)
{
    const struct op_info *info = &op_infos[opcode];

    return info->result_bytes + (size_t)info->result_line_bytes * line_count;
}

/* Reads a BISNP body to the last byte. Returns how many snoops there are, from 1; they stay in the body,
 * which is aligned to 8 bytes. -EPROTO: malformed. */
int codec_read_snoops(const uint8_t *body, size_t body_bytes, const struct wire_bi_snp **snoops_out);

/* Checks a body's header: long enough, kind known, reserved fields zero. 0 or -EPROTO. */
int codec_check_body(const uint8_t *body, size_t body_bytes);

/* The border between the wire and errno, both ways; the only place that knows both. Unknown numbers become
 * PROTO. */
int status_to_errno(uint8_t status);         /* 0 or negative errno */
enum wire_status status_of_errno(int error); /* from 0 or negative errno */
const char *status_name(uint8_t status);

#endif
