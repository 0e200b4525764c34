/* test_control.c - the operators' HTTP: what it answers, what it refuses, and what it puts up with */
#include <criterion/criterion.h>
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "control.h"
#include "control_socket.h"
#include "metrics.h"
#include "pool.h"
#include "quiesce.h"
#include "region.h"
#include "tenant.h"

#define PATIENCE_MS 5000

/* ---- a daemon's inside without a daemon ---- */

static struct quiesce *quiesce;
static struct pool *pool;
static struct regions *regions;
static struct control *control;
static struct worker_counters counters[2];
static struct metrics_source source;
static struct address listen_address;
static char directory[] = "/tmp/cxe-control-XXXXXX";
static char path[64];
static unsigned reloads, drains;
static int reload_answer;

static int reload(void *context, char *why, size_t why_bytes)
{
    (void)context;
    reloads++;
    snprintf(why, why_bytes, "f.yaml:3: workers: expected better");
    return reload_answer;
}

static void drain(void *context)
{
    (void)context;
    drains++;
}

static void make_memory(void)
{
    const struct pool_options options = {.bytes = 1 << 20, .workers = 1};
    const struct tenant tenant = {.name = "acme", .id = 7, .quota_bytes = 512 << 10};
    struct region_spec spec = {.name = "r", .bytes = 8192};
    struct regions_options regions_options;
    struct region_info info;
    char why[512] = "";

    cr_assert_eq(quiesce_open(1, &quiesce), 0);
    cr_assert_eq(pool_open(&options, why, sizeof(why), &pool), 0, "%s", why);
    regions_options = (struct regions_options){.pool = pool, .quiesce = quiesce};
    cr_assert_eq(regions_open(&regions_options, &regions), 0);
    cr_assert_eq(tenants_publish(&tenant, 1, false), 0);
    regions_set_quota(regions, 7, tenant.quota_bytes);
    cr_assert_eq(regions_create(regions, QUIESCE_NO_WORKER, 7, &spec, &info), 0);
}

static int open_control(const struct address *metrics, char why[512])
{
    const struct control_options options = {
        .socket_path = path, .metrics = metrics, .source = &source, .reload = reload, .drain = drain};

    return control_open(&options, &control, why, 512);
}

static void setup(void)
{
    cr_assert_not_null(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/c.sock", directory);
    make_memory();
    cr_assert_eq(address_parse("127.0.0.1:7400", 0, &listen_address), 0);
    source = (struct metrics_source){.incarnation = 0xabc,
                                     .started_ns = clock_now_ns(),
                                     .pool = pool,
                                     .regions = regions,
                                     .counters = {&counters[0], &counters[1]},
                                     .worker_count = 2,
                                     .poller = "epoll",
                                     .transport = "eth",
                                     .encryption = "required",
                                     .listen = &listen_address,
                                     .listen_count = 1};
}

static void teardown(void)
{
    control_close(control);
    tenants_clear();
    regions_close(regions);
    pool_close(pool);
    quiesce_close(quiesce);
    unlink(path);
    rmdir(directory);
}

TestSuite(control, .init = setup, .fini = teardown, .timeout = 60);

static void open_good(const struct address *metrics)
{
    char why[512] = "";

    cr_assert_eq(open_control(metrics, why), 0, "%s", why);
}

/* ---- a very small HTTP client ---- */

static int connect_local(void)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strcpy(name.sun_path, path);
    cr_assert_eq(connect(fd, (struct sockaddr *)&name, sizeof(name)), 0, "%s", strerror(errno));
    return fd;
}

/* Reads until the other end closes or nothing comes any more. The caller frees. */
static char *read_all(int fd)
{
    size_t used = 0, room = 1 << 20;
    char *text = malloc(room);
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    ssize_t got;

    while (used + 1 < room && poll(&wait, 1, PATIENCE_MS) == 1 &&
           (got = read(fd, text + used, room - used - 1)) > 0)
        used += (size_t)got;
    text[used] = '\0';
    close(fd);
    return text;
}

static char *exchange(int fd, const char *request)
{
    cr_assert_eq(send(fd, request, strlen(request), MSG_NOSIGNAL), (ssize_t)strlen(request));
    return read_all(fd);
}

/* The answer to "METHOD PATH" on the UNIX socket; the caller frees. */
static char *ask(const char *line)
{
    char request[256];

    snprintf(request, sizeof(request), "%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", line);
    return exchange(connect_local(), request);
}

static void expect_status(char *answer, const char *status)
{
    char head[32];

    snprintf(head, sizeof(head), "HTTP/1.1 %s ", status);
    cr_expect(strncmp(answer, head, strlen(head)) == 0, "wanted %s, got: %s", status, answer);
    free(answer);
}

static json_t *json_of(char *answer)
{
    char *body = strstr(answer, "\r\n\r\n");
    json_t *json;

    cr_assert_not_null(body, "%s", answer);
    json = json_loads(body, 0, NULL);
    cr_assert_not_null(json, "%s", body);
    free(answer);
    return json;
}

/* ---- answers ---- */

Test(control, metrics_sum_up_what_workers_count)
{
    char *answer;

    counters[0].operations = 5;
    counters[1].operations = 7;
    counters[1].busy_ns = 1500000000;
    counters[0].sessions = 3;
    open_good(NULL);
    answer = ask("GET /metrics");
    cr_expect(strstr(answer, "Content-Type: text/plain; version=0.0.4") != NULL);
    cr_expect(strstr(answer, "\nfabricd_operations_total{worker=\"0\"} 5\n") != NULL);
    cr_expect(strstr(answer, "\nfabricd_operations_total{worker=\"1\"} 7\n") != NULL);
    cr_expect(strstr(answer, "\nfabricd_busy_seconds_total{worker=\"1\"} 1.500000000\n") != NULL);
    cr_expect(strstr(answer, "\n# TYPE fabricd_sessions gauge\nfabricd_sessions{worker=\"0\"} 3\n") != NULL);
    cr_expect(strstr(answer, "\nfabricd_pool_bytes 1048576\n") != NULL);
    cr_expect(strstr(answer, "\nfabricd_pool_free_bytes 1040384\n") != NULL);
    cr_expect(strstr(answer, "\nfabricd_tenant_quota_bytes{tenant=\"acme\"} 524288\n") != NULL);
    cr_expect(strstr(answer, "\nfabricd_tenant_used_bytes{tenant=\"acme\"} 8192\n") != NULL);
    free(answer);
}

/* The text format: every sample belongs to a series with HELP and TYPE right above, and a counter's name ends
 * in _total. */
Test(control, metrics_are_well_formed)
{
    char *answer, *line, *rest, name[80] = "", type[16] = "";

    open_good(NULL);
    answer = ask("GET /metrics");
    rest = strstr(answer, "\r\n\r\n");
    cr_assert_not_null(rest);
    for (rest += 4; (line = strsep(&rest, "\n")) && *line;) {
        char series[80];

        if (strncmp(line, "# HELP ", 7) == 0) {
            cr_assert_eq(sscanf(line, "# HELP %79s", name), 1);
        } else if (strncmp(line, "# TYPE ", 7) == 0) {
            cr_assert_eq(sscanf(line, "# TYPE %79s %15s", series, type), 2);
            cr_assert_str_eq(series, name);
        } else {
            cr_assert_eq(sscanf(line, "%79[a-z_]", series), 1, "%s", line);
            cr_assert_str_eq(series, name, "%s", line);
            cr_assert_eq(strcmp(type, "counter") == 0, strcmp(strrchr(name, '_'), "_total") == 0, "%s", name);
        }
    }
    free(answer);
}

/* Every series that is served has a row in the manual. */
Test(control, the_manual_has_a_row_for_every_metric)
{
    char manual_path[512], row[100], series[80], *answer, *line, *rest, *manual = calloc(1, 1 << 18);
    FILE *file;

    snprintf(manual_path, sizeof(manual_path), "%.*sdocs/OPERATIONS.md",
             (int)(strstr(__FILE__, "tests/unit/fabricd/") - __FILE__), __FILE__);
    file = fopen(manual_path, "r");
    cr_assert_not_null(file, "%s", manual_path);
    cr_assert_gt(fread(manual, 1, (1 << 18) - 1, file), 0);
    fclose(file);
    open_good(NULL);
    answer = rest = ask("GET /metrics");
    while ((line = strsep(&rest, "\n")))
        if (sscanf(line, "# TYPE %79s", series) == 1) {
            snprintf(row, sizeof(row), "\n| `%s` |", series);
            cr_expect(strstr(manual, row) != NULL, "docs/OPERATIONS.md has no row for %s", series);
        }
    free(answer);
    free(manual);
}

Test(control, status_is_json)
{
    json_t *status, *pool_object;

    counters[0].sessions = 2;
    counters[1].sessions = 1;
    open_good(NULL);
    status = json_of(ask("GET /status"));
    pool_object = json_object_get(status, "pool");
    cr_expect_str_eq(json_string_value(json_object_get(status, "incarnation")), "0000000000000abc");
    cr_expect_eq(json_integer_value(json_object_get(status, "sessions")), 3);
    cr_expect_eq(json_integer_value(json_object_get(pool_object, "bytes")), 1 << 20);
    cr_expect_eq(json_array_size(json_object_get(status, "workers")), 2);
    cr_expect_eq(json_array_size(json_object_get(status, "tenants")), 1);
    json_decref(status);
}

Test(control, regions_are_listed_with_their_owners)
{
    json_t *answer, *first;

    open_good(NULL);
    answer = json_of(ask("GET /regions"));
    first = json_array_get(json_object_get(answer, "regions"), 0);
    cr_expect_str_eq(json_string_value(json_object_get(first, "name")), "r");
    cr_expect_str_eq(json_string_value(json_object_get(first, "tenant")), "acme");
    cr_expect_eq(json_integer_value(json_object_get(first, "bytes")), 8192);
    cr_expect(json_is_false(json_object_get(answer, "truncated")));
    json_decref(answer);
}

Test(control, orders_reach_the_daemon)
{
    char *answer;

    open_good(NULL);
    expect_status(ask("POST /reload"), "200");
    expect_status(ask("POST /drain"), "202");
    cr_expect_eq(reloads, 1);
    cr_expect_eq(drains, 1);
    reload_answer = -EINVAL;
    answer = ask("POST /reload");
    cr_expect(strstr(answer, "\r\n\r\nf.yaml:3: workers: expected better\n") != NULL);
    expect_status(answer, "409");
}

/* ---- refusals ---- */

Test(control, wrong_paths_and_methods_get_http_errors)
{
    char *answer;

    open_good(NULL);
    expect_status(ask("GET /"), "404");
    expect_status(ask("GET /metrics/"), "404");
    expect_status(ask("GET /../etc/passwd"), "404");
    expect_status(ask("HEAD /status"), "200");
    expect_status(ask("POST /status"), "405");
    expect_status(ask("BREW /status"), "405");
    expect_status(ask("HEAD /drain"), "405");
    answer = ask("GET /drain");
    cr_expect(strstr(answer, "\r\nAllow: POST\r\n") != NULL, "%s", answer);
    expect_status(answer, "405");
    cr_expect_eq(drains, 0, "no drain without POST");
}

static struct address free_tcp_address(void)
{
    struct address address;
    socklen_t address_bytes = sizeof(address.in);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    cr_assert_eq(address_parse("127.0.0.1:0", 0, &address), 0);
    cr_assert_eq(bind(fd, &address.sa, address_bytes), 0);
    cr_assert_eq(getsockname(fd, &address.sa, &address_bytes), 0);
    close(fd);
    return address;
}

static char *ask_tcp(const struct address *address, const char *line)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char request[256];

    snprintf(request, sizeof(request), "%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", line);
    cr_assert_eq(connect(fd, &address->sa, sizeof(address->in)), 0, "%s", strerror(errno));
    return exchange(fd, request);
}

Test(control, over_tcp_there_are_figures_but_no_names_and_no_orders)
{
    struct address address = free_tcp_address();

    open_good(&address);
    expect_status(ask_tcp(&address, "GET /metrics"), "200");
    expect_status(ask_tcp(&address, "GET /status"), "403");
    expect_status(ask_tcp(&address, "GET /regions"), "403");
    expect_status(ask_tcp(&address, "POST /reload"), "403");
    expect_status(ask_tcp(&address, "POST /drain"), "403");
    cr_expect_eq(drains + reloads, 0);
}

Test(control, a_body_is_refused)
{
    open_good(NULL);
    expect_status(exchange(connect_local(), "POST /drain HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
                                            "Connection: close\r\n\r\nabc"),
                  "413");
    expect_status(exchange(connect_local(),
                           "POST /drain HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
                           "Connection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
                  "413");
    cr_expect_eq(drains, 0);
}

/* Garbage, and a header larger than a connection's memory: an error or a closed connection, and the next
 * client is served. */
Test(control, garbage_hurts_nobody_else)
{
    char *huge = malloc(100001), *answer;
    int fd;

    open_good(NULL);
    free(exchange(connect_local(), "\x16\x03\x01\x02\x01\x01\xfc\x03\x03 not HTTP\r\n\r\n"));
    memset(huge, 'x', 100000);
    huge[100000] = '\0';
    fd = connect_local();
    (void)!send(fd, "GET /metrics HTTP/1.1\r\nA: ", 26, MSG_NOSIGNAL);
    (void)!send(fd, huge, 100000, MSG_NOSIGNAL); /* it may be cut off in the middle */
    answer = read_all(fd);
    cr_expect(answer[0] == '\0' || strncmp(answer, "HTTP/1.1 4", 10) == 0, "%s", answer);
    free(answer);
    free(huge);
    expect_status(ask("GET /status"), "200");
}

/* More clients that say nothing than there are connections: once some go, the next is served. */
Test(control, silent_clients_are_bounded)
{
    int silent[2 * CONTROL_CONNECTIONS_MAX];

    open_good(NULL);
    for (size_t i = 0; i < sizeof(silent) / sizeof(silent[0]); i++)
        silent[i] = connect_local();
    for (size_t i = 0; i < sizeof(silent) / sizeof(silent[0]); i++)
        close(silent[i]);
    expect_status(ask("GET /status"), "200");
}

/* ---- the socket file ---- */

Test(control, only_owner_and_group_may_connect)
{
    struct stat status;

    open_good(NULL);
    cr_assert_eq(stat(path, &status), 0);
    cr_expect(S_ISSOCK(status.st_mode));
    cr_expect_eq(status.st_mode & 0777, 0660);
}

Test(control, a_dead_daemons_socket_is_replaced)
{
    struct control_socket dead;
    char why[512] = "";
    int fd;

    cr_assert_eq(control_socket_open(path, &dead, &fd, why, sizeof(why)), 0, "%s", why);
    close(fd); /* the file stays */
    cr_assert_eq(access(path, F_OK), 0);
    open_good(NULL);
    expect_status(ask("GET /status"), "200");
}

Test(control, a_live_daemons_socket_is_refused)
{
    struct control_socket live;
    char why[512] = "";
    int fd;

    cr_assert_eq(control_socket_open(path, &live, &fd, why, sizeof(why)), 0);
    cr_expect_eq(open_control(NULL, why), -EADDRINUSE);
    cr_expect(strstr(why, "another daemon is serving on ") != NULL, "%s", why);
    cr_expect_eq(access(path, F_OK), 0, "the live one keeps its file");
    close(fd);
}

Test(control, a_file_that_is_no_socket_is_left_alone)
{
    FILE *file = fopen(path, "w");
    char why[512] = "";

    fclose(file);
    cr_expect_eq(open_control(NULL, why), -EEXIST);
    cr_expect(strstr(why, "is not a socket") != NULL, "%s", why);
    cr_expect_eq(access(path, F_OK), 0);
}

Test(control, the_file_goes_at_the_end_unless_it_became_anothers)
{
    struct control_socket mine, other;
    char why[512], kept[80];
    int fd, other_fd;

    cr_assert_eq(control_socket_open(path, &mine, &fd, why, sizeof(why)), 0);
    control_socket_close(&mine);
    cr_expect_neq(access(path, F_OK), 0);
    close(fd);

    cr_assert_eq(control_socket_open(path, &mine, &fd, why, sizeof(why)), 0);
    snprintf(kept, sizeof(kept), "%s.old", path);
    cr_assert_eq(rename(path, kept), 0);
    cr_assert_eq(control_socket_open(path, &other, &other_fd, why, sizeof(why)), 0);
    control_socket_close(&mine);
    cr_expect_eq(access(path, F_OK), 0);
    control_socket_close(&other);
    unlink(kept);
    close(fd);
    close(other_fd);
}

Test(control, a_port_in_use_is_named)
{
    struct address address = free_tcp_address();
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char why[512] = "", text[64], wanted[160];

    cr_assert_eq(bind(fd, &address.sa, sizeof(address.in)), 0);
    cr_assert_eq(listen(fd, 1), 0);
    cr_expect_eq(open_control(&address, why), -EADDRINUSE);
    snprintf(wanted, sizeof(wanted), "metrics.listen: cannot serve on %s: Address already in use",
             address_format(&address, text, sizeof(text)));
    cr_expect_str_eq(why, wanted);
    cr_expect_neq(access(path, F_OK), 0, "nothing half-done: the socket file is gone again");
    close(fd);
}
