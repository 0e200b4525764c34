/* test_mapping.c - mappings over a live server, together with operations */
#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>

#include "atomic.h"
#include "limits.h"
#include "server.h"

#define MAPPED_BYTES (16ull << 20)

static struct server server;
static struct cxe_connection *connection;
static struct cxe_region *region;
static uint8_t *mapped;

static void set_up(void)
{
    struct cxe_map_options options = {.local_bytes = 1 << 20};

    server_start(&server);
    connection = server_connect(&server, NULL, CXE_ENCRYPTION_DEFAULT);
    cr_assert_eq(cxe_region_create(connection, "mapped", MAPPED_BYTES, 0, &region), 0);
    cr_assert_eq(cxe_map(region, &options, (void **)&mapped), 0, "%s", cxe_last_error());
}

static void tear_down(void)
{
    cr_assert_eq(cxe_unmap(mapped), 0, "%s", cxe_last_error());
    cxe_region_close(region);
    cr_assert_eq(cxe_disconnect(connection), 0);
    server_stop(&server);
}

TestSuite(mapping, .init = set_up, .fini = tear_down, .timeout = 30);

Test(mapping, stores_reach_the_server_and_writes_reach_the_mapping)
{
    uint8_t line[LINE_BYTES];

    memset(mapped + 8192, 0x77, LINE_BYTES);
    cr_assert_eq(cxe_sync(mapped, MAPPED_BYTES), 0);
    cr_assert_eq(cxe_read(region, 8192, line, sizeof(line)), 0);
    cr_assert_eq(line[5], 0x77);
    memset(line, 0x11, sizeof(line));
    cr_assert_eq(cxe_write(region, 8192, line, sizeof(line)), 0);
    cr_assert_eq(cxe_advise(mapped, MAPPED_BYTES, CXE_ADVICE_REFRESH), 0);
    cr_assert_eq(mapped[8192 + 5], 0x11);
}

Test(mapping, a_buffer_of_an_operation_may_lie_in_the_mapping)
{
    static uint8_t expected[256 * 1024];

    for (size_t i = 0; i < sizeof(expected); i++)
        expected[i] = (uint8_t)(i * 31 >> 3);
    memcpy(mapped, expected, sizeof(expected));
    cr_assert_eq(cxe_write(region, 8 << 20, mapped, sizeof(expected)), 0, "%s", cxe_last_error());
    cr_assert_eq(cxe_read(region, 8 << 20, mapped + (4 << 20), sizeof(expected)), 0, "%s", cxe_last_error());
    cr_assert_arr_eq(mapped + (4 << 20), expected, sizeof(expected));
}

static uint64_t alarms, scanned;

/* Reads on, page after page, so that bulk reads are in flight when it comes again. */
static void on_alarm(int number)
{
    (void)number;
    for (int i = 0; i < 4; i++)
        scanned += *(volatile uint8_t *)(mapped + alarms++ % (MAPPED_BYTES / PAGE_BYTES) * PAGE_BYTES);
}

/* One alarm an operation, each a little later into it: a timer that goes on by itself would leave a slow
 * machine in its handlers for ever. */
Test(mapping, a_signal_handler_may_fault_while_its_thread_awaits_an_answer)
{
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    struct itimerval once = {{0, 0}, {0, 0}};
    uint8_t line[LINE_BYTES];

    sigaction(SIGALRM, &action, NULL);
    for (unsigned i = 0; i < 2000; i++) {
        once.it_value.tv_usec = 1 + i % 100;
        setitimer(ITIMER_REAL, &once, NULL);
        cr_assert_eq(cxe_read(region, 0, line, sizeof(line)), 0, "%s", cxe_last_error());
    }
    once.it_value.tv_usec = 0;
    setitimer(ITIMER_REAL, &once, NULL);
    cr_assert_gt(alarms, 100);
    cr_assert_eq(scanned, 0);
}

Test(mapping, one_of_a_deleted_region_can_be_left)
{
    memset(mapped, 0x77, PAGE_BYTES);
    cr_assert_eq(cxe_region_delete(connection, "mapped"), 0);
    cr_assert_eq(cxe_unmap(mapped), -ESTALE);
    cr_assert_eq(cxe_unmap(mapped), -ESTALE);
    cr_assert_eq(mapped[5], 0x77, "what it holds stays");
    cr_assert_eq(cxe_advise(mapped, MAPPED_BYTES, CXE_ADVICE_DISCARD), 0);
}
