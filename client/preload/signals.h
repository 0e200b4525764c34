/* signals.h - SIGBUS and SIGSYS: ours first, then the program's */
#ifndef CXE_PRELOAD_SIGNALS_H
#define CXE_PRELOAD_SIGNALS_H

#include <signal.h>

/* Takes SIGSYS for the filter's traps and unblocks both signals in this thread. Before the filter. */
int signals_install(void);

/* What the program wants done about SIGBUS or SIGSYS: like sigaction(2), as a negative errno.
 * Async-signal-safe. */
int signals_keep(int signal, const struct sigaction *action, struct sigaction *old_out);

#endif
