/* fake_region.c - see fake_region.h */
#include "fake_region.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"

struct cxe_region {
    uint64_t bytes;
    uint8_t *memory;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned sleepers;
    unsigned seed;
    struct fake_faults faults;
    int error;
    int next_error; /* 0: none */
    bool next_done;
};

struct cxe_region *fake_region_open(uint64_t bytes, unsigned seed)
{
    struct cxe_region *region = calloc(1, sizeof(*region));
    pthread_condattr_t attributes;

    cr_assert(region);
    region->bytes = bytes;
    region->memory = calloc(1, bytes);
    region->seed = seed;
    cr_assert(region->memory);
    pthread_mutex_init(&region->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&region->changed, &attributes);
    return region;
}

void fake_region_close(struct cxe_region *region)
{
    cr_assert_eq(region->sleepers, 0);
    free(region->memory);
    free(region);
}

void fake_region_faults(struct cxe_region *region, struct fake_faults faults)
{
    pthread_mutex_lock(&region->lock);
    region->faults = faults;
    pthread_mutex_unlock(&region->lock);
}

void fake_region_fail(struct cxe_region *region, int error)
{
    pthread_mutex_lock(&region->lock);
    region->error = error;
    pthread_mutex_unlock(&region->lock);
}

void fake_region_fail_next(struct cxe_region *region, int error, bool done)
{
    pthread_mutex_lock(&region->lock);
    region->next_error = error;
    region->next_done = done;
    pthread_mutex_unlock(&region->lock);
}

unsigned fake_region_sleepers(struct cxe_region *region)
{
    unsigned sleepers;

    pthread_mutex_lock(&region->lock);
    sleepers = region->sleepers;
    pthread_mutex_unlock(&region->lock);
    return sleepers;
}

void fake_region_await_sleepers(struct cxe_region *region, unsigned count)
{
    while (fake_region_sleepers(region) != count)
        sched_yield();
}

/* ---- what happens to a change ---- */

/* The error that it returns, and whether it is made. */
static int fate(struct cxe_region *region, bool fetch_add, bool *done_out)
{
    const struct fake_faults *faults = &region->faults;
    unsigned dice = (unsigned)rand_r(&region->seed) % 1000;
    int error = region->next_error;

    *done_out = region->next_done;
    if (error) {
        region->next_error = 0;
        return error;
    }
    *done_out = false;
    if (region->error)
        return region->error;
    if (dice < faults->not_done)
        return -ETIMEDOUT;
    dice -= faults->not_done;
    *done_out = true;
    if (dice >= faults->unknown_done + faults->unknown_lost || (fetch_add && faults->spare_fetch_add))
        return 0;
    *done_out = dice < faults->unknown_done;
    return -CXE_EUNKNOWN;
}

static void check_inside(const struct cxe_region *region, uint64_t offset, size_t bytes, size_t grain)
{
    cr_assert(offset % grain == 0 && bytes % grain == 0 && offset <= region->bytes &&
                  bytes <= region->bytes - offset,
              "%zu bytes at %ju", bytes, (uintmax_t)offset);
}

/* ---- the calls ---- */

uint64_t cxe_region_bytes(const struct cxe_region *region)
{
    return region->bytes;
}

int cxe_read(struct cxe_region *region, uint64_t offset, void *buffer, size_t bytes)
{
    int error;

    check_inside(region, offset, bytes, CXE_LINE_BYTES);
    pthread_mutex_lock(&region->lock);
    error = region->error;
    if (!error)
        memcpy(buffer, region->memory + offset, bytes);
    pthread_mutex_unlock(&region->lock);
    return error;
}

int cxe_write(struct cxe_region *region, uint64_t offset, const void *buffer, size_t bytes)
{
    bool done;
    int error;

    check_inside(region, offset, bytes, CXE_LINE_BYTES);
    pthread_mutex_lock(&region->lock);
    error = fate(region, false, &done);
    if (done)
        memcpy(region->memory + offset, buffer, bytes);
    pthread_cond_broadcast(&region->changed);
    pthread_mutex_unlock(&region->lock);
    return error;
}

int cxe_cas(struct cxe_region *region, uint64_t offset, unsigned width, const void *expected,
            const void *desired, void *old_out)
{
    uint8_t *word = region->memory + offset, old[16];
    bool done;
    int error;

    check_inside(region, offset, width, width);
    pthread_mutex_lock(&region->lock);
    error = fate(region, false, &done);
    memcpy(old, word, width);
    if (done && memcmp(word, expected, width) == 0)
        memcpy(word, desired, width);
    if (!error)
        memcpy(old_out, old, width);
    pthread_cond_broadcast(&region->changed);
    pthread_mutex_unlock(&region->lock);
    return error;
}

int cxe_fetch(struct cxe_region *region, enum cxe_atomic operation, uint64_t offset, unsigned width,
              const void *operand, void *old_out)
{
    uint64_t *word = (uint64_t *)(region->memory + offset), value, old;
    bool done;
    int error;

    check_inside(region, offset, width, sizeof(*word));
    cr_assert(operation == CXE_FETCH_ADD || operation == CXE_FETCH_MAX);
    memcpy(&value, operand, sizeof(value));
    pthread_mutex_lock(&region->lock);
    error = fate(region, operation == CXE_FETCH_ADD, &done);
    old = *word;
    if (done)
        *word = operation == CXE_FETCH_ADD ? old + value : value > old ? value : old;
    if (!error)
        memcpy(old_out, &old, sizeof(old));
    pthread_cond_broadcast(&region->changed);
    pthread_mutex_unlock(&region->lock);
    return error;
}

static struct timespec deadline_after(uint64_t timeout_ns)
{
    const uint64_t longest_ns = 3600 * NS_PER_S;
    const uint64_t at_ns = clock_now_ns() + (timeout_ns < longest_ns ? timeout_ns : longest_ns);

    return (struct timespec){(time_t)(at_ns / NS_PER_S), (long)(at_ns % NS_PER_S)};
}

int cxe_wait(struct cxe_region *region, uint64_t offset, unsigned width, const void *expected,
             uint64_t timeout_ns, void *value_out)
{
    const struct timespec deadline = deadline_after(timeout_ns);
    const uint8_t *word = region->memory + offset;
    int error;

    check_inside(region, offset, width, sizeof(uint64_t));
    pthread_mutex_lock(&region->lock);
    error = region->error;
    region->sleepers++;
    while (!error && memcmp(word, expected, width) == 0)
        error = -pthread_cond_timedwait(&region->changed, &region->lock, &deadline);
    region->sleepers--;
    if (!error)
        memcpy(value_out, word, width);
    pthread_mutex_unlock(&region->lock);
    return error;
}
