/* line.h - reads, writes and atomics on the lines of a frame; no line is ever seen torn
 *
 * A block of BLOCK_LINES lines has one version word, odd while somebody writes. A writer takes it with a
 * compare-and-swap, changes what it wants within the block and leaves it even and larger. A reader copies and
 * looks whether the version moved. So a line, and as a bonus an aligned block, is always one writer's.
 *
 * All functions: any thread; none blocks for longer than another thread's work on one block. The caller makes
 * sure that the frame is in use and, to write, that its region is its only owner.
 */
#ifndef FABRICD_LINE_H
#define FABRICD_LINE_H

#include <stdint.h>

#include "pool.h"
#include "wire.h"

/* Copies lines first..first+count-1 of the frame, 1 <= count, first + count <= PAGE_LINES. `bytes_out` may
 * lie anywhere. */
void line_read(const struct pool *pool, uint32_t frame, unsigned first, unsigned count, uint8_t *bytes_out);

/* The other way. */
void line_write(struct pool *pool, uint32_t frame, unsigned first, unsigned count, const uint8_t *bytes);

/* Writes of line i only the bytes whose bit is set in mask i; masks are 8 bytes each, little endian, bit b
 * for byte b. */
void line_write_masked(struct pool *pool, uint32_t frame, unsigned first, unsigned count,
                       const uint8_t *masks, const uint8_t *bytes);

/* One atomic operation (OP_CAS .. OP_FETCH_MAX) on the word of 1 << width_log2 bytes at `offset_bytes` of the
 * frame, naturally aligned: 4, 8 or, for CAS, 16 bytes. `operands` holds one word, for CAS two: expected,
 * then desired. *old_out gets what was there before, the unused upper bytes zero. */
void line_atomic(struct pool *pool, uint32_t frame, unsigned offset_bytes, enum opcode opcode,
                 unsigned width_log2, const struct wire_word *operands, struct wire_word *old_out);

#endif
