/* cache.c - puts into a shared cache, or gets from it: cache KEY [VALUE] */
#include <stdio.h>

#include "line_cache.h"

static int run(struct line_cache *cache, const char *key, const char *value)
{
    char found[LINE_CACHE_VALUE_BYTES];
    int error;

    if (value)
        return line_cache_put(cache, key, value);
    error = line_cache_get(cache, key, found);
    if (!error)
        puts(found);
    return error;
}

int main(int argc, char **argv)
{
    struct cxe_connect_options options = {0};
    struct cxe_connection *pool;
    struct line_cache cache;
    int error;

    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: cache KEY [VALUE]\n");
        return 2;
    }
    if (cxe_connect(&options, &pool) < 0 || line_cache_open(pool, "cache", 1 << 16, &cache) < 0) {
        fprintf(stderr, "cache: %s\n", cxe_last_error());
        return 1;
    }
    error = run(&cache, argv[1], argv[2]);
    if (error == -ENOENT)
        fprintf(stderr, "cache: nothing under '%s'\n", argv[1]);
    else if (error)
        fprintf(stderr, "cache: %s\n", cxe_last_error());
    cxe_region_close(cache.region);
    cxe_disconnect(pool);
    return error != 0;
}
