/* aes_gcm.h - AES-256-GCM for records, from libipsec-mb
 *
 * libsodium 1.0.18 takes 2.3 us for 4 KiB where this takes 0.5 us (and 145 ns against 55 ns for a line): its
 * kernels do not use the wide AES instructions. The library is used as three functions over the caller's
 * memory; none of its job queues is.
 *
 * All functions are async-signal-safe after the first call of aes_gcm_available; to expand a key where it is
 * not available stops the process.
 */
#ifndef CXE_SECURE_AES_GCM_H
#define CXE_SECURE_AES_GCM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AES_GCM_KEY_BYTES   32
#define AES_GCM_NONCE_BYTES 12
#define AES_GCM_TAG_BYTES   16

/* An expanded key: plain bytes, may be copied to any 16-byte aligned place. */
struct aes_gcm_key {
    _Alignas(16) uint8_t expanded[1280];
};

/* Does this CPU (and this library) do it in constant time, with its own instructions? The first call finds
 * out and may take a millisecond. Any thread. */
bool aes_gcm_available(void);

void aes_gcm_expand(struct aes_gcm_key *key, const uint8_t raw[AES_GCM_KEY_BYTES]);

/* Seals `bytes` of `plain` into `sealed_out` (the same place, or no overlap) and `tag_out`. Any alignment. */
void aes_gcm_seal(const struct aes_gcm_key *key, const uint8_t nonce[AES_GCM_NONCE_BYTES], const void *aad,
                  size_t aad_bytes, const uint8_t *plain, size_t bytes, uint8_t *sealed_out,
                  uint8_t tag_out[AES_GCM_TAG_BYTES]);

/* Opens in place. -EBADMSG: the tag is wrong; the bytes are then zero. */
int aes_gcm_open(const struct aes_gcm_key *key, const uint8_t nonce[AES_GCM_NONCE_BYTES], const void *aad,
                 size_t aad_bytes, uint8_t *sealed, size_t bytes, const uint8_t tag[AES_GCM_TAG_BYTES]);

#endif
