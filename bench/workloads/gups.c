/* gups.c - how many random words of a large table can be updated in a second?
 *
 * HPC Challenge RandomAccess: T[r mod size] ^= r for the sequence r of a polynomial over GF(2). Applying
 * every update a second time must bring back what was there, which is the benchmark's own verification; it
 * allows one wrong word in a hundred for racing threads, and we have one thread and allow none.
 */
#include <inttypes.h>

#include "workload.h"

#define POLYNOMIAL 7u

static uint64_t next(uint64_t r)
{
    return r << 1 ^ ((int64_t)r < 0 ? POLYNOMIAL : 0);
}

static uint64_t largest_power_of_two(uint64_t most)
{
    return 1ull << (63 - __builtin_clzll(most));
}

/* Returns where the sequence stands. */
static uint64_t update(uint64_t *table, uint64_t mask, uint64_t count, uint64_t r)
{
    for (uint64_t i = 0; i < count; i++) {
        r = next(r);
        table[r & mask] ^= r;
    }
    return r;
}

int main(int argc, char **argv)
{
    struct workload workload = {
        .question = "how many random words of a large table can be updated in a second?",
        .bytes = 64ull << 20,
        .seed = 1,
    };
    uint64_t words, updates, done = 0, wrong = 0, r, *table;
    double start, elapsed;

    workload_begin(&workload, argc, argv);
    words = largest_power_of_two(workload.bytes / sizeof(*table));
    updates = workload.work ? workload.work : 4 * words;
    table = workload_memory(&workload, words * sizeof(*table));
    for (uint64_t i = 0; i < words; i++)
        table[i] = i;
    r = workload.seed;
    start = seconds_now();
    do {
        r = update(table, words - 1, updates, r);
        done += updates;
        elapsed = seconds_now() - start;
    } while (elapsed < LEAST_SECONDS);
    workload_result("updates", (double)done / elapsed, "updates/s");
    update(table, words - 1, done, workload.seed);
    for (uint64_t i = 0; i < words; i++)
        wrong += table[i] != i;
    if (wrong)
        workload_fail("%" PRIu64 " of %" PRIu64 " words are wrong", wrong, words);
    return 0;
}
