/* options.h - the daemon's command line */
#ifndef FABRICD_OPTIONS_H
#define FABRICD_OPTIONS_H

#include <stdbool.h>

#include "config.h"

#define OPTIONS_OVERRIDES_MAX 32

struct options {
    const char *config_file; /* NULL: none */
    bool check;              /* print the configuration and end */
    struct config_override overrides[OPTIONS_OVERRIDES_MAX];
    unsigned override_count;
};

#define OPTIONS_EXIT_USAGE 2 /* the exit status for a wrong option or configuration */

/* Reads the command line. --help and --version print and exit(0); a wrong option prints one sentence and
 * exits with OPTIONS_EXIT_USAGE. The texts of `arguments` are borrowed. */
void options_parse(int count, char **arguments, struct options *options_out);

#endif
