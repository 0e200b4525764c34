/* sim_fd.c - see sim_fd.h */
#include "sim_fd.h"

#include <errno.h>
#include <stdlib.h>

#include "check.h"

#define FDS_MAX     65536
#define WAKE_UP_MIN (500ull) /* from "there is something" to the sleeper's next instruction */
#define WAKE_UP_MAX (20 * NS_PER_US)

static struct sim_fd *table[FDS_MAX];
static unsigned table_used;

void sim_fd_open(struct sim_fd *fd)
{
    CHECK(table_used < FDS_MAX);
    fd->number = SIM_FD_BASE + (int)table_used;
    table[table_used++] = fd;
}

struct sim_fd *sim_fd_find(int number)
{
    unsigned index = (unsigned)(number - SIM_FD_BASE);

    return number >= SIM_FD_BASE && index < table_used ? table[index] : NULL;
}

void sim_fd_close(struct sim_fd *fd)
{
    table[fd->number - SIM_FD_BASE] = NULL;
}

void sim_fd_notify(struct sim_fd *fd, uint64_t at_ns)
{
    if (fd->waiter)
        sim_wake_at(fd->waiter, at_ns);
}

static uint64_t earliest_ns(struct sim_fd **fds, unsigned count, uint64_t until_ns)
{
    for (unsigned i = 0; i < count; i++) {
        uint64_t ready_ns = fds[i]->ready_ns(fds[i]);

        if (ready_ns < until_ns)
            until_ns = ready_ns;
    }
    return until_ns;
}

unsigned sim_fd_wait(struct sim_fd **fds, unsigned count, uint64_t until_ns)
{
    static struct dice wake_up; /* from a fixed state: the same in each run */
    unsigned ready = 0;

    for (unsigned i = 0; i < count; i++)
        fds[i]->waiter = sim_self();
    if (earliest_ns(fds, count, until_ns) > sim_now_ns()) {
        sim_set_at_rest(true);
        sim_sleep_until(earliest_ns(fds, count, until_ns));
        sim_set_at_rest(false);
        sim_sleep(dice_between(&wake_up, WAKE_UP_MIN, WAKE_UP_MAX));
    }
    for (unsigned i = 0; i < count; i++) {
        fds[i]->waiter = NULL;
        ready += fds[i]->ready_ns(fds[i]) <= sim_now_ns();
    }
    return ready;
}

/* ---- eventfd ---- */

struct event {
    struct sim_fd fd;
    uint64_t value;
};

static uint64_t event_ready_ns(struct sim_fd *fd)
{
    return ((struct event *)fd)->value > 0 ? 0 : SIM_NEVER;
}

int sim_event_open(void)
{
    struct event *event = calloc(1, sizeof(*event));

    CHECK(event);
    event->fd.ready_ns = event_ready_ns;
    sim_fd_open(&event->fd);
    return event->fd.number;
}

bool sim_fd_is_event(const struct sim_fd *fd)
{
    return fd->ready_ns == event_ready_ns;
}

int sim_event_read(struct sim_fd *fd, uint64_t *value_out)
{
    struct event *event = (struct event *)fd;

    if (event->value == 0)
        return -EAGAIN;
    *value_out = event->value;
    event->value = 0;
    return 0;
}

void sim_event_write(struct sim_fd *fd, uint64_t value)
{
    ((struct event *)fd)->value += value;
    sim_fd_notify(fd, sim_now_ns());
}
