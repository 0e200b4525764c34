/* test_program.c - what programs do to a mapping: system calls, signals, descriptors, madvise, odd addresses
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "atomic.h"
#include "fixture.h"

/* ---- system calls ---- */

Test(program, system_calls_work_in_thread_mode)
{
    struct cxe_region *region = fake_start(MIB);
    uint8_t *memory = map_region(region, MIB, (struct cxe_map_options){.fault_mode = CXE_FAULT_THREAD});
    int pipes[2];
    uint8_t bytes[8];

    cr_assert_eq(pipe(pipes), 0);
    cr_assert_eq(write(pipes[1], memory + 3 * PAGE, 8), 8);
    cr_assert_eq(read(pipes[0], bytes, 8), 8);
    cr_assert_eq(memcmp(bytes, fake_memory(region) + 3 * PAGE, 8), 0);
    cr_assert_eq(write(pipes[1], "abcdefgh", 8), 8);
    cr_assert_eq(read(pipes[0], memory + 4 * PAGE, 8), 8);
    cr_assert_eq(cxe_sync(memory, MIB), 0);
    cr_assert_eq(memcmp(fake_memory(region) + 4 * PAGE, "abcdefgh", 8), 0);
    finish(region, memory);
}

Test(program, system_calls_fail_inline_and_work_on_pinned_pages)
{
    struct cxe_region *region = fake_start(MIB);
    uint8_t *memory = map_region(region, MIB, (struct cxe_map_options){0});
    int pipes[2];

    cr_assert_eq(pipe(pipes), 0);
    cr_assert(write(pipes[1], memory + 3 * PAGE, 8) == -1 && errno == EFAULT);
    cr_assert_eq(pager_pin(memory + 3 * PAGE + 100, 2 * PAGE, false), 2 * PAGE);
    cr_assert_eq(write(pipes[1], memory + 3 * PAGE + 100, 2 * PAGE), 2 * PAGE);
    pager_unpin(memory + 3 * PAGE + 100, 2 * PAGE);

    cr_assert_eq(pager_pin(memory + 9 * PAGE, 2 * PAGE, true), 2 * PAGE);
    cr_assert_eq(cxe_sync(memory, MIB), 0, "does not wait for pins, and leaves them writable");
    cr_assert_eq(read(pipes[0], memory + 9 * PAGE, 2 * PAGE), 2 * PAGE);
    pager_unpin(memory + 9 * PAGE, 2 * PAGE);
    cr_assert_eq(cxe_sync(memory, MIB), 0);
    cr_assert_eq(memcmp(fake_memory(region) + 9 * PAGE, fake_memory(region) + 3 * PAGE + 100, 2 * PAGE), 0);
    check_valid(memory);
    finish(region, memory);
}

Test(program, pins_are_bounded_and_keep_pages)
{
    struct cxe_region *region = fake_start(MIB);
    uint8_t *memory = map_region(region, CXE_LOCAL_BYTES_MIN, (struct cxe_map_options){0});
    ssize_t got[8], total = 0;

    ssize_t once = pager_pin(memory, MIB, true);
    cr_assert(once >= (ssize_t)PAGE && once <= (ssize_t)CXE_LOCAL_BYTES_MIN / 4, "%zd", once);
    for (unsigned i = 0; i < 8; i++) {
        got[i] = pager_pin(memory + 64 * PAGE, MIB, false);
        total += got[i] > 0 ? got[i] : 0;
    }
    cr_assert_eq(got[7], -EAGAIN);
    cr_assert_leq(once + total, (ssize_t)CXE_LOCAL_BYTES_MIN / 2);
    for (unsigned i = 0; i < 256; i++) /* evicts everything that can be */
        cr_assert_eq(load_relaxed(&memory[i * PAGE + 1]), fake_byte(i * PAGE + 1));
    cr_assert_eq(fake->reads_of_page[0], 1);
    pager_unpin(memory, (size_t)once);
    for (unsigned i = 0; i < 8; i++)
        if (got[i] > 0)
            pager_unpin(memory + 64 * PAGE, (size_t)got[i]);
    check_valid(memory);
    finish(region, memory);
}

/* What a debugger does. */
Test(program, access_from_outside_never_gives_zeros)
{
    struct cxe_region *region = fake_start(MIB);
    uint8_t *memory = map_region(region, MIB, (struct cxe_map_options){0}), bytes[8] = {0};
    int fd = open("/proc/self/mem", O_RDONLY);

    cr_assert_lt(pread(fd, bytes, 8, (off_t)(uintptr_t)memory), 0);
    (void)load_relaxed(memory);
    cr_assert_eq(pread(fd, bytes, 8, (off_t)(uintptr_t)memory), 8);
    cr_assert_eq(memcmp(bytes, fake_memory(region), 8), 0);
    close(fd);
    finish(region, memory);
}

/* ---- signals ---- */

static uint8_t *touched;
static uint32_t touches;
static void touch_in_handler(int number)
{
    unsigned n = fetch_add_relaxed(&touches, 1u);

    (void)number;
    touched[(n * 37 % 512) * PAGE + 8] = (uint8_t)n;
}

static void storm(struct cxe_map_options options)
{
#ifdef __SANITIZE_THREAD__
    cr_skip_test("ThreadSanitizer delays signals, and then runs their handlers with SIGBUS blocked");
#endif
    struct cxe_region *region = fake_start(2 * MIB);
    struct sigaction action = {.sa_handler = touch_in_handler}, ignore = {.sa_handler = SIG_IGN};
    struct itimerval often = {{0, 200}, {0, 200}}, never = {0};

    fake->delay_ns = 5000;
    touched = map_region(region, CXE_LOCAL_BYTES_MIN, options);
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    for (unsigned i = 0; i < 20000; i++) {
        cr_assert_eq(load_relaxed(&touched[(i * 101 % 512) * PAGE]), fake_byte((i * 101 % 512) * PAGE));
        if (i % 100 == 0)
            cr_assert_eq(cxe_sync(touched, 2 * MIB), 0);
    }
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &ignore, NULL);
    cr_assert_gt(touches, 0);
    check_valid(touched);
    finish(region, touched);
}

Test(program, alarms_whose_handler_touches_the_mapping)
{
    storm((struct cxe_map_options){0});
}

Test(program, alarms_whose_handler_touches_the_mapping_in_thread_mode)
{
    storm((struct cxe_map_options){.fault_mode = CXE_FAULT_THREAD});
}

static uint8_t *repaired;
static void repair(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    cr_assert_eq((uint8_t *)info->si_addr, repaired);
    cr_assert_eq(
        (void *)mmap(repaired, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
        (void *)repaired);
}

/* A fault beyond the end of a file is the program's own. */
static void own_fault(void)
{
    int fd = memfd_create("empty", MFD_CLOEXEC);

    repaired = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    store_relaxed(repaired, (uint8_t)5);
    cr_assert_eq(*repaired, 5);
    munmap(repaired, PAGE);
    close(fd);
}

Test(program, a_handler_from_before_gets_its_faults)
{
    struct cxe_region *region = fake_start(MIB);
    struct sigaction action = {.sa_sigaction = repair, .sa_flags = SA_SIGINFO}, now;

    sigaction(SIGBUS, &action, NULL);
    uint8_t *memory = map_region(region, MIB, (struct cxe_map_options){0});
    cr_assert_eq(memory[0], fake_byte(0));
    own_fault();
    cr_assert_eq(memory[PAGE], fake_byte(PAGE));
    cr_assert_eq(pager_sigaction(NULL, &now), 0);
    cr_assert_eq((void *)now.sa_sigaction, (void *)repair);
    finish(region, memory);
}

Test(program, a_handler_set_later_gets_its_faults)
{
    struct cxe_region *region = fake_start(MIB);
    struct sigaction action = {.sa_sigaction = repair, .sa_flags = SA_SIGINFO}, old;
    uint8_t *memory = map_region(region, MIB, (struct cxe_map_options){0});

    cr_assert_eq(pager_sigaction(&action, &old), 0);
    own_fault();
    own_fault();
    cr_assert_eq(memory[PAGE], fake_byte(PAGE));
    finish(region, memory);
}

Test(program, without_a_handler_a_fault_kills, .signal = SIGBUS)
{
    struct cxe_region *region = fake_start(MIB);
    int fd = memfd_create("empty", MFD_CLOEXEC);

    map_region(region, MIB, (struct cxe_map_options){0});
    struct sigaction action = {.sa_handler = SIG_DFL};
    pager_sigaction(&action, NULL);
    repaired = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    store_relaxed(repaired, (uint8_t)5);
}

Test(program, errno_survives_a_fault)
{
    struct cxe_region *region = fake_start(MIB);
    uint8_t *memory = map_region(region, MIB, (struct cxe_map_options){0});

    errno = 12345;
    (void)load_relaxed(&memory[77 * PAGE]);
    cr_assert_eq(errno, 12345);
    finish(region, memory);
}

/* Out of the handler with a jump, again and again: nothing is held when the program's handler runs. */
Test(program, jumps_out_of_a_poisoned_access_leak_nothing)
{
    struct cxe_region *region = fake_start(MIB);
    uint8_t *memory = map_region(region, CXE_LOCAL_BYTES_MIN, (struct cxe_map_options){0});

    fake->read_error = -EHWPOISON;
    for (unsigned i = 0; i < 200; i++)
        cr_assert_not(can_read(memory + i * PAGE));
    fake->read_error = 0;
    for (unsigned i = 200; i < 256; i++)
        cr_assert(can_read(memory + i * PAGE));
    check_valid(memory);
    finish(region, memory);
}

/* ---- threads that end ---- */

static void *wait_for_ever(void *address)
{
    (void)load_relaxed((uint8_t *)address);
    return NULL;
}

Test(program, a_thread_is_cancelled_in_a_fault)
{
    struct cxe_region *region = fake_start(MIB);
    uint8_t *memory = map_region(region, MIB, (struct cxe_map_options){0});
    pthread_t thread;

    fake->gone = 1;
    pthread_create(&thread, NULL, wait_for_ever, memory);
    usleep(20000);
    pthread_cancel(thread);
    usleep(20000);
    fake->gone = 0;
    pthread_join(thread, NULL);
    cr_assert_eq(memory[0], fake_byte(0));
    check_valid(memory);
    finish(region, memory);
}

/* ---- memory behind the library's back ---- */

Test(program, discarding_a_clean_page_fetches_it_again)
{
    struct cxe_region *region = fake_start(MIB);
    uint8_t *memory = map_region(region, MIB, (struct cxe_map_options){0});

    cr_assert_eq(load_relaxed(&memory[PAGE]), fake_byte(PAGE));
    madvise(memory + PAGE, PAGE, MADV_DONTNEED);
    cr_assert_eq(load_relaxed(&memory[PAGE]), fake_byte(PAGE));
    madvise(memory + PAGE, PAGE, MADV_DONTNEED);
    memory[PAGE] = 3;
    cr_assert_eq(load_relaxed(&memory[PAGE + 1]), fake_byte(PAGE + 1));
    check_valid(memory);
    finish(region, memory);
}

Test(program, discarding_a_dirty_page_is_loud)
{
    struct cxe_region *region = fake_start(MIB);
    uint8_t *memory = map_region(region, MIB, (struct cxe_map_options){0});

    memory[PAGE] = 3;
    madvise(memory + PAGE, PAGE, MADV_DONTNEED);
    cr_assert_not(can_read(memory + PAGE));
    cr_assert_eq(info_of(memory).poisoned_pages, 1);
    check_valid(memory);
    finish(region, memory);
}

static void discard_then_sync(enum cxe_fault_mode mode)
{
    struct cxe_region *region = fake_start(MIB);
    struct sigaction action = {.sa_handler = SIG_DFL};
    uint8_t *memory = map_region(region, MIB, (struct cxe_map_options){.fault_mode = mode});

    pager_sigaction(&action, NULL);
    memory[PAGE] = 3;
    madvise(memory + PAGE, PAGE, MADV_DONTNEED);
    cxe_sync(memory, MIB);
}

static void writing_back_kills(enum cxe_fault_mode mode)
{
    struct cxe_region *region = fake_start(MIB);
    int status;

    finish(region, map_region(region, MIB, (struct cxe_map_options){.fault_mode = mode})); /* may skip */
    pid_t child = fork();
    if (child == 0) {
        discard_then_sync(mode);
        _exit(0);
    }
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS, "status %#x", (unsigned)status);
}

Test(program, writing_back_a_discarded_page_kills)
{
    writing_back_kills(CXE_FAULT_INLINE);
}

Test(program, writing_back_a_discarded_page_kills_in_thread_mode)
{
    writing_back_kills(CXE_FAULT_THREAD);
}

/* Neither one nor both may give zeros. */
Test(program, closing_the_library_s_descriptors)
{
    struct cxe_region *region = fake_start(MIB);
    uint8_t *memory = map_region(region, MIB, (struct cxe_map_options){0});
    int found[2], n = 0;

    for (int fd = 0; fd < 2000 && n < 2; fd++)
        if (pager_owns_fd(fd))
            found[n++] = fd;
    cr_assert_eq(n, 2);
    cr_assert_not(pager_owns_fd(0));
    close(found[0]);
    cr_assert_eq(memory[PAGE], fake_byte(PAGE), "the spare one serves");
    memory[PAGE] = 1;
    finish(region, memory);
}

Test(program, a_page_below_and_above_is_not_ours)
{
    struct cxe_region *region = fake_start(MIB);
    uint8_t *memory = map_region(region, MIB, (struct cxe_map_options){0});

    cr_assert_null(pager_find(memory - 1));
    cr_assert_null(pager_find(memory + MIB));
    cr_assert_not_null(pager_find(memory));
    cr_assert_not_null(pager_find(memory + MIB - 1));
    cr_assert_not(can_read(memory + MIB));
    cr_assert_eq(cxe_sync(memory + MIB - 1, 2), -ERANGE);
    cr_assert_eq(cxe_prefetch(&region, 8), -ERANGE);
    cr_assert_eq(cxe_unmap(memory + PAGE), -EINVAL);
    finish(region, memory);
}

/* ---- discard ---- */

Test(program, discarded_memory_reads_as_zeros_without_network)
{
    struct cxe_region *region = fake_start(4 * MIB);
    uint8_t *memory = map_region(region, MIB, (struct cxe_map_options){0});

    for (unsigned i = 0; i < 1024; i++)
        memory[i * PAGE + 1] = 2;
    cr_assert_eq(pager_discard(memory + 10, 512 * PAGE), 0);
    cr_assert_eq(memory[1], 2, "only whole pages");
    uint64_t reads = fake->reads;
    for (unsigned i = 1; i < 512; i++)
        for (unsigned k = 0; k < PAGE; k += 511)
            cr_assert_eq(memory[i * PAGE + k], 0);
    cr_assert_eq(fake->reads, reads);
    memory[5 * PAGE + 70] = 7;
    for (unsigned i = 513; i < 1024; i++)
        cr_assert_eq(memory[i * PAGE + 1], 2);
    cr_assert_eq(memory[5 * PAGE + 70], 7);
    for (unsigned k = 0; k < 64; k++)
        cr_assert_eq(memory[5 * PAGE + k], 0, "the server's old lines do not come back");
    check_valid(memory);
    finish(region, memory);
}

Test(program, discard_over_and_over)
{
    struct cxe_region *region = fake_start(MIB);
    uint8_t *memory = map_region(region, CXE_LOCAL_BYTES_MIN, (struct cxe_map_options){0});

    for (unsigned round = 0; round < 300; round++) {
        for (unsigned i = 0; i < 20; i++) {
            cr_assert_eq(memory[i * PAGE] != 0 && round != 0, false);
            memory[i * PAGE] = 1;
        }
        cr_assert_eq(pager_discard(memory, 20 * PAGE), 0);
        if (round == 0)
            check_valid(memory);
    }
    check_valid(memory);
    finish(region, memory);
}

/* ---- known zeros ---- */

Test(program, a_new_region_needs_no_network_to_begin_with)
{
    struct cxe_region *region = fake_start(8 * MIB);

    memset(fake_memory(region), 0, 8 * MIB);
    uint8_t *memory = map_zeros(region, MIB);
    for (unsigned i = 0; i < 100; i++) {
        cr_assert_eq(memory[i * PAGE + 5], 0);
        memory[i * PAGE + 64] = 1;
    }
    cr_assert_eq(fake->reads, 0);
    cr_assert_eq(cxe_sync(memory, 8 * MIB), 0);
    cr_assert_eq(fake->written_lines, 100);
    for (unsigned i = 2048; i-- > 0;) /* so that there is too much in use to write pages whole */
        memory[i * PAGE + 128] = 3;
    for (unsigned i = 0; i < 2048; i++) {
        cr_assert_eq(memory[i * PAGE + 64], i < 100);
        cr_assert_eq(memory[i * PAGE + 128], 3);
    }
    cr_assert_eq(cxe_sync(memory, 8 * MIB), 0);
    cr_assert_leq(fake->written_lines, 100 + 2048 + 100);
    check_valid(memory);
    finish(region, memory);
}
