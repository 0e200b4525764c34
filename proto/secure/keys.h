/* keys.h - key files, and memory for secrets
 *
 * A key file is one line: the base64 of 32 bytes (44 characters), and a newline. PATH holds the secret key
 * and PATH.pub the public one. Nothing here is for the data path: these functions touch files and may block.
 *
 * Functions that can fail for a reason worth telling write one sentence that names the file and says what is
 * wrong and what was expected to `why` (no newline, cut to `why_bytes`, never containing key material). It is
 * written on failure only. KEYS_WHY_BYTES is room enough for usual paths.
 */
#ifndef CXE_SECURE_KEYS_H
#define CXE_SECURE_KEYS_H

#include <stddef.h>
#include <stdint.h>

#include "noise.h"

#define KEYS_WHY_BYTES  512
#define KEYS_TEXT_BYTES 45 /* base64 of a key, with the terminating NUL */

/* A new pair. sodium_init() must have succeeded. */
void keys_generate(struct noise_keypair *pair_out);

/* The text of a key, public or secret: 44 characters and a NUL. */
void keys_format(const uint8_t key[NOISE_KEY_BYTES], char text_out[KEYS_TEXT_BYTES]);

/* Reads a secret key and derives its public one. The file must be a regular file, not a symbolic link, owned
 * by us or root, readable and writable by its owner only (mode 0600 or stricter), and exactly one key long.
 * -EPERM: owner or mode; -ELOOP: a symbolic link; -EINVAL: not a regular file, or not a key; otherwise what
 * open() or read() said. */
int keys_read_secret(const char *path, struct noise_keypair *pair_out, char *why, size_t why_bytes);

/* Reads a public key: the key's text itself, or the path of a file that holds it (for a file whose name looks
 * like a key, say ./NAME). A file that everybody may write is refused (-EPERM), and so is a key of low order,
 * with which every secret would be known (-EINVAL). Other errors as above; symbolic links are followed. */
int keys_read_public(const char *path_or_text, uint8_t key_out[NOISE_KEY_BYTES], char *why, size_t why_bytes);

/* Writes PATH (mode 0600) and PATH.pub (mode 0644), both new: -EEXIST if either is there already. On failure
 * neither is left behind. */
int keys_write_pair(const char *path, const struct noise_keypair *pair, char *why, size_t why_bytes);

/* Whole zeroed pages that are left out of core dumps and of forked children (who see zeros) and, as far as
 * RLIMIT_MEMLOCK allows, never swapped. For long-lived tables of session keys. NULL: no memory. */
void *secret_pages_alloc(size_t bytes);

/* Wipes and unmaps what secret_pages_alloc(bytes) returned; NULL is allowed. */
void secret_pages_free(void *pages, size_t bytes);

#endif
