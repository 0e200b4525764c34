/* test_space.c - the pages of the pool's mapping: a seeded run against an array of bytes */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The preload library hides its functions. */
#include "../../../../client/preload/space.c"

#define PAGES 1000 /* not a multiple of a word's */

static uint64_t words[(PAGES + 63) / 64];
static struct space space;

static void fresh(void)
{
    memset(words, 0, sizeof(words));
    space_init(&space, words, PAGES);
}

Test(space, takes_the_lowest_that_fits)
{
    size_t a, b, c;

    fresh();
    cr_assert_eq(space_take(&space, 10, &a), 0);
    cr_assert_eq(space_take(&space, 70, &b), 0);
    cr_assert_eq(space_take(&space, 5, &c), 0);
    cr_assert(a == 0 && b == 10 && c == 80);
    space_give(&space, a, 10);
    cr_assert_eq(space_take(&space, 11, &a), 0);
    cr_assert_eq(a, 85);
    cr_assert_eq(space_take(&space, 4, &b), 0);
    cr_assert_eq(b, 0);
    cr_assert(space_valid(&space));
}

Test(space, fills_to_the_last_page)
{
    size_t first;

    fresh();
    cr_assert_eq(space_take(&space, PAGES + 1, &first), -ENOMEM);
    cr_assert_eq(space_take(&space, PAGES, &first), 0);
    cr_assert_eq(space_take(&space, 1, &first), -ENOMEM);
    space_give(&space, PAGES - 1, 1);
    cr_assert_eq(space_take(&space, 2, &first), -ENOMEM);
    cr_assert_eq(space_take(&space, 1, &first), 0);
    cr_assert_eq(first, PAGES - 1);
    cr_assert(space_valid(&space));
}

Test(space, takes_exactly_there_or_nothing)
{
    fresh();
    cr_assert_eq(space_take_at(&space, 100, 200), 0);
    cr_assert_eq(space_take_at(&space, 299, 10), -EEXIST);
    cr_assert_eq(space_take_at(&space, 50, 51), -EEXIST);
    cr_assert_eq(space.taken_pages, 200);
    cr_assert_eq(space_take_at(&space, 300, PAGES - 300), 0);
    cr_assert(space_taken(&space, 100, PAGES - 100));
    cr_assert_not(space_taken(&space, 99, 2));
    cr_assert(space_valid(&space));
}

Test(space, giving_twice_changes_nothing)
{
    size_t first;

    fresh();
    cr_assert_eq(space_take(&space, 100, &first), 0);
    space_give(&space, 10, 20);
    space_give(&space, 0, 64);
    cr_assert_eq(space.taken_pages, 36);
    space_give(&space, 0, PAGES);
    cr_assert_eq(space.taken_pages, 0);
    cr_assert(space_valid(&space));
}

/* The lowest place with so many free pages, by looking at every one. */
static long lowest(const uint8_t *model, size_t count)
{
    for (size_t first = 0; first + count <= PAGES; first++)
        if (!memchr(model + first, 1, count))
            return (long)first;
    return -1;
}

Test(space, agrees_with_a_model)
{
    const char *text = getenv("CXE_TEST_SEED");
    unsigned seed = text ? (unsigned)strtoul(text, NULL, 10) : 20260601;
    uint8_t model[PAGES] = {0};

    cr_log_info("seed %u", seed);
    srand(seed);
    fresh();
    for (unsigned step = 0; step < 20000; step++) {
        size_t first = (size_t)rand() % PAGES, count = 1 + (size_t)rand() % 150;

        if (rand() % 2) {
            long expected = lowest(model, count);
            size_t got;
            int error = space_take(&space, count, &got);

            cr_assert_eq(error, expected < 0 ? -ENOMEM : 0, "step %u", step);
            cr_assert(error || got == (size_t)expected, "step %u", step);
            if (!error)
                memset(model + got, 1, count);
        } else {
            count = count < PAGES - first ? count : PAGES - first;
            space_give(&space, first, count);
            memset(model + first, 0, count);
        }
        if (step % 64 == 0)
            cr_assert(space_valid(&space), "step %u", step);
    }
    for (size_t page = 0; page < PAGES; page++)
        cr_assert_eq(space_taken(&space, page, 1), model[page], "page %zu", page);
}
