/* run_program.h - the program that `cxe run` runs: can it be, and running it */
#ifndef CXE_CLI_RUN_PROGRAM_H
#define CXE_CLI_RUN_PROGRAM_H

#include <limits.h>

#define RUN_PROGRAM_WHY_BYTES (PATH_MAX + 256)

/* Finds the program as execvp would, and looks whether a library can be loaded into it. 0; -ENOENT: there is
 * none; -EACCES: it cannot be executed; -ENOEXEC: it cannot have its memory on the pool. `why` gets a
 * sentence. */
int run_program_find(const char *name, char path[PATH_MAX], char why[RUN_PROGRAM_WHY_BYTES]);

/* Runs it with this environment and waits. Signals that others send to us go to it; the terminal's reach it
 * anyhow. Returns its wait status, or a negative errno. */
int run_program_wait(const char *path, char **argv, int *status_out);

#endif
