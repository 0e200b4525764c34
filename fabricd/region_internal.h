/* region_internal.h - what the files of the region module share; nobody else includes it
 *
 * Who may do what:
 *   - the mutex covers everything but page-table entries, frames' reference words and `touched`;
 *   - the data path reads struct region without a lock. What it found stays valid until its worker passes in
 * the quiescence: slots and tables are used again only after everybody has passed.
 *   - a page-table entry changes by compare-and-swap, and only so:
 *         0          -> F           first write                    data path
 *         F|SHARED   -> F           the other owners are gone      data path
 *         F|SHARED   -> G           copied before the write        data path
 *         F|SHARED   -> POISON      the origin took F back         under the mutex
 *         F          -> F|SHARED    cloned                         under the mutex, region frozen
 *     So a frame never comes back to an entry within one operation, and a reader that finds the entry
 * unchanged after its copy knows that nobody else could write the frame meanwhile.
 *   - a frozen region is written by nobody: FROZEN is set, then everybody has passed; a writer that meets it
 * waits for the mutex.
 */
#ifndef FABRICD_REGION_INTERNAL_H
#define FABRICD_REGION_INTERNAL_H

#include <pthread.h>

#include "atomic.h"
#include "region.h"

#define NONE UINT32_MAX

/* A page-table entry: 0 (never written), a frame, a frame with ENTRY_SHARED, or ENTRY_POISON. */
#define ENTRY_SHARED (1u << 31)
#define ENTRY_POISON 0x7fffffffu

/* In region.flags beside enum region_flags. */
#define REGION_COHERENT 0x20 /* every line operation goes by its coherence: region_coherent.h */
#define REGION_FROZEN   0x40 /* writers wait for the mutex */
#define REGION_IS_CLONE 0x80 /* promised nothing */
#define REGION_PUBLIC   (REGION_SEALED | REGION_EPHEMERAL | REGION_SHARED)

#define TABLE_INLINE_PAGES 10

/* Page tables may take so many entries for each page of the pool: what is promised takes one, clones the
 * rest. */
#define TABLE_ENTRIES_A_PAGE 4

/* What the data path looks at: one cache line. */
struct region {
    uint32_t generation; /* 0: nobody's; stored last when made, first when deleted */
    uint16_t tenant;
    uint8_t flags;
    uint8_t touched; /* ephemeral: used since somebody last looked; written by the data path */
    uint64_t pages;  /* stored after `table` */
    uint32_t *table; /* `few`, or from calloc */
    uint32_t few[TABLE_INLINE_PAGES];
};
static_assert(sizeof(struct region) == 64, "the hot part of a region is one cache line");

/* The rest, by the same index; under the mutex. */
struct record {
    char name[REGION_NAME_BYTES];
    uint32_t generation;                   /* of the present region, or of the last */
    uint32_t name_next;                    /* in its bucket */
    uint32_t family_next, family_prev;     /* ring of an origin and its clones, and theirs */
    uint32_t list_next, list_prev;         /* of the free, dying or ephemeral ones */
    uint64_t resident_pages;               /* atomic: the data path adds */
    uint64_t used_ns;                      /* ephemeral: when it was last found touched */
    uint64_t check_ns;                     /* ephemeral: when to look again */
    uint64_t ticket;                       /* dying: of the quiescence */
    uint64_t torn_down;                    /* dying: pages done */
    struct coherence *coherence;           /* atomic; from the first time it was coherent; else NULL */
    uint32_t coherent_next, coherent_prev; /* of those that are coherent */
};

struct list {
    uint32_t head, tail;
};

struct account {          /* changed under the mutex; numbers are atomic, so that metrics need not take it */
    uint64_t quota_limit; /* pages + 1; 0: the default */
    uint64_t used_pages;
    uint64_t regions;
    uint32_t agents; /* under the locks of the regions' coherences */
    uint64_t *slots; /* bit i: region i is this tenant's; NULL before its first */
};

struct regions {
    struct pool *pool;
    struct quiesce *quiesce;
    struct mailboxes *mailboxes;
    uint64_t lease_ns;
    struct region *slots;     /* REGIONS_MAX, untouched ones take no memory; as are: */
    struct record *records;   /* REGIONS_MAX */
    uint32_t *buckets;        /* NAME_BUCKETS: index + 1 of the first of each chain; 0: none */
    struct account *accounts; /* one for each of 65536 tenants */
    uint32_t slots_used;      /* slots ever used; atomic */
    uint32_t busy;            /* regions dying, ephemeral, coherent; atomic: is there anything to maintain? */
    uint64_t table_entries;   /* in page tables from calloc */
    uint64_t default_quota_pages;
    uint32_t first_generation; /* random: a handle from before a restart must name nothing */
    uint8_t name_key[16];      /* of the hash: tenants choose names, so it must not be foreseeable */
    struct list free, dying, ephemeral;
    uint32_t coherent;    /* the first of them, or NONE */
    uint64_t coherent_ns; /* when to look for those that need not be so any more */
    pthread_mutex_t mutex;
};

#define NAME_BUCKETS REGIONS_MAX

/* The slot that a handle of this tenant names, or NULL. Data path. */
static inline struct region *region_at(const struct regions *regions, uint16_t tenant, uint64_t handle)
{
    uint32_t index = (uint32_t)handle, generation = (uint32_t)(handle >> 32);
    struct region *region = &regions->slots[index];

    if (index >= load_relaxed(&regions->slots_used) || generation == 0 ||
        load_acquire(&region->generation) != generation || region->tenant != tenant)
        return NULL;
    return region;
}

/* Somebody named it. */
static inline void region_touch(struct region *region)
{
    if ((load_relaxed(&region->flags) & REGION_EPHEMERAL) && !load_relaxed(&region->touched))
        store_relaxed(&region->touched, 1);
}

static inline struct region *region_find(const struct regions *regions, uint16_t tenant, uint64_t handle)
{
    struct region *region = region_at(regions, tenant, handle);

    if (region)
        region_touch(region);
    return region;
}

static inline bool region_is_clone(const struct region *region)
{
    return load_relaxed(&region->flags) & REGION_IS_CLONE;
}

static inline uint32_t region_index(const struct regions *regions, const struct region *region)
{
    return (uint32_t)(region - regions->slots);
}

static inline struct record *region_record(const struct regions *regions, const struct region *region)
{
    return &regions->records[region_index(regions, region)];
}

/* region.c: the mutex. A worker that must wait for it goes offline, so that its holder need not wait for it.
 */
void regions_lock(struct regions *regions, unsigned worker);
void regions_unlock(struct regions *regions);
void regions_fill_info(const struct regions *regions, const struct region *region,
                       struct region_info *info_out);
int regions_check_spec(const struct region_spec *spec, bool nameless);

/* Makes a region that nobody can see before regions_publish: account, promise (unless a clone), slot, page
 * table. */
int regions_reserve(struct regions *regions, unsigned worker, uint16_t tenant, const struct region_spec *spec,
                    uint64_t pages, uint8_t flags, struct region **region_out);
void regions_publish(struct regions *regions, struct region *region);
void regions_table_free(struct regions *regions, struct region *region, uint32_t *table, uint64_t pages);

/* Freezes a region and waits until no write to it is under way. */
void regions_freeze(struct regions *regions, unsigned worker, struct region *region);
void regions_thaw(struct region *region);

/* region_name.c: the names of all tenants. */
uint32_t *regions_name_link(struct regions *regions, uint16_t tenant,
                            const char *name); /* to index + 1, or to 0 */
void regions_name_add(struct regions *regions, uint32_t index);
void regions_name_remove(struct regions *regions, uint32_t index);

/* region_reclaim.c: what ends regions and takes their memory back. */
void regions_list_push(struct regions *regions, struct list *list, uint32_t index);
void regions_list_remove(struct regions *regions, struct list *list, uint32_t index);
void regions_watch(struct regions *regions, uint32_t index, uint64_t now_ns); /* it is ephemeral */
void regions_delete_locked(struct regions *regions, struct region *region);
/* Takes all memory of deleted regions back now. May wait for the other workers. */
void regions_drain_locked(struct regions *regions, unsigned worker);
/* pool_promise; drains if it must. */
int regions_promise_locked(struct regions *regions, unsigned worker, uint64_t pages);

/* region_coherent.c */
/* Does anybody map it coherently? Then it is not to be cloned, grown or sealed. */
bool regions_mapped_locked(struct regions *regions, const struct region *region);
/* Its directory is for so many pages from now on; nobody maps it. */
void regions_resize_coherence(struct regions *regions, const struct region *region, uint64_t pages);
/* It was deleted: who waits in it, and its agents, hear of it. */
void regions_end_coherence(struct regions *regions, uint32_t index);
/* Those in which nothing happens any more pay for coherence no longer. Returns when to look again. */
uint64_t regions_rest_coherent(struct regions *regions, uint64_t now_ns);

/* region_clone.c: the pages of a family. */

/* Makes the page the region's own, to be written in place. 0; -EHWPOISON; -ENOSPC: no frame can be promised
 * for a copy (an origin's: take it from the clones, regions_poison_sharers). Data path. */
int region_own_page(struct regions *regions, struct region *region, uint64_t page);
/* The same for a writer that could not: waits for a frozen region, for memory of deleted ones, and for an
 * origin takes the page from its clones. Takes the mutex; the caller starts its operation again afterwards.
 */
int region_own_page_slowly(struct regions *regions, unsigned worker, uint16_t tenant, uint64_t handle,
                           uint64_t page);
void region_family_leave(struct regions *regions, uint32_t index);

#endif
