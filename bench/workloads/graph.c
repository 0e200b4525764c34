/* graph.c - how fast are breadth-first search and PageRank on a graph without locality?
 *
 * A Kronecker graph as in Graph500 (2^scale vertices, 16 edges each, edges both ways), stored by rows. The
 * tree of the search is checked against the graph: every vertex's parent is its neighbour, one level nearer
 * to the root, and no edge leads from a vertex that was reached to one that was not. The ranks must sum to
 * one, and each round must change them by at most the damping factor times what the one before did (as a
 * contraction does). Source of the generator: Graph500 specification, 3.
 *
 * `--graph` keeps the graph in a file: making it is random stores, which in far memory take longer than what
 * is measured.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "workload.h"

#define EDGE_FACTOR 16
#define ROUNDS      10 /* of PageRank */
#define DAMPING     0.85
#define NOWHERE     UINT32_MAX

struct graph {
    uint32_t vertices;
    uint64_t edges;  /* directed */
    uint64_t *first; /* vertices + 1 */
    uint32_t *to;    /* edges */
};

struct edge {
    uint32_t from, to;
};

/* ---- making it ---- */

/* Numbers are scrambled, so that popular vertices are no neighbours: multiplication by an odd number and
 * xor-shifts are one-to-one on `scale` bits. */
static uint32_t scramble(uint32_t vertex, unsigned scale)
{
    uint32_t mask = (uint32_t)((1ull << scale) - 1);

    vertex = vertex * 0x9E3779B1u & mask;
    vertex ^= vertex >> (scale / 2);
    return vertex * 0x85EBCA77u & mask;
}

/* The k-th edge, the same each time it is asked for, so that the list needs no memory. */
static struct edge edge_at(uint64_t seed, uint64_t k, unsigned scale)
{
    uint64_t state = mix64(seed ^ mix64(k));
    struct edge edge = {0, 0};

    for (unsigned bit = 0; bit < scale; bit++) {
        double u = random_unit(&state);

        if (u >= 0.57)
            edge.from |= (u >= 0.57 + 0.19 ? 1u : 0u) << bit;
        if ((u >= 0.57 && u < 0.57 + 0.19) || u >= 0.57 + 0.19 + 0.19)
            edge.to |= 1u << bit;
    }
    return (struct edge){scramble(edge.from, scale), scramble(edge.to, scale)};
}

/* Counts, sums, fills: no vertex's edges are touched out of turn but in the last step. */
static void make(const struct workload *workload, struct graph *graph, unsigned scale)
{
    uint64_t undirected = graph->edges / 2;

    for (uint64_t k = 0; k < undirected; k++) {
        struct edge edge = edge_at(workload->seed, k, scale);

        graph->first[edge.from]++;
        graph->first[edge.to]++;
    }
    for (uint64_t v = 1; v <= graph->vertices; v++)
        graph->first[v] += graph->first[v - 1]; /* now the end of v's edges; filling counts it down */
    for (uint64_t k = 0; k < undirected; k++) {
        struct edge edge = edge_at(workload->seed, k, scale);

        graph->to[--graph->first[edge.from]] = edge.to;
        graph->to[--graph->first[edge.to]] = edge.from;
    }
}

/* ---- in a file: what it is, `first`, `to` ---- */

struct header {
    char magic[8];
    uint64_t seed, vertices, edges;
};

static struct header header_of(const struct workload *workload, const struct graph *graph)
{
    return (struct header){"CXEGRPH", workload->seed, graph->vertices, graph->edges};
}

static size_t rows_of(const struct graph *graph)
{
    return (size_t)graph->vertices + 1;
}

static void save(const struct workload *workload, const struct graph *graph)
{
    struct header header = header_of(workload, graph);
    FILE *file = fopen(workload->graph, "wbx");

    if (!file || fwrite(&header, sizeof(header), 1, file) != 1 ||
        fwrite(graph->first, sizeof(*graph->first), rows_of(graph), file) != rows_of(graph) ||
        fwrite(graph->to, sizeof(*graph->to), graph->edges, file) != graph->edges || fclose(file) != 0)
        workload_fail("%s: %s", workload->graph, strerror(errno));
}

/* False: there is no such file. It leaves the page cache again, which may count as the program's memory. */
static bool load(const struct workload *workload, struct graph *graph)
{
    struct header header, want = header_of(workload, graph);
    FILE *file = fopen(workload->graph, "rb");

    if (!file && errno == ENOENT)
        return false;
    if (!file)
        workload_fail("%s: %s", workload->graph, strerror(errno));
    if (fread(&header, sizeof(header), 1, file) != 1 || memcmp(&header, &want, sizeof(header)) != 0)
        workload_fail("%s holds another graph, or none", workload->graph);
    if (fread(graph->first, sizeof(*graph->first), rows_of(graph), file) != rows_of(graph) ||
        fread(graph->to, sizeof(*graph->to), graph->edges, file) != graph->edges)
        workload_fail("%s is too short", workload->graph);
    posix_fadvise(fileno(file), 0, 0, POSIX_FADV_DONTNEED);
    fclose(file);
    return true;
}

static void build(struct workload *workload, struct graph *graph, unsigned scale)
{
    graph->vertices = 1u << scale;
    graph->edges = (uint64_t)EDGE_FACTOR * 2 << scale;
    graph->first = workload_memory(workload, rows_of(graph) * sizeof(*graph->first));
    graph->to = workload_memory(workload, graph->edges * sizeof(*graph->to));
    if (workload->graph && load(workload, graph))
        return;
    make(workload, graph, scale);
    if (workload->graph)
        save(workload, graph);
}

/* ---- breadth-first search ---- */

struct search {
    uint32_t *parent, *level, *queue;
    uint32_t reached;
};

static void search(const struct graph *graph, uint32_t root, struct search *found)
{
    uint32_t head = 0, tail = 0;

    for (uint32_t v = 0; v < graph->vertices; v++)
        found->parent[v] = NOWHERE;
    found->parent[root] = root;
    found->level[root] = 0;
    found->queue[tail++] = root;
    while (head < tail) {
        uint32_t v = found->queue[head++];

        for (uint64_t e = graph->first[v]; e < graph->first[v + 1]; e++) {
            uint32_t w = graph->to[e];

            if (found->parent[w] != NOWHERE)
                continue;
            found->parent[w] = v;
            found->level[w] = found->level[v] + 1;
            found->queue[tail++] = w;
        }
    }
    found->reached = tail;
}

static bool is_edge(const struct graph *graph, uint32_t from, uint32_t to)
{
    for (uint64_t e = graph->first[from]; e < graph->first[from + 1]; e++)
        if (graph->to[e] == to)
            return true;
    return false;
}

/* Returns how many edges the reached part has. */
static uint64_t check_search(const struct graph *graph, uint32_t root, const struct search *found)
{
    uint64_t edges = 0;

    for (uint32_t v = 0; v < graph->vertices; v++) {
        uint32_t parent = found->parent[v];

        if (parent == NOWHERE)
            continue;
        if (v != root && (found->level[v] != found->level[parent] + 1 || !is_edge(graph, v, parent)))
            workload_fail("vertex %u has a parent that is no neighbour, or on the wrong level", v);
        for (uint64_t e = graph->first[v]; e < graph->first[v + 1]; e++) {
            uint32_t w = graph->to[e];

            if (found->parent[w] == NOWHERE)
                workload_fail("vertex %u was not reached, though its neighbour %u was", w, v);
            if (found->level[w] > found->level[v] + 1)
                workload_fail("vertex %u is on too high a level", w);
        }
        edges += graph->first[v + 1] - graph->first[v];
    }
    return edges / 2;
}

static void measure_search(struct workload *workload, const struct graph *graph)
{
    struct search found = {
        .parent = workload_memory(workload, graph->vertices * sizeof(uint32_t)),
        .level = workload_memory(workload, graph->vertices * sizeof(uint32_t)),
        .queue = workload_memory(workload, graph->vertices * sizeof(uint32_t)),
    };
    uint32_t root = 0;
    double start, elapsed;
    uint64_t edges;

    while (graph->first[root + 1] - graph->first[root] < EDGE_FACTOR)
        root++; /* there is one: that is the average */
    start = seconds_now();
    search(graph, root, &found);
    elapsed = seconds_now() - start;
    edges = check_search(graph, root, &found);
    if (found.reached < graph->vertices / 4)
        workload_fail("only %u of %u vertices were reached: too little work", found.reached, graph->vertices);
    workload_result("bfs", (double)edges / elapsed, "edges/s");
}

/* ---- PageRank ---- */

/* One round; returns by how much the ranks changed in all. Vertices without edges give to everybody. */
static double rank_round(const struct graph *graph, const double *old, double *new)
{
    double idle = 0, base, change = 0;

    for (uint32_t v = 0; v < graph->vertices; v++)
        if (graph->first[v + 1] == graph->first[v])
            idle += old[v];
    base = (1 - DAMPING + DAMPING * idle) / graph->vertices;
    for (uint32_t v = 0; v < graph->vertices; v++) {
        double sum = 0;

        for (uint64_t e = graph->first[v]; e < graph->first[v + 1]; e++) {
            uint32_t w = graph->to[e];

            sum += old[w] / (double)(graph->first[w + 1] - graph->first[w]);
        }
        new[v] = base + DAMPING *sum;
        change += fabs(new[v] - old[v]);
    }
    return change;
}

static void measure_ranks(struct workload *workload, const struct graph *graph)
{
    double *old = workload_memory(workload, graph->vertices * sizeof(double));
    double *new = workload_memory(workload, graph->vertices * sizeof(double));
    uint64_t rounds = workload->work ? workload->work : ROUNDS;
    double change = 2 / DAMPING, sum = 0, start = seconds_now(), elapsed;

    for (uint32_t v = 0; v < graph->vertices; v++)
        old[v] = 1.0 / graph->vertices;
    for (uint64_t round = 0; round < rounds; round++) {
        double *swapped = old, before = change;

        change = rank_round(graph, old, new);
        if (!(change <= DAMPING * before + 1e-12))
            workload_fail("the ranks do not converge: a round changed them by %g, the one before by %g",
                          change, before);
        old = new;
        new = swapped;
    }
    elapsed = seconds_now() - start;
    for (uint32_t v = 0; v < graph->vertices; v++)
        sum += old[v];
    if (fabs(sum - 1) > 1e-9)
        workload_fail("the ranks sum to %.12f", sum);
    workload_result("pagerank", (double)graph->edges * (double)rounds / elapsed, "edges/s");
}

int main(int argc, char **argv)
{
    struct workload workload = {
        .question = "how fast are breadth-first search and PageRank on a graph without locality?",
        .bytes = 64ull << 20,
        .seed = 1,
    };
    unsigned scale = 4;
    struct graph graph;

    workload_begin(&workload, argc, argv);
    /* 8 bytes and twice 16 edges of 4 a vertex, 12 for the search, 16 for the ranks. */
    while (scale < 31 && (8 + 2 * EDGE_FACTOR * 4 + 12 + 16) * (2ull << scale) <= workload.bytes)
        scale++;
    build(&workload, &graph, scale);
    measure_search(&workload, &graph);
    measure_ranks(&workload, &graph);
    return 0;
}
