/* keys.c - key files, and memory for secrets */
#include "keys.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT_CHARS (KEYS_TEXT_BYTES - 1)
#define LINE_CHARS (TEXT_CHARS + 1) /* with its newline */

static_assert(KEYS_TEXT_BYTES == sodium_base64_ENCODED_LEN(NOISE_KEY_BYTES, sodium_base64_VARIANT_ORIGINAL),
              "base64 of a key");

/* Writes the sentence; returns `error`, so that failing is one statement. */
__attribute__((format(printf, 4, 5))) static int fail(int error, char *why, size_t why_bytes,
                                                      const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(why, why_bytes, format, arguments);
    va_end(arguments);
    return error;
}

void keys_generate(struct noise_keypair *pair_out)
{
    noise_keypair_generate(pair_out);
}

void keys_format(const uint8_t key[NOISE_KEY_BYTES], char text_out[KEYS_TEXT_BYTES])
{
    sodium_bin2base64(text_out, KEYS_TEXT_BYTES, key, NOISE_KEY_BYTES, sodium_base64_VARIANT_ORIGINAL);
}

/* Exactly 44 characters of padded base64, nothing skipped. */
static bool parse(const char *text, size_t text_chars, uint8_t key_out[NOISE_KEY_BYTES])
{
    size_t key_bytes;

    return text_chars == TEXT_CHARS &&
           sodium_base642bin(key_out, NOISE_KEY_BYTES, text, text_chars, NULL, &key_bytes, NULL,
                             sodium_base64_VARIANT_ORIGINAL) == 0 &&
           key_bytes == NOISE_KEY_BYTES;
}

/* ---- reading ---- */

/* Opens a regular file; never waits for the other end of a FIFO. */
static int open_regular(const char *path, int flags, int *fd_out, struct stat *status_out, char *why,
                        size_t why_bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | flags);
    int error;

    if (fd < 0) {
        error = -errno;
        if (error == -ELOOP && (flags & O_NOFOLLOW))
            return fail(error, why, why_bytes, "%s: is a symbolic link; a secret key must be the file itself",
                        path);
        return fail(error, why, why_bytes, "%s: cannot open the key file: %s", path, strerror(-error));
    }
    if (fstat(fd, status_out) != 0) {
        error = fail(-errno, why, why_bytes, "%s: cannot look at the key file: %s", path, strerror(errno));
        goto close_fd;
    }
    if (!S_ISREG(status_out->st_mode)) {
        error = fail(-EINVAL, why, why_bytes, "%s: not a regular file", path);
        goto close_fd;
    }
    *fd_out = fd;
    return 0;

close_fd:
    close(fd);
    return error;
}

static int read_key(int fd, const char *path, uint8_t key_out[NOISE_KEY_BYTES], char *why, size_t why_bytes)
{
    char line[LINE_CHARS + 1]; /* room to notice a file that is too long */
    ssize_t got = read(fd, line, sizeof(line));
    int error = 0;

    if (got < 0) {
        error = fail(-errno, why, why_bytes, "%s: cannot read the key file: %s", path, strerror(errno));
    } else {
        if (got == LINE_CHARS && line[LINE_CHARS - 1] == '\n')
            got--;
        if (!parse(line, (size_t)got, key_out))
            error = fail(-EINVAL, why, why_bytes,
                         "%s: not a key file: expected one line of %d base64 characters", path, TEXT_CHARS);
    }
    sodium_memzero(line, sizeof(line));
    return error;
}

static int check_private(const struct stat *status, const char *path, char *why, size_t why_bytes)
{
    if (status->st_uid != geteuid() && status->st_uid != 0)
        return fail(-EPERM, why, why_bytes,
                    "%s: belongs to user %u; a secret key must belong to user %u or root", path,
                    (unsigned)status->st_uid, (unsigned)geteuid());
    if (status->st_mode & 07177)
        return fail(-EPERM, why, why_bytes, "%s: mode %04o is too loose for a secret key; expected 0600",
                    path, (unsigned)status->st_mode & 07777);
    return 0;
}

int keys_read_secret(const char *path, struct noise_keypair *pair_out, char *why, size_t why_bytes)
{
    uint8_t secret[NOISE_KEY_BYTES];
    struct stat status;
    int fd, error;

    error = open_regular(path, O_NOFOLLOW, &fd, &status, why, why_bytes);
    if (error)
        return error;
    error = check_private(&status, path, why, why_bytes);
    if (error)
        goto close_fd;
    error = read_key(fd, path, secret, why, why_bytes);
    if (error)
        goto wipe;
    if (sodium_is_zero(secret, sizeof(secret))) {
        error = fail(-EINVAL, why, why_bytes, "%s: the secret key is all zeros", path);
        goto wipe;
    }
    noise_keypair_derive(secret, pair_out);
wipe:
    sodium_memzero(secret, sizeof(secret));
close_fd:
    close(fd);
    return error;
}

/* With a key of low order, X25519 gives the same result whatever the secret. */
static bool low_order(const uint8_t key[NOISE_KEY_BYTES])
{
    static const uint8_t any_secret[NOISE_KEY_BYTES] = {8};
    uint8_t shared[NOISE_KEY_BYTES];

    return crypto_scalarmult_curve25519(shared, any_secret, key) != 0;
}

static int read_public_file(const char *path, uint8_t key_out[NOISE_KEY_BYTES], char *why, size_t why_bytes)
{
    struct stat status;
    int fd, error;

    error = open_regular(path, 0, &fd, &status, why, why_bytes);
    if (error)
        return error;
    if (status.st_mode & S_IWOTH)
        error = fail(-EPERM, why, why_bytes, "%s: mode %04o lets everybody replace the key; expected 0644",
                     path, (unsigned)status.st_mode & 07777);
    else
        error = read_key(fd, path, key_out, why, why_bytes);
    close(fd);
    return error;
}

int keys_read_public(const char *path_or_text, uint8_t key_out[NOISE_KEY_BYTES], char *why, size_t why_bytes)
{
    uint8_t key[NOISE_KEY_BYTES];
    int error;

    if (!parse(path_or_text, strlen(path_or_text), key)) {
        error = read_public_file(path_or_text, key, why, why_bytes);
        if (error)
            return error;
    }
    if (low_order(key))
        return fail(-EINVAL, why, why_bytes, "%s: not a public key: a point of low order", path_or_text);
    memcpy(key_out, key, sizeof(key));
    return 0;
}

/* ---- writing ---- */

static int write_all(int fd, const char *bytes, size_t count)
{
    while (count > 0) {
        ssize_t put = write(fd, bytes, count);

        if (put < 0 && errno != EINTR)
            return -errno;
        if (put > 0) {
            bytes += put;
            count -= (size_t)put;
        }
    }
    return 0;
}

/* A new file with exactly this mode, on the disk when we return; or none. */
static int write_key(const char *path, const uint8_t key[NOISE_KEY_BYTES], mode_t mode, char *why,
                     size_t why_bytes)
{
    char line[KEYS_TEXT_BYTES];
    int error, fd;

    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return fail(-errno, why, why_bytes, "%s: cannot create the key file: %s", path, strerror(errno));
    keys_format(key, line);
    line[TEXT_CHARS] = '\n';
    error = fchmod(fd, mode) == 0 ? write_all(fd, line, LINE_CHARS) : -errno;
    if (!error && fsync(fd) != 0)
        error = -errno;
    sodium_memzero(line, sizeof(line));
    close(fd);
    if (error) {
        unlink(path);
        return fail(error, why, why_bytes, "%s: cannot write the key file: %s", path, strerror(-error));
    }
    return 0;
}

int keys_write_pair(const char *path, const struct noise_keypair *pair, char *why, size_t why_bytes)
{
    char public_path[PATH_MAX];
    int error;

    if ((size_t)snprintf(public_path, sizeof(public_path), "%s.pub", path) >= sizeof(public_path))
        return fail(-ENAMETOOLONG, why, why_bytes, "%.64s...: the path is too long", path);
    error = write_key(path, pair->secret, 0600, why, why_bytes);
    if (error)
        return error;
    error = write_key(public_path, pair->public, 0644, why, why_bytes);
    if (error)
        unlink(path);
    return error;
}

/* ---- memory ---- */

static size_t whole_pages(size_t bytes)
{
    const size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);

    return (bytes + page_bytes - 1) / page_bytes * page_bytes;
}

void *secret_pages_alloc(size_t bytes)
{
    const size_t mapped_bytes = whole_pages(bytes);
    void *pages;

    if (mapped_bytes < bytes)
        return NULL;
    pages = mmap(NULL, mapped_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED)
        return NULL;
    if (madvise(pages, mapped_bytes, MADV_DONTDUMP) != 0 ||
        madvise(pages, mapped_bytes, MADV_WIPEONFORK) != 0) {
        munmap(pages, mapped_bytes);
        return NULL;
    }
    /* As far as the limit allows: a swapped key beats no service. Pages never touched cost nothing. */
    (void)mlock2(pages, mapped_bytes, MLOCK_ONFAULT);
    return pages;
}

void secret_pages_free(void *pages, size_t bytes)
{
    if (!pages)
        return;
    sodium_memzero(pages, bytes);
    munmap(pages, whole_pages(bytes));
}
