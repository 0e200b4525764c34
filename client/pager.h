/* pager.h - a remote region as memory: page faults fetch, a bounded cache, changed lines written back
 *
 * The public face of it is in cxe.h (mapping.c); here is what the rest of the client and the preload library
 * need besides. docs/PAGER.md tells how it works: the page states, the invariants, who may do what.
 *
 * "Ordinary" in a comment means: not in a signal handler, and the caller may be made to wait for the server,
 * as long as the mapping's policy says. Functions that are not marked so are async-signal-safe.
 */
#ifndef CXE_CLIENT_PAGER_H
#define CXE_CLIENT_PAGER_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "cxe.h"
#include "limits.h"

struct pager;

/* Mappings live in one window of addresses, so that a single comparison (also a seccomp filter's) tells
 * whether an address can belong to one. A mapping takes whole units of it. Only a mapping at an address that
 * the caller chose may lie outside. ThreadSanitizer keeps its shadow where the window would be. */
#ifdef __SANITIZE_THREAD__
#define PAGER_WINDOW_BASE  0x7e8000000000ull
#define PAGER_WINDOW_BYTES (1ull << 38)
#else
#define PAGER_WINDOW_BASE  0x200000000000ull
#define PAGER_WINDOW_BYTES (1ull << 44)
#endif
#define PAGER_UNIT_BITS   32
#define PAGER_UNITS       (PAGER_WINDOW_BYTES >> PAGER_UNIT_BITS)
#define PAGER_OUTSIDE_MAX 8

extern struct pager *pager_units[PAGER_UNITS]; /* relaxed; written by pager_open and pager_close */
extern uint32_t pager_outside_count;           /* relaxed; mappings outside the window */

static inline bool pager_in_window(const void *address)
{
    return (uintptr_t)address - PAGER_WINDOW_BASE < PAGER_WINDOW_BYTES;
}

/* The mapping that `address` belongs to, or NULL. A few instructions where the answer is no. */
struct pager *pager_lookup(const void *address);
static inline struct pager *pager_find(const void *address)
{
    if (!pager_in_window(address) && __builtin_expect(!pager_outside_count, 1))
        return NULL;
    return pager_lookup(address);
}

/* ---- mapping ---- */

/* What cxe_map does not offer to everyone. */
struct pager_options {
    /* The region is new, and nobody else stores to it. So every page is known to be zero at the server, and a
     * first touch needs no network; and pages may be written back whole. Means nothing where the mapping is
     * coherent. */
    bool new_region;
};

/* cxe_map, with more options (NULL: none). Ordinary. */
int pager_map(struct cxe_region *region, const struct cxe_map_options *options,
              const struct pager_options *more, void **address_out);

void *pager_address(const struct pager *pager);
uint64_t pager_bytes(const struct pager *pager);
/* The handle of the region it shows: in the child of a fork, of a clone. */
uint64_t pager_region_handle(const struct pager *pager);

/* ---- for the preload library ---- */

/* Brings pages in and keeps them there, so that a system call can use them: from `address` on, in one piece,
 * writable if `write`. Returns how many bytes are pinned, at least up to the end of the first page and at
 * most a quarter of the cache, so callers work in chunks. Each is to be undone by pager_unpin of the same
 * address and count. -EFAULT: the page is poisoned. -EAGAIN: half of the cache is pinned already (by system
 * calls that block, say), or the mapping is coherent, whose pages must go when others want them: bounce.
 * Ordinary. */
ssize_t pager_pin(void *address, size_t bytes, bool write);
void pager_unpin(void *address, size_t bytes);

/* What an anonymous mapping promises after madvise(MADV_DONTNEED), and a good way to forget freed memory: the
 * whole pages of the range are dropped without write-back and read as zeros from now on. Nothing is sent.
 * -ERANGE: not inside one mapping. -EOPNOTSUPP: the mapping is coherent. Ordinary; waits for a write-back in
 * flight over the range. */
int pager_discard(void *address, size_t bytes);

/* True for descriptors whose loss would turn missing pages into zeros: close() and dup2() must refuse them.
 */
bool pager_owns_fd(int fd);

/* Keeps what the program wants done about SIGBUS: called for faults that are not ours, and for poisoned
 * pages. Like sigaction(2) on SIGBUS; for a library that interposes sigaction, since a handler installed
 * over ours would stop every mapping. */
int pager_sigaction(const struct sigaction *action, struct sigaction *old_out);

/* Around anything that holds what a page fault may need: no handler can run, and so none can fault. */
void signals_block(sigset_t *saved_out);
void signals_restore(const sigset_t *saved);

/* ---- fork ----
 *
 * Registered with pthread_atfork at the first mapping, so that fork() works without more. The child gets a
 * mapping of its own over a clone of the region; pages that were local at the fork it has by copy-on-write.
 * Where that cannot be, it has no mapping (SIGSEGV), never zeros. Exported for programs that create processes
 * by other means. Ordinary; from prepare to parent or child no other call. */
void pager_fork_prepare(void);
void pager_fork_parent(void);
void pager_fork_child(void);

/* Optional, in the parent after a fork: ties the clones made for it to the child's life, so that they go when
 * it goes. Otherwise the server drops them when nobody has named them for a minute. Ordinary. */
void pager_fork_watch(pid_t child);

/* ---- tests ---- */

/* The invariants of docs/PAGER.md: NULL, or the broken one. Shuts everybody out meanwhile. Ordinary. */
const char *pager_valid(struct pager *pager);

#endif
