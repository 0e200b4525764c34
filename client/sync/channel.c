/* channel.c - a bounded queue of items in a ring of cells; see cxe_sync.h
 *
 * Item number t lies in cell t mod items. A cell's first line begins with its state and an owner; both change
 * by one compare-and-swap:
 *
 *   EMPTY(t) --> PUSHING(t, sender) --> FULL(t) --> POPPING(t, receiver) --> EMPTY(t + items)
 *
 * The state is t * 4 + one of these, so that it only rises.
 *
 * C1  Numbers are claimed without gaps: a sender claims t only if all before t were claimed, since it comes
 *     there from a number that was, or from a hint, which is raised to t + 1 after t was claimed. The same
 *     holds for receivers.
 *
 * C2  A cell that is PUSHING or POPPING is changed by its owner only. So who does not know what became of
 *     its claim looks at the owner, and who was interrupted goes on where it was.
 *
 * C3  The first line of an item is written with FULL, after its other lines: who sees FULL sees it all.
 *
 * Who finds that its cell is not yet what it wants waits for the cell's state.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "cxe_sync.h"
#include "error.h"
#include "word.h"

#define CHANNEL_MAGIC 0x316e616863657863ull /* "cxechan1" */
#define CELLS_OFFSET  (3 * CXE_LINE_BYTES)
#define UNKNOWN_TRIES 3
#define INIT_BYTES    (1u << 20) /* as much of a channel is in memory while it is made */

/* Line 0. Lines 1 and 2 begin with the hints: where to push, where to pop. */
struct channel_header {
    uint64_t magic;
    uint64_t item_bytes;
    uint64_t items;
    uint64_t reserved[5];
};
_Static_assert(sizeof(struct channel_header) == CXE_LINE_BYTES, "the header is a line");

/* The first line of a cell. */
struct cell_line {
    struct word_pair claim;
    uint8_t item[CXE_CHANNEL_ITEM_LINE];
};
_Static_assert(sizeof(struct cell_line) == CXE_LINE_BYTES, "a cell's first line");

enum cell_state {
    CELL_EMPTY = 0,
    CELL_PUSHING = 1,
    CELL_FULL = 2,
    CELL_POPPING = 3,
};

/* Sending or receiving: which state it takes a cell from, and to. */
struct side {
    enum cell_state from;
    enum cell_state to;
    uint64_t hint_offset;
    uint64_t number; /* of the item that it is at; not claimed by others as far as we know */
    bool begun;      /* that number may be claimed by us: go on with it first */
    bool claimed;    /* it was, surely */
};

struct cxe_channel {
    struct cxe_region *region;
    uint64_t offset;
    uint64_t items;
    uint64_t owner; /* this handle; never 0 */
    uint32_t item_bytes;
    uint32_t cell_bytes;
    struct side push, pop;
    bool unsent;   /* the cell below holds an item whose push ended as unknown */
    bool received; /* the item of pop.number was handed to the caller; only its cell is not empty yet */
    struct cell_line cell[]; /* the cell being pushed: cell_bytes */
};

/* ---- layout ---- */

static uint32_t cell_bytes_of(uint64_t item_bytes)
{
    const uint64_t whole = sizeof(struct word_pair) + item_bytes;

    return (uint32_t)((whole + CXE_LINE_BYTES - 1) / CXE_LINE_BYTES * CXE_LINE_BYTES);
}

uint64_t cxe_channel_bytes(uint32_t item_bytes, uint32_t items)
{
    return CELLS_OFFSET + (uint64_t)cell_bytes_of(item_bytes) * items;
}

static uint64_t cell_state(uint64_t number, enum cell_state state)
{
    return number * 4 + state;
}

static uint64_t cell_offset(const struct cxe_channel *channel, uint64_t number)
{
    return channel->offset + CELLS_OFFSET + number % channel->items * channel->cell_bytes;
}

/* ---- making, opening ---- */

static int check_shape(uint64_t item_bytes, uint64_t items)
{
    if (item_bytes < 1 || item_bytes > CXE_CHANNEL_ITEM_MAX || items < 1 || items > CXE_CHANNEL_ITEMS_MAX)
        return fail(-EINVAL, "a channel for %llu items of %llu bytes: expected 1 to %u of 1 to %u",
                    (unsigned long long)items, (unsigned long long)item_bytes, CXE_CHANNEL_ITEMS_MAX,
                    CXE_CHANNEL_ITEM_MAX);
    return 0;
}

static int write_empty_cells(struct cxe_region *region, uint64_t offset, uint32_t cell_bytes, uint32_t items)
{
    const uint32_t most = cell_bytes < INIT_BYTES ? INIT_BYTES / cell_bytes : 1;
    uint8_t *cells = calloc(most, cell_bytes);
    int error = cells ? 0 : fail(-ENOMEM, "not enough memory to make a channel");

    for (uint32_t first = 0, count; !error && first < items; first += count) {
        count = items - first < most ? items - first : most;
        for (uint32_t i = 0; i < count; i++) {
            const struct word_pair claim = {cell_state(first + i, CELL_EMPTY), 0};

            memcpy(cells + (size_t)i * cell_bytes, &claim, sizeof(claim));
        }
        error = cxe_write(region, offset + (uint64_t)first * cell_bytes, cells, (size_t)count * cell_bytes);
    }
    free(cells);
    return error;
}

/* The header comes last. */
int cxe_channel_init(struct cxe_region *region, uint64_t offset, uint32_t item_bytes, uint32_t items)
{
    const struct channel_header head[3] = {
        {.magic = CHANNEL_MAGIC, .item_bytes = item_bytes, .items = items}};
    int error = check_shape(item_bytes, items);

    if (!error)
        error = word_check(region, offset, cxe_channel_bytes(item_bytes, items));
    if (!error)
        error = write_empty_cells(region, offset + CELLS_OFFSET, cell_bytes_of(item_bytes), items);
    return error ? error : cxe_write(region, offset, head, sizeof(head));
}

static int read_header(struct cxe_region *region, uint64_t offset, struct channel_header *header)
{
    int error = word_check(region, offset, sizeof(*header));

    if (!error)
        error = cxe_read(region, offset, header, sizeof(*header));
    if (error)
        return error;
    if (header->magic != CHANNEL_MAGIC || check_shape(header->item_bytes, header->items))
        return fail(-EINVAL, "there is no channel at offset %llu", (unsigned long long)offset);
    return word_check(region, offset,
                      cxe_channel_bytes((uint32_t)header->item_bytes, (uint32_t)header->items));
}

int cxe_channel_open(struct cxe_region *region, uint64_t offset, struct cxe_channel **channel_out)
{
    struct channel_header header;
    struct cxe_channel *channel;
    int error = read_header(region, offset, &header);

    if (error)
        return error;
    channel = calloc(1, sizeof(*channel) + cell_bytes_of(header.item_bytes));
    if (!channel)
        return fail(-ENOMEM, "not enough memory for a channel");
    if (getrandom(&channel->owner, sizeof(channel->owner), 0) != sizeof(channel->owner)) {
        free(channel);
        return fail(-ENOSYS, "no source of random numbers");
    }
    channel->owner |= 1;
    channel->region = region;
    channel->offset = offset;
    channel->items = header.items;
    channel->item_bytes = (uint32_t)header.item_bytes;
    channel->cell_bytes = cell_bytes_of(header.item_bytes);
    channel->push = (struct side){CELL_EMPTY, CELL_PUSHING, .hint_offset = offset + CXE_LINE_BYTES};
    channel->pop = (struct side){CELL_FULL, CELL_POPPING, .hint_offset = offset + 2 * CXE_LINE_BYTES};
    *channel_out = channel;
    return 0;
}

uint32_t cxe_channel_item_bytes(const struct cxe_channel *channel)
{
    return channel->item_bytes;
}

/* ---- claiming a cell ---- */

/* By C2 a change whose outcome is unknown can be made again. */
static int change_claim(struct cxe_channel *channel, uint64_t number, const struct word_pair *expected,
                        const struct word_pair *desired, struct word_pair *old_out)
{
    int error = -CXE_EUNKNOWN;

    for (unsigned try = 0; error == -CXE_EUNKNOWN && try < UNKNOWN_TRIES; try++)
        error = word_cas_pair(channel->region, cell_offset(channel, number), expected, desired, old_out);
    return error;
}

static bool same(const struct word_pair *a, const struct word_pair *b)
{
    return a->state == b->state && a->owner == b->owner;
}

/* Others were here: on to what the hint says, or the next number. */
static int catch_up(struct cxe_channel *channel, struct side *side)
{
    uint64_t hint;
    int error = word_read(channel->region, side->hint_offset, &hint);

    if (!error)
        side->number = hint > side->number ? hint : side->number + 1;
    return error;
}

/* Until a cell is ours: that of side->number. -ETIMEDOUT: none is, unless side->begun. */
static int claim(struct cxe_channel *channel, struct side *side, uint64_t deadline_ns)
{
    int error = 0;

    while (!error) {
        const struct word_pair wanted = {cell_state(side->number, side->from), 0};
        const struct word_pair ours = {cell_state(side->number, side->to), channel->owner};
        struct word_pair seen;

        side->begun = true;
        side->claimed = false;
        error = change_claim(channel, side->number, &wanted, &ours, &seen);
        if (error)
            break;
        side->claimed = same(&seen, &wanted) || same(&seen, &ours);
        if (side->claimed)
            return 0;
        side->begun = false;
        error = seen.state > wanted.state ? catch_up(channel, side)
                                          : word_wait(channel->region, cell_offset(channel, side->number),
                                                      seen.state, deadline_ns, &seen.state);
    }
    return error;
}

/* What was begun by a call that failed: is the cell ours? It is not if the claim never was made, or if all
 * was done after it. */
static int look_at_claim(struct cxe_channel *channel, struct side *side, bool *ours_out)
{
    const struct word_pair ours = {cell_state(side->number, side->to), channel->owner};
    struct cell_line line;
    int error = cxe_read(channel->region, cell_offset(channel, side->number), &line, sizeof(line));

    if (error)
        return error;
    *ours_out = same(&line.claim, &ours);
    side->begun = *ours_out;
    side->claimed |= *ours_out;
    return 0;
}

/* Tells others, who may be far behind, then goes on. If they are not told they find out one by one. */
static void finish(struct cxe_channel *channel, struct side *side)
{
    uint64_t ignored;

    side->number++;
    side->begun = side->claimed = false;
    cxe_fetch(channel->region, CXE_FETCH_MAX, side->hint_offset, sizeof(side->number), &side->number,
              &ignored);
}

/* ---- pushing ---- */

/* Writes the cell that is claimed; see C3. Repeated by who does not know, if the cell is still claimed. */
static int publish(struct cxe_channel *channel)
{
    const uint64_t offset = cell_offset(channel, channel->push.number);
    int error = 0;

    channel->cell->claim = (struct word_pair){cell_state(channel->push.number, CELL_FULL), 0};
    if (channel->cell_bytes > CXE_LINE_BYTES)
        error = cxe_write(channel->region, offset + CXE_LINE_BYTES, channel->cell + 1,
                          channel->cell_bytes - CXE_LINE_BYTES);
    if (!error)
        error = cxe_write(channel->region, offset, channel->cell, CXE_LINE_BYTES);
    if (!error)
        finish(channel, &channel->push);
    return error;
}

static int send_cell(struct cxe_channel *channel, uint64_t deadline_ns)
{
    int error = claim(channel, &channel->push, deadline_ns);

    return error ? error : publish(channel);
}

/* Sends the item of an earlier push that ended as unknown, unless all was done but hearing of it. */
static int settle_push(struct cxe_channel *channel, uint64_t deadline_ns)
{
    const bool was_claimed = channel->push.claimed;
    bool ours = false;
    int error = 0;

    if (!channel->unsent)
        return 0;
    if (channel->push.begun)
        error = look_at_claim(channel, &channel->push, &ours);
    if (!error && ours)
        error = publish(channel);
    else if (!error && !was_claimed)
        error = send_cell(channel, deadline_ns);
    channel->unsent = error != 0;
    return error ? fail(error == -CXE_EUNKNOWN ? -ETIMEDOUT : error,
                        "an item that this handle pushed before could not be sent yet")
                 : 0;
}

int cxe_channel_push(struct cxe_channel *channel, const void *item, uint64_t timeout_ns)
{
    const uint64_t deadline_ns = word_deadline_ns(timeout_ns);
    int error = settle_push(channel, deadline_ns);

    if (error)
        return error;
    memcpy((uint8_t *)channel->cell + sizeof(struct word_pair), item, channel->item_bytes);
    error = send_cell(channel, deadline_ns);
    channel->unsent = error && channel->push.begun;
    return channel->unsent
               ? fail(-CXE_EUNKNOWN, "the item may have its place in the channel and not be there")
               : error;
}

/* ---- popping ---- */

static int read_item(struct cxe_channel *channel, uint8_t *item)
{
    const uint64_t offset = cell_offset(channel, channel->pop.number);
    const size_t in_line =
        channel->item_bytes < CXE_CHANNEL_ITEM_LINE ? channel->item_bytes : CXE_CHANNEL_ITEM_LINE;
    const size_t beyond = channel->item_bytes - in_line, lines_bytes = beyond - beyond % CXE_LINE_BYTES;
    uint8_t line[CXE_LINE_BYTES];
    int error = cxe_read(channel->region, offset, line, sizeof(line));

    if (!error)
        memcpy(item, line + sizeof(struct word_pair), in_line);
    if (!error && lines_bytes > 0)
        error = cxe_read(channel->region, offset + CXE_LINE_BYTES, item + in_line, lines_bytes);
    if (!error && beyond > lines_bytes) {
        error = cxe_read(channel->region, offset + CXE_LINE_BYTES + lines_bytes, line, sizeof(line));
        if (!error)
            memcpy(item + in_line + lines_bytes, line, beyond - lines_bytes);
    }
    return error;
}

/* Gives the cell back to those who push. */
static int empty_cell(struct cxe_channel *channel)
{
    const uint64_t number = channel->pop.number;
    const struct word_pair ours = {cell_state(number, CELL_POPPING), channel->owner};
    const struct word_pair empty = {cell_state(number + channel->items, CELL_EMPTY), 0};
    struct word_pair ignored;
    int error = change_claim(channel, number, &ours, &empty, &ignored);

    if (error)
        return error;
    channel->received = false;
    finish(channel, &channel->pop);
    return 0;
}

/* An item that an earlier pop handed over leaves its cell; one that it did not is still ours to receive. */
static int settle_pop(struct cxe_channel *channel)
{
    bool ours;

    if (!channel->pop.begun)
        return 0;
    return channel->received ? empty_cell(channel) : look_at_claim(channel, &channel->pop, &ours);
}

int cxe_channel_pop(struct cxe_channel *channel, void *item_out, uint64_t timeout_ns)
{
    const uint64_t deadline_ns = word_deadline_ns(timeout_ns);
    int error = settle_pop(channel);

    if (!error && !channel->pop.begun)
        error = claim(channel, &channel->pop, deadline_ns);
    if (!error)
        error = read_item(channel, item_out);
    if (error)
        return error;
    channel->received = true;
    empty_cell(channel); /* if it fails, our next call does it */
    return 0;
}

int cxe_channel_close(struct cxe_channel *channel)
{
    int error = settle_push(channel, 0);

    if (!error)
        error = settle_pop(channel);
    if (!error && channel->pop.begun)
        error = fail(-EBUSY, "an item was taken out of the channel and not received: pop again");
    if (error && error != -ESTALE)
        return error;
    free(channel);
    return 0;
}
