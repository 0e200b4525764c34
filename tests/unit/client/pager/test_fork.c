/* test_fork.c - what a child sees, and that neither sees the other afterwards */
#include <criterion/criterion.h>

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "atomic.h"
#include "fixture.h"

/* Runs `body` in a child and returns how that ended: its status, or 128 + a signal. */
static int in_child(int (*body)(uint8_t *memory), uint8_t *memory)
{
    int status;
    pid_t child = fork();

    cr_assert_geq(child, 0);
    if (child == 0)
        _exit(body(memory));
    cr_assert_eq(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Byte 3 of page i, as a test set it: i for the first 300 pages, else what the server had. */
static uint8_t expected(uint64_t page)
{
    return page < 300 ? (uint8_t)page : fake_byte(page * PAGE + 3);
}

static int sees_all(uint8_t *memory)
{
    for (uint64_t i = 0; i < 1024; i++)
        if (load_relaxed(&memory[i * PAGE + 3]) != expected(i))
            return 1;
    return pager_valid(pager_find(memory)) ? 2 : 0;
}

static int writes_and_reads(uint8_t *memory)
{
    if (sees_all(memory))
        return 1;
    for (unsigned round = 1; round < 4; round++) {
        for (uint64_t i = 0; i < 1024; i++)
            memory[i * PAGE + 70] = (uint8_t)(i + round);
        for (uint64_t i = 0; i < 1024; i++)
            if (load_relaxed(&memory[i * PAGE + 70]) != (uint8_t)(i + round))
                return 2;
    }
    return sees_all(memory) || cxe_sync(memory, 4 * MIB);
}

static int forks_again(uint8_t *memory)
{
    int status;

    for (uint64_t i = 0; i < 1024; i++)
        memory[i * PAGE + 140] = 5;
    pid_t child = fork();
    if (child == 0) {
        for (uint64_t i = 0; i < 1024; i++)
            if (load_relaxed(&memory[i * PAGE + 140]) != 5)
                _exit(1);
        _exit(writes_and_reads(memory));
    }
    for (uint64_t i = 0; i < 1024; i++)
        memory[i * PAGE + 140] = 6;
    if (waitpid(child, &status, 0) != child || status)
        return 3;
    return sees_all(memory);
}

static struct cxe_region *region;
static uint8_t *memory;

static void start(struct cxe_map_options options)
{
#ifdef __SANITIZE_THREAD__
    cr_skip_test("ThreadSanitizer does not allow threads in the child of a fork");
#endif
    region = fake_start(4 * MIB);
    memory = map_region(region, MIB, options);
    for (uint64_t i = 0; i < 300; i++)
        memory[i * PAGE + 3] = (uint8_t)i;
    for (uint64_t i = 400; i < 450; i++)
        (void)load_relaxed(&memory[i * PAGE]);
}

static void stop(void)
{
    cr_assert_eq(sees_all(memory), 0);
    for (uint64_t i = 0; i < 1024; i++)
        cr_assert_eq(load_relaxed(&memory[i * PAGE + 70]), fake_byte(i * PAGE + 70),
                     "the child's writes stay there");
    check_valid(memory);
    finish(region, memory);
}

Test(fork, child_sees_everything)
{
    start((struct cxe_map_options){0});
    cr_assert_eq(in_child(sees_all, memory), 0);
    cr_assert_eq(fake->clones, 1);
    stop();
}

Test(fork, child_writes_its_own)
{
    start((struct cxe_map_options){0});
    cr_assert_eq(in_child(writes_and_reads, memory), 0);
    stop();
}

Test(fork, child_writes_its_own_in_thread_mode)
{
    start((struct cxe_map_options){.fault_mode = CXE_FAULT_THREAD});
    cr_assert_eq(in_child(writes_and_reads, memory), 0);
    stop();
}

Test(fork, grandchildren)
{
    start((struct cxe_map_options){0});
    cr_assert_eq(in_child(forks_again, memory), 0);
    stop();
}

Test(fork, the_parent_s_later_writes_are_not_the_child_s)
{
    int status, go[2];
    char byte = 0;

    start((struct cxe_map_options){0});
    cr_assert_eq(pipe(go), 0);
    pid_t child = fork();
    if (child == 0) {
        if (read(go[0], &byte, 1) != 1)
            _exit(9);
        _exit(sees_all(memory));
    }
    for (unsigned round = 0; round < 3; round++)
        for (uint64_t i = 0; i < 1024; i++)
            memory[i * PAGE + 3] = 0xee;
    cr_assert_eq(cxe_sync(memory, 4 * MIB), 0);
    cr_assert_eq(write(go[1], &byte, 1), 1);
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert_eq(status, 0);
    check_valid(memory);
    finish(region, memory);
}

static int reads_a_remote_page(uint8_t *memory_)
{
    signal(SIGSEGV, SIG_DFL);
    return load_relaxed(&memory_[900 * PAGE]) == 0 ? 1 : 2;
}

/* Never zeros: a child that cannot have the memory dies of touching it. */
Test(fork, without_a_clone_the_child_has_no_mapping)
{
    start((struct cxe_map_options){0});
    fake->clone_error = -ENOSPC;
    cr_assert_eq(in_child(reads_a_remote_page, memory), 128 + SIGSEGV);
    fake->clone_error = 0;
    stop();
}

static int reads_without_sessions(uint8_t *memory_)
{
    struct sigaction action = {.sa_handler = SIG_DFL};

    pager_sigaction(&action, NULL);
    for (uint64_t i = 250; i < 300; i++)
        if (load_relaxed(&memory_[i * PAGE + 3]) != expected(i))
            return 1;
    return load_relaxed(&memory_[900 * PAGE]) == 0 ? 1 : 2;
}

Test(fork, without_sessions_the_child_has_what_is_local)
{
    start((struct cxe_map_options){0});
    fake->reopen_error = -ECONNREFUSED;
    cr_assert_eq(in_child(reads_without_sessions, memory), 128 + SIGBUS);
    fake->reopen_error = 0;
    stop();
}

Test(fork, everything_local_needs_no_clone)
{
#ifdef __SANITIZE_THREAD__
    cr_skip_test("ThreadSanitizer does not allow threads in the child of a fork");
#endif
    region = fake_start(MIB);
    memory = map_region(region, 4 * MIB, (struct cxe_map_options){0});
    for (uint64_t i = 0; i < 256; i++)
        memory[i * PAGE + 3] = (uint8_t)i;
    fake->clone_error = -ENOSPC;
    pid_t child = fork();
    if (child == 0) {
        for (uint64_t i = 0; i < 256; i++)
            if (load_relaxed(&memory[i * PAGE + 3]) != (uint8_t)i)
                _exit(1);
        _exit(0);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert_eq(status, 0);
    finish(region, memory);
}

/* An allocator in the mapping, say: making the clone faults, with every page dirty and write-backs stopped.
 */
static void touch_many(void)
{
    sigset_t none, old;

    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, &old);
    for (uint64_t i = 500; i < 600; i++)
        memory[i * PAGE + 3] = fake_byte(i * PAGE + 3);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static void fork_that_faults(enum cxe_fault_mode mode)
{
    start((struct cxe_map_options){.fault_mode = mode, .flags = CXE_MAP_NO_CLEANER});
    for (uint64_t i = 0; i < 400; i++)
        memory[i * PAGE + 3] = expected(i);
    fake_on_clone = touch_many;
    cr_assert_eq(in_child(writes_and_reads, memory), 0);
    fake_on_clone = NULL;
    for (uint64_t i = 600; i < 1000; i++)
        memory[i * PAGE + 3] = expected(i);
    stop();
}

Test(fork, that_faults_while_cloning)
{
    fork_that_faults(CXE_FAULT_INLINE);
}

Test(fork, that_faults_while_cloning_in_thread_mode)
{
    fork_that_faults(CXE_FAULT_THREAD);
}

/* ---- with other threads at work ---- */

static uint32_t stopping;
static void *busy(void *argument)
{
    unsigned state = (unsigned)(uintptr_t)argument;

    while (!load_relaxed(&stopping)) {
        state = state * 1664525u + 1013904223u;
        uint64_t page = (state >> 8) % 1024;

        memory[page * PAGE + 512 + 64 * (uintptr_t)argument] = (uint8_t)state;
    }
    return NULL;
}

Test(fork, while_threads_write)
{
    pthread_t threads[3];

    start((struct cxe_map_options){0});
    for (uintptr_t i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, busy, (void *)i);
    for (unsigned i = 0; i < 8; i++)
        cr_assert_eq(in_child(writes_and_reads, memory), 0);
    store_relaxed(&stopping, 1u);
    for (unsigned i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    stop();
}

Test(fork, a_watched_child_s_clone_goes_with_it)
{
    start((struct cxe_map_options){0});
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    pager_fork_watch(child);
    waitpid(child, NULL, 0);
    for (unsigned i = 0; i < 300 && !fake->deletes; i++)
        usleep(10000);
    cr_assert_eq(fake->deletes, 1);
    stop();
}
