/* preload.c - starts everything when the program is loaded: connects, maps, takes memory, traps
 *
 * In this order: first what needs an ordinary process (the connection, the mapping, threads), then what
 * changes the process for good (the stub, SIGSYS, the filter), and memory last, so that nothing before lives
 * on the pool.
 */
#include <errno.h>
#include <link.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "allocate.h"
#include "cxe.h"
#include "fds.h"
#include "filter.h"
#include "forking.h"
#include "interpose.h"
#include "memory.h"
#include "pager.h"
#include "report.h"
#include "run.h"
#include "scratch.h"
#include "signals.h"
#include "stub.h"
#include "threads.h"
#include "units.h"

#define SIZE_BYTES_MAX (1ull << 43) /* half of the window of addresses that mappings live in */

struct settings {
    uint64_t process, size_bytes, local_bytes, threshold_bytes;
    uint64_t mode, gone, deadline_ns, timeout_ns, strict;
    const char *name;
};

/* ---- trouble ---- */

/* For the first program, no pool is an error. What it starts runs locally then: the counters tell. */
static void complain(const struct settings *settings, const char *format, ...)
{
    char text[512];
    va_list list;

    va_start(list, format);
    vsnprintf(text, sizeof(text), format, list);
    va_end(list);
    if (settings->process == (uint64_t)getpid()) {
        dprintf(STDERR_FILENO, "cxe: run: %s\n", text);
        _exit(RUN_EXIT_FAILED);
    }
    report_local();
}

/* ---- settings ---- */

static uint64_t number(const char *variable, uint64_t otherwise)
{
    const char *text = getenv(variable);
    uint64_t value;

    return text && units_parse_count(text, 0, UINT64_MAX, &value) == 0 ? value : otherwise;
}

static bool read_settings(struct settings *settings)
{
    *settings = (struct settings){
        .process = number(RUN_ENV_PROCESS, 0),
        .name = getenv(RUN_ENV_NAME),
        .size_bytes = number(RUN_ENV_SIZE, 0),
        .local_bytes = number(RUN_ENV_LOCAL, 64 << 20),
        .threshold_bytes = number(RUN_ENV_THRESHOLD, 64 << 10),
        .mode = number(RUN_ENV_MODE, CXE_FAULT_AUTO),
        .gone = number(RUN_ENV_GONE, CXE_GONE_WAIT),
        .deadline_ns = number(RUN_ENV_DEADLINE, 0),
        .timeout_ns = number(RUN_ENV_TIMEOUT, 0),
        .strict = number(RUN_ENV_STRICT, 0),
    };
    return settings->name != NULL;
}

/* ---- the pool ---- */

struct pool {
    struct cxe_connection *connection;
    struct cxe_region *region;
    char region_name[CXE_NAME_BYTES];
    void *address;
    enum cxe_fault_mode mode;
};

/* Half of what is free: the other half is for what this program starts, and for what its forks change. */
static int choose_size(struct cxe_connection *connection, uint64_t *bytes_out)
{
    struct cxe_server_info info;
    uint64_t bytes;
    int error = cxe_server_info(connection, &info);

    if (error)
        return error;
    bytes = info.quota_bytes > info.used_bytes ? info.quota_bytes - info.used_bytes : 0;
    if (bytes > info.pool_free_bytes)
        bytes = info.pool_free_bytes;
    bytes /= 2;
    if (bytes > SIZE_BYTES_MAX)
        bytes = SIZE_BYTES_MAX;
    *bytes_out = bytes / CXE_PAGE_BYTES * CXE_PAGE_BYTES;
    return *bytes_out ? 0 : -ENOSPC;
}

static int open_region(const struct settings *settings, struct pool *pool)
{
    uint64_t bytes = settings->size_bytes;
    uint32_t random;
    int error = bytes ? 0 : choose_size(pool->connection, &bytes);

    if (error)
        return error;
    if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return -EIO;
    snprintf(pool->region_name, sizeof(pool->region_name), "%.32s-%d-%08x", settings->name, (int)getpid(),
             random);
    return cxe_region_create(pool->connection, pool->region_name, bytes, CXE_REGION_EPHEMERAL, &pool->region);
}

static int map_region(const struct settings *settings, struct pool *pool)
{
    const struct cxe_map_options options = {
        .local_bytes = settings->local_bytes,
        .fault_mode = (enum cxe_fault_mode)settings->mode,
        .gone_policy = (enum cxe_gone_policy)settings->gone,
        .gone_deadline_ns = settings->deadline_ns,
    };
    const struct pager_options more = {.new_region = true};
    struct cxe_map_info info;
    int error = pager_map(pool->region, &options, &more, &pool->address);

    if (!error)
        error = cxe_map_info(pool->address, &info);
    if (!error)
        pool->mode = info.fault_mode;
    return error;
}

/* What fails here has left a sentence with cxe_last_error. */
static int open_pool(const struct settings *settings, struct pool *pool)
{
    const struct cxe_connect_options connect = {.timeout_ns = settings->timeout_ns};
    int error = cxe_connect(&connect, &pool->connection);

    if (error)
        return error;
    error = open_region(settings, pool);
    if (error)
        goto disconnect;
    error = map_region(settings, pool);
    if (error)
        goto delete_region;
    return 0;

delete_region:
    cxe_region_close(pool->region);
    cxe_region_delete(pool->connection, pool->region_name);
disconnect:
    cxe_disconnect(pool->connection);
    return error;
}

/* ---- system calls ---- */

static int find_libc_part(struct dl_phdr_info *object, size_t info_bytes, void *into)
{
    struct filter_options *options = into;

    (void)info_bytes;
    if (!strstr(object->dlpi_name, "/libc.so.6"))
        return 0;
    for (unsigned i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &object->dlpi_phdr[i];

        if (part->p_type != PT_LOAD || !(part->p_flags & PF_X))
            continue;
        options->libc_start = object->dlpi_addr + part->p_vaddr;
        options->libc_end = options->libc_start + part->p_memsz;
    }
    return 1;
}

/* -ENOENT: the program has no libc that we know. */
static int trap_calls(enum cxe_fault_mode mode)
{
    struct filter_options options = {.fd_first = fds_first(), .fd_end = fds_end()};
    int error;

    dl_iterate_phdr(find_libc_part, &options);
    if (!options.libc_end)
        return -ENOENT;
    error = signals_install(mode == CXE_FAULT_INLINE);
    return error ? error : filter_install(&options);
}

/* ---- start and end ---- */

static void start(const struct settings *settings)
{
    static struct pool pool;
    struct memory_options memory = {.threshold_bytes = settings->threshold_bytes, .strict = settings->strict};
    int error;

    /* The filter of a program that executed this one is in force already. */
    error = stub_install();
    if (error) {
        complain(settings, "the address %#llx is taken: %s", STUB_ADDRESS, strerrordesc_np(-error));
        return;
    }
    threads_defer();
    error = open_pool(settings, &pool);
    if (error) {
        complain(settings, "%s", *cxe_last_error() ? cxe_last_error() : strerrordesc_np(-error));
        return;
    }
    error = report_start(pool.connection, pool.region_name, pool.address);
    if (error)
        complain(settings, "counters cannot be shared: %s", strerrordesc_np(-error));
    /* With a thread that serves the kernel's faults too, most calls would do without. But descriptors are to
     * be protected there as well, and nothing may hold pages that the pager takes away (io_uring). */
    error = trap_calls(pool.mode);
    if (error && pool.mode == CXE_FAULT_INLINE) {
        complain(
            settings,
            "system calls on remote memory cannot be trapped (%s); --fault-mode thread does without, where "
            "it is allowed",
            strerrordesc_np(-error));
        return;
    }
    threads_start();
    memory.base = pool.address;
    memory.bytes = cxe_region_bytes(pool.region);
    fork_start();
    error = memory_start(&memory);
    if (error)
        complain(settings, "%s", strerrordesc_np(-error));
}

__attribute__((constructor)) static void load(void)
{
    struct settings settings;

    interpose_init();
    if (!read_settings(&settings))
        return;
    scratch_init();
    if (fds_init() != 0) {
        complain(&settings, "the limit on open files (ulimit -n) is too low: at least %d are needed",
                 2 * FDS_COUNT);
        return;
    }
    library_enter();
    start(&settings);
    library_leave();
}

__attribute__((destructor)) static void unload(void)
{
    library_enter();
    report_write();
    library_leave();
}
