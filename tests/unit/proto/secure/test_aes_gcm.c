/* test_aes_gcm.c - against a published vector and against libsodium, at every length and alignment */
#include "aes_gcm.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static void setup(void)
{
    cr_assert_geq(sodium_init(), 0);
    if (!aes_gcm_available())
        cr_skip_test("this CPU has no AES instructions");
}

TestSuite(aes_gcm, .init = setup);

static size_t unhex(const char *hex, uint8_t *bytes_out)
{
    size_t count;

    cr_assert_eq(sodium_hex2bin(bytes_out, 64, hex, strlen(hex), NULL, &count, NULL), 0);
    return count;
}

/* McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B, test case 16. */
Test(aes_gcm, published_vector)
{
    uint8_t raw[64], nonce[64], aad[64], plain[64], sealed[64], tag[64], out[64], tag_out[16];
    struct aes_gcm_key key;
    size_t aad_bytes, bytes;

    unhex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", raw);
    unhex("cafebabefacedbaddecaf888", nonce);
    aad_bytes = unhex("feedfacedeadbeeffeedfacedeadbeefabaddad2", aad);
    bytes = unhex("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
                  "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
                  plain);
    unhex("522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
          "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
          sealed);
    unhex("76fc6ece0f4e1768cddf8853bb2d551b", tag);

    aes_gcm_expand(&key, raw);
    aes_gcm_seal(&key, nonce, aad, aad_bytes, plain, bytes, out, tag_out);
    cr_assert_arr_eq(out, sealed, bytes);
    cr_assert_arr_eq(tag_out, tag, sizeof(tag_out));
    cr_assert_eq(aes_gcm_open(&key, nonce, aad, aad_bytes, out, bytes, tag), 0);
    cr_assert_arr_eq(out, plain, bytes);
}

/* Room for a key at each 16-byte place of a cache line, and for data at each place of 16 bytes. */
struct rooms {
    _Alignas(64) uint8_t key[sizeof(struct aes_gcm_key) + 64];
    uint8_t plain[70000], sealed[70000], expected[70000];
};

static void check_length(struct rooms *rooms, size_t bytes, size_t place)
{
    struct aes_gcm_key *key = (struct aes_gcm_key *)(rooms->key + place % 4 * 16);
    uint8_t *plain = rooms->plain + place % 16, *sealed = rooms->sealed + place / 3 % 16;
    uint8_t raw[32], nonce[12], aad[16], tag[16];

    randombytes_buf(raw, sizeof(raw));
    randombytes_buf(nonce, sizeof(nonce));
    randombytes_buf(aad, sizeof(aad));
    randombytes_buf(plain, bytes);
    crypto_aead_aes256gcm_encrypt(rooms->expected, NULL, plain, bytes, aad, sizeof(aad), NULL, nonce, raw);

    aes_gcm_expand(key, raw);
    aes_gcm_seal(key, nonce, aad, sizeof(aad), plain, bytes, sealed, tag);
    cr_assert(memcmp(sealed, rooms->expected, bytes) == 0, "%zu bytes, place %zu", bytes, place);
    cr_assert_arr_eq(tag, rooms->expected + bytes, sizeof(tag));
    cr_assert_eq(aes_gcm_open(key, nonce, aad, sizeof(aad), sealed, bytes, tag), 0);
    cr_assert(memcmp(sealed, plain, bytes) == 0, "%zu bytes, place %zu", bytes, place);

    aes_gcm_seal(key, nonce, aad, sizeof(aad), plain, bytes, plain, tag);
    cr_assert(memcmp(plain, rooms->expected, bytes) == 0, "in place, %zu bytes", bytes);
}

Test(aes_gcm, agrees_with_libsodium_at_every_length_and_place)
{
    static const size_t long_ones[] = {1400, 4096, 4120, 16384, 65472};
    struct rooms *rooms;

    if (!crypto_aead_aes256gcm_is_available())
        cr_skip_test("libsodium has no AES-256-GCM here to compare with");
    rooms = aligned_alloc(64, (sizeof(*rooms) + 63) / 64 * 64);
    cr_assert_not_null(rooms);
    for (size_t bytes = 0; bytes <= 1100; bytes++)
        check_length(rooms, bytes, bytes);
    for (size_t place = 0; place < 48; place++)
        for (size_t i = 0; i < sizeof(long_ones) / sizeof(long_ones[0]); i++)
            check_length(rooms, long_ones[i], place);
    free(rooms);
}

Test(aes_gcm, a_wrong_tag_clears_the_bytes)
{
    uint8_t raw[32] = {1}, nonce[12] = {2}, body[100] = "secret", tag[16];
    struct aes_gcm_key key;

    aes_gcm_expand(&key, raw);
    for (size_t bit = 0; bit < 128; bit++) {
        aes_gcm_seal(&key, nonce, NULL, 0, body, sizeof(body), body, tag);
        tag[bit / 8] ^= (uint8_t)(1u << bit % 8);
        cr_assert_eq(aes_gcm_open(&key, nonce, NULL, 0, body, sizeof(body), tag), -EBADMSG);
        cr_assert(sodium_is_zero(body, sizeof(body)));
    }
}

#define SPAN 4096

/* A page between two that nobody may touch. */
static uint8_t *guarded_page(void)
{
    uint8_t *pages = mmap(NULL, 3 * SPAN, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    cr_assert_neq(pages, MAP_FAILED);
    cr_assert_eq(mprotect(pages + SPAN, SPAN, PROT_READ | PROT_WRITE), 0);
    return pages + SPAN;
}

Test(aes_gcm, touches_nothing_outside_its_buffers)
{
    uint8_t *plain = guarded_page(), *sealed = guarded_page(), *small = guarded_page();
    uint8_t *tag = small + SPAN - 16, *aad = small, *nonce = sealed;
    uint8_t raw[32] = {1};
    struct aes_gcm_key key;

    aes_gcm_expand(&key, raw);
    for (size_t bytes = 0; bytes < 1100; bytes++) {
        aes_gcm_seal(&key, nonce, aad, 16, plain + SPAN - bytes, bytes, sealed + SPAN - bytes, tag);
        cr_assert_eq(aes_gcm_open(&key, nonce, aad, 16, sealed + SPAN - bytes, bytes, tag), 0);
        aes_gcm_seal(&key, small + SPAN - 28, small + SPAN - 44, 16, plain, bytes, plain, tag);
        cr_assert_eq(aes_gcm_open(&key, small + SPAN - 28, small + SPAN - 44, 16, plain, bytes, tag), 0);
    }
    munmap(plain - SPAN, 3 * SPAN);
    munmap(sealed - SPAN, 3 * SPAN);
    munmap(small - SPAN, 3 * SPAN);
}
