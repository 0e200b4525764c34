/* lane_path.c - requests longer than the path carries travel in pieces
 *
 * Somewhere on the way frames above some length may vanish without a word: a switch with a smaller MTU, a
 * tunnel. Then a long request is repeated for ever, while short ones are answered. A lane that sees this
 * sends, and asks for, no frame above FRAME_BYTES_MIN any more, which every path carries, and so do the other
 * lanes of its connection.
 *
 * What is in flight keeps its number, since the server takes no other before it has seen this one, but only
 * the first operations travel under it; the rest waits in the frame for another number, like what a refusal
 * left undone. That is exactly-once still. If the server never saw the long request, the short one is new to
 * it. If it did, and that only read, the short one is read. If it did and that changed something, and nothing
 * but its answer was lost, it finds the number used twice and ends the session: the outcome is unknown, and
 * nothing is done twice.
 *
 * The verdict may be wrong: where a third of all round trips fails, some long frame fails often enough. So at
 * first it holds for a moment, and longer each time it has to be given again, until a frame that is long in
 * the same way gets through. In the way, since what a path loses in one direction it may carry in the other.
 */
#include "lane_internal.h"

#include <string.h>

#include "atomic.h"
#include "check.h"
#include "clock.h"
#include "least.h"

#define PATH_TRIES           2        /* transmissions of a long frame before its length is suspected, */
#define PATH_DOUBTS          5        /* and then repeats that get lost while short frames get through */
#define PATH_NARROW_FIRST_NS NS_PER_S /* then longer frames are tried again; eight times as long after */
#define PATH_NARROW_MAX_NS   (600 * NS_PER_S) /* every failure, up to this (RFC 8899, 5.1.1) */

static size_t body_limit(const struct lane *lane)
{
    return lane->frame_bytes - RECORD_OVERHEAD;
}

/* ---- pieces ---- */

static bool fits(const struct lane *lane, size_t body_bytes, size_t result_bytes)
{
    return body_bytes <= body_limit(lane) && BODY_HEADER_BYTES + result_bytes <= body_limit(lane);
}

/* Writes `lines` lines of the operation, from `first` on, as an operation of their own. */
static uint8_t *write_lines(uint8_t *at, const struct op_view *op, uint32_t first, uint32_t lines)
{
    size_t mask_bytes = op->opcode == OP_MEM_WR_PTL ? sizeof(struct le64) : 0;
    size_t line_bytes = op_infos[op->opcode].operand_line_bytes - mask_bytes;
    const uint8_t *data = op->operand + mask_bytes * op->line_count;

    at = codec_write_agent_op(at, op->opcode, op->width_log2, lines, op->agent, op->region,
                              op->offset + (uint64_t)first * LINE_BYTES);
    memcpy(at, op->operand + mask_bytes * first, mask_bytes * lines);
    at += mask_bytes * lines;
    memcpy(at, data + line_bytes * first, line_bytes * lines);
    return at + line_bytes * lines;
}

/* How many lines of the operation fit a frame of their own. Those without lines are short: limits.h. */
static uint32_t lines_that_fit(const struct lane *lane, const struct op_view *op)
{
    const struct op_info *info = &op_infos[op->opcode];
    size_t room = body_limit(lane) - BODY_HEADER_BYTES, lines = op->line_count;

    CHECK(info->flags & OP_LINES);
    if (info->operand_line_bytes)
        lines = least(lines, (room - OP_HEADER_BYTES - info->operand_bytes) / info->operand_line_bytes);
    if (info->result_line_bytes)
        lines = least(lines, room / info->result_line_bytes);
    return (uint32_t)lines;
}

/* The first operation alone is too long: makes two of it. */
static void cut_first(struct lane *lane, struct frame *frame)
{
    uint8_t *first = frame->body + BODY_HEADER_BYTES, *copy = lane->sealed, *at;
    size_t copy_bytes = frame->body_bytes - BODY_HEADER_BYTES;
    const uint8_t *behind = copy;
    struct part *parts = frame->parts;
    struct op_view op;
    uint32_t lines;
    int error;

    CHECK(frame->op_count <= FRAME_OPS_MAX);
    memcpy(copy, first, copy_bytes);
    error = codec_read_op(&behind, copy + copy_bytes, &op);
    CHECK(!error); /* we wrote it */
    lines = lines_that_fit(lane, &op);
    CHECK(lines > 0 && lines < op.line_count);

    at = write_lines(first, &op, 0, lines);
    at = write_lines(at, &op, lines, op.line_count - lines);
    memcpy(at, behind, (size_t)(copy + copy_bytes - behind));
    frame->body_bytes += OP_HEADER_BYTES;

    memmove(&parts[2], &parts[1], (frame->op_count - 1u) * sizeof(parts[0]));
    parts[1] = parts[0];
    parts[0].result_bytes = (uint32_t)codec_result_bytes(op.opcode, lines) & INT32_MAX;
    parts[1].result_bytes -= parts[0].result_bytes;
    parts[1].first_line += lines;
    parts[1].chained = 1; /* one operation: what is behind a failure of it is not done */
    frame->op_count++;
    if (parts[0].op)
        parts[0].op->parts++;
}

/* Extends the piece by the operations that fit. */
static void measure_piece(const struct lane *lane, struct frame *frame)
{
    const uint8_t *at = frame->body + BODY_HEADER_BYTES, *end = frame->body + frame->body_bytes;

    frame->piece_ops = 0;
    frame->piece_bytes = BODY_HEADER_BYTES;
    frame->piece_result_bytes = 0;
    frame->piece_mutates = false;
    while (frame->piece_ops < frame->op_count) {
        struct op_view op;
        int error = codec_read_op(&at, end, &op);

        CHECK(!error); /* we wrote it */
        if (!fits(lane, (size_t)(at - frame->body), frame->piece_result_bytes + op.result_bytes))
            return;
        frame->piece_ops++;
        frame->piece_bytes = (uint32_t)(at - frame->body);
        frame->piece_result_bytes += op.result_bytes;
        frame->piece_mutates |= (op_infos[op.opcode].flags & OP_MUTATES) != 0;
    }
}

bool path_choose_piece(struct lane *lane, struct frame *frame)
{
    bool first = lane->window.slots[frame->seq % SESSION_SLOTS].tries == 0;

    if (!first && fits(lane, frame->piece_bytes, frame->piece_result_bytes))
        return false;
    if (first)
        frame->piece_counter = 0;
    if (fits(lane, frame->body_bytes, frame->result_bytes)) {
        frame->piece_ops = frame->op_count;
        frame->piece_bytes = frame->body_bytes;
        frame->piece_result_bytes = frame->result_bytes;
        frame->piece_mutates = frame->mutates;
        return false;
    }
    measure_piece(lane, frame);
    if (frame->piece_ops == 0) {
        cut_first(lane, frame);
        measure_piece(lane, frame);
    }
    CHECK(frame->piece_ops > 0);
    return !first;
}

/* An answer to a longer piece is of no use: what was read is read again, and what was changed the server will
 * not change twice. If nobody can tell which piece it is to, then values tell by their length. What changes
 * something may have none; but the server remembers it, and will say so once more. */
bool path_takes_answer(const struct frame *frame, uint64_t echo, bool fits)
{
    if (echo >= frame->piece_counter)
        return true;
    return echo == 0 && !frame->piece_mutates && fits;
}

/* ---- the path ---- */

/* What is longer than every path carries: the request, its answer, both (enum way)? 0: neither. */
static uint32_t long_ways(const struct frame *frame)
{
    const size_t longest = FRAME_BYTES_MIN - RECORD_OVERHEAD;

    return (frame->piece_bytes > longest ? WAY_THERE : 0u) |
           (BODY_HEADER_BYTES + frame->piece_result_bytes > longest ? WAY_BACK : 0u);
}

static void trust(struct lane *lane)
{
    lane->doubt_ns = 0;
    lane->doubts = 0;
}

static void narrow(struct lane *lane)
{
    lane->frame_bytes = FRAME_BYTES_MIN;
    trust(lane);
}

static bool known_narrow(const struct lane *lane, uint64_t now_ns)
{
    return now_ns < load_relaxed(&lane->connection->narrow_until_ns);
}

static void judge_narrow(struct cxe_connection *connection, uint32_t ways, uint64_t now_ns)
{
    uint64_t spell_ns = least(8 * load_relaxed(&connection->narrow_ns), PATH_NARROW_MAX_NS);

    spell_ns = most(spell_ns, PATH_NARROW_FIRST_NS);
    store_relaxed(&connection->narrow_ways, ways);
    store_relaxed(&connection->narrow_ns, spell_ns);
    store_relaxed(&connection->narrow_until_ns, now_ns + spell_ns);
}

/* Frames that are long in these ways get through. */
static void acquit(struct cxe_connection *connection, uint32_t ways)
{
    if (load_relaxed(&connection->narrow_ns) && !(load_relaxed(&connection->narrow_ways) & ~ways))
        store_relaxed(&connection->narrow_ns, 0u);
}

static void doubt(struct lane *lane, const struct frame *frame, uint64_t now_ns)
{
    const struct window_slot *slot = &lane->window.slots[frame->seq % SESSION_SLOTS];
    const uint32_t ways = long_ways(frame);

    if (slot->tries < PATH_TRIES || !ways || slot->first_sent_ns < lane->long_ns)
        return; /* others of its kind got through since: this one had bad luck */
    if (lane->doubt_ns == 0)
        lane->doubt_ns = now_ns;
    else if (lane->link.heard_ns > lane->doubt_ns)
        lane->doubts++;
    if (lane->doubts >= PATH_DOUBTS && !known_narrow(lane, now_ns))
        judge_narrow(lane->connection, ways, now_ns);
    if (known_narrow(lane, now_ns))
        narrow(lane);
    else
        link_ping(lane, now_ns); /* so that there is something short to be heard */
}

void path_repeat(struct lane *lane, struct frame *frame, uint64_t now_ns)
{
    doubt(lane, frame, now_ns);
    lane_transmit(lane, frame);
}

void path_parked(struct lane *lane)
{
    trust(lane);
}

void path_answered(struct lane *lane, const struct frame *frame, uint64_t now_ns)
{
    const uint32_t ways = long_ways(frame);

    if (!ways)
        return;
    acquit(lane->connection, ways);
    lane->long_ns = now_ns;
    trust(lane);
}

static uint32_t wide(const struct lane *lane, uint32_t granted)
{
    return (uint32_t)least(granted, lane->endpoint->frame_bytes_max);
}

void path_adopt(struct lane *lane, uint32_t granted, uint64_t now_ns)
{
    trust(lane);
    lane->frame_bytes = known_narrow(lane, now_ns) ? FRAME_BYTES_MIN : wide(lane, granted);
}

void path_tick(struct lane *lane, uint64_t now_ns)
{
    uint64_t until_ns = load_relaxed(&lane->connection->narrow_until_ns);

    if (until_ns == 0 || now_ns < until_ns || !lane->link.up)
        return;
    lane->frame_bytes = wide(lane, lane->link.grant.frame_bytes_max);
}
