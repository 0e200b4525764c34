/* share_holder.c - see share_holder.h */
#include "share_holder.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "atomic.h"
#include "connection.h"
#include "limits.h"

enum order { ORDER_LOAD, ORDER_STORE, ORDER_TURNS, ORDER_HAMMER };

struct command {
    enum order order;
    uint32_t first_page, count;
};

struct report {
    int error;
    char sentence[256];
};

/* ---- the process ---- */

static void say(int fd, int error)
{
    struct report report = {.error = error};

    if (error)
        snprintf(report.sentence, sizeof(report.sentence), "%s", cxe_last_error());
    if (write(fd, &report, sizeof(report)) != sizeof(report))
        _exit(1);
}

static int map(const struct cxe_connection *connection, const char *region_name, void **memory_out)
{
    struct cxe_connection *own;
    struct cxe_region *region;
    struct cxe_map_options options = {.flags = CXE_MAP_NO_PREFETCH};
    int error = connection_reopen(connection, &own);

    if (!error)
        error = cxe_region_open(own, region_name, &region);
    if (!error) {
        options.local_bytes = 2 * cxe_region_bytes(region);
        error = cxe_map(region, &options, memory_out);
    }
    return error;
}

static void touch(uint8_t *memory, const struct command *command)
{
    for (uint32_t i = 0; i < command->count; i++) {
        volatile uint64_t *word =
            (volatile uint64_t *)(memory + (uint64_t)(command->first_page + i) * PAGE_BYTES) + 1;

        if (command->order == ORDER_STORE)
            *word += 1; /* beside the word that says which line it is */
        else
            (void)*word;
    }
}

static void take_turns(struct share_board *board)
{
    uint64_t turn;

    while ((turn = load_acquire(&board->turn)) != SHARE_OVER) {
        if (turn % 2)
            store_release(&board->turn, turn + 1);
        else
            sched_yield();
    }
}

static void hammer(struct share_board *board)
{
    while (!load_acquire(&board->stopped))
        store_relaxed(&board->theirs, board->theirs + 1);
}

/* The first report of a game says that it begins, the second that it is over. */
static void play(int fd, uint8_t *memory, const struct command *command)
{
    struct share_board *board = (struct share_board *)(memory + (uint64_t)command->first_page * PAGE_BYTES);

    say(fd, 0);
    if (command->order == ORDER_TURNS)
        take_turns(board);
    else
        hammer(board);
}

static _Noreturn void obey(const struct cxe_connection *connection, const char *region_name, int fd)
{
    struct command command;
    void *memory;
    int error = map(connection, region_name, &memory);

    say(fd, error);
    while (!error && read(fd, &command, sizeof(command)) == sizeof(command)) {
        if (command.order == ORDER_LOAD || command.order == ORDER_STORE)
            touch(memory, &command);
        else
            play(fd, memory, &command);
        say(fd, 0);
    }
    _exit(0);
}

/* ---- this end ---- */

int share_holder_await(struct share_holder *holder)
{
    struct report report;

    if (read(holder->fd, &report, sizeof(report)) != sizeof(report))
        return bench_fail(-ECHILD, "the other client died");
    return report.error ? bench_fail(report.error, "the other client: %s", report.sentence) : 0;
}

static int order(struct share_holder *holder, const struct command *command)
{
    if (write(holder->fd, command, sizeof(*command)) != sizeof(*command))
        return bench_fail(-ECHILD, "the other client died");
    return share_holder_await(holder);
}

int share_holder_touch(struct share_holder *holder, uint32_t first_page, uint32_t count, bool store)
{
    return order(holder, &(struct command){store ? ORDER_STORE : ORDER_LOAD, first_page, count});
}

int share_holder_play(struct share_holder *holder, uint32_t page, bool hammer)
{
    return order(holder, &(struct command){hammer ? ORDER_HAMMER : ORDER_TURNS, page, 1});
}

int share_holder_start(const struct cxe_connection *connection, const char *region_name,
                       struct share_holder *holder_out)
{
    struct share_holder holder;
    int ends[2], error;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return bench_fail(-errno, "no socket for another client: %s", strerror(errno));
    holder.fd = ends[0];
    holder.pid = fork();
    if (holder.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(ends[0]);
        bench_unpin();
        obey(connection, region_name, ends[1]);
    }
    close(ends[1]);
    if (holder.pid < 0) {
        error = bench_fail(-errno, "no process for another client: %s", strerror(errno));
        close(holder.fd);
        return error;
    }
    error = share_holder_await(&holder);
    if (error)
        share_holder_kill(&holder);
    else
        *holder_out = holder;
    return error;
}

void share_holder_kill(struct share_holder *holder)
{
    if (holder->pid <= 0)
        return;
    kill(holder->pid, SIGKILL);
    waitpid(holder->pid, NULL, 0);
    close(holder->fd);
    holder->pid = 0;
}
