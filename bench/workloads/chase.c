/* chase.c - how long does a load take that depends on the one before?
 *
 * Nodes of one cache line in a random cycle through all of them, so that neither the processor nor a
 * prefetcher can guess the next. Each node knows the number of the next one, so that every hop is checked.
 * After as many hops as there are nodes one is back at the start, and has been everywhere.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "workload.h"

struct node {
    struct node *next;
    uint64_t number, next_number;
    uint64_t padding[5];
};

/* One cycle through all: Sattolo's shuffle. Of numbers, so that the nodes themselves are gone through in
 * order: to link far memory by far memory would take longer than what is measured. */
static void link_nodes(struct node *nodes, uint32_t count, uint64_t *state)
{
    uint32_t *next = malloc(count * sizeof(*next));

    if (!next)
        workload_fail("no memory");
    for (uint32_t i = 0; i < count; i++)
        next[i] = i;
    for (uint32_t i = count - 1; i > 0; i--) {
        uint32_t j = (uint32_t)random_below(state, i), was = next[i];

        next[i] = next[j];
        next[j] = was;
    }
    for (uint32_t i = 0; i < count; i++)
        nodes[i] = (struct node){.next = &nodes[next[i]], .number = i, .next_number = next[i]};
    free(next);
}

int main(int argc, char **argv)
{
    struct workload workload = {
        .question = "how long does a load take that depends on the one before?",
        .bytes = 64ull << 20,
        .seed = 1,
    };
    uint64_t count, hops, done = 0, expected = 0, wrong = 0;
    struct node *nodes, *at;
    double start, elapsed;

    workload_begin(&workload, argc, argv);
    count = workload.bytes / sizeof(*nodes);
    hops = workload.work ? workload.work : count;
    nodes = workload_memory(&workload, count * sizeof(*nodes));
    if (count > UINT32_MAX)
        workload_fail("too many nodes");
    link_nodes(nodes, (uint32_t)count, &workload.seed);
    at = nodes;
    start = seconds_now();
    do {
        for (uint64_t i = 0; i < hops; i++) {
            wrong += at->number != expected;
            expected = at->next_number;
            at = at->next;
        }
        done += hops;
        elapsed = seconds_now() - start;
    } while (elapsed < LEAST_SECONDS);
    workload_result("hop", elapsed / (double)done * 1e9, "ns");
    if (wrong)
        workload_fail("%" PRIu64 " of %" PRIu64 " hops led to the wrong node", wrong, done);
    if ((done % count == 0) != (at == nodes))
        workload_fail("the cycle does not lead back after as many hops as it has nodes, or does before");
    return 0;
}
