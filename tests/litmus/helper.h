/* helper.h - processes of a test that do something each time they are told to */
#ifndef TESTS_LITMUS_HELPER_H
#define TESTS_LITMUS_HELPER_H

#include <stdbool.h>
#include <sys/types.h>

struct helper {
    pid_t pid;
    int command_fd, answer_fd; /* one's own ends: a byte each way a round */
};

/* Forks. The child calls `be`, which goes on while helper_ready, and ends when it returns, or with its
 * parent. */
void helper_start(struct helper *helper,
                  void (*be)(const struct helper *self, void *context, unsigned number), void *context,
                  unsigned number);

/* By the helper: the round is over, and so was getting ready before the first. Waits for the next; false:
 * there is none. */
bool helper_ready(const struct helper *self);

/* By the test: a round begins. */
void helper_tell(const struct helper *helper);
/* Waits until it is ready. False: it is gone. */
bool helper_await(const struct helper *helper);
/* There is no further round: waits until all are gone. */
void helpers_end(struct helper *helpers, unsigned count);

#endif
