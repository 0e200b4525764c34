/* test_prefetch.c - patterns are found, and what comes ahead is right; no pattern, no prefetch */
#include <criterion/criterion.h>

#include <errno.h>
#include <linux/userfaultfd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "atomic.h"
#include "fixture.h"

#define PAGES (16 * MIB / PAGE)

static struct cxe_region *region;
static uint8_t *memory;

static void start(uint32_t flags)
{
    region = fake_start(16 * MIB);
    memory = map_region(region, 4 * MIB, (struct cxe_map_options){.flags = flags});
}

static void look(uint64_t page)
{
    cr_assert_eq(load_relaxed(&memory[page * PAGE + 9]), fake_byte(page * PAGE + 9), "page %llu",
                 (unsigned long long)page);
}

static void stop(void)
{
    check_valid(memory);
    finish(region, memory);
}

Test(prefetch, sequential)
{
    start(0);
    for (uint64_t i = 0; i < PAGES; i++)
        look(i);
    struct cxe_map_info info = info_of(memory);
    cr_assert_lt(info.faults, PAGES / 8);
    cr_assert_gt(info.prefetched_pages, PAGES * 9 / 10);
    cr_assert_gt(info.prefetch_used_pages, info.prefetched_pages * 8 / 10);
    cr_assert_leq(info.fetched_pages, PAGES + 200);
    stop();
}

/* A cache with room for it has bulk reads of two frames. */
Test(prefetch, sequential_in_a_large_cache)
{
    region = fake_start(64 * MIB);
    memory = map_region(region, 16 * MIB, (struct cxe_map_options){0});
    for (uint64_t i = 0; i < 4 * PAGES; i++)
        look(i);
    cr_assert_lt(info_of(memory).faults, 4 * PAGES / 24);
    cr_assert_leq(info_of(memory).fetched_pages, 4 * PAGES + 200);
    stop();
}

Test(prefetch, backwards)
{
    start(0);
    for (uint64_t i = PAGES; i-- > 0;)
        look(i);
    cr_assert_lt(info_of(memory).faults, PAGES / 8);
    stop();
}

Test(prefetch, strides)
{
    start(0);
    for (uint64_t i = 0; i < PAGES; i += 7)
        look(i);
    cr_assert_lt(info_of(memory).faults, PAGES / 7 / 4);
    cr_assert_lt(info_of(memory).fetched_pages, PAGES / 7 + 200);
    stop();
}

Test(prefetch, interleaved_streams)
{
    start(0);
    for (uint64_t i = 0; i < PAGES / 4; i++)
        for (uint64_t stream = 0; stream < 4; stream++)
            look(stream * PAGES / 4 + i);
    cr_assert_lt(info_of(memory).faults, PAGES / 4);
    stop();
}

Test(prefetch, random_pages_are_left_alone)
{
    unsigned state = 5;

    start(0);
    for (unsigned i = 0; i < 4000; i++)
        look((unsigned)rand_r(&state) % PAGES);
    cr_assert_lt(info_of(memory).prefetched_pages, 200);
    stop();
}

Test(prefetch, may_be_switched_off)
{
    start(CXE_MAP_NO_PREFETCH);
    for (uint64_t i = 0; i < 1000; i++)
        look(i);
    cr_assert_eq(info_of(memory).prefetched_pages, 0);
    stop();
}

Test(prefetch, advice)
{
    start(0);
    cr_assert_eq(cxe_advise(memory, 8 * MIB, CXE_ADVICE_RANDOM), 0);
    for (uint64_t i = 0; i < 500; i++)
        look(i);
    cr_assert_eq(info_of(memory).prefetched_pages, 0);
    cr_assert_eq(cxe_advise(memory, 16 * MIB, CXE_ADVICE_SEQUENTIAL), 0);
    look(1000);
    cr_assert_eq(fake->reads, 502, "the second miss is followed by a bulk read at once");
    cr_assert_eq(cxe_advise(memory, 16 * MIB, 77), -EINVAL);
    stop();
}

Test(prefetch, on_request)
{
    start(0);
    cr_assert_eq(cxe_prefetch(memory + 100 * PAGE, 64 * PAGE), 0);
    for (uint64_t i = 100; i < 164; i++)
        look(i);
    cr_assert_leq(info_of(memory).faults, 8);
    cr_assert_eq(cxe_prefetch(memory, 16 * MIB), 0, "more than fits is no error");
    for (uint64_t i = 0; i < PAGES; i++)
        look(i);
    stop();
}

/* What was fetched ahead before the advice is as old as what is in memory. */
Test(prefetch, refresh_takes_back_what_comes_ahead)
{
    start(0);
    cr_assert_eq(cxe_prefetch(memory + 100 * PAGE, 64 * PAGE), 0);
    for (uint64_t i = 1; i <= 32; i++) /* every lane takes its answers */
        look(i * 100 + 90);
    memset(fake_memory(region) + 100 * PAGE, 7, 64 * PAGE);
    cr_assert_eq(cxe_advise(memory + 100 * PAGE, 64 * PAGE, CXE_ADVICE_REFRESH), 0);
    for (uint64_t i = 100; i < 164; i++)
        cr_assert_eq(load_relaxed(&memory[i * PAGE]), 7, "page %llu is old", (unsigned long long)i);
    stop();
}

/* A bulk read that fails is nobody's fault: each page is asked for alone. */
Test(prefetch, failing_reads)
{
    start(0);
    for (uint64_t i = 0; i < 64; i++)
        look(i);
    fake->read_error = -EHWPOISON;
    unsigned lost = 0;
    for (uint64_t i = 64; i < 300; i++)
        lost += !can_read(memory + i * PAGE);
    cr_assert_gt(lost, 100); /* some were in flight */
    fake->read_error = 0;
    cr_assert_eq(cxe_advise(memory, 16 * MIB, CXE_ADVICE_REFRESH), 0);
    for (uint64_t i = 0; i < PAGES; i++)
        look(i);
    stop();
}

Test(prefetch, stores_in_a_row)
{
    start(CXE_MAP_NO_CLEANER); /* how much comes ahead then does not depend on when the cleaner runs */
    for (uint64_t i = 0; i < PAGES; i++)
        memory[i * PAGE] = (uint8_t)i;
    cr_assert_lt(info_of(memory).faults, PAGES / 2, "%llu", (unsigned long long)info_of(memory).faults);
    cr_assert_eq(cxe_sync(memory, 16 * MIB), 0);
    for (uint64_t i = 0; i < PAGES; i++) {
        cr_assert_eq(fake_memory(region)[i * PAGE], (uint8_t)i);
        look(i);
    }
    cr_assert_leq(fake->written_lines, PAGES);
    stop();
}

/* The kernel is short of memory in the middle of every other bulk: half of the pages are there. */
static volatile unsigned bulks_to_break; /* changed in signal handlers */
int ioctl(int fd, unsigned long request, ...)
{
    struct uffdio_copy *copy;
    va_list arguments;

    va_start(arguments, request);
    copy = va_arg(arguments, void *);
    va_end(arguments);
    if (request != UFFDIO_COPY || !bulks_to_break || copy->len == PAGE)
        return (int)syscall(SYS_ioctl, fd, request, copy);
    if (--bulks_to_break % 2 == 0) {
        errno = ENOMEM;
        return -1;
    }
    copy->len = PAGE;
    if (syscall(SYS_ioctl, fd, request, copy) == 0)
        errno = EAGAIN;
    return -1;
}

Test(prefetch, half_a_bulk_is_installed)
{
    start(CXE_MAP_NO_CLEANER);
    bulks_to_break = 100;
    for (uint64_t i = 0; i < PAGES; i++)
        memory[i * PAGE] = (uint8_t)i;
    cr_assert_lt(bulks_to_break, 50);
    cr_assert_eq(cxe_sync(memory, 16 * MIB), 0);
    for (uint64_t i = 0; i < PAGES; i++)
        cr_assert_eq(fake_memory(region)[i * PAGE], (uint8_t)i, "page %llu", (unsigned long long)i);
    stop();
}

/* A scan must not push out what is used again and again. */
Test(prefetch, a_scan_leaves_hot_pages)
{
    uint64_t again = 0;

    start(0);
    for (unsigned round = 0; round < 40; round++) {
        for (uint64_t i = 0; i < 128; i++)
            look(3000 + i * 7 % 128);
        for (uint64_t i = 0; i < 400; i++)
            look((round * 400 + i) % 2800);
    }
    for (uint64_t i = 3000; i < 3128; i++)
        again += fake->reads_of_page[i];
    cr_assert_lt(again, 128 * 20, "%llu", (unsigned long long)again);
    stop();
}
