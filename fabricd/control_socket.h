/* control_socket.h - a UNIX socket file that is exactly one daemon's */
#ifndef FABRICD_CONTROL_SOCKET_H
#define FABRICD_CONTROL_SOCKET_H

#include <stddef.h>
#include <sys/stat.h>
#include <sys/un.h>

struct control_socket {
    char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
    dev_t device; /* of the file we made: somebody may have put another in its place */
    ino_t inode;
};

/* A listening stream socket at `path`, mode 0660. A file left by a daemon that is gone is replaced. Blocks
 * shortly; changes the process's umask for a moment, so call it before there are threads that make files.
 * -EADDRINUSE: another daemon answers there; -EEXIST: something that is no socket; or what bind said; with a
 * sentence in `why`. */
int control_socket_open(const char *path, struct control_socket *socket_out, int *fd_out, char *why,
                        size_t why_bytes);

/* Removes the file, if it is still the one that was made. The descriptor is the caller's. */
void control_socket_close(const struct control_socket *socket);

#endif
