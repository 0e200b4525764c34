/* program_internal.h - what the files of the simulated client share
 *
 *   program.c         the life of a client and of its threads
 *   program_line.c    operations by line, blocking and in flight
 *   program_mapped.c  accesses to the client's mapping
 *
 * Regions are small, so that threads meet. The page says what a place is: pages 0 and 1 (mod 4) hold lines
 * that are written whole, with the same number in all their words, so that a torn one shows; page 2 words
 * that are written, compared and swapped one by one; page 3 counters.
 */
#ifndef TESTS_SIM_PROGRAM_INTERNAL_H
#define TESTS_SIM_PROGRAM_INTERNAL_H

#include "oracle.h"
#include "program.h"

#define REGIONS    2
#define LINE_WORDS (LINE_BYTES / 8)
#define HOT_LINES  3  /* of each page: where most operations go */
#define LINES_MAX  40 /* of one operation: several frames */
#define DEPTH      12 /* of a queue */

enum role { ROLE_LINES, ROLE_WORDS, ROLE_COUNTERS };

/* An operation under way. */
struct flight {
    bool busy;
    bool waits; /* READ: until the word is not `expected` any more */
    enum oracle_kind kind;
    uint64_t handle;
    unsigned first_line, lines; /* what it covers: whole lines, */
    int word;                   /* or a word of the first */
    uint64_t first_number;      /* of as many as there are places */
    unsigned places;
    uint64_t expected, old;
    uint64_t began_ns; /* by the client's clock */
    uint64_t words[LINES_MAX][LINE_WORDS];
};

struct thread {
    struct client *client;
    struct dice dice;
    uint64_t until_ns;
    uint32_t mapped_ppm; /* operations by mapping, where there is one */
    struct cxe_region *region;
    unsigned region_number;
    struct cxe_queue *queue;            /* NULL: blocking calls */
    struct flight flights[DEPTH];       /* [0] for blocking calls */
    uint64_t last_seen[4 * LINE_WORDS]; /* of words, for CAS: by place, roughly */
    bool lost;                          /* the region is gone */
};

/* ---- program_line.c ---- */

enum role role_of(unsigned line);
/* The oracle's name of a word, or of the line that it is written with. */
uint32_t place_of(unsigned line, unsigned word);

enum role flight_draw_role(struct thread *thread);
/* A line of that role; most of them are few. */
unsigned flight_draw_line(struct thread *thread, enum role role);
uint64_t flight_offset(const struct flight *flight);
/* What the thread last saw in a word, or in one like it. */
uint64_t *flight_last_seen(struct thread *thread, const struct flight *flight);

/* Tells the oracle; starts it (or does it, where the thread has no queue); tells the oracle what came of it.
 */
void flight_begin(struct thread *thread, struct flight *flight);
int flight_run(struct thread *thread, struct flight *flight);
void flight_end(struct thread *thread, struct flight *flight, int result);

/* A random operation, done. */
void flight_run_blocking(struct thread *thread);
/* A random operation, started. */
void queue_start(struct thread *thread);
/* Waits until all are done. */
void queue_drain(struct thread *thread);

/* ---- program_mapped.c ---- */

/* Nothing comes of it any more once the region is gone, or the server. */
bool mapping_usable(const struct client *client);
/* A random access to it, or a few, or something else one does with mappings. */
void mapping_use(struct thread *thread);

#endif
