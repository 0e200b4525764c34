/* scratch.h - local memory for what a system call reads and writes, so that the kernel never sees the pool
 *
 * A call that would work on pool memory works on a copy here. Copying is done by this thread's ordinary loads
 * and stores, which may fault like all others; so nothing has to be pinned, also not while a call blocks.
 */
#ifndef CXE_PRELOAD_SCRATCH_H
#define CXE_PRELOAD_SCRATCH_H

#include <stddef.h>

/* What a thread keeps (only what was used of it is resident), and the pieces that long transfers are cut in.
 */
#define SCRATCH_BYTES 131072
#define SCRATCH_PIECE 65536

struct scratch {
    char *memory;
    size_t used_bytes, total_bytes;
    int borrowed; /* the thread's own memory, to be given back */
};

/* Prepares what scratch_open needs; once, early. */
void scratch_init(void);

/* Opens scratch memory with room for at least `bytes`: the thread's, if that is enough and nobody below us on
 * the stack uses it. -ENOMEM. Async-signal-safe. */
int scratch_open(struct scratch *scratch, size_t bytes);
void scratch_close(struct scratch *scratch);

/* Cuts off a piece, aligned for anything. NULL: it does not fit. */
void *scratch_cut(struct scratch *scratch, size_t bytes);

/* Memory of this thread for the arguments of execve; valid until the next call. Shared with the parent in the
 * child of a vfork, and only there used twice: hence not to be given back. NULL: there is none. */
void *scratch_exec(size_t bytes);

#endif
