/* test_filter.c - the seccomp filter, instruction by instruction: what it traps and what it lets through */
#include <criterion/criterion.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/syscall.h>

/* The preload library hides its functions. Only the table's shapes matter here, so one handler is all of
 * them. */
#include "../../../../client/preload/call.h"
static long nobody(struct call_request *request)
{
    (void)request;
    return -ENOSYS;
}
/* It never comes to rest over such a list: */
/* clang-format off */
#define HANDLERS(X) \
    X(call_copied) X(call_touched) X(call_verbatim) X(call_stream) X(call_sendmsg) X(call_recvmsg) \
    X(call_sendmmsg) X(call_recvmmsg) X(call_rt_sigaction) X(call_rt_sigprocmask) \
    X(call_rt_sigsuspend) X(call_sigaltstack) X(call_ppoll) X(call_pselect6) X(call_epoll_pwait) \
    X(call_munmap) X(call_mremap) X(call_madvise) X(call_mprotect) X(call_mmap) X(call_mlock) \
    X(call_ignored) X(call_execve) X(call_execveat) X(call_prctl) X(call_close) X(call_close_range) \
    X(call_dup2) X(call_fcntl) X(call_ioctl)
/* clang-format on */
#define DEFINE(name)                        \
    long name(struct call_request *request) \
    {                                       \
        return nobody(request);             \
    }
HANDLERS(DEFINE)
#include "../../../../client/preload/call_table.c"
#include "../../../../client/preload/filter.c"

#define LIBC_START 0x7f00fffff000ull /* across a boundary of 4 GiB */
#define LIBC_END   0x7f0100150000ull
#define ELSEWHERE  0x555555554000ull
#define POOL       (PAGER_WINDOW_BASE + 0x123456789ull)
#define LOCAL      0x7f4412345678ull
#define TRAP       (SECCOMP_RET_TRAP | FILTER_COOKIE)

static const struct filter_options options = {LIBC_START, LIBC_END, 896, 1024};
static struct sock_filter program[FILTER_INSTRUCTIONS_MAX];
static int length;

static void build(void)
{
    length = filter_build(&options, program);
    cr_assert_gt(length, 0);
}

/* As the kernel runs it. */
static uint32_t run(const struct seccomp_data *data)
{
    uint32_t accumulator = 0;

    for (int at = 0; at < length; at++) {
        const struct sock_filter *i = &program[at];
        bool holds = false;

        switch (i->code) {
        case BPF_LD | BPF_W | BPF_ABS:
            cr_assert(i->k + 4 <= sizeof(*data));
            memcpy(&accumulator, (const char *)data + i->k, 4);
            continue;
        case BPF_ALU | BPF_AND | BPF_K:
            accumulator &= i->k;
            continue;
        case BPF_RET | BPF_K:
            return i->k;
        case BPF_JMP | BPF_JA:
            cr_assert_lt(i->k, (unsigned)(length - at - 1), "the kernel takes no jump backwards");
            at += (int)i->k;
            continue;
        case BPF_JMP | BPF_JEQ | BPF_K:
            holds = accumulator == i->k;
            break;
        case BPF_JMP | BPF_JGE | BPF_K:
            holds = accumulator >= i->k;
            break;
        case BPF_JMP | BPF_JGT | BPF_K:
            holds = accumulator > i->k;
            break;
        default:
            cr_assert_fail("instruction %d has the code %#x", at, i->code);
        }
        at += holds ? i->jt : i->jf;
    }
    cr_assert_fail("it ran over the end");
    return 0;
}

static uint32_t ask(int number, uint64_t ip, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e,
                    uint64_t f)
{
    struct seccomp_data data = {number, AUDIT_ARCH_X86_64, ip, {a, b, c, d, e, f}};

    return run(&data);
}

Test(filter, traps_pointers_into_the_window, .init = build)
{
    cr_assert_eq(ask(SYS_read, ELSEWHERE, 3, POOL, 10, 0, 0, 0), TRAP);
    cr_assert_eq(ask(SYS_read, ELSEWHERE, 3, LOCAL, 10, 0, 0, 0), SECCOMP_RET_ALLOW);
    cr_assert_eq(ask(SYS_read, ELSEWHERE, 3, PAGER_WINDOW_BASE, 10, 0, 0, 0), TRAP);
    cr_assert_eq(ask(SYS_read, ELSEWHERE, 3, PAGER_WINDOW_BASE - 1, 10, 0, 0, 0), SECCOMP_RET_ALLOW);
    cr_assert_eq(ask(SYS_read, ELSEWHERE, 3, PAGER_WINDOW_BASE + PAGER_WINDOW_BYTES - 1, 10, 0, 0, 0), TRAP);
    cr_assert_eq(ask(SYS_read, ELSEWHERE, 3, PAGER_WINDOW_BASE + PAGER_WINDOW_BYTES, 10, 0, 0, 0),
                 SECCOMP_RET_ALLOW);
    cr_assert_eq(ask(SYS_recvfrom, ELSEWHERE, 3, LOCAL, 10, 0, 0, POOL), TRAP);
    cr_assert_eq(ask(SYS_futex, ELSEWHERE, POOL, 0, 0, 0, 0, 0), TRAP);
    cr_assert_eq(ask(SYS_quotactl, ELSEWHERE, 0, 0, 0, 0, 0, POOL), TRAP, "unlisted: any argument");
}

Test(filter, ignores_what_is_left_in_registers, .init = build)
{
    cr_assert_eq(ask(SYS_read, ELSEWHERE, 3, LOCAL, 10, POOL, POOL, POOL), SECCOMP_RET_ALLOW);
    cr_assert_eq(ask(SYS_getpid, ELSEWHERE, POOL, POOL, POOL, POOL, POOL, POOL), SECCOMP_RET_ALLOW);
    cr_assert_eq(ask(SYS_rt_sigreturn, LIBC_START, POOL, POOL, POOL, POOL, POOL, POOL), SECCOMP_RET_ALLOW);
    cr_assert_eq(ask(SYS_clone, LIBC_START, 0, POOL, 0, 0, 0, 0), SECCOMP_RET_ALLOW);
}

Test(filter, lets_the_stub_through, .init = build)
{
    for (int number = 0; number < 512; number++) {
        uint32_t answer = ask(number, STUB_ADDRESS + 0x1d, POOL, POOL, POOL, POOL, POOL, POOL);

        if (number == SYS_io_uring_setup || number == SYS_io_setup)
            cr_assert_eq(answer, SECCOMP_RET_ERRNO | ENOSYS);
        else
            cr_assert_eq(answer, SECCOMP_RET_ALLOW, "call %d", number);
    }
    cr_assert_eq(ask(SYS_read, STUB_ADDRESS - 1, 3, POOL, 1, 0, 0, 0), TRAP);
    cr_assert_eq(ask(SYS_read, STUB_ADDRESS + PAGE_BYTES, 3, POOL, 1, 0, 0, 0), TRAP);
}

/* Rules besides pointers hold for libc's code only: what comes after execve must not be trapped by chance. */
Test(filter, looks_at_who_calls, .init = build)
{
    static const uint64_t inside[] = {LIBC_START, LIBC_START + 0xfff, LIBC_START + 0x1000, LIBC_END - 1};
    static const uint64_t outside[] = {LIBC_START - 1, LIBC_END, ELSEWHERE, LIBC_START + (1ull << 32)};

    for (unsigned i = 0; i < 4; i++) {
        cr_assert_eq(ask(SYS_execve, inside[i], LOCAL, LOCAL, LOCAL, 0, 0, 0), TRAP, "%u", i);
        cr_assert_eq(ask(SYS_execve, outside[i], LOCAL, LOCAL, LOCAL, 0, 0, 0), SECCOMP_RET_ALLOW, "%u", i);
        cr_assert_eq(ask(SYS_rt_sigaction, inside[i], 10, LOCAL, 0, 8, 0, 0), TRAP, "%u", i);
        cr_assert_eq(ask(SYS_rt_sigprocmask, inside[i], 2, LOCAL, 0, 8, 0, 0), TRAP, "%u", i);
        cr_assert_eq(ask(SYS_rt_sigprocmask, inside[i], 2, 0, LOCAL, 8, 0, 0), SECCOMP_RET_ALLOW, "%u", i);
        cr_assert_eq(ask(SYS_rt_sigprocmask, inside[i], 2, 1ull << 32, 0, 8, 0, 0), TRAP, "%u", i);
        cr_assert_eq(ask(SYS_ppoll, outside[i], LOCAL, 1, 0, LOCAL, 8, 0), SECCOMP_RET_ALLOW, "%u", i);
        cr_assert_eq(ask(SYS_writev, inside[i], 1, LOCAL, 1, 0, 0, 0), TRAP, "%u", i);
    }
}

Test(filter, guards_descriptors, .init = build)
{
    cr_assert_eq(ask(SYS_close, LIBC_START, 895, 0, 0, 0, 0, 0), SECCOMP_RET_ALLOW);
    cr_assert_eq(ask(SYS_close, LIBC_START, 896, 0, 0, 0, 0, 0), TRAP);
    cr_assert_eq(ask(SYS_close, LIBC_START, 1023, 0, 0, 0, 0, 0), TRAP);
    cr_assert_eq(ask(SYS_close, LIBC_START, 1024, 0, 0, 0, 0, 0), SECCOMP_RET_ALLOW);
    cr_assert_eq(ask(SYS_dup2, LIBC_START, 3, 900, 0, 0, 0, 0), TRAP);
    cr_assert_eq(ask(SYS_dup2, LIBC_START, 900, 3, 0, 0, 0, 0), SECCOMP_RET_ALLOW);
    cr_assert_eq(ask(SYS_close_range, LIBC_START, 3, ~0u, 0, 0, 0, 0), TRAP);
    cr_assert_eq(ask(SYS_close_range, LIBC_START, 3, 100, 0, 0, 0, 0), SECCOMP_RET_ALLOW);
}

Test(filter, leaves_other_architectures_alone, .init = build)
{
    struct seccomp_data data = {.nr = SYS_read, .arch = AUDIT_ARCH_I386, .args = {3, POOL, 10}};

    cr_assert_eq(run(&data), SECCOMP_RET_ALLOW);
    data.arch = AUDIT_ARCH_X86_64;
    data.nr |= 0x40000000; /* x32 */
    cr_assert_eq(run(&data), SECCOMP_RET_ALLOW);
}

/* The kernel adds up the lengths of all filters: programs that execute programs must not run into its limit.
 */
Test(filter, is_short, .init = build)
{
    cr_assert_lt(length, 1000, "%d instructions", length);
}
