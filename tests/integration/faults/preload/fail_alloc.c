/* fail_alloc.c - a preloaded library that counts what allocates, and makes the call with a given number fail
 *
 * malloc, calloc, realloc, posix_memalign, aligned_alloc, mmap of anonymous memory and pthread_create count
 * alike. A program linked with it uses the functions of fail_alloc.h; another says by FAIL_ALLOC_AT (0: none)
 * which call fails, and finds how many there were in the file FAIL_ALLOC_COUNT at its end.
 */
#include "fail_alloc.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int __libc_start_main(int (*main)(int, char **, char **), int argc, char **argv, void (*init)(void),
                      void (*fini)(void), void (*loader_fini)(void), void *stack_end);
/* glibc's own, under the names that it keeps for such purposes. */
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *memory, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);
void __libc_free(void *memory);

static atomic_long calls, failing_call, live;
static int (*next_pthread_create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
static void *(*next_mmap)(void *, size_t, int, int, int, off_t);

static bool fails(void)
{
    return atomic_fetch_add(&calls, 1) + 1 == atomic_load(&failing_call);
}

static void *count_live(void *memory)
{
    if (memory)
        atomic_fetch_add(&live, 1);
    else
        errno = ENOMEM;
    return memory;
}

void *malloc(size_t bytes)
{
    return count_live(fails() ? NULL : __libc_malloc(bytes));
}

void *calloc(size_t count, size_t bytes)
{
    return count_live(fails() ? NULL : __libc_calloc(count, bytes));
}

void *realloc(void *memory, size_t bytes)
{
    void *moved;

    if (fails()) {
        errno = ENOMEM;
        return NULL;
    }
    moved = __libc_realloc(memory, bytes);
    return memory ? moved : count_live(moved);
}

void free(void *memory)
{
    if (memory)
        atomic_fetch_sub(&live, 1);
    __libc_free(memory);
}

int posix_memalign(void **memory_out, size_t alignment, size_t bytes)
{
    void *memory = count_live(fails() ? NULL : __libc_memalign(alignment, bytes));

    if (!memory)
        return ENOMEM;
    *memory_out = memory;
    return 0;
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    return count_live(fails() ? NULL : __libc_memalign(alignment, bytes));
}

void *mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    if (!next_mmap)
        next_mmap = dlsym(RTLD_NEXT, "mmap");
    if ((flags & MAP_ANONYMOUS) && fails()) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return next_mmap(address, bytes, protection, flags, fd, offset);
}

int pthread_create(pthread_t *thread_out, const pthread_attr_t *attributes, void *(*run)(void *),
                   void *argument)
{
    if (!next_pthread_create)
        next_pthread_create = dlsym(RTLD_NEXT, "pthread_create");
    return fails() ? EAGAIN : next_pthread_create(thread_out, attributes, run, argument);
}

void fail_alloc_at(long call)
{
    atomic_store(&calls, 0);
    atomic_store(&failing_call, call);
}

bool fail_alloc_reached(void)
{
    return atomic_load(&calls) >= atomic_load(&failing_call);
}

long fail_alloc_live(void)
{
    return atomic_load(&live);
}

/* ---- counting from main on: what libraries do before is not ours ---- */

static int (*program_main)(int, char **, char **);

static int counted_main(int argc, char **argv, char **environment)
{
    const char *at = getenv("FAIL_ALLOC_AT");

    fail_alloc_at(at ? atol(at) : 0);
    return program_main(argc, argv, environment);
}

int __libc_start_main(int (*main)(int, char **, char **), int argc, char **argv, void (*init)(void),
                      void (*fini)(void), void (*loader_fini)(void), void *stack_end)
{
    int (*next)(int (*)(int, char **, char **), int, char **, void (*)(void), void (*)(void), void (*)(void),
                void *) = dlsym(RTLD_NEXT, "__libc_start_main");

    program_main = main;
    return next(counted_main, argc, argv, init, fini, loader_fini, stack_end);
}

__attribute__((destructor)) static void end(void)
{
    const char *path = getenv("FAIL_ALLOC_COUNT");
    char text[32];
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;

    if (fd < 0)
        return;
    (void)!write(fd, text, (size_t)snprintf(text, sizeof(text), "%ld\n", atomic_load(&calls)));
    close(fd);
}
