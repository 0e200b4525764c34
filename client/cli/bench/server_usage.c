/* server_usage.c - see server_usage.h */
#include "server_usage.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "bench.h"
#include "least.h"
#include "limits.h"
#include "ofi.h"

#define SPARE_FILES       64
#define SPARE_CONNECTIONS 8 /* of others, and some that are about to go */

int usage_cpu_ns(pid_t pid, uint64_t *cpu_ns_out)
{
    struct timespec used;
    clockid_t clock;
    int error = -clock_getcpuclockid(pid, &clock);

    if (!error && clock_gettime(clock, &used) < 0)
        error = -errno;
    if (error)
        return bench_fail(error, "CPU time of process %d: %s", pid, strerror(-error));
    *cpu_ns_out = (uint64_t)used.tv_sec * NS_PER_S + (uint64_t)used.tv_nsec;
    return 0;
}

int usage_resident_bytes(pid_t pid, uint64_t *bytes_out)
{
    char path[64], line[256];
    FILE *file;
    uintmax_t kilobytes = 0;

    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    file = fopen(path, "re");
    while (file && kilobytes == 0 && fgets(line, sizeof(line), file))
        sscanf(line, "VmRSS: %ju kB", &kilobytes);
    if (file)
        fclose(file);
    if (kilobytes == 0)
        return bench_fail(-ENOENT, "%s does not say how much memory is resident", path);
    *bytes_out = kilobytes * 1024;
    return 0;
}

uint64_t usage_sessions_most(const struct bench_link *link)
{
    struct rlimit limit = {.rlim_max = 1024};
    uint64_t files;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    files = limit.rlim_max > SPARE_FILES ? limit.rlim_max - SPARE_FILES : 0;
    return link->provider ? least(files, OFI_CONNECTIONS_MAX - SPARE_CONNECTIONS) : files;
}
