/* report.c - see report.h */
#include "report.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "atomic.h"
#include "call.h"
#include "fds.h"
#include "limits.h"
#include "memory.h"
#include "pager.h"
#include "run.h"
#include "units.h"

#define REFRESH_NS (200 * NS_PER_MS)

static struct run_report *page; /* NULL: nobody wants to know */
static struct run_process *own;
static struct cxe_connection *connection;
static const void *mapping;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void write_memory(struct run_process *process)
{
    struct memory_counts counts;

    memory_counts(&counts);
    process->taken_bytes = counts.taken_bytes;
    process->taken_bytes_most = counts.taken_bytes_most;
    process->fallback_count = counts.fallback_count;
    process->fallback_bytes = counts.fallback_bytes;
    process->system_calls = call_count();
}

static void write_mapping(struct run_process *process)
{
    struct cxe_map_info info;

    if (cxe_map_info(mapping, &info) != 0)
        return;
    process->fault_mode = (uint32_t)info.fault_mode;
    process->local_bytes = info.local_bytes;
    process->region_bytes = info.bytes;
    process->resident_bytes = info.resident_bytes;
    process->dirty_bytes = info.dirty_bytes;
    process->faults = info.faults;
    process->fetched_pages = info.fetched_pages;
    process->prefetched_pages = info.prefetched_pages;
    process->prefetch_used_pages = info.prefetch_used_pages;
    process->evicted_pages = info.evicted_pages;
    process->written_pages = info.written_pages;
    process->written_lines = info.written_lines;
    process->poisoned_pages = info.poisoned_pages;
    process->fault_p50_ns = info.fault_p50_ns;
    process->fault_p99_ns = info.fault_p99_ns;
}

static void write_connection(struct run_process *process)
{
    struct cxe_connection_info info;

    if (cxe_connection_info(connection, &info) != 0)
        return;
    process->sent_bytes = info.sent_bytes;
    process->received_bytes = info.received_bytes;
    process->sent_frames = info.sent_frames;
    process->received_frames = info.received_frames;
    process->retransmits = info.retransmits;
}

/* Does without where somebody writes already: it is called from _exit, perhaps in a signal handler. */
void report_write(void)
{
    if (pthread_mutex_trylock(&lock) != 0)
        return;
    if (own) {
        write_memory(own);
        write_mapping(own);
        write_connection(own);
    }
    pthread_mutex_unlock(&lock);
}

static void *report_main(void *unused)
{
    const struct timespec pause = {.tv_nsec = REFRESH_NS};

    (void)unused;
    for (;;) {
        nanosleep(&pause, NULL);
        report_write();
    }
    return NULL;
}

/* A descriptor that programs executed later find too; hence kept from this one. */
static int map_report(struct run_report **report_out)
{
    const char *text = getenv(RUN_ENV_REPORT);
    struct run_report *report;
    struct stat status;
    uint64_t fd;

    if (!text || units_parse_count(text, 0, INT32_MAX, &fd) != 0)
        return -ENOENT;
    if (fstat((int)fd, &status) != 0 || status.st_size != (off_t)sizeof(*report))
        return -EBADF;
    report = mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE, MAP_SHARED, (int)fd, 0);
    if (report == MAP_FAILED)
        return -errno;
    if (report->magic != RUN_REPORT_MAGIC) {
        munmap(report, sizeof(*report));
        return -EBADF;
    }
    fds_keep((int)fd);
    *report_out = report;
    return 0;
}

void report_local(void)
{
    struct run_report *report = NULL;

    if (map_report(&report) == 0)
        fetch_add_relaxed(&report->local_processes, 1);
}

/* A part of the page for this process; NULL: it is full. */
static struct run_process *claim(const char *region)
{
    const struct pager *pager = pager_find(mapping);

    for (unsigned i = 0; i < RUN_PROCESSES_MAX; i++) {
        struct run_process *process = &page->processes[i];
        int32_t expected = 0;

        if (!cas_acq_rel(&process->process, &expected, (int32_t)getpid()))
            continue;
        strncpy(process->region, region, sizeof(process->region) - 1);
        strncpy(process->program, program_invocation_short_name, sizeof(process->program) - 1);
        process->region_handle = pager ? pager_region_handle(pager) : 0;
        return process;
    }
    return NULL;
}

void report_fork(void)
{
    lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    if (page)
        claim("");
    own = NULL;
}

static int start_thread(void)
{
    static pthread_t thread; /* it may be made later, see threads.h; it ends with the process */
    sigset_t all, saved;
    int error;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &saved);
    error = pthread_create(&thread, NULL, report_main, NULL);
    pthread_sigmask(SIG_SETMASK, &saved, NULL);
    return -error;
}

int report_start(struct cxe_connection *of, const char *region, const void *at)
{
    int error = map_report(&page);

    if (error)
        return error == -ENOENT ? 0 : error;
    connection = of;
    mapping = at;
    own = claim(region);
    if (!own)
        return -ENOSPC;
    report_write();
    return start_thread();
}
