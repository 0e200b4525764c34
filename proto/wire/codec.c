/* codec.c - see codec.h */
#include "codec.h"

#include <errno.h>
#include <string.h>

const struct op_info op_infos[256] = {
#define OPERATION(code, name, operand, operand_line, result, result_line, flags) \
    [code] = {#name, operand, operand_line, result, result_line, flags, true},
#include "messages.def"
};

static bool line_count_valid(const struct op_info *info, unsigned line_count)
{
    bool counts = (info->flags & OP_LINES) || info->result_line_bytes > 0;

    return counts ? line_count > 0 : line_count == 0;
}

static bool width_valid(const struct op_info *info, uint8_t opcode, unsigned width_log2)
{
    if (!(info->flags & OP_ATOMIC))
        return width_log2 == 0;
    return width_log2 >= 2 && width_log2 <= (opcode == OP_CAS ? 4 : 3);
}

static bool agent_valid(const struct op_info *info, uint32_t agent)
{
    if (info->flags & OP_AGENT)
        return agent != 0;
    return agent == 0 || (info->flags & OP_MAY_AGENT);
}

int codec_read_op(const uint8_t **at, const uint8_t *end, struct op_view *op_out)
{
    struct op_header header;
    const struct op_info *info;
    size_t room = (size_t)(end - *at), operand_bytes;
    unsigned line_count;

    if (room < sizeof(header))
        return -EPROTO;
    memcpy(&header, *at, sizeof(header));
    info = &op_infos[header.opcode];
    line_count = le16_get(header.line_count);
    if (!info->known || !agent_valid(info, le32_get(header.agent)) || !line_count_valid(info, line_count) ||
        !width_valid(info, header.opcode, header.width_log2))
        return -EPROTO;
    operand_bytes = info->operand_bytes + (size_t)info->operand_line_bytes * line_count;
    if (room - sizeof(header) < operand_bytes)
        return -EPROTO;
    *op_out = (struct op_view){
        .opcode = header.opcode,
        .width_log2 = header.width_log2,
        .line_count = (uint16_t)line_count,
        .agent = le32_get(header.agent),
        .region = le64_get(header.region),
        .offset = le64_get(header.offset),
        .operand = *at + sizeof(header),
        .operand_bytes = (uint32_t)operand_bytes,
        .result_bytes = info->result_bytes + (uint32_t)info->result_line_bytes * line_count,
    };
    *at += sizeof(header) + operand_bytes;
    return 0;
}

int codec_check_request(const uint8_t *body, size_t body_bytes, struct request_summary *summary_out)
{
    const uint8_t *at = body + sizeof(struct body_header), *end = body + body_bytes;
    struct request_summary summary = {0};
    struct body_header header;
    unsigned op_count;
    int error = codec_check_body(body, body_bytes);

    if (error)
        return error;
    memcpy(&header, body, sizeof(header));
    op_count = le16_get(header.op_count);
    if (header.kind != BODY_REQUEST || op_count == 0 || op_count > FRAME_OPS_MAX || header.seq.raw == 0)
        return -EPROTO;
    for (unsigned i = 0; i < op_count; i++) {
        struct op_view op;

        error = codec_read_op(&at, end, &op);
        if (error)
            return error;
        summary.result_bytes += op.result_bytes;
        summary.mutates |= (op_infos[op.opcode].flags & OP_MUTATES) != 0;
        if (summary.result_bytes > FRAME_BYTES_MAX - RECORD_OVERHEAD - BODY_HEADER_BYTES)
            return -EPROTO; /* checked at each step, so the sum cannot wrap */
    }
    if (at != end || (summary.mutates && summary.result_bytes > SLOT_RECORD_BYTES))
        return -EPROTO;
    *summary_out = summary;
    return 0;
}

static bool snoop_valid(const struct wire_bi_snp *snoop)
{
    if (snoop->reserved != 0 || snoop->agent.raw == 0 || le64_get(snoop->offset) % PAGE_BYTES != 0)
        return false;
    switch ((enum bi_snp)snoop->kind) {
    case BI_SNP_DATA:
    case BI_SNP_INV:
        return true;
    case BI_SNP_GONE:
        return snoop->offset.raw == 0 && snoop->id.raw == 0;
    }
    return false;
}

int codec_read_snoops(const uint8_t *body, size_t body_bytes, const struct wire_bi_snp **snoops_out)
{
    const struct wire_bi_snp *snoops = (const struct wire_bi_snp *)(body + sizeof(struct body_header));
    struct body_header header;
    unsigned count;
    int error = codec_check_body(body, body_bytes);

    if (error)
        return error;
    memcpy(&header, body, sizeof(header));
    count = le16_get(header.op_count);
    if (header.kind != BODY_BISNP || header.seq.raw != 0 || count == 0 ||
        body_bytes != sizeof(header) + count * sizeof(*snoops))
        return -EPROTO;
    for (unsigned i = 0; i < count; i++)
        if (!snoop_valid(&snoops[i]))
            return -EPROTO;
    *snoops_out = snoops;
    return (int)count;
}

static bool body_kind_known(uint8_t kind)
{
    switch (kind) {
#define BODY_KIND(code, name, text) case BODY_##name:
#include "messages.def"
        return true;
    }
    return false;
}

int codec_check_body(const uint8_t *body, size_t body_bytes)
{
    struct body_header header;

    if (body_bytes < sizeof(header))
        return -EPROTO;
    memcpy(&header, body, sizeof(header));
    if (!body_kind_known(header.kind) || header.granted > 1 ||
        (!header.granted && header.snoop_next.raw != 0))
        return -EPROTO;
    if (header.kind != BODY_RESPONSE && (header.status != 0 || header.dev_load != 0 || header.granted != 0))
        return -EPROTO;
    if (header.kind != BODY_RESPONSE && header.kind != BODY_PONG && header.echo.raw != 0)
        return -EPROTO;
    return 0;
}

static const struct {
    int error; /* positive */
    const char *name;
} statuses[] = {
#define STATUS(code, name, error, text) [code] = {error, #name},
#include "messages.def"
};
#define STATUS_COUNT (sizeof(statuses) / sizeof(statuses[0]))

int status_to_errno(uint8_t status)
{
    return status < STATUS_COUNT ? -statuses[status].error : -EPROTO;
}

enum wire_status status_of_errno(int error)
{
    for (unsigned status = 0; status < STATUS_COUNT; status++)
        if (statuses[status].error == -error)
            return (enum wire_status)status;
    return STATUS_PROTO;
}

const char *status_name(uint8_t status)
{
    return status < STATUS_COUNT ? statuses[status].name : "unassigned";
}
