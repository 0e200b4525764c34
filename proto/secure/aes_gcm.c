/* aes_gcm.c - AES-256-GCM for records, from libipsec-mb */
#include "aes_gcm.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sodium.h>

#include "check.h"

#if defined(__x86_64__)
#include <intel-ipsec-mb.h>

/* Versions of one soname disagree about the size: 1.3 wants 1008 bytes, 1.4 wants 1264. */
static_assert(sizeof(struct gcm_key_data) <= sizeof(struct aes_gcm_key), "an expanded key");

/* What we use of the library's manager; set once, before `available` is. */
static struct {
    aes_gcm_pre_t expand;
    aes_gcm_enc_dec_t seal;
    aes_gcm_enc_dec_t open;
    bool available;
} kernels;

/* The library's own detection does not ask whether the operating system saves the wide registers; the
 * compiler's does. */
static void init_for_cpu(IMB_MGR *manager)
{
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512cd"))
        init_mb_mgr_avx512(manager);
    else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2"))
        init_mb_mgr_avx2(manager);
    else
        init_mb_mgr_sse(manager);
}

static void kernels_find(void)
{
    const uint64_t needed = IMB_CPUFLAGS_SSE | IMB_FEATURE_SELF_TEST_PASS;
    IMB_MGR *manager;

    if (imb_get_version() >> 8 != IMB_VERSION_NUM >> 8)
        return; /* another layout of the key than the one we were compiled for */
    manager = alloc_mb_mgr(0);
    if (!manager)
        return;
    init_for_cpu(manager);
    if (imb_get_errno(manager) == 0 && (manager->features & needed) == needed) {
        kernels.expand = manager->gcm256_pre;
        kernels.seal = manager->gcm256_enc;
        kernels.open = manager->gcm256_dec;
        kernels.available = true;
    }
    free_mb_mgr(manager);
}

bool aes_gcm_available(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, kernels_find);
    return kernels.available;
}

/* The library declares its key 64-byte aligned; its kernels ask for 16 (a test tries every place). */
static const struct gcm_key_data *key_data(const struct aes_gcm_key *key)
{
    return (const struct gcm_key_data *)(const void *)key->expanded;
}

void aes_gcm_expand(struct aes_gcm_key *key, const uint8_t raw[AES_GCM_KEY_BYTES])
{
    CHECK(aes_gcm_available());
    kernels.expand(raw, (struct gcm_key_data *)(void *)key->expanded);
}

void aes_gcm_seal(const struct aes_gcm_key *key, const uint8_t nonce[AES_GCM_NONCE_BYTES], const void *aad,
                  size_t aad_bytes, const uint8_t *plain, size_t bytes, uint8_t *sealed_out,
                  uint8_t tag_out[AES_GCM_TAG_BYTES])
{
    struct gcm_context_data context;

    kernels.seal(key_data(key), &context, sealed_out, plain, bytes, nonce, aad, aad_bytes, tag_out,
                 AES_GCM_TAG_BYTES);
}

int aes_gcm_open(const struct aes_gcm_key *key, const uint8_t nonce[AES_GCM_NONCE_BYTES], const void *aad,
                 size_t aad_bytes, uint8_t *sealed, size_t bytes, const uint8_t tag[AES_GCM_TAG_BYTES])
{
    struct gcm_context_data context;
    uint8_t expected[AES_GCM_TAG_BYTES];

    kernels.open(key_data(key), &context, sealed, sealed, bytes, nonce, aad, aad_bytes, expected,
                 AES_GCM_TAG_BYTES);
    if (sodium_memcmp(expected, tag, sizeof(expected)) == 0)
        return 0;
    sodium_memzero(sealed, bytes); /* it decrypts while it checks */
    return -EBADMSG;
}

#else /* no other CPU has it in Debian's library: ChaCha20-Poly1305 serves there */

bool aes_gcm_available(void)
{
    return false;
}

void aes_gcm_expand(struct aes_gcm_key *key, const uint8_t raw[AES_GCM_KEY_BYTES])
{
    (void)key, (void)raw;
    CHECK(aes_gcm_available());
}

void aes_gcm_seal(const struct aes_gcm_key *key, const uint8_t nonce[AES_GCM_NONCE_BYTES], const void *aad,
                  size_t aad_bytes, const uint8_t *plain, size_t bytes, uint8_t *sealed_out,
                  uint8_t tag_out[AES_GCM_TAG_BYTES])
{
    (void)key, (void)nonce, (void)aad, (void)aad_bytes, (void)plain, (void)bytes, (void)sealed_out,
        (void)tag_out;
    CHECK(aes_gcm_available());
}

int aes_gcm_open(const struct aes_gcm_key *key, const uint8_t nonce[AES_GCM_NONCE_BYTES], const void *aad,
                 size_t aad_bytes, uint8_t *sealed, size_t bytes, const uint8_t tag[AES_GCM_TAG_BYTES])
{
    (void)key, (void)nonce, (void)aad, (void)aad_bytes, (void)sealed, (void)bytes, (void)tag;
    return -EBADMSG;
}

#endif
