/* region_name.c - from tenant and name to region: a hash table with chains, keyed so that nobody can pile
 * them up */
#include <sodium.h>
#include <string.h>

#include "region_internal.h"

static uint32_t *bucket_of(struct regions *regions, uint16_t tenant, const char *name)
{
    unsigned char input[sizeof(tenant) + REGION_NAME_BYTES];
    uint64_t hash;

    static_assert(sizeof(hash) == crypto_shorthash_BYTES, "SipHash gives 8 bytes");
    static_assert(sizeof(regions->name_key) == crypto_shorthash_KEYBYTES, "SipHash takes 16");
    memcpy(input, &tenant, sizeof(tenant));
    memcpy(input + sizeof(tenant), name, REGION_NAME_BYTES);
    crypto_shorthash((unsigned char *)&hash, input, sizeof(input), regions->name_key);
    return &regions->buckets[hash % NAME_BUCKETS];
}

uint32_t *regions_name_link(struct regions *regions, uint16_t tenant, const char *name)
{
    uint32_t *link = bucket_of(regions, tenant, name);

    while (*link) {
        uint32_t index = *link - 1;

        if (regions->slots[index].tenant == tenant &&
            memcmp(regions->records[index].name, name, REGION_NAME_BYTES) == 0)
            break;
        link = &regions->records[index].name_next;
    }
    return link;
}

void regions_name_add(struct regions *regions, uint32_t index)
{
    struct record *record = &regions->records[index];
    uint32_t *bucket = bucket_of(regions, regions->slots[index].tenant, record->name);

    if (record->name[0] == '\0')
        return;
    record->name_next = *bucket;
    *bucket = index + 1;
}

void regions_name_remove(struct regions *regions, uint32_t index)
{
    struct record *record = &regions->records[index];

    if (record->name[0] != '\0')
        *regions_name_link(regions, regions->slots[index].tenant, record->name) = record->name_next;
}
