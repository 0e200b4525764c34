/* memory_fixture.h - a pool with its regions, as small as a test wants it */
#ifndef TESTS_FABRICD_MEMORY_FIXTURE_H
#define TESTS_FABRICD_MEMORY_FIXTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "executor.h"
#include "mailbox.h"
#include "pool.h"
#include "quiesce.h"
#include "region.h"
#include "region_access.h"

struct memory {
    struct pool *pool;
    struct quiesce *quiesce;
    struct mailboxes *mailboxes;
    struct regions *regions;
    struct executor *executor;
    struct region_caller caller; /* worker 0, tenant 1 */
};

/* Everything is open and worker 0 is online; the others are offline. Quotas are unlimited. */
void memory_open(struct memory *memory, uint64_t pages, unsigned workers);

/* Checks the invariants, deletes nothing, closes. */
void memory_close(struct memory *memory);

/* Maintains until nothing is left to do now. */
void memory_settle(struct memory *memory);

/* 0 or what regions_create said. */
int memory_create(struct memory *memory, const char *name, uint64_t pages, uint64_t *handle_out);
int memory_clone(struct memory *memory, uint64_t handle, const char *name, uint64_t *handle_out);

/* A region's name as the specs want it, the rest NULs. */
struct region_spec memory_spec(const char *name, uint64_t bytes, uint32_t flags);

/* Fills a page with a byte; whether a page has that byte everywhere. */
int memory_fill(struct memory *memory, uint64_t handle, uint64_t page, uint8_t byte);
bool memory_is_filled(struct memory *memory, uint64_t handle, uint64_t page, uint8_t byte);
int memory_read_status(struct memory *memory, uint64_t handle, uint64_t page);

/* Whether a hammer should go on: for 0.3 s from start_ns, and longer on a machine that is too busy for
 * `wanted` events to have come by then. */
bool hammer_on(uint64_t start_ns, uint64_t events, uint64_t wanted);

/* Reproducible randomness. A test prints its seed; CXE_TEST_SEED repeats a run. */
uint64_t random_seed(const char *test);
uint64_t random_next(uint64_t *state);

#endif
