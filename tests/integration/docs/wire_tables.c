/* wire_tables.c - prints the tables of docs/WIRE.md from the headers, for check_wire.py to compare */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "handshake_wire.h"
#include "wire.h"

static void table(const char *name, const char *columns)
{
    printf("@ %s\n| %s |\n", name, columns);
}

static void record_types(void)
{
    table("record types", "number | name | sealed | what it is");
#define RECORD_TYPE(code, name, text, sealed) \
    printf("| %d | %s | %s | %s |\n", code, #name, (sealed) ? "yes" : "no", text);
#include "messages.def"
}

static void body_kinds(void)
{
    table("body kinds", "number | name | what it is");
#define BODY_KIND(code, name, text) printf("| %d | %s | %s |\n", code, #name, text);
#include "messages.def"
}

static void print_bytes(size_t fixed_bytes, size_t line_bytes)
{
    if (fixed_bytes > 0)
        printf(" %zu |", fixed_bytes);
    else if (line_bytes > 0)
        printf(" %zu each |", line_bytes);
    else
        printf(" none |");
}

static void print_operation(unsigned code, const char *name, size_t operand, size_t operand_line,
                            size_t result, size_t result_line, unsigned flags)
{
    printf("| 0x%02x | %s |", code, name);
    print_bytes(operand, operand_line);
    print_bytes(result, result_line);
    printf("%s%s%s%s", flags & OP_LINES ? " lines" : "", flags & OP_ATOMIC ? " atomic" : "",
           flags & OP_MUTATES ? " mutates" : "", flags & OP_CONTROL ? " control" : "");
    printf("%s%s |\n", flags & OP_AGENT ? " agent" : "", flags & OP_MAY_AGENT ? " may-agent" : "");
}

static void operations(void)
{
    table("operations", "code | name | operand bytes | result bytes | flags");
#define OPERATION(code, name, operand, operand_line, result, result_line, flags) \
    print_operation(code, #name, operand, operand_line, result, result_line, flags);
#include "messages.def"
}

static void statuses(void)
{
    table("statuses", "number | name | errno | meaning");
#define STATUS(code, name, error, text) \
    printf("| %d | %s | %s | %s |\n", code, #name, (error) ? strerrorname_np(error) : "0", text);
#include "messages.def"
}

#define FIELD(type, field) \
    printf("| %zu | %zu | %s |\n", offsetof(struct type, field), sizeof(((struct type *)0)->field), #field)

static void record_layouts(void)
{
    table("record header", "offset | bytes | field");
    FIELD(record_header, magic);
    FIELD(record_header, version);
    FIELD(record_header, type);
    FIELD(record_header, key_phase);
    FIELD(record_header, receiver);
    FIELD(record_header, counter);
}

static void body_layouts(void)
{
    table("body header", "offset | bytes | field");
    FIELD(body_header, kind);
    FIELD(body_header, status);
    FIELD(body_header, op_count);
    FIELD(body_header, dev_load);
    FIELD(body_header, granted);
    FIELD(body_header, snoop_next);
    FIELD(body_header, seq);
    FIELD(body_header, echo);
    table("operation header", "offset | bytes | field");
    FIELD(op_header, opcode);
    FIELD(op_header, width_log2);
    FIELD(op_header, line_count);
    FIELD(op_header, agent);
    FIELD(op_header, region);
    FIELD(op_header, offset);
}

static void control_layouts(void)
{
    table("region spec", "offset | bytes | field");
    FIELD(wire_region_spec, name);
    FIELD(wire_region_spec, size);
    FIELD(wire_region_spec, flags);
    FIELD(wire_region_spec, reserved);
    table("region info", "offset | bytes | field");
    FIELD(wire_region_info, handle);
    FIELD(wire_region_info, size);
    FIELD(wire_region_info, resident);
    FIELD(wire_region_info, tenant);
    FIELD(wire_region_info, flags);
    FIELD(wire_region_info, name);
    table("server info", "offset | bytes | field");
    FIELD(wire_server_info, incarnation);
    FIELD(wire_server_info, uptime_ns);
    FIELD(wire_server_info, cpu_ns);
    FIELD(wire_server_info, pool_bytes);
    FIELD(wire_server_info, pool_free_bytes);
    FIELD(wire_server_info, quota_bytes);
    FIELD(wire_server_info, used_bytes);
    FIELD(wire_server_info, regions);
    FIELD(wire_server_info, sessions);
    FIELD(wire_server_info, received_bytes);
    FIELD(wire_server_info, sent_bytes);
    FIELD(wire_server_info, operations);
}

static void coherence_layouts(void)
{
    table("wait", "offset | bytes | field");
    FIELD(wire_wait, expected);
    FIELD(wire_wait, timeout_ns);
    FIELD(wire_wait, reserved);
    table("agent info", "offset | bytes | field");
    FIELD(wire_agent_info, agent);
    FIELD(wire_agent_info, lease_ms);
    FIELD(wire_agent_info, reserved);
    table("snoop", "offset | bytes | field");
    FIELD(wire_bi_snp, region);
    FIELD(wire_bi_snp, offset);
    FIELD(wire_bi_snp, agent);
    FIELD(wire_bi_snp, id);
    FIELD(wire_bi_snp, kind);
    FIELD(wire_bi_snp, reserved);
    table("snoop response", "offset | bytes | field");
    FIELD(wire_bi_rsp, id);
    FIELD(wire_bi_rsp, state);
    FIELD(wire_bi_rsp, reserved);
}

static void handshake_layouts(void)
{
    table("HELLO", "offset | bytes | field");
    FIELD(hello_frame, header);
    FIELD(hello_frame, nonce);
    FIELD(hello_frame, reserved);
    table("COOKIE", "offset | bytes | field");
    FIELD(cookie_frame, header);
    FIELD(cookie_frame, nonce);
    FIELD(cookie_frame, cookie);
    table("INIT", "offset | bytes | field");
    FIELD(init_frame, header);
    FIELD(init_frame, nonce);
    FIELD(init_frame, cookie);
    FIELD(init_frame, message);
    table("RESP", "offset | bytes | field");
    FIELD(resp_frame, header);
    FIELD(resp_frame, message);
    table("offer", "offset | bytes | field");
    FIELD(wire_offer, client_session);
    FIELD(wire_offer, frame_bytes_max);
    FIELD(wire_offer, cipher_mask);
    FIELD(wire_offer, reserved);
    FIELD(wire_offer, replaces);
    FIELD(wire_offer, incarnation);
    table("grant", "offset | bytes | field");
    FIELD(wire_grant, server_session);
    FIELD(wire_grant, frame_bytes_max);
    FIELD(wire_grant, cipher);
    FIELD(wire_grant, status);
    FIELD(wire_grant, tenant);
    FIELD(wire_grant, reserved);
    FIELD(wire_grant, incarnation);
}

static void bounds(void)
{
    table("bounds", "name | value");
#define BOUND(name) printf("| %s | %llu |\n", #name, (unsigned long long)(name))
    BOUND(WIRE_MAGIC);
    BOUND(WIRE_VERSION);
    BOUND(LINE_BYTES);
    BOUND(PAGE_BYTES);
    BOUND(RECORD_HEADER_BYTES);
    BOUND(RECORD_TAG_BYTES);
    BOUND(BODY_HEADER_BYTES);
    BOUND(OP_HEADER_BYTES);
    BOUND(FRAME_BYTES_MAX);
    BOUND(FRAME_BYTES_MIN);
    BOUND(FRAME_OPS_MAX);
    BOUND(SESSION_SLOTS);
    BOUND(SLOT_RECORD_BYTES);
    BOUND(REGION_NAME_BYTES);
    BOUND(REGION_EPHEMERAL_S);
    BOUND(HANDSHAKE_NONCE_BYTES);
    BOUND(HANDSHAKE_COOKIE_BYTES);
    BOUND(RECORD_REPLAY_WINDOW);
    BOUND(RECORD_REKEY_FRAMES);
    BOUND(RECORD_REKEY_NS);
    BOUND(RECORD_OVERLAP_NS);
    BOUND(RECORD_CIPHER_PLAIN);
    BOUND(RECORD_CIPHER_AES256GCM);
    BOUND(RECORD_CIPHER_CHACHA20POLY1305);
    BOUND(REGION_SEALED);
    BOUND(REGION_EPHEMERAL);
    BOUND(REGION_SHARED);
    BOUND(AGENTS_MAX);
    BOUND(SNOOPS_MAX);
    BOUND(BI_SNP_DATA);
    BOUND(BI_SNP_INV);
    BOUND(BI_SNP_GONE);
    BOUND(BI_STATE_INVALID);
    BOUND(BI_STATE_SHARED);
    BOUND(BI_STATE_ASK);
    BOUND(DEV_LOAD_LIGHT);
    BOUND(DEV_LOAD_OPTIMAL);
    BOUND(DEV_LOAD_MODERATE);
    BOUND(DEV_LOAD_SEVERE);
}

int main(void)
{
    record_types();
    body_kinds();
    operations();
    statuses();
    record_layouts();
    body_layouts();
    control_layouts();
    coherence_layouts();
    handshake_layouts();
    bounds();
    return 0;
}
