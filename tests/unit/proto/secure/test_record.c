/* test_record.c - sealed records: round trips, damage, replay, key phases, the counter's end */
#include "record.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire.h"

#define W RECORD_REPLAY_WINDOW

static const uint8_t key_a[RECORD_KEY_BYTES] = "key of one direction, 32 bytes.";
static const uint8_t key_b[RECORD_KEY_BYTES] = "key of the other one, 32 bytes.";

struct pair {
    struct record_sealer sealer;
    struct record_opener opener;
};

static void pair_init(struct pair *pair, enum record_cipher cipher)
{
    record_sealer_init(&pair->sealer, cipher, key_a, 0x11223344, 0);
    record_opener_init(&pair->opener, cipher, key_a);
}

static bool available(enum record_cipher cipher)
{
    return record_ciphers_available() & 1u << cipher;
}

#define FOR_EACH_CIPHER(cipher)                                                      \
    for (enum record_cipher cipher = 0; cipher < RECORD_CIPHER_COUNT; cipher++)      \
        if (!available(cipher))                                                      \
            fprintf(stderr, "skipped: this CPU cannot do cipher %d\n", (int)cipher); \
        else

/* Seals a frame of 64 bytes with the given counter. */
static size_t seal_with_counter(struct record_sealer *sealer, uint64_t counter, uint64_t now_ns,
                                uint8_t *frame)
{
    static const uint8_t body[LINE_BYTES] =
        "sixty-four bytes of a line, all of which matter, to the last one";
    int length;

    sealer->counter = counter;
    length = record_seal(sealer, body, sizeof(body), frame, now_ns, NULL);
    cr_assert_eq(length, LINE_BYTES + RECORD_OVERHEAD);
    return (size_t)length;
}

static void setup(void)
{
    cr_assert_geq(sodium_init(), 0);
}

TestSuite(record, .init = setup);

/* ---- round trips ---- */

static void check_round_trip(enum record_cipher cipher, size_t body_bytes, size_t misaligned_by,
                             bool in_place)
{
    uint8_t *body = malloc(body_bytes + 1), *room = malloc(FRAME_BYTES_MAX + 16);
    uint8_t *frame = room + misaligned_by;
    uint64_t sealed_counter, opened_counter;
    struct pair pair;

    pair_init(&pair, cipher);
    randombytes_buf_deterministic(body, body_bytes, key_b);
    if (in_place)
        memcpy(frame + RECORD_HEADER_BYTES, body, body_bytes);
    cr_assert_eq(record_seal(&pair.sealer, in_place ? frame + RECORD_HEADER_BYTES : body, body_bytes, frame,
                             0, &sealed_counter),
                 (int)(body_bytes + RECORD_OVERHEAD));
    if (cipher != RECORD_CIPHER_PLAIN && body_bytes >= 16)
        cr_assert_arr_neq(frame + RECORD_HEADER_BYTES, body, body_bytes);
    cr_assert_eq(record_open(&pair.opener, frame, body_bytes + RECORD_OVERHEAD, 0, &opened_counter),
                 (int)body_bytes);
    cr_assert_eq(opened_counter, sealed_counter);
    if (body_bytes)
        cr_assert_arr_eq(frame + RECORD_HEADER_BYTES, body, body_bytes);
    free(room);
    free(body);
}

Test(record, round_trips_of_all_sizes_and_alignments)
{
    static const size_t sizes[] = {0,   1,    15,   16,   17,   63,
                                   64,  65,   88,   127,  128,  129,
                                   255, 1000, 1400, 4096, 4120, FRAME_BYTES_MAX - RECORD_OVERHEAD};

    FOR_EACH_CIPHER(cipher)
    {
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            check_round_trip(cipher, sizes[i], i % 16, false);
            check_round_trip(cipher, sizes[i], (i * 7) % 16, true);
        }
    }
}

/* The wire's layout, from the outside: header in clear, nonce from its counter, header as associated data. */
Test(record, frame_is_what_the_wire_format_says)
{
    static const uint8_t header[RECORD_HEADER_BYTES] = {0xCE, 1,    5,    0, 0x44, 0x33, 0x22,
                                                        0x11, 0x07, 0x06, 5, 4,    3};
    static const uint8_t nonce[12] = {0, 0, 0, 0, 0x07, 0x06, 5, 4, 3};
    uint8_t frame[128], expected[LINE_BYTES + RECORD_TAG_BYTES], body[LINE_BYTES];
    struct pair pair;

    FOR_EACH_CIPHER(cipher)
    {
        pair_init(&pair, cipher);
        pair.sealer.rekey_at_counter = UINT64_MAX;
        size_t length = seal_with_counter(&pair.sealer, 0x0304050607, 0, frame);
        cr_assert_arr_eq(frame, header, sizeof(header));
        cr_assert_eq(record_open(&pair.opener, frame, length, 0, NULL), LINE_BYTES);
        memcpy(body, frame + RECORD_HEADER_BYTES, LINE_BYTES);
        seal_with_counter(&pair.sealer, 0x0304050607, 0, frame);
        if (cipher == RECORD_CIPHER_CHACHA20POLY1305)
            crypto_aead_chacha20poly1305_ietf_encrypt(expected, NULL, body, sizeof(body), header,
                                                      sizeof(header), NULL, nonce, key_a);
        else if (cipher == RECORD_CIPHER_AES256GCM)
            crypto_aead_aes256gcm_encrypt(expected, NULL, body, sizeof(body), header, sizeof(header), NULL,
                                          nonce, key_a);
        else
            continue;
        cr_assert_arr_eq(frame + RECORD_HEADER_BYTES, expected, sizeof(expected));
    }
}

Test(record, counters_begin_at_one_and_count_up)
{
    uint8_t frame[128];
    struct pair pair;
    uint64_t counter;

    pair_init(&pair, RECORD_CIPHER_PLAIN);
    for (uint64_t expected = 1; expected < 100; expected++) {
        record_seal(&pair.sealer, key_b, 16, frame, 0, &counter);
        cr_assert_eq(counter, expected);
    }
}

/* ---- damage ---- */

/* How many of the frames that differ from a good one in one bit the opener takes. `remake_tag`: the forger
 * knows the key. Everything else about the opener must stay as it was. */
static size_t flips_taken(enum record_cipher cipher, bool remake_tag)
{
    uint8_t good[128], frame[128];
    struct pair pair, fresh;
    size_t taken = 0, length;

    pair_init(&pair, cipher);
    length = seal_with_counter(&pair.sealer, 1, 0, good);
    fresh = pair;
    for (size_t bit = 0; bit < length * 8; bit++) {
        memcpy(frame, good, length);
        frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (remake_tag && bit / 8 >= RECORD_HEADER_BYTES && bit / 8 < RECORD_HEADER_BYTES + LINE_BYTES) {
            struct record_sealer forger = fresh.sealer;

            forger.counter = 1;
            record_seal(&forger, frame + RECORD_HEADER_BYTES, LINE_BYTES, frame, 0, NULL);
        }
        if (record_open(&pair.opener, frame, length, 0, NULL) >= 0)
            taken++;
        else
            cr_assert_arr_eq(&pair.opener, &fresh.opener, sizeof(fresh.opener), "bit %zu changed the opener",
                             bit);
        pair.opener = fresh.opener;
    }
    return taken;
}

Test(record, every_flipped_bit_is_refused_and_changes_nothing)
{
    FOR_EACH_CIPHER(cipher)
    {
        cr_assert_eq(flips_taken(cipher, false), 0, "cipher %d", (int)cipher);
    }
}

/* The canary of the test above: where damage does go unnoticed, it must say so. */
Test(record, canary_flips_by_a_forger_who_knows_the_key_are_counted)
{
    cr_assert_eq(flips_taken(RECORD_CIPHER_PLAIN, true), LINE_BYTES * 8);
}

Test(record, every_other_length_is_refused)
{
    uint8_t good[160] = {0}, frame[160];
    struct pair pair;

    FOR_EACH_CIPHER(cipher)
    {
        pair_init(&pair, cipher);
        size_t length = seal_with_counter(&pair.sealer, 1, 0, good);
        for (size_t other = 0; other < sizeof(frame); other++) {
            int expected = other < RECORD_OVERHEAD ? -EPROTO : -EBADMSG;

            if (other == length)
                continue;
            memcpy(frame, good, sizeof(frame));
            cr_assert_eq(record_open(&pair.opener, frame, other, 0, NULL), expected, "length %zu", other);
        }
        cr_assert_eq(record_open(&pair.opener, good, length, 0, NULL), LINE_BYTES);
    }
}

/* libsodium clears the body (ChaCha20-Poly1305) or leaves it as it came. */
Test(record, a_refused_frame_gives_away_no_plaintext)
{
    uint8_t frame[128], plaintext[LINE_BYTES];
    struct pair pair;

    FOR_EACH_CIPHER(cipher)
    {
        if (cipher == RECORD_CIPHER_PLAIN)
            continue;
        pair_init(&pair, cipher);
        size_t length = seal_with_counter(&pair.sealer, 1, 0, frame);
        cr_assert_eq(record_open(&pair.opener, frame, length, 0, NULL), LINE_BYTES);
        memcpy(plaintext, frame + RECORD_HEADER_BYTES, sizeof(plaintext));
        seal_with_counter(&pair.sealer, 2, 0, frame);
        frame[length - 1] ^= 1;
        cr_assert_eq(record_open(&pair.opener, frame, length, 0, NULL), -EBADMSG);
        for (size_t i = 0; i + 16 <= LINE_BYTES; i += 16)
            cr_assert_arr_neq(frame + RECORD_HEADER_BYTES + i, plaintext + i, 16);
    }
}

/* ---- frames from elsewhere ---- */

Test(record, frames_of_another_session_or_direction_are_refused)
{
    uint8_t frame[128];
    struct pair ours, theirs;

    FOR_EACH_CIPHER(cipher)
    {
        pair_init(&ours, cipher);
        record_sealer_init(&theirs.sealer, cipher, key_b, 0x11223344,
                           0); /* what we send is sealed like this */
        size_t length = seal_with_counter(&theirs.sealer, 1, 0, frame);
        cr_assert_eq(record_open(&ours.opener, frame, length, 0, NULL), -EBADMSG, "reflected");

        seal_with_counter(&ours.sealer, 1, 0, frame);
        frame[offsetof(struct record_header, receiver)] ^= 1;
        cr_assert_eq(record_open(&ours.opener, frame, length, 0, NULL), -EBADMSG, "readdressed");
    }
}

Test(record, other_record_types_and_versions_are_refused)
{
    uint8_t frame[128];
    struct pair pair;

    pair_init(&pair, RECORD_CIPHER_PLAIN);
    size_t length = seal_with_counter(&pair.sealer, 1, 0, frame);
    for (size_t byte = 0; byte < 3; byte++) {
        uint8_t right = frame[byte];

        for (unsigned wrong = 0; wrong < 256; wrong++) {
            if (wrong == right)
                continue;
            frame[byte] = (uint8_t)wrong;
            cr_assert_eq(record_open(&pair.opener, frame, length, 0, NULL), -EPROTO);
        }
        frame[byte] = right;
    }
}

Test(record, one_cipher_does_not_open_anothers_frames)
{
    uint8_t frame[128];
    struct pair sealing, opening;

    FOR_EACH_CIPHER(cipher)
    {
        for (enum record_cipher other = 0; other < RECORD_CIPHER_COUNT; other++) {
            if (other == cipher || !available(other))
                continue;
            pair_init(&sealing, cipher);
            pair_init(&opening, other);
            size_t length = seal_with_counter(&sealing.sealer, 1, 0, frame);
            cr_assert_eq(record_open(&opening.opener, frame, length, 0, NULL), -EBADMSG);
        }
    }
}

/* ---- replay window ---- */

static int open_counter(struct pair *pair, uint64_t counter)
{
    uint8_t frame[128];
    size_t length;

    pair->sealer.rekey_at_counter = UINT64_MAX;
    length = seal_with_counter(&pair->sealer, counter, 0, frame);
    return record_open(&pair->opener, frame, length, 0, NULL) >= 0 ? 0 : -EALREADY;
}

Test(record, replay_window_cases)
{
    static const struct {
        int number;
        uint64_t counter;
        int expected;
    } steps[] = {
        {1, 1, 0},
        {2, 1, -EALREADY},
        {3, 2, 0},
        {4, 5, 0}, /* 3 and 4 are late */
        {5, 3, 0},
        {6, 3, -EALREADY},
        {7, 4, 0},
        {8, 5, -EALREADY},
        {9, W, 0}, /* the window is 1..W */
        {10, 1, -EALREADY},
        {11, 6, 0},
        {12, W + 5, 0}, /* the window is 6..W + 5 */
        {13, 5, -EALREADY},
        {14, 6, -EALREADY},
        {15, 7, 0},
        {16, W + 4, 0},
        {17, W + 1, 0},
        {18, W + 1, -EALREADY},
        {19, 2 * W + 5, 0}, /* a jump of exactly one window: nothing of the old one is left */
        {20, W + 5, -EALREADY},
        {21, W + 6, 0},
        {22, 2 * W + 4, 0},
        {23, 3 * W + 4, 0}, /* a jump of one less: one counter of the old window is left, and was seen */
        {24, 2 * W + 5, -EALREADY},
        {25, 2 * W + 6, 0},
        {26, 10 * W + 63, 0}, /* far ahead */
        {27, 9 * W + 63, -EALREADY},
        {28, 9 * W + 64, 0},
        {29, 10 * W + 62, 0},
        {30, 10 * W + 64, 0}, /* across the border of two words */
        {31, 9 * W + 64, -EALREADY},
        {32, 10 * W + 63, -EALREADY},
        {33, 10 * W, 0},
        {34, 10 * W - 1, 0},
        {35, 10 * W - 1, -EALREADY},
        {36, 1ull << 32, 0},
        {37, (1ull << 32) - W, -EALREADY},
        {38, (1ull << 32) - W + 1, 0},
        {39, 1ull << 63, 0},
        {40, 1, -EALREADY},
        {41, (1ull << 63) - 1, 0},
        {42, RECORD_COUNTER_MAX, 0},
        {43, RECORD_COUNTER_MAX, -EALREADY},
        {44, RECORD_COUNTER_MAX - W, -EALREADY},
        {45, RECORD_COUNTER_MAX - W + 1, 0},
    };
    struct pair pair;

    pair_init(&pair, RECORD_CIPHER_PLAIN);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
        cr_assert_eq(open_counter(&pair, steps[i].counter), steps[i].expected, "case %d", steps[i].number);
}

Test(record, a_window_backwards_takes_each_once)
{
    struct pair pair;

    pair_init(&pair, RECORD_CIPHER_PLAIN);
    for (int round = 0; round < 2; round++)
        for (uint64_t counter = 3 * W; counter > 2 * W; counter--)
            cr_assert_eq(open_counter(&pair, counter), round ? -EALREADY : 0);
    cr_assert_eq(open_counter(&pair, 2 * W), -EALREADY, "never seen, but too old to tell");
}

/* Against a reference that remembers everything. */
Test(record, random_orders_agree_with_a_list_of_all_seen)
{
    enum { SPAN = 16384, STEPS = 20000 };
    static bool seen[SPAN];
    const uint32_t seed = randombytes_random();
    uint64_t newest = 0;
    struct pair pair;

    fprintf(stderr, "seed %u\n", seed);
    srand(seed);
    pair_init(&pair, RECORD_CIPHER_PLAIN);
    for (int step = 0; step < STEPS; step++) {
        uint64_t ahead = rand() % 8 ? (uint64_t)rand() % 4 : (uint64_t)rand() % (W + 100);
        uint64_t counter = rand() % 2 ? newest + ahead : newest - (uint64_t)rand() % (W + 100);
        bool fresh;

        if (counter == 0 || counter >= SPAN)
            continue;
        fresh = !seen[counter] && newest < counter + W;
        cr_assert_eq(open_counter(&pair, counter), fresh ? 0 : -EALREADY, "counter %zu, newest %zu",
                     (size_t)counter, (size_t)newest);
        if (fresh)
            seen[counter] = true;
        if (counter > newest)
            newest = counter;
    }
}

Test(record, a_forged_counter_does_not_move_the_window)
{
    uint8_t frame[128], forged[128];
    struct pair pair;

    pair_init(&pair, RECORD_CIPHER_CHACHA20POLY1305);
    size_t length = seal_with_counter(&pair.sealer, 1, 0, frame);
    memcpy(forged, frame, length);
    forged[offsetof(struct record_header, counter) + 5] = 0xFF;
    cr_assert_eq(record_open(&pair.opener, forged, length, 0, NULL), -EBADMSG);
    cr_assert_eq(record_open(&pair.opener, frame, length, 0, NULL), LINE_BYTES);
}

/* ---- the counter's end ---- */

Test(record, counter_stops_hard)
{
    uint8_t frame[128];
    struct pair pair;
    uint64_t counter;

    pair_init(&pair, RECORD_CIPHER_PLAIN);
    pair.sealer.counter = RECORD_COUNTER_MAX;
    cr_assert_gt(record_seal(&pair.sealer, key_b, 16, frame, 0, &counter), 0);
    cr_assert_eq(counter, RECORD_COUNTER_MAX);
    for (int again = 0; again < 3; again++)
        cr_assert_eq(record_seal(&pair.sealer, key_b, 16, frame, 0, &counter), -EKEYEXPIRED);
    pair.sealer.counter = UINT64_MAX;
    cr_assert_eq(record_seal(&pair.sealer, key_b, 16, frame, 0, &counter), -EKEYEXPIRED);
    cr_assert_eq(pair.sealer.counter, UINT64_MAX, "it does not wrap");
}

Test(record, counters_out_of_bounds_are_refused)
{
    static const uint64_t counters[] = {0, RECORD_COUNTER_MAX + 1, UINT64_MAX};
    uint8_t frame[128];
    struct pair pair;

    pair_init(&pair, RECORD_CIPHER_PLAIN);
    for (size_t i = 0; i < 3; i++) {
        size_t length = seal_with_counter(&pair.sealer, 1, 0, frame);

        memcpy(frame + offsetof(struct record_header, counter), &counters[i], sizeof(counters[i]));
        cr_assert_eq(record_open(&pair.opener, frame, length, 0, NULL), -EPROTO);
    }
}

/* ---- key phases ---- */

Test(record, key_changes_by_time)
{
    uint8_t frame[128], raw[RECORD_KEY_BYTES];
    struct pair pair;

    FOR_EACH_CIPHER(cipher)
    {
        uint64_t now_ns = 0;

        pair_init(&pair, cipher);
        for (uint8_t phase = 0; phase < 5; phase++) {
            for (int i = 0; i < 3; i++) {
                int length = record_seal(&pair.sealer, key_b, 32, frame, now_ns, NULL);

                cr_assert_eq(frame[offsetof(struct record_header, key_phase)], phase);
                cr_assert_eq(record_open(&pair.opener, frame, (size_t)length, now_ns, NULL), 32);
                cr_assert_arr_eq(frame + RECORD_HEADER_BYTES, key_b, 32);
            }
            memcpy(raw, pair.sealer.key.raw, sizeof(raw));
            now_ns += RECORD_REKEY_NS - 1;
            record_seal(&pair.sealer, key_b, 32, frame, now_ns, NULL);
            cr_assert_eq(frame[offsetof(struct record_header, key_phase)], phase, "not a moment early");
            now_ns += 1;
            record_seal(&pair.sealer, key_b, 32, frame, now_ns, NULL);
            cr_assert_arr_neq(pair.sealer.key.raw, raw, sizeof(raw));
            cr_assert_eq(record_open(&pair.opener, frame, 32 + RECORD_OVERHEAD, now_ns, NULL), 32);
        }
    }
}

Test(record, key_changes_by_frames)
{
    uint8_t frame[128];
    struct pair pair;

    pair_init(&pair, RECORD_CIPHER_PLAIN);
    seal_with_counter(&pair.sealer, RECORD_REKEY_FRAMES, 0, frame);
    cr_assert_eq(pair.sealer.phase, 0);
    seal_with_counter(&pair.sealer, RECORD_REKEY_FRAMES + 1, 0, frame);
    cr_assert_eq(pair.sealer.phase, 1);
    seal_with_counter(&pair.sealer, RECORD_REKEY_FRAMES + 2, 0, frame);
    cr_assert_eq(pair.sealer.phase, 1);
}

/* 256 changes: the phase on the wire wraps, the keys do not repeat. */
Test(record, phase_wraps)
{
    uint8_t frame[128];
    struct pair pair;
    uint64_t now_ns = 0;

    pair_init(&pair, RECORD_CIPHER_CHACHA20POLY1305);
    for (int change = 0; change < 300; change++) {
        int length;

        now_ns += RECORD_REKEY_NS;
        length = record_seal(&pair.sealer, key_b, 32, frame, now_ns, NULL);
        cr_assert_eq(record_open(&pair.opener, frame, (size_t)length, now_ns, NULL), 32);
        cr_assert_eq(pair.opener.phase, (uint8_t)(change + 1));
    }
}

/* Both directions change at once, with frames of the old keys still under way. */
Test(record, both_sides_change_keys_at_once)
{
    uint8_t old[2][128], new[2][128];
    struct record_sealer sealers[2];
    struct record_opener openers[2];
    const uint64_t now_ns = RECORD_REKEY_NS;
    int length = 0;

    for (int side = 0; side < 2; side++) {
        const uint8_t *key = side ? key_a : key_b;

        record_sealer_init(&sealers[side], RECORD_CIPHER_CHACHA20POLY1305, key, 1, 0);
        record_opener_init(&openers[side], RECORD_CIPHER_CHACHA20POLY1305, key);
        length = record_seal(&sealers[side], key_b, 32, old[side], now_ns - 1, NULL);
        record_seal(&sealers[side], key_b, 32, new[side], now_ns, NULL);
    }
    for (int side = 0; side < 2; side++) {
        cr_assert_eq(record_open(&openers[side], new[side], (size_t)length, now_ns, NULL), 32);
        cr_assert_eq(record_open(&openers[side], old[side], (size_t)length, now_ns + 1, NULL), 32);
    }
}

Test(record, previous_key_ends_with_the_overlap)
{
    uint8_t frames[3][128], current[128];
    const uint64_t now_ns = RECORD_REKEY_NS;
    struct pair pair;
    size_t length = LINE_BYTES + RECORD_OVERHEAD;

    FOR_EACH_CIPHER(cipher)
    {
        pair_init(&pair, cipher);
        for (uint64_t i = 0; i < 3; i++)
            seal_with_counter(&pair.sealer, i + 1, 0, frames[i]);
        seal_with_counter(&pair.sealer, 4, now_ns, current);
        cr_assert_eq(record_open(&pair.opener, current, length, now_ns, NULL), LINE_BYTES);

        cr_assert_eq(record_open(&pair.opener, frames[0], length, now_ns + RECORD_OVERLAP_NS - 1, NULL),
                     LINE_BYTES);
        cr_assert_eq(record_open(&pair.opener, frames[1], length, now_ns + RECORD_OVERLAP_NS, NULL),
                     -EBADMSG);

        seal_with_counter(&pair.sealer, 5, now_ns + RECORD_OVERLAP_NS, current);
        cr_assert_eq(record_open(&pair.opener, current, length, now_ns + RECORD_OVERLAP_NS, NULL),
                     LINE_BYTES);
        cr_assert(sodium_is_zero((uint8_t *)&pair.opener.keys[0], sizeof(pair.opener.keys[0])), "forgotten");
        cr_assert_eq(record_open(&pair.opener, frames[2], length, now_ns, NULL), -EBADMSG,
                     "nor does time going back help");
    }
}

Test(record, forged_phases_do_not_change_keys)
{
    uint8_t frame[128], forged[128];
    struct pair pair, before;

    FOR_EACH_CIPHER(cipher)
    {
        pair_init(&pair, cipher);
        before = pair;
        size_t length = seal_with_counter(&pair.sealer, 1, 0, frame);
        for (unsigned phase = 1; phase < 256; phase++) {
            memcpy(forged, frame, length);
            forged[offsetof(struct record_header, key_phase)] = (uint8_t)phase;
            cr_assert_eq(record_open(&pair.opener, forged, length, 0, NULL), -EBADMSG);
        }
        cr_assert_arr_eq(&pair.opener, &before.opener, sizeof(before.opener));
        cr_assert_eq(record_open(&pair.opener, frame, length, 0, NULL), LINE_BYTES);
    }
}

/* The new key tells nothing about the old one: the chain is a hash. The old one does tell the new. */
Test(record, chain_of_keys_is_the_documented_hash)
{
    static const char label[] = "CXE next record key";
    uint8_t expected[RECORD_KEY_BYTES], frame[128];
    struct pair pair;

    pair_init(&pair, RECORD_CIPHER_CHACHA20POLY1305);
    seal_with_counter(&pair.sealer, 1, RECORD_REKEY_NS, frame);
    crypto_generichash(expected, sizeof(expected), (const uint8_t *)label, strlen(label), key_a,
                       sizeof(key_a));
    cr_assert_arr_eq(pair.sealer.key.raw, expected, sizeof(expected));
}

/* ---- the end ---- */

Test(record, wiped_or_zero_states_are_inert)
{
    static const uint8_t zero_key[RECORD_KEY_BYTES];
    uint8_t frame[128], out[128];
    struct pair pair;

    FOR_EACH_CIPHER(cipher)
    {
        struct record_sealer forger;

        pair_init(&pair, cipher);
        record_sealer_wipe(&pair.sealer);
        record_opener_wipe(&pair.opener);
        cr_assert(sodium_is_zero((uint8_t *)&pair, sizeof(pair)));
        cr_assert_eq(record_seal(&pair.sealer, key_b, 32, out, 0, NULL), -EKEYEXPIRED);
        record_sealer_init(&forger, cipher, zero_key, 1, 0);
        size_t length = seal_with_counter(&forger, 1, 0, frame);
        cr_assert_eq(record_open(&pair.opener, frame, length, 0, NULL), -EBADMSG);
    }
}
