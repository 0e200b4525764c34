/* options.c - see options.h */
#include "options.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *argp_program_version = "fabricd " FABRICD_VERSION;

/* Options have no letters; their numbers are above all characters. From OPTION_KEYED on, they set the key of
 * that row. */
enum { OPTION_CONFIG = 0x100, OPTION_CHECK, OPTION_KEYED };

static const struct {
    const char *option; /* as typed */
    const char *key;    /* of config.def */
    const char *argument, *help;
} keyed[] = {
    {"--listen", "listen", "HOST:PORT", "Listen there; may be repeated (127.0.0.1:7400)"},
    {"--transport", "transport", "NAME", "eth, ofi or ofi:PROVIDER (eth)"},
    {"--pool", "pool.size", "SIZE", "Memory to serve, such as 1G (256M)"},
    {"--workers", "workers", "COUNT", "Event loops (one for each CPU)"},
    {"--key", "key_file", "FILE", "The server's secret key, from cxe keygen (made anew at each start)"},
    {"--encryption", "encryption", "MODE", "required, allowed or off (required)"},
    {"--control", "control_socket", "SOCKET", "Control socket (fabricd-PORT.sock in /run/cxe)"},
    {"--metrics", "metrics.listen", "HOST:PORT", "Serve metrics over TCP there, or none (none)"},
    {"--lease", "lease", "TIME", "Fence coherent mappings not heard for so long; from 200ms (5s)"},
    {"--log-level", "log_level", "LEVEL", "error, warning, info or debug (info)"},
    {"--fault", "fault", "FAULTS", "Inject faults such as drop=10%; for tests"},
};
#define KEYED_COUNT (sizeof(keyed) / sizeof(keyed[0]))

static void add_override(struct argp_state *state, struct options *options, unsigned row, const char *text)
{
    if (options->override_count == OPTIONS_OVERRIDES_MAX)
        argp_failure(state, OPTIONS_EXIT_USAGE, 0, "%s: expected at most %d such options", keyed[row].option,
                     OPTIONS_OVERRIDES_MAX);
    options->overrides[options->override_count++] =
        (struct config_override){.key = keyed[row].key, .option = keyed[row].option, .text = text};
}

static error_t take_option(int number, char *text, struct argp_state *state)
{
    struct options *options = state->input;

    switch (number) {
    case OPTION_CONFIG:
        options->config_file = text;
        return 0;
    case OPTION_CHECK:
        options->check = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_failure(state, OPTIONS_EXIT_USAGE, 0,
                     "unexpected argument '%s': fabricd takes only options; see --help", text);
        return 0;
    default:
        if (number < OPTION_KEYED || number >= OPTION_KEYED + (int)KEYED_COUNT)
            return ARGP_ERR_UNKNOWN;
        add_override(state, options, (unsigned)(number - OPTION_KEYED), text);
        return 0;
    }
}

void options_parse(int count, char **arguments, struct options *options_out)
{
    struct argp_option table[KEYED_COUNT + 3] = {
        {.name = "config", .key = OPTION_CONFIG, .arg = "FILE", .doc = "Read this YAML file"},
        {.name = "check",
         .key = OPTION_CHECK,
         .doc = "Check the configuration, print it as it takes effect, and end"},
    };
    struct argp argp = {.options = table,
                        .parser = take_option,
                        .doc =
                            "Serve this machine's memory over Ethernet, by the line.\v"
                            "Options stand above the file, and the file above the defaults in parentheses. "
                            "Without tenants and a key the daemon listens on loopback only."};
    int error;

    for (size_t i = 0; i < KEYED_COUNT; i++)
        table[i + 2] = (struct argp_option){.name = keyed[i].option + strlen("--"),
                                            .key = OPTION_KEYED + (int)i,
                                            .arg = keyed[i].argument,
                                            .doc = keyed[i].help};
    memset(options_out, 0, sizeof(*options_out));
    argp_err_exit_status = OPTIONS_EXIT_USAGE;
    error = argp_parse(&argp, count, arguments, ARGP_IN_ORDER, NULL, options_out);
    if (error) { /* no memory: nothing of the command line was read, and the defaults are not what was asked
                    for */
        fprintf(stderr, "fabricd: error: cannot read the command line: %s\n", strerror(error));
        exit(EXIT_FAILURE);
    }
}
