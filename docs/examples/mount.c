/* mount.c - another machine's memory as an array */
#include <cxe.h>
#include <stdio.h>

int main(void)
{
    const size_t count = 8 << 20;
    struct cxe_map_options options = {.local_bytes = 16 << 20};
    struct cxe_connection *pool;
    struct cxe_region *region;
    void *address;
    uint64_t sum = 0;

    if (cxe_connect(&(struct cxe_connect_options){0}, &pool) < 0 ||
        cxe_region_create(pool, "numbers", count * sizeof(uint64_t), 0, &region) < 0 ||
        cxe_map(region, &options, &address) < 0) {
        fprintf(stderr, "mount: %s\n", cxe_last_error());
        return 1;
    }
    for (size_t i = 0; i < count; i++)
        ((uint64_t *)address)[i] = i;
    for (size_t i = 0; i < count; i++)
        sum += ((uint64_t *)address)[i];
    printf("%zu numbers, 64 MiB of which 16 are here, sum %lu\n", count, (unsigned long)sum);
    return cxe_unmap(address) < 0 || cxe_region_close(region) < 0 || cxe_disconnect(pool) < 0;
}
