/* fake_lane.h - a server in memory behind the interface of lane.h, for tests of the pager
 *
 * Its memory is shared with children, so that a fork of the test has the same server. Every operation is done
 * when its delay has passed and somebody progresses its lane, in the order of posting.
 */
#ifndef CXE_TEST_FAKE_LANE_H
#define CXE_TEST_FAKE_LANE_H

#include "connection.h"
#include "lane.h"

#define FAKE_REGIONS 32
#define FAKE_PAGES   (1 << 14) /* of a shared region */
#define FAKE_SNOOPS  (1 << 12) /* open at once */

/* What the server believes its one cache agent has of a page. */
enum fake_holding { FAKE_NOTHING, FAKE_SHARED, FAKE_OWNED };

struct fake_page {
    uint8_t holding; /* enum fake_holding */
    bool reserved;   /* the server has it in hand: reads of agents wait */
};

struct fake_snoop {
    struct wire_bi_snp wire;
    bool open, sent;
    uint8_t state; /* enum bi_state: the answer */
};

struct fake_region {
    uint8_t *memory;
    uint64_t bytes;
    uint32_t used;
};

/* Shared with children. Tests change it while lanes run. */
struct fake {
    struct fake_region regions[FAKE_REGIONS];
    uint32_t region_count;

    _Atomic uint64_t delay_ns;     /* from posting to answer */
    _Atomic uint32_t gone;         /* nothing is answered */
    _Atomic int32_t read_error;    /* what reads end with, if not 0 */
    _Atomic int32_t write_error;   /* what writes end with, if not 0 ... */
    _Atomic uint32_t write_anyway; /* ... although they were done */
    _Atomic int32_t clone_error;
    _Atomic int32_t reopen_error;

    _Atomic uint64_t reads, read_lines, writes, written_lines, clones, deletes, stats;
    _Atomic uint64_t reads_of_page[1 << 16];

    /* Coherent mappings; under the lock, unless _Atomic. */
    bool shared_region;
    uint32_t lock;
    uint32_t agent, agents; /* the one there is; how many there were */
    _Atomic uint32_t lease_ms;
    _Atomic uint32_t frame_lines; /* a write of more does not fit a frame */
    _Atomic uint32_t session;
    _Atomic int32_t attach_error;
    _Atomic uint32_t slow_answers; /* what answers a snoop stays under way */
    _Atomic uint64_t listens;      /* calls of lane_listen_wait */
    _Atomic uint64_t attaches, shared_reads, owned_reads;
    uint32_t unknown_attaches;     /* so many are done, and the client does not get to know */
    uint32_t unknown_answers;      /* so many are taken, and the client does not get to know */
    _Atomic uint64_t stray_writes; /* refused: write-backs of pages that the agent does not own */
    struct fake_page pages[FAKE_PAGES];
    uint32_t snoop_count; /* of the next one, its id */
    uint32_t first_open;
    bool says_given;             /* reads tell which snoops were sent before them, */
    uint16_t snoops_since_given; /* as if so many had been sent since they were given */
    struct fake_snoop snoops[FAKE_SNOOPS];
};
extern struct fake *fake;

/* Called before a write takes effect, with the lane held; NULL: nothing. */
extern void (*fake_on_write)(const struct op *op);
/* Called when an answer to a snoop was taken that its client does not get to know of, the lock held; NULL:
 * nothing. */
extern void (*fake_on_unknown_answer)(struct fake_page *page);
/* Called while a region is being cloned, in the thread that forks. */
extern void (*fake_on_clone)(void);

/* A server with one region of that many bytes, filled by fake_byte, and a client that has it open. */
struct cxe_region *fake_start(uint64_t bytes);
/* The same, with a region whose mappings are coherent. */
struct cxe_region *fake_start_shared(uint64_t bytes);
void fake_stop(struct cxe_region *region);

/* The server asks for a page; returns the snoop's id. */
uint16_t fake_snoop(const struct cxe_region *region, uint64_t page, enum bi_snp kind);
/* ... as if it had been neither heard nor answered. */
void fake_snoop_again(uint16_t id);
bool fake_answered(uint16_t id, enum bi_state *state_out);
/* Between the two no agent is granted the page. */
void fake_reserve(uint64_t page);
void fake_unreserve(uint64_t page);
/* The agent is no more. */
void fake_fence(void);

/* What the region holds at first. Never zero. */
uint8_t fake_byte(uint64_t offset);
uint8_t *fake_memory(const struct cxe_region *region);

#endif
