/* key_announce.h - the daemon's public key where clients on the same host look for it */
#ifndef FABRICD_KEY_ANNOUNCE_H
#define FABRICD_KEY_ANNOUNCE_H

#include <linux/limits.h>
#include <stddef.h>
#include <stdint.h>

#include "noise.h"

struct key_announcement {
    char path[PATH_MAX]; /* empty: nothing was written */
};

/* Makes the runtime directory (config_runtime_dir, mode 0755) if it is not there, and sees that we may write
 * to it. Negative errno, with a sentence in `why`. */
int key_announce_directory(char *why, size_t why_bytes);

/* Writes RUNTIME/cxe/fabricd-PORT.pub, mode 0644, in one step: a reader finds the old key or the new one.
 * Negative errno, with a sentence in `why`. */
int key_announce(uint16_t port, const uint8_t public_key[NOISE_KEY_BYTES],
                 struct key_announcement *announcement_out, char *why, size_t why_bytes);

/* Removes the file, unless another daemon has put its own key there. */
void key_announce_withdraw(const struct key_announcement *announcement,
                           const uint8_t public_key[NOISE_KEY_BYTES]);

#endif
