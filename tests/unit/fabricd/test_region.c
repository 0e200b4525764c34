/* test_region.c - names, handles, quotas, promises, clones; and a model that must agree with all of it */
#include "region.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "memory_fixture.h"

static struct memory memory;

static void setup(void)
{
    memory_open(&memory, 64, 2);
}

static void teardown(void)
{
    memory_close(&memory);
}

TestSuite(region, .init = setup, .fini = teardown, .timeout = 60);
TestSuite(region_sized, .timeout = 60);

static uint64_t create(const char *name, uint64_t pages)
{
    uint64_t handle;

    cr_assert_eq(memory_create(&memory, name, pages, &handle), 0);
    return handle;
}

static uint64_t snapshot(uint64_t handle, const char *name)
{
    uint64_t copy;

    cr_assert_eq(memory_clone(&memory, handle, name, &copy), 0);
    return copy;
}

static int destroy(uint64_t handle)
{
    return regions_delete(memory.regions, 0, memory.caller.tenant, handle);
}

static struct region_info stat_of(uint64_t handle)
{
    struct region_info info = {0};

    cr_assert_eq(regions_stat(memory.regions, 0, memory.caller.tenant, handle, &info), 0);
    return info;
}

static uint64_t free_pages(void)
{
    return pool_free_bytes(memory.pool) / PAGE_BYTES;
}

static int create_spec(struct region_spec spec)
{
    struct region_info info;

    return regions_create(memory.regions, 0, 1, &spec, &info);
}

Test(region, names_are_checked)
{
    static const char *const wrong[] = {"",    " ",     "a b",   "a\tb", "caf\xc3\xa9",
                                        "a:b", "a\x7f", "star*", "a\\b"};
    struct region_spec spec = memory_spec("a", PAGE_BYTES, 0);

    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        cr_expect_eq(create_spec(memory_spec(wrong[i], PAGE_BYTES, 0)), -EINVAL, "\"%s\"", wrong[i]);
    spec.name[5] = 'x';
    cr_expect_eq(create_spec(spec), -EINVAL, "something behind the NUL");
    memset(spec.name, 'n', sizeof(spec.name));
    cr_expect_eq(create_spec(spec), -EINVAL, "no NUL");
    spec.name[REGION_NAME_BYTES - 1] = '\0';
    cr_expect_eq(create_spec(spec), 0, "63 bytes");
    cr_expect_eq(create_spec(memory_spec("AZaz09._-/", PAGE_BYTES, 0)), 0);
    cr_expect_eq(create_spec(memory_spec("AZaz09._-/", PAGE_BYTES, 0)), -EEXIST);
}

Test(region, sizes_and_flags_are_checked)
{
    static const uint64_t wrong[] = {0, 1, 63, PAGE_BYTES - 1, PAGE_BYTES + 64, UINT64_MAX};

    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        cr_expect_eq(create_spec(memory_spec("a", wrong[i], 0)), -EINVAL, "%" PRIu64, wrong[i]);
    cr_expect_eq(create_spec(memory_spec("a", 1ull << 63, 0)), -ENOSPC);
    cr_expect_eq(create_spec(memory_spec("a", UINT64_MAX - PAGE_BYTES + 1, 0)), -ENOSPC);
    cr_expect_eq(create_spec(memory_spec("a", PAGE_BYTES, REGION_SEALED)), -EINVAL);
    cr_expect_eq(create_spec(memory_spec("a", PAGE_BYTES, 8)), -EINVAL);
    cr_expect_eq(create_spec(memory_spec("a", PAGE_BYTES, 0x80)), -EINVAL);
    cr_expect_eq(free_pages(), 64, "nothing is left of what failed");
}

Test(region, a_name_finds_its_region_and_only_in_its_tenant)
{
    struct region_spec spec = memory_spec("data/one", 0, 0);
    uint64_t mine = create("data/one", 1), theirs;
    struct region_info info;

    memory.caller.tenant = 2;
    cr_expect_eq(regions_open_named(memory.regions, 0, 2, &spec, &info), -ENOENT);
    theirs = create("data/one", 2);
    cr_expect_neq(mine, theirs);
    cr_assert_eq(regions_open_named(memory.regions, 0, 1, &spec, &info), 0);
    cr_expect_eq(info.handle, mine);
    cr_expect_eq(info.tenant, 1);
    cr_expect_eq(info.bytes, PAGE_BYTES);
    cr_expect_str_eq(info.name, "data/one");
    spec.bytes = PAGE_BYTES;
    cr_expect_eq(regions_open_named(memory.regions, 0, 1, &spec, &info), -EINVAL);
    cr_expect_eq(destroy(theirs), 0);
    spec.bytes = 0;
    cr_expect_eq(regions_open_named(memory.regions, 0, 2, &spec, &info), -ENOENT);
    cr_expect_eq(regions_open_named(memory.regions, 0, 1, &spec, &info), 0);
}

/* Every way to name a region by handle gives the same answer. */
static void expect_stale(uint16_t tenant, uint64_t handle)
{
    struct region_caller caller = {memory.regions, 0, tenant};
    struct region_place place = {handle, 0};
    struct region_spec spec = memory_spec("copy", 0, 0);
    struct wire_word words[2] = {0}, old;
    uint8_t line[LINE_BYTES] = {0}, mask[8] = {0};
    struct region_info info;

    cr_expect_eq(region_read(&caller, place, 1, line), -ESTALE);
    cr_expect_eq(region_write(&caller, place, 1, line), -ESTALE);
    cr_expect_eq(region_write_masked(&caller, place, 1, mask, line), -ESTALE);
    cr_expect_eq(region_atomic(&caller, place, OP_CAS, 3, words, &old), -ESTALE);
    cr_expect_eq(regions_stat(memory.regions, 0, tenant, handle, &info), -ESTALE);
    cr_expect_eq(regions_grow(memory.regions, 0, tenant, handle, PAGE_BYTES, &info), -ESTALE);
    cr_expect_eq(regions_seal(memory.regions, 0, tenant, handle, &info), -ESTALE);
    cr_expect_eq(regions_clone(memory.regions, 0, tenant, handle, &spec, &info), -ESTALE);
    cr_expect_eq(regions_delete(memory.regions, 0, tenant, handle), -ESTALE);
}

Test(region, a_wrong_handle_is_stale_whatever_is_wrong_with_it)
{
    uint64_t handle = create("a", 1), other, again;

    expect_stale(1, 0);
    expect_stale(1, UINT64_MAX);
    expect_stale(1, handle + 1);
    expect_stale(1, handle + (1ull << 32));
    expect_stale(1, handle & UINT32_MAX);
    expect_stale(2, handle);
    cr_assert_eq(memory_fill(&memory, handle, 0, 7), 0);
    cr_assert_eq(destroy(handle), 0);
    expect_stale(1, handle);
    memory_settle(&memory);
    again = create("a", 1);
    cr_expect_eq((uint32_t)again, (uint32_t)handle, "the slot is used again");
    expect_stale(1, handle);
    cr_expect(memory_is_filled(&memory, again, 0, 0));
    memory.caller.tenant = 2;
    other = create("a", 1);
    expect_stale(1, other);
}

Test(region, pages_are_zero_until_written_and_cost_nothing_before)
{
    uint64_t handle = create("a", 20);

    cr_expect(memory_is_filled(&memory, handle, 19, 0));
    cr_expect_eq(stat_of(handle).resident_bytes, 0);
    cr_expect_eq(memory.pool->fresh, 1, "no frame was touched");
    cr_assert_eq(memory_fill(&memory, handle, 7, 9), 0);
    cr_expect(memory_is_filled(&memory, handle, 7, 9));
    cr_expect(memory_is_filled(&memory, handle, 6, 0));
    cr_expect_eq(stat_of(handle).resident_bytes, PAGE_BYTES);
}

Test(region, promises_are_kept_to_the_last_page)
{
    uint64_t first = create("first", 40), second, third;

    cr_expect_eq(free_pages(), 24, "promised, though not written");
    cr_expect_eq(memory_create(&memory, "second", 25, &second), -ENOSPC);
    second = create("second", 24);
    cr_expect_eq(memory_create(&memory, "third", 1, &third), -ENOSPC);
    for (uint64_t page = 0; page < 24; page++)
        cr_assert_eq(memory_fill(&memory, second, page, 2), 0);
    for (uint64_t page = 0; page < 40; page++)
        cr_assert_eq(memory_fill(&memory, first, page, 1), 0, "a promised write may not fail");
    for (uint64_t page = 0; page < 40; page++)
        cr_assert(memory_is_filled(&memory, first, page, 1));
    cr_assert_eq(destroy(second), 0);
    third = create("third", 24); /* without waiting for maintenance */
    for (uint64_t page = 0; page < 24; page++)
        cr_assert(memory_is_filled(&memory, third, page, 0));
    for (uint64_t page = 0; page < 24; page++) {
        cr_assert_eq(memory_fill(&memory, third, page, 3), 0);
        cr_assert(regions_valid(memory.regions));
    }
}

Test(region, quotas_hold)
{
    struct region_spec spec = memory_spec("c", 0, 0);
    struct regions_account account;
    struct region_info info;
    uint64_t handle, other;

    regions_set_quota(memory.regions, 1, 10 * PAGE_BYTES + 5);
    cr_expect_eq(memory_create(&memory, "a", 11, &handle), -EDQUOT);
    cr_expect_eq(create_spec(memory_spec("a", 1ull << 63, 0)), -EDQUOT);
    handle = create("a", 6);
    cr_expect_eq(memory_create(&memory, "b", 5, &other), -EDQUOT);
    cr_expect_eq(regions_grow(memory.regions, 0, 1, handle, 11 * PAGE_BYTES, &info), -EDQUOT);
    cr_expect_eq(regions_clone(memory.regions, 0, 1, handle, &spec, &info), -EDQUOT,
                 "a clone counts in full");
    cr_expect_eq(regions_grow(memory.regions, 0, 1, handle, 10 * PAGE_BYTES, &info), 0);
    regions_get_account(memory.regions, 1, &account);
    cr_expect_eq(account.quota_bytes, 10 * PAGE_BYTES);
    cr_expect_eq(account.used_bytes, 10 * PAGE_BYTES);
    cr_expect_eq(account.regions, 1);
    regions_get_account(memory.regions, 2, &account);
    cr_expect_eq(account.quota_bytes, REGIONS_QUOTA_UNLIMITED);
    cr_expect_eq(account.used_bytes, 0);
    regions_set_quota(memory.regions, 1, 0);
    cr_expect_eq(memory_fill(&memory, handle, 9, 1), 0, "what is there stays usable");
    cr_expect_eq(destroy(handle), 0);
    cr_expect_eq(memory_create(&memory, "a", 1, &handle), -EDQUOT);
    regions_set_quota(memory.regions, 1, REGIONS_QUOTA_UNLIMITED);
    cr_expect_eq(memory_create(&memory, "a", 1, &handle), 0);
}

Test(region, grows_and_keeps_what_it_held)
{
    static const uint64_t sizes[] = {3, 10, 11, 12, 40, 64};
    uint64_t handle = create("a", 2);
    struct region_info info;

    cr_assert_eq(memory_fill(&memory, handle, 1, 1), 0);
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        cr_expect_eq(memory_read_status(&memory, handle, sizes[i] - 1), -ERANGE);
        cr_assert_eq(regions_grow(memory.regions, 0, 1, handle, sizes[i] * PAGE_BYTES, &info), 0);
        cr_expect_eq(info.bytes, sizes[i] * PAGE_BYTES);
        cr_expect(memory_is_filled(&memory, handle, 1, 1));
        cr_expect(memory_is_filled(&memory, handle, sizes[i] - 1, 0));
        cr_assert_eq(memory_fill(&memory, handle, sizes[i] - 1, (uint8_t)sizes[i]), 0);
        cr_expect_eq(free_pages(), 64 - sizes[i]);
        cr_assert(regions_valid(memory.regions));
    }
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        cr_expect(memory_is_filled(&memory, handle, sizes[i] - 1, (uint8_t)sizes[i]));
    cr_expect_eq(regions_grow(memory.regions, 0, 1, handle, 64 * PAGE_BYTES, &info), 0, "the same size");
    cr_expect_eq(regions_grow(memory.regions, 0, 1, handle, 63 * PAGE_BYTES, &info), -EINVAL);
    cr_expect_eq(regions_grow(memory.regions, 0, 1, handle, 64 * PAGE_BYTES + 1, &info), -EINVAL);
    cr_expect_eq(regions_grow(memory.regions, 0, 1, handle, 65 * PAGE_BYTES, &info), -ENOSPC);
    cr_expect_eq(stat_of(handle).bytes, 64 * PAGE_BYTES);
}

Test(region, a_sealed_region_stays_as_it_is)
{
    struct wire_word words[2] = {0}, old;
    uint8_t line[LINE_BYTES] = {0}, mask[8] = {0};
    uint64_t handle = create("a", 2), copy;
    struct region_place place = {handle, 0};
    struct region_info info;

    cr_assert_eq(memory_fill(&memory, handle, 0, 5), 0);
    cr_assert_eq(regions_seal(memory.regions, 0, 1, handle, &info), 0);
    cr_expect_eq(info.flags, REGION_SEALED);
    cr_expect_eq(regions_seal(memory.regions, 0, 1, handle, &info), 0, "once more");
    cr_expect_eq(region_write(&memory.caller, place, 1, line), -EACCES);
    cr_expect_eq(region_write_masked(&memory.caller, place, 1, mask, line), -EACCES);
    cr_expect_eq(region_atomic(&memory.caller, place, OP_CAS, 3, words, &old), -EACCES);
    cr_expect_eq(regions_grow(memory.regions, 0, 1, handle, 3 * PAGE_BYTES, &info), -EACCES);
    cr_expect(memory_is_filled(&memory, handle, 0, 5));
    copy = snapshot(handle, "copy");
    cr_expect_eq(stat_of(copy).flags, 0);
    cr_expect_eq(memory_fill(&memory, copy, 0, 6), 0, "a clone of it is not sealed unless asked");
    cr_expect(memory_is_filled(&memory, handle, 0, 5));
    cr_expect_eq(destroy(handle), 0);
}

Test(region, freed_pages_are_wiped_before_another_tenant_sees_them)
{
    uint64_t handle;

    for (unsigned round = 0; round < 4; round++) {
        memory.caller.tenant = (uint16_t)(round + 1);
        handle = create("secret", 64); /* the whole pool, so every frame changes hands */
        for (uint64_t page = 0; page < 64; page++) {
            /* One byte makes the frame attached; the rest of it is the former owner's, or zero. */
            struct region_place place = {handle, page * PAGE_BYTES};
            uint8_t mask[8] = {1}, line[LINE_BYTES] = {0};

            cr_assert_eq(region_write_masked(&memory.caller, place, 1, mask, line), 0);
            cr_assert(memory_is_filled(&memory, handle, page, 0), "round %u page %" PRIu64, round, page);
            cr_assert_eq(memory_fill(&memory, handle, page, 0xee), 0);
        }
        cr_assert_eq(destroy(handle), 0);
        if (round % 2)
            memory_settle(&memory);
    }
}

static void expect_list(uint16_t tenant, const uint64_t *handles, unsigned count)
{
    struct region_info info;
    uint64_t cursor = 0;

    for (unsigned i = 0; i < count; i++) {
        cr_assert_eq(regions_next(memory.regions, 0, tenant, &cursor, &info), 0);
        cr_expect_eq(info.handle, handles[i]);
        cr_expect_eq(info.tenant, tenant);
    }
    cr_expect_eq(regions_next(memory.regions, 0, tenant, &cursor, &info), -ENOENT);
}

Test(region, lists_are_of_one_tenant_and_in_order)
{
    uint64_t cursor = UINT64_MAX, mine[3], theirs;
    struct region_info info;

    expect_list(1, NULL, 0);
    mine[0] = create("a", 1);
    memory.caller.tenant = 9;
    theirs = create("a", 1);
    memory.caller.tenant = 1;
    mine[1] = create("b", 1);
    mine[2] = create("c", 1);
    expect_list(1, mine, 3);
    expect_list(9, &theirs, 1);
    cr_expect_eq(regions_next(memory.regions, 0, 1, &cursor, &info), -ENOENT);
    cursor = (uint32_t)mine[1];
    cr_expect_eq(regions_next(memory.regions, 0, 1, &cursor, &info), 0);
    cr_expect_eq(info.handle, mine[1]);
    cr_expect_eq(destroy(mine[1]), 0);
    mine[1] = mine[2];
    expect_list(1, mine, 2);
}

static uint64_t create_ephemeral(const char *name)
{
    struct region_spec spec = memory_spec(name, PAGE_BYTES, REGION_EPHEMERAL);
    struct region_info info;

    cr_assert_eq(regions_create(memory.regions, 0, 1, &spec, &info), 0);
    cr_assert_eq(info.flags, REGION_EPHEMERAL);
    return info.handle;
}

/* Maintains as a worker would: whenever it wants to be called, up to `until_ns`. Returns how often. */
static unsigned maintain_until(uint64_t now_ns, uint64_t until_ns)
{
    unsigned calls = 0;

    while (now_ns <= until_ns) {
        uint64_t next_ns = executor_maintain(memory.executor, 0, now_ns);

        calls++;
        cr_assert(next_ns >= now_ns);
        now_ns = next_ns;
    }
    return calls;
}

Test(region, an_ephemeral_region_ends_when_it_is_forgotten)
{
    uint64_t start_ns = clock_now_ns(), s = NS_PER_S, kept = create_ephemeral("kept");
    uint64_t forgotten = create_ephemeral("forgotten"), plain = create("plain", 1);
    struct region_info info;

    cr_expect_lt(maintain_until(start_ns, start_ns + 50 * s), 12, "it does not spin meanwhile");
    cr_expect_eq(memory_read_status(&memory, kept, 0), 0);
    maintain_until(start_ns + 50 * s, start_ns + 80 * s);
    cr_expect_eq(regions_stat(memory.regions, 0, 1, forgotten, &info), -ESTALE);
    cr_expect_eq(memory_read_status(&memory, kept, 0), 0, "an operation on the handle kept it");
    maintain_until(start_ns + 80 * s, start_ns + 130 * s);
    cr_expect_eq(memory_read_status(&memory, kept, 0), 0);
    maintain_until(start_ns + 130 * s, start_ns + 240 * s);
    cr_expect_eq(memory_read_status(&memory, kept, 0), -ESTALE);
    cr_expect_eq(memory_read_status(&memory, plain, 0), 0);
    cr_expect_eq(executor_maintain(memory.executor, 0, start_ns + 241 * s), UINT64_MAX, "idle means idle");
    cr_expect_eq(free_pages(), 63);
}

Test(region, an_ephemeral_region_lives_for_its_time)
{
    uint64_t start_ns = clock_now_ns(), handle = create_ephemeral("a");

    maintain_until(start_ns, start_ns + 59 * NS_PER_S);
    cr_expect_eq(memory_read_status(&memory, handle, 0), 0);
}

Test(region, an_ephemeral_region_can_be_deleted_and_cloned_without_a_name)
{
    struct region_spec spec = memory_spec("", 0, REGION_EPHEMERAL);
    uint64_t handle = create_ephemeral("a");
    struct region_info first, second;

    cr_expect_eq(regions_clone(memory.regions, 0, 1, handle, &spec, &first), 0);
    cr_expect_eq(regions_clone(memory.regions, 0, 1, handle, &spec, &second), 0, "no name, no clash");
    cr_expect_eq(destroy(handle), 0);
    cr_expect_eq(destroy(first.handle), 0);
    cr_expect_eq(destroy(second.handle), 0);
    spec.flags = 0;
    handle = create("b", 1);
    cr_expect_eq(regions_clone(memory.regions, 0, 1, handle, &spec, &first), -EINVAL,
                 "nameless must be ephemeral");
}

Test(region, a_clone_and_its_origin_do_not_see_each_other)
{
    uint64_t origin = create("origin", 4), copy;

    cr_assert_eq(memory_fill(&memory, origin, 0, 1), 0);
    cr_assert_eq(memory_fill(&memory, origin, 1, 1), 0);
    copy = snapshot(origin, "copy");
    cr_expect_eq(stat_of(copy).resident_bytes, 2 * PAGE_BYTES);
    cr_expect_eq(stat_of(copy).bytes, 4 * PAGE_BYTES);
    cr_expect_eq(free_pages(), 60, "shared frames cost nothing");
    cr_assert_eq(memory_fill(&memory, origin, 0, 2), 0);
    cr_assert_eq(memory_fill(&memory, copy, 1, 3), 0);
    cr_assert_eq(memory_fill(&memory, origin, 2, 4), 0);
    cr_assert_eq(memory_fill(&memory, copy, 3, 5), 0);
    cr_expect(memory_is_filled(&memory, origin, 0, 2));
    cr_expect(memory_is_filled(&memory, origin, 1, 1));
    cr_expect(memory_is_filled(&memory, origin, 2, 4));
    cr_expect(memory_is_filled(&memory, origin, 3, 0));
    cr_expect(memory_is_filled(&memory, copy, 0, 1));
    cr_expect(memory_is_filled(&memory, copy, 1, 3));
    cr_expect(memory_is_filled(&memory, copy, 2, 0));
    cr_expect(memory_is_filled(&memory, copy, 3, 5));
    cr_expect_eq(free_pages(), 57);
    cr_expect(regions_valid(memory.regions));
    cr_assert_eq(destroy(origin), 0);
    memory_settle(&memory);
    cr_expect_eq(free_pages(), 61, "the clone holds three pages");
    cr_expect(memory_is_filled(&memory, copy, 0, 1), "it outlives its origin");
    cr_expect(memory_is_filled(&memory, copy, 1, 3));
    cr_assert_eq(memory_fill(&memory, copy, 0, 6), 0, "alone now, so in place");
    cr_expect_eq(free_pages(), 61);
}

Test(region, clones_of_clones_share_too)
{
    uint64_t origin = create("origin", 2), first, second;

    cr_assert_eq(memory_fill(&memory, origin, 0, 1), 0);
    first = snapshot(origin, "first");
    cr_assert_eq(memory_fill(&memory, first, 1, 2), 0);
    second = snapshot(first, "second");
    cr_assert_eq(memory_fill(&memory, first, 0, 3), 0);
    cr_expect(memory_is_filled(&memory, second, 0, 1));
    cr_expect(memory_is_filled(&memory, second, 1, 2));
    cr_expect(memory_is_filled(&memory, origin, 1, 0));
    cr_assert_eq(destroy(first), 0);
    memory_settle(&memory);
    cr_expect(memory_is_filled(&memory, second, 1, 2));
    cr_expect(memory_is_filled(&memory, origin, 0, 1));
    cr_expect(regions_valid(memory.regions));
    cr_assert_eq(destroy(second), 0);
    memory_settle(&memory);
    cr_expect_eq(free_pages(), 62);
    cr_assert_eq(memory_fill(&memory, origin, 0, 9), 0);
    cr_expect_eq(free_pages(), 62);
}

Test(region, a_full_pool_poisons_the_clone_and_never_the_origin)
{
    uint64_t origin = create("origin", 60), first, second, copied = 0, poisoned = 0;

    for (uint64_t page = 0; page < 60; page++)
        cr_assert_eq(memory_fill(&memory, origin, page, 1), 0);
    first = snapshot(origin, "first");
    second = snapshot(origin, "second");
    for (uint64_t page = 0; page < 60; page++)
        cr_assert_eq(memory_fill(&memory, origin, page, 2), 0, "page %" PRIu64, page);
    for (uint64_t page = 0; page < 60; page++) {
        cr_expect(memory_is_filled(&memory, origin, page, 2));
        if (memory_is_filled(&memory, first, page, 1) && memory_is_filled(&memory, second, page, 1))
            copied++;
        else if (memory_read_status(&memory, first, page) == -EHWPOISON &&
                 memory_read_status(&memory, second, page) == -EHWPOISON)
            poisoned++;
    }
    cr_expect_eq(copied, 4, "as long as there was room");
    cr_expect_eq(poisoned, 56);
    cr_expect_eq(stat_of(first).resident_bytes, 4 * PAGE_BYTES);
    cr_expect_eq(memory_fill(&memory, first, 59, 3), -EHWPOISON, "poison is not overwritten unnoticed");
    cr_expect(regions_valid(memory.regions));
}

Test(region, a_write_to_a_clone_in_a_full_pool_fails_and_loses_nothing)
{
    uint64_t origin = create("origin", 3), rest, copy;
    uint8_t lines[2 * LINE_BYTES];

    for (uint64_t page = 0; page < 3; page++)
        cr_assert_eq(memory_fill(&memory, origin, page, 1), 0);
    copy = snapshot(origin, "copy");
    rest = create("rest", 60);
    cr_assert_eq(memory_fill(&memory, copy, 0, 2), 0, "the last page there is");
    cr_expect_eq(memory_fill(&memory, copy, 1, 2), -ENOSPC);
    cr_expect(memory_is_filled(&memory, copy, 1, 1));
    memset(lines, 9, sizeof(lines));
    cr_expect_eq(region_write(&memory.caller, (struct region_place){copy, PAGE_BYTES - LINE_BYTES}, 2, lines),
                 -ENOSPC);
    cr_expect(memory_is_filled(&memory, copy, 0, 2), "a write over two pages has no half effect");
    cr_assert_eq(destroy(rest), 0);
    cr_expect_eq(memory_fill(&memory, copy, 1, 2), 0, "what was just deleted is room");
    cr_expect(memory_is_filled(&memory, origin, 1, 1));
}

Test(region, page_tables_of_clones_are_bounded)
{
    uint64_t origin = create("origin", 64), copy;
    char name[16];
    int error = 0;

    for (unsigned i = 0; i < 1000 && !error; i++) {
        snprintf(name, sizeof(name), "copy%u", i);
        error = memory_clone(&memory, origin, name, &copy);
    }
    cr_expect_eq(error, -ENOSPC);
}

Test(region, every_place_out_of_range_is_refused_whole)
{
    static const struct {
        uint64_t offset;
        unsigned lines;
        int error;
    } cases[] = {
        {2 * PAGE_BYTES - LINE_BYTES, 1, 0},
        {2 * PAGE_BYTES, 1, -ERANGE},
        {2 * PAGE_BYTES - LINE_BYTES, 2, -ERANGE},
        {0, 2 * PAGE_LINES, 0},
        {0, 2 * PAGE_LINES + 1, -ERANGE},
        {LINE_BYTES, 2 * PAGE_LINES, -ERANGE},
        {UINT64_MAX - LINE_BYTES + 1, 1, -ERANGE},
        {UINT64_MAX - LINE_BYTES + 1, 2, -ERANGE},
        {1ull << 63, 1, -ERANGE},
        {UINT64_MAX, 1, -EINVAL},
        {1, 1, -EINVAL},
        {63, 1, -EINVAL},
        {LINE_BYTES + 8, 1, -EINVAL},
    };
    uint8_t bytes[(2 * PAGE_LINES + 1) * LINE_BYTES], masks[(2 * PAGE_LINES + 1) * 8];
    uint64_t handle = create("a", 2);

    create("neighbour", 2);
    memset(masks, 0xff, sizeof(masks));
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct region_place place = {handle, cases[i].offset};

        cr_assert_eq(memory_fill(&memory, handle, 0, 1), 0);
        cr_assert_eq(memory_fill(&memory, handle, 1, 1), 0);
        memset(bytes, 2, sizeof(bytes));
        cr_expect_eq(region_write(&memory.caller, place, cases[i].lines, bytes), cases[i].error, "case %u",
                     i);
        cr_expect_eq(region_write_masked(&memory.caller, place, cases[i].lines, masks, bytes),
                     cases[i].error);
        if (cases[i].error)
            cr_expect(memory_is_filled(&memory, handle, 0, 1) && memory_is_filled(&memory, handle, 1, 1),
                      "case %u", i);
        cr_expect_eq(region_read(&memory.caller, place, cases[i].lines, bytes), cases[i].error, "case %u", i);
        if (!cases[i].error)
            cr_expect(bytes[0] == 2 && bytes[cases[i].lines * LINE_BYTES - 1] == 2);
    }
}

Test(region, atomics_want_their_natural_place)
{
    static const unsigned widths_log2[] = {2, 3, 4};
    struct wire_word words[2] = {0}, old;
    uint64_t handle = create("a", 1);

    for (unsigned i = 0; i < 3; i++) {
        unsigned width = 1u << widths_log2[i];

        for (unsigned offset = 0; offset < 2 * LINE_BYTES; offset++)
            cr_expect_eq(region_atomic(&memory.caller, (struct region_place){handle, offset}, OP_CAS,
                                       widths_log2[i], words, &old),
                         offset % width ? -EINVAL : 0);
        cr_expect_eq(region_atomic(&memory.caller, (struct region_place){handle, PAGE_BYTES - width}, OP_CAS,
                                   widths_log2[i], words, &old),
                     0);
        cr_expect_eq(region_atomic(&memory.caller, (struct region_place){handle, PAGE_BYTES}, OP_CAS,
                                   widths_log2[i], words, &old),
                     -ERANGE);
        cr_expect_eq(region_atomic(&memory.caller, (struct region_place){handle, UINT64_MAX - width + 1},
                                   OP_CAS, widths_log2[i], words, &old),
                     -ERANGE);
    }
}

Test(region, the_invariants_notice_damage)
{
    uint64_t origin = create("origin", 2), frame;

    cr_assert_eq(memory_fill(&memory, origin, 0, 1), 0);
    snapshot(origin, "copy");
    cr_assert(regions_valid(memory.regions));
    frame = memory.pool->fresh - 1;
    memory.pool->refs[frame]++;
    cr_expect(!regions_valid(memory.regions));
    memory.pool->refs[frame]--;
    memory.pool->promised++;
    cr_expect(!regions_valid(memory.regions));
    memory.pool->promised--;
    memory.pool->refs[frame] &= ~POOL_CHARGED;
    cr_expect(!regions_valid(memory.regions));
    memory.pool->refs[frame] |= POOL_CHARGED;
}
