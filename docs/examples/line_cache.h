/* line_cache.h - a small cache that many programs share: one entry, one line */
#ifndef LINE_CACHE_H
#define LINE_CACHE_H

#include <cxe.h>

#define LINE_CACHE_KEY_BYTES   24 /* with the terminating NUL */
#define LINE_CACHE_VALUE_BYTES 40 /* likewise */

struct line_cache {
    struct cxe_region *region;
    uint64_t entries;
};

/* Opens the cache of that name, or makes it with `entries` entries. Negative errno. */
int line_cache_open(struct cxe_connection *pool, const char *name, uint64_t entries,
                    struct line_cache *cache_out);

/* Any program may put and get at any time; the last put of a key wins. A key whose place another key takes is
 * forgotten: it is a cache. -EINVAL: too long. */
int line_cache_put(struct line_cache *cache, const char *key, const char *value);

/* -ENOENT: not there (any more). */
int line_cache_get(struct line_cache *cache, const char *key, char value_out[LINE_CACHE_VALUE_BYTES]);

#endif
