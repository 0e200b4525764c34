/* signals.h - SIGBUS and SIGSYS: ours first, then the program's */
#ifndef CXE_PRELOAD_SIGNALS_H
#define CXE_PRELOAD_SIGNALS_H

#include <signal.h>
#include <stdbool.h>

/* Takes SIGSYS for the filter's traps and unblocks both signals in this thread. Before the filter. SIGBUS is
 * the pager's where faults are handled inline, and else the program's. */
int signals_install(bool sigbus_is_ours);

/* Is the signal one that the kernel must not hear of from the program? Async-signal-safe. */
bool signals_is_kept(int signal);

/* What the program wants done about SIGBUS or SIGSYS: like sigaction(2), as a negative errno.
 * Async-signal-safe. */
int signals_keep(int signal, const struct sigaction *action, struct sigaction *old_out);

#endif
