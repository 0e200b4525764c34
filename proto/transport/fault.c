/* fault.c - see fault.h */
#include "fault.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"

#define SLOT_BYTES    65536 /* one held frame; a page multiple above FRAME_BYTES_MAX */
#define STORAGE_BYTES ((size_t)(FAULT_HELD_FRAMES + 1) * SLOT_BYTES) /* and one slot to damage frames in */
#define PPM           1000000u

static_assert(SLOT_BYTES >= FRAME_BYTES_MAX, "a held frame fits its slot");

struct held {
    uint64_t due_ns; /* 0: the slot is free */
    uint64_t order;  /* among equals, the one held first goes first */
    struct address peer;
    size_t frame_bytes;
    bool probe; /* goes out by probe, not send */
};

struct direction {
    uint64_t random;
    uint64_t next_due_ns; /* the least of `held`; UINT64_MAX: none */
    uint64_t next_order;
    uint8_t *storage;
    struct held held[FAULT_HELD_FRAMES];
};

struct fault {
    struct endpoint endpoint;
    struct endpoint *inner;
    struct fault_spec spec;
    struct fault_counts counts;
    struct direction in, out;
    enum fault_cut cut; /* by fault_cut */
    uint64_t (*now_ns)(void *context);
    void *context;
    uint64_t opened_ns;
    int timer_fd; /* -1: a virtual clock */
};

static struct fault *fault_of(const struct endpoint *endpoint)
{
    return (struct fault *)(uintptr_t)endpoint; /* its first member */
}

/* ---- dice ---- */

/* SplitMix64 (Steele, Lea, Flood 2014). */
static uint64_t draw(struct direction *direction)
{
    uint64_t z = direction->random += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t draw_below(struct direction *direction, uint64_t bound)
{
    return (uint64_t)(((unsigned __int128)draw(direction) * bound) >> 64);
}

static bool draw_chance(struct direction *direction, uint32_t ppm)
{
    return draw_below(direction, PPM) < ppm;
}

struct verdict {
    bool drop, dup, corrupt;
    size_t corrupt_at;
    uint8_t corrupt_by; /* not 0 */
    uint64_t wait_ns, dup_wait_ns;
};

/* Draws the same number of times for every frame, so that one fault's odds do not shift another's dice. */
static struct verdict throw_dice(struct fault *fault, struct direction *direction, size_t frame_bytes)
{
    const struct fault_spec *spec = &fault->spec;
    struct verdict verdict;
    bool reorder;

    verdict.drop = draw_chance(direction, spec->drop_ppm);
    verdict.drop |= spec->longest_bytes != 0 && frame_bytes > spec->longest_bytes;
    verdict.dup = draw_chance(direction, spec->dup_ppm);
    verdict.corrupt = draw_chance(direction, spec->corrupt_ppm);
    verdict.corrupt_at = draw_below(direction, frame_bytes);
    verdict.corrupt_by = (uint8_t)(1 + draw_below(direction, 255));
    reorder = draw_chance(direction, spec->reorder_ppm);
    verdict.wait_ns =
        spec->delay_low_ns + draw_below(direction, spec->delay_high_ns - spec->delay_low_ns + 1);
    verdict.dup_wait_ns = verdict.wait_ns + draw_below(direction, FAULT_REORDER_NS);
    if (reorder)
        verdict.wait_ns += FAULT_REORDER_NS;

    fault->counts.frames++;
    fault->counts.dropped += verdict.drop;
    if (!verdict.drop) {
        fault->counts.doubled += verdict.dup;
        fault->counts.corrupted += verdict.corrupt;
        fault->counts.reordered += reorder;
        fault->counts.delayed += verdict.wait_ns > 0 && !reorder;
    }
    return verdict;
}

static bool cut_now(const struct fault *fault, enum fault_cut direction)
{
    const struct fault_spec *spec = &fault->spec;
    uint64_t age_ns;

    if (fault->cut & direction)
        return true;
    if (!(spec->cut & direction))
        return false;
    age_ns = fault->now_ns(fault->context) - fault->opened_ns;
    return age_ns >= spec->cut_from_ns && age_ns < spec->cut_until_ns;
}

/* ---- what is held back ---- */

static uint8_t *slot_frame(struct direction *direction, size_t slot)
{
    return direction->storage + slot * SLOT_BYTES;
}

static void find_next_due(struct direction *direction)
{
    direction->next_due_ns = UINT64_MAX;
    for (size_t slot = 0; slot < FAULT_HELD_FRAMES; slot++) {
        uint64_t due_ns = direction->held[slot].due_ns;

        if (due_ns != 0 && due_ns < direction->next_due_ns)
            direction->next_due_ns = due_ns;
    }
}

/* The new entry, so that the caller can mark it; NULL: no room, the frame is lost. */
static struct held *hold(struct fault *fault, struct direction *direction, const struct address *peer,
                         const void *frame, size_t frame_bytes, uint64_t wait_ns)
{
    size_t slot = 0;
    struct held *held;

    while (slot < FAULT_HELD_FRAMES && direction->held[slot].due_ns != 0)
        slot++;
    if (slot == FAULT_HELD_FRAMES || frame_bytes > SLOT_BYTES) {
        fault->counts.overflowed++;
        return NULL;
    }
    held = &direction->held[slot];
    held->due_ns = fault->now_ns(fault->context) + wait_ns;
    held->order = direction->next_order++;
    memset(&held->peer, 0, sizeof(held->peer));
    if (peer)
        held->peer = *peer;
    held->frame_bytes = frame_bytes;
    held->probe = false;
    memcpy(slot_frame(direction, slot), frame, frame_bytes);
    if (held->due_ns < direction->next_due_ns)
        direction->next_due_ns = held->due_ns;
    return held;
}

/* The earliest frame whose time has come; FAULT_HELD_FRAMES: none. */
static size_t find_due(struct fault *fault, struct direction *direction)
{
    size_t best = FAULT_HELD_FRAMES;

    if (direction->next_due_ns == UINT64_MAX || direction->next_due_ns > fault->now_ns(fault->context))
        return best;
    for (size_t slot = 0; slot < FAULT_HELD_FRAMES; slot++) {
        const struct held *held = &direction->held[slot];

        if (held->due_ns == direction->next_due_ns &&
            (best == FAULT_HELD_FRAMES || held->order < direction->held[best].order))
            best = slot;
    }
    return best;
}

static void release(struct direction *direction, size_t slot)
{
    direction->held[slot].due_ns = 0;
    find_next_due(direction);
}

/* ---- out ---- */

static int send_inner(struct fault *fault, const struct address *to, const void *frame, size_t frame_bytes,
                      bool probe)
{
    return (probe ? endpoint_probe : endpoint_send)(fault->inner, to, frame, frame_bytes);
}

static void send_due(struct fault *fault)
{
    size_t slot;

    while ((slot = find_due(fault, &fault->out)) < FAULT_HELD_FRAMES) {
        const struct held *held = &fault->out.held[slot];

        if (cut_now(fault, FAULT_CUT_OUT))
            fault->counts.cut++;
        else
            send_inner(fault, &held->peer, slot_frame(&fault->out, slot), held->frame_bytes, held->probe);
        release(&fault->out, slot);
    }
}

static void hold_out(struct fault *fault, const struct address *to, const void *frame, size_t frame_bytes,
                     bool probe, uint64_t wait_ns)
{
    struct held *held = hold(fault, &fault->out, to, frame, frame_bytes, wait_ns);

    if (held)
        held->probe = probe;
}

static int send_faulty(struct fault *fault, const struct address *to, const void *frame, size_t frame_bytes,
                       bool probe)
{
    struct verdict verdict;

    send_due(fault);
    if (cut_now(fault, FAULT_CUT_OUT)) {
        fault->counts.cut++;
        return 0;
    }
    if (frame_bytes == 0 || frame_bytes > FRAME_BYTES_MAX)
        return send_inner(fault, to, frame, frame_bytes, probe); /* it has an error for that */
    verdict = throw_dice(fault, &fault->out, frame_bytes);
    if (verdict.drop)
        return 0;
    if (verdict.corrupt) {
        uint8_t *damaged = slot_frame(&fault->out, FAULT_HELD_FRAMES);

        memcpy(damaged, frame, frame_bytes);
        damaged[verdict.corrupt_at] ^= verdict.corrupt_by;
        frame = damaged;
    }
    if (verdict.dup)
        hold_out(fault, to, frame, frame_bytes, probe, verdict.dup_wait_ns);
    if (verdict.wait_ns == 0)
        return send_inner(fault, to, frame, frame_bytes, probe);
    hold_out(fault, to, frame, frame_bytes, probe, verdict.wait_ns);
    return 0;
}

static int send_counted(struct endpoint *endpoint, const struct address *to, const void *frame,
                        size_t frame_bytes, bool probe)
{
    int error = send_faulty(fault_of(endpoint), to, frame, frame_bytes, probe);

    if (!error) {
        endpoint->sent_frames++;
        endpoint->sent_bytes += frame_bytes;
    }
    return error;
}

static int fault_send(struct endpoint *endpoint, const struct address *to, const void *frame,
                      size_t frame_bytes)
{
    return send_counted(endpoint, to, frame, frame_bytes, false);
}

static int fault_probe(struct endpoint *endpoint, const struct address *to, const void *frame,
                       size_t frame_bytes)
{
    return send_counted(endpoint, to, frame, frame_bytes, true);
}

/* ---- in ---- */

/* A held frame whose time has come, moved to the caller. -EAGAIN: none. */
static int receive_due(struct fault *fault, void *buffer, size_t buffer_bytes, struct address *from_out)
{
    size_t slot;

    while ((slot = find_due(fault, &fault->in)) < FAULT_HELD_FRAMES) {
        struct held held = fault->in.held[slot];
        bool cut = cut_now(fault, FAULT_CUT_IN), fits = held.frame_bytes <= buffer_bytes;

        if (!cut && fits)
            memcpy(buffer, slot_frame(&fault->in, slot), held.frame_bytes);
        release(&fault->in, slot);
        fault->counts.cut += cut;
        fault->endpoint.dropped_frames += !cut && !fits;
        if (!cut && fits) {
            *from_out = held.peer;
            return (int)held.frame_bytes;
        }
    }
    return -EAGAIN;
}

/* Whether the frame just received goes on to the caller now. */
static bool let_in(struct fault *fault, const struct address *from, uint8_t *frame, size_t frame_bytes)
{
    struct verdict verdict;

    if (cut_now(fault, FAULT_CUT_IN)) {
        fault->counts.cut++;
        return false;
    }
    verdict = throw_dice(fault, &fault->in, frame_bytes);
    if (verdict.drop)
        return false;
    if (verdict.corrupt)
        frame[verdict.corrupt_at] ^= verdict.corrupt_by;
    if (verdict.dup)
        hold(fault, &fault->in, from, frame, frame_bytes, verdict.dup_wait_ns);
    if (verdict.wait_ns == 0)
        return true;
    hold(fault, &fault->in, from, frame, frame_bytes, verdict.wait_ns);
    return false;
}

static int fault_receive(struct endpoint *endpoint, void *buffer, size_t buffer_bytes,
                         struct address *from_out)
{
    struct fault *fault = fault_of(endpoint);
    struct address from;
    int received;

    send_due(fault);
    received = receive_due(fault, buffer, buffer_bytes, &from);
    while (received < 0) {
        uint64_t dropped = fault->inner->dropped_frames;

        received = endpoint_receive(fault->inner, buffer, buffer_bytes, &from);
        endpoint->dropped_frames += fault->inner->dropped_frames - dropped;
        if (received == -ECONNREFUSED && cut_now(fault, FAULT_CUT_IN))
            received = -EAGAIN; /* that news would have come in, too */
        if (received < 0)
            return received;
        if (!let_in(fault, &from, buffer, (size_t)received))
            received = receive_due(fault, buffer, buffer_bytes, &from);
    }
    if (from_out)
        *from_out = from;
    endpoint->received_frames++;
    endpoint->received_bytes += (uint64_t)received;
    return received;
}

/* ---- the rest of the endpoint ---- */

uint64_t fault_next_ns(const struct endpoint *endpoint)
{
    const struct fault *fault = fault_of(endpoint);

    return fault->in.next_due_ns < fault->out.next_due_ns ? fault->in.next_due_ns : fault->out.next_due_ns;
}

static int fault_arm(struct endpoint *endpoint)
{
    struct fault *fault = fault_of(endpoint);
    uint64_t next_ns;

    send_due(fault);
    if (find_due(fault, &fault->in) < FAULT_HELD_FRAMES)
        return -EAGAIN;
    if (fault->timer_fd >= 0) {
        struct itimerspec at = {0}; /* all zero: off */

        next_ns = fault_next_ns(endpoint);
        if (next_ns != UINT64_MAX) {
            at.it_value.tv_sec = (time_t)(next_ns / NS_PER_S);
            at.it_value.tv_nsec = (long)(next_ns % NS_PER_S);
        }
        timerfd_settime(fault->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
    }
    return endpoint_arm(fault->inner);
}

static void free_fault(struct fault *fault)
{
    if (fault->timer_fd >= 0)
        close(fault->timer_fd);
    if (fault->endpoint.fd >= 0)
        close(fault->endpoint.fd);
    if (fault->in.storage)
        munmap(fault->in.storage, STORAGE_BYTES);
    if (fault->out.storage)
        munmap(fault->out.storage, STORAGE_BYTES);
    free(fault);
}

static void fault_close(struct endpoint *endpoint)
{
    struct fault *fault = fault_of(endpoint);

    endpoint_close(fault->inner);
    free_fault(fault);
}

static int fault_reconnect(struct endpoint *endpoint)
{
    struct endpoint *inner = fault_of(endpoint)->inner;
    int error = endpoint_reconnect(inner);

    endpoint->frame_bytes_max = inner->frame_bytes_max;
    endpoint->local = inner->local;
    return error;
}

static const struct endpoint_ops fault_ops = {
    .send = fault_send,
    .probe = fault_probe,
    .receive = fault_receive,
    .arm = fault_arm,
    .reconnect = fault_reconnect,
    .close = fault_close,
};

void fault_cut(struct endpoint *endpoint, enum fault_cut cut)
{
    fault_of(endpoint)->cut = cut;
}

uint64_t fault_seed(const struct endpoint *endpoint)
{
    return fault_of(endpoint)->spec.seed;
}

struct fault_counts fault_counts(const struct endpoint *endpoint)
{
    return fault_of(endpoint)->counts;
}

/* ---- opening ---- */

static uint64_t real_now_ns(void *context)
{
    (void)context;
    return clock_now_ns();
}

static int direction_init(struct direction *direction, uint64_t seed)
{
    void *storage =
        mmap(NULL, STORAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (storage == MAP_FAILED)
        return -ENOMEM;
    direction->storage = storage;
    direction->random = seed;
    direction->next_due_ns = UINT64_MAX;
    return 0;
}

static int watch(int epoll_fd, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};

    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

/* One descriptor that is readable when the inner one is, or when a held frame is due. */
static int make_descriptor(struct fault *fault)
{
    int error;

    fault->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (fault->timer_fd < 0)
        return -errno;
    fault->endpoint.fd = epoll_create1(EPOLL_CLOEXEC);
    if (fault->endpoint.fd < 0)
        return -errno;
    error = watch(fault->endpoint.fd, fault->timer_fd);
    return error ? error : watch(fault->endpoint.fd, fault->inner->fd);
}

static int choose_seed(uint64_t *seed)
{
    while (*seed == 0)
        if (getrandom(seed, sizeof(*seed), 0) < 0)
            return -errno;
    return 0;
}

int fault_wrap(struct endpoint *inner, const struct fault_spec *spec, uint64_t (*now_ns)(void *context),
               void *context, struct endpoint **endpoint_out)
{
    struct fault *fault = calloc(1, sizeof(*fault));
    int error;

    if (!fault)
        return -ENOMEM;
    fault->endpoint.ops = &fault_ops;
    fault->endpoint.fd = -1;
    fault->endpoint.frame_bytes_max = inner->frame_bytes_max;
    fault->endpoint.async_signal_safe = inner->async_signal_safe;
    fault->endpoint.local = inner->local;
    fault->inner = inner;
    fault->spec = *spec;
    fault->now_ns = now_ns ? now_ns : real_now_ns;
    fault->context = context;
    fault->opened_ns = fault->now_ns(context);
    fault->timer_fd = -1;
    error = choose_seed(&fault->spec.seed);
    if (!error)
        error = direction_init(&fault->in, fault->spec.seed);
    if (!error)
        error = direction_init(&fault->out, ~fault->spec.seed);
    if (!error && !now_ns && inner->fd >= 0)
        error = make_descriptor(fault);
    if (error) {
        free_fault(fault);
        return error;
    }
    log_info("faults are injected; seed=%llu repeats them", (unsigned long long)fault->spec.seed);
    *endpoint_out = &fault->endpoint;
    return 0;
}
