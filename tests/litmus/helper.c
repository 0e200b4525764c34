/* helper.c - see helper.h */
#include "helper.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log.h"

void helper_start(struct helper *helper,
                  void (*be)(const struct helper *self, void *context, unsigned number), void *context,
                  unsigned number)
{
    int commands[2], answers[2];

    cr_assert_eq(pipe(commands), 0);
    cr_assert_eq(pipe(answers), 0);
    fflush(stdout);
    helper->pid = fork();
    cr_assert_geq(helper->pid, 0);
    if (helper->pid == 0) {
        const struct helper self = {.command_fd = commands[0], .answer_fd = answers[1]};

        close(commands[1]);
        close(answers[0]);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        log_set_level(LOG_LEVEL_WARN);
        be(&self, context, number);
        _exit(0);
    }
    close(commands[0]);
    close(answers[1]);
    helper->command_fd = commands[1];
    helper->answer_fd = answers[0];
}

bool helper_ready(const struct helper *self)
{
    char byte = 0;

    return write(self->answer_fd, &byte, 1) == 1 && read(self->command_fd, &byte, 1) == 1;
}

void helper_tell(const struct helper *helper)
{
    const char byte = 0;

    cr_assert_eq(write(helper->command_fd, &byte, 1), 1);
}

bool helper_await(const struct helper *helper)
{
    char byte;

    return read(helper->answer_fd, &byte, 1) == 1;
}

void helpers_end(struct helper *helpers, unsigned count)
{
    for (unsigned i = count; i-- > 0;) { /* the later ones hold the pipes of the earlier, too */
        close(helpers[i].command_fd);
        waitpid(helpers[i].pid, NULL, 0);
        close(helpers[i].answer_fd);
    }
}
