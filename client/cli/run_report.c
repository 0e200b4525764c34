/* run_report.c - see run_report.h */
#include "run_report.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cli.h"
#include "limits.h"
#include "units.h"

/* Just below the highest number that a process may have, out of the way of programs. */
static int move_up(int fd)
{
    struct rlimit limit;
    int high = -1;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        rlim_t end = limit.rlim_cur < 1024 ? limit.rlim_cur : 1024;

        high = fcntl(fd, F_DUPFD, (int)end - 16);
    }
    if (high < 0)
        return fcntl(fd, F_DUPFD, 0);
    return high;
}

int run_report_open(struct run_report **report_out, int *fd_out)
{
    int fd = memfd_create("cxe-run", MFD_CLOEXEC), high, error;
    struct run_report *report;

    if (fd < 0)
        return -errno;
    high = ftruncate(fd, sizeof(*report)) == 0 ? move_up(fd) : -1;
    error = -errno;
    close(fd);
    if (high < 0)
        return error;
    report = mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE, MAP_SHARED, high, 0);
    if (report == MAP_FAILED) {
        error = -errno;
        close(high);
        return error;
    }
    report->magic = RUN_REPORT_MAGIC;
    *report_out = report;
    *fd_out = high;
    return 0;
}

/* ---- fields ---- */

/* Those that can be added up. */
static const struct {
    const char *name;
    size_t offset;
} counters[] = {
    {"used_bytes_most", offsetof(struct run_process, taken_bytes_most)},
    {"faults", offsetof(struct run_process, faults)},
    {"fetched_pages", offsetof(struct run_process, fetched_pages)},
    {"prefetched_pages", offsetof(struct run_process, prefetched_pages)},
    {"prefetch_used_pages", offsetof(struct run_process, prefetch_used_pages)},
    {"evicted_pages", offsetof(struct run_process, evicted_pages)},
    {"written_pages", offsetof(struct run_process, written_pages)},
    {"written_lines", offsetof(struct run_process, written_lines)},
    {"poisoned_pages", offsetof(struct run_process, poisoned_pages)},
    {"sent_bytes", offsetof(struct run_process, sent_bytes)},
    {"received_bytes", offsetof(struct run_process, received_bytes)},
    {"retransmits", offsetof(struct run_process, retransmits)},
    {"system_calls_copied", offsetof(struct run_process, system_calls)},
    {"fallback_count", offsetof(struct run_process, fallback_count)},
    {"fallback_bytes", offsetof(struct run_process, fallback_bytes)},
};
#define COUNTERS (sizeof(counters) / sizeof(counters[0]))

static uint64_t field(const struct run_process *process, size_t offset)
{
    return *(const uint64_t *)((const char *)process + offset);
}

static uint64_t sum(const struct run_report *report, size_t offset)
{
    uint64_t total = 0;

    for (unsigned i = 0; i < RUN_PROCESSES_MAX; i++)
        total += field(&report->processes[i], offset);
    return total;
}

#define SUM(member) sum(report, offsetof(struct run_process, member))

static json_t *process_json(const struct run_process *process)
{
    json_t *object = json_pack("{s:i, s:s, s:s, s:s}", "process", (int)process->process, "program",
                               process->program, "region", process->region, "fault_mode",
                               process->fault_mode == CXE_FAULT_INLINE ? "inline" : "thread");

    json_object_set_new(object, "region_bytes", cli_json_u64(process->region_bytes));
    json_object_set_new(object, "local_bytes", cli_json_u64(process->local_bytes));
    json_object_set_new(object, "resident_bytes", cli_json_u64(process->resident_bytes));
    json_object_set_new(object, "fault_p50_ns", cli_json_u64(process->fault_p50_ns));
    json_object_set_new(object, "fault_p99_ns", cli_json_u64(process->fault_p99_ns));
    for (unsigned i = 0; i < COUNTERS; i++)
        json_object_set_new(object, counters[i].name, cli_json_u64(field(process, counters[i].offset)));
    return object;
}

json_t *run_report_json(const struct run_report *report)
{
    json_t *object = json_object(), *processes = json_array();

    for (unsigned i = 0; i < COUNTERS; i++)
        json_object_set_new(object, counters[i].name, cli_json_u64(sum(report, counters[i].offset)));
    for (unsigned i = 0; i < RUN_PROCESSES_MAX; i++)
        if (report->processes[i].process && report->processes[i].region[0])
            json_array_append_new(processes, process_json(&report->processes[i]));
    json_object_set_new(object, "local_processes", cli_json_u64(report->local_processes));
    json_object_set_new(object, "processes", processes);
    return object;
}

void run_report_print(const struct run_report *report, const char *program, uint64_t elapsed_ns)
{
    const struct run_process *first = &report->processes[0];
    char a[32], b[32];

    fprintf(stderr, "cxe: %s ran for %s, with %s on the pool at most", program,
            units_format_duration(elapsed_ns, a, sizeof(a)),
            units_format_bytes(SUM(taken_bytes_most), b, sizeof(b)));
    fprintf(stderr, " and %s of local memory for it\n", units_format_bytes(first->local_bytes, a, sizeof(a)));
    fprintf(stderr,
            "cxe: %ju page faults, p50 %s, p99 %s; %ju pages fetched, %ju evicted, %ju written back\n",
            (uintmax_t)SUM(faults), units_format_duration(first->fault_p50_ns, a, sizeof(a)),
            units_format_duration(first->fault_p99_ns, b, sizeof(b)), (uintmax_t)SUM(fetched_pages),
            (uintmax_t)SUM(evicted_pages), (uintmax_t)SUM(written_pages));
    fprintf(stderr, "cxe: %s sent, ", units_format_bytes(SUM(sent_bytes), a, sizeof(a)));
    fprintf(stderr, "%s received; %ju system calls on copies\n",
            units_format_bytes(SUM(received_bytes), b, sizeof(b)), (uintmax_t)SUM(system_calls));
    if (report->local_processes)
        fprintf(stderr, "cxe: %ju processes could not have pool memory and ran locally\n",
                (uintmax_t)report->local_processes);
    if (SUM(fallback_count))
        fprintf(stderr, "cxe: the pool was full: %ju allocations of %s together stayed local\n",
                (uintmax_t)SUM(fallback_count), units_format_bytes(SUM(fallback_bytes), a, sizeof(a)));
}
