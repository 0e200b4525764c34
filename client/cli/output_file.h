/* output_file.h - a file that appears whole or not at all */
#ifndef CXE_CLI_OUTPUT_FILE_H
#define CXE_CLI_OUTPUT_FILE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

struct output_file {
    int fd;
    const char *path;
    char temporary[PATH_MAX]; /* empty: written in place (standard output, a device, a pipe) */
};

/* "-" is standard output. A regular or new file is written beside its place first. 0 or negative errno. */
int output_file_open(struct output_file *file, const char *path);
int output_file_write(struct output_file *file, const void *data, size_t bytes);
/* `keep`: moves it to its place. Otherwise nothing is left of it. 0 or negative errno. */
int output_file_close(struct output_file *file, bool keep);

#endif
