/* scratch.c - see scratch.h */
#include "scratch.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "stub.h"

#define CUT_ALIGNMENT 64

static _Thread_local char *own;
static _Thread_local int own_taken;
static _Thread_local char *exec_memory;
static _Thread_local size_t exec_bytes;

/* Created before the program's, so that its value lies in the thread's descriptor and setting it does not
 * allocate. */
static pthread_key_t thread_end;

static void *map_pages(size_t bytes)
{
    long result = stub_call6(SYS_mmap, 0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return result < 0 ? NULL : (void *)result;
}

static void free_own(void *memory)
{
    stub_call2(SYS_munmap, memory, SCRATCH_BYTES);
    own = NULL;
}

void scratch_init(void)
{
    pthread_key_create(&thread_end, free_own);
}

static int open_own(void)
{
    if (own_taken)
        return -EBUSY;
    if (!own) {
        own = map_pages(SCRATCH_BYTES);
        if (!own)
            return -ENOMEM;
        pthread_setspecific(thread_end, own);
    }
    own_taken = 1;
    return 0;
}

/* A signal handler that leaves by longjmp while a call is under way keeps `own` taken for good; the thread
 * then pays a mapping for each call. */
int scratch_open(struct scratch *scratch, size_t bytes)
{
    *scratch = (struct scratch){.total_bytes = bytes < SCRATCH_BYTES ? SCRATCH_BYTES : bytes};
    if (bytes <= SCRATCH_BYTES && open_own() == 0) {
        scratch->memory = own;
        scratch->borrowed = 1;
        return 0;
    }
    scratch->memory = map_pages(scratch->total_bytes);
    return scratch->memory ? 0 : -ENOMEM;
}

void scratch_close(struct scratch *scratch)
{
    if (scratch->borrowed)
        own_taken = 0;
    else
        stub_call2(SYS_munmap, scratch->memory, scratch->total_bytes);
}

void *scratch_cut(struct scratch *scratch, size_t bytes)
{
    void *piece = scratch->memory + scratch->used_bytes;

    if (bytes > scratch->total_bytes - scratch->used_bytes)
        return NULL;
    bytes = (bytes + CUT_ALIGNMENT - 1) / CUT_ALIGNMENT * CUT_ALIGNMENT;
    scratch->used_bytes += bytes;
    if (scratch->used_bytes > scratch->total_bytes)
        scratch->used_bytes = scratch->total_bytes;
    return piece;
}

void *scratch_exec(size_t bytes)
{
    if (bytes > exec_bytes) {
        if (exec_memory)
            stub_call2(SYS_munmap, exec_memory, exec_bytes);
        exec_bytes = 0;
        exec_memory = map_pages(bytes);
        if (exec_memory)
            exec_bytes = bytes;
    }
    return exec_memory;
}
