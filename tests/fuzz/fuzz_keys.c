/* fuzz_keys.c - a public key's file with arbitrary content: a key comes out, or a sentence, and nothing else
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sodium.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "keys.h"

/* A file as far as anyone can tell, but in memory. */
static int make_file(const uint8_t *data, size_t size, char *path_out, size_t path_bytes)
{
    int fd = memfd_create("key", MFD_CLOEXEC);

    CHECK(fd >= 0);
    CHECK(write(fd, data, size) == (ssize_t)size);
    CHECK(fchmod(fd, 0600) == 0);
    snprintf(path_out, path_bytes, "/proc/self/fd/%d", fd);
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64], why[KEYS_WHY_BYTES], text[KEYS_TEXT_BYTES];
    uint8_t key[NOISE_KEY_BYTES], again[NOISE_KEY_BYTES];
    int fd, error;

    CHECK(sodium_init() >= 0);
    fd = make_file(data, size, path, sizeof(path));
    why[0] = '\0';
    error = keys_read_public(path, key, why, sizeof(why));
    CHECK(error <= 0);
    if (error) {
        CHECK(strlen(why) > 0 && strlen(why) < sizeof(why));
    } else { /* what was read can be written and read again */
        keys_format(key, text);
        CHECK(keys_read_public(text, again, why, sizeof(why)) == 0);
        CHECK(memcmp(key, again, sizeof(key)) == 0);
    }
    close(fd);
    return 0;
}
