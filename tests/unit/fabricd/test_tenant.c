/* test_tenant.c - whose key is it */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "atomic.h"
#include "tenant.h"

static struct tenant make(uint16_t id, uint8_t key, uint8_t previous)
{
    struct tenant tenant = {.id = id, .quota_bytes = id, .has_previous_key = previous != 0};

    snprintf(tenant.name, sizeof(tenant.name), "t%u", id);
    memset(tenant.public_key, key, sizeof(tenant.public_key));
    memset(tenant.previous_key, previous, sizeof(tenant.previous_key));
    return tenant;
}

static const struct tenant *find(uint8_t byte)
{
    uint8_t key[NOISE_KEY_BYTES];

    memset(key, byte, sizeof(key));
    return tenants_find_by_key(key);
}

Test(tenant, nobody_before_the_first_table, .fini = tenants_clear)
{
    cr_assert_null(find(1));
    cr_assert_null(tenants_find_by_id(1));
    cr_assert_eq(load_acquire(tenants_generation()), 0);
}

Test(tenant, finds_by_either_key_and_by_id, .fini = tenants_clear)
{
    const struct tenant tenants[] = {make(5, 1, 0), make(6, 2, 3)};
    unsigned count;

    cr_assert_eq(tenants_publish(tenants, 2, false), 0);
    cr_assert_eq(find(1)->id, 5);
    cr_assert_eq(find(2)->id, 6);
    cr_assert_eq(find(3)->id, 6);
    cr_assert_null(find(4));
    cr_assert_str_eq(tenants_find_by_id(6)->name, "t6");
    cr_assert_null(tenants_find_by_id(7));
    tenants_list(&count);
    cr_assert_eq(count, 2);
}

/* The previous key of a tenant that has none is zeros: that must not let zeros in. */
Test(tenant, a_missing_previous_key_matches_nothing, .fini = tenants_clear)
{
    const struct tenant tenant = make(1, 9, 0);

    cr_assert_eq(tenants_publish(&tenant, 1, false), 0);
    cr_assert_null(find(0));
}

Test(tenant, an_empty_table_lets_nobody_in, .fini = tenants_clear)
{
    cr_assert_eq(tenants_publish(NULL, 0, false), 0);
    cr_assert_null(find(1));
}

Test(tenant, an_open_table_lets_everybody_in_as_one, .fini = tenants_clear)
{
    cr_assert_eq(tenants_publish(NULL, 0, true), 0);
    cr_assert_eq(find(77)->id, TENANT_OPEN_ID);
    cr_assert_str_eq(find(78)->name, TENANT_OPEN_NAME);
    cr_assert_eq(find(1)->quota_bytes, TENANT_QUOTA_UNLIMITED);
}

/* Key rotation: the new key comes, the old one stays as previous, then goes. */
Test(tenant, a_new_table_takes_the_place_of_the_old, .fini = tenants_clear)
{
    const struct tenant before = make(1, 10, 0), during = make(1, 11, 10), after = make(1, 11, 0);

    cr_assert_eq(tenants_publish(&before, 1, false), 0);
    cr_assert_eq(tenants_publish(&during, 1, false), 0);
    cr_assert_eq(find(10)->id, 1);
    cr_assert_eq(find(11)->id, 1);
    cr_assert_eq(tenants_publish(&after, 1, false), 0);
    cr_assert_null(find(10));
    cr_assert_eq(load_acquire(tenants_generation()), 3);
}

/* ---- lookups while tables change ---- */

#define RELOADS 300

static bool done;

/* Tenant 1 is in every table, tenant 2 in every other: the first must never be missed, and neither may ever
 * come with the other's key. */
static void *look(void *missed)
{
    while (!load_acquire(&done)) {
        const struct tenant *first = find(1), *second = find(2);

        if (!first || first->id != 1 || (second && second->id != 2))
            *(bool *)missed = true;
    }
    return NULL;
}

Test(tenant, lookups_see_whole_tables_during_reloads, .fini = tenants_clear)
{
    const struct tenant both[] = {make(2, 2, 0), make(1, 1, 0)};
    bool missed = false;
    pthread_t looker;

    cr_assert_eq(tenants_publish(both, 2, false), 0);
    cr_assert_eq(pthread_create(&looker, NULL, look, &missed), 0);
    for (unsigned i = 0; i < RELOADS; i++)
        cr_assert_eq(tenants_publish(&both[i % 2], 2 - i % 2, false), 0);
    store_release(&done, true);
    pthread_join(looker, NULL);
    cr_assert_not(missed);
}
