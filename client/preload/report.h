/* report.h - keeps this process' part of the page of counters up to date */
#ifndef CXE_PRELOAD_REPORT_H
#define CXE_PRELOAD_REPORT_H

#include "cxe.h"

/* Maps the page behind the descriptor that the environment names, and starts the thread that writes to it.
 * Without such a page: nothing. -EBADF: it is none of ours; -ENOSPC: more processes than it has room for. */
int report_start(struct cxe_connection *connection, const char *region, const void *mapping);

/* This process could not have the pool. */
void report_local(void);

/* Writes the counters now. */
void report_write(void);

/* In the child of a fork, which has a mapping of its own: another part of the page. Written at its end only.
 */
void report_fork(void);

#endif
