/* cmd_bench.c - cxe bench: what is measured, over which connections, and where the figures go */
#include "cli.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "bench_report.h"
#include "limits.h"
#include "output_file.h"
#include "private_server.h"
#include "transport.h"

enum {
    KEY_SECONDS = CLI_KEY_OWN,
    KEY_ROUNDS,
    KEY_DEPTH,
    KEY_CLIENTS,
    KEY_PIN,
    KEY_PIN_SERVER,
    KEY_ONLY,
    KEY_FIGURE,
    KEY_JSON_FILE
};

#define DEPTH_MAX   65536
#define CLIENTS_MAX 512

typedef int bench_function(const struct bench_options *options, struct bench_report *report,
                           const struct bench_link *link, struct cxe_connection *connection);

struct bench_arguments {
    struct bench_options options;
    const char *only;      /* a link's name; NULL: all */
    const char *json_file; /* NULL: no JSON; "-": standard output, instead of text */
};

static const struct argp_option options[] = {
    {"seconds", KEY_SECONDS, "N", 0, "Measuring time of each figure, its floor included (default: 2)", 0},
    {"rounds", KEY_ROUNDS, "N", 0, "Rounds of floor and subject in turn (default: 9)", 0},
    {"depth", KEY_DEPTH, "N", 0, "Lines in flight when pipelined (default: 4096)", 0},
    {"clients", KEY_CLIENTS, "N", 0, "Clients that compete for a lock (default: 64)", 0},
    {"pin", KEY_PIN, "CPU", 0, "Pin ourselves there (default: the last CPU)", 0},
    {"pin-server", KEY_PIN_SERVER, "CPU", 0,
     "Pin the private server and the floors' there (default: the first CPU)", 0},
    {"only", KEY_ONLY, "NAME", 0, "Measure one connection only: eth.plain, eth.encrypted or ofi.tcp", 0},
    {"figure", KEY_FIGURE, "TEXT", 0, "Measure only figures whose names contain TEXT, such as pipelined", 0},
    {"json", KEY_JSON_FILE, "FILE", 0,
     "Also write the figures as JSON; -: to standard output, instead of text", 0},
    {0},
};

/* What is measured when no server is named. */
static const struct {
    struct bench_link link;
    const char *transport;
} private_links[] = {
    {{.name = "eth.plain", .local = true}, "eth"},
    {{.name = "eth.encrypted", .encrypted = true, .local = true}, "eth"},
    {{.name = "ofi.tcp", .provider = "tcp", .local = true}, "ofi:tcp"},
};
#define PRIVATE_LINKS (sizeof(private_links) / sizeof(private_links[0]))

static int take_cpu(const char *name, const char *value)
{
    const uint64_t cpu = cli_count(name, value, 0, CPU_SETSIZE - 1);
    cpu_set_t allowed;

    if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0 && !CPU_ISSET(cpu, &allowed))
        cli_usage("%s: there is no CPU %s for us", name, value);
    return (int)cpu;
}

static void take_only(struct bench_arguments *arguments, const char *value)
{
    for (size_t i = 0; i < PRIVATE_LINKS; i++)
        if (strcmp(value, private_links[i].link.name) == 0)
            arguments->only = value;
    if (!arguments->only)
        cli_usage("--only: '%s' is not eth.plain, eth.encrypted or ofi.tcp", value);
}

static error_t take_option(int key, const char *value, void *into)
{
    struct bench_arguments *arguments = into;

    switch (key) {
    case KEY_SECONDS:
        arguments->options.figure_ns = cli_count("--seconds", value, 1, 3600) * NS_PER_S;
        return 0;
    case KEY_ROUNDS:
        arguments->options.rounds = (unsigned)cli_count("--rounds", value, 1, BENCH_ROUNDS_MAX);
        return 0;
    case KEY_DEPTH:
        arguments->options.depth = (unsigned)cli_count("--depth", value, 1, DEPTH_MAX);
        return 0;
    case KEY_CLIENTS:
        arguments->options.clients = (unsigned)cli_count("--clients", value, 1, CLIENTS_MAX);
        return 0;
    case KEY_PIN:
        arguments->options.client_cpu = take_cpu("--pin", value);
        return 0;
    case KEY_PIN_SERVER:
        arguments->options.server_cpu = take_cpu("--pin-server", value);
        return 0;
    case KEY_ONLY:
        take_only(arguments, value);
        return 0;
    case KEY_FIGURE:
        arguments->options.figure = value;
        return 0;
    case KEY_JSON_FILE:
        arguments->json_file = value;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* The first CPU for the server, the last for us; with one CPU nothing is pinned. */
static void choose_cpus(struct bench_options *bench)
{
    cpu_set_t allowed;
    int first = -1, last = -1;

    if (sched_getaffinity(0, sizeof(allowed), &allowed) < 0)
        return;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET((size_t)cpu, &allowed)) {
            first = first < 0 ? cpu : first;
            last = cpu;
        }
    if (first == last)
        return;
    if (bench->server_cpu < 0)
        bench->server_cpu = first;
    if (bench->client_cpu < 0)
        bench->client_cpu = last;
}

/* ---- over a server of our own ---- */

static int measure_private(bench_function *bench, const struct bench_arguments *arguments,
                           struct bench_report *report, unsigned index)
{
    const struct bench_link *link = &private_links[index].link;
    const struct cxe_connect_options connect = {
        .transport = private_links[index].transport,
        .encryption = link->encrypted ? CXE_ENCRYPTION_DEFAULT : CXE_ENCRYPTION_OFF,
        .timeout_ns = cli_connect_options()->timeout_ns,
    };
    struct private_server server;
    struct cxe_connection *connection;
    int error = private_server_start(connect.transport, NULL, arguments->options.server_cpu, &server);

    if (!error)
        error = private_server_connect(&server, &connect, &connection);
    if (!error) {
        error = bench(&arguments->options, report, link, connection);
        cxe_disconnect(connection);
    }
    private_server_stop(&server);
    return error;
}

static int measure_all_private(bench_function *bench, const struct bench_arguments *arguments,
                               struct bench_report *report)
{
    int error = 0;

    /* What these say is for other servers. */
    unsetenv("CXE_FAULT");
    unsetenv("CXE_KEY");
    unsetenv("CXE_ENCRYPTION");
    for (unsigned i = 0; i < PRIVATE_LINKS && !error; i++)
        if (!arguments->only || strcmp(arguments->only, private_links[i].link.name) == 0)
            error = measure_private(bench, arguments, report, i);
    return error;
}

/* ---- over a server that runs already ---- */

static bool server_is_local(const char *text)
{
    struct address address;

    return address_parse(text, CXE_PORT_DEFAULT, &address) == 0 && address_is_loopback(&address);
}

static int measure_server(bench_function *bench, const struct bench_arguments *arguments,
                          struct bench_report *report, const char *server)
{
    const char *transport =
        cli_connect_options()->transport ? cli_connect_options()->transport : getenv("CXE_TRANSPORT");
    const bool ofi = transport && strncmp(transport, "ofi", 3) == 0;
    struct cxe_connection_info info;
    struct cxe_connection *connection;
    struct bench_link link = {.local = server_is_local(server)};
    char name[64];
    int error = cxe_connect(cli_connect_options(), &connection);

    if (error)
        return bench_fail(error, "server %s: %s", server, cxe_last_error());
    error = cxe_connection_info(connection, &info);
    if (ofi)
        link.provider = transport[3] == ':' ? transport + 4 : "tcp";
    link.encrypted = !error && info.encrypted;
    snprintf(name, sizeof(name), "%s%s.%s", ofi ? "ofi." : "eth", ofi ? link.provider : "",
             link.encrypted ? "encrypted" : "plain");
    link.name = name;
    if (!error)
        error = bench(&arguments->options, report, &link, connection);
    cxe_disconnect(connection);
    return error;
}

/* ---- both ---- */

static int write_json(struct bench_report *report, const char *path)
{
    char *text =
        json_dumps(report_json(report), JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(6));
    struct output_file file;
    int error = text ? output_file_open(&file, path) : -ENOMEM;

    if (!error) {
        error = output_file_write(&file, text, strlen(text));
        if (!error)
            error = output_file_write(&file, "\n", 1);
        error = output_file_close(&file, error == 0) ? -EIO : error;
    }
    free(text);
    return error ? cli_fail_system(error, "--json: %s", path) : CLI_OK;
}

static int run_bench(const char *name, bench_function *bench, const struct bench_arguments *arguments)
{
    const char *server = cli_connect_options()->server ? cli_connect_options()->server : getenv("CXE_SERVER");
    struct bench_report *report =
        report_open(name, arguments->json_file && strcmp(arguments->json_file, "-") == 0);
    int error, status = CLI_OK;

    if (!report)
        return cli_fail_system(-ENOMEM, "report");
    error = bench_pin(arguments->options.client_cpu);
    if (error)
        bench_fail(error, "--pin: %s", strerror(-error));
    else
        error = server ? measure_server(bench, arguments, report, server)
                       : measure_all_private(bench, arguments, report);
    if (!error && report_count(report) == 0)
        error = bench_fail(-ENOENT, "--figure: no figure's name contains '%s'", arguments->options.figure);
    if (error)
        status = cli_fail_because(error, bench_failure());
    else if (arguments->json_file)
        status = write_json(report, arguments->json_file);
    report_close(report);
    return status;
}

static int parse_and_run(const struct cli_syntax *syntax, const char *name, bench_function *bench, int argc,
                         char **argv)
{
    struct bench_arguments arguments = {.options = {.figure_ns = 2 * NS_PER_S,
                                                    .rounds = 9,
                                                    .depth = 4096,
                                                    .clients = 64,
                                                    .client_cpu = -1,
                                                    .server_cpu = -1}};
    const struct cxe_connect_options *connect = cli_connect_options();

    cli_parse(syntax, argc, argv, &arguments, NULL);
    if (cli_json() && !arguments.json_file)
        arguments.json_file = "-";
    if (!connect->server && !getenv("CXE_SERVER") &&
        (connect->transport || connect->encryption || connect->fault))
        cli_usage("--transport, --encryption and --fault go with --server; --only picks one of what is "
                  "measured without");
    if (arguments.only && (connect->server || getenv("CXE_SERVER")))
        cli_usage("--only: it does not go with --server, of which there is one connection");
    choose_cpus(&arguments.options);
    return run_bench(name, bench, &arguments);
}

#define BENCH_DOC                                                                                            \
    "\vWithout --server it starts a fabricd of its own on loopback and measures plain, encrypted and "       \
    "libfabric "                                                                                             \
    "connections. Each figure is the median of the rounds; the ratio to the floor is taken round by round. " \
    "The exit "                                                                                              \
    "status does not tell whether the goals were met, but a round with too little work in it is a failure."

static int line_command(int argc, char **argv)
{
    static const struct cli_syntax syntax = {
        .arguments = "",
        .doc = "Measures reads, writes and CAS beside a raw ping-pong of the same bytes." BENCH_DOC,
        .options = options,
        .option = take_option,
        .no_json = true,
    };

    return parse_and_run(&syntax, "line", bench_line, argc, argv);
}

static int page_command(int argc, char **argv)
{
    static const struct cli_syntax syntax = {
        .arguments = "",
        .doc = "Measures page faults, scans and write-back of a mapping beside a local fault and a raw "
               "ping-pong." BENCH_DOC,
        .options = options,
        .option = take_option,
        .no_json = true,
    };

    return parse_and_run(&syntax, "page", bench_page, argc, argv);
}

static int lock_command(int argc, char **argv)
{
    static const struct cli_syntax syntax = {
        .arguments = "",
        .doc = "Measures how often a lock that many clients want changes hands, beside spinning on a "
               "CAS." BENCH_DOC,
        .options = options,
        .option = take_option,
        .no_json = true,
    };

    return parse_and_run(&syntax, "lock", bench_lock, argc, argv);
}

static int share_command(int argc, char **argv)
{
    static const struct cli_syntax syntax = {
        .arguments = "",
        .doc = "Measures pages and lines that another client's mapping holds, beside those that nobody "
               "holds." BENCH_DOC,
        .options = options,
        .option = take_option,
        .no_json = true,
    };

    return parse_and_run(&syntax, "share", bench_share, argc, argv);
}

int cmd_bench(int argc, char **argv)
{
    static const struct cli_command commands[] = {
        {"line", line_command, "line operations beside a raw ping-pong"},
        {"page", page_command, "page faults beside a local fault and a ping-pong"},
        {"lock", lock_command, "a lock among many clients beside spinning on a CAS"},
        {"share", share_command, "pages that another client holds beside those that nobody holds"},
        {NULL, NULL, NULL},
    };

    return cli_dispatch(commands,
                        "Measures beside the floor: the least that the machine takes for the same bytes.",
                        argc, argv);
}
