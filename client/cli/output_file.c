/* output_file.c - see output_file.h */
#include "output_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool written_in_place(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0 && !S_ISREG(status.st_mode);
}

/* mkstemp lets nobody else read; a file made by a command obeys the umask. */
static int make_temporary(struct output_file *file)
{
    mode_t mask = umask(0);

    umask(mask);
    if ((size_t)snprintf(file->temporary, sizeof(file->temporary), "%s.XXXXXX", file->path) >=
        sizeof(file->temporary))
        return -ENAMETOOLONG;
    file->fd = mkostemp(file->temporary, O_CLOEXEC);
    if (file->fd < 0)
        return -errno;
    if (fchmod(file->fd, 0666 & ~mask) < 0) {
        int error = -errno;

        output_file_close(file, false);
        return error;
    }
    return 0;
}

int output_file_open(struct output_file *file, const char *path)
{
    file->path = path;
    file->temporary[0] = '\0';
    if (strcmp(path, "-") == 0) {
        file->fd = STDOUT_FILENO;
        return 0;
    }
    if (!written_in_place(path))
        return make_temporary(file);
    file->fd = open(path, O_WRONLY | O_CLOEXEC);
    return file->fd < 0 ? -errno : 0;
}

int output_file_write(struct output_file *file, const void *data, size_t bytes)
{
    const uint8_t *at = data;

    while (bytes > 0) {
        ssize_t count = write(file->fd, at, bytes);

        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return -errno;
        at += count;
        bytes -= (size_t)count;
    }
    return 0;
}

int output_file_close(struct output_file *file, bool keep)
{
    int error = 0;

    if (close(file->fd) < 0)
        error = -errno;
    if (file->temporary[0] == '\0')
        return error;
    if (!error && keep && rename(file->temporary, file->path) < 0)
        error = -errno;
    if (error || !keep)
        unlink(file->temporary);
    return error;
}
