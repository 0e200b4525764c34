/* lane_open.c - a lane's memory, its endpoint and its first session */
#include <errno.h>
#include <sys/mman.h>

#include "lane_internal.h"

static int map_frames(struct lane *lane)
{
    lane->frame_memory = mmap(NULL, SESSION_SLOTS * sizeof(struct frame), PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (lane->frame_memory == MAP_FAILED)
        return -ENOMEM;
    madvise(lane->frame_memory, SESSION_SLOTS * sizeof(struct frame), MADV_DONTDUMP);
    for (unsigned i = 0; i < SESSION_SLOTS; i++)
        lane->frames[i] = &lane->frame_memory[i];
    return 0;
}

static struct lane *map_lane(void)
{
    struct lane *lane = mmap(NULL, sizeof(*lane), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (lane == MAP_FAILED)
        return NULL;
    madvise(lane, sizeof(*lane), MADV_DONTDUMP); /* keys and the user's data */
    return lane;
}

/* What a handshake that did not succeed came to. */
static int link_verdict(const struct lane *lane)
{
    if (lane->link.refused)
        return lane->link.refused;
    if (lane->broken)
        return lane->broken;
    return lane->link.cookie_seen ? -EKEYREJECTED : -ETIMEDOUT;
}

int lane_open(struct cxe_connection *connection, enum lane_kind kind, uint64_t deadline_ns,
              struct lane **lane_out)
{
    struct lane *lane = map_lane();
    int error;

    if (!lane)
        return -ENOMEM;
    lane->connection = connection;
    lane->kind = kind;
    window_init(&lane->window);
    error = map_frames(lane);
    if (!error && kind == LANE_QUEUE)
        error = order_open(&lane->order);
    if (!error)
        error = transport_connect(connection->transport, &connection->server,
                                  connection->fault[0] ? connection->fault : NULL, &lane->endpoint);
    if (error)
        goto close_lane;
    lane_settle(lane, deadline_ns);
    if (!lane->link.up) {
        error = link_verdict(lane);
        goto close_lane;
    }
    *lane_out = lane;
    return 0;
close_lane:
    lane_close(lane, false);
    return error;
}

void lane_close(struct lane *lane, bool tell)
{
    if (!lane)
        return;
    if (tell)
        link_close(lane);
    link_linger(lane, false);
    endpoint_close(lane->endpoint);
    order_close(lane->order);
    if (lane->frame_memory && lane->frame_memory != MAP_FAILED)
        munmap(lane->frame_memory, SESSION_SLOTS * sizeof(struct frame));
    sodium_memzero(&lane->link, sizeof(lane->link));
    munmap(lane, sizeof(*lane));
}

/* A frame that is free may still tell the number it had, in another slot. */
static bool piece_valid(const struct lane *lane, const struct frame *frame)
{
    if (lane->frames[frame->seq % SESSION_SLOTS] != frame)
        return true;
    if (frame->rest || !window_in_flight(&lane->window, frame->seq) || !lane_was_sent(lane, frame))
        return true;
    return frame->piece_ops > 0 && frame->piece_ops <= frame->op_count &&
           frame->piece_bytes <= frame->body_bytes;
}

bool lane_valid(const struct lane *lane)
{
    unsigned posted = 0, rests = 0;

    for (const struct op *op = lane->posted_first; op; op = op->next) {
        posted++;
        if (op->issued || (op != lane->posted_first && op->issued_lines > 0)) /* L4 */
            return false;
    }
    for (unsigned i = 0; i < SESSION_SLOTS; i++) {
        rests += lane->frames[i]->rest;
        if (!piece_valid(lane, lane->frames[i])) /* L6 */
            return false;
    }
    if (lane->building && !window_in_flight(&lane->window, lane->building)) /* L1 */
        return false;
    return posted <= lane->busy && rests == lane->rests && window_valid(&lane->window);
}
