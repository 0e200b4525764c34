/* lane.c - who holds a lane, and how an operation is posted, awaited and taken back */
#include "lane.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <time.h>

#include "atomic.h"
#include "check.h"
#include "clock.h"
#include "lane_internal.h"
#include "least.h"

#define LANE_SPIN_NS   (50 * NS_PER_US)  /* look for the answer so long: a wake-up costs more than that */
#define LANE_ALONE_NS  (8 * NS_PER_US)   /* and so long of it without offering the core to others */
#define LANE_SHARE_NS  (150 * NS_PER_US) /* of the core, for who waits, if another of us streams */
#define LANE_REST_NS   (100 * NS_PER_MS) /* unused for so long: hear first what the server said meanwhile */
#define LANE_SLEEP_NS  (100 * NS_PER_MS) /* at most: an ofi descriptor may miss an event */
#define LOCK_SPINS     200
#define POLLS          8
#define RECEIVE_FRAMES 32 /* at most, in one step */

/* ---- holding ---- */

bool lane_hold_try(struct lane *lane)
{
    uint32_t free = 0;

    return load_relaxed(&lane->held) == 0 && cas_acquire(&lane->held, &free, 1); /* pairs with lane_release */
}

void lane_hold(struct lane *lane)
{
    const struct timespec moment = {.tv_nsec = 20 * (long)NS_PER_US};

    while (!lane_hold_try(lane)) /* spinning would take the core from the one who has it */
        nanosleep(&moment, NULL);
}

void lane_release(struct lane *lane)
{
    store_release(&lane->held, 0);
}

/* Threads start looking at different lanes and come back to the same one. Thread-local storage would do, but
 * its first use may allocate, and this runs in signal handlers; where the stack lies tells threads apart as
 * well. */
static unsigned favourite_lane(const struct cxe_connection *connection)
{
    uint64_t stack = (uint64_t)(uintptr_t)__builtin_frame_address(0) >> 20;

    return (unsigned)((stack * 0x9E3779B97F4A7C15u) >> 32) % connection->lane_count;
}

static struct lane *acquire_try(struct cxe_connection *connection)
{
    unsigned first = favourite_lane(connection);

    for (unsigned i = 0; i < connection->lane_count; i++) {
        struct lane *lane = connection->lanes[(first + i) % connection->lane_count];

        if (lane_hold_try(lane))
            return lane;
    }
    return NULL;
}

struct lane *lane_acquire(struct cxe_connection *connection)
{
    for (unsigned rounds = 0;; rounds++) {
        struct lane *lane = acquire_try(connection);

        if (lane)
            return lane;
        if (rounds < LOCK_SPINS)
            cpu_relax();
        else
            sched_yield();
    }
}

void lane_offer_core(struct cxe_connection *connection)
{
    unsigned held = 0;

    for (unsigned i = 0; i < connection->lane_count; i++)
        held |= load_relaxed(&connection->lanes[i]->held);
    if (!held)
        return;
    fetch_add_relaxed(&connection->offering, 1u);
    sched_yield();
    fetch_sub_relaxed(&connection->offering, 1u);
}

/* ---- operations ---- */

static void append_posted(struct lane *lane, struct op *op)
{
    op->next = NULL;
    if (lane->posted_last)
        lane->posted_last->next = op;
    else
        lane->posted_first = op;
    lane->posted_last = op;
}

static void prepare(struct op *op, bool chained)
{
    op->finished = false;
    op->outcome = 0;
    op->issued_lines = 0;
    op->parts = 0;
    op->issued = false;
    op->part_done = false;
    op->given = op->part_given = false;
    op->chained = chained;
}

void lane_post(struct lane *lane, struct op *op)
{
    prepare(op, false);
    lane->busy++;
    append_posted(lane, op);
    /* A queue's operations go into frames at once, since their operands are the caller's again when it
     * returns. */
    if (lane->kind == LANE_QUEUE && lane->posted_first == op && lane_sends(lane) && !lane->broken) {
        if (lane->busy == 1)
            lane_push(lane);
        else
            lane_fill(lane);
    }
}

int lane_post_together(struct lane *lane, struct op *ops, unsigned count)
{
    CHECK(count > 0 && !lane->order);
    for (unsigned i = 0; i < count; i++) {
        prepare(&ops[i], i > 0);
        ops[i].next = i + 1 < count ? &ops[i + 1] : NULL;
    }
    if (!lane_chain_fits(lane, ops))
        return -EMSGSIZE;
    for (unsigned i = 0; i < count; i++)
        append_posted(lane, &ops[i]);
    lane->busy += count;
    return 0;
}

void lane_finish_op(struct lane *lane, struct op *op)
{
    if (op->outcome && op->part_done)
        op->outcome = -CXE_EUNKNOWN; /* some of it took effect, the rest did not: neither done nor not done */
    op->finished = true;
    lane->busy--;
    lane->completed++;
    if (op->done)
        op->done(op, op->outcome);
}

static void unlink_posted(struct lane *lane, struct op *op)
{
    struct op *before = NULL;

    for (struct op *at = lane->posted_first; at; before = at, at = at->next) {
        if (at != op)
            continue;
        if (before)
            before->next = op->next;
        else
            lane->posted_first = op->next;
        if (lane->posted_last == op)
            lane->posted_last = before;
        return;
    }
}

/* Takes the operation's parts out of the frames that were never sent. Those that were cannot be changed any
 * more: there the part only loses its owner. Returns how many these are. */
static unsigned disown_parts(struct lane *lane, struct op *op)
{
    unsigned sent = 0;

    for (unsigned i = 0; op->parts > 0 && i < SESSION_SLOTS; i++) {
        struct frame *frame = lane->frames[i];

        for (unsigned j = frame->op_count; j-- > 0;) {
            if (frame->parts[j].op != op)
                continue;
            op->parts--;
            frame->parts[j].op = NULL;
            if (lane_was_sent(lane, frame))
                sent++;
            else
                lane_drop_part(lane, frame, j);
        }
    }
    CHECK(op->parts == 0);
    return sent;
}

int lane_cancel(struct lane *lane, struct op *op)
{
    bool mutates = op_infos[op->opcode].flags & OP_MUTATES;
    unsigned sent;

    CHECK(!op->finished);
    if (!op->issued)
        unlink_posted(lane, op);
    sent = disown_parts(lane, op);
    if (mutates && sent > 0) { /* repeated later, it could undo what its owner does next */
        link_linger(lane, true);
        link_close(lane);
    }
    op->finished = true;
    op->outcome = mutates && (sent > 0 || op->part_done) ? -CXE_EUNKNOWN : -ETIMEDOUT;
    lane->busy--;
    return op->outcome;
}

unsigned lane_busy(const struct lane *lane)
{
    return lane->busy;
}

uint64_t lane_silence_ns(const struct lane *lane)
{
    uint64_t now_ns = clock_now_ns(), asked_ns = lane->link.asked_ns;

    return lane->busy > 0 && asked_ns != 0 && now_ns > asked_ns ? now_ns - asked_ns : 0;
}

unsigned lane_frame_lines(const struct lane *lane)
{
    return (unsigned)((lane->frame_bytes - RECORD_OVERHEAD - BODY_HEADER_BYTES - OP_HEADER_BYTES) /
                      LINE_BYTES);
}

/* ---- progress ---- */

static void take_snoops(struct lane *lane, const uint8_t *body, size_t body_bytes)
{
    const struct wire_bi_snp *snoops;
    int count = codec_read_snoops(body, body_bytes, &snoops);

    if (count < 0 || !lane->heard)
        return;
    lane->snooped++;
    lane->heard(lane->listener, snoops, (unsigned)count);
}

static void take_data(struct lane *lane, size_t frame_bytes, uint64_t now_ns)
{
    uint8_t *body = lane->received + RECORD_HEADER_BYTES;
    int body_bytes;

    if (le32_get(((struct record_header *)lane->received)->receiver) != lane->link.session)
        return;
    body_bytes = record_open(&lane->link.opener, lane->received, frame_bytes, now_ns, NULL);
    if (body_bytes < 0 || codec_check_body(body, (size_t)body_bytes) < 0)
        return; /* damaged or forged: as good as lost */
    switch ((enum body_kind)body[0]) {
    case BODY_RESPONSE:
        lane_answer(lane, body, (size_t)body_bytes, now_ns);
        break;
    case BODY_CLOSE:
        link_closed(lane, le64_get(((const struct body_header *)body)->seq));
        break;
    case BODY_BISNP:
        take_snoops(lane, body, (size_t)body_bytes);
        break;
    case BODY_PENDING:
        window_parked(&lane->window, le64_get(((const struct body_header *)body)->seq), now_ns);
        path_parked(lane);
        break;
    case BODY_PING:
    case BODY_PONG:
    case BODY_REQUEST:
        break;
    }
    link_heard(lane, now_ns); /* last: does the lane still wait for an answer? */
}

static bool receive_one(struct lane *lane)
{
    int bytes = endpoint_receive(lane->endpoint, lane->received, sizeof(lane->received), NULL);
    const struct record_header *header = (const struct record_header *)lane->received;

    if (bytes < 0)
        link_note_error(lane, bytes);
    if (bytes < (int)sizeof(*header))
        return bytes > 0;
    if (header->magic != WIRE_MAGIC || header->version != WIRE_VERSION)
        return true;
    if (header->type == RECORD_DATA)
        take_data(lane, (size_t)bytes, clock_now_ns());
    else
        link_handshake_frame(lane, lane->received, (size_t)bytes, clock_now_ns());
    return true;
}

/* Is there anything to hear? Looking for more costs a system call, so the last answer ends the search. */
static bool awaits_frame(const struct lane *lane)
{
    return lane_asks(lane) || lane->heard || !lane_sends(lane) || !lane->link.confirmed;
}

/* Takes what has arrived. True if anything had. */
static bool take_frames(struct lane *lane)
{
    unsigned frames = 0;

    lane_leave(lane);
    while (frames < RECEIVE_FRAMES && awaits_frame(lane) && receive_one(lane))
        frames++;
    return frames > 0;
}

/* The same whether or not anything is awaited. */
static void take_waiting(struct lane *lane)
{
    for (unsigned frames = 0; frames < RECEIVE_FRAMES && receive_one(lane); frames++)
        ;
}

static void repeat_overdue(struct lane *lane, uint64_t now_ns)
{
    uint64_t seq;

    while (lane->link.up && (seq = window_overdue(&lane->window, now_ns)) != 0)
        path_repeat(lane, lane_frame(lane, seq), now_ns);
}

/* The peer does not speak our protocol: nothing that is in flight can be trusted to be anything. */
static void fail_everything(struct lane *lane)
{
    for (unsigned i = 0; i < SESSION_SLOTS; i++) {
        if (lane->frames[i]->mutates && lane_was_sent(lane, lane->frames[i]))
            lane_fail_mutations(lane, lane->frames[i]);
        lane_fail_frame(lane, lane->frames[i], lane->broken);
    }
    while (lane->posted_first) {
        struct op *op = lane->posted_first;

        unlink_posted(lane, op);
        op->outcome = op->outcome ? op->outcome : lane->broken;
        op->issued = true;
        lane_finish_op(lane, op);
    }
}

static bool rested(const struct lane *lane, uint64_t now_ns)
{
    return lane->link.asked_ns == 0 && now_ns > lane->link.heard_ns + LANE_REST_NS;
}

/* Whatever is due, and what the window now has room for. */
static void upkeep(struct lane *lane, uint64_t now_ns)
{
    if (lane->broken) {
        fail_everything(lane);
        return;
    }
    if (lane->posted_first && rested(lane, now_ns))
        take_waiting(lane); /* a CLOSE, perhaps: what is sent after it is lost, and nobody can tell */
    link_tick(lane, now_ns);
    path_tick(lane, now_ns);
    if (lane->link.up)
        repeat_overdue(lane, now_ns);
    if (lane_sends(lane))
        lane_fill(lane);
    lane_leave(lane);
}

unsigned lane_progress(struct lane *lane)
{
    lane->completed = 0;
    lane->snooped = 0;
    take_frames(lane);
    upkeep(lane, clock_now_ns());
    return lane->completed;
}

/* ---- waiting ---- */

/* When there is something to do, if no frame comes before. Without a session nothing is repeated. */
static uint64_t next_due_ns(const struct lane *lane, uint64_t now_ns)
{
    uint64_t due_ns = least(link_next_ns(lane, now_ns), now_ns + LANE_SLEEP_NS);

    if (lane->link.up)
        due_ns = least(due_ns, window_next_due_ns(&lane->window));
    return lane->endpoint_lost ? least(due_ns, lane->reconnect_ns) : due_ns;
}

/* Sleeps until a frame comes or something is due. True: `wake_fd` (-1: none) is readable. */
static bool sleep_for_frame(struct lane *lane, uint64_t deadline_ns, int wake_fd)
{
    struct pollfd readable[2] = {
        {.fd = lane->endpoint->fd, .events = POLLIN},
        {.fd = wake_fd, .events = POLLIN},
    };
    uint64_t now_ns = clock_now_ns();
    uint64_t wake_ns = least(deadline_ns, next_due_ns(lane, now_ns));
    struct timespec timeout;

    if (lane->endpoint_lost)
        readable[0].fd = -1; /* nothing comes from there any more, and some descriptors then never rest */
    if (wake_ns <= now_ns || (!lane->endpoint_lost && endpoint_arm(lane->endpoint) < 0))
        wake_ns = now_ns;
    timeout.tv_sec = (time_t)((wake_ns - now_ns) / NS_PER_S);
    timeout.tv_nsec = (long)((wake_ns - now_ns) % NS_PER_S);
    return ppoll(readable, 2, &timeout, NULL) > 0 && readable[1].revents != 0;
}

void lane_push(struct lane *lane)
{
    if (lane->posted_first)
        upkeep(lane, clock_now_ns());
}

bool lane_is_fit(const struct lane *lane)
{
    return !lane->endpoint_lost;
}

/* What it waits for takes long, or comes when it comes; and whoever is to send it may need this very core.
 * Who listens and has sent an answer to a snoop stays up for the server's, though: to be woken for that would
 * take the core from the one who wanted the page, and cost more. */
static bool sleeps_at_once(const struct lane *lane)
{
    return lane->kind == LANE_WAITING || (lane->kind == LANE_LISTENING && lane->busy == 0);
}

/* Is somebody waiting for what this lane brings? Else its thread gives way to others. */
static bool urgent(const struct lane *lane)
{
    return lane->kind == LANE_PLAIN || lane->kind == LANE_QUEUE;
}

/* Looks for frames a few times: most of the waiting is done here, so nothing else is. */
static bool poll_frames(struct lane *lane)
{
    for (unsigned polls = urgent(lane) ? POLLS : 1; polls; polls--) {
        if (take_frames(lane))
            return true;
        cpu_relax();
    }
    return false;
}

/* After a moment, since who is to answer, or to give a page up first, may need this very core. A thread of
 * our own that streams pages gave it to us (lane_offer_core), and gets it back after its turn: not each time
 * the server takes longer because it serves that very stream. */
static bool offers_core(const struct lane *lane, uint64_t heard_ns, uint64_t now_ns)
{
    if (load_relaxed(&lane->connection->offering))
        return now_ns >= lane->give_way.back_ns + LANE_SHARE_NS;
    return !urgent(lane) || now_ns >= heard_ns + LANE_ALONE_NS;
}

/* What to do until a frame comes, `heard_ns` being when one came last: look again, offer the core to others
 * now and then, and at last sleep. True: `wake_fd` is readable. */
static bool pass_time(struct lane *lane, uint64_t heard_ns, uint64_t now_ns, uint64_t deadline_ns,
                      int wake_fd)
{
    if (sleeps_at_once(lane) || now_ns >= heard_ns + LANE_SPIN_NS)
        return sleep_for_frame(lane, deadline_ns, wake_fd);
    if (offers_core(lane, heard_ns, now_ns))
        give_way(&lane->give_way, now_ns);
    return false;
}

/* Progresses until *done, the deadline (-ETIMEDOUT), or until `wake_fd` (-1: none) is readable (-EINTR). */
static int wait_until(struct lane *lane, bool (*done)(struct lane *, const void *), const void *what,
                      uint64_t deadline_ns, int wake_fd)
{
    uint64_t now_ns = clock_now_ns(), heard_ns = now_ns;

    lane->completed = 0;
    lane->snooped = 0;
    if (lane->posted_first)
        upkeep(lane, now_ns);
    for (;;) {
        bool heard = poll_frames(lane);

        if (!lane->broken && done(lane, what)) {
            if (lane->posted_first && lane_sends(lane))
                lane_fill(lane); /* the answer made room */
            return 0;
        }
        now_ns = clock_now_ns();
        upkeep(lane, now_ns);
        if (done(lane, what))
            return 0;
        if (now_ns >= deadline_ns)
            return -ETIMEDOUT;
        if (heard)
            heard_ns = now_ns;
        if (pass_time(lane, heard_ns, now_ns, deadline_ns, wake_fd))
            return -EINTR;
    }
}

static bool op_finished(struct lane *lane, const void *op)
{
    (void)lane;
    return ((const struct op *)op)->finished;
}

static bool idle(struct lane *lane, const void *nothing)
{
    (void)nothing;
    return lane->busy == 0;
}

static bool link_settled(struct lane *lane, const void *nothing)
{
    (void)nothing;
    return (lane->link.up && lane->link.confirmed) || lane->link.refused || lane->broken;
}

void lane_settle(struct lane *lane, uint64_t deadline_ns)
{
    wait_until(lane, link_settled, NULL, deadline_ns, -1);
}

static bool any_completed(struct lane *lane, const void *count)
{
    (void)count;
    return lane->completed > 0 || lane->busy == 0;
}

static bool anything_heard(struct lane *lane, const void *nothing)
{
    (void)nothing;
    return lane->completed > 0 || lane->snooped > 0;
}

int lane_wait(struct lane *lane, struct op *op, uint64_t deadline_ns)
{
    int error = wait_until(lane, op_finished, op, deadline_ns, -1);

    return error ? error : op->outcome;
}

int lane_wait_any(struct lane *lane, uint64_t deadline_ns)
{
    return wait_until(lane, any_completed, NULL, deadline_ns, -1);
}

int lane_drain(struct lane *lane, uint64_t deadline_ns)
{
    return wait_until(lane, idle, NULL, deadline_ns, -1);
}

void lane_listen(struct lane *lane,
                 void (*heard)(void *context, const struct wire_bi_snp *snoops, unsigned count),
                 void *context)
{
    CHECK(lane->kind == LANE_LISTENING);
    lane->heard = heard;
    lane->listener = context;
}

int lane_listen_wait(struct lane *lane, uint64_t deadline_ns, int wake_fd)
{
    return wait_until(lane, anything_heard, NULL, deadline_ns, wake_fd);
}

uint32_t lane_session(const struct lane *lane)
{
    return lane->link.session;
}

int lane_run(struct lane *lane, struct op *op, uint64_t deadline_ns)
{
    int outcome;

    lane_post(lane, op);
    outcome = lane_wait(lane, op, deadline_ns);
    return op->finished ? outcome : lane_cancel(lane, op);
}

/* ---- what was cancelled ---- */

static bool outlived(struct lane *lane, const void *nothing)
{
    (void)nothing;
    return !lane->lingers || lane->broken;
}

static int outlive_held(struct lane *lane, uint64_t deadline_ns)
{
    int error = lane->lingers ? wait_until(lane, outlived, NULL, deadline_ns, -1) : 0;

    return error ? error : lane->broken;
}

/* Who holds it makes another session, too, if he waits for anything. */
static int outlive(struct lane *lane, uint64_t deadline_ns)
{
    const struct timespec moment = {.tv_nsec = 100 * (long)NS_PER_US};

    while (load_acquire(&lane->lingers)) {
        if (lane_hold_try(lane)) {
            int error = outlive_held(lane, deadline_ns);

            lane_release(lane);
            if (error)
                return error;
        } else if (clock_now_ns() >= deadline_ns) {
            return -ETIMEDOUT;
        } else {
            nanosleep(&moment, NULL);
        }
    }
    return 0;
}

int lane_outlive(struct cxe_connection *connection, struct lane *own, uint64_t deadline_ns)
{
    int error;

    if (!load_acquire(&connection->lingering))
        return 0;
    error = own ? outlive_held(own, deadline_ns) : 0; /* first: others may wait for it */
    for (unsigned i = 0; !error && i < connection->lane_count; i++)
        if (connection->lanes[i] != own)
            error = outlive(connection->lanes[i], deadline_ns);
    return error;
}
