/* stub.h - system calls that our own filter lets through, whatever their arguments
 *
 * The filter (filter.c) traps calls whose arguments point into the window of mappings. What the library calls
 * itself must not be trapped, also not by the filter that a parent installed before it executed this program:
 * filters survive execve. So the one instruction that is exempt lives at one address in all processes.
 */
#ifndef CXE_PRELOAD_STUB_H
#define CXE_PRELOAD_STUB_H

#include "pager.h"

#define STUB_ADDRESS (PAGER_WINDOW_BASE - PAGE_BYTES)

/* Maps the stub. Until then, stub_call goes through an ordinary instruction, which the filter does not know.
 * -EEXIST: something else is at that address. */
int stub_install(void);

/* The system call `number`; returns what the kernel returns: a result, or a negative errno. Not a
 * cancellation point, does not touch errno, async-signal-safe. */
long stub_call(long number, long a, long b, long c, long d, long e, long f);

/* Fewer arguments, of any type that fits a register. */
#define stub_call0(n)             stub_call((n), 0, 0, 0, 0, 0, 0)
#define stub_call1(n, a)          stub_call((n), (long)(a), 0, 0, 0, 0, 0)
#define stub_call2(n, a, b)       stub_call((n), (long)(a), (long)(b), 0, 0, 0, 0)
#define stub_call3(n, a, b, c)    stub_call((n), (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define stub_call4(n, a, b, c, d) stub_call((n), (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define stub_call6(n, a, b, c, d, e, f) \
    stub_call((n), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

#endif
