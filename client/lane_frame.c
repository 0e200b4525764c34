/* lane_frame.c - operations into frames, answers into results */
#include "lane_internal.h"

#include <errno.h>
#include <string.h>

#include "check.h"
#include "clock.h"
#include "least.h"

#define BATCH_FRAMES 2 /* a queue lets a part-filled frame wait while so many others are in flight */

static size_t body_limit(const struct lane *lane)
{
    return lane->frame_bytes - RECORD_OVERHEAD;
}

static const struct op_info *info_of(const struct op *op)
{
    return &op_infos[op->opcode];
}

static bool counts_lines(const struct op *op)
{
    return info_of(op)->flags & OP_LINES;
}

/* ---- filling ---- */

/* The values of one answer. That of a request which mutates is remembered by the server. */
static size_t result_limit(const struct lane *lane, bool mutates)
{
    size_t limit = body_limit(lane) - BODY_HEADER_BYTES;

    return mutates && limit > SLOT_RECORD_BYTES ? SLOT_RECORD_BYTES : limit;
}

/* How many lines of the operation still fit (1 for one without lines that fits; 0: nothing does). */
static uint32_t room_for(const struct lane *lane, const struct frame *frame, const struct op *op)
{
    const struct op_info *info = info_of(op);
    size_t limit = result_limit(lane, frame->mutates || (info->flags & OP_MUTATES));
    size_t fixed = sizeof(struct op_header) + info->operand_bytes, room, result_room;
    uint32_t lines = op->line_count - op->issued_lines;

    if (frame->op_count == FRAME_OPS_MAX || frame->result_bytes > limit ||
        frame->body_bytes + fixed > body_limit(lane))
        return 0;
    room = body_limit(lane) - frame->body_bytes - fixed;
    result_room = limit - frame->result_bytes;
    if (!counts_lines(op))
        return codec_result_bytes(op->opcode, op->line_count) <= result_room;
    if (lines == 1) /* by far the most frequent: spare the divisions */
        return info->operand_line_bytes <= room && info->result_line_bytes <= result_room;
    if (info->operand_line_bytes)
        lines = (uint32_t)least(lines, room / info->operand_line_bytes);
    if (info->result_line_bytes)
        lines = (uint32_t)least(lines, result_room / info->result_line_bytes);
    return (uint32_t)least(lines, UINT16_MAX);
}

static uint8_t *copy(uint8_t *at, const void *from, size_t bytes)
{
    memcpy(at, from, bytes);
    return at + bytes;
}

/* The operand of `lines` lines from op->issued_lines on. */
static uint8_t *write_operand(uint8_t *at, const struct op *op, uint32_t lines)
{
    const uint8_t *operand = op->operand;

    switch (op->opcode) {
    case OP_MEM_WR_PTL:
        for (uint32_t i = 0; i < lines; i++) {
            struct le64 mask = le64_of(op->masks[op->issued_lines + i]);
            at = copy(at, &mask, sizeof(mask));
        }
        return copy(at, operand + (size_t)op->issued_lines * LINE_BYTES, (size_t)lines * LINE_BYTES);
    case OP_MEM_WR:
        return copy(at, operand + (size_t)op->issued_lines * LINE_BYTES, (size_t)lines * LINE_BYTES);
    default: /* codes, not an enum of ours: every other operation has a fixed operand */
        return copy(at, operand, info_of(op)->operand_bytes);
    }
}

static void append(struct frame *frame, struct op *op, uint32_t lines)
{
    uint32_t wire_lines = counts_lines(op) ? lines : op->line_count;
    uint8_t *at = frame->body + frame->body_bytes;

    at = codec_write_agent_op(at, op->opcode, op->width_log2, wire_lines, op->agent, op->region,
                              op->offset + (uint64_t)op->issued_lines * LINE_BYTES);
    if (op->operand)
        at = write_operand(at, op, lines);
    frame->body_bytes = (uint32_t)(at - frame->body);
    frame->mutates |= (info_of(op)->flags & OP_MUTATES) != 0;
    frame->parts[frame->op_count] = (struct part){
        .op = op,
        .first_line = op->issued_lines,
        .result_bytes = (uint32_t)codec_result_bytes(op->opcode, wire_lines) & INT32_MAX,
        .chained = op->chained,
    };
    frame->result_bytes += frame->parts[frame->op_count++].result_bytes;
    op->parts++;
    op->issued_lines += counts_lines(op) ? lines : 0;
    op->issued = op->issued_lines == (counts_lines(op) ? op->line_count : 0);
}

static void frame_begin(struct frame *frame, uint64_t seq)
{
    frame->seq = seq;
    frame->body_bytes = BODY_HEADER_BYTES;
    frame->result_bytes = 0;
    frame->op_count = 0;
    frame->mutates = false;
    frame->rest = false;
}

/* The frame being filled; begins one if the window lets us. */
static struct frame *building(struct lane *lane)
{
    if (!lane->building) {
        if (!window_open(&lane->window))
            return NULL;
        lane->building = window_take(&lane->window);
        frame_begin(lane_frame(lane, lane->building), lane->building);
    }
    return lane_frame(lane, lane->building);
}

static void pop_posted(struct lane *lane)
{
    struct op *op = lane->posted_first;

    lane->posted_first = op->next;
    if (!lane->posted_first)
        lane->posted_last = NULL;
    op->next = NULL;
}

static bool may_join(struct lane *lane, const struct frame *frame, const struct op *op, uint32_t lines)
{
    uint32_t claimed = counts_lines(op) ? lines : 1;
    uint64_t offset = op->offset + (uint64_t)op->issued_lines * LINE_BYTES;

    if (!lane->order || (info_of(op)->flags & OP_CONTROL))
        return true;
    if (order_claim(lane->order, &lane->window, op->region, offset, claimed, frame->seq))
        return true;
    if (lane->window.in_flight > 1)
        return false;
    /* Nothing else is in flight, so waiting would be for ever: the lines are too many for one bucket. */
    order_barrier(lane->order, frame->seq);
    return true;
}

/* Everything before the fence is answered? Then it is over. */
static bool pass_fence(struct lane *lane)
{
    struct op *fence = lane->posted_first;

    lane_flush(lane); /* what is still building afterwards is empty */
    if (lane_asks(lane) || lane->rests > 0)
        return false;
    pop_posted(lane);
    fence->issued = true;
    lane_finish_op(lane, fence);
    return true;
}

/* Do the operation and those chained to it fit behind what the frame holds (NULL: nothing)? */
static bool chain_fits(const struct lane *lane, const struct frame *frame, const struct op *first)
{
    size_t body_bytes = frame ? frame->body_bytes : BODY_HEADER_BYTES;
    size_t result_bytes = frame ? frame->result_bytes : 0;
    unsigned op_count = frame ? frame->op_count : 0;
    bool mutates = frame && frame->mutates;

    for (const struct op *op = first; op && (op == first || op->chained); op = op->next) {
        body_bytes += codec_op_bytes(op->opcode, op->line_count);
        result_bytes += codec_result_bytes(op->opcode, op->line_count);
        mutates |= (info_of(op)->flags & OP_MUTATES) != 0;
        op_count++;
    }
    return body_bytes <= body_limit(lane) && result_bytes <= result_limit(lane, mutates) &&
           op_count <= FRAME_OPS_MAX;
}

bool lane_chain_fits(const struct lane *lane, const struct op *first)
{
    return chain_fits(lane, NULL, first);
}

/* They were posted for frames that were longer. */
static void fail_chain(struct lane *lane)
{
    do {
        struct op *op = lane->posted_first;

        pop_posted(lane);
        op->issued = true;
        op->outcome = -EMSGSIZE;
        lane_finish_op(lane, op);
    } while (lane->posted_first && lane->posted_first->chained);
}

/* The same as issue_first for operations that must stand in one frame. */
static bool issue_chain(struct lane *lane, struct frame *frame)
{
    if (!chain_fits(lane, frame, lane->posted_first)) {
        if (frame->op_count > 0)
            lane_flush(lane);
        else
            fail_chain(lane);
        return true;
    }
    do {
        struct op *op = lane->posted_first;

        append(frame, op, op->line_count);
        pop_posted(lane);
    } while (lane->posted_first && lane->posted_first->chained);
    return true;
}

/* Puts as much of the first posted operation into the frame as fits. False: it has to wait. */
static bool issue_first(struct lane *lane)
{
    struct op *op = lane->posted_first;
    struct frame *frame = building(lane);
    uint32_t lines;

    if (!frame)
        return false;
    if (op->next && op->next->chained)
        return issue_chain(lane, frame);
    lines = room_for(lane, frame, op);
    if (lines == 0) {
        CHECK(frame->op_count > 0); /* every operation fits an empty frame: limits.h */
        lane_flush(lane);
        return true;
    }
    if (!may_join(lane, frame, op, lines)) {
        lane_flush(lane);
        return false;
    }
    append(frame, op, lines);
    if (op->issued)
        pop_posted(lane);
    return true;
}

/* What answered requests left undone goes first, under a new number. If an empty frame was begun, the number
 * is that one's: it is lower than any other we could take, and what joined the frame later would overtake. */
static void number_rests(struct lane *lane)
{
    for (unsigned i = 0; lane->rests > 0 && i < SESSION_SLOTS; i++) {
        struct frame *frame = lane->frames[i], *displaced;
        uint64_t seq;

        if (!frame->rest)
            continue;
        if (!lane->building && !window_open(&lane->window))
            return;
        seq = lane->building ? lane->building : lane->window.next_seq;
        displaced = lane_frame(lane, seq);
        if (displaced != frame && displaced->rest)
            continue; /* its own turn comes */
        lane->frames[i] = displaced;
        lane->frames[seq % SESSION_SLOTS] = frame;
        if (lane->building)
            lane->building = 0;
        else
            window_take(&lane->window);
        frame->seq = seq;
        frame->rest = false;
        lane->rests--;
        if (lane->order)
            order_barrier(lane->order, seq);
        lane_transmit(lane, frame);
    }
}

/* May a queue's part-filled frame wait for more? While enough is in flight whose answers come soon; and while
 * anything is, and the user has completions to take, since more will come of them. Else the frames of a user
 * who takes few at a time become as short as that, and stay so. What the server keeps waiting may take a
 * lease, and the frame itself is nothing that is answered before it leaves. */
static bool lets_wait(const struct lane *lane)
{
    const unsigned coming = lane->window.in_flight - lane->window.parked - (lane->building != 0);

    return coming >= (lane->untaken > 0 ? 1 : BATCH_FRAMES);
}

void lane_fill(struct lane *lane)
{
    if (lane->rests > 0) {
        lane_flush(lane); /* it has a lower number than the rests will get */
        number_rests(lane);
        if (lane->rests > 0)
            return;
    }
    while (lane->posted_first) {
        if (lane->posted_first->opcode == OP_FENCE) {
            if (!pass_fence(lane))
                return;
        } else if (!issue_first(lane)) {
            return;
        }
    }
    if (lane->kind != LANE_QUEUE || !lets_wait(lane)) {
        lane_flush(lane);
        lane_leave(lane);
    }
}

/* ---- sending ---- */

void lane_flush(struct lane *lane)
{
    struct frame *frame;

    if (!lane->building)
        return;
    frame = lane_frame(lane, lane->building);
    if (frame->op_count == 0)
        return; /* it keeps its number for the next operation */
    lane->building = 0;
    lane_transmit(lane, frame);
}

void lane_leave(struct lane *lane)
{
    link_note_error(lane, endpoint_flush(lane->endpoint));
}

static void write_header(struct frame *frame)
{
    struct body_header header = {
        .kind = BODY_REQUEST,
        .op_count = le16_of(frame->piece_ops),
        .seq = le64_of(frame->seq),
    };

    memcpy(frame->body, &header, sizeof(header));
}

/* A frame of a queue may wait for others while part-filled ones may. What is repeated goes alone: perhaps the
 * path loses bursts as a whole. */
static int hand_on(struct lane *lane, bool repeated, size_t frame_bytes)
{
    return lane->kind == LANE_QUEUE && !repeated && lets_wait(lane)
               ? endpoint_post(lane->endpoint, NULL, lane->sealed, frame_bytes)
               : endpoint_send(lane->endpoint, NULL, lane->sealed, frame_bytes);
}

void lane_transmit(struct lane *lane, struct frame *frame)
{
    uint64_t now_ns = clock_now_ns(); /* when it leaves: the round trip is measured from here */
    struct link *link = &lane->link;
    bool shorter = path_choose_piece(lane, frame), repeated = lane_was_sent(lane, frame);
    uint64_t counter;
    int frame_bytes;

    write_header(frame);
    frame_bytes = record_seal(&link->sealer, frame->body, frame->piece_bytes, lane->sealed, now_ns, &counter);
    if (frame_bytes < 0) {
        link->up = false; /* the nonces are used up: the link makes a new session */
        return;
    }
    if (shorter)
        frame->piece_counter = counter;
    if (link->asked_ns == 0)
        link->asked_ns = now_ns;
    window_sent(&lane->window, frame->seq, counter, now_ns);
    link_note_error(lane, hand_on(lane, repeated, (size_t)frame_bytes));
}

/* ---- answers ---- */

/* A part's work is over with `result`; the operation's is, once its last part is. */
static void end_part(struct lane *lane, struct part *part, int result, bool took_effect)
{
    struct op *op = part->op;

    part->op = NULL;
    if (!op)
        return;
    op->parts--;
    if (result && !op->outcome)
        op->outcome = result;
    op->part_done |= took_effect && (info_of(op)->flags & OP_MUTATES);
    if (op->outcome && !op->issued) { /* no use in sending the rest of it */
        CHECK(lane->posted_first == op);
        pop_posted(lane);
        op->issued = true;
    }
    if (op->issued && op->parts == 0)
        lane_finish_op(lane, op);
}

/* Does the answer have the shape the request calls for? */
static bool answer_fits(const struct frame *frame, const struct body_header *header, size_t value_bytes)
{
    unsigned done = le16_get(header->op_count);
    size_t expected = 0;

    if (done > frame->piece_ops || (header->status == STATUS_OK) != (done == frame->piece_ops))
        return false;
    if (done == frame->piece_ops)
        return value_bytes == frame->piece_result_bytes;
    for (unsigned i = 0; i < done; i++)
        expected += frame->parts[i].result_bytes;
    return value_bytes == expected;
}

/* A single line is worth its own copy: no call, no loop. */
static void copy_result(uint8_t *to, const uint8_t *from, size_t bytes)
{
    if (bytes == LINE_BYTES)
        memcpy(to, from, LINE_BYTES);
    else if (bytes > 0)
        memcpy(to, from, bytes);
}

/* The parts of a read may have been given at different times: the first of them counts. */
static void note_given(struct op *op, const struct body_header *header)
{
    uint16_t next = le16_get(header->snoop_next);

    if (!op->part_given || (int16_t)(next - op->snoop_next) < 0)
        op->snoop_next = next;
    op->given = header->granted && (op->given || !op->part_given);
    op->part_given = true;
}

/* Hands the values of the operations done to their owners. */
static void deliver(struct lane *lane, struct frame *frame, const struct body_header *header,
                    const uint8_t *values)
{
    unsigned done = le16_get(header->op_count);

    for (unsigned i = 0; i < done; i++) {
        struct part *part = &frame->parts[i];

        if (part->op && part->op->agent)
            note_given(part->op, header);
        if (part->op)
            copy_result((uint8_t *)part->op->result + (size_t)part->first_line * LINE_BYTES, values,
                        part->result_bytes);
        values += part->result_bytes;
        end_part(lane, part, 0, true);
    }
}

/* The first operations are over. Those behind them were not touched: they stay in the frame, which waits for
 * a new number. */
static void keep_rest(struct lane *lane, struct frame *frame, unsigned over)
{
    const uint8_t *at = frame->body + BODY_HEADER_BYTES, *end = frame->body + frame->body_bytes;
    unsigned left = frame->op_count - over;

    if (left == 0)
        return;
    for (unsigned i = 0; i < over; i++) {
        struct op_view skipped;
        int error = codec_read_op(&at, end, &skipped);

        CHECK(!error); /* we wrote it */
        frame->result_bytes -= skipped.result_bytes;
    }
    memmove(frame->body + BODY_HEADER_BYTES, at, (size_t)(end - at));
    memmove(frame->parts, frame->parts + over, left * sizeof(struct part));
    frame->body_bytes = BODY_HEADER_BYTES + (uint32_t)(end - at);
    frame->op_count = (uint16_t)left;
    frame->rest = true;
    lane->rests++;
}

void lane_answer(struct lane *lane, const uint8_t *body, size_t body_bytes, uint64_t now_ns)
{
    const uint8_t *values = body + BODY_HEADER_BYTES;
    struct body_header header;
    struct frame *frame;
    uint64_t seq;
    unsigned done;
    bool fits;

    memcpy(&header, body, sizeof(header));
    seq = le64_get(header.seq);
    if (!window_in_flight(&lane->window, seq))
        return; /* answered before: a repeat crossed the first answer */
    frame = lane_frame(lane, seq);
    fits = answer_fits(frame, &header, body_bytes - BODY_HEADER_BYTES);
    if (!path_takes_answer(frame, le64_get(header.echo), fits))
        return;
    if (!fits) {
        lane->broken = -EPROTO;
        return;
    }
    if (!window_answered(&lane->window, seq, le64_get(header.echo), now_ns))
        return;
    path_answered(lane, frame, now_ns);
    done = le16_get(header.op_count);
    deliver(lane, frame, &header, values);
    if (done < frame->piece_ops) {
        end_part(lane, &frame->parts[done++], status_to_errno(header.status),
                 header.status == STATUS_UNKNOWN);
        while (done < frame->op_count && frame->parts[done].chained)
            end_part(lane, &frame->parts[done++], -ECANCELED, false);
    }
    keep_rest(lane, frame, done);
}

void lane_fail_frame(struct lane *lane, struct frame *frame, int result)
{
    for (unsigned i = 0; i < frame->op_count; i++)
        end_part(lane, &frame->parts[i], result, result == -CXE_EUNKNOWN);
    frame->op_count = 0;
}

void lane_fail_mutations(struct lane *lane, struct frame *frame)
{
    for (unsigned i = 0; i < frame->op_count; i++)
        if (frame->parts[i].op && (info_of(frame->parts[i].op)->flags & OP_MUTATES))
            end_part(lane, &frame->parts[i], -CXE_EUNKNOWN, true);
    for (unsigned i = frame->op_count; i-- > 0;)
        if (!frame->parts[i].op)
            lane_drop_part(lane, frame, i);
    frame->mutates = false;
}

void lane_drop_part(struct lane *lane, struct frame *frame, unsigned index)
{
    const uint8_t *at = frame->body + BODY_HEADER_BYTES, *end = frame->body + frame->body_bytes;
    uint8_t *from = frame->body + BODY_HEADER_BYTES;
    struct op_view dropped;

    for (unsigned i = 0; i <= index; i++) {
        from = frame->body + (at - frame->body);
        CHECK(codec_read_op(&at, end, &dropped) == 0); /* we wrote it */
    }
    memmove(from, at, (size_t)(end - at));
    frame->body_bytes -= (uint32_t)(at - from);
    frame->result_bytes -= dropped.result_bytes;
    frame->op_count--;
    memmove(&frame->parts[index], &frame->parts[index + 1], (frame->op_count - index) * sizeof(struct part));
    if (frame->op_count > 0)
        return;
    frame->mutates = false;
    lane->rests -= frame->rest;
    frame->rest = false;
}
