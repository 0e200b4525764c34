/* memory_fixture.c - see memory_fixture.h */
#include "memory_fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"

void memory_open(struct memory *memory, uint64_t pages, unsigned workers)
{
    struct pool_options pool_options = {.bytes = pages * PAGE_BYTES, .workers = workers};
    struct regions_options regions_options = {.default_quota_bytes = REGIONS_QUOTA_UNLIMITED,
                                              .lease_ns = NS_PER_S};
    struct executor_options executor_options = {0};
    char why[512] = "";

    cr_assert_eq(pool_open(&pool_options, why, sizeof(why), &memory->pool), 0, "%s", why);
    cr_assert_eq(quiesce_open(workers, &memory->quiesce), 0);
    cr_assert_eq(mailboxes_open(workers, &memory->mailboxes), 0);
    quiesce_online(memory->quiesce, 0);
    regions_options.pool = executor_options.pool = memory->pool;
    regions_options.quiesce = executor_options.quiesce = memory->quiesce;
    regions_options.mailboxes = memory->mailboxes;
    cr_assert_eq(regions_open(&regions_options, &memory->regions), 0);
    executor_options.regions = memory->regions;
    cr_assert_eq(executor_open(&executor_options, &memory->executor), 0);
    memory->caller = (struct region_caller){.regions = memory->regions, .worker = 0, .tenant = 1};
}

void memory_close(struct memory *memory)
{
    cr_expect(regions_valid(memory->regions));
    cr_expect(pool_valid(memory->pool));
    executor_close(memory->executor);
    regions_close(memory->regions);
    mailboxes_close(memory->mailboxes);
    quiesce_close(memory->quiesce);
    pool_close(memory->pool);
}

void memory_settle(struct memory *memory)
{
    uint64_t now_ns = clock_now_ns();

    while (executor_maintain(memory->executor, 0, now_ns) == now_ns)
        ;
}

struct region_spec memory_spec(const char *name, uint64_t bytes, uint32_t flags)
{
    struct region_spec spec = {.bytes = bytes, .flags = flags};

    strncpy(spec.name, name, sizeof(spec.name) - 1);
    return spec;
}

int memory_create(struct memory *memory, const char *name, uint64_t pages, uint64_t *handle_out)
{
    struct region_spec spec = memory_spec(name, pages * PAGE_BYTES, 0);
    struct region_info info = {0};
    int error = regions_create(memory->regions, 0, memory->caller.tenant, &spec, &info);

    *handle_out = info.handle;
    return error;
}

int memory_clone(struct memory *memory, uint64_t handle, const char *name, uint64_t *handle_out)
{
    struct region_spec spec = memory_spec(name, 0, 0);
    struct region_info info = {0};
    int error = regions_clone(memory->regions, 0, memory->caller.tenant, handle, &spec, &info);

    *handle_out = info.handle;
    return error;
}

int memory_fill(struct memory *memory, uint64_t handle, uint64_t page, uint8_t byte)
{
    uint8_t bytes[PAGE_BYTES];

    memset(bytes, byte, sizeof(bytes));
    return region_write(&memory->caller, (struct region_place){handle, page * PAGE_BYTES}, PAGE_LINES, bytes);
}

bool memory_is_filled(struct memory *memory, uint64_t handle, uint64_t page, uint8_t byte)
{
    uint8_t bytes[PAGE_BYTES], wanted[PAGE_BYTES];

    memset(wanted, byte, sizeof(wanted));
    return region_read(&memory->caller, (struct region_place){handle, page * PAGE_BYTES}, PAGE_LINES,
                       bytes) == 0 &&
           memcmp(bytes, wanted, sizeof(bytes)) == 0;
}

int memory_read_status(struct memory *memory, uint64_t handle, uint64_t page)
{
    uint8_t line[LINE_BYTES];

    return region_read(&memory->caller, (struct region_place){handle, page * PAGE_BYTES}, 1, line);
}

bool hammer_on(uint64_t start_ns, uint64_t events, uint64_t wanted)
{
    uint64_t elapsed_ns = clock_now_ns() - start_ns;

    return elapsed_ns < 300 * NS_PER_MS || (events < wanted && elapsed_ns < 30 * NS_PER_S);
}

uint64_t random_seed(const char *test)
{
    const char *given = getenv("CXE_TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : clock_now_ns();

    fprintf(stderr, "%s: CXE_TEST_SEED=%" PRIu64 "\n", test, seed);
    return seed;
}

/* SplitMix64. */
uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}
