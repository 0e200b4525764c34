/* tenant.c - see tenant.h */
#include "tenant.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "atomic.h"

struct table {
    struct table *older;
    unsigned count;
    bool open;
    struct tenant tenants[];
};

/* Written by the thread that publishes (release), read by all (acquire). */
static struct table *in_force;
static uint64_t generation;

int tenants_publish(const struct tenant *tenants, unsigned count, bool open)
{
    struct table *older = load_acquire(&in_force);
    struct table *table = malloc(sizeof(*table) + (count + 1) * sizeof(table->tenants[0]));

    if (!table)
        return -ENOMEM;
    table->older = older;
    table->open = open;
    table->count = count;
    if (count > 0)
        memcpy(table->tenants, tenants, count * sizeof(*tenants));
    if (open) {
        table->count = 1;
        table->tenants[0] = (struct tenant){
            .name = TENANT_OPEN_NAME, .id = TENANT_OPEN_ID, .quota_bytes = TENANT_QUOTA_UNLIMITED};
    }
    store_release(&in_force, table);   /* pairs with load_acquire in every reader below */
    fetch_add_acq_rel(&generation, 1); /* who sees this sees the table */
    return 0;
}

void tenants_clear(void)
{
    struct table *table = exchange_acq_rel(&in_force, NULL);

    while (table) {
        struct table *older = table->older;

        free(table);
        table = older;
    }
}

/* `index` if `matches`, else `found`, without a branch on `matches`. */
static unsigned choose(unsigned found, unsigned index, bool matches)
{
    unsigned mask = 0u - (unsigned)matches;

    return (found & ~mask) | (index & mask);
}

const struct tenant *tenants_find_by_key(const uint8_t public_key[NOISE_KEY_BYTES])
{
    const struct table *table = load_acquire(&in_force);
    unsigned found;

    if (!table)
        return NULL;
    if (table->open)
        return &table->tenants[0];
    found = table->count;
    for (unsigned i = 0; i < table->count; i++) {
        const struct tenant *tenant = &table->tenants[i];
        bool current = sodium_memcmp(public_key, tenant->public_key, NOISE_KEY_BYTES) == 0;
        bool previous = sodium_memcmp(public_key, tenant->previous_key, NOISE_KEY_BYTES) == 0;

        found = choose(found, i, current | (previous & tenant->has_previous_key));
    }
    return found < table->count ? &table->tenants[found] : NULL;
}

const struct tenant *tenants_find_by_id(uint16_t id)
{
    const struct table *table = load_acquire(&in_force);

    for (unsigned i = 0; table && i < table->count; i++)
        if (table->tenants[i].id == id)
            return &table->tenants[i];
    return NULL;
}

const uint64_t *tenants_generation(void)
{
    return &generation;
}

const struct tenant *tenants_list(unsigned *count_out)
{
    const struct table *table = load_acquire(&in_force);

    *count_out = table ? table->count : 0;
    return table ? table->tenants : NULL;
}
