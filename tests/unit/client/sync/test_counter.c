/* test_counter.c - a counter's sum, and waiting for it */
#include <criterion/criterion.h>
#include <pthread.h>

#include "cxe_sync.h"
#include "fake_region.h"
#include "limits.h"

#define AT 128

static struct cxe_region *region;

static void set_up(void)
{
    region = fake_region_open(4096, 1);
    cr_assert_eq(cxe_counter_init(region, AT, 5), 0);
}

static void tear_down(void)
{
    fake_region_close(region);
}

TestSuite(counter, .init = set_up, .fini = tear_down, .timeout = 60);

Test(counter, it_adds)
{
    uint64_t value;

    cr_assert_eq(cxe_counter_read(region, AT, &value), 0);
    cr_assert_eq(value, 5);
    cr_assert_eq(cxe_counter_add(region, AT, 7, &value), 0);
    cr_assert_eq(value, 12);
    cr_assert_eq(cxe_counter_add(region, AT, UINT64_MAX, &value), 0);
    cr_assert_eq(value, 11, "it wraps");
    cr_assert_eq(cxe_counter_add(region, AT + 8, 1, &value), -EINVAL, "a counter has a line of its own");
    cr_assert_eq(cxe_counter_read(region, 4096, &value), -ERANGE);
}

Test(counter, what_is_reached_is_not_waited_for)
{
    uint64_t value;

    cr_assert_eq(cxe_counter_wait(region, AT, 5, 0, &value), 0);
    cr_assert_eq(value, 5);
    cr_assert_eq(cxe_counter_wait(region, AT, 6, 0, &value), -ETIMEDOUT);
    cr_assert_eq(cxe_counter_wait(region, AT, 6, NS_PER_MS, &value), -ETIMEDOUT);
}

struct watcher {
    uint64_t least, seen;
    int result;
    pthread_t thread;
};

static void *watch(void *argument)
{
    struct watcher *watcher = argument;

    watcher->result = cxe_counter_wait(region, AT, watcher->least, UINT64_MAX, &watcher->seen);
    return NULL;
}

Test(counter, each_waiter_wakes_at_its_number)
{
    struct watcher watchers[4];
    uint64_t value;

    for (unsigned i = 0; i < 4; i++) {
        watchers[i] = (struct watcher){.least = 6 + i, .result = 1};
        pthread_create(&watchers[i].thread, NULL, watch, &watchers[i]);
    }
    fake_region_await_sleepers(region, 4);
    for (unsigned i = 0; i < 4; i++) {
        cr_assert_eq(cxe_counter_add(region, AT, 1, &value), 0);
        pthread_join(watchers[i].thread, NULL);
        cr_assert_eq(watchers[i].result, 0);
        cr_assert_eq(watchers[i].seen, 6 + i);
        fake_region_await_sleepers(region, 3 - i);
    }
}
