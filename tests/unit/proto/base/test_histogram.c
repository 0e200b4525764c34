/* test_histogram.c - quantiles against a sorted array */
#include "histogram.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"

#define VALUES 20000

static uint64_t values[VALUES];

static uint64_t seed;

static uint64_t draw(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static void choose_seed(void)
{
    const char *given = getenv("CXE_TEST_SEED");

    seed = given ? strtoull(given, NULL, 10) : clock_now_ns();
    if (seed == 0)
        seed = 1;
    fprintf(stderr, "CXE_TEST_SEED=%llu repeats this\n", (unsigned long long)seed);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* The histogram's answer is at least the true value, and above it by at most 1/64. */
static void expect_quantiles(const struct histogram *histogram, const char *what)
{
    static const double quantiles[] = {0, 0.001, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 0.9999, 1};
    uint64_t start = seed;

    qsort(values, VALUES, sizeof(values[0]), compare);
    for (size_t i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++) {
        uint64_t rank = (uint64_t)(quantiles[i] * VALUES), exact, got;

        exact = values[rank < VALUES ? rank : VALUES - 1];
        got = histogram_quantile(histogram, quantiles[i]);
        cr_expect(got >= exact && got - exact <= exact / 64, "%s, quantile %g: %llu for %llu, seed near %llu",
                  what, quantiles[i], (unsigned long long)got, (unsigned long long)exact,
                  (unsigned long long)start);
    }
    cr_expect_eq(histogram_quantile(histogram, 1), values[VALUES - 1], "the maximum is exact");
    cr_expect_eq(histogram->max, values[VALUES - 1]);
}

/* Magnitudes of all sizes: the number of bits is uniform. */
Test(histogram, any_magnitude)
{
    static struct histogram histogram;

    choose_seed();
    for (int i = 0; i < VALUES; i++) {
        values[i] = draw() >> (draw() % 64);
        histogram_add(&histogram, values[i]);
    }
    cr_expect_eq(histogram.count, VALUES);
    expect_quantiles(&histogram, "any magnitude");
}

Test(histogram, latencies)
{
    static struct histogram histogram;
    uint64_t sum = 0;

    choose_seed();
    for (int i = 0; i < VALUES; i++) {
        values[i] = 5000 + draw() % 3000 + (draw() % 100 == 0 ? draw() % 1000000 : 0);
        sum += values[i];
        histogram_add(&histogram, values[i]);
    }
    cr_expect_eq(histogram.sum, sum);
    expect_quantiles(&histogram, "latencies");
}

Test(histogram, small_values_are_exact)
{
    for (uint64_t value = 0; value < 64; value++) {
        struct histogram *histogram = calloc(1, sizeof(*histogram));

        histogram_add(histogram, value);
        histogram_add(histogram, 1000);
        cr_expect_eq(histogram_quantile(histogram, 0), value);
        free(histogram);
    }
}

Test(histogram, every_power_of_two_and_its_neighbours)
{
    for (unsigned bit = 0; bit < 64; bit++)
        for (int neighbour = -1; neighbour <= 1; neighbour++) {
            struct histogram *histogram = calloc(1, sizeof(*histogram));
            uint64_t value = (1ull << bit) + (uint64_t)neighbour, got;

            histogram_add(histogram, value);
            histogram_add(histogram, UINT64_MAX);
            got = histogram_quantile(histogram, 0);
            cr_expect(got >= value && got - value <= value / 64, "%llu gives %llu", (unsigned long long)value,
                      (unsigned long long)got);
            free(histogram);
        }
}

Test(histogram, empty)
{
    static struct histogram histogram;

    cr_expect_eq(histogram_quantile(&histogram, 0.5), 0);
    cr_expect_eq(histogram_quantile(&histogram, 1), 0);
}

Test(histogram, two_merged_are_as_one)
{
    static struct histogram both, even, odd;

    choose_seed();
    for (int i = 0; i < VALUES; i++) {
        uint64_t value = draw() >> (draw() % 64);

        histogram_add(&both, value);
        histogram_add(i % 2 ? &odd : &even, value);
    }
    histogram_merge(&even, &odd);
    cr_expect_arr_eq(&both, &even, sizeof(both));
}

#define THREADS 4
static struct histogram shared;

static void *add_many(void *argument)
{
    uint64_t base = (uint64_t)(uintptr_t)argument;

    for (uint64_t i = 0; i < VALUES; i++)
        histogram_add(&shared, base * VALUES + i);
    return NULL;
}

Test(histogram, no_value_is_lost_between_threads)
{
    pthread_t threads[THREADS];
    uint64_t total = 0;

    for (uintptr_t i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, add_many, (void *)i), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        total += shared.buckets[i];
    cr_expect_eq(shared.count, THREADS * VALUES);
    cr_expect_eq(total, THREADS * VALUES);
    cr_expect_eq(shared.max, THREADS * VALUES - 1);
}
