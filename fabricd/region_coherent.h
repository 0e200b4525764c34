/* region_coherent.h - which regions are coherent, and their coherence */
#ifndef FABRICD_REGION_COHERENT_H
#define FABRICD_REGION_COHERENT_H

#include "coherence.h"
#include "region_access.h"

/* The region's coherence, to be entered (coherence_enter); it stays in memory until the caller's worker
 * passes. NULL: the region was never coherent. -ESTALE. */
int region_find_coherence(const struct region_caller *caller, uint64_t handle,
                          struct coherence **coherence_out);

/* Makes it so: when this returns no operation is under way that does not go by the lock. It may be undone,
 * but not while anybody waits or is attached. Takes the mutex and may wait for the other workers. -ESTALE;
 * -EBUSY: no memory; -EOPNOTSUPP: there are no mailboxes. */
int region_make_coherent(const struct region_caller *caller, uint64_t handle);

/* A new agent that listens on the caller's session (`agent` 0), or renews `agent` there. Also -EACCES: the
 * region is not REGION_SHARED, or is sealed; -EOWNERDEAD: no such agent; -EBUSY: too many. */
int region_attach(const struct region_caller *caller, uint64_t handle, uint32_t agent, uint32_t session,
                  uint64_t now_ns, uint32_t *agent_out);

uint64_t regions_lease_ns(const struct regions *regions);

struct regions_coherence_info {
    uint64_t regions; /* coherent ones */
    uint64_t directory_bytes;
    uint64_t cached_pages;
    uint64_t agents;
};

/* Any thread; takes the mutex. */
void regions_get_coherence(struct regions *regions, unsigned worker, struct regions_coherence_info *info_out);

#endif
