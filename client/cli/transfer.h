/* transfer.h - what read and write share: how much travels at once, and waiting for it */
#ifndef CXE_CLI_TRANSFER_H
#define CXE_CLI_TRANSFER_H

#include "cli.h"

#define TRANSFER_BYTES (64 * 1024) /* one operation; whole pages */
#define TRANSFER_DEPTH 16          /* operations in flight */

/* Takes completions, at least one, and calls `done` for each. 0, or negative errno: none came. */
int transfer_wait(struct cxe_queue *queue, void (*done)(const struct cxe_completion *completion, void *into),
                  void *into);

/* Checks that `bytes` at `offset` are inside the region; UINT64_MAX: up to its end. Returns an exit status,
 * and how many bytes that makes. */
int transfer_range(const struct cxe_region *region, const char *name, uint64_t offset, uint64_t bytes,
                   uint64_t *bytes_out);

#endif
