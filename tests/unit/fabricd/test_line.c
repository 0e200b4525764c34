/* test_line.c - no torn line, atomics that are atomic, masks to the byte */
#include "line.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "atomic.h"
#include "clock.h"
#include "memory_fixture.h"

#define CHANGES_WANTED 20

static struct pool *pool;
static uint32_t frame;

static void setup(void)
{
    char why[256];

    cr_assert_eq(
        pool_open(&(struct pool_options){.bytes = 4 * PAGE_BYTES, .workers = 1}, why, sizeof(why), &pool), 0);
    frame = pool_alloc(pool, 1);
}

static void teardown(void)
{
    cr_expect(pool_valid(pool));
    pool_close(pool);
}

TestSuite(line, .init = setup, .fini = teardown, .timeout = 60);

static void fill_random(void *bytes, size_t count, uint64_t *random)
{
    for (size_t i = 0; i < count; i++)
        ((uint8_t *)bytes)[i] = (uint8_t)random_next(random);
}

Test(line, every_run_of_lines_is_written_and_read)
{
    uint8_t reference[PAGE_BYTES] = {0}, bytes[PAGE_BYTES + 1];
    uint64_t random = random_seed("every_run_of_lines_is_written_and_read");

    for (unsigned first = 0; first < PAGE_LINES; first++) {
        for (unsigned count = 1; first + count <= PAGE_LINES; count++) {
            fill_random(bytes + 1, count * LINE_BYTES, &random); /* unaligned on purpose */
            line_write(pool, frame, first, count, bytes + 1);
            memcpy(reference + first * LINE_BYTES, bytes + 1, count * LINE_BYTES);
            line_read(pool, frame, first, count, bytes + 1);
            cr_assert_arr_eq(bytes + 1, reference + first * LINE_BYTES, count * LINE_BYTES);
        }
        line_read(pool, frame, 0, PAGE_LINES, bytes);
        cr_assert_arr_eq(bytes, reference, PAGE_BYTES);
    }
}

Test(line, a_mask_is_exact_to_the_byte)
{
    uint8_t reference[PAGE_BYTES] = {0}, bytes[3 * LINE_BYTES], page[PAGE_BYTES];
    uint64_t random = random_seed("a_mask_is_exact_to_the_byte");

    for (unsigned round = 0; round < 3000; round++) {
        unsigned count = 1 + (unsigned)(random_next(&random) % 3);
        unsigned first = (unsigned)(random_next(&random) % (PAGE_LINES - count + 1));
        uint64_t masks[3];

        for (unsigned i = 0; i < 3; i++) {
            masks[i] = random_next(&random);
            if (round < 64)
                masks[i] = 1ull << round;
            else if (round % 8 == 0)
                masks[i] = round % 16 ? UINT64_MAX : 0;
        }
        fill_random(bytes, sizeof(bytes), &random);
        line_write_masked(pool, frame, first, count, (const uint8_t *)masks, bytes);
        for (unsigned i = 0; i < count * LINE_BYTES; i++)
            if (masks[i / LINE_BYTES] >> i % LINE_BYTES & 1)
                reference[first * LINE_BYTES + i] = bytes[i];
    }
    line_read(pool, frame, 0, PAGE_LINES, page);
    cr_assert_arr_eq(page, reference, PAGE_BYTES);
}

static uint64_t model(enum opcode opcode, uint64_t old, uint64_t a, uint64_t b)
{
    switch ((int)opcode) {
    case OP_CAS:
        return old == a ? b : old;
    case OP_FETCH_ADD:
        return old + a;
    case OP_SWAP:
        return a;
    case OP_FETCH_AND:
        return old & a;
    case OP_FETCH_OR:
        return old | a;
    case OP_FETCH_XOR:
        return old ^ a;
    case OP_FETCH_MIN:
        return a < old ? a : old;
    case OP_FETCH_MAX:
        return a > old ? a : old;
    }
    cr_assert_fail("opcode %d", opcode);
    return 0;
}

/* Small and extreme values, so that comparisons hit, signs would show and sums wrap. */
static uint64_t some_value(uint64_t *random)
{
    static const uint64_t values[] = {0,          1,         2,          0x7fffffff, 0x80000000,
                                      0xffffffff, INT64_MAX, 1ull << 63, UINT64_MAX};
    uint64_t pick = random_next(random) % 12;

    return pick < 9 ? values[pick] : random_next(random);
}

static void check_atomic(enum opcode opcode, unsigned width_log2, unsigned offset, uint64_t *random)
{
    uint64_t mask = width_log2 == 2 ? UINT32_MAX : UINT64_MAX;
    uint64_t old = some_value(random) & mask, a = some_value(random) & mask, b = some_value(random) & mask,
             next;
    uint8_t before[PAGE_BYTES], after[PAGE_BYTES];
    struct wire_word operands[2] = {0}, result, wanted = {0};

    if (random_next(random) % 2)
        a = old;
    fill_random(before, PAGE_BYTES, random);
    memcpy(before + offset, &old, 1u << width_log2);
    line_write(pool, frame, 0, PAGE_LINES, before);
    memcpy(operands[0].bytes, &a, 8);
    memcpy(operands[1].bytes, &b, 8);
    line_atomic(pool, frame, offset, opcode, width_log2, operands, &result);
    next = model(opcode, old, a, b) & mask;
    memcpy(before + offset, &next, 1u << width_log2);
    memcpy(wanted.bytes, &old, 8);
    line_read(pool, frame, 0, PAGE_LINES, after);
    cr_assert_arr_eq(result.bytes, wanted.bytes, sizeof(wanted.bytes), "opcode %x width %u offset %u", opcode,
                     1u << width_log2, offset);
    cr_assert_arr_eq(after, before, PAGE_BYTES, "opcode %x width %u offset %u", opcode, 1u << width_log2,
                     offset);
}

Test(line, every_atomic_at_every_offset)
{
    static const enum opcode opcodes[] = {OP_CAS,      OP_FETCH_ADD, OP_SWAP,      OP_FETCH_AND,
                                          OP_FETCH_OR, OP_FETCH_XOR, OP_FETCH_MIN, OP_FETCH_MAX};
    uint64_t random = random_seed("every_atomic_at_every_offset");

    for (unsigned i = 0; i < sizeof(opcodes) / sizeof(opcodes[0]); i++)
        for (unsigned width_log2 = 2; width_log2 <= 3; width_log2++)
            for (unsigned offset = 0; offset < PAGE_BYTES; offset += 1u << width_log2)
                check_atomic(opcodes[i], width_log2, offset, &random);
}

Test(line, cas_of_sixteen_bytes_compares_all_of_them)
{
    struct wire_word operands[2], old, now;
    uint64_t random = random_seed("cas_of_sixteen_bytes_compares_all_of_them");
    uint8_t page[PAGE_BYTES];

    for (unsigned byte = 0; byte < 16; byte++) {
        unsigned offset = 16 * byte;

        fill_random(page, sizeof(page), &random);
        line_write(pool, frame, 0, PAGE_LINES, page);
        memcpy(&operands[0], page + offset, 16);
        fill_random(&operands[1], 16, &random);
        operands[0].bytes[byte] ^= 0x10;
        line_atomic(pool, frame, offset, OP_CAS, 4, operands, &old);
        cr_assert_arr_eq(old.bytes, page + offset, 16);
        line_atomic(pool, frame, offset, OP_CAS, 4, operands, &now);
        cr_assert_arr_eq(now.bytes, page + offset, 16, "a difference in byte %u must stop it", byte);
        operands[0].bytes[byte] ^= 0x10;
        line_atomic(pool, frame, offset, OP_CAS, 4, operands, &old);
        cr_assert_arr_eq(old.bytes, page + offset, 16);
        line_atomic(pool, frame, offset, OP_CAS, 4, operands, &now);
        cr_assert_arr_eq(now.bytes, operands[1].bytes, 16);
    }
}

/* A hammered line holds one writer's number in all its eight words, so a torn one shows. */
struct hammer {
    pthread_t thread;
    unsigned id;
    uint64_t writes;
};
static bool stop;

static void *write_lines(void *argument)
{
    struct hammer *hammer = argument;
    uint64_t random = hammer->id, words[3 * 8], masks[3] = {UINT64_MAX, UINT64_MAX, UINT64_MAX};

    while (!load_relaxed(&stop)) {
        unsigned first = (unsigned)(random_next(&random) % 10),
                 count = 1 + (unsigned)(random_next(&random) % 3);

        hammer->writes++;
        for (unsigned i = 0; i < 3 * 8; i++)
            words[i] = (uint64_t)hammer->id << 56 | hammer->writes;
        if (hammer->writes % 4 == 0)
            line_write_masked(pool, frame, first, count, (const uint8_t *)masks, (const uint8_t *)words);
        else
            line_write(pool, frame, first, count, (const uint8_t *)words);
    }
    return NULL;
}

static bool line_torn(const uint64_t *words)
{
    for (unsigned i = 1; i < 8; i++)
        if (words[i] != words[0])
            return true;
    return false;
}

Test(line, no_line_is_torn)
{
    struct hammer hammers[2] = {{.id = 1}, {.id = 2}};
    uint64_t start_ns = clock_now_ns(), words[12 * 8], last[3] = {0};
    uint64_t reads = 0, torn = 0, backwards = 0, changes = 0, seen = 0;

    for (unsigned i = 0; i < 2; i++)
        cr_assert_eq(pthread_create(&hammers[i].thread, NULL, write_lines, &hammers[i]), 0);
    while (hammer_on(start_ns, changes, CHANGES_WANTED)) {
        for (unsigned round = 0; round < 100; round++, reads++) {
            unsigned count = round % 2 ? 1 : 12;

            line_read(pool, frame, 0, count, (uint8_t *)words);
            for (unsigned i = 0; i < count; i++)
                torn += line_torn(words + i * 8);
            backwards += (words[0] & (UINT64_MAX >> 8)) < last[words[0] >> 56];
            last[words[0] >> 56] = words[0] & (UINT64_MAX >> 8);
            changes += words[0] != seen;
            seen = words[0];
        }
    }
    store_relaxed(&stop, true);
    for (unsigned i = 0; i < 2; i++) {
        pthread_join(hammers[i].thread, NULL);
        cr_expect_gt(hammers[i].writes, 0);
    }
    fprintf(stderr, "no_line_is_torn: %lu reads, %lu changes seen\n", (unsigned long)reads,
            (unsigned long)changes);
    cr_expect_geq(changes, CHANGES_WANTED, "the hammer must hit");
    cr_expect_eq(torn, 0);
    cr_expect_eq(backwards, 0, "a line went back in time");
}

/* The canary: the same readers' check finds tears when lines are copied without the version. */
static void *write_carelessly(void *argument)
{
    struct hammer *hammer = argument;
    uint64_t *line = (uint64_t *)(void *)pool_frame(pool, frame);

    while (!load_relaxed(&stop)) {
        hammer->writes++;
        for (unsigned i = 0; i < 8; i++)
            store_relaxed(&line[i], hammer->writes);
    }
    return NULL;
}

Test(line, the_hammer_finds_tears_where_there_are_some)
{
    struct hammer hammer = {.id = 1};
    uint64_t start_ns = clock_now_ns(), words[8], torn = 0;

    cr_assert_eq(pthread_create(&hammer.thread, NULL, write_carelessly, &hammer), 0);
    while (torn == 0 && hammer_on(start_ns, torn, 1)) {
        line_read(pool, frame, 0, 1, (uint8_t *)words);
        torn += line_torn(words);
    }
    store_relaxed(&stop, true);
    pthread_join(hammer.thread, NULL);
    cr_expect_gt(torn, 0);
}

#define INCREMENTS 20000
#define COUNTERS   3

/* Counts with CAS of 4, 8 and 16 bytes and with fetch-add, all in one block, and sums what fetch-add
 * returned. */
static void cas_until_done(unsigned offset, unsigned width_log2)
{
    struct wire_word operands[2] = {0}, old = {0};

    do {
        uint64_t next;

        operands[0] = operands[1] = old;
        memcpy(&next, old.bytes, 8);
        next = width_log2 == 2 ? (uint32_t)(next + 1) : next + 1;
        memcpy(operands[1].bytes, &next, 8);
        if (width_log2 == 4)
            memcpy(operands[1].bytes + 8, &next, 8);
        line_atomic(pool, frame, offset, OP_CAS, width_log2, operands, &old);
    } while (memcmp(&old, &operands[0], sizeof(old)) != 0);
}

static void *count_up(void *argument)
{
    uint64_t *sum = argument, before;
    struct wire_word one = {.bytes = {1}}, old;

    for (unsigned i = 0; i < INCREMENTS; i++) {
        cas_until_done(4, 2);
        cas_until_done(8, 3);
        cas_until_done(64, 4);
        line_atomic(pool, frame, 192, OP_FETCH_ADD, 3, &one, &old);
        memcpy(&before, old.bytes, 8);
        *sum += before;
    }
    return NULL;
}

Test(line, counters_count_exactly_once)
{
    const uint64_t total = COUNTERS * INCREMENTS;
    uint64_t sums[COUNTERS] = {0}, words[4 * 8], sum = 0;
    pthread_t threads[COUNTERS];

    for (unsigned i = 0; i < COUNTERS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, count_up, &sums[i]), 0);
    for (unsigned i = 0; i < COUNTERS; i++) {
        pthread_join(threads[i], NULL);
        sum += sums[i];
    }
    line_read(pool, frame, 0, 4, (uint8_t *)words);
    cr_expect_eq(words[0] >> 32, total);
    cr_expect_eq(words[1], total);
    cr_expect_eq(words[8], total);
    cr_expect_eq(words[9], total);
    cr_expect_eq(words[24], total);
    cr_expect_eq(sum, total * (total - 1) / 2, "each value was returned once");
}
