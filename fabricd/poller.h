/* poller.h - sleeping until a descriptor is readable: io_uring where the kernel lets us, else epoll
 *
 * Datagrams themselves are received and sent by plain system calls: a worker that polls wants one frame now,
 * which costs less through recvfrom than through a submission and a completion (docs/ARCHITECTURE.md has the
 * figures).
 */
#ifndef FABRICD_POLLER_H
#define FABRICD_POLLER_H

#include <stdbool.h>
#include <stdint.h>

struct poller;

/* One thread's. `use_io_uring` is a wish: where io_uring is absent or switched off, epoll serves and is named
 * by poller_name. Negative errno. */
int poller_open(bool use_io_uring, struct poller **poller_out);
void poller_close(struct poller *poller);
const char *poller_name(const struct poller *poller);

/* Watches `fd` for being readable, until the poller is closed. At most POLLER_FDS_MAX. */
#define POLLER_FDS_MAX 8
int poller_add(struct poller *poller, int fd);

/* Sleeps until a watched descriptor is readable or `timeout_ns` have passed (UINT64_MAX: for ever). May
 * return early without a reason. */
void poller_wait(struct poller *poller, uint64_t timeout_ns);

#endif
