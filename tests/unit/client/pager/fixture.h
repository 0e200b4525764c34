/* fixture.h - mapping the fake's region, and looking at it, for all tests of the pager */
#ifndef CXE_TEST_FIXTURE_H
#define CXE_TEST_FIXTURE_H

#include "cxe.h"
#include "fake_lane.h"
#include "pager.h"

#define MIB  (1ull << 20)
#define PAGE 4096ull

/* Maps the region, or fails the test with the library's sentence. */
uint8_t *map_region(struct cxe_region *region, uint64_t local_bytes, struct cxe_map_options options);
/* A new one, of zeros, that nobody else uses. */
uint8_t *map_zeros(struct cxe_region *region, uint64_t local_bytes);
uint8_t *map_zeros_under(struct cxe_region *region, uint64_t local_bytes, struct cxe_map_options options);

/* Unmaps and stops the fake; each step must succeed. */
void finish(struct cxe_region *region, void *address);

struct cxe_map_info info_of(const void *address);

/* The mapping's invariants hold. */
void check_valid(void *address);

/* Reads the byte; false if that ended in SIGBUS or SIGSEGV. */
bool can_read(const uint8_t *address);
bool can_write(uint8_t *address, uint8_t value);

#endif
