/* run_report.h - what the processes of a run did, as JSON */
#ifndef CXE_CLI_RUN_REPORT_H
#define CXE_CLI_RUN_REPORT_H

#include <jansson.h>
#include <stdint.h>

#include "run.h"

/* A fresh page of counters and a descriptor of it that programs inherit. */
int run_report_open(struct run_report **report_out, int *fd_out);

/* Sums and, for each process, the same. */
json_t *run_report_json(const struct run_report *report);

/* For people: the sums. */
void run_report_print(const struct run_report *report, const char *program, uint64_t elapsed_ns);

#endif
