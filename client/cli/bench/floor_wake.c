/* floor_wake.c - the floor of waking a thread that sleeps for a descriptor; see floor.h */
#include "floor.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "atomic.h"
#include "clock.h"
#include "limits.h"

#define REST_NS (100 * NS_PER_US) /* so that it sleeps when it is called */

struct floor_wake {
    int fd;
    bool running;
    pthread_t thread;
    uint64_t woken_ns; /* when it last was; 0: not yet */
    uint64_t stopping;
};

static void *sleep_and_note(void *argument)
{
    struct floor_wake *wake = argument;
    struct pollfd readable = {.fd = wake->fd, .events = POLLIN};
    uint64_t calls;

    bench_unpin();
    while (!load_acquire(&wake->stopping))
        if (ppoll(&readable, 1, NULL, NULL) > 0) {
            const uint64_t now_ns = clock_now_ns();

            if (read(wake->fd, &calls, sizeof(calls)) == sizeof(calls))
                store_release(&wake->woken_ns, now_ns);
        }
    return NULL;
}

int floor_wake_open(struct floor_wake **wake_out)
{
    struct floor_wake *wake = calloc(1, sizeof(*wake));
    int error;

    if (!wake)
        return bench_fail(-ENOMEM, "no memory");
    wake->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    error = wake->fd < 0 ? -errno : -pthread_create(&wake->thread, NULL, sleep_and_note, wake);
    if (error) {
        floor_wake_close(wake);
        return bench_fail(error, "no thread for the floor: %s", strerror(-error));
    }
    wake->running = true;
    *wake_out = wake;
    return 0;
}

static void call(struct floor_wake *wake)
{
    const uint64_t one = 1;

    if (write(wake->fd, &one, sizeof(one)) != sizeof(one))
        abort(); /* the count of an eventfd that is read each time cannot overflow */
}

void floor_wake_close(struct floor_wake *wake)
{
    if (!wake)
        return;
    if (wake->running) {
        store_release(&wake->stopping, 1);
        call(wake);
        pthread_join(wake->thread, NULL);
    }
    if (wake->fd >= 0)
        close(wake->fd);
    free(wake);
}

int floor_wake_run(void *context, uint64_t duration_ns, struct bench_sample *sample)
{
    static const struct timespec rest = {.tv_nsec = REST_NS};
    struct floor_wake *wake = context;
    const uint64_t begin_ns = clock_now_ns();
    bool room = true;

    while (room && clock_now_ns() - begin_ns < duration_ns) {
        uint64_t start_ns, woken_ns;

        nanosleep(&rest, NULL);
        store_release(&wake->woken_ns, 0);
        start_ns = clock_now_ns();
        call(wake);
        while ((woken_ns = load_acquire(&wake->woken_ns)) == 0)
            cpu_relax();
        room = bench_note(sample, woken_ns - start_ns);
    }
    sample->elapsed_ns = clock_now_ns() - begin_ns;
    return 0;
}
