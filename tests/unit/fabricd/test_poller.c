/* test_poller.c - sleeping and waking, with io_uring and with epoll */
#include "poller.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "clock.h"

static bool wishes[] = {true, false};

#define FOR_BOTH(name)                               \
    ParameterizedTestParameters(poller, name)        \
    {                                                \
        return cr_make_param_array(bool, wishes, 2); \
    }                                                \
    ParameterizedTest(bool *use_io_uring, poller, name)

static struct poller *open_poller(bool use_io_uring)
{
    struct poller *poller;

    cr_assert_eq(poller_open(use_io_uring, &poller), 0);
    if (use_io_uring && strcmp(poller_name(poller), "io_uring") != 0)
        cr_skip_test("io_uring is switched off here");
    return poller;
}

FOR_BOTH(it_sleeps_as_long_as_told)
{
    struct poller *poller = open_poller(*use_io_uring);
    uint64_t before_ns = clock_now_ns();

    poller_wait(poller, 20 * NS_PER_MS);
    cr_assert_geq(clock_now_ns() - before_ns, 15 * NS_PER_MS);
    poller_close(poller);
}

static void *write_soon(void *fd)
{
    uint64_t one = 1;

    usleep(20000);
    cr_assert_eq(write(*(int *)fd, &one, sizeof(one)), (ssize_t)sizeof(one));
    return NULL;
}

FOR_BOTH(a_readable_descriptor_wakes_it_every_time)
{
    struct poller *poller = open_poller(*use_io_uring);
    int fds[2] = {eventfd(0, EFD_NONBLOCK), eventfd(0, EFD_NONBLOCK)};

    for (int i = 0; i < 2; i++)
        cr_assert_eq(poller_add(poller, fds[i]), 0);
    for (int round = 0; round < 6; round++) {
        pthread_t thread;
        uint64_t value = 0, before_ns = clock_now_ns();

        pthread_create(&thread, NULL, write_soon, &fds[round % 2]);
        while (read(fds[round % 2], &value, sizeof(value)) < 0) /* it may wake early without a reason */
            poller_wait(poller, 10 * NS_PER_S);
        cr_assert_lt(clock_now_ns() - before_ns, 5 * NS_PER_S, "it slept through");
        pthread_join(thread, NULL);
    }
    poller_close(poller);
    close(fds[0]);
    close(fds[1]);
}

FOR_BOTH(what_is_readable_already_ends_the_wait)
{
    struct poller *poller = open_poller(*use_io_uring);
    int fd = eventfd(1, EFD_NONBLOCK);

    cr_assert_eq(poller_add(poller, fd), 0);
    for (int round = 0; round < 3; round++) { /* level-triggered: nobody reads it */
        uint64_t before_ns = clock_now_ns();

        poller_wait(poller, 10 * NS_PER_S);
        cr_assert_lt(clock_now_ns() - before_ns, 5 * NS_PER_S);
    }
    poller_close(poller);
    close(fd);
}

Test(poller, its_room_is_bounded)
{
    struct poller *poller = open_poller(false);

    for (int i = 0; i < POLLER_FDS_MAX; i++)
        cr_assert_eq(poller_add(poller, eventfd(0, 0)), 0);
    cr_assert_lt(poller_add(poller, eventfd(0, 0)), 0);
    poller_close(poller);
}
