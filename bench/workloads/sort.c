/* sort.c - how long does it take to sort random numbers in place?
 *
 * Quicksort (median of three, the smaller part first, insertion sort for short parts): large sequential
 * sweeps that become local as the parts shrink. Afterwards the numbers must be in order, and still the same
 * ones.
 */
#include "workload.h"

#define SHORT 24

static void swap(uint64_t *a, uint64_t *b)
{
    uint64_t was = *a;

    *a = *b;
    *b = was;
}

static void insertion_sort(uint64_t *numbers, uint64_t count)
{
    for (uint64_t i = 1; i < count; i++) {
        uint64_t number = numbers[i], at = i;

        for (; at > 0 && numbers[at - 1] > number; at--)
            numbers[at] = numbers[at - 1];
        numbers[at] = number;
    }
}

static uint64_t median_of_three(const uint64_t *numbers, uint64_t count)
{
    uint64_t a = numbers[0], b = numbers[count / 2], c = numbers[count - 1];

    if ((a <= b) == (b <= c))
        return b;
    return (b <= a) == (a <= c) ? a : c;
}

/* Hoare's: everything up to the result is at most the pivot, everything behind it at least. */
static uint64_t partition(uint64_t *numbers, uint64_t count)
{
    uint64_t pivot = median_of_three(numbers, count);
    int64_t i = -1, j = (int64_t)count;

    for (;;) {
        do
            i++;
        while (numbers[i] < pivot);
        do
            j--;
        while (numbers[j] > pivot);
        if (i >= j)
            return (uint64_t)j + 1;
        swap(&numbers[i], &numbers[j]);
    }
}

static void quicksort(uint64_t *numbers, uint64_t count)
{
    while (count > SHORT) {
        uint64_t left = partition(numbers, count);

        if (left == count)
            left--; /* the pivot was the largest, and stands last */
        if (left < count - left) {
            quicksort(numbers, left);
            numbers += left;
            count -= left;
        } else {
            quicksort(numbers + left, count - left);
            count = left;
        }
    }
    insertion_sort(numbers, count);
}

int main(int argc, char **argv)
{
    struct workload workload = {
        .question = "how long does it take to sort random numbers in place?",
        .bytes = 64ull << 20,
        .seed = 1,
    };
    uint64_t count, *numbers, sum = 0, mixed = 0;
    double start;

    workload_begin(&workload, argc, argv);
    count = workload.bytes / sizeof(*numbers);
    numbers = workload_memory(&workload, count * sizeof(*numbers));
    for (uint64_t i = 0; i < count; i++) {
        numbers[i] = random64(&workload.seed);
        sum += numbers[i];
        mixed += mix64(numbers[i]);
    }
    start = seconds_now();
    quicksort(numbers, count);
    workload_result("sort", seconds_now() - start, "s");
    for (uint64_t i = 0; i < count; i++) {
        sum -= numbers[i];
        mixed -= mix64(numbers[i]);
        if (i > 0 && numbers[i - 1] > numbers[i])
            workload_fail("number %lu is out of order", (unsigned long)i);
    }
    if (sum != 0 || mixed != 0)
        workload_fail("these are not the numbers that were to be sorted");
    return 0;
}
