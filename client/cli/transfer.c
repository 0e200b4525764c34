/* transfer.c - see transfer.h */
#include "transfer.h"

#include <stdio.h>

int transfer_wait(struct cxe_queue *queue, void (*done)(const struct cxe_completion *completion, void *into),
                  void *into)
{
    struct cxe_completion completions[TRANSFER_DEPTH];
    /* Each operation has the connection's timeout and ends by itself. */
    int count = cxe_queue_wait(queue, completions, TRANSFER_DEPTH, UINT64_MAX);

    for (int i = 0; i < count; i++)
        done(&completions[i], into);
    return count < 0 ? count : 0;
}

int transfer_range(const struct cxe_region *region, const char *name, uint64_t offset, uint64_t bytes,
                   uint64_t *bytes_out)
{
    const uint64_t end = cxe_region_bytes(region);
    char sentence[256];

    if (offset <= end && bytes == UINT64_MAX)
        bytes = end - offset;
    if (offset <= end && bytes <= end - offset) {
        *bytes_out = bytes;
        return CLI_OK;
    }
    if (offset > end)
        snprintf(sentence, sizeof(sentence), "--offset: %ju is behind the end of region '%s' (%ju bytes)",
                 (uintmax_t)offset, name, (uintmax_t)end);
    else
        snprintf(sentence, sizeof(sentence),
                 "%ju bytes at offset %ju pass the end of region '%s' (%ju bytes)", (uintmax_t)bytes,
                 (uintmax_t)offset, name, (uintmax_t)end);
    return cli_fail_because(-ERANGE, sentence);
}
