/* server_usage.h - what a server process takes of the machine, and what it can be given */
#ifndef CXE_BENCH_SERVER_USAGE_H
#define CXE_BENCH_SERVER_USAGE_H

#include <stdint.h>
#include <sys/types.h>

/* CPU time of all its threads so far. 0 or negative errno; has then said why (bench_fail). */
int usage_cpu_ns(pid_t pid, uint64_t *cpu_ns_out);

/* Its resident memory. */
int usage_resident_bytes(pid_t pid, uint64_t *bytes_out);

/* How many sessions can be had over such a connection: each has a descriptor here, whose limit is raised, and
 * libfabric's server takes only so many. */
struct bench_link;
uint64_t usage_sessions_most(const struct bench_link *link);

#endif
