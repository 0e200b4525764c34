/* test_park.c - requests that wait: kept whole, bounded in number, and freed only when nobody can name them
 */
#include "park.h"

#include <criterion/criterion.h>
#include <string.h>

#include "memory_fixture.h"
#include "region_coherent.h"

static struct memory memory;
static struct park park;
static struct parked *list;
static uint64_t handle;

static void setup(void)
{
    memory_open(&memory, 16, 1);
    cr_assert_eq(memory_create(&memory, "r", 4, &handle), 0);
    cr_assert_eq(region_make_coherent(&memory.caller, handle), 0);
    cr_assert_eq(park_init(&park, 0), 0);
}

static void teardown(void)
{
    park_fini(&park);
    memory_close(&memory);
}

TestSuite(park, .init = setup, .fini = teardown, .timeout = 60);

/* Parks a request that waits for line 0. */
static struct parked *park_one(uint8_t fill)
{
    struct execution execution = {.done = fill, .result_bytes = 3};
    struct coherence_waiter *waiter = park_waiter(&park, 1);
    struct coherence *coherence;
    uint8_t body[100], values[20];
    struct parked *parked;

    memset(body, fill, sizeof(body));
    memset(values, fill + 1, sizeof(values));
    cr_assert_eq(region_find_coherence(&memory.caller, handle, &coherence), 0);
    coherence_lock(coherence);
    coherence_wait_line(coherence, 0, waiter);
    coherence_unlock(coherence);
    parked = park_keep(&park, 1, &list, body, sizeof(body), values, sizeof(values), &execution);
    cr_assert_eq(&parked->waiter, waiter, "what waits stays where it is");
    parked->session = (struct session *)&list;
    return parked;
}

static void store_to_line(void)
{
    struct coherence *coherence;

    cr_assert_eq(region_find_coherence(&memory.caller, handle, &coherence), 0);
    coherence_lock(coherence);
    coherence_stored(coherence, 0, 1);
    coherence_unlock(coherence);
}

Test(park, a_request_is_kept_as_it_is)
{
    struct parked *first = park_one(1), *second = park_one(2);

    cr_expect_neq(first, second);
    cr_expect_eq(list, second);
    cr_expect_eq(second->next, first);
    cr_expect_eq(first->body_bytes, 100);
    cr_expect_eq(first->body[99], 1);
    cr_expect_eq(first->values[19], 2);
    cr_expect_eq(first->execution.done, 1);
    cr_expect_eq(second->body[0], 2);
    cr_expect_eq(park.all.count, 2);
    park_drop(&park, second);
    cr_expect_eq(list, first);
    park_drop(&park, first);
    cr_expect_null(list);
    cr_expect_eq(park.all.count, 0);
    cr_expect_eq(park.all.bytes, 0);
}

Test(park, who_comes_out_of_the_mailbox_goes_on)
{
    struct parked *parked = park_one(1);
    struct mail *chain;

    store_to_line();
    chain = mailbox_take(memory.mailboxes, 0);
    cr_expect_eq(mailbox_next(&chain), &parked->waiter.mail);
    cr_expect(park_came_out(parked));
    park_drop(&park, parked);
}

/* The address sanitizer knows whether this is true. */
Test(park, who_was_dropped_stays_until_he_comes_out_of_the_mailbox)
{
    struct parked *parked = park_one(1);
    struct mail *chain;

    store_to_line();
    park_drop(&park, parked);
    cr_expect_eq(park.all.count, 0);
    chain = mailbox_take(memory.mailboxes, 0);
    cr_assert_eq(mailbox_next(&chain), &parked->waiter.mail);
    cr_expect_not(park_came_out(parked));
}

Test(park, nobody_waits_for_what_was_dropped)
{
    park_drop(&park, park_one(1));
    store_to_line();
    cr_expect_null(mailbox_take(memory.mailboxes, 0));
}

Test(park, there_is_an_end_to_it)
{
    park.all.bytes = PARK_BYTES_MAX;
    cr_expect_null(park_waiter(&park, 1));
    park.all.bytes = 0;
    park.all.count = PARK_REQUESTS_MAX;
    cr_expect_null(park_waiter(&park, 1));
    park.all.count = 0;
    cr_expect_not_null(park_waiter(&park, 1));
}

Test(park, one_tenant_leaves_room_for_others)
{
    unsigned count = 0;

    for (; count < PARK_REQUESTS_MAX && park_waiter(&park, 1); count++)
        park_one(1);
    cr_expect_eq(count, PARK_REQUESTS_MAX / 2);
    cr_expect_null(park_waiter(&park, 1));
    cr_expect_not_null(park_waiter(&park, 2));
    while (list)
        park_drop(&park, list);
    cr_expect_not_null(park_waiter(&park, 1));
    cr_expect_eq(park.all.bytes, 0);
    cr_expect_eq(park.tenants[1].bytes, 0);
}
