/* test_gone.c - the server does not answer, or says no: what each policy does, and that nothing is lost */
#include <criterion/criterion.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "atomic.h"
#include "clock.h"
#include "fixture.h"

static const struct cxe_map_options deadline = {.gone_policy = CXE_GONE_DEADLINE,
                                                .gone_deadline_ns = 50 * NS_PER_MS};

static void *come_back(void *unused)
{
    usleep(100000);
    fake->gone = 0u;
    return unused;
}

Test(gone, wait_waits_until_the_server_is_back)
{
    struct cxe_region *region = fake_start(MIB);
    uint8_t *memory = map_region(region, MIB, (struct cxe_map_options){0});
    pthread_t thread;

    fake->gone = 1;
    pthread_create(&thread, NULL, come_back, NULL);
    cr_assert_eq(memory[PAGE], fake_byte(PAGE));
    pthread_join(thread, NULL);
    cr_assert_eq(info_of(memory).poisoned_pages, 0);
    finish(region, memory);
}

static void poisons_at_the_deadline(enum cxe_fault_mode mode)
{
    struct cxe_region *region = fake_start(MIB);
    struct cxe_map_options options = deadline;
    int zero = open("/dev/zero", O_RDONLY), null = open("/dev/null", O_WRONLY), pipes[2];

    options.fault_mode = mode;
    uint8_t *memory = map_region(region, MIB, options);
    cr_assert_eq(pipe(pipes), 0);
    fake->gone = 1;
    uint64_t start_ns = clock_now_ns();
    cr_assert_not(can_read(memory + PAGE));
    cr_assert_geq(clock_now_ns() - start_ns, 50 * NS_PER_MS);
    cr_assert_eq(info_of(memory).poisoned_pages, 1);
    start_ns = clock_now_ns();
    cr_assert_not(can_read(memory + PAGE + 8), "poisoned stays poisoned, at once");
    cr_assert_lt(clock_now_ns() - start_ns, 40 * NS_PER_MS);
    cr_assert_lt(write(pipes[1], memory + PAGE, 1), 0, "a system call fails, with EFAULT or EHWPOISON");
    cr_assert_lt(read(zero, memory + PAGE, 1), 0);
    check_valid(memory);

    /* The server is back: other pages come, this one when it is asked for anew. */
    fake->gone = 0;
    cr_assert(can_read(memory + 2 * PAGE));
    cr_assert_not(can_read(memory + PAGE));
    cr_assert_eq(cxe_advise(memory + PAGE, PAGE, CXE_ADVICE_REFRESH), 0);
    cr_assert(can_read(memory + PAGE));
    cr_assert_eq(memory[PAGE], fake_byte(PAGE));
    check_valid(memory);
    close(zero);
    close(null);
    close(pipes[0]);
    close(pipes[1]);
    finish(region, memory);
}

Test(gone, a_deadline_poisons_inline)
{
    poisons_at_the_deadline(CXE_FAULT_INLINE);
}

Test(gone, a_deadline_poisons_in_thread_mode)
{
    poisons_at_the_deadline(CXE_FAULT_THREAD);
}

Test(gone, fail_fast_fails_at_the_first_error)
{
    struct cxe_region *region = fake_start(MIB);
    uint8_t *memory = map_region(region, MIB, (struct cxe_map_options){.gone_policy = CXE_GONE_FAIL_FAST});

    fake->read_error = -ECONNREFUSED;
    cr_assert_not(can_read(memory));
    fake->read_error = 0;
    fake->gone = 1;
    uint64_t start_ns = clock_now_ns();
    cr_assert_not(can_write(memory + PAGE, 1));
    cr_assert_lt(clock_now_ns() - start_ns, NS_PER_S);
    fake->gone = 0;
    check_valid(memory);
    finish(region, memory);
}

/* Whatever the policy: a region that is deleted does not come back. */
Test(gone, a_deleted_region_poisons)
{
    struct cxe_region *region = fake_start(MIB);
    uint8_t *memory = map_region(region, MIB, (struct cxe_map_options){0});

    fake->read_error = -ESTALE;
    cr_assert_not(can_read(memory + 5 * PAGE));
    fake->read_error = -EHWPOISON;
    cr_assert_not(can_read(memory + 6 * PAGE));
    cr_assert_eq(info_of(memory).poisoned_pages, 2);
    fake->read_error = 0;
    finish(region, memory);
}

/* Dirty pages exist nowhere else: they stay, a sync says what is wrong, and unmap refuses. */
Test(gone, dirty_pages_are_kept)
{
    struct cxe_region *region = fake_start(MIB);
    uint8_t *memory = map_region(region, MIB, deadline);

    for (unsigned i = 0; i < 100; i++)
        memory[i * PAGE] = 0;
    fake->gone = 1;
    cr_assert_eq(cxe_sync(memory, MIB), -ETIMEDOUT);
    cr_assert(strstr(cxe_last_error(), "cannot be written back"));
    cr_assert_eq(cxe_unmap(memory), -ETIMEDOUT);
    for (unsigned i = 0; i < 100; i++)
        cr_assert_eq(memory[i * PAGE], 0);
    memory[0] = 9;
    fake->gone = 0;
    check_valid(memory);
    cr_assert_eq(cxe_sync(memory, MIB), 0);
    cr_assert_eq(fake_memory(region)[0], 9);
    for (unsigned i = 1; i < 100; i++)
        cr_assert_eq(fake_memory(region)[i * PAGE], 0);
    finish(region, memory);
}

static void refuse_page_5(const struct op *op)
{
    fake->write_error = op->offset == 5 * PAGE ? -EIO : 0;
}

/* A sync has two batches of 32 pages under way. The one behind the one that failed is seen through, and none
 * is begun any more; what was not written is dirty. */
Test(gone, a_sync_ends_with_the_batch_behind_the_one_that_failed)
{
    struct cxe_region *region = fake_start(MIB);
    struct cxe_map_options options = {.gone_policy = CXE_GONE_FAIL_FAST, .flags = CXE_MAP_NO_CLEANER};
    uint8_t *memory = map_region(region, MIB, options);

    for (unsigned i = 0; i < 160; i++)
        memory[i * PAGE] = (uint8_t)(fake_byte(i * PAGE) + 1);
    fake_on_write = refuse_page_5;
    cr_assert_eq(cxe_sync(memory, MIB), -EIO);
    fake_on_write = NULL;
    fake->write_error = 0;
    check_valid(memory);
    for (unsigned i = 0; i < 160; i++)
        cr_assert_eq(fake_memory(region)[i * PAGE] != fake_byte(i * PAGE), i < 64 && i != 5, "page %u", i);
    cr_assert_eq(info_of(memory).dirty_bytes, (1 + 160 - 64) * PAGE);
    cr_assert_eq(cxe_sync(memory, MIB), 0);
    for (unsigned i = 0; i < 160; i++)
        cr_assert_eq(fake_memory(region)[i * PAGE], (uint8_t)(fake_byte(i * PAGE) + 1), "page %u", i);
    finish(region, memory);
}

/* Its changes have nowhere to go any more. Who says that they may be lost can leave, and nobody else. */
Test(gone, changes_of_a_deleted_region_can_be_given_up)
{
    struct cxe_region *region = fake_start(MIB);
    uint8_t *memory = map_region(region, MIB, (struct cxe_map_options){0});

    for (unsigned i = 0; i < 100; i++)
        memory[i * PAGE] = 0;
    fake->write_error = -ESTALE;
    cr_assert_eq(cxe_unmap(memory), -ESTALE);
    cr_assert(strstr(cxe_last_error(), "CXE_ADVICE_DISCARD"), "%s", cxe_last_error());
    cr_assert_eq(cxe_advise(memory, MIB, CXE_ADVICE_REFRESH), 0);
    cr_assert_eq(cxe_unmap(memory), -ESTALE, "asking for what is there now gives up nothing");
    cr_assert_eq(cxe_advise(memory, 99 * PAGE, CXE_ADVICE_DISCARD), 0);
    check_valid(memory);
    cr_assert_eq(info_of(memory).dirty_bytes, PAGE);
    cr_assert_eq(memory[99 * PAGE], 0);
    cr_assert_eq(cxe_unmap(memory), -ESTALE);
    cr_assert_eq(cxe_advise(memory, MIB, CXE_ADVICE_DISCARD), 0);
    finish(region, memory);
}

Test(gone, what_was_given_up_is_fetched_anew)
{
    struct cxe_region *region = fake_start(MIB);
    uint8_t *memory = map_region(region, MIB, deadline);

    memory[0] = memory[PAGE] = 0;
    fake->gone = 1;
    cr_assert_not(can_read(memory + 5 * PAGE));
    fake->gone = 0;
    fake->write_error = -ETIMEDOUT;
    cr_assert_eq(cxe_sync(memory, MIB), -ETIMEDOUT);
    cr_assert_eq(cxe_advise(memory, 10 * PAGE, CXE_ADVICE_DISCARD), 0);
    fake->write_error = 0;
    for (unsigned i = 0; i < 10; i++)
        cr_assert_eq(memory[i * PAGE], fake_byte(i * PAGE));
    check_valid(memory);
    cr_assert_eq(cxe_sync(memory, MIB), 0);
    finish(region, memory);
}

/* Nobody knows whether the write was done, and it was: putting back what was there is a change, too. */
Test(gone, a_line_whose_write_is_unknown_goes_again_though_it_changed_back)
{
    struct cxe_region *region = fake_start(MIB);
    struct cxe_map_options options = deadline;

    options.flags = CXE_MAP_NO_CLEANER;
    uint8_t *memory = map_region(region, MIB, options);
    uint8_t before = memory[0];

    memory[0] = (uint8_t)(before + 1);
    fake->write_error = -CXE_EUNKNOWN;
    fake->write_anyway = 1;
    cr_assert_lt(cxe_sync(memory, PAGE), 0);
    cr_assert_eq(fake_memory(region)[0], (uint8_t)(before + 1));
    memory[0] = before;
    fake->write_error = 0;
    fake->write_anyway = 0;
    cr_assert_eq(cxe_sync(memory, PAGE), 0);
    cr_assert_eq(fake_memory(region)[0], before);
    check_valid(memory);
    finish(region, memory);
}

/* With the cache full of pages that cannot be written back, the access that needs room fails; not the data.
 */
static void full_of_dirty_pages(uint32_t flags)
{
    struct cxe_region *region = fake_start(MIB);
    struct cxe_map_options options = deadline;
    unsigned n = 0;

    options.flags = flags;
    uint8_t *memory = map_region(region, CXE_LOCAL_BYTES_MIN, options);
    fake->write_error = -ETIMEDOUT;
    while (n < 256 && can_write(memory + n * PAGE, 0))
        n++;
    cr_assert(n >= 40 && n < 64, "%u", n);
    for (unsigned i = 0; i < n; i++)
        cr_assert_eq(memory[i * PAGE], 0);
    fake->write_error = 0;
    cr_assert(can_write(memory + 100 * PAGE, 0));
    check_valid(memory);
    cr_assert_eq(cxe_sync(memory, MIB), 0);
    for (unsigned i = 0; i < n; i++)
        cr_assert_eq(fake_memory(region)[i * PAGE], 0);
    finish(region, memory);
}

Test(gone, a_full_cache_fails_the_access)
{
    full_of_dirty_pages(0);
}

Test(gone, a_full_cache_fails_the_access_without_a_cleaner)
{
    full_of_dirty_pages(CXE_MAP_NO_CLEANER);
}

/* Zeros that there was no room for, and a page that was poisoned, are as good as any others. */
Test(gone, zeros_that_had_no_room)
{
    struct cxe_region *region = fake_start(MIB);
    struct cxe_map_options options = deadline;
    unsigned n = 0;

    options.flags = CXE_MAP_NO_CLEANER;
    uint8_t *memory = map_region(region, CXE_LOCAL_BYTES_MIN, options);
    cr_assert_eq(pager_discard(memory, MIB), 0);
    fake->write_error = -ETIMEDOUT;
    while (n < 256 && can_write(memory + n * PAGE, 5))
        n++;
    cr_assert_eq(n, CXE_LOCAL_BYTES_MIN / PAGE, "zeros need no fingerprints, so each place has a page");
    check_valid(memory);
    fake->write_error = 0;
    cr_assert_eq(cxe_advise(memory, MIB, CXE_ADVICE_REFRESH), 0);
    check_valid(memory);
    for (uint64_t i = n; i < 256; i++)
        cr_assert_eq(load_relaxed(&memory[i * PAGE + 8]), 0);
    finish(region, memory);
}

/* ---- a flaky server: random failures of every kind, and the memory is right in the end ---- */

static uint8_t shadow[2 * MIB];

static void store_and_fail(uint8_t *memory, unsigned *state, uint64_t at, uint8_t value)
{
    static const int errors[] = {0, 0, 0, -ETIMEDOUT, -CXE_EUNKNOWN, -ECONNREFUSED, -EBUSY};

    fake->write_error = errors[(unsigned)rand_r(state) % 7];
    fake->write_anyway = (unsigned)rand_r(state) % 2;
    if (can_write(memory + at, value))
        shadow[at] = value;
    else
        cr_assert_eq(cxe_advise(memory + at / PAGE * PAGE, PAGE, CXE_ADVICE_REFRESH), 0);
}

static unsigned seed(void)
{
    fprintf(stderr, "seed %d\n", (int)getpid());
    return (unsigned)getpid();
}

static void sync_right(uint8_t *memory)
{
    fake->write_error = 0;
    check_valid(memory);
    cr_assert_eq(cxe_sync(memory, sizeof(shadow)), 0);
    check_valid(memory);
}

Test(gone, flaky_server)
{
    struct cxe_region *region = fake_start(sizeof(shadow));
    uint8_t *memory = map_region(region, CXE_LOCAL_BYTES_MIN, deadline);
    unsigned state = seed();

    memcpy(shadow, fake_memory(region), sizeof(shadow));
    for (unsigned i = 0; i < 3000; i++)
        store_and_fail(memory, &state, (uint64_t)rand_r(&state) % sizeof(shadow), (uint8_t)i);
    sync_right(memory);
    cr_assert_eq(memcmp(fake_memory(region), shadow, sizeof(shadow)), 0);
    finish(region, memory);
}

/* Stores of zeros, too, and memory that is given back: so pages are known to be zeros, here and at the
 * server, and are not any more; and fingerprints are taken and not, as there is more in use or less. */
Test(gone, flaky_server_of_a_new_region)
{
    struct cxe_region *region = fake_start(sizeof(shadow));

    memset(fake_memory(region), 0, sizeof(shadow));
    uint8_t *memory = map_zeros_under(region, CXE_LOCAL_BYTES_MIN, deadline);
    unsigned state = seed();

    for (unsigned i = 0; i < 6000; i++) {
        uint64_t at = (uint64_t)rand_r(&state) % sizeof(shadow), page = at / PAGE * PAGE;
        uint64_t given_back = rand_r(&state) % 40 ? 0 : rand_r(&state) % 8 ? 4 * PAGE : MIB;

        store_and_fail(memory, &state, i % 3 ? page : at, (uint8_t)(rand_r(&state) % 3));
        if (!given_back || page + given_back > sizeof(shadow))
            continue;
        cr_assert_eq(pager_discard(memory + page, given_back), 0);
        memset(shadow + page, 0, given_back);
    }
    sync_right(memory);
    for (unsigned i = 0; i < 2; i++) /* what was here is fetched the second time */
        cr_assert_eq(memcmp(memory, shadow, sizeof(shadow)), 0);
    finish(region, memory);
}
