/* test_basic.c - pages come, change, leave and come back, and are always what they should be */
#include <criterion/criterion.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "atomic.h"
#include "fixture.h"

static uint64_t random_state;
static uint32_t next_random(void)
{
    random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(random_state >> 33);
}

static uint64_t take_seed(void)
{
    const char *given = getenv("CXE_TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)getpid() * 7919;

    fprintf(stderr, "CXE_TEST_SEED=%llu\n", (unsigned long long)seed);
    return random_state = seed;
}

static void read_all(struct cxe_map_options options)
{
    struct cxe_region *region = fake_start(4 * MIB);
    uint8_t *memory = map_region(region, CXE_LOCAL_BYTES_MIN, options);

    for (uint64_t i = 0; i < 4 * MIB; i += 509)
        cr_assert_eq(load_relaxed(&memory[i]), fake_byte(i), "byte %llu", (unsigned long long)i);
    struct cxe_map_info info = info_of(memory);
    cr_assert_leq(info.resident_bytes, CXE_LOCAL_BYTES_MIN);
    cr_assert_gt(info.evicted_pages, 0);
    cr_assert_eq(fake->writes, 0);
    finish(region, memory);
}

Test(basic, reads_what_the_server_has_inline)
{
    read_all((struct cxe_map_options){0});
}

Test(basic, reads_what_the_server_has_in_thread_mode)
{
    read_all((struct cxe_map_options){.fault_mode = CXE_FAULT_THREAD});
}

Test(basic, reads_what_the_server_has_without_a_cleaner)
{
    read_all((struct cxe_map_options){.flags = CXE_MAP_NO_CLEANER | CXE_MAP_READ_ONLY});
}

/* Random loads and stores against a plain copy, through a cache much smaller than the region. */
static void against_shadow(uint64_t bytes, uint64_t local_bytes, unsigned steps,
                           struct cxe_map_options options)
{
    struct cxe_region *region = fake_start(bytes);
    uint8_t *memory = map_region(region, local_bytes, options);
    uint8_t *shadow = malloc(bytes);

    take_seed();
    for (uint64_t i = 0; i < bytes; i++)
        shadow[i] = fake_byte(i);
    for (unsigned i = 0; i < steps; i++) {
        uint64_t at = ((uint64_t)next_random() << 12 ^ next_random()) % (bytes - 8);

        if (next_random() % 2) {
            uint64_t value = next_random();

            memcpy(memory + at, &value, sizeof(value));
            memcpy(shadow + at, &value, sizeof(value));
        } else {
            cr_assert_eq(memcmp(memory + at, shadow + at, 8), 0, "step %u, offset %llu", i,
                         (unsigned long long)at);
        }
        if (next_random() % 2000 == 0) {
            uint64_t from = at & ~4095ull;
            cr_assert_eq(cxe_sync(memory + from, 4096), 0);
            cr_assert_eq(memcmp(fake_memory(region) + from, shadow + from, 4096), 0);
        }
    }
    cr_assert_eq(cxe_sync(memory, bytes), 0, "%s", cxe_last_error());
    check_valid(memory);
    cr_assert_eq(memcmp(fake_memory(region), shadow, bytes), 0, "the server has it after a sync");
    cr_assert_eq(memcmp(memory, shadow, bytes), 0);
    finish(region, memory);
    free(shadow);
}

Test(basic, random_stores_in_the_smallest_cache)
{
    against_shadow(2 * MIB, CXE_LOCAL_BYTES_MIN, 40000, (struct cxe_map_options){0});
}

Test(basic, random_stores_with_prefetch)
{
    against_shadow(16 * MIB, 4 * MIB, 60000, (struct cxe_map_options){0});
}

Test(basic, random_stores_in_a_large_cache)
{
    against_shadow(48 * MIB, 16 * MIB, 60000, (struct cxe_map_options){0});
}

Test(basic, random_stores_without_a_cleaner)
{
    against_shadow(4 * MIB, MIB, 40000, (struct cxe_map_options){.flags = CXE_MAP_NO_CLEANER});
}

Test(basic, random_stores_written_back_as_whole_pages)
{
    against_shadow(4 * MIB, MIB, 40000, (struct cxe_map_options){.flags = CXE_MAP_WHOLE_PAGES});
}

Test(basic, random_stores_in_thread_mode)
{
#ifdef __SANITIZE_THREAD__
    cr_skip_test(
        "ThreadSanitizer does not see that a fault orders this thread before the one that serves it");
#endif
    against_shadow(4 * MIB, MIB, 20000, (struct cxe_map_options){.fault_mode = CXE_FAULT_THREAD});
}

Test(basic, a_write_miss_is_one_fault)
{
    struct cxe_region *region = fake_start(MIB);
    uint8_t *memory = map_region(region, MIB, (struct cxe_map_options){0});

    memory[5 * 4096] = 1;
    cr_assert_eq(info_of(memory).faults, 1);
    cr_assert_eq(info_of(memory).dirty_bytes, 4096);
    (void)*(volatile uint8_t *)(memory + 7 * 4096);
    cr_assert_eq(info_of(memory).faults, 2);
    memory[7 * 4096] = 1;
    cr_assert_eq(info_of(memory).faults, 3);
    finish(region, memory);
}

Test(basic, only_changed_lines_are_sent)
{
    struct cxe_region *region = fake_start(MIB);
    uint8_t *memory = map_region(region, MIB, (struct cxe_map_options){0});

    memory[0] ^= 1;      /* line 0 */
    memory[64 * 7] ^= 1; /* lines 7 and 8: one operation */
    memory[64 * 8 + 63] ^= 1;
    memory[64 * 63] ^= 1;
    memory[4096] = memory[4096]; /* dirty, and yet the same */
    cr_assert_eq(cxe_sync(memory, MIB), 0);
    cr_assert_eq(fake->written_lines, 4);
    cr_assert_eq(fake->writes, 3);
    cr_assert_eq(info_of(memory).written_lines, 4);
    cr_assert_eq(info_of(memory).dirty_bytes, 0);
    cr_assert_eq(cxe_sync(memory, MIB), 0);
    cr_assert_eq(fake->writes, 3, "nothing changed since");
    check_valid(memory);
    finish(region, memory);
}

/* After a write whose outcome is unknown the server may have either version: putting the old bytes back must
 * send them. */
Test(basic, an_unknown_outcome_is_sent_again)
{
    struct cxe_region *region = fake_start(MIB);
    uint8_t *memory = map_region(region, MIB, (struct cxe_map_options){.gone_policy = CXE_GONE_FAIL_FAST});

    memory[100] = 0;
    fake->write_error = -CXE_EUNKNOWN;
    fake->write_anyway = 1;
    cr_assert_eq(cxe_sync(memory, 4096), -CXE_EUNKNOWN);
    cr_assert_eq(fake_memory(region)[100], 0);
    fake->write_error = 0;
    memory[100] = fake_byte(100);
    cr_assert_eq(cxe_sync(memory, 4096), 0);
    cr_assert_eq(fake_memory(region)[100], fake_byte(100));
    check_valid(memory);
    finish(region, memory);
}

/* ---- a store while the page is on its way ---- */

static uint8_t *victim;
static uint32_t storing;
static void *store_thread(void *value)
{
    sigset_t none;

    sigemptyset(&none); /* the thread that made us is inside the library, with signals blocked */
    pthread_sigmask(SIG_SETMASK, &none, NULL);
    *(volatile uint8_t *)victim = (uint8_t)(uintptr_t)value;
    return NULL;
}

static void store_meanwhile(const struct op *op)
{
    pthread_t thread;

    (void)op;
    if (storing++)
        return;
    pthread_create(&thread, NULL, store_thread, (void *)77);
    pthread_join(thread, NULL);
}

Test(basic, a_store_during_write_back_is_not_lost)
{
    struct cxe_region *region = fake_start(MIB);
    uint8_t *memory = map_region(region, MIB, (struct cxe_map_options){0});

    victim = memory + 3 * 4096 + 10;
    *victim = 0;
    fake_on_write = store_meanwhile;
    cr_assert_eq(cxe_sync(memory, MIB), 0);
    cr_assert_eq(storing, 1);
    fake_on_write = NULL;
    cr_assert_eq(*victim, 77);
    cr_assert_eq(fake_memory(region)[3 * 4096 + 10], 0, "what was sent is what was copied");
    check_valid(memory);
    cr_assert_eq(info_of(memory).dirty_bytes, 4096);
    cr_assert_eq(cxe_sync(memory, MIB), 0);
    cr_assert_eq(fake_memory(region)[3 * 4096 + 10], 77);
    cr_assert_eq(fake->written_lines, 2, "the copy became the twin");
    finish(region, memory);
}

/* ---- threads ---- */

#define THREADS 8
static uint8_t *many_memory;
static uint64_t many_bytes;

static void *hammer(void *argument)
{
    uint64_t state = (uintptr_t)argument * 77777;
    volatile uint8_t *own;

    for (unsigned i = 0; i < 6000; i++) {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        uint64_t page = (state >> 33) % (many_bytes / 4096);

        /* Each thread has a line of its own in every page, and counts there. */
        own = many_memory + page * 4096 + (uintptr_t)argument * 64;
        own[0] = (uint8_t)(own[0] + 1);
        own[1] = (uint8_t)(own[1] - 1);
    }
    return NULL;
}

static void many_threads(struct cxe_map_options options, uint64_t delay_ns)
{
    struct cxe_region *region = fake_start(2 * MIB);
    pthread_t threads[THREADS];

    fake->delay_ns = delay_ns;
    many_bytes = 2 * MIB;
    many_memory = map_region(region, CXE_LOCAL_BYTES_MIN, options);
    for (uintptr_t i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, hammer, (void *)i);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    cr_assert_eq(cxe_sync(many_memory, many_bytes), 0);
    check_valid(many_memory);
    uint64_t total = 0;
    for (uint64_t page = 0; page < many_bytes / 4096; page++)
        for (unsigned i = 0; i < THREADS; i++) {
            const uint8_t *line = fake_memory(region) + page * 4096 + i * 64;
            uint8_t up = (uint8_t)(line[0] - fake_byte(page * 4096 + i * 64));
            uint8_t down = (uint8_t)(fake_byte(page * 4096 + i * 64 + 1) - line[1]);

            cr_assert_eq(up, down, "page %llu, thread %u", (unsigned long long)page, i);
            total += up;
        }
    cr_assert_eq(total, THREADS * 6000u);
    finish(region, many_memory);
}

Test(basic, threads_in_the_smallest_cache)
{
    many_threads((struct cxe_map_options){0}, 0);
}

Test(basic, threads_with_a_slow_server)
{
    many_threads((struct cxe_map_options){0}, 20000);
}

Test(basic, threads_in_thread_mode)
{
    many_threads((struct cxe_map_options){.fault_mode = CXE_FAULT_THREAD}, 0);
}

static void *touch(void *address)
{
    return (void *)(uintptr_t) * (volatile uint8_t *)address;
}

Test(basic, threads_on_one_page_fetch_it_once)
{
    struct cxe_region *region = fake_start(MIB);
    uint8_t *memory = map_region(region, MIB, (struct cxe_map_options){0});
    pthread_t threads[THREADS];

    fake->delay_ns = 20000000;
    for (unsigned i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, touch, memory + 9 * 4096);
    for (unsigned i = 0; i < THREADS; i++) {
        void *value;

        pthread_join(threads[i], &value);
        cr_assert_eq((uintptr_t)value, fake_byte(9 * 4096));
    }
    cr_assert_eq(fake->reads_of_page[9], 1);
    finish(region, memory);
}

/* mlock fails here, since the kernel cannot bring absent pages in, but leaves the range locked. */
Test(basic, pages_leave_a_locked_range)
{
    struct cxe_region *region = fake_start(MIB);
    uint8_t *memory = map_region(region, MIB, (struct cxe_map_options){0});

    mlock(memory, MIB);
    for (uint64_t i = 0; i < 4; i++)
        memory[i * 3 * PAGE] = 1;
    cr_assert_eq(pager_discard(memory, MIB), 0);
    for (uint64_t i = 0; i < MIB; i += 64)
        cr_assert_eq(load_relaxed(&memory[i]), 0, "byte %llu", (unsigned long long)i);
    check_valid(memory);
    munlock(memory, MIB);
    finish(region, memory);
}

Test(basic, a_pinned_page_is_discarded_with_every_pin_taken)
{
    struct cxe_region *region = fake_start(MIB);
    uint8_t *memory = map_region(region, MIB, (struct cxe_map_options){.fault_mode = CXE_FAULT_INLINE});
    uint64_t pinned = 0;

    while (pager_pin(memory + pinned * PAGE, PAGE, true) == (ssize_t)PAGE)
        pinned++;
    cr_assert_gt(pinned, 32);
    cr_assert_eq(pager_discard(memory, MIB), 0);
    for (uint64_t i = 0; i < MIB; i += 64)
        cr_assert_eq(load_relaxed(&memory[i]), 0, "byte %llu", (unsigned long long)i);
    for (uint64_t i = 0; i < pinned; i++)
        pager_unpin(memory + i * PAGE, PAGE);
    check_valid(memory);
    finish(region, memory);
}
