/* control_socket.c - see control_socket.h */
#include "control_socket.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 16

static bool answers(const struct sockaddr_un *name)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool yes = fd >= 0 && (connect(fd, (const struct sockaddr *)name, sizeof(*name)) == 0 || errno == EAGAIN);

    if (fd >= 0)
        close(fd);
    return yes;
}

/* 0: nothing is in the way any more. */
static int clear_path(const struct sockaddr_un *name, char *why, size_t why_bytes)
{
    const char *path = name->sun_path;
    struct stat status;

    if (lstat(path, &status) != 0)
        return 0; /* bind will say what is wrong, if anything is */
    if (!S_ISSOCK(status.st_mode)) {
        snprintf(why, why_bytes, "control_socket: %s exists and is not a socket; remove it or name another",
                 path);
        return -EEXIST;
    }
    if (answers(name)) {
        snprintf(why, why_bytes, "control_socket: another daemon is serving on %s; stop it or name another",
                 path);
        return -EADDRINUSE;
    }
    unlink(path);
    return 0;
}

static int bind_and_listen(int fd, const struct sockaddr_un *name, char *why, size_t why_bytes)
{
    mode_t before = umask(0117); /* the file is never, not even for a moment, open to more */
    int error = bind(fd, (const struct sockaddr *)name, sizeof(*name)) == 0 ? 0 : -errno;

    umask(before);
    if (!error && listen(fd, BACKLOG) != 0)
        error = -errno;
    if (error)
        snprintf(why, why_bytes, "control_socket: cannot listen on %s: %s", name->sun_path, strerror(-error));
    return error;
}

int control_socket_open(const char *path, struct control_socket *socket_out, int *fd_out, char *why,
                        size_t why_bytes)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    struct stat status;
    int fd, error;

    if (strlen(path) >= sizeof(name.sun_path)) {
        snprintf(why, why_bytes, "control_socket: %s is longer than %zu bytes", path,
                 sizeof(name.sun_path) - 1);
        return -ENAMETOOLONG;
    }
    strcpy(name.sun_path, path);
    error = clear_path(&name, why, why_bytes);
    if (error)
        return error;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        error = -errno;
        snprintf(why, why_bytes, "control_socket: %s", strerror(errno));
        return error;
    }
    error = bind_and_listen(fd, &name, why, why_bytes);
    if (error) {
        close(fd);
        return error;
    }
    memset(socket_out, 0, sizeof(*socket_out));
    strcpy(socket_out->path, path);
    if (lstat(path, &status) == 0) {
        socket_out->device = status.st_dev;
        socket_out->inode = status.st_ino;
    }
    *fd_out = fd;
    return 0;
}

void control_socket_close(const struct control_socket *socket)
{
    struct stat status;

    if (lstat(socket->path, &status) == 0 && status.st_dev == socket->device &&
        status.st_ino == socket->inode)
        unlink(socket->path);
}
