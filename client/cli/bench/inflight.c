/* inflight.c - see inflight.h
 *
 * Lines are divided among the places in flight, so that no two operations meet on one line, and it is known
 * what each must find: the first word of a line is bench_word_at, the second counts its changes.
 */
#include "inflight.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"

#define COMPLETION_BATCH 256
#define STARTS_A_CLOCK                                                                  \
    16 /* the clock is read for so many operations at once: it costs as much as a start \
        */
#define WORD_BYTES sizeof(uint64_t)

const char *const inflight_mix_names[INFLIGHT_MIXES] = {"read", "write", "cas", "mixed"};

struct place {
    uint64_t offset;
    uint64_t start_ns;
    uint64_t old; /* of a CAS */
    enum inflight_mix kind;
    uint64_t line[CXE_LINE_BYTES / sizeof(uint64_t)];
};

struct inflight {
    struct cxe_connection *connection;
    struct cxe_region *region;
    struct cxe_queue *queue;
    enum inflight_mix mix;
    unsigned depth;
    struct place *places;
    uint32_t *unused; /* places, on a stack */
    unsigned unused_count;
    uint64_t random;
    uint64_t line_count;
    bool any_changes;
    uint32_t changes[]; /* of each line */
};

/* ---- one operation ---- */

static enum inflight_mix choose_kind(struct inflight *inflight)
{
    unsigned tenth;

    if (inflight->mix != INFLIGHT_MIXED)
        return inflight->mix;
    tenth = (unsigned)(bench_random(&inflight->random) % 10);
    if (tenth < 7)
        return INFLIGHT_READ;
    return tenth < 9 ? INFLIGHT_WRITE : INFLIGHT_CAS;
}

/* A random line of those that belong to this place. */
static uint64_t choose_line(struct inflight *inflight, uint32_t number)
{
    const uint64_t rows = inflight->line_count / inflight->depth;

    return bench_random(&inflight->random) % rows * inflight->depth + number;
}

static int start_kind(struct inflight *inflight, struct place *place, void *context)
{
    uint64_t found, next;

    if (place->kind == INFLIGHT_READ) /* without a look at the table, see check */
        return cxe_queue_read(inflight->queue, inflight->region, place->offset, place->line,
                              sizeof(place->line), context);
    found = inflight->changes[place->offset / CXE_LINE_BYTES];
    next = found + 1;
    switch (place->kind) {
    case INFLIGHT_WRITE:
        place->line[0] = bench_word_at(place->offset);
        place->line[1] = next;
        return cxe_queue_write(inflight->queue, inflight->region, place->offset, place->line,
                               sizeof(place->line), context);
    case INFLIGHT_CAS:
        return cxe_queue_cas(inflight->queue, inflight->region, place->offset + WORD_BYTES, WORD_BYTES,
                             &found, &next, &place->old, context);
    case INFLIGHT_READ:
    case INFLIGHT_MIXED:
    case INFLIGHT_MIXES:
        break;
    }
    return -EINVAL;
}

int inflight_start(struct inflight *inflight, uint64_t start_ns)
{
    const uint32_t number = inflight->unused[--inflight->unused_count];
    struct place *place = &inflight->places[number];
    int error;

    place->kind = choose_kind(inflight);
    place->offset = choose_line(inflight, number) * CXE_LINE_BYTES;
    place->start_ns = start_ns;
    error = start_kind(inflight, place, (void *)(uintptr_t)number);
    return error ? bench_fail_call(error, "starting an operation") : 0;
}

static int check(struct inflight *inflight, const struct place *place)
{
    uint32_t *changes = &inflight->changes[place->offset / CXE_LINE_BYTES];
    bool right = true;

    if (place->kind == INFLIGHT_READ) /* where there are only reads, the table would cost a cache miss each */
        right = place->line[0] == bench_word_at(place->offset) &&
                (!inflight->any_changes || place->line[1] == *changes);
    else if (place->kind == INFLIGHT_CAS)
        right = place->old == *changes;
    if (place->kind != INFLIGHT_READ)
        ++*changes;
    return right ? 0
                 : bench_fail(-EBADMSG, "the line at offset %ju is not what was written there",
                              (uintmax_t)place->offset);
}

int inflight_take(struct inflight *inflight, struct bench_sample *sample)
{
    struct cxe_completion completions[COMPLETION_BATCH];
    const int count = cxe_queue_poll(inflight->queue, completions, COMPLETION_BATCH);
    const uint64_t now_ns = sample->latencies_ns && count > 0 ? clock_now_ns() : 0;
    int error = count < 0 ? bench_fail_call(count, "taking completions") : 0;

    for (int i = 0; i < count && !error; i++) {
        const uint32_t number = (uint32_t)(uintptr_t)completions[i].context;

        if (completions[i].result)
            return bench_fail(completions[i].result, "operation in flight: %s",
                              strerror(-completions[i].result));
        error = check(inflight, &inflight->places[number]);
        inflight->unused[inflight->unused_count++] = number;
        if (sample->latencies_ns)
            bench_note(sample, now_ns - inflight->places[number].start_ns);
        else
            sample->work++;
    }
    return error;
}

/* ---- as many as may be ---- */

unsigned inflight_room(const struct inflight *inflight)
{
    return inflight->unused_count;
}

static int refill(struct inflight *inflight)
{
    uint64_t now_ns = 0;
    int error = 0;

    for (unsigned i = 0; !error && inflight->unused_count > 0; i++) {
        if (i % STARTS_A_CLOCK == 0)
            now_ns = clock_now_ns();
        error = inflight_start(inflight, now_ns);
    }
    return error;
}

static int run(struct inflight *inflight, uint64_t duration_ns, uint64_t most, struct bench_sample *sample)
{
    const uint64_t begin_ns = clock_now_ns();
    int error = 0;

    while (!error && sample->work + inflight->depth < most && clock_now_ns() - begin_ns < duration_ns) {
        error = refill(inflight);
        if (!error)
            error = inflight_take(inflight, sample);
    }
    while (!error && inflight->unused_count < inflight->depth)
        error = inflight_take(inflight, sample);
    sample->elapsed_ns = clock_now_ns() - begin_ns;
    return error;
}

int inflight_latency_run(void *inflight, uint64_t duration_ns, struct bench_sample *sample)
{
    return run(inflight, duration_ns, BENCH_LATENCIES_MAX, sample);
}

int inflight_rate_run(void *inflight, uint64_t duration_ns, struct bench_sample *sample)
{
    struct bench_sample counted = {.latencies_ns = NULL};
    const int error = run(inflight, duration_ns, UINT64_MAX, &counted);

    sample->work = counted.work;
    sample->elapsed_ns = counted.elapsed_ns;
    return error;
}

/* ---- memory ---- */

static void drop_queue(struct inflight *inflight)
{
    if (inflight->queue)
        cxe_queue_close(inflight->queue);
    free(inflight->places);
    free(inflight->unused);
    inflight->queue = NULL;
    inflight->places = NULL;
    inflight->unused = NULL;
}

int inflight_set(struct inflight *inflight, enum inflight_mix mix, unsigned depth)
{
    int error;

    drop_queue(inflight);
    inflight->mix = mix;
    inflight->any_changes |= mix != INFLIGHT_READ;
    inflight->depth = depth;
    inflight->unused_count = 0;
    inflight->places = calloc(depth, sizeof(*inflight->places));
    inflight->unused = calloc(depth, sizeof(*inflight->unused));
    if (!inflight->places || !inflight->unused)
        return bench_fail(-ENOMEM, "no memory for %u operations in flight", depth);
    while (inflight->unused_count < depth) {
        inflight->unused[inflight->unused_count] = inflight->unused_count;
        inflight->unused_count++;
    }
    error = cxe_queue_open(inflight->connection, depth, &inflight->queue);
    return error ? bench_fail_call(error, "queue") : 0;
}

int inflight_open(struct cxe_connection *connection, struct cxe_region *region,
                  struct inflight **inflight_out)
{
    const uint64_t line_count = cxe_region_bytes(region) / CXE_LINE_BYTES;
    struct inflight *inflight = calloc(1, sizeof(*inflight) + line_count * sizeof(inflight->changes[0]));

    if (!inflight)
        return bench_fail(-ENOMEM, "no memory");
    inflight->connection = connection;
    inflight->region = region;
    inflight->random = 0x9E3779B97F4A7C15ull;
    inflight->line_count = line_count;
    *inflight_out = inflight;
    return 0;
}

void inflight_close(struct inflight *inflight)
{
    if (!inflight)
        return;
    drop_queue(inflight);
    free(inflight);
}
