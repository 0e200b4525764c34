/* mapper.c - adds to words of a shared region through a coherent mapping, and watches that none ever goes
 * backwards
 *
 *   mapper run REGION JOURNAL PAGES [THINK_US [LOCAL_PAGES]]
 *   mapper sum REGION PAGES
 *   mapper show JOURNAL
 *
 * `run` goes round the pages and adds one to the first word of each, by one instruction: a page is writable
 * at one client at a time, so no addition may get lost. What a client has seen was there, so it never sees
 * less later, also when another is fenced and loses what nobody saw. Where its own stores are lost (SIGBUS,
 * -EOWNERDEAD) it takes note and asks for the page again. It ends at SIGTERM; SIGUSR1 is the moment from
 * which recovery is measured. `sum` adds the words up, by operations; `show` prints the journal at any time.
 * Exit status 1: something was wrong.
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cxe.h"
#include "program.h"

#define PAGES_MAX 16384

struct journal {
    _Atomic uint64_t mark_ns;
    uint32_t marks, page_count;
    uint64_t done, wrong, poisoned, lost_syncs, fenced, snoops;
    uint64_t mark_seen_ns, resumed_ns; /* since the mark; 0: not yet */
    uint64_t longest_call_ns;
    int sync_error;
    uint64_t seen[PAGES_MAX];
};

struct mapper {
    struct journal *journal;
    unsigned char *memory;
    unsigned think_us;
};

static atomic_bool stopping;
static sigjmp_buf way_out;

static void leave(int signal)
{
    (void)signal;
    siglongjmp(way_out, 1);
}

static void note_times(struct journal *journal, uint64_t started_ns)
{
    uint64_t now = program_now_ns(), mark_ns = atomic_load(&journal->mark_ns);

    if (now - started_ns > journal->longest_call_ns)
        journal->longest_call_ns = now - started_ns;
    if (mark_ns != journal->mark_seen_ns) {
        journal->mark_seen_ns = mark_ns;
        journal->resumed_ns = 0;
    }
    if (mark_ns && !journal->resumed_ns)
        journal->resumed_ns = now - mark_ns;
}

/* False: the page is poisoned, what was stored there before is lost. */
static bool add_to(struct mapper *mapper, uint32_t page)
{
    struct journal *journal = mapper->journal;
    _Atomic uint64_t *word = (_Atomic uint64_t *)(mapper->memory + (size_t)page * CXE_PAGE_BYTES);
    uint64_t old;

    if (sigsetjmp(way_out, 1))
        return false;
    old = atomic_fetch_add(word, 1);
    if (old < journal->seen[page]) {
        journal->wrong++;
        fprintf(stderr, "WRONG: page %u: %llu, after %llu\n", page, (unsigned long long)old,
                (unsigned long long)journal->seen[page]);
    }
    journal->seen[page] = old + 1;
    journal->done++;
    return true;
}

static void note_loss(struct mapper *mapper, uint32_t page)
{
    struct journal *journal = mapper->journal;

    journal->poisoned++;
    journal->seen[page] = 0; /* its own stores, which it had seen, are gone */
    cxe_advise(mapper->memory + (size_t)page * CXE_PAGE_BYTES, CXE_PAGE_BYTES, CXE_ADVICE_REFRESH);
}

static void *work(void *context)
{
    struct mapper *mapper = context;
    uint64_t round = 0;

    while (!atomic_load(&stopping)) {
        uint32_t page = (uint32_t)(round++ % mapper->journal->page_count);
        uint64_t started_ns = program_now_ns();

        if (add_to(mapper, page))
            note_times(mapper->journal, started_ns);
        else
            note_loss(mapper, page);
        if (mapper->think_us)
            usleep(mapper->think_us);
    }
    return NULL;
}

/* ---- the journal ---- */

static int print_journal(const struct journal *journal)
{
    bool resumed = journal->mark_ns && journal->mark_seen_ns == journal->mark_ns && journal->resumed_ns;

    printf("{\"done\": %llu, \"wrong\": %llu, \"poisoned\": %llu, \"lost_syncs\": %llu, \"fenced\": %llu, "
           "\"snoops\": %llu, \"longest_call_ms\": %.1f, \"marks\": %u, \"resumed_ms\": %.1f, "
           "\"sync_error\": %d}\n",
           (unsigned long long)journal->done, (unsigned long long)journal->wrong,
           (unsigned long long)journal->poisoned, (unsigned long long)journal->lost_syncs,
           (unsigned long long)journal->fenced, (unsigned long long)journal->snoops,
           (double)journal->longest_call_ns / NS_PER_MS, journal->marks,
           resumed ? (double)journal->resumed_ns / NS_PER_MS : -1, journal->sync_error);
    fflush(stdout);
    return journal->wrong > 0;
}

/* ---- commands ---- */

static void note_info(struct mapper *mapper)
{
    struct cxe_map_info info;

    if (cxe_map_info(mapper->memory, &info) < 0)
        return;
    mapper->journal->fenced = info.fenced;
    mapper->journal->snoops = info.snoops;
}

static void wait_for_end(struct mapper *mapper, const sigset_t *signals)
{
    const struct timespec moment = {.tv_nsec = 20 * NS_PER_MS};
    int signal;

    while ((signal = sigtimedwait(signals, NULL, &moment)) != SIGTERM) {
        note_info(mapper);
        if (signal != SIGUSR1)
            continue;
        atomic_store(&mapper->journal->mark_ns, program_now_ns());
        mapper->journal->marks++;
    }
    atomic_store(&stopping, true);
}

/* What cannot be written back any more is given up, page by page; then the mapping can go. */
static int finish(struct mapper *mapper)
{
    struct journal *journal = mapper->journal;

    for (uint32_t i = 0; i < journal->page_count; i++) {
        unsigned char *page = mapper->memory + (size_t)i * CXE_PAGE_BYTES;
        int error = cxe_sync(page, CXE_PAGE_BYTES);

        if (error == -EOWNERDEAD) {
            journal->lost_syncs++;
            cxe_advise(page, CXE_PAGE_BYTES, CXE_ADVICE_REFRESH);
        } else if (error) {
            journal->sync_error = error;
        }
    }
    note_info(mapper);
    return cxe_unmap(mapper->memory);
}

static int run(const char *name, struct journal *journal, unsigned pages, unsigned think_us,
               unsigned local_pages)
{
    struct cxe_map_options options = {.local_bytes = (uint64_t)local_pages * CXE_PAGE_BYTES};
    struct sigaction bus = {.sa_handler = leave, .sa_flags = SA_NODEFER};
    struct mapper mapper = {.journal = journal, .think_us = think_us};
    void *address;
    pthread_t thread;
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR1);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    sigaction(SIGBUS, &bus, NULL); /* before the mapping: the library passes on what is not its own */
    if (cxe_map(program_open_region(name, 60000 * NS_PER_MS), &options, &address) < 0) {
        fprintf(stderr, "mapper: %s\n", cxe_last_error());
        return errno == EPERM || errno == ENOSYS ? 77 : 2;
    }
    mapper.memory = address;
    journal->page_count = pages;
    if (pthread_create(&thread, NULL, work, &mapper) != 0)
        return 2;
    wait_for_end(&mapper, &signals);
    pthread_join(thread, NULL);
    if (finish(&mapper) < 0) {
        fprintf(stderr, "mapper: cannot unmap: %s\n", cxe_last_error());
        return 1;
    }
    return print_journal(journal);
}

static int sum(const char *name, unsigned pages)
{
    struct cxe_region *region = program_open_region(name, 60000 * NS_PER_MS);
    uint64_t line[CXE_LINE_BYTES / sizeof(uint64_t)], total = 0;

    for (unsigned i = 0; i < pages; i++) {
        if (cxe_read(region, (uint64_t)i * CXE_PAGE_BYTES, line, sizeof(line)) < 0) {
            fprintf(stderr, "mapper: %s\n", cxe_last_error());
            return 2;
        }
        total += line[0];
    }
    printf("%llu\n", (unsigned long long)total);
    return 0;
}

static unsigned number(int argc, char **argv, int index, unsigned otherwise)
{
    return argc > index ? (unsigned)strtoul(argv[index], NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
    unsigned pages = number(argc, argv, 4, 0);

    if (argc == 3 && strcmp(argv[1], "show") == 0)
        return print_journal(program_map_journal(argv[2], sizeof(struct journal), false));
    if (argc == 4 && strcmp(argv[1], "sum") == 0)
        return sum(argv[2], number(argc, argv, 3, 0));
    if (argc >= 5 && strcmp(argv[1], "run") == 0 && pages >= 1 && pages <= PAGES_MAX)
        return run(argv[2], program_map_journal(argv[3], sizeof(struct journal), true), pages,
                   number(argc, argv, 5, 0), number(argc, argv, 6, 0));
    fprintf(stderr, "usage: mapper run REGION JOURNAL PAGES [THINK_US [LOCAL_PAGES]]\n"
                    "       mapper sum REGION PAGES\n"
                    "       mapper show JOURNAL\n");
    return 2;
}
