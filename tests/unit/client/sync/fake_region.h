/* fake_region.h - a region in this process's memory, whose operations fail when a test wants them to
 *
 * Defines the calls of cxe.h that client/sync makes. Threads use it as clients would.
 */
#ifndef TESTS_SYNC_FAKE_REGION_H
#define TESTS_SYNC_FAKE_REGION_H

#include "cxe.h"

/* How many of 1000 changes end so. */
struct fake_faults {
    unsigned unknown_done; /* -CXE_EUNKNOWN, and it was done */
    unsigned unknown_lost; /* -CXE_EUNKNOWN, and it was not */
    unsigned not_done;     /* -ETIMEDOUT */
    bool spare_fetch_add;  /* these are never unknown */
};

struct cxe_region *fake_region_open(uint64_t bytes, unsigned seed);
void fake_region_close(struct cxe_region *region);
void fake_region_faults(struct cxe_region *region, struct fake_faults faults);
/* From now on every operation returns this; 0: none does. */
void fake_region_fail(struct cxe_region *region, int error);
/* The next change of the region has this outcome; 'done' says whether it is made all the same. */
void fake_region_fail_next(struct cxe_region *region, int error, bool done);
/* How many threads sleep in cxe_wait. */
unsigned fake_region_sleepers(struct cxe_region *region);
/* Returns when so many do. */
void fake_region_await_sleepers(struct cxe_region *region, unsigned count);

#endif
