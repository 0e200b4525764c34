/* floor_internal.h - what the two kinds of echo have in common */
#ifndef CXE_BENCH_FLOOR_INTERNAL_H
#define CXE_BENCH_FLOOR_INTERNAL_H

#include <sys/types.h>

#include "floor.h"
#include "limits.h"

struct floor_echo {
    /* One round trip: sends request_bytes, spins until answer_bytes are back. 0 or negative errno. */
    int (*exchange)(struct floor_echo *echo, const struct floor_frames *frames);
    /* Around a round; NULL: nothing to do. */
    int (*begin)(struct floor_echo *echo);
    int (*end)(struct floor_echo *echo);
    void (*close)(struct floor_echo *echo); /* this end */
    pid_t child;
};

/* What every request starts with: a stranger's datagram is not answered at length. */
struct floor_request {
    uint32_t magic;
    uint32_t answer_bytes;
};
#define FLOOR_MAGIC      0x666c6f6fu
#define FLOOR_BYTES_MAX  FRAME_BYTES_MAX
#define FLOOR_TIMEOUT_NS (5 * NS_PER_S) /* an answer that late will not come, on however busy a machine */

/* Forks a process that is pinned, dies with us, and runs `serve`, which should not return. Negative errno. */
int floor_fork(int server_cpu, void (*serve)(void *context), void *context, pid_t *child_out);

#endif
