/* sim_libc.c - what the code under test gets instead of the C library: the linker's --wrap leads here
 *
 * tests/CMakeLists.txt has the list of names. Outside a simulation, and for descriptors that are not
 * simulated, the real function is called.
 */
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "poller.h"
#include "sim_fd.h"
#include "sim_libc.h"

#define WRAP(result, name, ...)        \
    result __real_##name(__VA_ARGS__); \
    result __wrap_##name(__VA_ARGS__)

static struct dice entropy;

/* ---- time ---- */

WRAP(int, clock_gettime, clockid_t clock, struct timespec *now_out)
{
    if (!sim_running())
        return __real_clock_gettime(clock, now_out);
    sim_step();
    now_out->tv_sec = (time_t)(sim_clock_ns() / NS_PER_S);
    now_out->tv_nsec = (long)(sim_clock_ns() % NS_PER_S);
    return 0;
}

/* A pause, as the clock of the thread's machine measures it. */
static uint64_t ns_of(const struct timespec *time)
{
    return sim_pause_ns((uint64_t)time->tv_sec * NS_PER_S + (uint64_t)time->tv_nsec);
}

WRAP(int, nanosleep, const struct timespec *time, struct timespec *rest)
{
    if (!sim_running())
        return __real_nanosleep(time, rest);
    sim_sleep(ns_of(time));
    return 0;
}

WRAP(int, sched_yield, void)
{
    if (!sim_running())
        return __real_sched_yield();
    sim_step();
    return 0;
}

/* ---- descriptors ---- */

static unsigned simulated(const struct pollfd *fds, nfds_t count, struct sim_fd **out)
{
    unsigned found = 0;

    for (nfds_t i = 0; i < count; i++)
        if (sim_fd_find(fds[i].fd))
            out[found++] = sim_fd_find(fds[i].fd);
    return found;
}

static int wait_for(struct pollfd *fds, nfds_t count, uint64_t until_ns)
{
    struct sim_fd *found[8];
    int ready = 0;

    CHECK(count <= 8);
    sim_fd_wait(found, simulated(fds, count, found), until_ns);
    for (nfds_t i = 0; i < count; i++) {
        struct sim_fd *fd = sim_fd_find(fds[i].fd);

        fds[i].revents = fd && fd->ready_ns(fd) <= sim_now_ns() ? POLLIN : 0;
        ready += fds[i].revents != 0;
    }
    return ready;
}

WRAP(int, ppoll, struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask)
{
    if (!sim_running())
        return __real_ppoll(fds, count, timeout, mask);
    return wait_for(fds, count, timeout ? sim_now_ns() + ns_of(timeout) : SIM_NEVER);
}

WRAP(int, poll, struct pollfd *fds, nfds_t count, int timeout_ms)
{
    if (!sim_running())
        return __real_poll(fds, count, timeout_ms);
    return wait_for(fds, count,
                    timeout_ms < 0 ? SIM_NEVER
                                   : sim_now_ns() + sim_pause_ns((uint64_t)timeout_ms * NS_PER_MS));
}

WRAP(int, eventfd, unsigned value, int flags)
{
    int number;

    if (!sim_running())
        return __real_eventfd(value, flags);
    number = sim_event_open();
    if (value > 0)
        sim_event_write(sim_fd_find(number), value);
    return number;
}

WRAP(ssize_t, read, int number, void *buffer, size_t bytes)
{
    struct sim_fd *fd = sim_running() ? sim_fd_find(number) : NULL;
    uint64_t value;

    if (!fd || !sim_fd_is_event(fd))
        return __real_read(number, buffer, bytes);
    sim_step();
    if (sim_event_read(fd, &value) < 0) {
        errno = EAGAIN;
        return -1;
    }
    memcpy(buffer, &value, sizeof(value));
    return sizeof(value);
}

WRAP(ssize_t, write, int number, const void *buffer, size_t bytes)
{
    struct sim_fd *fd = sim_running() ? sim_fd_find(number) : NULL;
    uint64_t value;

    if (!fd || !sim_fd_is_event(fd))
        return __real_write(number, buffer, bytes);
    memcpy(&value, buffer, sizeof(value));
    sim_event_write(fd, value);
    sim_step();
    return sizeof(value);
}

WRAP(int, close, int number)
{
    struct sim_fd *fd = sim_running() ? sim_fd_find(number) : NULL;

    if (!fd)
        return __real_close(number);
    sim_fd_close(fd);
    return 0;
}

/* ---- threads and locks ---- */

/* A pthread_t is the simulated thread. */
WRAP(int, pthread_create, pthread_t *thread_out, const pthread_attr_t *attributes, void *(*main)(void *),
     void *argument)
{
    struct sim_thread *thread;

    if (!sim_running())
        return __real_pthread_create(thread_out, attributes, main, argument);
    thread = sim_spawn(sim_node_of(sim_self()), sim_node_of(sim_self())->name, main, argument);
    *thread_out = (pthread_t)(uintptr_t)thread;
    return 0;
}

WRAP(int, pthread_join, pthread_t thread, void **result_out)
{
    if (!sim_running())
        return __real_pthread_join(thread, result_out);
    sim_join((struct sim_thread *)(uintptr_t)thread); // NOLINT
    return 0;
}

WRAP(int, pthread_sigmask, int how, const sigset_t *set, sigset_t *old)
{
    if (!sim_running())
        return __real_pthread_sigmask(how, set, old);
    if (old)
        sigemptyset(old);
    return 0; /* nobody sends signals here */
}

static void count_lock(int change)
{
    struct sim_node *node = sim_running() ? sim_node_of(sim_self()) : NULL;

    if (node)
        node->locks_held += (unsigned)change;
}

WRAP(int, pthread_mutex_trylock, pthread_mutex_t *mutex)
{
    int error;

    if (sim_running())
        sim_step();
    error = __real_pthread_mutex_trylock(mutex);
    if (!error)
        count_lock(1);
    return error;
}

int __real_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
    if (!sim_running())
        return __real_pthread_mutex_lock(mutex);
    while (__wrap_pthread_mutex_trylock(mutex) != 0)
        sim_sleep(NS_PER_US);
    return 0;
}

WRAP(int, pthread_mutex_unlock, pthread_mutex_t *mutex)
{
    count_lock(-1);
    return __real_pthread_mutex_unlock(mutex);
}

/* ---- futex ---- */

#define SLEEPERS_MAX 64

static struct {
    const uint32_t *word;
    struct sim_thread *thread;
} sleepers[SLEEPERS_MAX];

static long futex_wait(const uint32_t *word, uint32_t expected, const struct timespec *timeout)
{
    uint64_t until_ns = timeout ? sim_now_ns() + ns_of(timeout) : SIM_NEVER;
    unsigned place = 0;

    if (__atomic_load_n(word, __ATOMIC_SEQ_CST) != expected) {
        errno = EAGAIN;
        return -1;
    }
    while (place < SLEEPERS_MAX && sleepers[place].word && !sim_finished(sleepers[place].thread))
        place++;
    CHECK(place < SLEEPERS_MAX);
    sleepers[place].word = word;
    sleepers[place].thread = sim_self();
    sim_sleep_until(until_ns);
    sleepers[place].word = NULL;
    return 0;
}

static long futex_wake(const uint32_t *word, uint32_t most)
{
    long woken = 0;

    for (unsigned i = 0; i < SLEEPERS_MAX && woken < (long)most; i++) {
        if (sleepers[i].word != word)
            continue;
        sim_wake_at(sleepers[i].thread, sim_now_ns() + dice_below(&entropy, 20 * NS_PER_US));
        woken++;
    }
    return woken;
}

WRAP(long, syscall, long number, ...)
{
    uintptr_t arguments[6];
    va_list list;

    va_start(list, number);
    for (unsigned i = 0; i < 6; i++)
        arguments[i] = va_arg(list, uintptr_t);
    va_end(list);
    if (sim_running() && number == SYS_futex) {
        const uint32_t *word = (const uint32_t *)arguments[0]; // NOLINT

        if ((arguments[1] & FUTEX_CMD_MASK) == FUTEX_WAIT)
            return futex_wait(word, (uint32_t)arguments[2], (const struct timespec *)arguments[3]); // NOLINT
        return futex_wake(word, (uint32_t)arguments[2]);
    }
    return __real_syscall(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4],
                          arguments[5]);
}

/* ---- random numbers ---- */

static void fill_random(void *to, size_t bytes)
{
    uint8_t *at = to;

    while (bytes > 0) {
        uint64_t word = dice_draw(&entropy);
        size_t part = bytes < sizeof(word) ? bytes : sizeof(word);

        memcpy(at, &word, part);
        at += part;
        bytes -= part;
    }
}

WRAP(ssize_t, getrandom, void *buffer, size_t bytes, unsigned flags)
{
    if (!sim_running())
        return __real_getrandom(buffer, bytes, flags);
    fill_random(buffer, bytes);
    return (ssize_t)bytes;
}

static const char *random_name(void)
{
    return "simulated";
}

static uint32_t random_word(void)
{
    return (uint32_t)dice_draw(&entropy);
}

static void random_stir(void)
{
}

void sim_libc_begin(uint64_t seed)
{
    static randombytes_implementation implementation = {
        .implementation_name = random_name, .random = random_word, .stir = random_stir, .buf = fill_random};

    entropy = dice_of(seed, "entropy");
    randombytes_set_implementation(&implementation);
    CHECK(sodium_init() >= 0);
}

/* ---- fabricd/poller.h ---- */

struct poller {
    struct sim_fd *fds[POLLER_FDS_MAX];
    unsigned count;
};

int poller_open(bool use_io_uring, struct poller **poller_out)
{
    (void)use_io_uring;
    *poller_out = calloc(1, sizeof(**poller_out));
    return *poller_out ? 0 : -ENOMEM;
}

void poller_close(struct poller *poller)
{
    free(poller);
}

const char *poller_name(const struct poller *poller)
{
    (void)poller;
    return "simulated";
}

int poller_add(struct poller *poller, int number)
{
    CHECK(poller->count < POLLER_FDS_MAX && sim_fd_find(number));
    poller->fds[poller->count++] = sim_fd_find(number);
    return 0;
}

void poller_wait(struct poller *poller, uint64_t timeout_ns)
{
    uint64_t now_ns = sim_now_ns(), pause_ns = sim_pause_ns(timeout_ns);

    sim_fd_wait(poller->fds, poller->count, pause_ns > SIM_NEVER - now_ns ? SIM_NEVER : now_ns + pause_ns);
}
