/* pool_memory.h - how much memory the machine, its nodes and our cgroup would still let us have */
#ifndef FABRICD_POOL_MEMORY_H
#define FABRICD_POOL_MEMORY_H

#include <stdint.h>

#define POOL_MEMORY_SOURCE_BYTES 320

struct pool_memory {
    uint64_t bytes;                        /* that can still be taken without swapping or being killed */
    char source[POOL_MEMORY_SOURCE_BYTES]; /* which file said so: the tightest of them */
};

/* Looks at MemAvailable and at the limit of every memory cgroup above this process (v1 and v2). `root` is put
 * in front of every path; "" but in tests. What cannot be read does not limit: then bytes is UINT64_MAX. */
void pool_memory_available(const char *root, struct pool_memory *memory_out);

/* The same for the NUMA nodes of a mask: free memory and what the page cache would give back. A node that is
 * not there has none. */
void pool_memory_of_nodes(const char *root, uint64_t node_mask, struct pool_memory *memory_out);

/* Free huge pages of the default size, and that size in bytes. 0, 0 if the kernel has none. */
void pool_memory_huge(const char *root, uint64_t *pages_out, uint64_t *page_bytes_out);

#endif
