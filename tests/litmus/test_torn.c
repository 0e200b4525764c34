/* test_torn.c - no line is ever seen in part, whoever writes it and however
 *
 * A page has lines of three kinds. Writers of each keep a promise, and readers look whether a line keeps it:
 *   whole   seven words equal, and the low 48 bits of word 0 as well: written as a whole, by every way there
 * is, while atomics count in the upper bits of word 0 split   words 0..5 equal, written by masked writes;
 * words 6 and 7 equal, changed together by 16-byte CAS block   eight lines under one version word, always
 * written together (fabricd/line.h promises that, too)
 *
 * $CXE_TORN_READS: how many lines to read in each test; a thousand million in a soak.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "atomic.h"
#include "clock.h"
#include "daemon.h"
#include "line.h"
#include "racy.h"
#include "random.h"

TestSuite(torn);

#define LINE_WORDS   (LINE_BYTES / 8)
#define WHOLE_LINES  8 /* 0..7 */
#define SPLIT_FIRST  8 /* 8..15 */
#define SPLIT_LINES  8
#define BLOCK_FIRST  16 /* 16..23 */
#define USED_LINES   24
#define STAMP_MASK   ((1ull << 48) - 1)
#define COUNTER_ONE  (1ull << 48)
#define PAIR_MASK    0xffff000000000000ull /* bytes 48..63: words 6 and 7 */
#define READS        2000000
#define CONTROL_SEEN 100           /* so much must go wrong where nothing prevents it, or nothing was seen */
#define CONTROL_MAX  2000000000ull /* reads in which it must */
#define WRITERS      2
#define READERS      2

static uint64_t reads_wanted(uint64_t otherwise)
{
    const char *text = getenv("CXE_TORN_READS");

    return text ? strtoull(text, NULL, 0) : otherwise;
}

/* ---- what a line must look like ---- */

static void stamp_lines(uint64_t *words, unsigned lines, uint64_t stamp)
{
    for (unsigned i = 0; i < lines * LINE_WORDS; i++)
        words[i] = stamp & STAMP_MASK;
}

static bool whole(const uint64_t *words)
{
    for (unsigned i = 2; i < LINE_WORDS; i++)
        if (words[i] != words[1])
            return false;
    return (words[0] & STAMP_MASK) == words[1];
}

static bool split(const uint64_t *words)
{
    for (unsigned i = 1; i < 6; i++)
        if (words[i] != words[0])
            return false;
    return words[6] == words[7];
}

static bool block(const uint64_t *words)
{
    for (unsigned i = 1; i < BLOCK_LINES * LINE_WORDS; i++)
        if (words[i] != words[0])
            return false;
    return true;
}

/* Of the `count` lines of a page from `first` on, how many are torn? */
static unsigned count_torn(const uint64_t *words, unsigned first, unsigned count)
{
    unsigned torn = 0;

    for (unsigned i = 0; i < count; i++) {
        const uint64_t *line = words + i * LINE_WORDS;
        unsigned number = first + i;

        torn += number >= SPLIT_FIRST && number < BLOCK_FIRST ? !split(line) : !whole(line);
    }
    return torn;
}

/* The first `cut` bytes of one line, the rest of another. The two upper bytes of each word are alike in both.
 */
Test(torn, a_torn_line_is_told_from_a_whole_one)
{
    for (unsigned cut = 1; cut < LINE_BYTES - 2; cut++) {
        uint64_t words[LINE_WORDS], others[LINE_WORDS];
        bool between_parts = cut >= 46 && cut <= 48; /* there a split line may change */

        stamp_lines(words, 1, 0x010203040506);
        stamp_lines(others, 1, 0x111213141516);
        cr_expect_eq(count_torn(words, 0, 1) + count_torn(words, SPLIT_FIRST, 1), 0);
        memcpy(words, others, cut);
        cr_expect_eq(count_torn(words, 0, 1), 1, "cut behind byte %u", cut);
        cr_expect_eq(count_torn(words, SPLIT_FIRST, 1), !between_parts, "cut behind byte %u", cut);
    }
}

/* ---- the lines alone, without a network ---- */

struct hammer {
    struct pool *pool;
    uint32_t frame;
    uint64_t seed;
    bool over;
    uint64_t reads_wanted;
    uint64_t reads, torn; /* of all readers: atomic */
    uint64_t control;     /* torn copies among those that look at no version: atomic */
    uint64_t writes;
};

static void write_whole(struct hammer *hammer, uint64_t stamp, uint64_t dice)
{
    static const uint64_t all[WHOLE_LINES] = {~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull};
    uint64_t words[WHOLE_LINES * LINE_WORDS];
    struct wire_word one = {{0}}, old;
    unsigned first = (unsigned)(dice >> 8) % WHOLE_LINES;
    unsigned count = 1 + (unsigned)(dice >> 16) % (WHOLE_LINES - first);

    stamp_lines(words, count, stamp);
    switch (dice % 4) {
    case 0:
        line_write(hammer->pool, hammer->frame, first, 1, (const uint8_t *)words);
        break;
    case 1:
        line_write_masked(hammer->pool, hammer->frame, first, count, (const uint8_t *)all,
                          (const uint8_t *)words);
        break;
    case 2:
        line_write(hammer->pool, hammer->frame, first, count, (const uint8_t *)words);
        break;
    case 3:
        one.bytes[6] = 1;
        line_atomic(hammer->pool, hammer->frame, first * LINE_BYTES, OP_FETCH_ADD, 3, &one, &old);
        break;
    }
}

static void write_split(struct hammer *hammer, uint64_t stamp, uint64_t dice)
{
    const uint64_t mask = ~PAIR_MASK;
    unsigned line = SPLIT_FIRST + (unsigned)(dice >> 8) % SPLIT_LINES;
    struct wire_word operands[2], old;
    uint64_t words[LINE_WORDS];

    stamp_lines(words, 1, stamp);
    if (dice & 1) {
        line_write_masked(hammer->pool, hammer->frame, line, 1, (const uint8_t *)&mask, (uint8_t *)words);
        return;
    }
    line_read(hammer->pool, hammer->frame, line, 1, (uint8_t *)words);
    memcpy(&operands[0], &words[6], 16);
    words[6] = words[7] = stamp;
    memcpy(&operands[1], &words[6], 16);
    line_atomic(hammer->pool, hammer->frame, line * LINE_BYTES + 48, OP_CAS, 4, operands, &old);
}

static void *write_lines(void *argument)
{
    struct hammer *hammer = argument;
    uint64_t random = fetch_add_relaxed(&hammer->seed, 1), words[BLOCK_LINES * LINE_WORDS], writes = 0;

    while (!load_relaxed(&hammer->over)) {
        uint64_t stamp = random_next(&random), dice = random_next(&random);

        write_whole(hammer, stamp, dice >> 2);
        write_split(hammer, stamp, dice >> 2);
        stamp_lines(words, BLOCK_LINES, stamp);
        line_write(hammer->pool, hammer->frame, BLOCK_FIRST, BLOCK_LINES, (uint8_t *)words);
        writes += 3;
    }
    fetch_add_relaxed(&hammer->writes, writes);
    return NULL;
}

/* The control: a copy that looks at no version, in one go or with time for others in between. */
static bool copy_is_torn(const struct hammer *hammer, unsigned line, bool slowly)
{
    const uint8_t *shared = pool_frame(hammer->pool, hammer->frame) + line * LINE_BYTES;
    unsigned step = slowly ? 1 : LINE_WORDS;
    uint64_t words[LINE_WORDS];

    for (unsigned i = 0; i < LINE_WORDS; i += step) {
        racy_load(&words[i], shared + i * 8, step * 8);
        for (unsigned pause = 0; slowly && pause < 4; pause++)
            cpu_relax();
    }
    return count_torn(words, line, 1) > 0;
}

/* Enough was read, and the writers were met. */
static bool enough(const struct hammer *hammer)
{
    uint64_t reads = load_relaxed(&hammer->reads);

    return reads >= CONTROL_MAX ||
           (reads >= hammer->reads_wanted && load_relaxed(&hammer->control) >= CONTROL_SEEN);
}

static void *read_and_look(void *argument)
{
    struct hammer *hammer = argument;
    uint64_t random = fetch_add_relaxed(&hammer->seed, 1), words[USED_LINES * LINE_WORDS];

    while (!enough(hammer)) {
        unsigned reads = 0, torn = 0, control = 0;

        for (unsigned i = 0; i < 100; i++) {
            uint64_t dice = random_next(&random);
            unsigned first = (unsigned)dice % USED_LINES;
            unsigned count = 1 + (unsigned)(dice >> 32) % (USED_LINES - first);

            line_read(hammer->pool, hammer->frame, first, 1, (uint8_t *)words); /* a path of its own */
            torn += count_torn(words, first, 1);
            line_read(hammer->pool, hammer->frame, first, count, (uint8_t *)words);
            torn += count_torn(words, first, count);
            line_read(hammer->pool, hammer->frame, BLOCK_FIRST, BLOCK_LINES, (uint8_t *)words);
            torn += !block(words);
            reads += 1 + count + BLOCK_LINES;
            control += copy_is_torn(hammer, first, i % 2);
        }
        fetch_add_relaxed(&hammer->reads, reads);
        fetch_add_relaxed(&hammer->torn, torn);
        fetch_add_relaxed(&hammer->control, control);
    }
    return NULL;
}

static void open_pool(struct pool **pool_out, uint32_t *frame_out)
{
    const struct pool_options options = {.bytes = 4 * PAGE_BYTES, .workers = 1};
    char why[256];

    if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
        cr_skip_test("one processor: nobody reads while another writes");
    cr_assert_eq(pool_open(&options, why, sizeof(why), pool_out), 0, "%s", why);
    *frame_out = pool_alloc(*pool_out, 1);
}

Test(torn, no_reader_of_the_pool_sees_part_of_a_write)
{
    struct hammer hammer = {.seed = random_seed(), .reads_wanted = reads_wanted(5 * READS)};
    pthread_t writers[WRITERS], readers[READERS];

    open_pool(&hammer.pool, &hammer.frame);
    for (unsigned i = 0; i < WRITERS; i++)
        cr_assert_eq(pthread_create(&writers[i], NULL, write_lines, &hammer), 0);
    for (unsigned i = 0; i < READERS; i++)
        cr_assert_eq(pthread_create(&readers[i], NULL, read_and_look, &hammer), 0);
    for (unsigned i = 0; i < READERS; i++)
        pthread_join(readers[i], NULL);
    store_relaxed(&hammer.over, true);
    for (unsigned i = 0; i < WRITERS; i++)
        pthread_join(writers[i], NULL);
    printf("%" PRIu64 " lines read, %" PRIu64 " writes, %" PRIu64 " torn; copies without version: %" PRIu64
           " torn\n",
           hammer.reads, hammer.writes, hammer.torn, hammer.control);
    cr_expect_eq(hammer.torn, 0);
    cr_expect_geq(hammer.control, CONTROL_SEEN, "either nobody wrote meanwhile, or the test is blind");
    pool_close(hammer.pool);
}

/* ---- words ---- */

struct counters {
    struct pool *pool;
    uint32_t frame;
    uint64_t locked, plain; /* additions: atomic */
    uint64_t word;          /* where the plain ones go: the control */
    bool over;
};

static void *add_up(void *argument)
{
    static const struct wire_word one = {{1}};
    struct counters *counters = argument;
    struct wire_word old;
    uint64_t added = 0;

    while (!load_relaxed(&counters->over)) {
        line_atomic(counters->pool, counters->frame, 0, OP_FETCH_ADD, 3, &one, &old);
        store_relaxed(&counters->word, load_relaxed(&counters->word) + 1);
        added++;
        if (added % 1000 == 0)
            fetch_add_relaxed(&counters->plain, 1000);
    }
    fetch_add_relaxed(&counters->locked, added);
    return NULL;
}

Test(torn, no_addition_to_a_word_is_lost)
{
    uint64_t until_ns = clock_now_ns() + 100 * NS_PER_S, word;
    struct counters counters = {0};
    pthread_t threads[2];

    open_pool(&counters.pool, &counters.frame);
    for (unsigned i = 0; i < 2; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, add_up, &counters), 0);
    while (clock_now_ns() < until_ns &&
           load_relaxed(&counters.plain) < load_relaxed(&counters.word) + 10 * CONTROL_SEEN)
        usleep(1000);
    store_relaxed(&counters.over, true);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    memcpy(&word, pool_frame(counters.pool, counters.frame), sizeof(word));
    printf("%" PRIu64 " additions; with plain ones %" PRIu64 " would be lost\n", counters.locked,
           counters.locked - counters.word);
    cr_expect_eq(word, counters.locked);
    cr_expect_lt(counters.word, counters.locked, "the threads never met");
    pool_close(counters.pool);
}

/* ---- the same over the network ---- */

#define LIVE_WRITERS 4
#define LIVE_READERS 2
#define LIVE_DEPTH   16

struct tally {
    bool over;
    uint64_t reads, torn, reads_wanted;
    uint64_t writes[LIVE_WRITERS]; /* by each writer */
    int error;
    bool mapped; /* the writer through a mapping had one */
};

struct live {
    struct cxe_connection *connection;
    struct cxe_region *region;
    struct tally *tally;
    uint64_t random;
    uint64_t *mapped;
};

static void note_error(struct live *live, int error)
{
    if (error) {
        fprintf(stderr, "%s\n", cxe_last_error());
        store_release(&live->tally->error, error);
    }
}

static void write_one(struct live *live, uint64_t stamp)
{
    uint64_t words[LINE_WORDS];

    stamp_lines(words, 1, stamp);
    note_error(live, cxe_write(live->region, stamp % WHOLE_LINES * LINE_BYTES, words, sizeof(words)));
    note_error(live, cxe_write_masked(live->region, (stamp >> 8) % WHOLE_LINES * LINE_BYTES, words, ~0ull));
}

static void write_many(struct live *live, uint64_t stamp)
{
    uint64_t words[BLOCK_LINES * LINE_WORDS];

    stamp_lines(words, BLOCK_LINES, stamp);
    note_error(live, cxe_write(live->region, 0, words, WHOLE_LINES * LINE_BYTES));
    note_error(live, cxe_write(live->region, BLOCK_FIRST * LINE_BYTES, words, sizeof(words)));
}

static void write_words(struct live *live, uint64_t stamp)
{
    uint64_t one = COUNTER_ONE, old, words[LINE_WORDS], pair[2], was[2];
    uint64_t line = (SPLIT_FIRST + stamp % SPLIT_LINES) * LINE_BYTES;

    note_error(live, cxe_fetch(live->region, CXE_FETCH_ADD, stamp % WHOLE_LINES * LINE_BYTES, 8, &one, &old));
    stamp_lines(words, 1, stamp);
    note_error(live, cxe_write_masked(live->region, line, words, ~PAIR_MASK));
    note_error(live, cxe_read(live->region, line, words, sizeof(words)));
    pair[0] = pair[1] = stamp;
    note_error(live, cxe_cas(live->region, line + 48, 16, &words[6], pair, was));
}

/* Whole lines through a mapping that is not coherent: they travel when they are synced, changed lines only.
 */
static void write_mapped(struct live *live, uint64_t stamp)
{
    const struct cxe_map_options options = {.flags = CXE_MAP_NO_CLEANER};
    void *address;

    if (!live->mapped) {
        if (cxe_map(live->region, &options, &address) != 0) {
            fprintf(stderr, "without a mapping: %s\n", cxe_last_error());
            usleep(100000);
            return;
        }
        live->mapped = address;
        store_release(&live->tally->mapped, true);
    }
    stamp_lines(live->mapped + stamp % WHOLE_LINES * LINE_WORDS, 1, stamp);
    note_error(live, cxe_sync(live->mapped, PAGE_BYTES));
}

static void be_writer(struct live *live, unsigned number)
{
    static void (*const ways[LIVE_WRITERS])(struct live *, uint64_t) = {write_one, write_many, write_words,
                                                                        write_mapped};

    while (!load_acquire(&live->tally->over) && !load_acquire(&live->tally->error)) {
        ways[number](live, random_next(&live->random));
        fetch_add_relaxed(&live->tally->writes[number], 1);
    }
}

static void be_reader(struct live *live)
{
    static uint64_t words[LIVE_DEPTH][USED_LINES * LINE_WORDS];
    struct cxe_completion completions[LIVE_DEPTH];
    struct cxe_queue *queue;
    int got;

    note_error(live, cxe_queue_open(live->connection, LIVE_DEPTH, &queue));
    for (unsigned i = 0; i < LIVE_DEPTH && !load_acquire(&live->tally->error); i++)
        note_error(live, cxe_queue_read(queue, live->region, 0, words[i], sizeof(words[i]), words[i]));
    while (load_relaxed(&live->tally->reads) < live->tally->reads_wanted &&
           !load_acquire(&live->tally->error)) {
        got = cxe_queue_wait(queue, completions, LIVE_DEPTH, UINT64_MAX);
        for (int i = 0; i < got; i++) {
            uint64_t *page = completions[i].context;

            note_error(live, completions[i].result);
            fetch_add_relaxed(&live->tally->torn, count_torn(page, 0, USED_LINES));
            fetch_add_relaxed(&live->tally->reads, USED_LINES);
            note_error(live, cxe_queue_read(queue, live->region, 0, page, sizeof(words[0]), page));
        }
    }
}

static _Noreturn void be_process(const struct daemon *daemon, struct tally *tally, unsigned number,
                                 uint64_t seed)
{
    struct live live = {.tally = tally, .random = seed + number};
    int error;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    error = daemon_connect(daemon, NULL, CXE_ENCRYPTION_OFF, &live.connection);
    if (!error)
        error = cxe_region_open(live.connection, "torn", &live.region);
    note_error(&live, error);
    if (!error && number < LIVE_WRITERS)
        be_writer(&live, number);
    else if (!error)
        be_reader(&live);
    _exit(0);
}

static void make_region(const struct daemon *daemon)
{
    static const uint8_t zeros[PAGE_BYTES];
    struct cxe_connection *connection;
    struct cxe_region *region;

    cr_assert_eq(daemon_connect(daemon, NULL, CXE_ENCRYPTION_OFF, &connection), 0, "%s", cxe_last_error());
    cr_assert_eq(cxe_region_create(connection, "torn", PAGE_BYTES, 0, &region), 0, "%s", cxe_last_error());
    cr_assert_eq(cxe_write(region, 0, zeros, sizeof(zeros)), 0);
    cxe_region_close(region);
    cxe_disconnect(connection);
}

Test(torn, no_client_sees_part_of_a_write)
{
    struct tally *tally =
        mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t processes[LIVE_WRITERS + LIVE_READERS];
    uint64_t seed = random_seed();
    struct daemon daemon;

    cr_assert_neq(tally, MAP_FAILED);
    tally->reads_wanted = reads_wanted(READS);
    daemon_start(&daemon, 2, NULL);
    make_region(&daemon);
    for (unsigned i = 0; i < LIVE_WRITERS + LIVE_READERS; i++) {
        fflush(stdout);
        processes[i] = fork();
        cr_assert_geq(processes[i], 0);
        if (processes[i] == 0)
            be_process(&daemon, tally, i, seed);
    }
    for (unsigned i = LIVE_WRITERS + LIVE_READERS;
         i-- > 0;) { /* readers first: they know when it is enough */
        if (i == LIVE_WRITERS - 1)
            store_release(&tally->over, true);
        waitpid(processes[i], NULL, 0);
    }
    daemon_stop(&daemon);
    printf("%" PRIu64 " lines read; writes: %" PRIu64 " of one line, %" PRIu64 " of many, %" PRIu64
           " of words, %" PRIu64 " through a mapping%s; %" PRIu64 " torn\n",
           tally->reads, tally->writes[0], tally->writes[1], tally->writes[2], tally->writes[3],
           tally->mapped ? "" : " (none: no userfaultfd here)", tally->torn);
    cr_expect_eq(tally->error, 0);
    cr_expect_eq(tally->torn, 0);
    cr_expect_geq(tally->reads, tally->reads_wanted);
    for (unsigned i = 0; i < LIVE_WRITERS; i++)
        cr_expect_gt(tally->writes[i], 0, "writer %u", i);
}
