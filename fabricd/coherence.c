/* coherence.c - its life, its lock, and accesses to pages; see coherence.h */
#include "coherence.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "atomic.h"
#include "check.h"
#include "coherence_internal.h"
#include "spin.h"

void coherence_lock(struct coherence *coherence)
{
    unsigned spins = 0;

    for (;;) {
        uint32_t free = 0;

        if (load_relaxed(&coherence->lock) == 0 && cas_acquire(&coherence->lock, &free, 1))
            return;
        spin_pause(&spins);
    }
}

void coherence_unlock(struct coherence *coherence)
{
    store_release(&coherence->lock, 0);
}

int coherence_enter(struct coherence *coherence)
{
    coherence_lock(coherence);
    if (!coherence->ended)
        return 0;
    coherence_unlock(coherence);
    return -ESTALE;
}

int coherence_open(const struct coherence_options *options, struct coherence **coherence_out)
{
    struct coherence *coherence = aligned_alloc(64, sizeof(*coherence));

    if (!coherence)
        return -ENOMEM;
    memset(coherence, 0, sizeof(*coherence));
    coherence->options = *options;
    coherence->next_half = (uint16_t)randombytes_random();
    *coherence_out = coherence;
    return 0;
}

void coherence_end(struct coherence *coherence)
{
    struct coherence_waiter *waiter;

    coherence_lock(coherence);
    coherence->ended = true;
    for (uint32_t i = 0; i < coherence->agents_room; i++)
        if (coherence->agents[i])
            coherence_remove_agent(coherence, coherence->agents[i]);
    while ((waiter = coherence->waiters)) {
        post_waiter(coherence, waiter); /* first: once unlinked it is its worker's alone, to free */
        coherence_unlink(coherence, waiter);
    }
    coherence_unlock(coherence);
}

void coherence_close(struct coherence *coherence)
{
    if (!coherence)
        return;
    CHECK(!coherence->waiters);
    directory_close(coherence->directory);
    for (uint32_t i = 0; i < coherence->agents_room; i++)
        free(coherence->agents[i]);
    free(coherence->agents);
    free(coherence);
}

/* ---- pages ---- */

int coherence_access(struct coherence *coherence, uint64_t page, enum directory_access access, uint16_t agent,
                     struct coherence_waiter *waiter)
{
    int error;

    if (coherence->ended)
        return -ESTALE;
    if (!coherence->directory)
        return 0; /* nobody has copies */
    if (waiter->waits == COHERENCE_WAITS_PAGE && !waiter->access.ready)
        return -EINPROGRESS;
    error = directory_access(coherence->directory, page, access, agent, &waiter->access);
    if (error == -EINPROGRESS)
        coherence_link(coherence, waiter, COHERENCE_WAITS_PAGE);
    else if (error == 0 && access == DIRECTORY_READ_OWN)
        coherence_page_left(coherence, page);
    return error == -ENOMEM ? -EBUSY : error;
}

void coherence_done(struct coherence *coherence, struct coherence_waiter *waiter)
{
    if (waiter->waits != COHERENCE_WAITS_PAGE)
        return;
    directory_done(coherence->directory, &waiter->access);
    coherence_unlink(coherence, waiter);
}

bool coherence_busy(const struct coherence *coherence)
{
    return coherence->agent_count > 0 || coherence->page_waiters > 0;
}

bool coherence_idle(const struct coherence *coherence)
{
    return !coherence_busy(coherence) && coherence->line_waiters == 0;
}

uint64_t coherence_directory_bytes(const struct coherence *coherence)
{
    return coherence->directory ? directory_bytes(coherence->directory) : 0;
}

uint64_t coherence_cached_pages(const struct coherence *coherence)
{
    return coherence->directory ? directory_cached_pages(coherence->directory) : 0;
}

void coherence_resize(struct coherence *coherence, uint64_t pages)
{
    CHECK(!coherence_busy(coherence));
    directory_close(coherence->directory);
    coherence->directory = NULL;
    coherence->options.pages = pages;
}

/* ---- invariants ---- */

static bool waiters_valid(const struct coherence *coherence)
{
    uint32_t pages = 0, lines = 0;

    for (const struct coherence_waiter *waiter = coherence->waiters; waiter; waiter = waiter->next) {
        if (waiter->coherence != coherence || *waiter->link != waiter)
            return false;
        pages += waiter->waits == COHERENCE_WAITS_PAGE;
        lines += waiter->waits == COHERENCE_WAITS_LINE;
        if (waiter->waits == COHERENCE_WAITS_LINE && !waiter->line_link && waiter->look_soon)
            return false;
        if (waiter->waits == COHERENCE_WAITS_NOT ||
            (waiter->waits == COHERENCE_WAITS_PAGE && !waiter->access.queued))
            return false;
    }
    return pages == coherence->page_waiters && lines == coherence->line_waiters;
}

static bool lines_valid(const struct coherence *coherence)
{
    uint32_t lines = 0;

    for (const struct coherence_waiter *waiter = coherence->waiters; waiter; waiter = waiter->next)
        lines += waiter->waits == COHERENCE_WAITS_LINE && !waiter->line_link; /* called */
    for (unsigned i = 0; i < LINE_BUCKETS; i++)
        for (const struct coherence_waiter *waiter = coherence->lines[i]; waiter;
             waiter = waiter->line_next) {
            if (waiter->waits != COHERENCE_WAITS_LINE || line_bucket(waiter->line) != i)
                return false;
            lines++;
        }
    return lines == coherence->line_waiters;
}

static bool agents_valid(const struct coherence *coherence)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < coherence->agents_room; i++) {
        const struct agent *agent = coherence->agents[i];

        if (agent && ((uint16_t)agent->id != i || agent->fresh_count > COHERENCE_NEWS_SNOOPS))
            return false;
        count += agent != NULL;
    }
    return count == coherence->agent_count && (count == 0 || coherence->directory);
}

bool coherence_valid(struct coherence *coherence)
{
    bool valid;

    coherence_lock(coherence);
    valid = waiters_valid(coherence) && lines_valid(coherence) && agents_valid(coherence) &&
            (!coherence->directory || directory_valid(coherence->directory)) &&
            (!coherence->ended || coherence_idle(coherence));
    coherence_unlock(coherence);
    return valid;
}
