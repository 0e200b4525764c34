/* signals.c - masks, handlers, alternate stacks and descriptors while memory is on the pool */
#include "pool_memory.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 512
#define BYTES (PAGES * 4096ul)

static uint64_t *memory;

/* Reads every page, absent at first. */
static int readable(void)
{
    remote_cold(memory, BYTES);
    for (size_t i = 0; i < BYTES / 8; i += 512)
        if (memory[i] != i)
            return 0;
    return 1;
}

/* ---- masks ---- */

static void *blocked_thread(void *unused)
{
    sigset_t all;

    (void)unused;
    sigfillset(&all);
    EXPECT(pthread_sigmask(SIG_SETMASK, &all, NULL) == 0);
    EXPECT(readable());
    EXPECT(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, 8L) == 0);
    EXPECT(readable());
    return NULL;
}

static void masks(void)
{
    pthread_t thread;
    sigset_t all, old, now;

    EXPECT(pthread_create(&thread, NULL, blocked_thread, NULL) == 0);
    pthread_join(thread, NULL);
    sigfillset(&all);
    EXPECT(sigprocmask(SIG_BLOCK, &all, &old) == 0);
    EXPECT(readable());
    EXPECT(sigprocmask(SIG_SETMASK, NULL, &now) == 0 && sigismember(&now, SIGTERM) &&
           sigismember(&now, SIGINT));
    EXPECT(pthread_create(&thread, NULL, blocked_thread, NULL) == 0); /* inherits it */
    pthread_join(thread, NULL);
    EXPECT(sigprocmask(SIG_SETMASK, &old, NULL) == 0);
    EXPECT(sigprocmask(SIG_SETMASK, NULL, &now) == 0 && !sigismember(&now, SIGTERM));
}

/* ---- handlers ---- */

static volatile sig_atomic_t handled;

static void on_signal(int number)
{
    (void)number;
    handled += readable();
}

static void handlers(void)
{
    struct sigaction action = {.sa_handler = on_signal}, old;
    sigset_t wait;

    sigfillset(&action.sa_mask);
    EXPECT(sigaction(SIGUSR1, &action, NULL) == 0);
    EXPECT(sigaction(SIGUSR1, NULL, &old) == 0 && old.sa_handler == on_signal);
    raise(SIGUSR1);
    EXPECT(handled == 1);
    /* Comes while everything else is blocked. */
    sigfillset(&wait);
    EXPECT(sigprocmask(SIG_BLOCK, &wait, NULL) == 0);
    kill(getpid(), SIGUSR1);
    sigdelset(&wait, SIGUSR1);
    EXPECT(sigsuspend(&wait) == -1);
    EXPECT(handled == 2);
    kill(getpid(), SIGUSR1);
    EXPECT(ppoll(NULL, 0, NULL, &wait) == -1);
    EXPECT(handled == 3);
    sigfillset(&wait);
    EXPECT(sigprocmask(SIG_UNBLOCK, &wait, NULL) == 0);
}

static sigjmp_buf back;
static void *fault_address;

static void on_bus(int number, siginfo_t *info, void *context)
{
    (void)context;
    fault_address = info->si_addr;
    siglongjmp(back, number);
}

/* A file that became shorter than its mapping: the program's own business. */
static void own_sigbus(void)
{
    struct sigaction action = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO}, old;
    int fd = open("signals.data", O_RDWR | O_CREAT | O_TRUNC, 0600);
    volatile char *file;

    EXPECT(ftruncate(fd, 4096) == 0);
    file = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    EXPECT(ftruncate(fd, 0) == 0);
    EXPECT(sigaction(SIGBUS, &action, &old) == 0 && old.sa_handler == SIG_DFL);
    EXPECT(readable()); /* ours still work */
    if (sigsetjmp(back, 1) == 0) {
        (void)*file;
        EXPECT(!"a byte that is not there was read");
    }
    EXPECT(fault_address == (void *)file);
    EXPECT(readable());
    EXPECT(sigaction(SIGBUS, &old, &action) == 0 && action.sa_sigaction == on_bus);
    close(fd);
    unlink("signals.data");
}

static void on_alarm(int number)
{
    (void)number;
    handled++;
}

static void alarm_storm(void)
{
    struct itimerval often = {.it_interval.tv_usec = 200, .it_value.tv_usec = 200}, never = {0};

    handled = 0;
    signal(SIGALRM, on_alarm);
    EXPECT(setitimer(ITIMER_REAL, &often, NULL) == 0);
    for (int i = 0; i < 5 || handled < 20; i++)
        EXPECT(readable());
    EXPECT(setitimer(ITIMER_REAL, &never, NULL) == 0);
    signal(SIGALRM, SIG_DFL);
}

/* A read that waits on pool memory is left by a jump; the next ones must work. */
static void on_jump(int number)
{
    siglongjmp(back, number);
}

static void jump_out(void)
{
    int ends[2];
    char *buffer = remote_alloc(8192);

    EXPECT(pipe(ends) == 0);
    signal(SIGALRM, on_jump);
    for (int i = 0; i < 3; i++) {
        if (sigsetjmp(back, 1) == 0) {
            ualarm(20000, 0);
            read(ends[0], buffer, 8192);
            EXPECT(!"nothing was written, and yet it came");
        }
    }
    signal(SIGALRM, SIG_DFL);
    EXPECT(write(ends[1], memory, 4096) == 4096);
    remote_cold(buffer, 8192);
    EXPECT(read(ends[0], buffer, 8192) == 4096 && memcmp(buffer, memory, 4096) == 0);
    close(ends[0]);
    close(ends[1]);
}

static void interrupted(int number)
{
    (void)number;
}

static void interruption(void)
{
    struct sigaction action = {.sa_handler = interrupted};
    char *buffer = remote_alloc(4096);
    int ends[2];

    EXPECT(pipe(ends) == 0);
    EXPECT(sigaction(SIGALRM, &action, NULL) == 0);
    ualarm(20000, 0);
    EXPECT(read(ends[0], buffer, 4096) == -1 && errno == EINTR);
    close(ends[0]);
    close(ends[1]);
}

/* ---- an alternate stack on the pool ---- */

static void on_alternate(int number)
{
    (void)number;
    handled = readable();
}

static void alternate_stack(void)
{
    stack_t stack = {.ss_sp = remote_alloc(65536), .ss_size = 65536}, old;
    struct sigaction action = {.sa_handler = on_alternate, .sa_flags = SA_ONSTACK};

    EXPECT(sigaltstack(&stack, NULL) == 0);
    EXPECT(sigaltstack(NULL, &old) == 0 && old.ss_size == 65536);
    EXPECT(sigaction(SIGUSR2, &action, NULL) == 0);
    remote_cold(stack.ss_sp, stack.ss_size);
    handled = 0;
    raise(SIGUSR2);
    EXPECT(handled == 1);
    stack.ss_flags = SS_DISABLE;
    EXPECT(sigaltstack(&stack, NULL) == 0);
}

/* ---- descriptors ---- */

static void descriptors(void)
{
    struct rlimit limit;
    int low = open("/dev/null", O_RDONLY);

    EXPECT(low >= 0 && low < 10); /* as without us */
    EXPECT(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    for (int fd = 3; fd < (int)limit.rlim_cur && fd < 5000; fd++)
        close(fd);
    EXPECT(readable());
    EXPECT(syscall(SYS_close_range, 3u, ~0u, 0u) == 0);
    EXPECT(readable());
    for (int fd = 3; fd < (int)limit.rlim_cur && fd < 5000; fd++)
        dup2(2, fd);
    EXPECT(readable());
    closefrom(3);
    EXPECT(readable());
}

int main(void)
{
    memory = remote_alloc(BYTES);
    for (size_t i = 0; i < BYTES / 8; i++)
        memory[i] = i;
    masks();
    handlers();
    own_sigbus();
    alarm_storm();
    jump_out();
    interruption();
    alternate_stack();
    descriptors();
    puts("fine");
    return 0;
}
