/* fabricd.h - the daemon: comes up step by step, serves, goes down in the opposite order */
#ifndef FABRICD_FABRICD_H
#define FABRICD_FABRICD_H

#include "options.h"

/* Runs until a signal or POST /drain ends it; returns the exit status: 0, 1 (could not start) or
 * OPTIONS_EXIT_USAGE. To be called once, from the main thread, before there are others. */
int fabricd_run(const struct options *options);

#endif
