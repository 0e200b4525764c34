/* zipf_law.c - see zipf_law.h */
#include "zipf_law.h"

#include <math.h>

#include "workload.h"

#define EXPONENT 0.99

static double h(double x)
{
    return (pow(x, 1 - EXPONENT) - 1) / (1 - EXPONENT);
}

static double h_inverse(double y)
{
    return pow(1 + y * (1 - EXPONENT), 1 / (1 - EXPONENT));
}

struct zipf zipf_of(uint64_t count)
{
    return (struct zipf){
        .count = count,
        .h_first = h(1.5) - 1,
        .h_last = h((double)count + 0.5),
        .s = 2 - h_inverse(h(2.5) - pow(2, -EXPONENT)),
    };
}

uint64_t zipf_next(const struct zipf *zipf, uint64_t *state)
{
    for (;;) {
        double u = zipf->h_last + random_unit(state) * (zipf->h_first - zipf->h_last);
        double x = h_inverse(u);
        uint64_t rank = (uint64_t)(x + 0.5);

        if (rank < 1)
            rank = 1;
        if (rank > zipf->count)
            rank = zipf->count;
        if ((double)rank - x <= zipf->s || u >= h((double)rank + 0.5) - pow((double)rank, -EXPONENT))
            return rank;
    }
}
