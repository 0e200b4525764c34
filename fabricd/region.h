/* region.h - named regions of tenants: making, finding, growing, sealing, copying and ending them
 *
 * A region is promised its whole size when it is made, and gets frames page by page at the first write; a
 * page never written reads as zeros. A clone is a snapshot: it shares the frames of its origin until one of
 * the two writes. A clone is promised nothing, for otherwise a snapshot would cost as much as its origin. So
 * when the pool is full, a write to a clone fails (ENOSPC), and a write to the *origin* takes the shared
 * frame away from the clones, whose page is then poisoned: the origin's writes never fail, and the clones
 * never lie.
 *
 * A handle is generation << 32 | index. One that never was, is deleted or belongs to another tenant is
 * ESTALE, without distinction.
 *
 * Every function here takes the one mutex, unless it says otherwise. `worker` is the caller's number in the
 * quiescence, and must be online there (or QUIESCE_NO_WORKER); the caller must hold nothing it got from
 * region_access.h, since some functions wait for the other workers. Bytes are multiples of PAGE_BYTES.
 */
#ifndef FABRICD_REGION_H
#define FABRICD_REGION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "limits.h"
#include "wire.h"

struct mailboxes;
struct pool;
struct quiesce;
struct regions;

#define REGIONS_QUOTA_UNLIMITED UINT64_MAX

struct regions_options {
    struct pool *pool; /* borrowed, as is the quiescence */
    struct quiesce *quiesce;
    uint64_t default_quota_bytes; /* of a tenant whose quota was not set */
    struct mailboxes *mailboxes;  /* borrowed; NULL: no region is ever coherent */
    uint64_t lease_ns;            /* of cache agents */
};

/* What a region is made from. */
struct region_spec {
    char name[REGION_NAME_BYTES]; /* 1..63 of [A-Za-z0-9._/-], padded with NULs; empty: see regions_clone */
    uint64_t bytes;
    uint32_t flags; /* enum region_flags */
};

struct region_info {
    uint64_t handle;
    uint64_t bytes;
    uint64_t resident_bytes; /* of frames it holds, alone or shared with a clone */
    uint32_t flags;
    uint16_t tenant;
    char name[REGION_NAME_BYTES];
};

struct regions_account {
    uint64_t quota_bytes;
    uint64_t used_bytes; /* sizes of its regions, clones included */
    uint64_t regions;
};

/* -ENOMEM. */
int regions_open(const struct regions_options *options, struct regions **regions_out);
void regions_close(struct regions *regions);

/* What a tenant may use from now on; regions beyond a smaller quota stay. Any thread. */
void regions_set_quota(struct regions *regions, uint16_t tenant, uint64_t quota_bytes);

/* Any thread; takes no lock, so the numbers may be of slightly different times. */
void regions_get_account(const struct regions *regions, uint16_t tenant, struct regions_account *account_out);

/* Makes a region of zeros; the flags are REGION_EPHEMERAL and REGION_SHARED. -EINVAL: name, size or flags;
 * -EEXIST; -EDQUOT; -ENOSPC: the pool, the table of regions or the memory for page tables is full. */
int regions_create(struct regions *regions, unsigned worker, uint16_t tenant, const struct region_spec *spec,
                   struct region_info *info_out);

/* Finds a region by name (the spec's bytes and flags are 0). -EINVAL, -ENOENT. */
int regions_open_named(struct regions *regions, unsigned worker, uint16_t tenant,
                       const struct region_spec *spec, struct region_info *info_out);

/* -ESTALE. */
int regions_stat(struct regions *regions, unsigned worker, uint16_t tenant, uint64_t handle,
                 struct region_info *info_out);

/* The next region of the tenant whose index is at least *cursor; moves *cursor behind it. -ENOENT: no more.
 */
int regions_next(struct regions *regions, unsigned worker, uint16_t tenant, uint64_t *cursor,
                 struct region_info *info_out);

/* Makes the region `bytes` large; the same size is a success. -ESTALE; -EACCES: sealed; -EBUSY: somebody maps
 * it coherently; -EINVAL: not a multiple, or smaller than it is; -EDQUOT; -ENOSPC. Writers of the region wait
 * meanwhile. */
int regions_grow(struct regions *regions, unsigned worker, uint16_t tenant, uint64_t handle, uint64_t bytes,
                 struct region_info *info_out);

/* The handle is stale at once; the frames are wiped before anyone gets them. -ESTALE. */
int regions_delete(struct regions *regions, unsigned worker, uint16_t tenant, uint64_t handle);

/* Read-only for all and for good; no write is answered with success afterwards. -ESTALE; -EBUSY: as
 * above. */
int regions_seal(struct regions *regions, unsigned worker, uint16_t tenant, uint64_t handle,
                 struct region_info *info_out);

/* A copy as of one point in time between call and return; the spec's bytes are 0, its flags REGION_SEALED,
 * REGION_EPHEMERAL and REGION_SHARED as wanted, and its name may be empty if it is ephemeral. Writers of the
 * region wait meanwhile, some 10 ns a page. Errors as regions_create, and -ESTALE and -EBUSY. */
int regions_clone(struct regions *regions, unsigned worker, uint16_t tenant, uint64_t handle,
                  const struct region_spec *spec, struct region_info *info_out);

/* Bounded work: lets go of deleted regions' frames, and deletes ephemeral regions whose time has come.
 * Returns when it wants to be called again: now_ns if work is left, UINT64_MAX if nothing is pending. Does
 * not wait for the mutex. */
uint64_t regions_maintain(struct regions *regions, unsigned worker, uint64_t now_ns);

/* The invariants, as code: looks at every page of every region, so for tests, while no other thread is about.
 */
bool regions_valid(struct regions *regions);

#endif
