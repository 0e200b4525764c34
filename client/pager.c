/* pager.c - making and ending a mapping, and finding it by address */
#include "pager_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "error.h"
#include "least.h"

/* From Linux 4.17; older kernels take the address for a hint, which shows in the result. */
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

struct pager *pager_units[PAGER_UNITS];
uint32_t pager_outside_count;
static struct pager *outside[PAGER_OUTSIDE_MAX];
static pthread_mutex_t table_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

/* ---- finding ---- */

static bool contains(const struct pager *pager, const void *address)
{
    return pager && (uintptr_t)address - (uintptr_t)pager->base < pager->bytes;
}

struct pager *pager_lookup(const void *address)
{
    struct pager *pager;

    if (pager_in_window(address)) {
        pager = load_acquire(&pager_units[((uintptr_t)address - PAGER_WINDOW_BASE) >> PAGER_UNIT_BITS]);
        return contains(pager, address) ? pager : NULL;
    }
    for (unsigned i = 0; i < PAGER_OUTSIDE_MAX; i++) {
        pager = load_acquire(&outside[i]);
        if (contains(pager, address))
            return pager;
    }
    return NULL;
}

void pager_table_lock(void)
{
    pthread_mutex_lock(&table_mutex);
}

void pager_table_unlock(void)
{
    pthread_mutex_unlock(&table_mutex);
}

void pager_for_each(void (*each)(struct pager *pager))
{
    struct pager *last = NULL;

    for (unsigned i = 0; i < PAGER_UNITS; i++) {
        struct pager *pager = pager_units[i];

        if (pager && pager != last)
            each(pager);
        last = pager;
    }
    for (unsigned i = 0; i < PAGER_OUTSIDE_MAX; i++)
        if (outside[i])
            each(outside[i]);
}

static uint64_t first_unit(const void *base)
{
    return ((uintptr_t)base - PAGER_WINDOW_BASE) >> PAGER_UNIT_BITS;
}

static uint64_t last_unit(const void *base, uint64_t bytes)
{
    return ((uintptr_t)base + bytes - 1 - PAGER_WINDOW_BASE) >> PAGER_UNIT_BITS;
}

static bool units_free(uint64_t first, uint64_t last)
{
    for (uint64_t unit = first; unit <= last; unit++)
        if (unit >= PAGER_UNITS || pager_units[unit])
            return false;
    return true;
}

static void table_add(struct pager *pager)
{
    if (pager_in_window(pager->base)) {
        for (uint64_t unit = first_unit(pager->base); unit <= last_unit(pager->base, pager->bytes); unit++)
            store_release(&pager_units[unit], pager);
        return;
    }
    for (unsigned i = 0; i < PAGER_OUTSIDE_MAX; i++)
        if (!outside[i]) {
            store_release(&outside[i], pager);
            pager_outside_count++;
            return;
        }
}

void pager_table_remove(struct pager *pager)
{
    for (unsigned i = 0; i < PAGER_UNITS; i++)
        if (pager_units[i] == pager)
            store_release(&pager_units[i], NULL);
    for (unsigned i = 0; i < PAGER_OUTSIDE_MAX; i++)
        if (outside[i] == pager) {
            store_release(&outside[i], NULL);
            pager_outside_count--;
        }
}

void *pager_address(const struct pager *pager)
{
    return pager->base;
}

uint64_t pager_bytes(const struct pager *pager)
{
    return pager->bytes;
}

uint64_t pager_region_handle(const struct pager *pager)
{
    return pager->region->handle;
}

static int owns_fd;
static bool owns_fd_found;
static void owns_fd_each(struct pager *pager)
{
    if (owns_fd == pager->uffd || owns_fd == pager->uffd_guard)
        owns_fd_found = true;
}

bool pager_owns_fd(int fd)
{
    pager_table_lock();
    owns_fd = fd;
    owns_fd_found = false;
    pager_for_each(owns_fd_each);
    bool found = owns_fd_found;
    pager_table_unlock();
    return found;
}

/* ---- the gate ---- */

static void gate_wait_open(uint32_t *gate)
{
    unsigned tries = 0;

    while (load_acquire(gate) & GATE_CLOSED)
        pager_backoff(&tries);
}

static bool gate_enter_try(uint32_t *gate)
{
    if (!(fetch_add_acq_rel(gate, 1u) & GATE_CLOSED))
        return true;
    fetch_sub_acq_rel(gate, 1u);
    return false;
}

void pager_enter(struct pager *pager)
{
    while (!gate_enter_try(&pager->gate))
        gate_wait_open(&pager->gate);
}

bool pager_write_enter_try(struct pager *pager)
{
    return gate_enter_try(&pager->write_gate);
}

void pager_write_wait(struct pager *pager)
{
    pager_leave(pager);
    gate_wait_open(&pager->write_gate);
    pager_enter(pager);
}

void pager_write_enter(struct pager *pager)
{
    while (!pager_write_enter_try(pager))
        pager_write_wait(pager);
}

void gate_close(uint32_t *gate)
{
    unsigned tries = 0;

    while (fetch_or_acq_rel(gate, GATE_CLOSED) & GATE_CLOSED) /* somebody else closed it: then after him */
        pager_backoff(&tries);
    while (load_acquire(gate) != GATE_CLOSED)
        pager_backoff(&tries);
}

void gate_open(uint32_t *gate)
{
    fetch_sub_acq_rel(gate, GATE_CLOSED);
}

void signals_block(sigset_t *saved_out)
{
    sigset_t all;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, saved_out);
}

void signals_restore(const sigset_t *saved)
{
    pthread_sigmask(SIG_SETMASK, saved, NULL);
}

void pager_begin(struct pager *pager, sigset_t *saved_out)
{
    signals_block(saved_out);
    pager_enter(pager);
}

void pager_end(struct pager *pager, const sigset_t *saved)
{
    pager_leave(pager);
    signals_restore(saved);
}

/* ---- memory of our own ---- */

/* Not from malloc, which may live on a mapping; and not in core dumps, since it holds the mapping's content.
 */
void *pager_alloc(uint64_t bytes)
{
    void *memory =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (memory == MAP_FAILED)
        return NULL;
    madvise(memory, bytes, MADV_DONTDUMP);
    return memory;
}

static uint32_t clamp(uint64_t value, uint32_t low, uint32_t high)
{
    return value < low ? low : value > high ? high : (uint32_t)value;
}

static uint32_t power_of_two(uint32_t at_least)
{
    uint32_t power = 1;

    while (power < at_least)
        power *= 2;
    return power;
}

/* So many that every one of the other pages can have fingerprints. */
static uint32_t shelves_for(uint32_t pages)
{
    return pages / SHELF_PRINTS + 1;
}

/* How the local memory is divided: places for pages and for shelves of fingerprints, and the buffers of bulk
 * reads, which get a sixteenth at most, and nothing where the cache is tiny. Longer bulk reads cost less a
 * page, but rather shorter ones than fewer than eight: several streams want some each. */
static void size_up(struct pager *pager)
{
    uint32_t local = clamp(pager->local_bytes / PAGE_BYTES, 0, UINT32_MAX / 4);
    bool prefetch = local >= 512 && !(pager->flags & CXE_MAP_NO_PREFETCH);

    pager->fetch_pages = local >= 8 * 16 * FETCH_PAGES ? FETCH_PAGES : FETCH_PAGES / 2;
    pager->fetch_count = prefetch ? clamp(local / 16 / pager->fetch_pages, 2, FETCHES_MAX) : 0;
    bool prints = !(pager->flags & (CXE_MAP_READ_ONLY | CXE_MAP_WHOLE_PAGES));
    uint64_t most = (uint64_t)pager->page_count + (prints ? shelves_for(pager->page_count) : 0);

    pager->cache_pages = (uint32_t)least(local - pager->fetch_count * pager->fetch_pages, most);
    pager->shelf_count = prints ? shelves_for(pager->cache_pages) : 0;
    pager->shelves_warm_most = (uint32_t)least(pager->cache_pages / 64, SHELVES_WARM - 1);
    pager->free_pages = (int32_t)pager->cache_pages;
    pager->low_pages = pager->cache_pages < most ? clamp(pager->cache_pages / 32, 4, 512) : 0;
    pager->probation_pages = pager->cache_pages / 4;
    pager->probation.capacity = pager->hot.capacity =
        power_of_two(2 * pager->cache_pages + BATCH_PAGES * (WRITEBACKS + 2) * 2);
}

static void *carve(uintptr_t *at, uint64_t bytes)
{
    void *piece = (void *)*at; // NOLINT

    *at += (bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
    return piece;
}

#define WRITEBACK_OPS (BATCH_PAGES * PAGE_RUNS_MAX)

static void share_out(struct pager *pager, uint8_t *buffers, uint8_t *copies, struct op *ops)
{
    for (unsigned i = 0; i < DEMANDS; i++)
        pager->demands[i].buffer = buffers + (uint64_t)i * PAGE_BYTES;
    for (unsigned i = 0; i < pager->fetch_count; i++)
        pager->fetches[i].buffer = buffers + (uint64_t)(DEMANDS + i * pager->fetch_pages) * PAGE_BYTES;
    for (unsigned i = 0; i < WRITEBACKS; i++) {
        pager->writebacks[i].copies = copies + (uint64_t)i * BATCH_PAGES * PAGE_BYTES;
        pager->writebacks[i].ops = ops + (uint64_t)i * WRITEBACK_OPS;
    }
}

/* Everything the mapping will ever need, in one piece; the kernel gives it page by page as it is used. Called
 * twice: with NULL to see how much. */
static uint64_t divide(struct pager *pager, uint8_t *arena)
{
    uintptr_t at = (uintptr_t)arena;

    pager->words = carve(&at, (uint64_t)pager->page_count * sizeof(*pager->words));
    pager->prints = carve(&at, (uint64_t)pager->shelf_count * PAGE_BYTES);
    pager->shelves = carve(&at, pager->shelf_count * sizeof(*pager->shelves));
    pager->shelves_free = carve(&at, pager->shelf_count * sizeof(*pager->shelves_free));
    pager->probation.pages = carve(&at, (uint64_t)pager->probation.capacity * sizeof(uint32_t));
    pager->hot.pages = carve(&at, (uint64_t)pager->hot.capacity * sizeof(uint32_t));
    pager->fetches = carve(&at, pager->fetch_count * sizeof(*pager->fetches));
    pager->writebacks = carve(&at, WRITEBACKS * sizeof(*pager->writebacks));
    uint8_t *buffers = carve(&at, (uint64_t)(DEMANDS + pager->fetch_count * pager->fetch_pages) * PAGE_BYTES);
    uint8_t *copies = carve(&at, (uint64_t)WRITEBACKS * BATCH_PAGES * PAGE_BYTES);
    struct op *ops = carve(&at, (uint64_t)WRITEBACKS * WRITEBACK_OPS * sizeof(*ops));

    if (arena)
        share_out(pager, buffers, copies, ops);
    return at - (uintptr_t)arena;
}

static int arena_open(struct pager *pager)
{
    size_up(pager);
    pager->arena_bytes = divide(pager, NULL);
    pager->arena = pager_alloc(pager->arena_bytes);
    if (!pager->arena)
        return fail(-ENOMEM, "no memory for the tables of a mapping of %" PRIu64 " bytes", pager->bytes);
    divide(pager, pager->arena);
    for (uint32_t i = 0; pager->exclusive && i < pager->page_count; i++)
        pager->words[i] = PAGE_ZERO | PAGE_SERVER_ZERO;
    pager->used_pages = pager->exclusive ? 0 : pager->page_count;
    int rc = print_init(pager);
    if (rc)
        munmap(pager->arena, pager->arena_bytes);
    return rc;
}

/* ---- the address range ---- */

static int map_at(void *address, uint64_t bytes, int protection, void **base_out)
{
    void *base = mmap(address, bytes, protection,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);

    if (base == MAP_FAILED)
        return -errno;
    if (base != address) {
        munmap(base, bytes);
        return -EEXIST;
    }
    *base_out = base;
    return 0;
}

static int map_anywhere(uint64_t bytes, int protection, void **base_out)
{
    const uint64_t units = ((bytes - 1) >> PAGER_UNIT_BITS) + 1;

    for (uint64_t unit = 0; unit + units <= PAGER_UNITS; unit++) {
        if (!units_free(unit, unit + units - 1))
            continue;
        void *address = (void *)(uintptr_t)(PAGER_WINDOW_BASE + (unit << PAGER_UNIT_BITS)); // NOLINT
        int rc = map_at(address, bytes, protection, base_out);

        if (rc != -EEXIST)
            return rc;
    }
    return -ENOMEM;
}

static int map_failed(int rc, const struct pager *pager, const void *address)
{
    if (rc == -EEXIST)
        return fail(rc, "%p: something is mapped within %" PRIu64 " bytes from there", address, pager->bytes);
    if (rc == -ENOMEM)
        return fail(rc,
                    "no address space for %" PRIu64 " bytes: the limit on address space (ulimit -v) or on "
                    "the number of mappings (vm.max_map_count) is reached",
                    pager->bytes);
    return fail(rc, "mmap of %" PRIu64 " bytes: %s", pager->bytes, strerror(-rc));
}

static int range_open(struct pager *pager, void *address)
{
    int protection = pager->flags & CXE_MAP_READ_ONLY ? PROT_READ : PROT_READ | PROT_WRITE;
    void *base = NULL;
    int rc;

    if (!address)
        rc = map_anywhere(pager->bytes, protection, &base);
    else if (pager_in_window(address) && !units_free(first_unit(address), last_unit(address, pager->bytes)))
        rc = -EEXIST;
    else if (!pager_in_window(address) && pager_outside_count == PAGER_OUTSIDE_MAX)
        return fail(-ENOMEM, "%p: at most %d mappings may have an address outside the library's own range",
                    address, PAGER_OUTSIDE_MAX);
    else
        rc = map_at(address, pager->bytes, protection, &base);
    if (rc)
        return map_failed(rc, pager, address);
    pager->base = base;
    madvise(base, pager->bytes, MADV_NOHUGEPAGE); /* EINVAL where there are none */
    if (madvise(base, pager->bytes, MADV_DONTFORK) || madvise(base, pager->bytes, MADV_DONTDUMP)) {
        rc = fail(-errno, "madvise: %s", strerror(errno));
        munmap(base, pager->bytes);
    }
    return rc;
}

static int kernel_open(struct pager *pager)
{
    int rc = uffd_open(pager->mode, &pager->uffd, &pager->has_poison);

    if (rc)
        return rc;
    /* If the program closes the one by number, the other keeps missing pages from turning to zeros. */
    pager->uffd_guard = fcntl(pager->uffd, F_DUPFD_CLOEXEC, pager->uffd);
    pager->pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    pager->has_vector_advice = uffd_vector_advice_works();
    rc = uffd_register(pager->uffd, pager->base, pager->bytes);
    if (rc == 0 && pager->mode == CXE_FAULT_INLINE)
        rc = signal_install();
    return rc;
}

static void kernel_close(struct pager *pager)
{
    if (pager->pagemap_fd >= 0)
        close(pager->pagemap_fd);
    if (pager->uffd_guard >= 0)
        close(pager->uffd_guard);
    if (pager->uffd >= 0 && pager->uffd != pager->uffd_guard)
        close(pager->uffd);
    pager->uffd = pager->uffd_guard = pager->pagemap_fd = -1;
}

/* ---- open and close ---- */

static void register_fork(void)
{
    pthread_atfork(pager_fork_prepare, pager_fork_parent, pager_fork_child);
}

static struct pager *pager_new(struct cxe_region *region, const struct cxe_map_options *options)
{
    struct pager *pager = pager_alloc(sizeof(*pager));

    if (!pager)
        return NULL;
    pager->region = region;
    pager->connection = region->connection;
    pager->region_offset = options->offset;
    pager->bytes = options->bytes;
    pager->page_count = (uint32_t)(options->bytes / PAGE_BYTES);
    pager->local_bytes = options->local_bytes;
    pager->mode = options->fault_mode;
    pager->policy = options->gone_policy;
    pager->gone_deadline_ns = options->gone_deadline_ns;
    pager->flags = options->flags;
    pager->uffd = pager->uffd_guard = pager->pagemap_fd = pager->stop_fd = -1;
    for (unsigned i = 0; i < CLONES_MAX; i++)
        pager->clones[i].pidfd = -1;
    return pager;
}

static int open_locked(struct pager *pager, const struct cxe_map_options *options)
{
    int rc = range_open(pager, options->address); /* first: our own memory must not take the place */

    if (rc)
        return rc;
    rc = arena_open(pager);
    if (rc)
        goto unmap_range;
    rc = kernel_open(pager);
    if (rc)
        goto close_kernel;
    table_add(pager);
    rc = thread_start(pager);
    if (rc)
        goto remove_from_table;
    rc = pager->snooper ? snoop_start(pager) : 0;
    if (rc)
        goto stop_threads;
    return 0;

stop_threads:
    thread_stop(pager);
remove_from_table:
    pager_table_remove(pager);
close_kernel:
    kernel_close(pager);
    munmap(pager->arena, pager->arena_bytes);
unmap_range:
    munmap(pager->base, pager->bytes); /* nobody has its address yet */
    return rc;
}

/* A sealed region does not change any more: nobody has to know who has it. */
static bool is_coherent(const struct cxe_region *region)
{
    return (region->flags & CXE_REGION_SHARED) && !(region->flags & CXE_REGION_SEALED);
}

int pager_open(struct cxe_region *region, const struct cxe_map_options *options,
               const struct pager_options *more, struct pager **pager_out)
{
    struct pager *pager = pager_new(region, options);
    int rc;

    if (!pager)
        return fail(-ENOMEM, "no memory for a mapping");
    pthread_once(&fork_once, register_fork);
    rc = is_coherent(region) ? snoop_open(pager) : 0;
    if (rc)
        goto free_pager;
    pager->exclusive = more && more->new_region && !pager->snooper;
    pager_table_lock();
    rc = open_locked(pager, options);
    pager_table_unlock();
    if (rc)
        goto close_snooper;
    *pager_out = pager;
    return 0;

close_snooper:
    snoop_close(pager);
free_pager:
    munmap(pager, sizeof(*pager));
    return rc;
}

void pager_clones_free(struct pager *pager)
{
    for (unsigned i = 0; i < CLONES_MAX; i++) {
        struct clone *clone = &pager->clones[i];

        if (!clone->region)
            continue;
        cxe_region_close(clone->region);
        if (clone->pidfd >= 0)
            close(clone->pidfd);
        *clone = (struct clone){.pidfd = -1};
    }
}

int pager_close(struct pager *pager)
{
    sigset_t saved;

    pager_begin(pager, &saved);
    int rc = writeback_range(pager, 0, pager->page_count);
    pager_end(pager, &saved);
    if (rc)
        return rc;
    thread_stop(pager);
    signals_block(&saved);
    prefetch_stop(pager);
    signals_restore(&saved);
    snoop_close(pager);
    pager_table_lock();
    pager_table_remove(pager);
    pager_table_unlock();
    munmap(pager->base, pager->bytes);
    kernel_close(pager);
    pager_clones_free(pager);
    munmap(pager->arena, pager->arena_bytes);
    munmap(pager, sizeof(*pager));
    return 0;
}
