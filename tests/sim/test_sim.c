/* test_sim.c - simulated clusters under all kinds of faults; with arguments of its own, one by hand */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broken.h"
#include "clock.h"
#include "runner.h"

#define FIXED_SEEDS  12 /* between them all kinds of faults happen */
#define BROKEN_SEEDS 300
#if defined(__SANITIZE_ADDRESS__)
#define SECONDS 25
#else
#define SECONDS 45 /* in all: after the fixed seeds come others, each time */
#endif

static void must_pass(uint64_t seed, struct scenario_result *total)
{
    const struct scenario_options options = {.seed = seed};
    struct scenario_result result;
    char why[4096];

    cr_expect_eq(runner_run(&options, &result, why, sizeof(why)), RUN_PASSED,
                 "%s\nsee it again with: sim.sim --seed %llu --trace", why, (unsigned long long)seed);
    runner_add(total, &result);
}

static uint64_t random_seed(void)
{
    const char *text = getenv("CXE_TEST_SEED");

    return text ? strtoull(text, NULL, 0) * 1000003u : clock_now_ns() % 1000000007u;
}

Test(sim, clusters_under_faults_keep_their_promises)
{
    uint64_t began_ns = clock_now_ns(), seed = random_seed();
    struct scenario_result total = {0};
    unsigned runs = 0;

    printf("random seeds from %llu\n", (unsigned long long)seed);
    for (; runs < FIXED_SEEDS; runs++)
        must_pass(runs + 1, &total);
    for (; clock_now_ns() - began_ns < SECONDS * NS_PER_S; runs++)
        must_pass(seed++, &total);
    runner_print(&total, runs, clock_now_ns() - began_ns);
    cr_assert_null(runner_missing(&total), "not one %s in %u runs", runner_missing(&total), runs);
}

Test(sim, the_same_seed_is_the_same_run)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        const struct scenario_options options = {.seed = seed};
        struct scenario_result first, second;
        char why[4096];

        cr_assert_eq(runner_run(&options, &first, why, sizeof(why)), RUN_PASSED, "%s", why);
        cr_assert_eq(runner_run(&options, &second, why, sizeof(why)), RUN_PASSED, "%s", why);
        cr_assert_arr_eq(&first, &second, sizeof(first), "seed %llu", (unsigned long long)seed);
    }
}

/* How many seeds it takes to find a defect. */
static unsigned seeds_until_found(const char *name)
{
    for (unsigned seed = 1; seed <= BROKEN_SEEDS; seed++) {
        const struct scenario_options options = {.seed = seed, .broken = name};
        struct scenario_result result;
        char why[4096];

        if (runner_run(&options, &result, why, sizeof(why)) == RUN_FAILED) {
            printf("%s: seed %u: %s", name, seed, why);
            return seed;
        }
    }
    return 0;
}

Test(sim, what_is_broken_on_purpose_is_found)
{
    for (unsigned i = 0; broken_name(i); i++)
        cr_expect_gt(seeds_until_found(broken_name(i)), 0, "%s was not found", broken_name(i));
}

/* The test framework's own arguments differ from ours. */
static bool by_hand(int argc, char **argv)
{
    return argc > 1 && (strcmp(argv[1], "--seed") == 0 || strcmp(argv[1], "--seconds") == 0);
}

int main(int argc, char **argv)
{
    struct criterion_test_set *tests;
    int status = 0;

    if (by_hand(argc, argv))
        return runner_main(argc, argv);
    tests = criterion_initialize();
    if (criterion_handle_args(argc, argv, true))
        status = !criterion_run_all_tests(tests);
    criterion_finalize(tests);
    return status;
}
