/* region_access.h - the data path: lines and atomics of a region, by handle and offset
 *
 * No function takes a lock or allocates, but for a write that meets a region being cloned or grown, or a full
 * pool: that one waits for the mutex of region.h, offline in the quiescence. Any online worker. An operation
 * that fails has changed nothing.
 *
 * Those of the first part answer -EREMOTE for a region that is coherent: its lines may be cached by agents,
 * or waited for, so executor_coherent.c uses those of the second part, under the lock of coherence.h.
 */
#ifndef FABRICD_REGION_ACCESS_H
#define FABRICD_REGION_ACCESS_H

#include "region.h"

/* Who asks. */
struct region_caller {
    struct regions *regions;
    unsigned worker; /* its number in the quiescence */
    uint16_t tenant;
};

/* Where: `offset` bytes from the start of the region `handle`. */
struct region_place {
    uint64_t handle;
    uint64_t offset;
};

/* Copies `lines` (> 0) lines to bytes_out. -ESTALE; -EINVAL: the offset is no line's; -ERANGE: beyond the
 * end; -EHWPOISON: a page is lost, and bytes_out holds nothing of worth. */
int region_read(const struct region_caller *caller, struct region_place place, unsigned lines,
                uint8_t *bytes_out);

/* Writes whole lines, or with masks (8 bytes a line, see line.h) some bytes of each. Also -EACCES: sealed;
 * -ENOSPC: a clone, and the pool is full. */
int region_write(const struct region_caller *caller, struct region_place place, unsigned lines,
                 const uint8_t *bytes);
int region_write_masked(const struct region_caller *caller, struct region_place place, unsigned lines,
                        const uint8_t *masks, const uint8_t *bytes);

/* line_atomic at that place. Also -EINVAL: the offset is not a multiple of the width. */
int region_atomic(const struct region_caller *caller, struct region_place place, enum opcode opcode,
                  unsigned width_log2, const struct wire_word *operands, struct wire_word *old_out);

/* ---- coherent regions ---- */

/* Is this range in the region, and aligned? -ESTALE, -EINVAL, -ERANGE. */
int region_check(const struct region_caller *caller, struct region_place place, uint64_t bytes,
                 uint64_t align);

/* As region_read. */
int region_read_locked(const struct region_caller *caller, struct region_place place, unsigned lines,
                       uint8_t *bytes_out);

/* What region_write does before the first byte is written: all that can fail or take long; without the lock.
 * From its success on until the worker passes, those below may be used on the range, which cannot fail. */
struct region;
int region_prepare(const struct region_caller *caller, struct region_place place, uint64_t bytes,
                   uint64_t align, struct region **region_out);
void region_store_prepared(const struct region_caller *caller, const struct region *region,
                           struct region_place place, unsigned lines, const uint8_t *masks,
                           const uint8_t *bytes);
void region_atomic_prepared(const struct region_caller *caller, const struct region *region,
                            struct region_place place, enum opcode opcode, unsigned width_log2,
                            const struct wire_word *operands, struct wire_word *old_out);

/* Hints, in two steps a few operations apart: the page-table entry of that place (or NULL) on its way to the
 * cache, then the line. The entry may be passed on until the caller's next operation of any kind. */
const uint32_t *region_prefetch_entry(const struct region_caller *caller, struct region_place place);
void region_prefetch_line(const struct region_caller *caller, const uint32_t *entry, uint64_t offset);

#endif
