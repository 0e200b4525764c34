/* run.h - what `cxe run` and the preload library tell each other: an environment and a page of counters */
#ifndef CXE_PRELOAD_RUN_H
#define CXE_PRELOAD_RUN_H

#include <stdint.h>

#include "cxe.h"

/* The environment, besides that of cxe_connect. Sizes in bytes, times in nanoseconds, as plain numbers. */
#define RUN_ENV_PROCESS                                                                                   \
    "CXE_RUN_PROCESS"                    /* the first program's process id: it must have the pool, or end \
                                          */
#define RUN_ENV_NAME      "CXE_RUN_NAME" /* what names of regions begin with */
#define RUN_ENV_SIZE      "CXE_RUN_SIZE" /* 0: half of what is free */
#define RUN_ENV_LOCAL     "CXE_RUN_LOCAL"
#define RUN_ENV_THRESHOLD "CXE_RUN_THRESHOLD"
#define RUN_ENV_MODE      "CXE_RUN_MODE" /* enum cxe_fault_mode */
#define RUN_ENV_GONE      "CXE_RUN_GONE" /* enum cxe_gone_policy */
#define RUN_ENV_DEADLINE  "CXE_RUN_DEADLINE"
#define RUN_ENV_TIMEOUT   "CXE_RUN_TIMEOUT" /* of the connection */
#define RUN_ENV_STRICT    "CXE_RUN_STRICT"  /* 1 */
#define RUN_ENV_REPORT    "CXE_RUN_REPORT"  /* a file descriptor: struct run_report */

/* A program that could not start for our reasons. */
#define RUN_EXIT_FAILED 125

#define RUN_PROCESSES_MAX 256
#define RUN_REPORT_MAGIC  0x74726f7065726578ull

/* What one process did; written by it alone, several times a second, so that it is there after a kill. */
struct run_process {
    int32_t process;             /* 0: free; compare-and-swap */
    uint32_t fault_mode;         /* enum cxe_fault_mode */
    char region[CXE_NAME_BYTES]; /* empty: of a fork, without counters */
    char program[32];
    uint64_t region_handle;
    uint64_t local_bytes, region_bytes;
    uint64_t resident_bytes, dirty_bytes;
    uint64_t taken_bytes, taken_bytes_most;
    uint64_t fallback_count, fallback_bytes;
    uint64_t faults, fetched_pages, prefetched_pages, prefetch_used_pages;
    uint64_t evicted_pages, written_pages, written_lines, poisoned_pages;
    uint64_t fault_p50_ns, fault_p99_ns;
    uint64_t sent_bytes, received_bytes, sent_frames, received_frames, retransmits;
    uint64_t system_calls; /* carried out on copies */
};

/* Shared memory. */
struct run_report {
    uint64_t magic;
    uint64_t local_processes; /* that could not have the pool */
    struct run_process processes[RUN_PROCESSES_MAX];
};

#endif
