/* key_announce.c - see key_announce.h */
#include "key_announce.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config.h"
#include "keys.h"

int key_announce_directory(char *why, size_t why_bytes)
{
    char path[PATH_MAX];
    int error;

    config_runtime_dir(path, sizeof(path));
    if (mkdir(path, 0755) != 0 && errno != EEXIST) {
        error = -errno;
        snprintf(why, why_bytes, "cannot make the directory %s: %s", path, strerror(errno));
        return error;
    }
    if (access(path, W_OK | X_OK) != 0) {
        error = -errno;
        snprintf(why, why_bytes, "cannot write to the directory %s: %s", path, strerror(errno));
        return error;
    }
    return 0;
}

static int write_key(const char *path, const uint8_t public_key[NOISE_KEY_BYTES])
{
    char text[KEYS_TEXT_BYTES + 1];
    ssize_t length;
    int error = 0, fd;

    keys_format(public_key, text);
    strcat(text, "\n");
    length = (ssize_t)strlen(text);
    unlink(path); /* of a daemon with our process id that was killed */
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0)
        return -errno;
    if (fchmod(fd, 0644) != 0 || write(fd, text, (size_t)length) != length)
        error = errno ? -errno : -EIO;
    close(fd);
    return error;
}

int key_announce(uint16_t port, const uint8_t public_key[NOISE_KEY_BYTES],
                 struct key_announcement *announcement_out, char *why, size_t why_bytes)
{
    char directory[PATH_MAX - 64], path[PATH_MAX], fresh[PATH_MAX];
    int error = key_announce_directory(why, why_bytes);

    if (error)
        return error;
    config_runtime_dir(directory, sizeof(directory));
    snprintf(path, sizeof(path), "%s/fabricd-%u.pub", directory, port);
    snprintf(fresh, sizeof(fresh), "%s/.fabricd-%u.pub.%d", directory, port, getpid());
    error = write_key(fresh, public_key);
    if (!error && rename(fresh, path) != 0)
        error = -errno;
    if (error) {
        unlink(fresh);
        snprintf(why, why_bytes, "cannot write %s: %s", path, strerror(-error));
        return error;
    }
    memcpy(announcement_out->path, path, sizeof(path));
    return 0;
}

void key_announce_withdraw(const struct key_announcement *announcement,
                           const uint8_t public_key[NOISE_KEY_BYTES])
{
    uint8_t there[NOISE_KEY_BYTES];
    char why[KEYS_WHY_BYTES];

    if (announcement->path[0] && keys_read_public(announcement->path, there, why, sizeof(why)) == 0 &&
        memcmp(there, public_key, sizeof(there)) == 0)
        unlink(announcement->path);
}
