/* region_coherent.c - see region_coherent.h
 *
 * REGION_COHERENT is set like REGION_FROZEN: first the flag, then everybody passes, and then the coherence is
 * settled: whoever enters it and sees that knows that all others do. The flag is taken away under the mutex
 * and the lock of the coherence when nobody is attached or waits; who still comes by the lock then does no
 * harm.
 */
#include "region_coherent.h"

#include <errno.h>

#include "quiesce.h"
#include "region_internal.h"

#define REST_CHECK_NS NS_PER_S

int region_find_coherence(const struct region_caller *caller, uint64_t handle,
                          struct coherence **coherence_out)
{
    const struct region *region = region_find(caller->regions, caller->tenant, handle);

    if (!region)
        return -ESTALE;
    *coherence_out = load_acquire(&region_record(caller->regions, region)->coherence);
    return 0;
}

static void list_add(struct regions *regions, uint32_t index)
{
    struct record *record = &regions->records[index];

    record->coherent_prev = NONE;
    record->coherent_next = regions->coherent;
    if (record->coherent_next != NONE)
        regions->records[record->coherent_next].coherent_prev = index;
    regions->coherent = index;
    fetch_add_relaxed(&regions->busy, 1);
}

static void list_remove(struct regions *regions, uint32_t index)
{
    const struct record *record = &regions->records[index];

    if (record->coherent_prev == NONE)
        regions->coherent = record->coherent_next;
    else
        regions->records[record->coherent_prev].coherent_next = record->coherent_next;
    if (record->coherent_next != NONE)
        regions->records[record->coherent_next].coherent_prev = record->coherent_prev;
    fetch_sub_relaxed(&regions->busy, 1);
}

static int make_locked(struct regions *regions, unsigned worker, struct region *region)
{
    uint32_t index = region_index(regions, region);
    struct record *record = &regions->records[index];
    struct coherence_options options = {
        .mailboxes = regions->mailboxes,
        .lease_ns = regions->lease_ns,
        .tenant = region->tenant,
        .tenant_agents = &regions->accounts[region->tenant].agents,
        .region = (uint64_t)record->generation << 32 | index,
        .pages = region->pages,
    };

    if (region->flags & REGION_COHERENT)
        return 0;
    if (!regions->mailboxes)
        return -EOPNOTSUPP;
    if (!record->coherence) {
        struct coherence *coherence;

        if (coherence_open(&options, &coherence) != 0)
            return -EBUSY;
        store_release(&record->coherence, coherence);
    }
    store_release(&region->flags, (uint8_t)(region->flags | REGION_COHERENT));
    list_add(regions, index);
    quiesce_wait(regions->quiesce, worker);
    coherence_lock(record->coherence);
    coherence_settle(record->coherence, true);
    coherence_unlock(record->coherence);
    return 0;
}

int region_make_coherent(const struct region_caller *caller, uint64_t handle)
{
    struct regions *regions = caller->regions;
    struct region *region;
    int error = -ESTALE;

    regions_lock(regions, caller->worker);
    region = region_find(regions, caller->tenant, handle);
    if (region)
        error = make_locked(regions, caller->worker, region);
    regions_unlock(regions);
    return error;
}

static int attach_locked(const struct region_caller *caller, struct region *region, uint32_t session,
                         uint64_t now_ns, uint32_t *agent_out)
{
    struct coherence *coherence;
    int error;

    if ((region->flags & (REGION_SHARED | REGION_SEALED)) != REGION_SHARED)
        return -EACCES;
    error = make_locked(caller->regions, caller->worker, region);
    if (error)
        return error;
    coherence = region_record(caller->regions, region)->coherence;
    coherence_lock(coherence);
    error = coherence_attach(coherence, caller->worker, session, now_ns, agent_out);
    coherence_unlock(coherence);
    return error;
}

static int renew(const struct region_caller *caller, uint64_t handle, uint32_t agent, uint32_t session,
                 uint64_t now_ns)
{
    struct coherence *coherence;
    int error = region_find_coherence(caller, handle, &coherence);

    if (error)
        return error;
    if (!coherence)
        return -EOWNERDEAD;
    error = coherence_enter(coherence);
    if (error)
        return error;
    error = coherence_renew(coherence, agent, caller->worker, session, now_ns);
    coherence_unlock(coherence);
    return error;
}

int region_attach(const struct region_caller *caller, uint64_t handle, uint32_t agent, uint32_t session,
                  uint64_t now_ns, uint32_t *agent_out)
{
    struct region *region;
    int error = -ESTALE;

    *agent_out = agent;
    if (agent)
        return renew(caller, handle, agent, session, now_ns);
    regions_lock(caller->regions, caller->worker);
    region = region_find(caller->regions, caller->tenant, handle);
    if (region)
        error = attach_locked(caller, region, session, now_ns, agent_out);
    regions_unlock(caller->regions);
    return error;
}

uint64_t regions_lease_ns(const struct regions *regions)
{
    return regions->lease_ns;
}

bool regions_mapped_locked(struct regions *regions, const struct region *region)
{
    struct coherence *coherence = region_record(regions, region)->coherence;
    bool mapped;

    if (!coherence)
        return false;
    coherence_lock(coherence);
    mapped = coherence_busy(coherence);
    coherence_unlock(coherence);
    return mapped;
}

void regions_resize_coherence(struct regions *regions, const struct region *region, uint64_t pages)
{
    struct coherence *coherence = region_record(regions, region)->coherence;

    if (!coherence)
        return;
    coherence_lock(coherence);
    coherence_resize(coherence, pages);
    coherence_unlock(coherence);
}

void regions_end_coherence(struct regions *regions, uint32_t index)
{
    struct record *record = &regions->records[index];

    if (!record->coherence)
        return;
    coherence_end(record->coherence);
    if (regions->slots[index].flags & REGION_COHERENT)
        list_remove(regions, index);
}

static void rest(struct regions *regions, uint32_t index)
{
    struct region *region = &regions->slots[index];
    struct coherence *coherence = regions->records[index].coherence;

    coherence_lock(coherence);
    if (coherence_idle(coherence)) {
        coherence_resize(coherence, region->pages); /* lets go of the directory */
        coherence_settle(coherence, false);
        store_release(&region->flags, (uint8_t)(region->flags & ~REGION_COHERENT));
        list_remove(regions, index);
    }
    coherence_unlock(coherence);
}

uint64_t regions_rest_coherent(struct regions *regions, uint64_t now_ns)
{
    if (regions->coherent == NONE)
        return UINT64_MAX;
    if (regions->coherent_ns <= now_ns) {
        regions->coherent_ns = now_ns + REST_CHECK_NS;
        for (uint32_t i = regions->coherent, next; i != NONE; i = next) {
            next = regions->records[i].coherent_next;
            rest(regions, i);
        }
    }
    return regions->coherent_ns;
}

void regions_get_coherence(struct regions *regions, unsigned worker, struct regions_coherence_info *info_out)
{
    *info_out = (struct regions_coherence_info){0};
    if (load_relaxed(&regions->busy) == 0)
        return;
    regions_lock(regions, worker);
    for (uint32_t i = regions->coherent; i != NONE; i = regions->records[i].coherent_next) {
        struct coherence *coherence = regions->records[i].coherence;

        coherence_lock(coherence);
        info_out->regions++;
        info_out->directory_bytes += coherence_directory_bytes(coherence);
        info_out->cached_pages += coherence_cached_pages(coherence);
        info_out->agents += coherence_agent_count(coherence);
        coherence_unlock(coherence);
    }
    regions_unlock(regions);
}
