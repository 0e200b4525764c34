/* exhausted.c - whatever the client library allocates, it can do without: for every k, the k-th allocation
 * fails
 *
 *   exhausted REGION [FROM]
 *
 * Connects, opens, creates, reads, adds, opens a queue, maps, stores, syncs and leaves, with the first
 * allocation failing, then with the second, and so on until none fails. Each time some call returns an error,
 * and a sentence with it, or all of them do their work; nothing stays behind: no block of memory, no
 * descriptor, no mapping. Prints how many allocations there were. Exit status 1: something stayed behind, or
 * an error had no sentence.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cxe.h"
#include "program.h"
#include "preload/fail_alloc.h"

#define REGION_BYTES (1 << 20)

struct remains {
    long blocks, descriptors, mappings;
};

static long count_mappings(void)
{
    FILE *file = fopen("/proc/self/maps", "re");
    long count = 0;
    int c;

    while (file && (c = getc(file)) != EOF)
        count += c == '\n';
    if (file)
        fclose(file);
    return count;
}

static struct remains look(void)
{
    struct remains remains = {.descriptors = program_count_descriptors(), .mappings = count_mappings()};

    remains.blocks = fail_alloc_live(); /* last: looking allocates */
    return remains;
}

static int map_and_store(struct cxe_region *region)
{
    struct cxe_map_options options = {.local_bytes = CXE_LOCAL_BYTES_MIN};
    void *address;
    int error = cxe_map(region, &options, &address);

    if (error)
        return error;
    for (size_t at = 0; at < REGION_BYTES; at += CXE_PAGE_BYTES)
        ((volatile unsigned char *)address)[at]++;
    error = cxe_sync(address, REGION_BYTES);
    return cxe_unmap(address) ? -EIO : error; /* it must always be possible to leave */
}

static int use_queue(struct cxe_connection *connection, struct cxe_region *region)
{
    struct cxe_completion completion;
    struct cxe_queue *queue;
    uint64_t one = 1, old;
    int error = cxe_queue_open(connection, 4, &queue);

    if (error)
        return error;
    error = cxe_queue_fetch(queue, region, CXE_FETCH_ADD, 64, sizeof(one), &one, &old, NULL);
    if (!error)
        error = cxe_queue_wait(queue, &completion, 1, 10000000000) == 1 ? completion.result : -EIO;
    cxe_queue_close(queue);
    return error;
}

static int use_region(struct cxe_connection *connection, struct cxe_region *region)
{
    uint64_t one = 1, old;
    char line[CXE_LINE_BYTES];
    int error = cxe_read(region, 0, line, sizeof(line));

    if (!error)
        error = cxe_fetch(region, CXE_FETCH_ADD, 0, sizeof(one), &one, &old);
    if (!error)
        error = use_queue(connection, region);
    return error ? error : map_and_store(region);
}

static int use_connection(struct cxe_connection *connection, const char *name)
{
    struct cxe_region *region, *other;
    int error = cxe_region_open(connection, name, &region);

    if (error)
        return error;
    error = use_region(connection, region);
    if (!error && !(error = cxe_region_create(connection, "exhausted", REGION_BYTES, 0, &other))) {
        cxe_region_close(other);
        error = cxe_region_delete(connection, "exhausted");
    }
    return cxe_region_close(region) ? -EIO : error;
}

static int scenario(const char *name)
{
    struct cxe_connection *connection;
    int error = cxe_connect(NULL, &connection);

    if (error)
        return error;
    error = use_connection(connection, name);
    return cxe_disconnect(connection) ? -EIO : error;
}

/* A run that was cut short may have left this, and did so rightly. */
static void tidy(void)
{
    struct cxe_connection *connection;

    if (cxe_connect(NULL, &connection) < 0)
        exit(2);
    cxe_region_delete(connection, "exhausted");
    cxe_disconnect(connection);
}

/* One run of the scenario, with the allocation `call` failing. */
struct trial {
    long call;
    bool reached; /* it came to that allocation */
    int error;
    char sentence[256];
};

static struct trial try(const char *name, long call)
{
    struct trial trial = {.call = call};

    fail_alloc_at(call);
    trial.error = scenario(name);
    trial.reached = fail_alloc_reached();
    fail_alloc_at(0);
    if (trial.error)
        snprintf(trial.sentence, sizeof(trial.sentence), "%s", cxe_last_error());
    return trial;
}

/* Returns how much is wrong with it. */
static unsigned judge(const struct trial *trial, const struct remains *before, const struct remains *after)
{
    unsigned wrong = 0;

    if (trial->error && (trial->error == -EIO || trial->sentence[0] == '\0')) {
        fprintf(stderr, "allocation %ld failed: %s, and the sentence '%s'\n", trial->call,
                strerrorname_np(-trial->error), trial->sentence);
        wrong++;
    }
    if (after->blocks != before->blocks || after->descriptors != before->descriptors ||
        after->mappings > before->mappings) {
        fprintf(stderr, "allocation %ld failed ('%s'): %ld blocks, %ld descriptors, %ld mappings stayed\n",
                trial->call, trial->sentence, after->blocks - before->blocks,
                after->descriptors - before->descriptors, after->mappings - before->mappings);
        wrong++;
    }
    return wrong;
}

int main(int argc, char **argv)
{
    unsigned wrong = 0, errors = 0;
    struct trial trial;

    if (argc != 2)
        return 2;
    for (unsigned i = 0; i < 3; i++) { /* what is taken once and kept */
        trial = try(argv[1], 0);
        if (trial.error) {
            fprintf(stderr, "exhausted: %s\n", trial.sentence);
            return 2;
        }
    }
    for (long call = 1; call == 1 || trial.reached; call++) {
        struct remains before = look(), after;

        trial = try(argv[1], call);
        after = look();
        wrong += judge(&trial, &before, &after);
        errors += trial.error != 0;
        if (trial.error)
            tidy();
    }
    printf("%ld allocations, without %u of them a call failed, %u wrong\n", trial.call - 1, errors, wrong);
    return wrong > 0;
}
