/* cmd_top.c - cxe top: what the server does, every second */
#include "cli.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "clock.h"
#include "units.h"

enum { KEY_INTERVAL = CLI_KEY_OWN };

struct top_options {
    uint64_t count; /* 0: until told to stop */
    uint64_t interval_ns;
};

static const struct argp_option options[] = {
    {"count", 'n', "COUNT", 0, "Print so many reports as plain lines, then end", 0},
    {"interval", KEY_INTERVAL, "TIME", 0, "Between reports (default: 1s)", 0},
    {0},
};

static error_t take_option(int key, const char *value, void *into)
{
    struct top_options *top = into;

    switch (key) {
    case 'n':
        top->count = cli_count("--count", value, 1, UINT32_MAX);
        return 0;
    case KEY_INTERVAL:
        top->interval_ns = cli_duration_ns("--interval", value);
        if (top->interval_ns < 10 * NS_PER_MS || top->interval_ns > 3600 * NS_PER_S)
            cli_usage("--interval: '%s' is not a time from 10ms to 60m", value);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* ---- what changed between two looks at the server ---- */

struct sample {
    uint64_t at_ns;
    struct cxe_server_info server;
};

struct rates {
    double operations; /* a second */
    double received_bytes, sent_bytes;
    double cpu_share; /* of one core */
};

static double rate(uint64_t before, uint64_t now, double seconds)
{
    return now >= before ? (double)(now - before) / seconds : 0;
}

/* A restarted server counts from zero: there is nothing to compare with. */
static struct rates rates_between(const struct sample *before, const struct sample *now)
{
    const double seconds = (double)(now->at_ns - before->at_ns) / (double)NS_PER_S;
    const struct cxe_server_info *a = &before->server, *b = &now->server;

    if (seconds <= 0 || a->incarnation != b->incarnation)
        return (struct rates){0};
    return (struct rates){
        .operations = rate(a->operations, b->operations, seconds),
        .received_bytes = rate(a->received_bytes, b->received_bytes, seconds),
        .sent_bytes = rate(a->sent_bytes, b->sent_bytes, seconds),
        .cpu_share = rate(a->cpu_ns, b->cpu_ns, seconds) / (double)NS_PER_S,
    };
}

static int take_sample(struct cxe_connection *connection, struct sample *sample)
{
    int error = cxe_server_info(connection, &sample->server);

    sample->at_ns = clock_now_ns();
    return error;
}

/* ---- output ---- */

static int print_json(const struct sample *sample, const struct rates *rates)
{
    const struct cxe_server_info *server = &sample->server;
    json_t *object =
        json_pack("{s:f, s:f, s:f, s:f, s:o, s:o, s:o, s:o}", "operations_per_s", rates->operations,
                  "received_bytes_per_s", rates->received_bytes, "sent_bytes_per_s", rates->sent_bytes,
                  "cpu_share", rates->cpu_share, "sessions", cli_json_u64(server->sessions), "regions",
                  cli_json_u64(server->regions), "pool_bytes", cli_json_u64(server->pool_bytes),
                  "pool_free_bytes", cli_json_u64(server->pool_free_bytes));

    json_dumpf(object, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
    putchar('\n');
    json_decref(object);
    return cli_flush();
}

static int print_line(const struct sample *sample, const struct rates *rates, uint64_t index)
{
    char in[32], out[32], unused[32];

    if (index == 0)
        printf("%12s %12s %12s %7s %9s %12s\n", "OPS/S", "IN/S", "OUT/S", "CPU", "SESSIONS", "POOL FREE");
    printf("%12.0f %12s %12s %6.1f%% %9ju %12s\n", rates->operations,
           units_format_bytes((uint64_t)rates->received_bytes, in, sizeof(in)),
           units_format_bytes((uint64_t)rates->sent_bytes, out, sizeof(out)), 100 * rates->cpu_share,
           (uintmax_t)sample->server.sessions,
           units_format_bytes(sample->server.pool_free_bytes, unused, sizeof(unused)));
    return cli_flush();
}

#define BAR_COLUMNS 40

static void print_bar(const struct cxe_server_info *server)
{
    char bar[BAR_COLUMNS + 1], a[32], b[32];
    const uint64_t used = server->pool_bytes - server->pool_free_bytes;
    const size_t full =
        server->pool_bytes ? (size_t)((double)used / (double)server->pool_bytes * BAR_COLUMNS) : 0;

    memset(bar, '.', BAR_COLUMNS);
    memset(bar, '#', full > BAR_COLUMNS ? BAR_COLUMNS : full);
    bar[BAR_COLUMNS] = '\0';
    printf("pool      [%s] %s of %s\033[K\r\n", bar, units_format_bytes(used, a, sizeof(a)),
           units_format_bytes(server->pool_bytes, b, sizeof(b)));
}

/* One screen: home, each line to its end, the rest below. */
static int print_screen(const struct sample *sample, const struct rates *rates)
{
    const struct cxe_server_info *server = &sample->server;
    char a[32], b[32];

    printf("\033[H\033[1mcxe top\033[0m   server up %s   (q quits)\033[K\r\n\033[K\r\n",
           units_format_duration(server->uptime_ns, a, sizeof(a)));
    print_bar(server);
    printf("ops/s     %.0f\033[K\r\n", rates->operations);
    printf("network   %s/s in, %s/s out\033[K\r\n",
           units_format_bytes((uint64_t)rates->received_bytes, a, sizeof(a)),
           units_format_bytes((uint64_t)rates->sent_bytes, b, sizeof(b)));
    printf("cpu       %.1f%% of a core\033[K\r\n", 100 * rates->cpu_share);
    printf("sessions  %ju\033[K\r\n", (uintmax_t)server->sessions);
    printf("tenant    %s in %ju regions\033[K\r\n\033[J",
           units_format_bytes(server->used_bytes, a, sizeof(a)), (uintmax_t)server->regions);
    return cli_flush();
}

/* ---- the terminal ---- */

static volatile sig_atomic_t stop;

static void ask_to_stop(int number)
{
    (void)number;
    stop = 1;
}

/* Keys one by one and unseen; another screen, so that the old one comes back. */
static void terminal_begin(struct termios *saved)
{
    struct sigaction action = {.sa_handler = ask_to_stop};
    struct termios raw;

    tcgetattr(STDIN_FILENO, saved);
    raw = *saved;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    fputs("\033[?1049h\033[?25l\033[2J", stdout);
}

static void terminal_end(const struct termios *saved)
{
    fputs("\033[?25h\033[?1049l", stdout);
    fflush(stdout);
    tcsetattr(STDIN_FILENO, TCSANOW, saved);
}

/* Sleeps until `until_ns`; with `keys`, at most until q is pressed. Returns false if it is time to end. */
static bool pause_until(uint64_t until_ns, bool keys)
{
    struct pollfd input = {.fd = keys ? STDIN_FILENO : -1, .events = POLLIN};

    for (;;) {
        const uint64_t now_ns = clock_now_ns();
        char key;

        if (stop)
            return false;
        if (now_ns >= until_ns)
            return true;
        if (poll(&input, 1, (int)((until_ns - now_ns) / NS_PER_MS) + 1) > 0 &&
            (read(STDIN_FILENO, &key, 1) <= 0 || key == 'q' || key == 'Q'))
            return false;
    }
}

/* Returns 0 or the negative errno of what failed; *status_out is the exit status if nothing did. */
static int watch(struct cxe_connection *connection, const struct top_options *top, bool screen,
                 int *status_out)
{
    struct sample before, now;
    int error = take_sample(connection, &before), status = CLI_OK;

    for (uint64_t index = 0; !error && status == CLI_OK && (top->count == 0 || index < top->count); index++) {
        struct rates rates;

        if (!pause_until(before.at_ns + top->interval_ns, screen))
            break;
        error = take_sample(connection, &now);
        if (error)
            break;
        rates = rates_between(&before, &now);
        if (cli_json())
            status = print_json(&now, &rates);
        else
            status = screen ? print_screen(&now, &rates) : print_line(&now, &rates, index);
        before = now;
    }
    *status_out = status;
    return error;
}

int cmd_top(int argc, char **argv)
{
    static const struct cli_syntax syntax = {
        .arguments = "",
        .doc = "Shows what the server does, every second.\vOn a terminal it fills the screen until q is "
               "pressed. "
               "Otherwise, and with --count or --json, it prints one line for each report.",
        .options = options,
        .option = take_option,
    };
    struct top_options top = {.interval_ns = NS_PER_S};
    struct cxe_connection *connection;
    struct termios saved;
    bool screen;
    int error, status;

    cli_parse(&syntax, argc, argv, &top, NULL);
    screen = top.count == 0 && !cli_json() && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    status = cli_connect(&connection);
    if (status)
        return status;
    if (screen)
        terminal_begin(&saved);
    error = watch(connection, &top, screen, &status);
    if (screen)
        terminal_end(&saved);
    if (error) /* not before: the other screen would take the sentence with it */
        status = cli_fail(error, "asking the server");
    cli_close(connection, NULL);
    return status;
}
