/* sim_fd.h - descriptors of simulated things: endpoints and eventfds, and waiting for them */
#ifndef TESTS_SIM_FD_H
#define TESTS_SIM_FD_H

#include "sim.h"

#define SIM_FD_BASE 1000000 /* beyond every real descriptor */

struct sim_fd {
    /* When there will be something to read, as far as is known; SIM_NEVER: not. */
    uint64_t (*ready_ns)(struct sim_fd *fd);
    struct sim_thread *waiter;
    int number;
};

/* Gives it a number. Numbers are not used again. */
void sim_fd_open(struct sim_fd *fd);
/* Not one of ours, or closed: NULL. */
struct sim_fd *sim_fd_find(int number);
void sim_fd_close(struct sim_fd *fd);

/* There will be something to read at that time. */
void sim_fd_notify(struct sim_fd *fd, uint64_t at_ns);

/* Sleeps until one of them is ready or the time has come. Returns how many are ready then. */
unsigned sim_fd_wait(struct sim_fd **fds, unsigned count, uint64_t until_ns);

/* eventfd, its read and its write. */
int sim_event_open(void);
int sim_event_read(struct sim_fd *fd, uint64_t *value_out);
void sim_event_write(struct sim_fd *fd, uint64_t value);
bool sim_fd_is_event(const struct sim_fd *fd);

#endif
