/* coherence_wait.c - those who wait for a line to change, and how anybody's waiting ends; see coherence.h
 *
 * A store to a mapped copy is seen by nobody but its writer. So when a page leaves for an agent that may
 * write it, those who wait for one of its lines come back to look again a moment later: looking makes the
 * agent give its changes up.
 */
#include "coherence.h"

#include "atomic.h"
#include "check.h"
#include "coherence_internal.h"

void coherence_link(struct coherence *coherence, struct coherence_waiter *waiter, enum coherence_wait waits)
{
    CHECK(waiter->waits == COHERENCE_WAITS_NOT);
    waiter->waits = (uint8_t)waits;
    waiter->look_soon = false;
    waiter->next = coherence->waiters;
    waiter->link = &coherence->waiters;
    if (waiter->next)
        waiter->next->link = &waiter->next;
    coherence->waiters = waiter;
    if (waits == COHERENCE_WAITS_PAGE)
        coherence->page_waiters++;
    else
        coherence->line_waiters++;
    store_release(&waiter->coherence, coherence);
}

static void line_remove(struct coherence_waiter *waiter)
{
    if (!waiter->line_link)
        return;
    *waiter->line_link = waiter->line_next;
    if (waiter->line_next)
        waiter->line_next->line_link = waiter->line_link;
    waiter->line_link = NULL;
}

void coherence_unlink(struct coherence *coherence, struct coherence_waiter *waiter)
{
    if (waiter->waits == COHERENCE_WAITS_PAGE) {
        if (waiter->access.queued)
            directory_cancel(coherence->directory, &waiter->access);
        coherence->page_waiters--;
    } else {
        line_remove(waiter);
        coherence->line_waiters--;
    }
    waiter->waits = COHERENCE_WAITS_NOT;
    *waiter->link = waiter->next;
    if (waiter->next)
        waiter->next->link = waiter->link;
    store_release(&waiter->coherence, NULL);
}

void coherence_settle(struct coherence *coherence, bool settled)
{
    coherence->settled = settled;
}

bool coherence_is_settled(const struct coherence *coherence)
{
    return coherence->settled;
}

void coherence_wait_line(struct coherence *coherence, uint64_t line, struct coherence_waiter *waiter)
{
    struct coherence_waiter **bucket = &coherence->lines[line_bucket(line)];

    coherence_link(coherence, waiter, COHERENCE_WAITS_LINE);
    waiter->line = line;
    waiter->line_next = *bucket;
    waiter->line_link = bucket;
    if (waiter->line_next)
        waiter->line_next->line_link = &waiter->line_next;
    *bucket = waiter;
}

void coherence_look_again(struct coherence *coherence, struct coherence_waiter *waiter)
{
    if (waiter->waits == COHERENCE_WAITS_LINE)
        coherence_unlink(coherence, waiter);
}

/* Brings those back that wait for the line. Who is to look at once will see all that was stored before, so no
 * further store need look at him; who is to look a moment later may have to come sooner. */
static void call_line(struct coherence *coherence, uint64_t line, bool look_soon)
{
    for (struct coherence_waiter *waiter = coherence->lines[line_bucket(line)], *next; waiter;
         waiter = next) {
        next = waiter->line_next;
        if (waiter->line != line)
            continue;
        waiter->look_soon = look_soon && (waiter->look_soon || !mail_posted(&waiter->mail));
        if (!look_soon)
            line_remove(waiter);
        post_waiter(coherence, waiter);
    }
}

void coherence_stored(struct coherence *coherence, uint64_t first_line, unsigned lines)
{
    for (unsigned i = 0; i < lines && coherence->line_waiters > 0; i++)
        call_line(coherence, first_line + i, false);
}

void coherence_page_left(struct coherence *coherence, uint64_t page)
{
    for (unsigned i = 0; i < PAGE_LINES && coherence->line_waiters > 0; i++)
        call_line(coherence, page * PAGE_LINES + i, true);
}

/* Its coherence may end at any time, but then it stays in memory until this worker has passed in the
 * quiescence. */
static struct coherence *lock_of(struct coherence_waiter *waiter)
{
    struct coherence *coherence = load_acquire(&waiter->coherence);

    if (!coherence)
        return NULL;
    coherence_lock(coherence);
    if (load_relaxed(&waiter->coherence) == coherence)
        return coherence;
    coherence_unlock(coherence);
    return NULL;
}

void coherence_leave(struct coherence_waiter *waiter)
{
    struct coherence *coherence = lock_of(waiter);

    if (!coherence)
        return;
    coherence_unlink(coherence, waiter);
    coherence_unlock(coherence);
}

bool coherence_looks_later(struct coherence_waiter *waiter)
{
    struct coherence *coherence = lock_of(waiter);
    bool later;

    if (!coherence)
        return false;
    later = waiter->look_soon;
    waiter->look_soon = false;
    coherence_unlock(coherence);
    return later;
}
