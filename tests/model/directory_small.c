/* directory_small.c - the directory's own source, with small bounds and its memory in `world` */
#include "world.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "check.h"

static void *cell_alloc(size_t bytes)
{
    unsigned cell = (unsigned)__builtin_ctz(~world.cells_used);

    CHECK(bytes <= CELL_BYTES && cell < CELLS);
    world.cells_used |= 1u << cell;
    return memset(world.cells[cell], 0, CELL_BYTES);
}

static void cell_free(void *memory)
{
    if (memory)
        world.cells_used &= ~(1u << ((uint64_t(*)[CELL_BYTES / 8]) memory - world.cells));
}

/* The heads are mapped first, then the slab, of which a few entries are ever used. */
static void *map(bool slab)
{
    return world.maps[slab];
}

/* Memory is not given back to anybody. */
static int keep(size_t bytes)
{
    (void)bytes;
    return -ENOSYS;
}

#define calloc(count, bytes)                              cell_alloc((count) * (bytes))
#define free(memory)                                      cell_free(memory)
#define mmap(address, bytes, protection, flags, file, at) map((protection) == PROT_NONE)
#define mprotect(address, bytes, protection)              0
#define madvise(address, bytes, advice)                   keep(bytes)
#define munmap(address, bytes)                            ((void)(bytes))

#include "directory.c"
#include "directory_entries.c"
#include "directory_valid.c"
#include "directory_word.c"
