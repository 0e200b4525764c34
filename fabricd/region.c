/* region.c - the table of regions and what tenants do with it; see region.h */
#include "region.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "check.h"
#include "clock.h"
#include "coherence.h"
#include "pool.h"
#include "quiesce.h"
#include "region_internal.h"

#define TENANT_IDS      65536
#define SLOT_WORDS      (REGIONS_MAX / 64)
#define PAGES_UNLIMITED (UINT64_MAX / PAGE_BYTES)

void regions_lock(struct regions *regions, unsigned worker)
{
    if (pthread_mutex_trylock(&regions->mutex) == 0)
        return;
    if (worker != QUIESCE_NO_WORKER)
        quiesce_offline(regions->quiesce, worker);
    pthread_mutex_lock(&regions->mutex);
    if (worker != QUIESCE_NO_WORKER)
        quiesce_online(regions->quiesce, worker);
}

void regions_unlock(struct regions *regions)
{
    pthread_mutex_unlock(&regions->mutex);
}

/* Address space only: what is not touched takes no memory, so the tables need not be sized to the pool. */
static void *reserve_array(size_t count, size_t element_bytes)
{
    void *array = mmap(NULL, count * element_bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return array == MAP_FAILED ? NULL : array;
}

static void release_array(void *array, size_t count, size_t element_bytes)
{
    if (array)
        munmap(array, count * element_bytes);
}

int regions_open(const struct regions_options *options, struct regions **regions_out)
{
    struct regions *regions = calloc(1, sizeof(*regions));

    if (!regions)
        return -ENOMEM;
    pthread_mutex_init(&regions->mutex, NULL);
    regions->pool = options->pool;
    regions->quiesce = options->quiesce;
    regions->mailboxes = options->mailboxes;
    regions->lease_ns = options->lease_ns;
    regions->coherent = NONE;
    regions->default_quota_pages = options->default_quota_bytes / PAGE_BYTES;
    regions->free = regions->dying = regions->ephemeral = (struct list){NONE, NONE};
    regions->slots = reserve_array(REGIONS_MAX, sizeof(*regions->slots));
    regions->records = reserve_array(REGIONS_MAX, sizeof(*regions->records));
    regions->buckets = reserve_array(NAME_BUCKETS, sizeof(*regions->buckets));
    regions->accounts = reserve_array(TENANT_IDS, sizeof(*regions->accounts));
    if (!regions->slots || !regions->records || !regions->buckets || !regions->accounts) {
        regions_close(regions);
        return -ENOMEM;
    }
    randombytes_buf(regions->name_key, sizeof(regions->name_key));
    regions->first_generation = randombytes_uniform(1u << 31);
    *regions_out = regions;
    return 0;
}

void regions_close(struct regions *regions)
{
    if (!regions)
        return;
    for (uint32_t i = 0; i < regions->slots_used; i++) {
        if (regions->slots[i].table != regions->slots[i].few)
            free(regions->slots[i].table);
        coherence_close(regions->records[i].coherence);
    }
    for (uint32_t i = 0; regions->slots_used > 0 && i < TENANT_IDS; i++)
        release_array(regions->accounts[i].slots, SLOT_WORDS, sizeof(*regions->accounts[i].slots));
    release_array(regions->slots, REGIONS_MAX, sizeof(*regions->slots));
    release_array(regions->records, REGIONS_MAX, sizeof(*regions->records));
    release_array(regions->buckets, NAME_BUCKETS, sizeof(*regions->buckets));
    release_array(regions->accounts, TENANT_IDS, sizeof(*regions->accounts));
    pthread_mutex_destroy(&regions->mutex);
    free(regions);
}

static uint64_t quota_pages(const struct regions *regions, const struct account *account)
{
    uint64_t limit = load_relaxed(&account->quota_limit);

    return limit == 0 ? regions->default_quota_pages : limit - 1;
}

void regions_set_quota(struct regions *regions, uint16_t tenant, uint64_t quota_bytes)
{
    store_relaxed(&regions->accounts[tenant].quota_limit, quota_bytes / PAGE_BYTES + 1);
}

void regions_get_account(const struct regions *regions, uint16_t tenant, struct regions_account *account_out)
{
    const struct account *account = &regions->accounts[tenant];
    uint64_t quota = quota_pages(regions, account);

    *account_out = (struct regions_account){
        .quota_bytes = quota >= PAGES_UNLIMITED ? REGIONS_QUOTA_UNLIMITED : quota * PAGE_BYTES,
        .used_bytes = load_relaxed(&account->used_pages) * PAGE_BYTES,
        .regions = load_relaxed(&account->regions),
    };
}

static int charge(struct regions *regions, uint16_t tenant, uint64_t pages)
{
    struct account *account = &regions->accounts[tenant];
    uint64_t quota = quota_pages(regions, account);

    if (pages > quota || account->used_pages > quota - pages)
        return -EDQUOT;
    fetch_add_relaxed(&account->used_pages, pages);
    return 0;
}

static bool name_char_valid(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("._-/", c));
}

int regions_check_spec(const struct region_spec *spec, bool nameless)
{
    size_t length = strnlen(spec->name, REGION_NAME_BYTES);

    if (length == REGION_NAME_BYTES || (length == 0 && !nameless))
        return -EINVAL;
    for (size_t i = 0; i < REGION_NAME_BYTES; i++)
        if (i < length ? !name_char_valid(spec->name[i]) : spec->name[i] != '\0')
            return -EINVAL;
    return 0;
}

void regions_fill_info(const struct regions *regions, const struct region *region,
                       struct region_info *info_out)
{
    const struct record *record = region_record(regions, region);

    *info_out = (struct region_info){
        .handle = (uint64_t)record->generation << 32 | region_index(regions, region),
        .bytes = region->pages * PAGE_BYTES,
        .resident_bytes = load_relaxed(&record->resident_pages) * PAGE_BYTES,
        .flags = region->flags & REGION_PUBLIC,
        .tenant = region->tenant,
    };
    memcpy(info_out->name, record->name, REGION_NAME_BYTES);
}

/* A page table of zeros for `pages`; NULL if it would be too much. */
static uint32_t *table_alloc(struct regions *regions, struct region *region, uint64_t pages)
{
    uint32_t *table;

    if (pages <= TABLE_INLINE_PAGES)
        return region->few;
    if (pages > regions->pool->pages * TABLE_ENTRIES_A_PAGE - regions->table_entries)
        return NULL;
    table = calloc(pages, sizeof(*table));
    if (table)
        regions->table_entries += pages;
    return table;
}

void regions_table_free(struct regions *regions, struct region *region, uint32_t *table, uint64_t pages)
{
    if (table == region->few)
        return;
    regions->table_entries -= pages;
    free(table);
}

static uint32_t slot_take(struct regions *regions, unsigned worker)
{
    uint32_t index = regions->free.head;

    if (index == NONE && regions->slots_used == REGIONS_MAX) {
        regions_drain_locked(regions, worker);
        index = regions->free.head;
    }
    if (index != NONE)
        regions_list_remove(regions, &regions->free, index);
    else if (regions->slots_used < REGIONS_MAX)
        index = fetch_add_relaxed(&regions->slots_used, 1);
    return index;
}

int regions_reserve(struct regions *regions, unsigned worker, uint16_t tenant, const struct region_spec *spec,
                    uint64_t pages, uint8_t flags, struct region **region_out)
{
    bool promised = !(flags & REGION_IS_CLONE);
    struct account *account = &regions->accounts[tenant];
    struct region *region;
    uint32_t index;
    int error;

    if (spec->name[0] != '\0' && *regions_name_link(regions, tenant, spec->name) != 0)
        return -EEXIST;
    if (!account->slots && !(account->slots = reserve_array(SLOT_WORDS, sizeof(*account->slots))))
        return -ENOSPC;
    error = charge(regions, tenant, pages);
    if (error)
        return error;
    error = promised ? regions_promise_locked(regions, worker, pages) : 0;
    if (error)
        goto uncharge;
    error = -ENOSPC;
    index = slot_take(regions, worker);
    if (index == NONE)
        goto unpromise;
    region = &regions->slots[index];
    region->table = table_alloc(regions, region, pages);
    if (!region->table)
        goto put_slot;
    region->tenant = tenant;
    region->flags = (uint8_t)(flags | (spec->flags & REGION_PUBLIC));
    region->touched = 0;
    region->pages = pages;
    memcpy(regions->records[index].name, spec->name, REGION_NAME_BYTES);
    regions->records[index].resident_pages = 0;
    regions->records[index].family_next = regions->records[index].family_prev = index;
    *region_out = region;
    return 0;

put_slot:
    regions_list_push(regions, &regions->free, index);
unpromise:
    if (promised)
        pool_unpromise(regions->pool, pages);
uncharge:
    fetch_sub_relaxed(&account->used_pages, pages);
    return error;
}

void regions_publish(struct regions *regions, struct region *region)
{
    struct account *account = &regions->accounts[region->tenant];
    uint32_t index = region_index(regions, region);
    struct record *record = &regions->records[index];

    if (record->generation == 0)
        record->generation = regions->first_generation;
    record->generation++; /* cannot wrap: see the end of a slot's life in region_reclaim.c */
    regions_name_add(regions, index);
    fetch_add_relaxed(&account->regions, 1);
    account->slots[index / 64] |= 1ull << index % 64;
    if (region->flags & REGION_EPHEMERAL)
        regions_watch(regions, index, clock_now_ns());
    store_release(&region->generation, record->generation);
}

void regions_freeze(struct regions *regions, unsigned worker, struct region *region)
{
    store_release(&region->flags, (uint8_t)(region->flags | REGION_FROZEN));
    quiesce_wait(regions->quiesce, worker);
}

void regions_thaw(struct region *region)
{
    store_release(&region->flags, (uint8_t)(region->flags & ~REGION_FROZEN));
}

int regions_create(struct regions *regions, unsigned worker, uint16_t tenant, const struct region_spec *spec,
                   struct region_info *info_out)
{
    int error = regions_check_spec(spec, false);
    struct region *region;

    if (error)
        return error;
    if (spec->bytes == 0 || spec->bytes % PAGE_BYTES != 0 ||
        (spec->flags & ~(uint32_t)(REGION_EPHEMERAL | REGION_SHARED)))
        return -EINVAL;
    regions_lock(regions, worker);
    error = regions_reserve(regions, worker, tenant, spec, spec->bytes / PAGE_BYTES, 0, &region);
    if (!error) {
        regions_publish(regions, region);
        regions_fill_info(regions, region, info_out);
    }
    regions_unlock(regions);
    return error;
}

int regions_open_named(struct regions *regions, unsigned worker, uint16_t tenant,
                       const struct region_spec *spec, struct region_info *info_out)
{
    int error = regions_check_spec(spec, false);
    uint32_t found;

    if (error)
        return error;
    if (spec->bytes != 0 || spec->flags != 0)
        return -EINVAL;
    regions_lock(regions, worker);
    found = *regions_name_link(regions, tenant, spec->name);
    if (found) {
        store_relaxed(&regions->slots[found - 1].touched, 1);
        regions_fill_info(regions, &regions->slots[found - 1], info_out);
    }
    regions_unlock(regions);
    return found ? 0 : -ENOENT;
}

int regions_stat(struct regions *regions, unsigned worker, uint16_t tenant, uint64_t handle,
                 struct region_info *info_out)
{
    const struct region *region;

    regions_lock(regions, worker);
    region = region_find(regions, tenant, handle);
    if (region)
        regions_fill_info(regions, region, info_out);
    regions_unlock(regions);
    return region ? 0 : -ESTALE;
}

/* The first set bit at `from` or above, or REGIONS_MAX. */
static uint64_t next_bit(const uint64_t *words, uint64_t from)
{
    uint64_t at = from / 64, word;

    if (from >= REGIONS_MAX)
        return REGIONS_MAX;
    word = words[at] & (UINT64_MAX << from % 64);
    while (word == 0 && ++at < SLOT_WORDS)
        word = words[at];
    return word ? at * 64 + (uint64_t)__builtin_ctzll(word) : REGIONS_MAX;
}

int regions_next(struct regions *regions, unsigned worker, uint16_t tenant, uint64_t *cursor,
                 struct region_info *info_out)
{
    const struct account *account = &regions->accounts[tenant];
    uint64_t index = REGIONS_MAX;

    regions_lock(regions, worker);
    if (account->slots)
        index = next_bit(account->slots, *cursor);
    if (index < REGIONS_MAX) {
        regions_fill_info(regions, &regions->slots[index], info_out);
        *cursor = index + 1;
    }
    regions_unlock(regions);
    return index < REGIONS_MAX ? 0 : -ENOENT;
}

/* Puts a larger table in the place of the present one, while nobody writes. Readers may still use the old
 * one: they load `pages` before `table`, so that the new size implies the new table. */
static int replace_table(struct regions *regions, unsigned worker, struct region *region, uint64_t pages)
{
    uint32_t *old = region->table, *new = table_alloc(regions, region, pages);
    uint64_t old_pages = region->pages;

    if (!new)
        return -ENOSPC;
    regions_freeze(regions, worker, region);
    for (uint64_t page = 0; page < old_pages; page++)
        if (new != old && old[page] != 0)
            new[page] = old[page];
    store_release(&region->table, new);
    store_release(&region->pages, pages);
    if (new != old) {
        quiesce_wait(regions->quiesce,
                     worker); /* a reader of the old table would miss what is written to the new */
        regions_table_free(regions, region, old, old_pages);
        if (old == region->few)
            memset(region->few, 0, sizeof(region->few));
    }
    regions_thaw(region);
    return 0;
}

static int grow_locked(struct regions *regions, unsigned worker, struct region *region, uint64_t pages)
{
    uint64_t more = pages - region->pages;
    bool promised = !region_is_clone(region);
    int error = charge(regions, region->tenant, more);

    if (error)
        return error;
    regions_resize_coherence(regions, region, pages);
    error = promised ? regions_promise_locked(regions, worker, more) : 0;
    if (error)
        goto uncharge;
    error = replace_table(regions, worker, region, pages);
    if (error)
        goto unpromise;
    return 0;

unpromise:
    if (promised)
        pool_unpromise(regions->pool, more);
uncharge:
    fetch_sub_relaxed(&regions->accounts[region->tenant].used_pages, more);
    return error;
}

int regions_grow(struct regions *regions, unsigned worker, uint16_t tenant, uint64_t handle, uint64_t bytes,
                 struct region_info *info_out)
{
    struct region *region;
    int error = 0;

    regions_lock(regions, worker);
    region = region_find(regions, tenant, handle);
    if (!region)
        error = -ESTALE;
    else if (region->flags & REGION_SEALED)
        error = -EACCES;
    else if (regions_mapped_locked(regions, region))
        error = -EBUSY;
    else if (bytes % PAGE_BYTES != 0 || bytes / PAGE_BYTES < region->pages)
        error = -EINVAL;
    else if (bytes / PAGE_BYTES > region->pages)
        error = grow_locked(regions, worker, region, bytes / PAGE_BYTES);
    if (!error)
        regions_fill_info(regions, region, info_out);
    regions_unlock(regions);
    return error;
}

int regions_delete(struct regions *regions, unsigned worker, uint16_t tenant, uint64_t handle)
{
    struct region *region;

    regions_lock(regions, worker);
    region = region_find(regions, tenant, handle);
    if (region)
        regions_delete_locked(regions, region);
    regions_unlock(regions);
    return region ? 0 : -ESTALE;
}

int regions_seal(struct regions *regions, unsigned worker, uint16_t tenant, uint64_t handle,
                 struct region_info *info_out)
{
    struct region *region;
    int error = 0;

    regions_lock(regions, worker);
    region = region_find(regions, tenant, handle);
    if (!region) {
        error = -ESTALE;
    } else if (regions_mapped_locked(regions, region)) {
        error = -EBUSY;
    } else if (!(region->flags & REGION_SEALED)) {
        store_release(&region->flags, (uint8_t)(region->flags | REGION_SEALED));
        quiesce_wait(regions->quiesce, worker); /* for writes that did not see it */
    }
    if (!error)
        regions_fill_info(regions, region, info_out);
    regions_unlock(regions);
    return error;
}
