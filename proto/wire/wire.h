/* wire.h - the layout of everything that crosses the wire; docs/WIRE.md is the normative text
 *
 * Little endian, every field naturally aligned, no padding, reserved fields zero (a receiver refuses others).
 * A datagram is a record: header in clear, body, 16 bytes of tag. There is no fragmentation: a sender splits
 * its work into frames that fit the path, so a receiver never reassembles.
 */
#ifndef CXE_WIRE_WIRE_H
#define CXE_WIRE_WIRE_H

#include <assert.h>
#include <endian.h>
#include <stddef.h>
#include <stdint.h>

#include "limits.h"

#define WIRE_MAGIC   0xCE
#define WIRE_VERSION 1

/* Little-endian scalars have their own types, so that a forgotten conversion does not compile. */
struct le16 {
    uint16_t raw;
};
struct le32 {
    uint32_t raw;
};
struct le64 {
    uint64_t raw;
};

static inline uint16_t le16_get(struct le16 v)
{
    return le16toh(v.raw);
}
static inline uint32_t le32_get(struct le32 v)
{
    return le32toh(v.raw);
}
static inline uint64_t le64_get(struct le64 v)
{
    return le64toh(v.raw);
}
static inline struct le16 le16_of(uint16_t v)
{
    return (struct le16){htole16(v)};
}
static inline struct le32 le32_of(uint32_t v)
{
    return (struct le32){htole32(v)};
}
static inline struct le64 le64_of(uint64_t v)
{
    return (struct le64){htole64(v)};
}

enum record_type {
#define RECORD_TYPE(code, name, text, sealed) RECORD_##name = code,
#include "messages.def"
};

enum body_kind {
#define BODY_KIND(code, name, text) BODY_##name = code,
#include "messages.def"
};

enum opcode {
#define OPERATION(code, name, operand, operand_line, result, result_line, flags) OP_##name = code,
#include "messages.def"
};

enum wire_status {
#define STATUS(code, name, error, text) STATUS_##name = code,
#include "messages.def"
};

enum op_flags {
    OP_LINES = 1,
    OP_ATOMIC = 2,
    OP_MUTATES = 4,
    OP_CONTROL = 8,
    OP_AGENT = 16,     /* names a cache agent */
    OP_MAY_AGENT = 32, /* may name one; 0: none */
};

/* In front of every datagram; the additional authenticated data of a sealed one. */
struct record_header {
    uint8_t magic;
    uint8_t version;
    uint8_t type;         /* enum record_type */
    uint8_t key_phase;    /* which key of the sender's chain sealed it, modulo 256 */
    struct le32 receiver; /* the receiver's name for the session; 0 before there is one */
    struct le64 counter;  /* per direction, strictly increasing, never reused: the AEAD nonce */
};

/* In front of every body. */
struct body_header {
    uint8_t kind;   /* enum body_kind */
    uint8_t status; /* RESPONSE: enum wire_status of operation number `op_count`; else 0 */
    /* REQUEST: how many operations follow. RESPONSE: how many were done; all, or those before the failed one.
     */
    struct le16 op_count;
    uint8_t dev_load; /* RESPONSE: enum dev_load, as in CXL's S2M messages; else 0 */
    uint8_t granted;  /* RESPONSE: 1 if it gives pages to one cache agent, and so has a snoop_next; else 0 */
    /* RESPONSE with `granted`: the agent's snoops from this id on were sent after the first page was given to
     * it; those before it have nothing to do with what is given. Else 0. */
    struct le16 snoop_next;
    /* Request number in the session, from 1; its slot is seq mod SESSION_SLOTS. CLOSE from the server: no
     * request of this number or above was begun; 0: nothing is said of that. */
    struct le64 seq;
    struct le64 echo; /* RESPONSE, PONG: the counter of the record answered, for the RTT; else 0 */
};

/* CXL 3.0, 3.3.8: how busy the device is. */
enum dev_load {
    DEV_LOAD_LIGHT = 0,
    DEV_LOAD_OPTIMAL = 1,
    DEV_LOAD_MODERATE = 2,
    DEV_LOAD_SEVERE = 3,
};

/* In front of every operation. */
struct op_header {
    uint8_t opcode;
    uint8_t width_log2;     /* ATOMIC: 2, 3 or 4; else 0 */
    struct le16 line_count; /* LINES: how many; REGION_LIST: most entries; else 0 */
    struct le32 agent;      /* AGENT: the cache agent it is for; MAY_AGENT: that, or 0; else 0 */
    struct le64 region;     /* handle: generation << 32 | index; 0 where the operation names none */
    /* Bytes from the region's start. REGION_GROW: the new size. REGION_LIST: the first index to look at. */
    struct le64 offset;
};

/* Atomic operands and results stand in the low bytes of 16, the rest zero. CAS: expected, then desired. */
struct wire_word {
    uint8_t bytes[16];
};

/* WAIT: parks until the word differs from `expected`, at most timeout_ns; the result is the word as it is
 * then. */
struct wire_wait {
    struct wire_word expected;
    struct le64 timeout_ns; /* 0: looks, and does not wait */
    struct le64 reserved;
};

/* What BI_ATTACH answers. */
struct wire_agent_info {
    struct le32
        agent; /* its name in this region; never 0, and random enough that no other is hit by chance */
    struct le32 lease_ms; /* it is fenced when its session was silent for so long */
    struct le64 reserved;
};

/* CXL 3.0, 3.3.11: what the device wants of a holder. */
enum bi_snp {
    BI_SNP_DATA = 1, /* keep at most a shared copy; changed lines come home first */
    BI_SNP_INV = 2,  /* keep nothing; changed lines come home first */
    BI_SNP_GONE = 3, /* the agent or its region is no more: everything of it is worthless. Not answered */
};

/* What the holder has left: the answer to a snoop. */
enum bi_state {
    BI_STATE_INVALID = 0,
    BI_STATE_SHARED = 1,
    BI_STATE_ASK = 2, /* no answer yet: is the snoop still open? FENCED if it is not */
};

/* In a BISNP body, `op_count` of them. One page each. */
struct wire_bi_snp {
    struct le64 region;
    struct le64 offset; /* of the page; GONE: 0 */
    struct le32 agent;
    struct le16 id; /* rising for each agent, modulo 65536; at most SNOOPS_MAX are open. GONE: 0 */
    uint8_t kind;   /* enum bi_snp */
    uint8_t reserved;
};

/* The operand of BI_RSP; the header names agent, region and page. In one request behind the MEM_WR of the
 * lines that changed, or sent when those are answered. */
struct wire_bi_rsp {
    struct le16 id;
    uint8_t state; /* enum bi_state */
    uint8_t reserved[5];
};

enum region_flags {
    REGION_SEALED = 1,    /* read-only for all, for good */
    REGION_EPHEMERAL = 2, /* deleted when nobody named its handle for REGION_EPHEMERAL_S seconds */
    REGION_SHARED = 4,    /* mappings of it are kept coherent */
};
#define REGION_EPHEMERAL_S 60

/* What REGION_CREATE, REGION_OPEN and REGION_CLONE name. */
struct wire_region_spec {
    char name[REGION_NAME_BYTES]; /* NUL-padded; CLONE with EPHEMERAL: may be empty */
    struct le64 size;             /* bytes, a multiple of PAGE_BYTES; OPEN, CLONE: 0 */
    struct le32 flags;            /* enum region_flags; OPEN: 0 */
    struct le32 reserved;
};

struct wire_region_info {
    struct le64 handle;   /* 0: this entry and those after it are empty */
    struct le64 size;     /* bytes */
    struct le64 resident; /* bytes of pool memory it holds */
    struct le32 tenant;   /* LD-ID */
    struct le32 flags;
    char name[REGION_NAME_BYTES];
};

struct wire_server_info {
    struct le64
        incarnation; /* random, new at each start: who sees another one knows that the memory is gone */
    struct le64 uptime_ns;
    struct le64 cpu_ns; /* of the daemon, user and system */
    struct le64 pool_bytes;
    struct le64 pool_free_bytes; /* neither in use nor promised */
    struct le64 quota_bytes;     /* of the asking tenant */
    struct le64 used_bytes;      /* of the asking tenant: promised to its regions */
    struct le64 regions;         /* of the asking tenant */
    struct le64 sessions;        /* of all tenants */
    struct le64 received_bytes;
    struct le64 sent_bytes;
    struct le64 operations;
};

static_assert(sizeof(struct record_header) == RECORD_HEADER_BYTES, "record header");
static_assert(offsetof(struct record_header, type) == 2, "record type");
static_assert(offsetof(struct record_header, key_phase) == 3, "record key phase");
static_assert(offsetof(struct record_header, receiver) == 4, "record receiver");
static_assert(offsetof(struct record_header, counter) == 8, "record counter");
static_assert(sizeof(struct body_header) == BODY_HEADER_BYTES, "body header");
static_assert(offsetof(struct body_header, status) == 1, "body status");
static_assert(offsetof(struct body_header, op_count) == 2, "body op count");
static_assert(offsetof(struct body_header, dev_load) == 4, "body dev load");
static_assert(offsetof(struct body_header, granted) == 5, "body granted");
static_assert(offsetof(struct body_header, snoop_next) == 6, "body snoop next");
static_assert(offsetof(struct body_header, seq) == 8, "body seq");
static_assert(offsetof(struct body_header, echo) == 16, "body echo");
static_assert(sizeof(struct op_header) == OP_HEADER_BYTES, "op header");
static_assert(offsetof(struct op_header, width_log2) == 1, "op width");
static_assert(offsetof(struct op_header, line_count) == 2, "op line count");
static_assert(offsetof(struct op_header, agent) == 4, "op agent");
static_assert(offsetof(struct op_header, region) == 8, "op region");
static_assert(offsetof(struct op_header, offset) == 16, "op offset");
static_assert(sizeof(struct wire_word) == 16, "atomic word");
static_assert(sizeof(struct wire_wait) == 32, "wait");
static_assert(sizeof(struct wire_agent_info) == 16, "agent info");
static_assert(sizeof(struct wire_bi_snp) == 24, "back-invalidate snoop");
static_assert(sizeof(struct wire_bi_rsp) == 8, "back-invalidate response");
static_assert(sizeof(struct wire_region_spec) == 80, "region spec");
static_assert(sizeof(struct wire_region_info) == 96, "region info");
static_assert(sizeof(struct wire_server_info) == 96, "server info");
static_assert(sizeof(struct wire_region_info) <= SLOT_RECORD_BYTES, "a control answer can be remembered");

#endif
