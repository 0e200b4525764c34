/* limits.h - every bound of the project, and how the bounds depend on each other */
/* This header stands in the way of the C library's of that name, which others want (argp.h); outside the
 * guard, since the compiler's own passes here twice. */
#include_next <limits.h>

#ifndef CXE_BASE_LIMITS_H
#define CXE_BASE_LIMITS_H

#include <assert.h>

/* Memory: the line is the unit of access, the page the unit of mapping, the block the unit of atomicity. */
#define LINE_BYTES  64
#define PAGE_BYTES  4096
#define PAGE_LINES  (PAGE_BYTES / LINE_BYTES)
#define BLOCK_LINES 8 /* lines under one version word (fabricd/line.h) */
#define PAGE_BLOCKS (PAGE_LINES / BLOCK_LINES)

/* Frames: one frame is one datagram. It is never fragmented by us, so nothing is ever reassembled. */
#define RECORD_HEADER_BYTES 16
#define RECORD_TAG_BYTES    16
#define RECORD_OVERHEAD     (RECORD_HEADER_BYTES + RECORD_TAG_BYTES)
#define BODY_HEADER_BYTES   24
#define OP_HEADER_BYTES     24
#define FRAME_BYTES_MAX     65504 /* the largest UDP payload over IPv4 is 65507; a multiple of 16 below it */
#define FRAME_BYTES_MIN     1232  /* what every IPv6 path carries: 1280 less IPv6 and UDP headers */
#define FRAME_BYTES_1500    1472  /* an Ethernet MTU of 1500 less IPv4 and UDP headers */

/* Sessions: a window of slots, each with one request in flight and one remembered answer. */
#define SESSION_SLOTS 32
#define SLOT_RECORD_BYTES \
    1024                    /* the longest answer to a frame that changes anything: it must be remembered */
#define FRAME_OPS_MAX 1024  /* operations in one frame */
#define SESSIONS_MAX  65536 /* per worker; the id on the wire carries worker and index */
#define WORKERS_MAX   64

/* Coherence: who caches pages of a shared region. */
#define AGENTS_MAX        1024  /* cache agents of one region */
#define TENANT_AGENTS_MAX 16384 /* of one tenant: they take memory that no quota counts */
#define SNOOPS_MAX        1024 /* open at one agent; the numbers of snoops are compared within a window of this */
#define VECTOR_BITS       56 /* of a page's sharers: above so many agents a bit stands for several */

/* Tenancy and naming. */
#define REGION_NAME_BYTES 64 /* including the terminating NUL */
#define TENANT_NAME_BYTES 32 /* including the terminating NUL */
#define TENANTS_MAX       1024
#define REGIONS_MAX       (1u << 20)
#define POOL_PAGES_MAX    (1ull << 31) /* 8 TiB: a frame number fits 31 bits, the 32nd says "shared" */
#define NUMA_NODES_MAX    64

/* Where fabricd listens unless told, and where its public key is found (docs/OPERATIONS.md). */
#define CXE_PORT_DEFAULT 7400

/* Time. */
#define NS_PER_US 1000ull
#define NS_PER_MS 1000000ull
#define NS_PER_S  1000000000ull

static_assert(PAGE_LINES == 64, "a page's lines fit one 64-bit mask");
static_assert(PAGE_LINES % BLOCK_LINES == 0, "blocks tile a page");
static_assert(FRAME_BYTES_MIN >= RECORD_OVERHEAD + BODY_HEADER_BYTES + SLOT_RECORD_BYTES,
              "a remembered answer fits the smallest frame");
static_assert(FRAME_BYTES_1500 - RECORD_OVERHEAD - BODY_HEADER_BYTES - OP_HEADER_BYTES >= 21 * LINE_BYTES,
              "a 1500-byte Ethernet frame carries a write of at least 21 lines");
static_assert((SESSION_SLOTS & (SESSION_SLOTS - 1)) == 0, "slot = seq mod SESSION_SLOTS is a mask");

#endif
