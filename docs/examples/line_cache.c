/* line_cache.c - see line_cache.h */
#include "line_cache.h"

#include <string.h>

/* The whole trick: an entry is a line, and a line is never torn. Whoever reads it sees one put or another,
 * key and value belonging together; there is nothing to lock. */
struct entry {
    char key[LINE_CACHE_KEY_BYTES];
    char value[LINE_CACHE_VALUE_BYTES];
};
_Static_assert(sizeof(struct entry) == CXE_LINE_BYTES, "one entry, one line");

/* FNV-1a: each key has one place. */
static uint64_t offset_of(const struct line_cache *cache, const char *key)
{
    uint64_t hash = 0xcbf29ce484222325;

    for (; *key; key++)
        hash = (hash ^ (unsigned char)*key) * 0x100000001b3;
    return hash % cache->entries * CXE_LINE_BYTES;
}

int line_cache_open(struct cxe_connection *pool, const char *name, uint64_t entries,
                    struct line_cache *cache_out)
{
    uint64_t pages = (entries * CXE_LINE_BYTES + CXE_PAGE_BYTES - 1) / CXE_PAGE_BYTES;
    int error = cxe_region_create(pool, name, pages * CXE_PAGE_BYTES, 0, &cache_out->region);

    if (error == -EEXIST)
        error = cxe_region_open(pool, name, &cache_out->region);
    if (!error)
        cache_out->entries = cxe_region_bytes(cache_out->region) / CXE_LINE_BYTES;
    return error;
}

int line_cache_put(struct line_cache *cache, const char *key, const char *value)
{
    struct entry entry = {0};

    if (strlen(key) >= sizeof(entry.key) || strlen(value) >= sizeof(entry.value))
        return -EINVAL;
    strcpy(entry.key, key);
    strcpy(entry.value, value);
    return cxe_write(cache->region, offset_of(cache, key), &entry, sizeof(entry));
}

int line_cache_get(struct line_cache *cache, const char *key, char value_out[LINE_CACHE_VALUE_BYTES])
{
    struct entry entry;
    int error = cxe_read(cache->region, offset_of(cache, key), &entry, sizeof(entry));

    if (error)
        return error;
    if (strncmp(entry.key, key, sizeof(entry.key)) != 0 || entry.key[0] == '\0')
        return -ENOENT;
    memcpy(value_out, entry.value, sizeof(entry.value));
    return 0;
}
