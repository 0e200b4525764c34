/* cmd_bench.c - cxe bench: what can be measured, how the command line says it, and where the figures go */
#include "cmd_bench.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_links.h"
#include "bench_report.h"
#include "cli.h"
#include "limits.h"
#include "output_file.h"

enum {
    KEY_SECONDS = CLI_KEY_OWN,
    KEY_ROUNDS,
    KEY_DEPTH,
    KEY_CLIENTS,
    KEY_THREADS,
    KEY_RATE,
    KEY_ITEMS,
    KEY_PIN,
    KEY_PIN_SERVER,
    KEY_ONLY,
    KEY_FIGURE,
    KEY_JSON_FILE
};

#define DEPTH_MAX   65536
#define CLIENTS_MAX 512
#define THREADS_MAX 64
#define RATE_MAX    1000000000
#define ITEMS_MIN   1000
#define ITEMS_MAX   1000000

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
    {"threads", KEY_THREADS, "N", 0, "Threads that meet page faults, at most (default: 4)", 0},
    {"rate", KEY_RATE, "N", 0, "Of an open loop: reads a second (default: shares of what a closed loop does)",
     0},
    {"items", KEY_ITEMS, "N", 0, "Regions, sessions and pages to scale to (default: 100000)", 0},
    {"pin", KEY_PIN, "CPU", 0, "Pin ourselves there (default: the last CPU)", 0},
    {"pin-server", KEY_PIN_SERVER, "CPU", 0,
     "Pin the private server and the floors' there (default: the first CPU)", 0},
    {"only", KEY_ONLY, "NAME", 0, "Measure one connection only: eth.plain, eth.encrypted or ofi.tcp", 0},
    {"figure", KEY_FIGURE, "TEXT", 0, "Measure only figures whose names contain TEXT, such as pipelined", 0},
    {"json", KEY_JSON_FILE, "FILE", 0,
     "Also write the figures as JSON; -: to standard output, instead of text", 0},
    {0},
};

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
    if (!links_named(value))
        cli_usage("--only: '%s' is not eth.plain, eth.encrypted or ofi.tcp", value);
    arguments->only = value;
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
    case KEY_THREADS:
        arguments->options.threads = (unsigned)cli_count("--threads", value, 1, THREADS_MAX);
        return 0;
    case KEY_RATE:
        arguments->options.rate = cli_count("--rate", value, 1, RATE_MAX);
        return 0;
    case KEY_ITEMS:
        arguments->options.items = cli_count("--items", value, ITEMS_MIN, ITEMS_MAX);
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

/* ---- running one ---- */

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

static int run_bench(const struct bench *bench, const struct bench_arguments *arguments)
{
    const struct cxe_connect_options *connect = cli_connect_options();
    struct bench_report *report =
        report_open(bench->name, arguments->json_file && strcmp(arguments->json_file, "-") == 0);
    int error, status = CLI_OK;

    if (!report)
        return cli_fail_system(-ENOMEM, "report");
    error = bench_pin(arguments->options.client_cpu);
    if (error)
        bench_fail(error, "--pin: %s", strerror(-error));
    else if (connect->server || getenv("CXE_SERVER"))
        error = links_measure_server(bench, &arguments->options, report, connect);
    else
        error =
            links_measure_private(bench, &arguments->options, report, arguments->only, connect->timeout_ns);
    if (!error && report_count(report) == 0)
        error = arguments->options.figure ? bench_fail(-ENOENT, "--figure: no figure's name contains '%s'",
                                                       arguments->options.figure)
                                          : bench_fail(-EOPNOTSUPP, "nothing can be measured here");
    if (error)
        status = cli_fail_because(error, bench_failure());
    else if (arguments->json_file)
        status = write_json(report, arguments->json_file);
    report_close(report);
    return status;
}

/* ---- the benches ---- */

static const struct bench benches[] = {
    {"line", "line operations beside a raw ping-pong",
     "How long do reads, writes and CAS take, beside a raw ping-pong of the same bytes?", bench_line, 0, 0,
     false},
    {"depth", "line operations with 1 to 256 in flight",
     "What do reads, writes and CAS of a line take, with 1 to 256 of them in flight?", bench_depth, 0, 0,
     false},
    {"frame", "reads of lines by frame length",
     "How many lines a second can be read with frames of which length?", bench_frame, 0, 0, false},
    {"open", "reads that arrive at a rate of their own",
     "How long do reads take that arrive at a rate of their own, however slow the answers are?", bench_open,
     0, 0, false},
    {"page", "page faults beside a local fault and a ping-pong",
     "How long do page faults, scans and write-back of a mapping take, beside a local fault and a raw "
     "ping-pong?",
     bench_page, 0, 0, false},
    {"fault", "touching pages by pattern and number of threads",
     "How long does it take to touch pages of a mapping, by pattern and number of threads?", bench_fault, 0,
     0, false},
    {"load", "reads of lines while pages are streamed",
     "How much longer do reads of a line take while another thread of the client streams pages?", bench_load,
     0, 0, false},
    {"writeback", "writing changed pages back: bytes and speed",
     "How many bytes does it take to write pages back, and how fast is it?", bench_writeback, 0, 0, false},
    {"idle", "CPU and memory of a server that nobody asks anything",
     "What does a fabricd take of the machine while nobody asks it for anything?", bench_idle, 256ull << 20,
     0, true},
    {"scale", "cost of a region, a session, a page by how many there are",
     "What do a region, a session and a cached page cost, with a thousand and with a million there?",
     bench_scale, 96ull << 20, CXE_PAGE_BYTES * 3 / 2, true},
    {"lock", "a lock among many clients beside spinning on a CAS",
     "How often does a lock that many clients want change hands, beside spinning on a CAS?", bench_lock, 0, 0,
     false},
    {"share", "pages that another client holds beside those that nobody holds",
     "What do pages and lines cost that another client's mapping holds, beside those that nobody holds?",
     bench_share, 0, 0, false},
};
#define BENCHES (sizeof(benches) / sizeof(benches[0]))

#define BENCH_DOC                                                                                            \
    "Without --server it starts a fabricd of its own on loopback and measures plain, encrypted and "         \
    "libfabric "                                                                                             \
    "connections. Each figure is the median of the rounds; the ratio to the floor is taken round by round. " \
    "The exit status does not tell whether the goals were met, but a round with too little work in it is a " \
    "failure."

/* The last word of "cxe bench line". */
static const struct bench *named(const char *program)
{
    const char *name = strrchr(program, ' ') + 1;
    size_t i = 0;

    while (strcmp(benches[i].name, name) != 0) /* it is there: it was dispatched by that name */
        i++;
    return &benches[i];
}

static int bench_command(int argc, char **argv)
{
    const struct bench *bench = named(cli_program());
    struct bench_arguments arguments = {.options = {.figure_ns = 2 * NS_PER_S,
                                                    .rounds = 9,
                                                    .depth = 4096,
                                                    .clients = 64,
                                                    .threads = 4,
                                                    .items = 100000,
                                                    .client_cpu = -1,
                                                    .server_cpu = -1}};
    const struct cxe_connect_options *connect = cli_connect_options();
    char doc[1024];
    const struct cli_syntax syntax = {
        .arguments = "", .doc = doc, .options = options, .option = take_option, .no_json = true};

    snprintf(doc, sizeof(doc), "%s\v%s", bench->question, BENCH_DOC);
    cli_parse(&syntax, argc, argv, &arguments, NULL);
    if (cli_json() && !arguments.json_file)
        arguments.json_file = "-";
    if (!connect->server && !getenv("CXE_SERVER") &&
        (connect->transport || connect->encryption || connect->fault))
        cli_usage("--transport, --encryption and --fault go with --server; --only picks one of what is "
                  "measured without");
    if (arguments.only && (connect->server || getenv("CXE_SERVER")))
        cli_usage("--only: it does not go with --server, of which there is one connection");
    choose_cpus(&arguments.options);
    return run_bench(bench, &arguments);
}

int cmd_bench(int argc, char **argv)
{
    struct cli_command commands[BENCHES + 2] = {{NULL, NULL, NULL}};

    for (size_t i = 0; i < BENCHES; i++)
        commands[i] = (struct cli_command){benches[i].name, bench_command, benches[i].summary};
    commands[BENCHES] = (struct cli_command){"compare", cmd_bench_compare, "two runs: what changed"};
    return cli_dispatch(commands, "Measures this machine and its network, and compares what was measured.",
                        argc, argv);
}
