/* test_region_scale.c - many regions, many threads, and a model that must agree whatever happens */
#include "region.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "atomic.h"
#include "clock.h"
#include "memory_fixture.h"

static struct memory memory;

TestSuite(region_scale, .timeout = 100);

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TINY_REGIONS     20000
#define REGION_BYTES_MAX 4096 /* with what the sanitizer adds */
#else
#define TINY_REGIONS     100000
#define REGION_BYTES_MAX 512
#endif

#define EVENTS_WANTED 20 /* in each hammer */

/* Creates regions first..end-1; returns the nanoseconds of one. */
static uint64_t create_many(unsigned first, unsigned end)
{
    uint64_t start_ns = clock_now_ns(), handle;
    char name[32];

    for (unsigned i = first; i < end; i++) {
        snprintf(name, sizeof(name), "tiny/%u", i);
        cr_assert_eq(memory_create(&memory, name, 1, &handle), 0);
    }
    return (clock_now_ns() - start_ns) / (end - first);
}

static uint64_t resident_bytes(void)
{
    unsigned long total = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");

    cr_assert_not_null(file);
    cr_assert_eq(fscanf(file, "%lu %lu", &total, &resident), 2);
    fclose(file);
    return resident * (uint64_t)PAGE_BYTES;
}

static uint64_t list_all(void)
{
    uint64_t cursor = 0, count = 0;
    struct region_info info;

    while (regions_next(memory.regions, 0, 1, &cursor, &info) == 0)
        count++;
    return count;
}

Test(region_scale, the_last_region_costs_what_the_first_did)
{
    uint64_t before, first_ns, last_ns, bytes_each;

    memory_open(&memory, TINY_REGIONS, 1);
    create_many(0, 1000);
    first_ns = create_many(1000, 5000);
    before = resident_bytes();
    create_many(5000, TINY_REGIONS - 4000);
    last_ns = create_many(TINY_REGIONS - 4000, TINY_REGIONS);
    bytes_each = (resident_bytes() - before) / (TINY_REGIONS - 5000);
    fprintf(stderr, "a region: %" PRIu64 " ns, then %" PRIu64 " ns; %" PRIu64 " bytes\n", first_ns, last_ns,
            bytes_each);
    cr_expect_lt(last_ns, 20 * first_ns + 5000, "a list searched one by one would be worse by 100");
    cr_expect_lt(bytes_each, REGION_BYTES_MAX);
    cr_expect_eq(list_all(), TINY_REGIONS);
    memory_close(&memory);
}

/* The model: what each region must hold, in plain arrays. */
#define MODEL_REGIONS 8
#define MODEL_PAGES   14

struct model {
    uint64_t handle; /* 0: there is none */
    uint64_t pages;
    bool clone;
    uint8_t bytes[MODEL_PAGES * PAGE_BYTES];
};
static struct model models[MODEL_REGIONS];
static uint64_t random_state;

static uint64_t dice(uint64_t sides)
{
    return random_next(&random_state) % sides;
}

static struct region_place some_place(const struct model *model, unsigned lines)
{
    return (struct region_place){model->handle, dice(model->pages * PAGE_LINES - lines + 1) * LINE_BYTES};
}

static void model_create(struct model *model, unsigned index)
{
    uint64_t pages = 1 + dice(MODEL_PAGES);
    char name[16];

    snprintf(name, sizeof(name), "m%u", index);
    if (memory_create(&memory, name, pages, &model->handle) != 0)
        return;
    model->pages = pages;
    model->clone = false;
    memset(model->bytes, 0, sizeof(model->bytes));
}

static void model_clone(struct model *model, unsigned index)
{
    const struct model *source = &models[dice(MODEL_REGIONS)];
    char name[16];

    snprintf(name, sizeof(name), "m%u", index);
    if (!source->handle || memory_clone(&memory, source->handle, name, &model->handle) != 0)
        return;
    model->pages = source->pages;
    model->clone = true;
    memcpy(model->bytes, source->bytes, sizeof(model->bytes));
}

static void model_read(const struct model *model)
{
    static uint8_t bytes[MODEL_PAGES * PAGE_BYTES];
    unsigned lines = 1 + (unsigned)dice(dice(4) ? 20 : model->pages * PAGE_LINES);
    struct region_place place;
    int error;

    if (lines > model->pages * PAGE_LINES)
        return;
    place = some_place(model, lines);
    error = region_read(&memory.caller, place, lines, bytes);
    if (error == -EHWPOISON && model->clone)
        return; /* lost, and said so */
    cr_assert_eq(error, 0);
    cr_assert(memcmp(bytes, model->bytes + place.offset, lines * LINE_BYTES) == 0,
              "region %" PRIx64 " at %" PRIx64, place.handle, place.offset);
}

static void model_write(struct model *model)
{
    uint8_t bytes[40 * LINE_BYTES], masks[40 * 8];
    unsigned lines = 1 + (unsigned)dice(40);
    bool masked = dice(2);
    struct region_place place = some_place(model, lines);
    int error;

    for (unsigned i = 0; i < lines * LINE_BYTES; i++)
        bytes[i] = (uint8_t)random_next(&random_state);
    for (unsigned i = 0; i < lines * 8; i++)
        masks[i] = masked ? (uint8_t)random_next(&random_state) : 0xff;
    error = masked ? region_write_masked(&memory.caller, place, lines, masks, bytes)
                   : region_write(&memory.caller, place, lines, bytes);
    if (model->clone && (error == -ENOSPC || error == -EHWPOISON))
        return;
    cr_assert_eq(error, 0, "an origin's write never fails");
    for (unsigned i = 0; i < lines * LINE_BYTES; i++)
        if (masks[i / 8] >> i % 8 & 1)
            model->bytes[place.offset + i] = bytes[i];
}

static void model_add(struct model *model)
{
    struct region_place place = {model->handle, dice(model->pages * PAGE_BYTES / 8) * 8};
    struct wire_word operand = {.bytes = {(uint8_t)dice(256), (uint8_t)dice(256)}}, old;
    uint64_t value, add;
    int error = region_atomic(&memory.caller, place, OP_FETCH_ADD, 3, &operand, &old);

    if (model->clone && (error == -ENOSPC || error == -EHWPOISON))
        return;
    cr_assert_eq(error, 0);
    cr_assert_arr_eq(old.bytes, model->bytes + place.offset, 8);
    memcpy(&value, model->bytes + place.offset, 8);
    memcpy(&add, operand.bytes, 8);
    value += add;
    memcpy(model->bytes + place.offset, &value, 8);
}

static void model_grow(struct model *model)
{
    uint64_t pages = model->pages + dice(MODEL_PAGES - model->pages + 1);
    struct region_info info;

    if (regions_grow(memory.regions, 0, 1, model->handle, pages * PAGE_BYTES, &info) == 0)
        model->pages = pages;
}

static void model_step(void)
{
    unsigned index = (unsigned)dice(MODEL_REGIONS);
    struct model *model = &models[index];

    if (!model->handle) {
        if (dice(2))
            model_create(model, index);
        else
            model_clone(model, index);
        return;
    }
    switch (dice(20)) {
    case 0:
        cr_assert_eq(regions_delete(memory.regions, 0, 1, model->handle), 0);
        model->handle = 0;
        break;
    case 1:
        model_grow(model);
        break;
    case 2:
        executor_maintain(memory.executor, 0, clock_now_ns());
        break;
    case 3 ... 5:
        model_add(model);
        break;
    case 6 ... 11:
        if (model->pages * PAGE_LINES >= 40)
            model_write(model);
        break;
    default:
        model_read(model);
    }
}

static void run_model(const char *test, uint64_t pool_pages, unsigned steps)
{
    memory_open(&memory, pool_pages, 1);
    random_state = random_seed(test);
    memset(models, 0, sizeof(models));
    for (unsigned step = 0; step < steps; step++) {
        model_step();
        if (step % 64 == 0)
            cr_assert(regions_valid(memory.regions) && pool_valid(memory.pool), "step %u", step);
    }
    memory_close(&memory);
}

Test(region_scale, the_model_agrees_with_room_to_spare)
{
    run_model("the_model_agrees_with_room_to_spare", 2 * MODEL_REGIONS * MODEL_PAGES, 8000);
}

Test(region_scale, the_model_agrees_in_a_full_pool)
{
    run_model("the_model_agrees_in_a_full_pool", 20, 8000);
}

/* Threads. Each is a worker, and passes as an event loop would. */
struct actor {
    pthread_t thread;
    unsigned worker;
    uint64_t handle;
    uint64_t done, wrong;
    void (*act)(struct actor *actor);
};
static bool stop;

static void *run_actor(void *argument)
{
    struct actor *actor = argument;

    quiesce_online(memory.quiesce, actor->worker);
    while (!load_relaxed(&stop)) {
        actor->act(actor);
        actor->done++;
        executor_maintain(memory.executor, actor->worker, clock_now_ns());
    }
    quiesce_offline(memory.quiesce, actor->worker);
    return NULL;
}

static void start(struct actor *actor)
{
    cr_assert_eq(pthread_create(&actor->thread, NULL, run_actor, actor), 0);
}

/* The main thread is worker 0: offline while it waits, or an actor that drains would wait for it in turn. */
static void finish(struct actor *actors, unsigned count)
{
    store_relaxed(&stop, true);
    quiesce_offline(memory.quiesce, 0);
    for (unsigned i = 0; i < count; i++) {
        pthread_join(actors[i].thread, NULL);
        cr_expect_gt(actors[i].done, 0);
        cr_expect_eq(actors[i].wrong, 0);
    }
    quiesce_online(memory.quiesce, 0);
}

static struct region_caller caller_of(const struct actor *actor)
{
    return (struct region_caller){memory.regions, actor->worker, 1};
}

static int put_number(const struct region_caller *caller, uint64_t handle, uint64_t page, uint64_t number)
{
    uint64_t words[8];

    for (unsigned i = 0; i < 8; i++)
        words[i] = number;
    return region_write(caller, (struct region_place){handle, page * PAGE_BYTES}, 1, (const uint8_t *)words);
}

/* 0 with the number, or an error; -EIO: torn. */
static int get_number(const struct region_caller *caller, uint64_t handle, uint64_t page,
                      uint64_t *number_out)
{
    uint64_t words[8];
    int error = region_read(caller, (struct region_place){handle, page * PAGE_BYTES}, 1, (uint8_t *)words);

    for (unsigned i = 1; i < 8 && !error; i++)
        error = words[i] == words[0] ? 0 : -EIO;
    *number_out = words[0];
    return error;
}

#define CHAIN 12

/* Writes n to page 0, then to page 1, and so on: at any moment the pages fall by at most one. */
static void write_chain(struct actor *actor)
{
    struct region_caller caller = caller_of(actor);

    for (uint64_t page = 0; page < CHAIN; page++)
        actor->wrong += put_number(&caller, actor->handle, page, actor->done + 1) != 0;
}

/* Whether the pages could have been so at one moment. */
static bool chain_valid(const struct region_caller *caller, uint64_t handle, uint64_t numbers[CHAIN])
{
    for (uint64_t page = 0; page < CHAIN; page++)
        if (get_number(caller, handle, page, &numbers[page]) != 0)
            return false;
    for (uint64_t page = 1; page < CHAIN; page++)
        if (numbers[page] > numbers[page - 1])
            return false;
    return numbers[0] - numbers[CHAIN - 1] <= 1;
}

Test(region_scale, a_clone_is_of_one_moment_and_stays_so)
{
    struct actor writer = {.worker = 1, .act = write_chain};
    uint64_t start_ns = clock_now_ns(), first[CHAIN], again[CHAIN];
    unsigned clones = 0;

    memory_open(&memory, 4 * CHAIN, 2);
    cr_assert_eq(memory_create(&memory, "origin", CHAIN, &writer.handle), 0);
    start(&writer);
    while (hammer_on(start_ns, clones, EVENTS_WANTED)) {
        struct region_spec spec = memory_spec("copy", 0, REGION_SEALED);
        struct region_info info;

        cr_assert_eq(regions_clone(memory.regions, 0, 1, writer.handle, &spec, &info), 0);
        cr_assert(chain_valid(&memory.caller, info.handle, first), "clone %u", clones);
        cr_assert(chain_valid(&memory.caller, info.handle, again), "clone %u", clones);
        cr_assert_arr_eq(first, again, sizeof(first));
        cr_assert_eq(regions_delete(memory.regions, 0, 1, info.handle), 0);
        executor_maintain(memory.executor, 0, clock_now_ns());
        clones++;
    }
    finish(&writer, 1);
    fprintf(stderr, "%u clones, %" PRIu64 " rounds of writing\n", clones, writer.done);
    cr_expect_geq(clones, EVENTS_WANTED);
    memory_settle(&memory);
    memory_close(&memory);
}

/* Counts in a region that grows and is cloned meanwhile. */
static void count_up(struct actor *actor)
{
    struct region_caller caller = caller_of(actor);
    struct wire_word one = {.bytes = {1}}, old;

    actor->wrong +=
        region_atomic(&caller, (struct region_place){actor->handle, 5 * 8}, OP_FETCH_ADD, 3, &one, &old) != 0;
}

static uint64_t counter_of(uint64_t handle)
{
    uint64_t words[8];

    cr_assert_eq(region_read(&memory.caller, (struct region_place){handle, 0}, 1, (uint8_t *)words), 0);
    return words[5];
}

Test(region_scale, no_count_is_lost_while_a_region_grows_and_is_cloned)
{
    struct actor counters[2] = {{.worker = 1, .act = count_up}, {.worker = 2, .act = count_up}};
    uint64_t start_ns = clock_now_ns(), pages = 1, handle, copy, last = 0;
    struct region_info info;

    memory_open(&memory, 400, 3);
    cr_assert_eq(memory_create(&memory, "origin", 1, &handle), 0);
    for (unsigned i = 0; i < 2; i++) {
        counters[i].handle = handle;
        start(&counters[i]);
    }
    while (hammer_on(start_ns, pages, EVENTS_WANTED)) {
        if (pages < 300)
            cr_assert_eq(regions_grow(memory.regions, 0, 1, handle, ++pages * PAGE_BYTES, &info), 0);
        cr_assert_eq(memory_clone(&memory, handle, "copy", &copy), 0);
        cr_assert_geq(counter_of(copy), last, "a later clone has all that an earlier one had");
        last = counter_of(copy);
        cr_assert_eq(regions_delete(memory.regions, 0, 1, copy), 0);
        executor_maintain(memory.executor, 0, clock_now_ns());
    }
    finish(counters, 2);
    cr_expect_eq(counter_of(handle), counters[0].done + counters[1].done);
    memory_settle(&memory);
    memory_close(&memory);
}

/* Writes its own number all over, and to a clone of the same pages another; in a pool too small for both. */
static void write_origin(struct actor *actor)
{
    struct region_caller caller = caller_of(actor);

    for (uint64_t page = 0; page < CHAIN; page++)
        actor->wrong += put_number(&caller, actor->handle, page, actor->done) != 0;
}

static uint64_t clone_handle; /* of the present clone; atomic */

#define CLONE_MARK (1ull << 63)

static void write_clone(struct actor *actor)
{
    struct region_caller caller = caller_of(actor);

    for (uint64_t page = 0; page < CHAIN; page++) {
        int error = put_number(&caller, load_acquire(&clone_handle), page, CLONE_MARK | actor->done);

        actor->wrong += error && error != -ENOSPC && error != -EHWPOISON && error != -ESTALE;
    }
}

Test(region_scale, origin_and_clone_fight_for_the_last_pages)
{
    struct actor actors[2] = {{.worker = 1, .act = write_origin}, {.worker = 2, .act = write_clone}};
    uint64_t start_ns = clock_now_ns(), origin, copy, number;
    unsigned clones = 0, poisoned = 0;

    memory_open(&memory, CHAIN + 4, 3);
    cr_assert_eq(memory_create(&memory, "origin", CHAIN, &origin), 0);
    cr_assert_eq(memory_clone(&memory, origin, "copy", &copy), 0);
    clone_handle = copy;
    actors[0].handle = origin;
    start(&actors[0]);
    start(&actors[1]);
    while (hammer_on(start_ns, poisoned, EVENTS_WANTED)) {
        for (uint64_t page = 0; page < CHAIN; page++) {
            cr_assert_eq(get_number(&memory.caller, origin, page, &number), 0);
            cr_assert(!(number & CLONE_MARK), "the clone's write shows in the origin");
            poisoned += get_number(&memory.caller, copy, page, &number) == -EHWPOISON;
        }
        if (clones++ % 4 == 3) {
            cr_assert_eq(regions_delete(memory.regions, 0, 1, copy), 0);
            cr_assert_eq(memory_clone(&memory, origin, "copy", &copy), 0);
            store_release(&clone_handle, copy);
        }
        executor_maintain(memory.executor, 0, clock_now_ns());
    }
    finish(actors, 2);
    fprintf(stderr, "%u rounds, %u poisoned pages read\n", clones, poisoned);
    cr_expect_geq(poisoned, EVENTS_WANTED, "the pool must have been full");
    memory_settle(&memory);
    memory_close(&memory);
}

/* Deletes and creates under the feet of readers and writers. */
static uint64_t current; /* handle; atomic */

static void use_current(struct actor *actor)
{
    struct region_caller caller = caller_of(actor);
    uint64_t handle = load_acquire(&current), number;
    int error = get_number(&caller, handle, 3, &number);

    actor->wrong += error != -ESTALE && (error || (number != 0 && number != handle));
    error = put_number(&caller, handle, 3, handle);
    actor->wrong += error && error != -ESTALE;
}

Test(region_scale, a_deleted_region_is_never_written_into_the_next)
{
    struct actor actors[2] = {{.worker = 1, .act = use_current}, {.worker = 2, .act = use_current}};
    uint64_t start_ns = clock_now_ns(), handle, number;
    unsigned rounds = 0;

    memory_open(&memory, 4, 3);
    for (unsigned i = 0; i < 2; i++)
        start(&actors[i]);
    while (hammer_on(start_ns, rounds, EVENTS_WANTED)) {
        cr_assert_eq(memory_create(&memory, "a", 4, &handle), 0);
        cr_assert_eq(get_number(&memory.caller, handle, 3, &number), 0);
        cr_assert_eq(number, 0, "somebody wrote what was deleted");
        store_release(&current, handle);
        for (unsigned i = 0; i < 50; i++) {
            cr_assert_eq(get_number(&memory.caller, handle, 3, &number), 0);
            cr_assert(number == 0 || number == handle);
        }
        cr_assert_eq(regions_delete(memory.regions, 0, 1, handle), 0);
        rounds++;
        if (rounds % 2)
            executor_maintain(memory.executor, 0, clock_now_ns());
    }
    finish(actors, 2);
    cr_expect_geq(rounds, EVENTS_WANTED);
    memory_settle(&memory);
    memory_close(&memory);
}
