/* filter.h - the seccomp filter that traps system calls on pool memory
 *
 * A call is trapped when one of its pointers lies in the window of mappings and it does not come from our
 * stub; some calls by further rules (enum call_rule). What the filter lets through costs a few comparisons,
 * and nothing where the table says that a call takes no pointers: the kernel remembers such calls.
 */
#ifndef CXE_PRELOAD_FILTER_H
#define CXE_PRELOAD_FILTER_H

#include <linux/filter.h>
#include <stddef.h>
#include <stdint.h>

/* In si_errno of a trap of ours: the program may have filters of its own. */
#define FILTER_COOKIE 0x0ce

#define FILTER_INSTRUCTIONS_MAX 4096

struct filter_options {
    uintptr_t libc_start, libc_end; /* its code */
    unsigned fd_first, fd_end;      /* descriptor numbers that are ours */
};

/* Builds the program. Returns how many instructions; -E2BIG. Pure. */
int filter_build(const struct filter_options *options, struct sock_filter *program);

/* Builds and installs it, for all threads and for good. -EACCES, -EPERM, -ENOSYS: the kernel does not let us.
 * Sets no_new_privs if there is no other way. */
int filter_install(const struct filter_options *options);

#endif
