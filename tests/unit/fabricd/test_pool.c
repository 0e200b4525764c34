/* test_pool.c - frames are wiped, promises add up, and a pool that cannot be had is refused with the numbers
 */
#include "pool.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "atomic.h"
#include "memory_fixture.h"
#include "pool_memory.h"

static struct pool *open_pool(uint64_t pages, unsigned workers)
{
    struct pool_options options = {.bytes = pages * PAGE_BYTES, .workers = workers};
    char why[512] = "";
    struct pool *pool;

    cr_assert_eq(pool_open(&options, why, sizeof(why), &pool), 0, "%s", why);
    return pool;
}

static void close_pool(struct pool *pool)
{
    cr_expect(pool_valid(pool));
    pool_close(pool);
}

static void expect_refused(const struct pool_options *options, int error, const char *part)
{
    struct pool *pool = NULL;
    char why[512] = "";

    cr_expect_eq(pool_open(options, why, sizeof(why), &pool), error, "%s", why);
    cr_expect_null(pool);
    cr_expect(strstr(why, part) != NULL, "\"%s\" lacks \"%s\"", why, part);
}

Test(pool, sizes_that_are_none_are_refused)
{
    struct pool_options options = {.workers = 1};
    const uint64_t sizes[] = {0, 1, PAGE_BYTES - 1, PAGE_BYTES + 1, UINT64_MAX};

    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        options.bytes = sizes[i];
        expect_refused(&options, -EINVAL, "expected a multiple of 4096");
    }
    options.bytes = (POOL_PAGES_MAX + 1) * PAGE_BYTES;
    expect_refused(&options, -EINVAL, "expected less than");
    options.bytes = UINT64_MAX - PAGE_BYTES + 1;
    expect_refused(&options, -EINVAL, "expected less than");
}

Test(pool, more_than_the_machine_has_is_refused_with_both_numbers)
{
    struct pool_options options = {.bytes = 4ull << 40, .workers = 1};
    struct pool_memory memory;

    pool_memory_available("", &memory);
    if (memory.bytes > options.bytes)
        cr_skip_test("this machine has more than 4 TiB free");
    expect_refused(&options, -ENOMEM, "4.0 TiB");
    expect_refused(&options, -ENOMEM, "but only");
    expect_refused(&options, -ENOMEM, memory.source);
}

Test(pool, nodes_that_are_not_there_are_refused)
{
    expect_refused(&(struct pool_options){.bytes = 1 << 20, .workers = 1, .node_mask = 1ull << 63}, -EINVAL,
                   "NUMA node 63");
}

Test(pool, nodes_that_are_there_serve)
{
    for (enum pool_policy policy = POOL_BIND; policy <= POOL_PREFERRED; policy++) {
        struct pool_options options = {.bytes = 1 << 20, .workers = 1, .node_mask = 1, .policy = policy};
        struct pool_memory memory;
        struct pool *pool;
        char why[512];

        pool_memory_of_nodes("", 1, &memory);
        if (memory.bytes == 0)
            cr_skip_test("no NUMA node 0");
        cr_assert_eq(pool_open(&options, why, sizeof(why), &pool), 0, "%s", why);
        cr_expect_eq(pool_prefault(pool, NULL, NULL), 0);
        close_pool(pool);
    }
}

Test(pool, huge_pages_come_from_the_reserve_or_not_at_all)
{
    struct pool_options options = {.bytes = 4 << 20, .workers = 1, .huge_pages = true};
    uint64_t pages, page_bytes;
    struct pool *pool;
    char why[512];

    pool_memory_huge("", &pages, &page_bytes);
    if (page_bytes == 0) {
        expect_refused(&options, -EINVAL, "huge pages");
        return;
    }
    if (pages * page_bytes < 8 << 20) {
        expect_refused(&options, -ENOMEM, "vm.nr_hugepages");
        return;
    }
    cr_assert_eq(pool_open(&options, why, sizeof(why), &pool), 0, "%s", why);
    close_pool(pool);
}

Test(pool, tables_take_less_than_two_percent)
{
    struct pool *pool = open_pool(1 << 16, 1);

    cr_expect_lt(pool->meta_bytes * 50, (1ull << 16) * PAGE_BYTES);
    close_pool(pool);
}

Test(pool, stays_out_of_core_dumps)
{
    struct pool *pool = open_pool(64, 1);
    char start[32], line[256];
    bool found = false, marked = false;
    FILE *maps = fopen("/proc/self/smaps", "r");

    cr_assert_not_null(maps);
    snprintf(start, sizeof(start), "%" PRIxPTR "-", (uintptr_t)pool->map);
    while (fgets(line, sizeof(line), maps)) {
        if (strstr(line, "-") && strstr(line, start) == line)
            found = true;
        if (found && strncmp(line, "VmFlags:", 8) == 0) {
            marked = strstr(line, " dd") != NULL;
            break;
        }
    }
    fclose(maps);
    cr_expect(found);
    cr_expect(marked);
    close_pool(pool);
}

Test(pool, promises_add_up)
{
    struct pool *pool = open_pool(10, 3);

    cr_expect_eq(pool_free_bytes(pool), 10 * PAGE_BYTES);
    cr_expect(!pool_promise(pool, 11));
    cr_expect(!pool_promise(pool, UINT64_MAX));
    cr_expect(pool_promise(pool, 7));
    cr_expect(!pool_promise(pool, 4));
    cr_expect(!pool_promise(pool, UINT64_MAX - 6), "7 + that wraps to 0");
    cr_expect(pool_promise(pool, 3));
    cr_expect_eq(pool_free_bytes(pool), 0);
    cr_expect(pool_promise(pool, 0));
    pool_unpromise(pool, 10);
    cr_expect_eq(pool_free_bytes(pool), 10 * PAGE_BYTES);
    close_pool(pool);
}

static bool is_zero(const struct pool *pool, uint32_t frame)
{
    static const uint8_t zeros[PAGE_BYTES];

    return memcmp(pool_frame(pool, frame), zeros, PAGE_BYTES) == 0;
}

Test(pool, every_frame_comes_wiped_and_once)
{
    struct pool *pool = open_pool(20, 2);
    bool taken[23] = {false};

    for (unsigned round = 0; round < 3; round++) {
        memset(taken, 0, sizeof(taken));
        for (unsigned i = 0; i < 22; i++) {
            uint32_t frame = pool_alloc(pool, 1);

            cr_assert(frame >= 1 && frame <= 22 && !taken[frame]);
            taken[frame] = true;
            cr_assert(is_zero(pool, frame), "round %u", round);
            memset(pool_frame(pool, frame), 0xa5, PAGE_BYTES);
        }
        for (uint32_t frame = 1; frame <= 22; frame++)
            cr_assert_eq(pool_unref(pool, frame, false), 0);
        cr_assert(pool_valid(pool));
        if (round == 1) /* either maintenance wipes, or the allocation itself */
            cr_expect(pool_wipe(pool, 12), "10 are left");
    }
    cr_expect(!pool_wipe(pool, 22 + 1));
    close_pool(pool);
}

Test(pool, a_frame_lives_until_its_last_name)
{
    struct pool *pool = open_pool(4, 1);
    uint32_t frame = pool_alloc(pool, 1 | POOL_CHARGED);

    pool_ref(pool, frame);
    pool_ref(pool, frame);
    cr_expect_eq(pool_unref(pool, frame, false), 2 | POOL_CHARGED);
    cr_expect_eq(pool_unref(pool, frame, true), 1, "its promise is gone, clones remain");
    cr_expect_eq(pool_unref(pool, frame, false), 0);
    cr_expect(pool_valid(pool));
    cr_expect_neq(pool_alloc(pool, 1), frame, "a dirty frame is the last resort");
    close_pool(pool);
}

Test(pool, the_invariants_notice_damage)
{
    struct pool *pool = open_pool(8, 1);
    uint32_t frame = pool_alloc(pool, 1);

    cr_assert(pool_valid(pool));
    pool->refs[frame] = 0; /* leaked: neither in use nor on a stack */
    cr_expect(!pool_valid(pool));
    pool->refs[frame] = 1;
    pool_put_clean(pool, frame);
    cr_assert(pool_valid(pool));
    pool_frame(pool, frame)[100] = 1; /* free but not wiped */
    cr_expect(!pool_valid(pool));
    pool_frame(pool, frame)[100] = 0;
    pool->versions[frame][3] = 1; /* a writer that never finished */
    cr_expect(!pool_valid(pool));
    pool->versions[frame][3] = 2;
    close_pool(pool);
}

struct churner {
    pthread_t thread;
    struct pool *pool;
    uint64_t allocations, unwiped, spoilt;
};

/* Keeps within promises, and marks its frames so that two owners would notice each other. */
static void *churn(void *argument)
{
    struct churner *churner = argument;
    struct pool *pool = churner->pool;
    uint64_t random = (uintptr_t)churner;

    while (churner->allocations < 30000) {
        uint32_t frames[8], count = 0, want = 1 + (uint32_t)(random_next(&random) % 8);

        while (count < want && pool_promise(pool, 1)) {
            uint32_t frame = pool_alloc(pool, 1);
            uint64_t *words = (uint64_t *)(void *)pool_frame(pool, frame);

            churner->unwiped += words[0] != 0 || words[PAGE_BYTES / 8 - 1] != 0;
            words[0] = words[PAGE_BYTES / 8 - 1] = random;
            frames[count++] = frame;
            churner->allocations++;
        }
        while (count > 0) {
            uint32_t frame = frames[--count];
            uint64_t *words = (uint64_t *)(void *)pool_frame(pool, frame);

            churner->spoilt += words[0] != words[PAGE_BYTES / 8 - 1];
            pool_unref(pool, frame, false);
            pool_unpromise(pool, 1);
        }
        pool_wipe(pool, (unsigned)(random_next(&random) % 3));
    }
    return NULL;
}

Test(pool, threads_share_a_full_pool, .timeout = 60)
{
    struct pool *pool = open_pool(12, 3); /* less than the three want */
    struct churner churners[3];

    for (unsigned i = 0; i < 3; i++) {
        churners[i] = (struct churner){.pool = pool};
        cr_assert_eq(pthread_create(&churners[i].thread, NULL, churn, &churners[i]), 0);
    }
    for (unsigned i = 0; i < 3; i++) {
        pthread_join(churners[i].thread, NULL);
        cr_expect_eq(churners[i].unwiped, 0);
        cr_expect_eq(churners[i].spoilt, 0);
    }
    cr_expect_eq(pool_free_bytes(pool), 12 * PAGE_BYTES);
    close_pool(pool);
}

static uint64_t progress_calls, progress_peak, progress_total;

static void note_progress(void *context, uint64_t done_bytes, uint64_t total_bytes)
{
    cr_assert_eq(context, &progress_calls);
    cr_assert(done_bytes <= total_bytes);
    fetch_add_relaxed(&progress_calls, 1);
    if (done_bytes == total_bytes)
        fetch_add_relaxed(&progress_peak, 1);
    store_relaxed(&progress_total, total_bytes);
}

static void *prefault(void *pool)
{
    cr_assert_eq(pool_prefault(pool, note_progress, &progress_calls), 0);
    return NULL;
}

static uint64_t resident_bytes(void)
{
    unsigned long total = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");

    cr_assert_not_null(file);
    cr_assert_eq(fscanf(file, "%lu %lu", &total, &resident), 2);
    fclose(file);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

Test(pool, threads_share_the_prefault, .timeout = 60)
{
    struct pool *pool = open_pool((160 << 20) / PAGE_BYTES, 2);
    uint64_t before = resident_bytes();
    pthread_t threads[2];

    for (unsigned i = 0; i < 2; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, prefault, pool), 0);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    cr_expect_eq(progress_calls, 4, "three chunks of at most 64 MiB, and the tables");
    cr_expect_eq(progress_peak, 1);
    cr_expect_geq(progress_total, 160u << 20);
    cr_expect_geq(resident_bytes() - before, 160u << 20);
    close_pool(pool);
}

/* A machine made of files. */
static char root[64];

static void make_root(void)
{
    strcpy(root, "/tmp/test_pool.XXXXXX");
    cr_assert_not_null(mkdtemp(root));
}

static void remove_root(void)
{
    char command[128];

    snprintf(command, sizeof(command), "rm -rf %s", root);
    cr_expect_eq(system(command), 0);
}

static void put_file(const char *path, const char *text)
{
    char whole[256];
    FILE *file;

    snprintf(whole, sizeof(whole), "%s%s", root, path);
    for (char *slash = strchr(whole + strlen(root) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(whole, 0700);
        *slash = '/';
    }
    file = fopen(whole, "w");
    cr_assert_not_null(file, "%s", whole);
    fputs(text, file);
    fclose(file);
}

static void expect_available(uint64_t bytes, const char *source)
{
    struct pool_memory memory;

    pool_memory_available(root, &memory);
    cr_expect_eq(memory.bytes, bytes, "%" PRIu64 " from %s", memory.bytes, memory.source);
    cr_expect_str_eq(memory.source, source);
}

TestSuite(pool_memory, .init = make_root, .fini = remove_root);

Test(pool_memory, nothing_known_limits_nothing)
{
    expect_available(UINT64_MAX, "nothing");
}

Test(pool_memory, the_machine_limits)
{
    put_file("/proc/meminfo",
             "MemTotal:  100 kB\nMemFree:  10 kB\nMemAvailable:     64 kB\nHugepagesize:  2048 kB\n");
    expect_available(65536, "/proc/meminfo");
}

Test(pool_memory, the_tightest_cgroup_above_us_limits)
{
    put_file("/proc/meminfo", "MemAvailable:  1000 kB\n");
    put_file("/proc/self/cgroup", "0::/a/b\n");
    put_file("/sys/fs/cgroup/a/b/memory.max", "max\n");
    put_file("/sys/fs/cgroup/a/b/memory.current", "5000\n");
    expect_available(1024000, "/proc/meminfo");
    put_file("/sys/fs/cgroup/a/memory.max", "20000\n");
    put_file("/sys/fs/cgroup/a/memory.current", "5000\n");
    expect_available(15000, "/sys/fs/cgroup/a/memory.max");
    put_file("/sys/fs/cgroup/a/memory.stat", "anon 7\nactive_file 9\ninactive_file 1000\n");
    expect_available(16000, "/sys/fs/cgroup/a/memory.max");
    put_file("/sys/fs/cgroup/a/b/memory.max", "4000\n");
    expect_available(0, "/sys/fs/cgroup/a/b/memory.max");
}

Test(pool_memory, cgroups_of_version_one_limit_too)
{
    put_file("/proc/self/cgroup", "9:name=systemd:/\n4:memory:/x\n0::/\n");
    put_file("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "9000\n");
    put_file("/sys/fs/cgroup/memory/x/memory.usage_in_bytes", "2000\n");
    put_file("/sys/fs/cgroup/memory/x/memory.stat", "cache 1\ntotal_inactive_file 500\n");
    expect_available(7500, "/sys/fs/cgroup/memory/x/memory.limit_in_bytes");
}

Test(pool_memory, nodes_add_up)
{
    struct pool_memory memory;

    put_file("/sys/devices/system/node/node0/meminfo",
             "Node 0 MemTotal: 9 kB\nNode 0 MemFree: 10 kB\nNode 0 Active: 100 kB\nNode 0 Inactive: 100 kB\n"
             "Node 0 Active(anon): 7 kB\nNode 0 Inactive(anon): 7 kB\nNode 0 Active(file): 2 kB\n"
             "Node 0 Inactive(file): 3 kB\n");
    put_file("/sys/devices/system/node/node2/meminfo", "Node 2 MemFree: 20 kB\n");
    pool_memory_of_nodes(root, 1 | 1 << 1 | 1 << 2, &memory);
    cr_expect_eq(memory.bytes, 35 * 1024);
    pool_memory_of_nodes(root, 1 << 1, &memory);
    cr_expect_eq(memory.bytes, 0);
}

Test(pool_memory, huge_pages_are_counted)
{
    uint64_t pages, page_bytes;

    pool_memory_huge(root, &pages, &page_bytes);
    cr_expect_eq(page_bytes, 0);
    put_file("/proc/meminfo", "HugePages_Total:  9\nHugePages_Free:     7\nHugepagesize:    2048 kB\n");
    pool_memory_huge(root, &pages, &page_bytes);
    cr_expect_eq(pages, 7);
    cr_expect_eq(page_bytes, 2048 * 1024);
}
