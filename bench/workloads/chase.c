/* chase.c - how long does a load take that depends on the one before?
 *
 * Nodes of one cache line in a random cycle through all of them, so that neither the processor nor a
 * prefetcher can guess the next. After as many hops as there are nodes one is back at the start, and has been
 * everywhere.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "workload.h"

struct node {
    struct node *next;
    uint64_t number;
    uint64_t padding[6];
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
        nodes[i] = (struct node){.next = &nodes[next[i]], .number = i};
    free(next);
}

int main(int argc, char **argv)
{
    struct workload workload = {
        .question = "how long does a load take that depends on the one before?",
        .bytes = 64ull << 20,
        .seed = 1,
    };
    uint64_t count, hops, sum = 0;
    struct node *nodes, *at;
    double start;

    workload_begin(&workload, argc, argv);
    count = workload.bytes / sizeof(*nodes);
    hops = workload.work ? workload.work : count;
    nodes = workload_memory(&workload, count * sizeof(*nodes));
    if (count > UINT32_MAX)
        workload_fail("too many nodes");
    link_nodes(nodes, (uint32_t)count, &workload.seed);
    at = nodes;
    start = seconds_now();
    for (uint64_t i = 0; i < hops; i++) {
        sum += at->number;
        at = at->next;
    }
    workload_result("hop", (seconds_now() - start) / (double)hops * 1e9, "ns");
    if (hops % count == 0 && (at != nodes || sum != hops / count * (count * (count - 1) / 2)))
        workload_fail("the cycle does not lead back, or not through every node");
    if (sum == 0 && hops > count)
        workload_fail("no node was visited");
    return 0;
}
