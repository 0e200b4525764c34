/* memory.c - see memory.h */
#include "memory.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "allocate.h"
#include "atomic.h"
#include "call.h"
#include "cxe.h"
#include "pager.h"
#include "space.h"
#include "stub.h"

static struct memory_options options;
static bool started;
static bool protection_changed; /* some page may not be readable and writable, which all free ones must be */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct space space;          /* under lock */
static struct memory_counts counts; /* relaxed: the first two written under lock */

/* ---- addresses ---- */

static char *page_address(size_t page)
{
    return (char *)options.base + page * PAGE_BYTES;
}

static size_t page_number(const void *address)
{
    return (size_t)((const char *)address - (const char *)options.base) / PAGE_BYTES;
}

static size_t page_count(size_t bytes)
{
    return bytes / PAGE_BYTES + (bytes % PAGE_BYTES != 0);
}

/* Does the range touch the mapping, or the window at all? */
static bool is_ours(const void *address)
{
    return load_acquire(&started) && pager_in_window(address);
}

/* A range as system calls take it: starts at a page, ends inside the mapping. */
static int check_range(const void *address, size_t bytes)
{
    uintptr_t offset = (uintptr_t)address - (uintptr_t)options.base;

    if ((uintptr_t)address % PAGE_BYTES != 0)
        return -EINVAL;
    if (offset >= options.bytes || page_count(bytes) > (options.bytes - offset) / PAGE_BYTES)
        return -ENOMEM;
    return 0;
}

/* ---- pages of the space ---- */

static void count_taken(void)
{
    uint64_t bytes = space.taken_pages * PAGE_BYTES;

    store_relaxed(&counts.taken_bytes, bytes);
    if (bytes > counts.taken_bytes_most)
        store_relaxed(&counts.taken_bytes_most, bytes);
}

static int take(size_t count, size_t *first_out)
{
    int error;

    pthread_mutex_lock(&lock);
    error = space_take(&space, count, first_out);
    count_taken();
    pthread_mutex_unlock(&lock);
    return error;
}

static int take_at(size_t first, size_t count)
{
    int error;

    pthread_mutex_lock(&lock);
    error = space_take_at(&space, first, count);
    count_taken();
    pthread_mutex_unlock(&lock);
    return error;
}

static int discard(void *address, size_t bytes)
{
    int error;

    library_enter();
    error = pager_discard(address, bytes);
    library_leave();
    return error;
}

/* Forgets what is in the pages and makes them accessible, so that whoever takes them next finds zeros. */
static int clean(size_t first, size_t count)
{
    if (load_relaxed(&protection_changed)) {
        long result =
            stub_call3(SYS_mprotect, page_address(first), count * PAGE_BYTES, PROT_READ | PROT_WRITE);

        if (result < 0)
            return (int)result;
    }
    return discard(page_address(first), count * PAGE_BYTES);
}

static int give(size_t first, size_t count)
{
    int error = clean(first, count);

    if (error)
        return error;
    pthread_mutex_lock(&lock);
    space_give(&space, first, count);
    count_taken();
    pthread_mutex_unlock(&lock);
    return 0;
}

/* ---- start ---- */

int memory_start(const struct memory_options *wanted)
{
    size_t pages = wanted->bytes / PAGE_BYTES;
    long words = stub_call6(SYS_mmap, 0, space_words_bytes(pages), PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (words < 0)
        return (int)words;
    options = *wanted;
    space_init(&space, (uint64_t *)words, pages);
    store_release(&started, true);
    return 0;
}

void memory_counts(struct memory_counts *counts_out)
{
    counts_out->taken_bytes = load_relaxed(&counts.taken_bytes);
    counts_out->taken_bytes_most = load_relaxed(&counts.taken_bytes_most);
    counts_out->fallback_count = load_relaxed(&counts.fallback_count);
    counts_out->fallback_bytes = load_relaxed(&counts.fallback_bytes);
}

void memory_lock(void)
{
    pthread_mutex_lock(&lock);
}

void memory_unlock(void)
{
    pthread_mutex_unlock(&lock);
}

/* ---- mmap ---- */

/* Memory like any other: that is what can be on the pool. */
static bool is_plain(int protection, int flags)
{
    const int special = MAP_SHARED | MAP_STACK | MAP_GROWSDOWN | MAP_HUGETLB | MAP_LOCKED | MAP_32BIT;

    return (flags & MAP_ANONYMOUS) && (flags & MAP_PRIVATE) && !(flags & special) &&
           protection == (PROT_READ | PROT_WRITE);
}

static void count_fallback(size_t bytes)
{
    fetch_add_relaxed(&counts.fallback_count, 1);
    fetch_add_relaxed(&counts.fallback_bytes, bytes);
}

/* An address that the caller would like: jemalloc and others grow what they have. */
static bool take_hint(const void *hint, size_t count, size_t *first_out)
{
    if (!hint || !pager_in_window(hint) || check_range(hint, count * PAGE_BYTES) != 0)
        return false;
    *first_out = page_number(hint);
    return take_at(*first_out, count) == 0;
}

/* Over pages of the pool, in place: the caller has them, or will not miss what is there. */
static long map_over(void *address, size_t bytes, int protection, int flags)
{
    size_t first = page_number(address), count = page_count(bytes);
    int error = check_range(address, bytes);

    if (error)
        return error;
    if (!is_plain(protection, flags & ~MAP_NORESERVE))
        return -ENOMEM; /* the kernel's answer where it cannot; pages of the pool stay what they are */
    if ((flags & MAP_FIXED_NOREPLACE) == MAP_FIXED_NOREPLACE) {
        error = take_at(first, count);
        return error ? error : (long)address;
    }
    error = clean(first, count);
    if (error)
        return error;
    pthread_mutex_lock(&lock);
    space_give(&space, first, count);
    error = space_take_at(&space, first, count);
    count_taken();
    pthread_mutex_unlock(&lock);
    return error ? error : (long)address;
}

long memory_map(void *address, size_t bytes, int protection, int flags, int fd, long offset)
{
    size_t count = page_count(bytes), first;

    if (!load_acquire(&started) || bytes == 0)
        return stub_call6(SYS_mmap, address, bytes, protection, flags, fd, offset);
    if (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) {
        if (pager_in_window(address))
            return map_over(address, bytes, protection, flags);
        return stub_call6(SYS_mmap, address, bytes, protection, flags, fd, offset);
    }
    if (bytes < options.threshold_bytes || !is_plain(protection, flags))
        return stub_call6(SYS_mmap, address, bytes, protection, flags, fd, offset);
    if (take_hint(address, count, &first) || take(count, &first) == 0)
        return (long)page_address(first);
    if (options.strict)
        return -ENOMEM;
    count_fallback(bytes);
    return stub_call6(SYS_mmap, address, bytes, protection, flags, fd, offset);
}

/* ---- munmap, mremap ---- */

long memory_unmap(void *address, size_t bytes)
{
    int error;

    if (!is_ours(address))
        return stub_call2(SYS_munmap, address, bytes);
    error = bytes == 0 ? -EINVAL : check_range(address, bytes);
    return error == -ENOMEM ? -EINVAL : error ? error : give(page_number(address), page_count(bytes));
}

/* Somewhere else, local or not. */
static long move(void *address, size_t old_bytes, size_t new_bytes)
{
    long moved = memory_map(NULL, new_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    long error;

    if (moved < 0)
        return moved;
    memcpy((void *)moved, address, old_bytes < new_bytes ? old_bytes : new_bytes);
    error = memory_unmap(address, old_bytes);
    if (error) {
        memory_unmap((void *)moved, new_bytes);
        return error;
    }
    return moved;
}

/* Pages behind the range, if they are free and there. */
static int grow(void *address, size_t old_bytes, size_t new_bytes)
{
    size_t first = page_number(address);
    size_t old_count = page_count(old_bytes), new_count = page_count(new_bytes);

    if (new_count > options.bytes / PAGE_BYTES - first)
        return -ENOMEM;
    return take_at(first + old_count, new_count - old_count);
}

long memory_remap(void *address, size_t old_bytes, size_t new_bytes, int flags, void *new_address)
{
    size_t old_count = page_count(old_bytes), new_count = page_count(new_bytes);
    int error;

    if (!is_ours(address)) {
        if ((flags & MREMAP_FIXED) && pager_in_window(new_address))
            return -ENOMEM;
        return stub_call6(SYS_mremap, address, old_bytes, new_bytes, flags, new_address, 0);
    }
    if (old_bytes == 0 || new_bytes == 0 || (flags & ~MREMAP_MAYMOVE))
        return -EINVAL;
    error = check_range(address, old_bytes);
    if (error)
        return -EFAULT;
    if (new_count < old_count)
        error = give(page_number(address) + new_count, old_count - new_count);
    else if (new_count > old_count)
        error = grow(address, old_bytes, new_bytes);
    if (!error)
        return (long)address;
    return (flags & MREMAP_MAYMOVE) ? move(address, old_bytes, new_bytes) : -ENOMEM;
}

/* ---- mprotect, madvise ---- */

/* The pager reads pages through their addresses when it writes them back: they must stay readable. */
long memory_protect(void *address, size_t bytes, int protection)
{
    int error;

    if (!is_ours(address))
        return stub_call3(SYS_mprotect, address, bytes, protection);
    error = check_range(address, bytes);
    if (error)
        return error;
    if (!(protection & PROT_READ))
        return -ENOMEM;
    if (protection != (PROT_READ | PROT_WRITE))
        store_relaxed(&protection_changed, true);
    else if (!load_relaxed(&protection_changed))
        return 0;
    return stub_call3(SYS_mprotect, address, bytes, protection);
}

static int populate(char *address, size_t bytes, bool write)
{
    for (size_t i = 0; i < bytes; i += PAGE_BYTES) {
        if (write)
            __atomic_fetch_or(address + i, 0, __ATOMIC_RELAXED);
        else
            (void)load_relaxed(address + i);
    }
    return 0;
}

static long advise_pool(char *address, size_t bytes, int advice)
{
    switch (advice) {
    case MADV_DONTNEED:
    case MADV_FREE: /* may read as zeros from now on, and does */
        return discard(address, bytes);
    case MADV_NORMAL:
        return cxe_advise(address, bytes, CXE_ADVICE_NORMAL);
    case MADV_SEQUENTIAL:
        return cxe_advise(address, bytes, CXE_ADVICE_SEQUENTIAL);
    case MADV_RANDOM:
        return cxe_advise(address, bytes, CXE_ADVICE_RANDOM);
    case MADV_COLD:
    case MADV_PAGEOUT:
        return cxe_advise(address, bytes, CXE_ADVICE_COLD);
    case MADV_WILLNEED:
        return cxe_prefetch(address, bytes);
    case MADV_POPULATE_READ:
    case MADV_POPULATE_WRITE:
        return populate(address, bytes, advice == MADV_POPULATE_WRITE);
    case MADV_HUGEPAGE: /* advice about what the pool's pages are not: followed by doing nothing */
    case MADV_NOHUGEPAGE:
    case MADV_DONTDUMP:
    case MADV_MERGEABLE:
    case MADV_UNMERGEABLE:
        return 0;
    default: /* among them those that change what fork does */
        return -EINVAL;
    }
}

long memory_advise(void *address, size_t bytes, int advice)
{
    int error;

    if (!is_ours(address))
        return stub_call3(SYS_madvise, address, bytes, advice);
    error = check_range(address, bytes);
    if (error || bytes == 0)
        return error;
    library_enter();
    error = (int)advise_pool(address, page_count(bytes) * PAGE_BYTES, advice);
    library_leave();
    return error;
}

/* ---- trapped calls ---- */

long call_mmap(struct call_request *request)
{
    const long *a = request->arguments;

    return memory_map((void *)a[0], (size_t)a[1], (int)a[2], (int)a[3], (int)a[4], a[5]);
}

long call_munmap(struct call_request *request)
{
    return memory_unmap((void *)request->arguments[0], (size_t)request->arguments[1]);
}

long call_mremap(struct call_request *request)
{
    const long *a = request->arguments;

    return memory_remap((void *)a[0], (size_t)a[1], (size_t)a[2], (int)a[3], (void *)a[4]);
}

long call_mprotect(struct call_request *request)
{
    const long *a = request->arguments;

    return memory_protect((void *)a[0], (size_t)a[1], (int)a[2]);
}

long call_madvise(struct call_request *request)
{
    const long *a = request->arguments;

    return memory_advise((void *)a[0], (size_t)a[1], (int)a[2]);
}

/* The pool's pages come and go: locking them would be a lie. */
long call_mlock(struct call_request *request)
{
    (void)request;
    return -ENOMEM;
}

/* msync of anonymous memory, munlock of what was not locked, a NUMA policy for what is remote. */
long call_ignored(struct call_request *request)
{
    (void)request;
    return 0;
}
