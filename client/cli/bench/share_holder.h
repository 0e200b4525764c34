/* share_holder.h - the other client: a process that maps the shared region and does to its pages what it is
 * told */
#ifndef CXE_BENCH_SHARE_HOLDER_H
#define CXE_BENCH_SHARE_HOLDER_H

#include <stdbool.h>
#include <sys/types.h>

#include "bench.h"

struct share_holder {
    pid_t pid; /* 0: none */
    int fd;
};

/* The page that both play on begins with these. */
struct share_board {
    uint64_t turn;    /* even: ours, odd: the holder's; SHARE_OVER: the game is over */
    uint64_t ours;    /* how often we were there */
    uint64_t theirs;  /* and how often the holder was */
    uint64_t stopped; /* not 0: no more of it */
};
#define SHARE_OVER UINT64_MAX

/* Forks; the process connects anew and maps the region. Do this before the region is mapped here. */
int share_holder_start(const struct cxe_connection *connection, const char *region_name,
                       struct share_holder *holder_out);
/* Kills it, as a crash would; its end is waited for. */
void share_holder_kill(struct share_holder *holder);

/* It loads from each of these pages (or stores to one line of each), and holds them when this returns. */
int share_holder_touch(struct share_holder *holder, uint32_t first_page, uint32_t count, bool store);

/* It plays on the page until it reads that it is over: adds 1 to `turn` when that is odd; or, `hammer`, adds
 * 1 to `theirs` as fast as it can. Returns when it begins. */
int share_holder_play(struct share_holder *holder, uint32_t page, bool hammer);
/* When it has ended to play. */
int share_holder_await(struct share_holder *holder);

#endif
