/* stream.c - how many bytes a second do copy, scale, add and triad of long vectors move?
 *
 * The four kernels of STREAM, each of which is timed several times, the first not counted, and the validation
 * of the vectors against the same arithmetic on single numbers. Source: McCalpin, Memory Bandwidth and
 * Machine Balance in Current High Performance Computers (1995).
 */
#include <math.h>

#include "workload.h"

#define SCALAR 3.0

enum kernel { COPY, SCALE, ADD, TRIAD, KERNELS };
static const char *const names[KERNELS] = {"copy", "scale", "add", "triad"};
static const unsigned vectors_moved[KERNELS] = {2, 2, 3, 3};

struct vectors {
    double *a, *b, *c;
    uint64_t count;
};

static void run(enum kernel kernel, const struct vectors *v)
{
    switch (kernel) {
    case COPY:
        for (uint64_t i = 0; i < v->count; i++)
            v->c[i] = v->a[i];
        return;
    case SCALE:
        for (uint64_t i = 0; i < v->count; i++)
            v->b[i] = SCALAR * v->c[i];
        return;
    case ADD:
        for (uint64_t i = 0; i < v->count; i++)
            v->c[i] = v->a[i] + v->b[i];
        return;
    case TRIAD:
        for (uint64_t i = 0; i < v->count; i++)
            v->a[i] = v->b[i] + SCALAR * v->c[i];
        return;
    case KERNELS:
        return;
    }
}

static void check(const char *name, const double *vector, uint64_t count, double expected)
{
    double sum = 0;

    for (uint64_t i = 0; i < count; i++)
        sum += fabs(vector[i] - expected);
    if (!(sum / (double)count <= 1e-13 * fabs(expected)))
        workload_fail("vector %s is off by %g on average, %g were expected", name, sum / (double)count,
                      expected);
}

static void validate(const struct vectors *v, uint64_t rounds)
{
    double a = 1, b = 2, c = 0;
    struct vectors one = {&a, &b, &c, 1};

    for (uint64_t round = 0; round < rounds; round++)
        for (enum kernel kernel = COPY; kernel < KERNELS; kernel++)
            run(kernel, &one);
    check("a", v->a, v->count, a);
    check("b", v->b, v->count, b);
    check("c", v->c, v->count, c);
}

int main(int argc, char **argv)
{
    struct workload workload = {
        .question = "how many bytes a second do copy, scale, add and triad of long vectors move?",
        .bytes = 64ull << 20,
        .work = 5, /* rounds */
    };
    double best[KERNELS] = {INFINITY, INFINITY, INFINITY, INFINITY};
    struct vectors v;

    workload_begin(&workload, argc, argv);
    if (workload.work < 2)
        workload_fail("--work: at least 2 rounds, since the first is not counted");
    v.count = workload.bytes / 3 / sizeof(double);
    v.a = workload_memory(&workload, v.count * sizeof(double));
    v.b = workload_memory(&workload, v.count * sizeof(double));
    v.c = workload_memory(&workload, v.count * sizeof(double));
    for (uint64_t i = 0; i < v.count; i++) {
        v.a[i] = 1;
        v.b[i] = 2;
    }
    for (uint64_t round = 0; round < workload.work; round++)
        for (enum kernel kernel = COPY; kernel < KERNELS; kernel++) {
            double start = seconds_now(), elapsed;

            run(kernel, &v);
            elapsed = seconds_now() - start;
            if (round > 0 && elapsed < best[kernel])
                best[kernel] = elapsed;
        }
    for (enum kernel kernel = COPY; kernel < KERNELS; kernel++)
        workload_result(names[kernel],
                        (double)(vectors_moved[kernel] * v.count * sizeof(double)) / best[kernel] / 1e6,
                        "MB/s");
    validate(&v, workload.work);
    return 0;
}
