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
};
extern struct fake *fake;

/* Called before a write takes effect, with the lane held; NULL: nothing. */
extern void (*fake_on_write)(const struct op *op);
/* Called while a region is being cloned, in the thread that forks. */
extern void (*fake_on_clone)(void);

/* A server with one region of that many bytes, filled by fake_byte, and a client that has it open. */
struct cxe_region *fake_start(uint64_t bytes);
void fake_stop(struct cxe_region *region);

/* What the region holds at first. Never zero. */
uint8_t fake_byte(uint64_t offset);
uint8_t *fake_memory(const struct cxe_region *region);

#endif
