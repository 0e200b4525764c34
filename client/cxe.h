/* cxe.h - the CXE client library: other machines' memory, by line operations and by mapping
 *
 * Every function returns 0 (or a count) on success and a negative errno otherwise; results come through the
 * last parameter, which is written on success only. Strings are UTF-8; sizes and offsets are bytes.
 *
 * Three answers. An operation that changes memory ends in one of three ways, and these are three different
 * results:
 *   0                   done, exactly once
 *   another errno       not done, not even in part
 *   -CXE_EUNKNOWN       it may or may not have been done: the server that could tell is gone
 *
 * Threads. A connection, a region and a mapping may be used by any number of threads at once; a queue belongs
 * to one thread at a time.
 *
 * Errors that any operation may return, besides those named at each function:
 *   -ETIMEDOUT       not done (or: only read) within the connection's timeout; the server did not answer
 *   -ECONNREFUSED    nothing listens there
 *   -EKEYREJECTED    the server does not answer to these keys
 *   -ESTALE          the region is gone: deleted, or the server restarted
 *   -EPROTO          the peer does not speak this protocol
 */
#ifndef CXE_H
#define CXE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CXE_VERSION_MAJOR 0
#define CXE_VERSION_MINOR 1
#define CXE_LINE_BYTES    64
#define CXE_PAGE_BYTES    4096
#define CXE_NAME_BYTES    64 /* of a region's name, with the terminating NUL */
#define CXE_EUNKNOWN      ENOTRECOVERABLE

struct cxe_connection;
struct cxe_region;
struct cxe_queue;

/* ---- connections ---- */

enum cxe_encryption {
    CXE_ENCRYPTION_DEFAULT = 0, /* encrypted; refuses a server that will not */
    CXE_ENCRYPTION_OFF =
        1, /* authenticated at the start, checksummed afterwards; needs a server that allows it */
};

/* Zero-initialise, then set what differs. Strings are copied. */
struct cxe_connect_options {
    const char *server; /* "host", "host:port" or "[v6]:port"; NULL: $CXE_SERVER, else 127.0.0.1 */
    const char
        *server_key; /* file, or base64 text; NULL: $CXE_SERVER_KEY, else what a local fabricd left for us */
    const char
        *key_file; /* our secret key; NULL: $CXE_KEY, else a new one (a server without tenants takes any) */
    const char *transport; /* "eth" (UDP, the default), "ofi" or "ofi:PROVIDER"; NULL: $CXE_TRANSPORT */
    const char *fault;     /* inject faults, for tests, e.g. "drop=10%,seed=1"; NULL: $CXE_FAULT, else none */
    enum cxe_encryption encryption; /* DEFAULT: $CXE_ENCRYPTION ("off") may lower it */
    uint64_t timeout_ns;  /* how long an operation may wait for the server; 0: 5 s; UINT64_MAX: for ever */
    unsigned lanes;       /* sessions that threads share, 2 to CXE_LANES_MAX (a page fault may come while one
                             is held); 0: 4. Each queue has one more of its own */
    uint32_t frame_bytes; /* the longest frame, CXE_FRAME_BYTES_MIN to CXE_FRAME_BYTES_MAX; 0: what the path
                             is known to carry. It is never more than that */
};
#define CXE_LANES_MAX       64
#define CXE_FRAME_BYTES_MIN 1232
#define CXE_FRAME_BYTES_MAX 65504

/* Connects and authenticates. Blocks, at most for the timeout. -EINVAL: an option is malformed (see
 * cxe_last_error); -EACCES: the key file is unfit (see cxe_last_error), or the server refuses our encryption.
 */
int cxe_connect(const struct cxe_connect_options *options, struct cxe_connection **connection_out);

/* Ends every session. All regions, queues and mappings of it must be closed first (-EBUSY otherwise). */
int cxe_disconnect(struct cxe_connection *connection);

/* One sentence about this thread's last failed call: names the thing and what was expected. Never NULL. Valid
 * until the thread's next call. */
const char *cxe_last_error(void);

struct cxe_server_info {
    uint64_t incarnation; /* another one after each restart of the server */
    uint64_t uptime_ns;
    uint64_t cpu_ns;
    uint64_t pool_bytes;
    uint64_t pool_free_bytes;
    uint64_t quota_bytes;
    uint64_t used_bytes;
    uint64_t regions;
    uint64_t sessions;
    uint64_t received_bytes;
    uint64_t sent_bytes;
    uint64_t operations;
};
int cxe_server_info(struct cxe_connection *connection, struct cxe_server_info *info_out);

/* What this connection did so far. */
struct cxe_connection_info {
    uint64_t sent_frames, sent_bytes, received_frames, received_bytes;
    uint64_t retransmits;
    uint64_t rtt_ns;      /* smoothed */
    uint32_t frame_bytes; /* the longest frame in use */
    uint32_t lanes;
    bool encrypted;
    uint16_t tenant;
};
int cxe_connection_info(struct cxe_connection *connection, struct cxe_connection_info *info_out);

/* ---- regions ---- */

enum cxe_region_flags {
    CXE_REGION_SEALED = 1,    /* read-only for all, for good */
    CXE_REGION_EPHEMERAL = 2, /* deleted when nobody named it for a minute */
    CXE_REGION_SHARED = 4,    /* mappings of it are kept coherent, see cxe_map */
};

struct cxe_region_info {
    char name[CXE_NAME_BYTES];
    uint64_t handle;
    uint64_t bytes;
    uint64_t resident_bytes; /* pool memory it holds: pages never written take none */
    uint32_t flags;          /* enum cxe_region_flags */
    uint32_t tenant;
};

/* Names: 1 to 63 of A-Z a-z 0-9 . _ - /. Each tenant has its own name space. Bytes: a multiple of
 * CXE_PAGE_BYTES. A new region reads as zeros. -EEXIST, -EDQUOT, -ENOSPC, -EINVAL. */
int cxe_region_create(struct cxe_connection *connection, const char *name, uint64_t bytes, uint32_t flags,
                      struct cxe_region **region_out);
/* -ENOENT: no region of that name (another tenant's is as if it were not there). */
int cxe_region_open(struct cxe_connection *connection, const char *name, struct cxe_region **region_out);
/* -EBUSY: it is still mapped. The region itself stays on the server. */
int cxe_region_close(struct cxe_region *region);
int cxe_region_stat(struct cxe_region *region, struct cxe_region_info *info_out);
/* Fills at most `most` entries from `*cursor` (0 at first), moves the cursor; returns how many, 0 at the end.
 */
int cxe_region_list(struct cxe_connection *connection, uint64_t *cursor, struct cxe_region_info *infos,
                    size_t most);
int cxe_region_grow(struct cxe_region *region, uint64_t bytes);
/* Its memory is wiped before anyone else gets it. Handles to it are -ESTALE from now on. */
int cxe_region_delete(struct cxe_connection *connection, const char *name);
int cxe_region_seal(struct cxe_region *region);
/* A copy as of now, sharing memory until one of the two is written. Name NULL: unnamed, which needs
 * EPHEMERAL. If the pool runs out of memory for such a copy, the clone loses the page (-EHWPOISON), never the
 * original. */
int cxe_region_clone(struct cxe_region *region, const char *name, uint32_t flags,
                     struct cxe_region **clone_out);
uint64_t cxe_region_bytes(const struct cxe_region *region);

/* ---- operations that wait for their answer ---- */

/* Whole lines: offset and bytes are multiples of CXE_LINE_BYTES (-EINVAL); inside the region (-ERANGE). A
 * line is never torn; lines of one call may be from different moments. */
int cxe_read(struct cxe_region *region, uint64_t offset, void *buffer, size_t bytes);
/* -EACCES: sealed. When a write of several frames fails half-way, whole lines before the failure are done;
 * the call then returns -CXE_EUNKNOWN if any are. */
int cxe_write(struct cxe_region *region, uint64_t offset, const void *buffer, size_t bytes);
/* One line; bit i of `byte_mask` says whether byte i is written. */
int cxe_write_masked(struct cxe_region *region, uint64_t offset, const void *line, uint64_t byte_mask);

enum cxe_atomic {
    CXE_FETCH_ADD,
    CXE_SWAP,
    CXE_FETCH_AND,
    CXE_FETCH_OR,
    CXE_FETCH_XOR,
    CXE_FETCH_MIN, /* unsigned */
    CXE_FETCH_MAX, /* unsigned */
};
/* Width 4, 8 or 16 bytes, offset a multiple of it (-EINVAL). `old_out` gets what was there; it was replaced
 * if that equals `expected`. Values are in the client's memory order (little endian). */
int cxe_cas(struct cxe_region *region, uint64_t offset, unsigned width, const void *expected,
            const void *desired, void *old_out);
/* Width 4 or 8. */
int cxe_fetch(struct cxe_region *region, enum cxe_atomic operation, uint64_t offset, unsigned width,
              const void *operand, void *old_out);

/* Waits until the word differs from `expected`, at most `timeout_ns` (UINT64_MAX: for ever), and hands out
 * what it is then; 0 looks and does not wait. Width 4 or 8, offset a multiple of it (-EINVAL). The server
 * keeps the caller waiting, nobody polls; a change that is taken back soon may be missed. Any number of
 * threads may wait. -ETIMEDOUT: it did not change, or the server was silent for longer than the connection
 * allows. -ESTALE: the region was deleted meanwhile. Not interrupted by signals. */
int cxe_wait(struct cxe_region *region, uint64_t offset, unsigned width, const void *expected,
             uint64_t timeout_ns, void *value_out);

/* Returns when everything this thread started through blocking calls has been done: since they wait, at once.
 * Exists so that code written against several transports reads the same. */
int cxe_fence(struct cxe_connection *connection);

/* ---- operations in flight ---- */

/* A queue has a session of its own: no lock, no other thread. Operations in flight may be done in any order,
 * except that those on one line are done in the order they were started, and those behind a fence after all
 * before it. */
int cxe_queue_open(struct cxe_connection *connection, unsigned depth, struct cxe_queue **queue_out);
/* Drops what is in flight: its outcome is unknown. */
void cxe_queue_close(struct cxe_queue *queue);

struct cxe_completion {
    void *context;
    int result; /* 0 or negative errno, as the blocking call would return */
};

/* Each starts one operation and returns; -EAGAIN: `depth` are in flight, poll first (no
 * sentence in cxe_last_error, since that is everyday). Read and old buffers
 * belong to the library until the completion; write buffers and operands are copied before the call returns.
 * Several started operations travel in one frame, and several full frames together: they leave when these are
 * enough, or at cxe_queue_flush, _poll or _wait. */
int cxe_queue_read(struct cxe_queue *queue, struct cxe_region *region, uint64_t offset, void *buffer,
                   size_t bytes, void *context);
int cxe_queue_write(struct cxe_queue *queue, struct cxe_region *region, uint64_t offset, const void *buffer,
                    size_t bytes, void *context);
int cxe_queue_write_masked(struct cxe_queue *queue, struct cxe_region *region, uint64_t offset,
                           const void *line, uint64_t byte_mask, void *context);
int cxe_queue_cas(struct cxe_queue *queue, struct cxe_region *region, uint64_t offset, unsigned width,
                  const void *expected, const void *desired, void *old_out, void *context);
int cxe_queue_fetch(struct cxe_queue *queue, struct cxe_region *region, enum cxe_atomic operation,
                    uint64_t offset, unsigned width, const void *operand, void *old_out, void *context);
/* What is started later is done after all that was started before. */
int cxe_queue_fence(struct cxe_queue *queue);
int cxe_queue_flush(struct cxe_queue *queue);
/* Takes up to `most` completions without waiting; returns how many. */
int cxe_queue_poll(struct cxe_queue *queue, struct cxe_completion *completions, size_t most);
/* Waits until there is one at least, at most `timeout_ns` (-ETIMEDOUT); returns how many it took. */
int cxe_queue_wait(struct cxe_queue *queue, struct cxe_completion *completions, size_t most,
                   uint64_t timeout_ns);

/* ---- mappings ---- */

enum cxe_fault_mode {
    CXE_FAULT_AUTO = 0,   /* inline where the transport can, else thread */
    CXE_FAULT_INLINE = 1, /* the faulting thread fetches the page itself in a SIGBUS handler. Fastest. A
                             system call that meets an absent page fails with EFAULT: touch the pages first,
                             or run under `cxe run`, which sees to it */
    CXE_FAULT_THREAD = 2, /* a thread of the library fetches; system calls just work (needs permission) */
};

enum cxe_gone_policy {                        /* what a mapping does when the server does not answer */
                       CXE_GONE_WAIT = 0,     /* the access waits until it does */
                       CXE_GONE_DEADLINE = 1, /* it waits gone_deadline_ns, then the page is poisoned: SIGBUS,
                                                 and EFAULT in system calls */
                       CXE_GONE_FAIL_FAST = 2, /* poisoned at the first sign */
};

enum cxe_map_flags {
    CXE_MAP_READ_ONLY = 1,
    CXE_MAP_NO_PREFETCH = 2,
    CXE_MAP_NO_CLEANER = 4, /* no background thread: every write-back is done by a faulting thread */
    /* Changed pages are written back whole: nothing is kept to find the changed lines by, which takes up to
     * an eighth of local_bytes while pages are changed. For programs that change most of the pages they
     * touch. In a private region, lines of these pages that others wrote meanwhile are overwritten, also
     * those this client did not change. */
    CXE_MAP_WHOLE_PAGES = 8,
};

/* Zero-initialise, then set what differs. */
struct cxe_map_options {
    uint64_t offset;      /* page-aligned part of the region; */
    uint64_t bytes;       /* 0: to its end */
    uint64_t local_bytes; /* local memory for cached pages and what is kept beside them; 0: a quarter of the
                             mapping; at least CXE_LOCAL_BYTES_MIN */
    void *address;        /* NULL: anywhere; else exactly there (-EEXIST if taken) */
    enum cxe_fault_mode fault_mode;
    enum cxe_gone_policy gone_policy;
    uint64_t gone_deadline_ns;
    uint32_t flags; /* enum cxe_map_flags */
};
#define CXE_LOCAL_BYTES_MIN (64 * CXE_PAGE_BYTES)

/* Maps a region. A region is mapped once at a time in a process (-EBUSY). Pages come at the first access and
 * leave when the cache is full; changed lines are written back. What others see of it depends on the region:
 *
 * - private (no flag): for one client at a time, which nobody checks. Operations and other clients' mappings
 *   see stores after cxe_sync, or when the page was evicted; clients that store to one page at the same time
 *   overwrite each other's lines. Costs nothing.
 * - CXE_REGION_SHARED: coherent. A load returns what the last store to that place left there, whichever
 * client did it, through a mapping or by an operation. A page is writable for one client at a time, and goes
 * to and fro as they access it.
 * - CXE_REGION_SEALED: nobody stores, so every client may keep what it has.
 *
 * A coherent mapping has a lease, which the library renews. A client that stopped for longer (or is cut off,
 * or dead) is fenced: others go on without it. When it comes back, pages it had not changed are fetched anew;
 * those it had are poisoned, since others may have changed them as well: access is SIGBUS, cxe_sync and
 * cxe_unmap say -EOWNERDEAD, and CXE_ADVICE_REFRESH takes note of the loss and fetches them again. A load in
 * the moment between continuing and the library's first look at the clock may still see what was there
 * before. The child of a fork does not have a coherent mapping (SIGSEGV). -EBUSY as well: the region has too
 * many.
 *
 * In inline mode the library handles SIGBUS; the handler the program had before the
 * first mapping is called for faults that are not ours, and the program must not install another one
 * afterwards (under `cxe run` it may). -EPERM: userfaultfd is forbidden here, -ENOSYS: the kernel
 * lacks what cxe_last_error names; operations still work. */
int cxe_map(struct cxe_region *region, const struct cxe_map_options *options, void **address_out);

/* Writes the range's changed lines back and waits until the server has them. -ERANGE: not in a mapping.
 * -EOWNERDEAD: the mapping was fenced (see cxe_map), and stores to the range are lost. */
int cxe_sync(void *address, size_t bytes);
/* Starts to fetch the range and returns. A hint: never fails for want of memory. */
int cxe_prefetch(void *address, size_t bytes);

enum cxe_advice {
    CXE_ADVICE_NORMAL = 0,
    CXE_ADVICE_SEQUENTIAL = 1, /* fetch far ahead, evict behind */
    CXE_ADVICE_RANDOM = 2,     /* never fetch ahead */
    CXE_ADVICE_COLD = 3,       /* write back and drop the range's pages now */
    CXE_ADVICE_REFRESH =
        4, /* drop the range's clean pages, so that the next access fetches what is there now; poisoned pages
              are asked for again. Not needed where the mapping is coherent, and harmless */
    CXE_ADVICE_DISCARD =
        5, /* give up the range's changes that the server has not got: its pages are dropped, changed or not,
              and the next access fetches what is there. For who is told by cxe_sync or cxe_unmap that they
              cannot be written back (-ESTALE: the region is gone), and wants to go on without. Waits for a
              write-back under way. A page that a system call of another thread is using stays */
};
int cxe_advise(void *address, size_t bytes, enum cxe_advice advice);

/* Writes back everything, then unmaps. If that fails the mapping stays, and so does its data: cxe_sync tells
 * of which ranges. It can be tried again, also after CXE_ADVICE_DISCARD of what may be lost (-EOWNERDEAD: is
 * lost, and CXE_ADVICE_REFRESH does), with no server as well. */
int cxe_unmap(void *address);

struct cxe_map_info {
    uint64_t bytes, local_bytes;
    uint64_t resident_bytes, dirty_bytes;
    uint64_t faults;        /* missing pages and first writes */
    uint64_t fetched_pages; /* demanded and prefetched */
    uint64_t prefetched_pages, prefetch_used_pages;
    uint64_t evicted_pages;
    uint64_t written_pages, written_lines; /* write-back */
    uint64_t poisoned_pages;
    uint64_t fault_p50_ns, fault_p99_ns;
    enum cxe_fault_mode fault_mode; /* INLINE or THREAD */
    bool coherent;                  /* what follows is about such mappings */
    uint64_t snoops;                /* answered: another client, or an operation, wanted a page */
    uint64_t given_up_pages;        /* because of them: given away, or dirty and written back */
    uint64_t fenced;                /* how often the lease ran out */
};
int cxe_map_info(const void *address, struct cxe_map_info *info_out);

#ifdef __cplusplus
}
#endif

#endif
