/* test_shared.c - coherent mappings over a live server: what one client stores the others see
 *
 * Clients are connections of this process with a mapping each, or processes of their own where they have to
 * be stopped and killed.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "atomic.h"
#include "clock.h"
#include "limits.h"
#include "pager.h"
#include "server.h"

#define REGION_BYTES (4ull << 20)
#define PATIENCE_NS  (60 * NS_PER_S) /* a slow machine */
#define CLIENTS      2

struct client {
    struct cxe_connection *connection;
    struct cxe_region *region;
    uint8_t *memory;
};

static struct server server;
static struct client clients[CLIENTS];
static struct cxe_connection *connection; /* for line operations */
static struct cxe_region *region;
static struct cxe_map_options map_options;
static const char *faults; /* of the clients' network */

static void join(struct client *client)
{
    client->connection = server_connect(&server, faults, CXE_ENCRYPTION_DEFAULT);
    cr_assert_eq(cxe_region_open(client->connection, "shared", &client->region), 0, "%s", cxe_last_error());
    cr_assert_eq(cxe_map(client->region, &map_options, (void **)&client->memory), 0, "%s", cxe_last_error());
}

static void leave(struct client *client)
{
    const char *broken = pager_valid(pager_find(client->memory));

    cr_assert_null(broken, "%s", broken);
    cr_assert_eq(cxe_unmap(client->memory), 0, "%s", cxe_last_error());
    cxe_region_close(client->region);
    cr_assert_eq(cxe_disconnect(client->connection), 0);
}

static void start_server(void)
{
    server_start(&server);
    connection = server_connect(&server, NULL, CXE_ENCRYPTION_DEFAULT);
    cr_assert_eq(cxe_region_create(connection, "shared", REGION_BYTES, CXE_REGION_SHARED, &region), 0, "%s",
                 cxe_last_error());
}

static void stop_server(void)
{
    cxe_region_close(region);
    cr_assert_eq(cxe_disconnect(connection), 0);
    server_stop(&server);
}

static void start(void)
{
    start_server();
    for (unsigned i = 0; i < CLIENTS; i++)
        join(&clients[i]);
}

static void stop(void)
{
    for (unsigned i = 0; i < CLIENTS; i++)
        leave(&clients[i]);
    stop_server();
}

static void pause_a_moment(void)
{
    const struct timespec pause = {.tv_nsec = 200000};

    nanosleep(&pause, NULL);
}

static struct cxe_map_info info_of(const struct client *client)
{
    struct cxe_map_info info;

    cr_assert_eq(cxe_map_info(client->memory, &info), 0);
    return info;
}

static uint64_t *word(const struct client *client, uint64_t offset)
{
    return (uint64_t *)(client->memory + offset);
}

static uint64_t add_by_line(uint64_t offset, uint64_t n)
{
    uint64_t old = 0;

    cr_assert_eq(cxe_fetch(region, CXE_FETCH_ADD, offset, 8, &n, &old), 0, "%s", cxe_last_error());
    return old;
}

TestSuite(shared, .timeout = 150);

/* ---- what is seen ---- */

Test(shared, a_store_through_one_mapping_is_seen_by_the_other_and_by_operations)
{
    uint64_t line[LINE_BYTES / 8];

    start();
    cr_assert(info_of(&clients[0]).coherent);
    for (uint64_t i = 1; i <= 50; i++) {
        uint64_t at = i % 3 * PAGE_BYTES + 64;

        store_relaxed(word(&clients[i % 2], at), i);
        cr_assert_eq(load_relaxed(word(&clients[(i + 1) % 2], at)), i);
        cr_assert_eq(cxe_read(region, at, line, LINE_BYTES), 0);
        cr_assert_eq(line[0], i);
        line[0] = i + 1000;
        cr_assert_eq(cxe_write(region, at, line, LINE_BYTES), 0);
        cr_assert_eq(load_relaxed(word(&clients[0], at)), i + 1000);
        cr_assert_eq(load_relaxed(word(&clients[1], at)), i + 1000);
        cr_assert_eq(add_by_line(at, 5), i + 1000);
        cr_assert_eq(load_relaxed(word(&clients[i % 2], at)), i + 1005);
    }
    stop();
}

Test(shared, a_region_without_the_flag_is_private)
{
    struct cxe_map_options options = {0};
    struct cxe_region *other;
    uint64_t *memory, line[LINE_BYTES / 8] = {7};
    struct cxe_map_info info;

    start_server();
    cr_assert_eq(cxe_region_create(connection, "private", REGION_BYTES, 0, &other), 0);
    cr_assert_eq(cxe_map(other, &options, (void **)&memory), 0);
    cr_assert_eq(cxe_map_info(memory, &info), 0);
    cr_assert(!info.coherent);
    cr_assert_eq(memory[0], 0);
    cr_assert_eq(cxe_write(other, 0, line, LINE_BYTES), 0);
    cr_assert_eq(memory[0], 0, "a private mapping is not asked for what it has");
    cr_assert_eq(cxe_advise(memory, PAGE_BYTES, CXE_ADVICE_REFRESH), 0);
    cr_assert_eq(memory[0], 7);
    cr_assert_eq(cxe_unmap(memory), 0);
    cxe_region_close(other);
    stop_server();
}

Test(shared, a_sealed_region_is_not_tracked)
{
    struct cxe_map_options options = {.flags = CXE_MAP_READ_ONLY};
    struct cxe_map_info info;
    void *memory;

    start_server();
    cr_assert_eq(cxe_region_seal(region), 0, "%s", cxe_last_error());
    cr_assert_eq(cxe_map(region, &options, &memory), 0, "%s", cxe_last_error());
    cr_assert_eq(cxe_map_info(memory, &info), 0);
    cr_assert(!info.coherent);
    cr_assert_eq(cxe_unmap(memory), 0);
    stop_server();
}

/* ---- atomicity ---- */

#define LOCK_AT    0ull
#define COUNTER_AT (5 * PAGE_BYTES)
#define ROUNDS     300

/* A lock by line operations, on the very page of the counter or on another; the counter by mapped stores. */
struct adder {
    const struct client *client;
    struct cxe_region *region;
    uint64_t counter_at;
    unsigned rounds;
};

static void take_lock(struct cxe_region *lock)
{
    uint64_t free = 0, mine = 1, old = 1;

    while (cxe_cas(lock, LOCK_AT, 8, &free, &mine, &old) == 0 && old != 0)
        sched_yield();
}

static void drop_lock(struct cxe_region *lock)
{
    uint64_t free = 0, old;

    cr_assert_eq(cxe_fetch(lock, CXE_SWAP, LOCK_AT, 8, &free, &old), 0);
    cr_assert_eq(old, 1);
}

static void *add_under_lock(void *argument)
{
    const struct adder *adder = argument;

    for (unsigned i = 0; i < adder->rounds; i++) {
        take_lock(adder->region);
        uint64_t *counter = word(adder->client, adder->counter_at);

        store_relaxed(counter, load_relaxed(counter) + 1);
        drop_lock(adder->region);
    }
    return NULL;
}

static void *add_by_mapped_atomics(void *argument)
{
    const struct adder *adder = argument;

    for (unsigned i = 0; i < adder->rounds; i++)
        fetch_add_relaxed((uint64_t *)(adder->client->memory + adder->counter_at), 1u);
    return NULL;
}

static void *add_by_operations(void *argument)
{
    const struct adder *adder = argument;
    uint64_t old = 0, one_more;

    for (unsigned i = 0; i < adder->rounds; i++)
        for (;;) {
            uint64_t expected = old;

            one_more = old + 1;
            cr_assert_eq(cxe_cas(adder->region, adder->counter_at, 8, &expected, &one_more, &old), 0);
            if (old == expected)
                break;
        }
    return NULL;
}

static uint64_t run_adders(void *(*const *how)(void *), struct adder *adders, unsigned n)
{
    pthread_t threads[8];
    uint64_t total = 0;

    for (unsigned i = 0; i < n; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, how[i], &adders[i]), 0);
    for (unsigned i = 0; i < n; i++) {
        pthread_join(threads[i], NULL);
        total += adders[i].rounds;
    }
    return total;
}

static void lock_and_count(uint64_t counter_at)
{
    void *(*const how[])(void *) = {add_under_lock, add_under_lock};

    start();
    struct adder adders[] = {{&clients[0], clients[0].region, counter_at, ROUNDS},
                             {&clients[1], clients[1].region, counter_at, ROUNDS}};
    uint64_t total = run_adders(how, adders, 2);
    cr_assert_eq(load_relaxed(word(&clients[0], counter_at)), total);
    cr_assert_eq(add_by_line(counter_at, 0), total);
    stop();
}

Test(shared, stores_under_a_lock_made_of_line_operations_are_all_there)
{
    lock_and_count(COUNTER_AT);
}

Test(shared, also_where_the_lock_lies_on_the_same_page)
{
    lock_and_count(LOCK_AT + 128);
}

Test(shared, mapped_atomics_and_line_atomics_count_together)
{
    void *(*const how[])(void *) = {add_by_mapped_atomics, add_by_mapped_atomics, add_by_operations,
                                    add_by_operations};

    start();
    struct adder adders[] = {{&clients[0], NULL, COUNTER_AT, 20 * ROUNDS},
                             {&clients[1], NULL, COUNTER_AT, 20 * ROUNDS},
                             {NULL, region, COUNTER_AT, ROUNDS},
                             {NULL, clients[0].region, COUNTER_AT, ROUNDS}};
    uint64_t total = run_adders(how, adders, 4);
    cr_assert_eq(load_relaxed(word(&clients[1], COUNTER_AT)), total);
    cr_assert_eq(add_by_line(COUNTER_AT, 0), total);
    stop();
}

/* Snoops, answers and grants are lost, doubled and overtaken; nothing is counted twice, nothing not at all.
 */
Test(shared, a_bad_network_loses_no_store)
{
    void *(*const how[])(void *) = {add_by_mapped_atomics, add_by_mapped_atomics, add_by_operations};

    faults = "drop=5%,dup=5%,reorder=10%,seed=7";
    server.lease_ns = 60 * NS_PER_S;
    start();
    struct adder adders[] = {{&clients[0], NULL, COUNTER_AT, 10 * ROUNDS},
                             {&clients[1], NULL, COUNTER_AT, 10 * ROUNDS},
                             {NULL, region, COUNTER_AT, ROUNDS / 3}};
    uint64_t total = run_adders(how, adders, 3);
    cr_assert_eq(load_relaxed(word(&clients[1], COUNTER_AT)), total);
    cr_assert_eq(add_by_line(COUNTER_AT, 0), total);
    cr_assert_eq(info_of(&clients[0]).fenced + info_of(&clients[1]).fenced, 0);
    stop();
}

/* ---- fairness ---- */

static _Atomic bool over;

/* Counts its own words on a page that the others hammer as well. */
static void *hammer(void *argument)
{
    uint64_t *mine = argument;

    while (!over)
        store_relaxed(mine, load_relaxed(mine) + 1);
    return NULL;
}

/* While the other client hammers a page, each access of ours to it is done, and soon: the server grants in
 * turn, and a grant lasts a millisecond at most before it is given up. */
static void hammered(struct cxe_map_options options)
{
    pthread_t hammerers[2];
    uint64_t longest_ns = 0;

    map_options = options;
    start();
    pthread_create(&hammerers[0], NULL, hammer, clients[0].memory);
    for (unsigned i = 1; i <= 200; i++) {
        uint64_t start_ns = clock_now_ns();

        store_relaxed(word(&clients[1], 8), i);
        uint64_t took_ns = clock_now_ns() - start_ns;
        longest_ns = took_ns > longest_ns ? took_ns : longest_ns;
    }
    pthread_create(&hammerers[1], NULL, hammer, clients[1].memory + 16);
    uint64_t before = load_relaxed(word(&clients[0], 0)), until_ns = clock_now_ns() + PATIENCE_NS;
    while (load_relaxed(word(&clients[0], 0)) < before + 100 || load_relaxed(word(&clients[0], 16)) < 100) {
        cr_assert_lt(clock_now_ns(), until_ns, "one of the two starves");
        pause_a_moment();
    }
    over = true;
    pthread_join(hammerers[0], NULL);
    pthread_join(hammerers[1], NULL);
    cr_assert_eq(load_relaxed(word(&clients[0], 8)), 200);
    fprintf(stderr, "the longest of 200 stores to a hammered page took %.3f ms\n", (double)longest_ns / 1e6);
    cr_assert_lt(longest_ns, 10 * NS_PER_S);
    stop();
}

Test(shared, two_clients_that_hammer_one_page_both_get_on_inline)
{
    hammered((struct cxe_map_options){0});
}

Test(shared, two_clients_that_hammer_one_page_both_get_on_in_thread_mode)
{
    if (geteuid() != 0)
        cr_skip_test("userfaultfd for faults inside system calls needs privileges");
    hammered((struct cxe_map_options){.fault_mode = CXE_FAULT_THREAD});
}

/* ---- a small cache ---- */

/* Each client has words of its own on every page, and its pages leave for want of room all the time. */
static void *churn(void *argument)
{
    const struct client *client = argument;
    uint64_t at = (uint64_t)(client - clients) * 8, pages = REGION_BYTES / PAGE_BYTES;

    for (uint64_t round = 1; round <= 3; round++)
        for (uint64_t i = 0; i < pages; i += 2) {
            uint64_t *mine = word(client, (i * 7 % pages) * PAGE_BYTES + at);

            cr_assert_eq(load_relaxed(mine), round - 1, "page %llu", (unsigned long long)(i * 7 % pages));
            store_relaxed(mine, round);
        }
    return NULL;
}

Test(shared, caches_much_smaller_than_what_is_shared)
{
    pthread_t threads[CLIENTS];

    map_options.local_bytes = CXE_LOCAL_BYTES_MIN;
    start();
    for (unsigned i = 0; i < CLIENTS; i++)
        pthread_create(&threads[i], NULL, churn, &clients[i]);
    for (unsigned i = 0; i < CLIENTS; i++)
        pthread_join(threads[i], NULL);
    cr_assert_gt(info_of(&clients[0]).evicted_pages, 100);
    stop();
}

/* ---- holders that stop ---- */

/* What a process of its own is told, and says. */
struct mail {
    char address[32], key_text[64];
    _Atomic bool told, holds, checked;
    _Atomic uint32_t go_on;
    _Atomic int result;
};
static struct mail *mail;

static sigjmp_buf poisoned;
static void on_sigbus(int number)
{
    (void)number;
    siglongjmp(poisoned, 1);
}

static bool can_load(const volatile uint8_t *address)
{
    struct sigaction action = {.sa_handler = on_sigbus}, old;
    volatile bool fine = false;

    pager_sigaction(&action, &old);
    if (sigsetjmp(poisoned, 1) == 0) {
        (void)*address;
        fine = true;
    }
    pager_sigaction(&old, NULL);
    return fine;
}

/* On its return: 0, or what is wrong. */
static int look_after_the_fence(uint8_t *memory)
{
    struct cxe_map_info info = {0};

    while (cxe_map_info(memory, &info) == 0 && info.fenced == 0)
        pause_a_moment();
    if (load_relaxed(&memory[PAGE_BYTES]) != 99)
        return 1; /* stale */
    if (can_load(memory))
        return 2; /* its stores were lost in silence */
    if (cxe_sync(memory, REGION_BYTES) != -EOWNERDEAD)
        return 3;
    if (cxe_advise(memory, REGION_BYTES, CXE_ADVICE_REFRESH) || load_relaxed(&memory[0]) != 77)
        return 4;
    memory[0] = 78;
    return cxe_sync(memory, REGION_BYTES) ? 5 : 0;
}

/* Holds a dirty page 0 and a clean page 1. */
static int holder_main(void)
{
    struct cxe_connect_options options = {.server = mail->address, .server_key = mail->key_text};
    struct cxe_connection *own;
    struct cxe_region *its;
    uint8_t *memory;

    while (!mail->told)
        pause_a_moment();
    if (cxe_connect(&options, &own) || cxe_region_open(own, "shared", &its) ||
        cxe_map(its, NULL, (void **)&memory))
        return 9;
    memory[0] = 41;
    if (load_relaxed(&memory[PAGE_BYTES]) != 0)
        return 8;
    mail->holds = true;
    while (!mail->go_on)
        pause_a_moment();
    mail->result = look_after_the_fence(memory);
    mail->checked = true;
    return mail->result;
}

/* A process that holds pages; forked before the server's threads are there. */
static pid_t start_holder(void)
{
    mail = mmap(NULL, sizeof(*mail), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t holder = fork();

    if (holder == 0)
        _exit(holder_main());
    cr_assert_gt(holder, 0);
    start();
    memcpy(mail->address, server.address, sizeof(mail->address));
    memcpy(mail->key_text, server.key_text, sizeof(mail->key_text));
    mail->told = true;
    uint64_t until_ns = clock_now_ns() + PATIENCE_NS;
    while (!mail->holds) {
        cr_assert_lt(clock_now_ns(), until_ns, "the holder does not get anywhere");
        cr_assert_eq(waitpid(holder, NULL, WNOHANG), 0, "the holder ended");
        pause_a_moment();
    }
    return holder;
}

/* Others get what a holder had that stopped, in its lease and a little; what it stored last is lost. */
static void take_from_stopped(void)
{
    uint64_t start_ns = clock_now_ns();

    cr_assert_neq(load_relaxed(word(&clients[0], 0)) & 255, 41, "it was not written back");
    uint64_t took_ns = clock_now_ns() - start_ns;
    clients[0].memory[0] = 77;
    clients[1].memory[PAGE_BYTES] = 99;
    fprintf(stderr, "the page of a stopped holder came after %.0f ms; the lease is %.0f ms\n",
            (double)took_ns / 1e6, (double)server.lease_ns / 1e6);
    cr_assert_lt(took_ns, PATIENCE_NS);
}

Test(shared, others_go_on_when_a_holder_is_killed)
{
    server.lease_ns = 3 * NS_PER_S; /* a machine may be slow */
    pid_t holder = start_holder();
    kill(holder, SIGKILL);
    waitpid(holder, NULL, 0);
    take_from_stopped();
    munmap(mail, sizeof(*mail));
    stop();
}

Test(shared, a_stopped_holder_finds_out_what_it_lost)
{
    int status;

    server.lease_ns = 3 * NS_PER_S; /* a machine may be slow */
    pid_t holder = start_holder();
    kill(holder, SIGSTOP);
    waitpid(holder, NULL, WUNTRACED);
    take_from_stopped();
    mail->go_on = 1;
    kill(holder, SIGCONT);
    cr_assert_eq(waitpid(holder, &status, 0), holder);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
    cr_assert_eq(clients[0].memory[0], 78);
    munmap(mail, sizeof(*mail));
    stop();
}
