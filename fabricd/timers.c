/* timers.c - see timers.h
 *
 * A pairing heap (Fredman, Sedgewick, Sleator, Tarjan: The Pairing Heap: A New Form of Self-Adjusting Heap,
 * 1986): no timer is due before its parent, and a timer's memory is all it needs.
 */
#include "timers.h"

#include <stddef.h>

static struct timer *meld(struct timer *a, struct timer *b)
{
    if (!a || !b)
        return a ? a : b;
    if (b->due_ns < a->due_ns) {
        struct timer *swap = a;

        a = b;
        b = swap;
    }
    b->next = a->child;
    b->before = a;
    if (a->child)
        a->child->before = b;
    a->child = b;
    return a;
}

/* Makes one heap of siblings: two by two, then those together from the last to the first. */
static struct timer *meld_siblings(struct timer *sibling)
{
    struct timer *pairs = NULL, *whole = NULL;

    while (sibling) {
        struct timer *a = sibling, *b = a->next, *pair;

        sibling = b ? b->next : NULL;
        a->next = a->before = NULL;
        if (b)
            b->next = b->before = NULL;
        pair = meld(a, b);
        pair->next = pairs;
        pairs = pair;
    }
    while (pairs) {
        struct timer *next = pairs->next;

        pairs->next = NULL;
        whole = meld(whole, pairs);
        pairs = next;
    }
    return whole;
}

static void cut(struct timer *timer)
{
    if (timer->before->child == timer)
        timer->before->child = timer->next;
    else
        timer->before->next = timer->next;
    if (timer->next)
        timer->next->before = timer->before;
}

void timers_cancel(struct timers *timers, struct timer *timer)
{
    struct timer *children = timer->child;

    if (!timer->set)
        return;
    if (timer == timers->first)
        timers->first = NULL;
    else
        cut(timer);
    timer->child = timer->next = timer->before = NULL;
    timer->set = false;
    timers->first = meld(timers->first, meld_siblings(children));
}

void timers_set(struct timers *timers, struct timer *timer, uint64_t due_ns)
{
    timers_cancel(timers, timer);
    timer->due_ns = due_ns;
    timer->set = true;
    timers->first = meld(timers->first, timer);
}

struct timer *timers_due(struct timers *timers, uint64_t now_ns)
{
    struct timer *timer = timers->first;

    if (!timer || timer->due_ns > now_ns)
        return NULL;
    timers_cancel(timers, timer);
    return timer;
}

/* Depth first, without a stack: down to a child, else along to a sibling, else up. */
bool timers_valid(const struct timers *timers)
{
    const struct timer *at = timers->first;

    if (at && (at->before || at->next))
        return false;
    while (at) {
        for (const struct timer *child = at->child, *before = at; child; child = child->next) {
            if (!child->set || child->due_ns < at->due_ns || child->before != before)
                return false;
            before = child;
        }
        if (at->child) {
            at = at->child;
            continue;
        }
        while (at && !at->next) { /* back to the first sibling, and up */
            while (at->before && at->before->child != at)
                at = at->before;
            at = at->before;
        }
        at = at ? at->next : NULL;
    }
    return true;
}
