/* window.c - see window.h */
#include "window.h"

#include <string.h>

#include "check.h"

static struct window_slot *slot_of(struct window *window, uint64_t seq)
{
    return &window->slots[seq % SESSION_SLOTS];
}

void window_init(struct window *window)
{
    memset(window, 0, sizeof(*window));
    window->next_seq = 1;
    window->oldest = 1;
    window->allowed = SESSION_SLOTS / 2;
    window->threshold = SESSION_SLOTS;
}

bool window_open(const struct window *window)
{
    return window->next_seq - window->oldest < SESSION_SLOTS && window->in_flight < window->allowed;
}

uint64_t window_take(struct window *window)
{
    uint64_t seq = window->next_seq++;
    struct window_slot *slot = slot_of(window, seq);

    CHECK(!slot->in_flight);
    *slot = (struct window_slot){.seq = seq, .in_flight = true, .due_ns = UINT64_MAX};
    window->in_flight++;
    return seq;
}

static uint64_t rto_ns(const struct window *window, unsigned tries)
{
    uint64_t rto = WINDOW_RTO_FIRST_NS;

    if (window->srtt_ns) {
        rto = window->srtt_ns + 4 * window->rttvar_ns;
        if (rto < WINDOW_RTO_MIN_NS)
            rto = WINDOW_RTO_MIN_NS;
    }
    rto <<= tries > 10 ? 10 : tries; /* doubled with every try */
    return rto < WINDOW_RTO_MAX_NS ? rto : WINDOW_RTO_MAX_NS;
}

static void set_parked(struct window *window, struct window_slot *slot, bool parked)
{
    window->parked += (unsigned)parked - (unsigned)slot->parked;
    slot->parked = parked;
}

void window_sent(struct window *window, uint64_t seq, uint64_t counter, uint64_t now_ns)
{
    struct window_slot *slot = slot_of(window, seq);

    CHECK(slot->in_flight && slot->seq == seq);
    if (slot->tries > 0)
        window->repeats++;
    if (slot->tries == 0) {
        slot->first_sent_ns = now_ns;
        slot->first_counter = counter;
    }
    slot->sent_ns = now_ns;
    slot->counter = counter;
    slot->due_ns = now_ns + rto_ns(window, slot->tries);
    slot->tries++;
    set_parked(window, slot, false); /* until it is answered with PENDING again */
}

void window_unsend(struct window *window, uint64_t seq)
{
    struct window_slot *slot = slot_of(window, seq);

    CHECK(slot->in_flight && slot->seq == seq);
    set_parked(window, slot, false);
    *slot = (struct window_slot){.seq = seq, .in_flight = true, .due_ns = UINT64_MAX};
}

static void measure(struct window *window, uint64_t rtt_ns)
{
    uint64_t error;

    if (!window->srtt_ns) {
        window->srtt_ns = rtt_ns;
        window->rttvar_ns = rtt_ns / 2;
        return;
    }
    error = rtt_ns > window->srtt_ns ? rtt_ns - window->srtt_ns : window->srtt_ns - rtt_ns;
    window->rttvar_ns = (3 * window->rttvar_ns + error) / 4;
    window->srtt_ns = (7 * window->srtt_ns + rtt_ns) / 8;
}

static void grow(struct window *window)
{
    if (window->allowed >= SESSION_SLOTS)
        return;
    if (window->allowed >= window->threshold && ++window->grown < window->allowed)
        return;
    window->allowed++;
    window->grown = 0;
}

/* An earlier transmission was answered: it was late, not lost. */
static void undo_cut(struct window *window)
{
    if (window->allowed < window->allowed_before)
        window->allowed = window->allowed_before;
    if (window->threshold < window->allowed)
        window->threshold = window->allowed;
}

bool window_answered(struct window *window, uint64_t seq, uint64_t counter, uint64_t now_ns)
{
    struct window_slot *slot = slot_of(window, seq);

    if (!slot->in_flight || slot->seq != seq || slot->tries == 0)
        return false;
    if (counter != slot->counter)
        undo_cut(window);
    if (slot->pendings > 0)
        ; /* it took as long as it had to wait */
    else if (counter == slot->counter)
        measure(window, now_ns - slot->sent_ns);
    else if (counter == slot->first_counter) /* late: the time-out must learn how late a peer can be */
        measure(window, now_ns - slot->first_sent_ns);
    if (counter > window->newest_answered)
        window->newest_answered = counter;
    set_parked(window, slot, false);
    slot->in_flight = false;
    window->in_flight--;
    while (window->oldest < window->next_seq && !slot_of(window, window->oldest)->in_flight)
        window->oldest++;
    grow(window);
    return true;
}

void window_parked(struct window *window, uint64_t seq, uint64_t now_ns)
{
    struct window_slot *slot = slot_of(window, seq);
    uint64_t wait_ns = WINDOW_PARKED_FIRST_NS;

    if (!slot->in_flight || slot->seq != seq || slot->tries == 0)
        return;
    if (slot->pendings == 0 && slot->tries > 1)
        undo_cut(window); /* it was repeated since nobody knew better */
    for (unsigned i = 0; i < slot->pendings && wait_ns < WINDOW_PARKED_MAX_NS; i++)
        wait_ns *= 2;
    if (wait_ns < WINDOW_PARKED_MAX_NS)
        slot->pendings++;
    else
        wait_ns = WINDOW_PARKED_MAX_NS;
    slot->due_ns = now_ns + wait_ns;
    slot->tries = 1; /* should the repeat be lost, the next one is not long in coming */
    set_parked(window, slot, true);
}

/* A frame sent before the last cut was part of the same congestion: one cut is enough. */
static void cut(struct window *window, uint64_t lost_counter)
{
    if (lost_counter < window->cut_counter)
        return;
    window->allowed_before = window->allowed;
    window->allowed = window->allowed > 1 ? window->allowed / 2 : 1;
    window->threshold = window->allowed;
    window->grown = 0;
    for (unsigned i = 0; i < SESSION_SLOTS; i++)
        if (window->slots[i].in_flight && window->slots[i].counter >= window->cut_counter)
            window->cut_counter = window->slots[i].counter + 1;
}

static bool lost(const struct window *window, const struct window_slot *slot, uint64_t now_ns)
{
    if (!slot->in_flight || slot->tries == 0)
        return false;
    if (now_ns >= slot->due_ns)
        return true;
    return slot->pendings == 0 && slot->counter + WINDOW_REORDER <= window->newest_answered;
}

uint64_t window_overdue(struct window *window, uint64_t now_ns)
{
    for (uint64_t seq = window->oldest; seq < window->next_seq; seq++) {
        struct window_slot *slot = slot_of(window, seq);

        if (!lost(window, slot, now_ns))
            continue;
        if (!slot->parked)
            cut(window, slot->counter);
        return seq;
    }
    return 0;
}

uint64_t window_next_due_ns(const struct window *window)
{
    uint64_t due = UINT64_MAX;

    for (uint64_t seq = window->oldest; seq < window->next_seq; seq++) {
        const struct window_slot *slot = &window->slots[seq % SESSION_SLOTS];

        if (slot->in_flight && slot->due_ns < due)
            due = slot->due_ns;
    }
    return due;
}

bool window_in_flight(const struct window *window, uint64_t seq)
{
    const struct window_slot *slot = &window->slots[seq % SESSION_SLOTS];

    return slot->in_flight && slot->seq == seq;
}

bool window_valid(const struct window *window)
{
    unsigned in_flight = 0, parked = 0;

    if (window->oldest > window->next_seq || window->next_seq - window->oldest > SESSION_SLOTS)
        return false;
    if (window->allowed < 1 || window->allowed > SESSION_SLOTS)
        return false;
    for (unsigned i = 0; i < SESSION_SLOTS; i++) {
        const struct window_slot *slot = &window->slots[i];

        if (slot->seq != 0 && slot->seq % SESSION_SLOTS != i)
            return false;
        parked += slot->parked;
        if (!slot->in_flight)
            continue;
        in_flight++;
        if (slot->seq < window->oldest || slot->seq >= window->next_seq)
            return false;
    }
    return in_flight == window->in_flight && parked == window->parked; /* W3, W5 */
}
