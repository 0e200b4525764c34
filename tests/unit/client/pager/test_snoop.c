/* test_snoop.c - a coherent mapping gives up what others want, whatever it is doing with it */
#include <criterion/criterion.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "atomic.h"
#include "clock.h"
#include "fixture.h"
#include "pager_internal.h"
#include "pager_snoop.h"

#define PATIENCE_NS (60 * NS_PER_S) /* a slow machine */

TestSuite(snoop, .timeout = 120);

static struct cxe_region *region;
static uint8_t *memory;

static void start(uint64_t bytes, uint64_t local_bytes, struct cxe_map_options options)
{
    region = fake_start_shared(bytes);
    memory = map_region(region, local_bytes, options);
}

static void stop(void)
{
    check_valid(memory);
    cr_assert_eq(fake->stray_writes, 0);
    finish(region, memory);
}

static void pause_a_moment(void)
{
    const struct timespec pause = {.tv_nsec = 100000};

    nanosleep(&pause, NULL);
}

static enum bi_state answer_to(uint16_t id)
{
    uint64_t until_ns = clock_now_ns() + PATIENCE_NS;
    enum bi_state state = BI_STATE_INVALID;

    while (!fake_answered(id, &state)) {
        cr_assert_lt(clock_now_ns(), until_ns, "snoop %u is not answered", id);
        pause_a_moment();
    }
    return state;
}

static enum bi_state snoop(uint64_t page, enum bi_snp kind)
{
    return answer_to(fake_snoop(region, page, kind));
}

static uint8_t at_server(uint64_t offset)
{
    return load_relaxed(&fake_memory(region)[offset]);
}

static enum page_state state_of_page_0(void)
{
    return page_state(load_acquire(&pager_find(memory)->words[0]));
}

static void wait_until_fenced(uint64_t times)
{
    uint64_t until_ns = clock_now_ns() + PATIENCE_NS;

    while (info_of(memory).fenced < times || !fake->agent) {
        cr_assert_lt(clock_now_ns(), until_ns);
        pause_a_moment();
    }
}

Test(snoop, a_page_that_is_not_here_is_answered_at_once)
{
    start(MIB, MIB, (struct cxe_map_options){0});
    cr_assert_eq(snoop(3, BI_SNP_INV), BI_STATE_INVALID);
    cr_assert_eq(snoop(4, BI_SNP_DATA), BI_STATE_INVALID);
    cr_assert_eq(info_of(memory).snoops, 2);
    stop();
}

Test(snoop, a_load_asks_for_a_shared_copy_and_a_store_for_the_only_one)
{
    start(MIB, MIB, (struct cxe_map_options){.flags = CXE_MAP_NO_PREFETCH});
    cr_assert_eq(memory[0], fake_byte(0));
    cr_assert_eq(fake->shared_reads, 1);
    memory[4096] = 7;
    cr_assert_eq(fake->owned_reads, 1);
    memory[1] = 7; /* shared so far: it is asked for again */
    cr_assert_eq(fake->owned_reads, 2);
    cr_assert_eq(cxe_sync(memory, MIB), 0);
    memory[2] = 8; /* clean, but still ours alone */
    cr_assert_eq(fake->owned_reads, 2);
    cr_assert_eq(fake->shared_reads, 1);
    stop();
}

Test(snoop, a_clean_page_goes_and_comes_back_as_it_is_then)
{
    start(MIB, MIB, (struct cxe_map_options){0});
    cr_assert_eq(memory[0], fake_byte(0));
    cr_assert_eq(snoop(0, BI_SNP_INV), BI_STATE_INVALID);
    fake_memory(region)[0] = 99;
    cr_assert_eq(memory[0], 99);
    stop();
}

Test(snoop, a_clean_page_may_stay_where_the_other_only_reads)
{
    start(MIB, MIB, (struct cxe_map_options){0});
    memory[0] = 5;
    cr_assert_eq(cxe_sync(memory, MIB), 0);
    uint64_t reads = fake->shared_reads + fake->owned_reads;
    cr_assert_eq(snoop(0, BI_SNP_DATA), BI_STATE_SHARED);
    cr_assert_eq(memory[0], 5);
    cr_assert_eq(fake->shared_reads + fake->owned_reads, reads);
    memory[0] = 6; /* not ours alone any more */
    cr_assert_eq(fake->owned_reads, 2);
    stop();
}

Test(snoop, a_dirty_page_comes_home_first)
{
    start(MIB, MIB, (struct cxe_map_options){0});
    memory[0] = 41;
    memory[2000] = 42;
    uint64_t lines = fake->written_lines;
    cr_assert_eq(snoop(0, BI_SNP_INV), BI_STATE_INVALID);
    cr_assert_eq(at_server(0), 41);
    cr_assert_eq(at_server(2000), 42);
    cr_assert_eq(fake->written_lines - lines, 2, "only the lines that changed");
    fake_memory(region)[0] = 43;
    cr_assert_eq(memory[0], 43);
    cr_assert_eq(memory[2000], 42);
    stop();
}

Test(snoop, a_dirty_page_stays_readable_where_the_other_only_reads)
{
    start(MIB, MIB, (struct cxe_map_options){0});
    memory[0] = 41;
    cr_assert_eq(snoop(0, BI_SNP_DATA), BI_STATE_SHARED);
    cr_assert_eq(at_server(0), 41);
    cr_assert_eq(memory[0], 41);
    cr_assert_eq(fake->shared_reads, 0);
    stop();
}

Test(snoop, lines_that_fill_more_than_a_frame_go_first)
{
    start(MIB, MIB, (struct cxe_map_options){0});
    fake->frame_lines = 16;
    memset(memory, 41, 4096);
    cr_assert_eq(snoop(0, BI_SNP_INV), BI_STATE_INVALID);
    for (unsigned i = 0; i < 4096; i += 64)
        cr_assert_eq(at_server(i), 41);
    stop();
}

Test(snoop, nothing_is_answered_before_the_lines_are_there)
{
    enum bi_state state;

    start(MIB, MIB, (struct cxe_map_options){0});
    memory[0] = 41;
    fake->write_error = -ENOSPC;
    uint16_t id = fake_snoop(region, 0, BI_SNP_INV);
    for (unsigned i = 0; i < 1000; i++) {
        cr_assert(!fake_answered(id, &state), "although the write failed");
        pause_a_moment();
    }
    fake->write_error = 0;
    cr_assert_eq(answer_to(id), BI_STATE_INVALID);
    cr_assert_eq(at_server(0), 41);
    stop();
}

Test(snoop, an_answer_nobody_knows_of_is_not_taken_for_a_fence)
{
    start(MIB, MIB, (struct cxe_map_options){0});
    memory[0] = 41;
    memory[PAGE] = 42;
    fake->unknown_answers = 1;
    cr_assert_eq(snoop(0, BI_SNP_INV), BI_STATE_INVALID);
    fake_memory(region)[0] = 43;
    cr_assert_eq(memory[0], 43, "the second try was refused, and changed nothing");
    cr_assert_eq(memory[PAGE], 42);
    cr_assert_eq(cxe_sync(memory, MIB), 0);
    cr_assert_eq(info_of(memory).fenced, 0);
    cr_assert_eq(fake->stray_writes, 0);
    stop();
}

/* The server did what the answer said; a late copy of an old read made us the owner again, in its eyes;
 * another has stored in between. */
static void own_again(struct fake_page *page)
{
    page->holding = FAKE_OWNED;
    store_relaxed(&fake_memory(region)[0], 43);
}

Test(snoop, an_answer_nobody_knows_of_does_not_overwrite_what_came_after_it)
{
    start(MIB, MIB, (struct cxe_map_options){0});
    memory[0] = 41;
    fake->unknown_answers = 1;
    fake_on_unknown_answer = own_again;
    cr_assert_eq(snoop(0, BI_SNP_INV), BI_STATE_INVALID);
    cr_assert_eq(memory[0], 43);
    cr_assert_eq(at_server(0), 43);
    cr_assert_eq(info_of(memory).fenced, 0);
    fake_on_unknown_answer = NULL;
    stop();
}

Test(snoop, one_heard_twice_is_answered_once)
{
    start(MIB, MIB, (struct cxe_map_options){0});
    cr_assert_eq(memory[0], fake_byte(0));
    uint16_t id = fake_snoop(region, 0, BI_SNP_INV);
    answer_to(id);
    cr_assert_eq(memory[0], fake_byte(0));
    uint64_t reads = fake->shared_reads;
    fake_snoop_again(id);
    snoop(1, BI_SNP_INV); /* behind it */
    cr_assert_eq(memory[0], fake_byte(0));
    cr_assert_eq(fake->shared_reads, reads, "the page is still here");
    stop();
}

static void *read_page_0(void *unused)
{
    (void)unused;
    return (void *)(uintptr_t)load_relaxed(&memory[0]);
}

Test(snoop, what_is_being_fetched_is_fetched_again)
{
    pthread_t reader;
    void *seen;

    start(MIB, MIB, (struct cxe_map_options){0});
    fake_reserve(0);
    pthread_create(&reader, NULL, read_page_0, NULL);
    while (state_of_page_0() != PAGE_FETCHING)
        pause_a_moment();
    cr_assert_eq(snoop(0, BI_SNP_INV), BI_STATE_INVALID, "although the read waits for this very answer");
    fake_memory(region)[0] = 77;
    fake_unreserve(0);
    pthread_join(reader, &seen);
    cr_assert_eq((uintptr_t)seen, 77);
    cr_assert_eq(fake->shared_reads, 2, "what came first was no longer to be trusted");
    stop();
}

/* A read that waits at the server while its page is snooped; how many reads it takes in the end. */
static uint64_t reads_of_a_snooped_page(uint16_t snoops_since_given)
{
    pthread_t reader;
    uint64_t reads;
    void *seen;

    start(MIB, MIB, (struct cxe_map_options){0});
    fake->says_given = true;
    fake->snoops_since_given = snoops_since_given;
    fake_reserve(0);
    pthread_create(&reader, NULL, read_page_0, NULL);
    while (state_of_page_0() != PAGE_FETCHING)
        pause_a_moment();
    cr_assert_eq(snoop(0, BI_SNP_INV), BI_STATE_INVALID);
    cr_assert_eq(snoop(0, BI_SNP_INV), BI_STATE_INVALID, "the newest of them counts");
    fake_unreserve(0);
    pthread_join(reader, &seen);
    cr_assert_eq((uintptr_t)seen, fake_byte(0));
    reads = fake->shared_reads;
    stop();
    return reads;
}

Test(snoop, a_page_given_after_the_snoop_was_sent_is_used)
{
    cr_assert_eq(reads_of_a_snooped_page(0), 1,
                 "else two clients could throw away each other's grants for ever");
}

Test(snoop, a_page_given_before_the_snoop_was_sent_is_not_used)
{
    cr_assert_eq(reads_of_a_snooped_page(1), 2);
}

Test(snoop, a_bulk_read_leaves_out_what_was_snooped)
{
    start(4 * MIB, 4 * MIB, (struct cxe_map_options){0});
    cr_assert_eq(cxe_prefetch(memory, 16 * PAGE), 0);
    cr_assert_eq(snoop(5, BI_SNP_INV), BI_STATE_INVALID);
    fake_memory(region)[5 * PAGE] = 77;
    for (unsigned i = 0; i < 16; i++)
        cr_assert_eq(memory[i * PAGE], i == 5 ? 77 : fake_byte(i * PAGE), "page %u", i);
    stop();
}

/* The shortest time from a store of that value to the answer to a snoop behind it. */
static uint64_t given_up_after_ns(uint8_t value)
{
    uint64_t start_ns = clock_now_ns();
    enum bi_state state;

    store_relaxed(&memory[0], value);
    uint16_t id = fake_snoop(region, 0, BI_SNP_INV);
    while (!fake_answered(id, &state))
        sched_yield();
    return clock_now_ns() - start_ns;
}

Test(snoop, a_page_that_went_before_its_store_came_is_held_longer)
{
    start(MIB, MIB, (struct cxe_map_options){0});
    for (unsigned i = 0; i < 10; i++) /* stores that change nothing are as good as none */
        given_up_after_ns(fake_byte(0));
    for (unsigned i = 0; i < 10; i++)
        cr_assert_geq(given_up_after_ns(fake_byte(0)), 600 * NS_PER_US);
    given_up_after_ns(1);
    stop();
}

/* ---- pages that somebody is at ---- */

static void *sync_all(void *unused)
{
    (void)unused;
    cr_assert_eq(cxe_sync(memory, MIB), 0, "%s", cxe_last_error());
    return NULL;
}

Test(snoop, a_page_on_its_way_home_is_given_up_when_it_has_arrived)
{
    enum bi_state state;
    pthread_t syncer;

    start(MIB, MIB, (struct cxe_map_options){0});
    memory[0] = 41;
    fake->delay_ns = 300 * NS_PER_MS;
    pthread_create(&syncer, NULL, sync_all, NULL);
    while (state_of_page_0() != PAGE_CLEANING)
        pause_a_moment();
    fake->delay_ns = 0; /* what comes later overtakes it */
    uint16_t id = fake_snoop(region, 0, BI_SNP_INV);
    memory[64] = 42; /* and it is stored to meanwhile */
    while (!fake_answered(id, &state))
        pause_a_moment();
    pthread_join(syncer, NULL);
    cr_assert_eq(at_server(0), 41);
    cr_assert_eq(at_server(64), 42);
    cr_assert_eq(memory[64], 42);
    stop();
}

static void *sync_one(void *page)
{
    cr_assert_eq(cxe_sync(page, PAGE), 0, "%s", cxe_last_error());
    return NULL;
}

/* A bulk read waits at the server for another client, and what is posted behind it on its lane may have to
 * wait as well. If that were a write-back, its page could not be given up, and the other client may wait for
 * it. */
Test(snoop, a_page_does_not_wait_for_a_bulk_read_that_waits_for_others)
{
    pthread_t syncers[8]; /* one of them at least comes to that lane */

    start(4 * MIB, 4 * MIB, (struct cxe_map_options){.flags = CXE_MAP_NO_CLEANER});
    for (unsigned i = 0; i < 8; i++)
        memory[i * PAGE] = 41;
    fake_reserve(40);
    cr_assert_eq(cxe_prefetch(memory + 32 * PAGE, 16 * PAGE), 0);
    for (unsigned i = 0; i < 8; i++)
        pthread_create(&syncers[i], NULL, sync_one, memory + i * PAGE);
    while (info_of(memory).dirty_bytes > PAGE)
        pause_a_moment();
    for (unsigned i = 0; i < 8; i++)
        cr_assert_eq(snoop(i, BI_SNP_INV), BI_STATE_INVALID);
    for (unsigned i = 0; i < 8; i++)
        cr_assert_eq(at_server(i * PAGE), 41);
    fake_unreserve(40);
    for (unsigned i = 0; i < 8; i++)
        pthread_join(syncers[i], NULL);
    stop();
}

Test(snoop, a_poisoned_page_is_not_here)
{
    start(MIB, MIB, (struct cxe_map_options){0});
    fake->read_error = -EHWPOISON;
    cr_assert(!can_read(memory));
    fake->read_error = 0;
    cr_assert_eq(snoop(0, BI_SNP_INV), BI_STATE_INVALID);
    cr_assert(!can_read(memory), "nothing was asked for anew");
    stop();
}

static void *store_to_page_0(void *unused)
{
    store_relaxed(&memory[0], (uint8_t)41);
    return unused;
}

Test(snoop, a_store_that_waits_for_its_page_holds_nothing)
{
    pthread_t writer;

    start(MIB, MIB, (struct cxe_map_options){0});
    cr_assert_eq(memory[0], fake_byte(0));
    fake_reserve(0);
    pthread_create(&writer, NULL, store_to_page_0, NULL);
    while (state_of_page_0() != PAGE_FETCHING)
        pause_a_moment();
    cr_assert_eq(snoop(0, BI_SNP_INV), BI_STATE_INVALID);
    fake_memory(region)[0] = 76;
    fake_memory(region)[1] = 77;
    fake_unreserve(0);
    pthread_join(writer, NULL);
    cr_assert_eq(memory[1], 77);
    cr_assert_eq(memory[0], 41);
    stop();
}

Test(snoop, fail_fast_waits_for_other_clients)
{
    pthread_t reader;
    void *seen;

    region = fake_start_shared(MIB);
    fake->lease_ms = 30000;
    memory = map_region(region, MIB, (struct cxe_map_options){.gone_policy = CXE_GONE_FAIL_FAST});
    fake_reserve(0);
    pthread_create(&reader, NULL, read_page_0, NULL);
    usleep(400000); /* longer than it would wait for a server */
    fake_unreserve(0);
    pthread_join(reader, &seen);
    cr_assert_eq((uintptr_t)seen, fake_byte(0));
    stop();
}

Test(snoop, many_at_once_and_past_the_last_number)
{
    static uint16_t ids[1000];

    region = fake_start_shared(4 * MIB);
    fake->snoop_count = fake->first_open = 65000;
    memory = map_region(region, 8 * MIB, (struct cxe_map_options){0});
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 1000; i++)
            memory[i * PAGE] = (uint8_t)(i + round);
        for (unsigned i = 0; i < 1000; i++)
            ids[i] = fake_snoop(region, i, i % 2 ? BI_SNP_INV : BI_SNP_DATA);
        for (unsigned i = 0; i < 1000; i++) {
            cr_assert_eq(answer_to(ids[i]), i % 2 ? BI_STATE_INVALID : BI_STATE_SHARED);
            cr_assert_eq(at_server(i * PAGE), (uint8_t)(i + round));
        }
    }
    stop();
}

/* A stopped server's client must not burn a core until its lease is over. */
Test(snoop, more_than_can_be_answered_at_once_wait_asleep)
{
    const struct timespec a_while = {.tv_nsec = 100 * NS_PER_MS};
    enum { SNOOPS = 3 * ANSWERS };
    uint16_t ids[SNOOPS];
    uint64_t before;

    start(MIB, MIB, (struct cxe_map_options){0});
    fake->slow_answers = 1;
    for (unsigned i = 0; i < SNOOPS; i++)
        ids[i] = fake_snoop(region, i, BI_SNP_INV);
    nanosleep(&a_while, NULL); /* all are heard, or on a slow machine some, and then less is tried */
    do {                       /* while they are; one that never rests ends by the test's time-out */
        before = fake->listens;
        nanosleep(&a_while, NULL);
    } while (fake->listens - before >= 20);
    fake->slow_answers = 0;
    for (unsigned i = 0; i < SNOOPS; i++)
        cr_assert_eq(answer_to(ids[i]), BI_STATE_INVALID);
    stop();
}

Test(snoop, the_child_of_a_fork_has_no_coherent_mapping)
{
    int status;

    start(MIB, MIB, (struct cxe_map_options){0});
    memory[0] = 41;
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        _exit(*(volatile uint8_t *)memory);
    }
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "status %x", (unsigned)status);
    memory[1] = 42;
    cr_assert_eq(snoop(0, BI_SNP_INV), BI_STATE_INVALID);
    cr_assert_eq(at_server(0), 41);
    cr_assert_eq(fake->clones, 0);
    stop();
}

Test(snoop, zeros_are_nobody_s_to_know)
{
    struct cxe_map_options options = {.local_bytes = MIB};
    struct pager_options more = {.new_region = true};

    region = fake_start_shared(MIB);
    cr_assert_eq(pager_map(region, &options, &more, (void **)&memory), 0);
    cr_assert_eq(memory[0], fake_byte(0));
    cr_assert_eq(pager_discard(memory, PAGE), -EOPNOTSUPP);
    cr_assert_eq(memory[0], fake_byte(0));
    stop();
}

/* ---- races ---- */

#define RACERS     3
#define RACE_PAGES 8

static _Atomic bool race_over;

static void *race(void *argument)
{
    uint64_t slot = (uintptr_t)argument, rounds = 0;

    for (; !race_over; rounds++)
        for (unsigned page = 0; page < RACE_PAGES; page++) {
            uint64_t *counter = (uint64_t *)(memory + page * PAGE) + slot;

            store_relaxed(counter, load_relaxed(counter) + 1);
        }
    return (void *)rounds;
}

static unsigned random_below(unsigned *state, unsigned n)
{
    *state = *state * 1664525u + 1013904223u;
    return (*state >> 8) % n;
}

/* The server takes pages to add to a counter of its own on them, which shares a line with the others'. */
static void take_pages(unsigned rounds, unsigned *state)
{
    for (unsigned i = 0; i < rounds; i++) {
        unsigned page = random_below(state, RACE_PAGES);

        fake_reserve(page);
        if (random_below(state, 4) == 0) {
            snoop(page, BI_SNP_DATA);
        } else {
            snoop(page, BI_SNP_INV);
            ((uint64_t *)(fake_memory(region) + page * PAGE))[RACERS]++;
            ((uint64_t *)(fake_memory(region) + page * PAGE))[RACERS + 1 + page]++;
        }
        fake_unreserve(page);
    }
}

static void race_with_snoops(uint64_t local_bytes, struct cxe_map_options options)
{
    const char *given = getenv("CXE_TEST_SEED");
    unsigned state = given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)getpid();
    uint64_t rounds[RACERS], taken = 0, expected = 0;
    pthread_t racers[RACERS];

    fprintf(stderr, "CXE_TEST_SEED=%u\n", state);
    start(4 * MIB, local_bytes, options);
    for (unsigned page = 0; page < RACE_PAGES; page++)
        memset(fake_memory(region) + page * PAGE, 0, PAGE);
    for (uintptr_t i = 0; i < RACERS; i++)
        pthread_create(&racers[i], NULL, race, (void *)i);
    take_pages(1500, &state);
    race_over = true;
    for (unsigned i = 0; i < RACERS; i++)
        pthread_join(racers[i], (void **)&rounds[i]);
    cr_assert_eq(cxe_sync(memory, 4 * MIB), 0, "%s", cxe_last_error());
    for (unsigned page = 0; page < RACE_PAGES; page++) {
        const uint64_t *counters = (const uint64_t *)(fake_memory(region) + page * PAGE);

        for (unsigned i = 0; i < RACERS; i++)
            cr_assert_eq(counters[i], rounds[i], "page %u, thread %u: a store is lost", page, i);
        taken += counters[RACERS];
        expected += counters[RACERS + 1 + page];
    }
    cr_assert_eq(taken, expected);
    cr_assert_gt(taken, 0);
    stop();
}

Test(snoop, no_store_is_lost_inline)
{
    race_with_snoops(4 * MIB, (struct cxe_map_options){0});
}

Test(snoop, no_store_is_lost_in_thread_mode)
{
    race_with_snoops(4 * MIB, (struct cxe_map_options){.fault_mode = CXE_FAULT_THREAD});
}

/* ---- fencing ---- */

/* The server made an agent and nobody was told which: it holds nothing, and another is as good. */
Test(snoop, attaching_is_tried_again_when_its_answer_is_lost)
{
    region = fake_start_shared(MIB);
    fake->unknown_attaches = 2;
    memory = map_region(region, MIB, (struct cxe_map_options){0});
    cr_assert_eq(fake->agents, 3);
    memory[0] = 41;
    cr_assert_eq(cxe_sync(memory, MIB), 0);
    stop();
}

Test(snoop, attaching_is_tried_until_the_deadline)
{
    void *address = NULL;

    region = fake_start_shared(MIB);
    region->connection->timeout_ns = 50 * NS_PER_MS;
    fake->unknown_attaches = UINT32_MAX;
    cr_assert_eq(cxe_map(region, NULL, &address), -ETIMEDOUT, "mapping changes no memory");
    fake->unknown_attaches = 0;
    memory = map_region(region, MIB, (struct cxe_map_options){0});
    stop();
}

Test(snoop, the_lease_is_renewed)
{
    region = fake_start_shared(MIB);
    fake->lease_ms = 2000;
    memory = map_region(region, MIB, (struct cxe_map_options){0});
    while (fake->attaches < 5)
        pause_a_moment();
    cr_assert_eq(fake->agents, info_of(memory).fenced + 1);
    stop();
}

/* Whatever the server counts from, it has heard of us later than we had asked it. */
Test(snoop, the_lease_is_over_here_before_it_is_at_the_server)
{
    region = fake_start_shared(MIB);
    fake->lease_ms = 10000;
    uint64_t before_ns = clock_now_ns();
    memory = map_region(region, MIB, (struct cxe_map_options){0});
    uint64_t until_ns = load_relaxed(&pager_find(memory)->snooper->valid_until_ns);

    cr_assert_gt(until_ns, before_ns);
    cr_assert_lt(until_ns, clock_now_ns() + 10000 * NS_PER_MS);
    stop();
}

Test(snoop, fenced_by_the_server_it_loses_its_stores_aloud)
{
    start(MIB, MIB, (struct cxe_map_options){0});
    memory[0] = 41;
    cr_assert_eq(memory[4096], fake_byte(4096));
    fake_fence();
    fake_memory(region)[4096] = 77;
    cr_assert(can_read(memory + 8192), "another agent is attached, and the access repeated");
    wait_until_fenced(1);
    cr_assert_eq(memory[4096], 77, "clean pages are fetched anew");
    cr_assert(!can_read(memory), "lost stores are not passed over in silence");
    cr_assert(!can_write(memory, 1));
    cr_assert_eq(cxe_sync(memory, MIB), -EOWNERDEAD);
    cr_assert_eq(cxe_sync(memory + 4096, MIB - 4096), 0);
    cr_assert_eq(cxe_unmap(memory), -EOWNERDEAD);
    cr_assert_eq(cxe_advise(memory, MIB, CXE_ADVICE_REFRESH), 0);
    cr_assert_eq(memory[0], fake_byte(0));
    cr_assert_eq(cxe_sync(memory, MIB), 0);
    stop();
}

Test(snoop, it_fences_itself_when_nobody_answers)
{
    region = fake_start_shared(MIB);
    fake->lease_ms = 3000;
    memory = map_region(region, MIB, (struct cxe_map_options){0});
    memory[0] = 41;
    cr_assert_eq(memory[4096], fake_byte(4096));
    fake->gone = true;
    fake_memory(region)[4096] = 77;
    while (!info_of(memory).fenced)
        pause_a_moment();
    cr_assert_eq(fake->agent, 1, "the server still believes in it");
    fake->gone = false;
    cr_assert_eq(memory[4096], 77);
    cr_assert(!can_read(memory));
    cr_assert_eq(cxe_advise(memory, MIB, CXE_ADVICE_REFRESH), 0);
    stop();
}

Test(snoop, a_write_back_under_way_is_fenced_too)
{
    start(MIB, MIB, (struct cxe_map_options){0});
    memory[0] = 41;
    fake_fence();
    cr_assert_eq(cxe_sync(memory, MIB), -EOWNERDEAD);
    wait_until_fenced(1);
    cr_assert(!can_read(memory));
    cr_assert_eq(at_server(0), fake_byte(0), "a late write-back is refused");
    cr_assert_eq(cxe_advise(memory, MIB, CXE_ADVICE_REFRESH), 0);
    stop();
}

Test(snoop, stores_that_were_given_up_are_nobody_s)
{
    enum bi_state state;

    start(MIB, MIB, (struct cxe_map_options){0});
    memory[0] = memory[PAGE] = 41;
    fake->write_error = -ESTALE;
    cr_assert_eq(cxe_unmap(memory), -ESTALE);
    cr_assert_eq(cxe_advise(memory, MIB, CXE_ADVICE_DISCARD), 0);
    check_valid(memory);
    fake->write_error = 0;
    uint16_t id = fake_snoop(region, 0, BI_SNP_INV);
    while (!fake_answered(id, &state))
        pause_a_moment();
    cr_assert_eq(state, BI_STATE_INVALID);
    cr_assert_eq(memory[0], fake_byte(0));
    cr_assert_eq(memory[PAGE], fake_byte(PAGE));
    stop();
}

Test(snoop, dirty_pages_leave_a_small_cache_and_are_nobody_s_then)
{
    unsigned owned = 0;

    start(4 * MIB, CXE_LOCAL_BYTES_MIN, (struct cxe_map_options){0});
    for (unsigned i = 0; i < 4 * MIB / PAGE; i++)
        memory[i * PAGE] = (uint8_t)i;
    for (unsigned i = 0; i < 4 * MIB / PAGE; i++)
        owned += fake->pages[i].holding == FAKE_OWNED;
    cr_assert_leq(owned, CXE_LOCAL_BYTES_MIN / PAGE, "the server knows that they were evicted");
    for (unsigned i = 0; i < 4 * MIB / PAGE; i++)
        cr_assert_eq(memory[i * PAGE], (uint8_t)i);
    stop();
}
