/* line.c - see line.h
 *
 * Why no line tears. Let W be a writer that moves a block's version v -> v+1 -> v+2, and R a reader whose
 * copy holds a byte of W's.
 *   - R looked at the version before its copy. If it found v+1 it waited; if v+2 or later, its load acquired
 * W's release (version_unlock), so the copy holds all of W's bytes.
 *   - If it found v, then its second look, which fence_acquire keeps behind the copy, cannot find v again:
 * W's fence_release put v+1 in front of the byte that R copied. So R copies again. A version wraps after 2^31
 * writes; a reader would have to sleep through exactly that many to be fooled.
 */
#include "line.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

#include "atomic.h"
#include "check.h"
#include "racy.h"
#include "spin.h"

/* Copies that a reader tries before it takes the version like a writer, so that it does not starve. */
#define READ_TRIES 64

static uint32_t version_lock(uint32_t *version)
{
    unsigned spins = 0;

    for (;;) {
        uint32_t found = load_relaxed(version);

        if (!(found & 1) && cas_acquire(version, &found, found + 1)) {
            racy_fence_release(); /* partner: racy_fence_acquire in read_block */
            return found;
        }
        spin_pause(&spins);
    }
}

static void version_unlock(uint32_t *version, uint32_t locked_at)
{
    store_release(version, locked_at + 2);
}

/* Nothing was changed: readers that copied meanwhile need not know. */
static void version_unlock_unchanged(uint32_t *version, uint32_t locked_at)
{
    store_release(version, locked_at);
}

static inline __attribute__((always_inline)) void load_lines(uint8_t *to, const uint8_t *lines,
                                                             unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        racy_load(to + i * LINE_BYTES, lines + i * LINE_BYTES, LINE_BYTES);
}

static inline __attribute__((always_inline)) void store_lines(uint8_t *lines, const uint8_t *from,
                                                              unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        racy_store(lines + i * LINE_BYTES, from + i * LINE_BYTES, LINE_BYTES);
}

static __attribute__((noinline)) void read_block_slowly(uint32_t *version, const uint8_t *lines,
                                                        unsigned count, uint8_t *bytes_out)
{
    unsigned spins = 0;
    uint32_t locked_at;

    for (unsigned try = 0; try < READ_TRIES; try++) {
        uint32_t before = load_acquire(version);

        if (!(before & 1)) {
            load_lines(bytes_out, lines, count);
            racy_fence_acquire();
            if (load_relaxed(version) == before)
                return;
        }
        spin_pause(&spins);
    }
    locked_at = version_lock(version);
    load_lines(bytes_out, lines, count);
    version_unlock_unchanged(version, locked_at);
}

static inline __attribute__((always_inline)) void read_block(uint32_t *version, const uint8_t *lines,
                                                             unsigned count, uint8_t *bytes_out)
{
    uint32_t before = load_acquire(version);

    if (__builtin_expect(!(before & 1), 1)) {
        load_lines(bytes_out, lines, count);
        racy_fence_acquire();
        if (__builtin_expect(load_relaxed(version) == before, 1))
            return;
    }
    read_block_slowly(version, lines, count, bytes_out);
}

/* How many of `count` lines from `first` on lie in the block of `first`. */
static inline unsigned lines_in_block(unsigned first, unsigned count)
{
    unsigned room = BLOCK_LINES - first % BLOCK_LINES;

    return count < room ? count : room;
}

void line_read(const struct pool *pool, uint32_t frame, unsigned first, unsigned count, uint8_t *bytes_out)
{
    const uint8_t *lines = pool_frame(pool, frame);
    uint32_t *versions = pool->versions[frame];

    assert(count > 0 && first + count <= PAGE_LINES);
    if (count == 1) {
        read_block(&versions[first / BLOCK_LINES], lines + first * LINE_BYTES, 1, bytes_out);
        return;
    }
    while (count > 0) {
        unsigned part = lines_in_block(first, count);

        if (part == BLOCK_LINES) /* a constant count makes a straight line of vector moves */
            read_block(&versions[first / BLOCK_LINES], lines + first * LINE_BYTES, BLOCK_LINES, bytes_out);
        else
            read_block(&versions[first / BLOCK_LINES], lines + first * LINE_BYTES, part, bytes_out);
        first += part;
        count -= part;
        bytes_out += part * LINE_BYTES;
    }
}

void line_write(struct pool *pool, uint32_t frame, unsigned first, unsigned count, const uint8_t *bytes)
{
    uint8_t *lines = pool_frame(pool, frame);

    assert(count > 0 && first + count <= PAGE_LINES);
    while (count > 0) {
        uint32_t *version = &pool->versions[frame][first / BLOCK_LINES];
        unsigned part = lines_in_block(first, count);
        uint32_t locked_at = version_lock(version);

        store_lines(lines + first * LINE_BYTES, bytes, part);
        version_unlock(version, locked_at);
        first += part;
        count -= part;
        bytes += part * LINE_BYTES;
    }
}

/* Bit b of `bits` becomes byte b, least significant first: 0x00 or 0xff. */
static uint64_t spread_bits(unsigned bits)
{
    uint64_t bytes = (bits * 0x0101010101010101ull) & 0x8040201008040201ull; /* byte b keeps its bit b */

    bytes = (bytes + 0x7f7f7f7f7f7f7f7full) & 0x8080808080808080ull; /* bit 7 if the byte is not zero */
    return (bytes >> 7) * 0xff;
}

/* Into `line` (private) the bytes of `from` that the mask names. */
static void merge_line(uint8_t *line, const uint8_t *from, const uint8_t *mask)
{
    for (unsigned i = 0; i < LINE_BYTES / 8; i++) {
        uint64_t keep = ~htole64(spread_bits(mask[i])), old, new;

        memcpy(&old, line + i * 8, 8);
        memcpy(&new, from + i * 8, 8);
        old = (old & keep) | (new & ~keep);
        memcpy(line + i * 8, &old, 8);
    }
}

void line_write_masked(struct pool *pool, uint32_t frame, unsigned first, unsigned count,
                       const uint8_t *masks, const uint8_t *bytes)
{
    uint8_t *lines = pool_frame(pool, frame);

    assert(count > 0 && first + count <= PAGE_LINES);
    for (unsigned i = 0; i < count; i++) {
        uint32_t *version = &pool->versions[frame][(first + i) / BLOCK_LINES];
        uint8_t *line = lines + (first + i) * LINE_BYTES, merged[LINE_BYTES];
        uint32_t locked_at = version_lock(version);

        racy_load(merged, line, LINE_BYTES);
        merge_line(merged, bytes + i * LINE_BYTES, masks + i * 8);
        racy_store(line, merged, LINE_BYTES);
        version_unlock(version, locked_at);
    }
}

static uint64_t low_word(const struct wire_word *word)
{
    uint64_t value;

    memcpy(&value, word->bytes, sizeof(value));
    return le64toh(value);
}

static uint64_t combine(enum opcode opcode, uint64_t old, uint64_t operand)
{
    switch ((int)opcode) {
    case OP_FETCH_ADD:
        return old + operand;
    case OP_SWAP:
        return operand;
    case OP_FETCH_AND:
        return old & operand;
    case OP_FETCH_OR:
        return old | operand;
    case OP_FETCH_XOR:
        return old ^ operand;
    case OP_FETCH_MIN:
        return old < operand ? old : operand;
    case OP_FETCH_MAX:
        return old > operand ? old : operand;
    }
    CHECK(!"an opcode that is no atomic");
    return 0;
}

/* The word of 4 or 8 bytes at `within` of the 8 that `shared` points to. Returns whether it was changed. */
static bool update_word(void *shared, unsigned within, enum opcode opcode, unsigned width_log2,
                        const struct wire_word *operands, struct wire_word *old_out)
{
    uint64_t mask = width_log2 == 2 ? UINT32_MAX : UINT64_MAX;
    uint64_t operand = low_word(&operands[0]) & mask, around, old, next;
    unsigned shift = within * 8;

    racy_load(&around, shared, sizeof(around));
    around = le64toh(around);
    old = around >> shift & mask;
    memcpy(old_out->bytes, &(uint64_t){htole64(old)}, sizeof(old));
    memset(old_out->bytes + sizeof(old), 0, sizeof(old_out->bytes) - sizeof(old));
    if (opcode == OP_CAS && old != operand)
        return false;
    next = opcode == OP_CAS ? low_word(&operands[1]) : combine(opcode, old, operand);
    around = htole64((around & ~(mask << shift)) | (next & mask) << shift);
    racy_store(shared, &around, sizeof(around));
    return true;
}

static bool compare_and_swap_16(void *shared, const struct wire_word *operands, struct wire_word *old_out)
{
    racy_load(old_out, shared, sizeof(*old_out));
    if (memcmp(old_out, &operands[0], sizeof(*old_out)) != 0)
        return false;
    racy_store(shared, &operands[1], sizeof(operands[1]));
    return true;
}

void line_atomic(struct pool *pool, uint32_t frame, unsigned offset_bytes, enum opcode opcode,
                 unsigned width_log2, const struct wire_word *operands, struct wire_word *old_out)
{
    uint8_t *shared = pool_frame(pool, frame) + offset_bytes;
    uint32_t *version = &pool->versions[frame][offset_bytes / (LINE_BYTES * BLOCK_LINES)];
    unsigned within = offset_bytes % 8;
    uint32_t locked_at;
    bool changed;

    assert(width_log2 >= 2 && width_log2 <= 4 && offset_bytes < PAGE_BYTES);
    assert(offset_bytes % (1u << width_log2) == 0 && (width_log2 < 4 || opcode == OP_CAS));
    locked_at = version_lock(version);
    if (width_log2 == 4)
        changed = compare_and_swap_16(shared, operands, old_out);
    else
        changed = update_word(shared - within, within, opcode, width_log2, operands, old_out);
    if (changed)
        version_unlock(version, locked_at);
    else
        version_unlock_unchanged(version, locked_at);
}
