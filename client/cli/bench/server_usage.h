/* server_usage.h - what a server process takes of the machine */
#ifndef CXE_BENCH_SERVER_USAGE_H
#define CXE_BENCH_SERVER_USAGE_H

#include <stdint.h>
#include <sys/types.h>

/* CPU time of all its threads so far. 0 or negative errno; has then said why (bench_fail). */
int usage_cpu_ns(pid_t pid, uint64_t *cpu_ns_out);

/* Its resident memory. */
int usage_resident_bytes(pid_t pid, uint64_t *bytes_out);

#endif
