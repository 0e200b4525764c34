/* forking.h - fork, in the order that allocators need
 *
 * Allocators register fork handlers that hold their locks over the fork and touch their memory, which is the
 * pool's, in the child. So the child's mapping has to be there before any other handler runs: ours is the
 * first that is registered, whoever registers first. That also makes it the last before the fork, when every
 * allocator is locked: the library has a heap of its own (heap.h).
 */
#ifndef CXE_PRELOAD_FORKING_H
#define CXE_PRELOAD_FORKING_H

#include <stdbool.h>

/* At the end of the constructor: from now on there is a mapping to look after. */
void fork_start(void);

/* True in the child of a vfork, which uses its parent's memory. Async-signal-safe. */
bool fork_is_borrowing(void);

#endif
