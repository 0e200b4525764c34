/* mapped.h - a simulated client's mapping of a region: loads and stores, told to the oracle
 *
 * What a client stored in memory is lost with it, and when its mapping is fenced. So the oracle takes these
 * stores, and what the client itself saw of them, back when that happens. What had left the client's memory
 * before stands.
 */
#ifndef TESTS_SIM_MAPPED_H
#define TESTS_SIM_MAPPED_H

#include "cxe.h"
#include "oracle.h"
#include "sim.h"

struct mapped;

/* Maps the region, which stays the caller's. 0 or as cxe_map. */
int mapped_open(unsigned client, struct cxe_region *region, const struct cxe_map_options *options,
                struct mapped **mapped_out);
/* 0, or as cxe_unmap: then it is still there. */
int mapped_close(struct mapped *mapped);

/* One access to a word, as machine instructions do it. `place` and `decode` (what the word holds, as a
 * number) as for operations by line. 0, or -EFAULT: SIGBUS. */
int mapped_run(struct mapped *mapped, enum oracle_kind kind, uint64_t offset, uint32_t place,
               uint64_t expected, uint64_t (*decode)(uint64_t word), uint64_t *saw_out);

int mapped_sync(struct mapped *mapped, uint64_t offset, uint64_t bytes);
int mapped_advise(struct mapped *mapped, uint64_t offset, uint64_t bytes, enum cxe_advice advice);
int mapped_prefetch(struct mapped *mapped, uint64_t offset, uint64_t bytes);

/* Checks the pager's invariants. */
void mapped_check(struct mapped *mapped);

/* Its process was killed. */
void mapped_lost(struct mapped *mapped);

#endif
