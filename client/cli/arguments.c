/* arguments.c - what was typed: subcommands, options, sizes and counts; see cli.h */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport.h"
#include "units.h"

const char *argp_program_version = "cxe " CLI_VERSION;

enum {
    KEY_SERVER = 0x1000,
    KEY_SERVER_KEY,
    KEY_KEY,
    KEY_TRANSPORT,
    KEY_ENCRYPTION,
    KEY_TIMEOUT,
    KEY_FAULT,
    KEY_JSON
};

static struct cxe_connect_options connect_options;
static bool json;
static char program[64] = "cxe"; /* "cxe region create": the subcommand that is being parsed */

struct cxe_connect_options *cli_connect_options(void)
{
    return &connect_options;
}

bool cli_json(void)
{
    return json;
}

const char *cli_program(void)
{
    return program;
}

/* ---- the options that every subcommand takes ---- */

static const struct argp_option connection_options[] = {
    {"server", KEY_SERVER, "HOST[:PORT]", 0, "The server (default: $CXE_SERVER, else 127.0.0.1)", 0},
    {"server-key", KEY_SERVER_KEY, "KEY", 0,
     "Its public key, as text or a file's name (default: $CXE_SERVER_KEY, else that of the fabricd running "
     "here)",
     0},
    {"key", KEY_KEY, "FILE", 0, "Our secret key (default: $CXE_KEY, else a new one)", 0},
    {"transport", KEY_TRANSPORT, "NAME", 0,
     "eth, or ofi:PROVIDER for libfabric, such as ofi:tcp (default: $CXE_TRANSPORT, else eth)", 0},
    {"encryption", KEY_ENCRYPTION, "on|off", 0,
     "off needs a server that allows it (default: $CXE_ENCRYPTION, else on)", 0},
    {"timeout", KEY_TIMEOUT, "TIME", 0, "How long to wait for the server, such as 500ms (default: 5s)", 0},
    {"fault", KEY_FAULT, "SPEC", 0, "Inject faults, for tests, such as drop=10%,seed=1 (default: $CXE_FAULT)",
     0},
    {0},
};

static const struct argp_option json_options[] = {
    {"json", KEY_JSON, NULL, 0, "Print JSON, also for errors", 0},
    {0},
};

static void take_encryption(const char *value)
{
    if (strcmp(value, "off") == 0)
        connect_options.encryption = CXE_ENCRYPTION_OFF;
    else if (strcmp(value, "on") == 0)
        unsetenv("CXE_ENCRYPTION"); /* the library lets it lower the default, which is on */
    else
        cli_usage("--encryption: '%s' is neither on nor off", value);
    if (strcmp(value, "on") == 0)
        connect_options.encryption = CXE_ENCRYPTION_DEFAULT;
}

static void take_transport(const char *value)
{
    if (strcmp(value, "eth") != 0 && !transport_provider(value))
        cli_usage("--transport: '%s' is neither eth, ofi nor ofi:PROVIDER", value);
    connect_options.transport = value;
}

static error_t take_connection_option(int key, char *value, struct argp_state *state)
{
    (void)state;
    switch (key) {
    case KEY_SERVER:
        connect_options.server = value;
        return 0;
    case KEY_SERVER_KEY:
        connect_options.server_key = value;
        return 0;
    case KEY_KEY:
        connect_options.key_file = value;
        return 0;
    case KEY_TRANSPORT:
        take_transport(value);
        return 0;
    case KEY_ENCRYPTION:
        take_encryption(value);
        return 0;
    case KEY_TIMEOUT:
        connect_options.timeout_ns = cli_duration_ns("--timeout", value);
        if (connect_options.timeout_ns == 0)
            cli_usage("--timeout: '%s' leaves no time at all", value);
        return 0;
    case KEY_FAULT:
        connect_options.fault = value;
        return 0;
    case KEY_JSON:
        json = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp connection_argp = {.options = connection_options, .parser = take_connection_option};
static const struct argp json_argp = {.options = json_options, .parser = take_connection_option};

/* Both as argp's children; without the second where a subcommand has a --json of its own. */
static const struct argp_child common_children[] = {
    {&json_argp, 0, "Output:", 1},
    {&connection_argp, 0, "Connection:", 2},
    {0},
};

/* ---- subcommands ---- */

struct dispatch {
    const struct cli_command *commands;
    int name_at; /* index of the subcommand's name */
};

static error_t take_command(int key, char *value, struct argp_state *state)
{
    struct dispatch *dispatch = state->input;

    (void)value;
    if (key == ARGP_KEY_NO_ARGS)
        cli_usage("COMMAND is missing; '%s --help' lists the commands", program);
    if (key != ARGP_KEY_ARGS)
        return ARGP_ERR_UNKNOWN;
    dispatch->name_at = state->next;
    return 0;
}

/* Lists the subcommands at the end of --help. */
static char *list_commands(int key, const char *text, void *input)
{
    const struct dispatch *dispatch = input;
    char *list = NULL;
    size_t list_bytes;
    FILE *stream;

    /* argp takes its own text back unchanged, and the type it has for that lacks a const. */
    if (key != ARGP_KEY_HELP_POST_DOC || !dispatch)
        return (char *)(uintptr_t)text;
    stream = open_memstream(&list, &list_bytes);
    if (!stream)
        return NULL;
    fputs("Commands:\n", stream);
    for (const struct cli_command *at = dispatch->commands; at->name; at++)
        fprintf(stream, "  %-10s %s\n", at->name, at->summary);
    fprintf(stream, "\n'%s COMMAND --help' says more about each. Options may also follow COMMAND.\n",
            program);
    fclose(stream);
    return list;
}

static const struct cli_command *find_command(const struct cli_command *commands, const char *name)
{
    for (const struct cli_command *at = commands; at->name; at++)
        if (strcmp(at->name, name) == 0)
            return at;
    cli_usage("'%s' is not a command; '%s --help' lists them", name, program);
}

int cli_dispatch(const struct cli_command *commands, const char *doc, int argc, char **argv)
{
    struct dispatch dispatch = {.commands = commands};
    const struct argp argp = {.parser = take_command,
                              .args_doc = "COMMAND [ARGUMENT...]",
                              .doc = doc,
                              .children = common_children,
                              .help_filter = list_commands};
    const struct cli_command *command;
    size_t used;

    argp_err_exit_status = CLI_USAGE;
    argv[0] = program;
    if (argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &dispatch) != 0)
        cli_usage("no memory to read the command line");
    command = find_command(commands, argv[dispatch.name_at]);
    used = strlen(program);
    snprintf(program + used, sizeof(program) - used, " %s", command->name);
    argv[dispatch.name_at] = program;
    return command->run(argc - dispatch.name_at, argv + dispatch.name_at);
}

/* ---- a subcommand's own arguments ---- */

struct parse {
    const struct cli_syntax *syntax;
    void *into;
    int first; /* of the positional arguments; 0: none */
};

static error_t take_own(int key, char *value, struct argp_state *state)
{
    struct parse *parse = state->input;

    switch (key) {
    case ARGP_KEY_ARGS:
        parse->first = state->next;
        return 0;
    case ARGP_KEY_ARG: /* ask again as ARGP_KEY_ARGS: all of them at once */
    case ARGP_KEY_NO_ARGS:
    case ARGP_KEY_INIT:
    case ARGP_KEY_END:
    case ARGP_KEY_SUCCESS:
    case ARGP_KEY_ERROR:
    case ARGP_KEY_FINI:
        return ARGP_ERR_UNKNOWN;
    default:
        return parse->syntax->option ? parse->syntax->option(key, value, parse->into) : ARGP_ERR_UNKNOWN;
    }
}

/* Compares what is there with a list of names such as "REGION [FILE]". */
static void check_count(const struct cli_syntax *syntax, unsigned count, char **arguments)
{
    const char *name = syntax->arguments;
    unsigned at = 0;

    for (; *name; at++) {
        size_t name_bytes = strcspn(name, " ");

        if (at >= count && *name != '[')
            cli_usage("%.*s is missing; the arguments are %s", (int)name_bytes, name, syntax->arguments);
        name += name_bytes;
        name += strspn(name, " ");
    }
    if (count > at && !syntax->rest)
        cli_usage("'%s' is one argument too many", arguments[at]);
}

int cli_parse(const struct cli_syntax *syntax, int argc, char **argv, void *into, char ***arguments_out)
{
    const struct argp argp = {.options = syntax->options,
                              .parser = take_own,
                              .args_doc = syntax->arguments,
                              .doc = syntax->doc,
                              .children = syntax->no_json ? common_children + 1 : common_children};
    struct parse parse = {.syntax = syntax, .into = into};
    int count;

    if (argp_parse(&argp, argc, argv, syntax->rest ? ARGP_IN_ORDER : 0, NULL, &parse) != 0)
        cli_usage("no memory to read the command line");
    if (parse.first == 0)
        parse.first = argc;
    count = argc - parse.first;
    check_count(syntax, (unsigned)count, argv + parse.first);
    if (arguments_out)
        *arguments_out = argv + parse.first;
    return count;
}

/* ---- values ---- */

uint64_t cli_bytes(const char *name, const char *text)
{
    uint64_t bytes;
    int error = units_parse_bytes(text, &bytes);

    if (error == -ERANGE)
        cli_usage("%s: '%s' is more than 64 bits hold", name, text);
    if (error)
        cli_usage("%s: '%s' is not a size such as 64M", name, text);
    return bytes;
}

uint64_t cli_offset(const char *name, const char *text)
{
    static const char digits[] = "0123456789abcdefABCDEF";
    uint64_t offset;

    if (strncmp(text, "0x", 2) == 0 && text[2] != '\0' && strspn(text + 2, digits) == strlen(text + 2) &&
        strlen(text + 2) <= 16)
        return strtoull(text, NULL, 16);
    if (units_parse_bytes(text, &offset) != 0)
        cli_usage("%s: '%s' is not an offset such as 4096, 64K or 0x1000", name, text);
    return offset;
}

uint64_t cli_duration_ns(const char *name, const char *text)
{
    uint64_t duration_ns;

    if (units_parse_duration(text, &duration_ns) != 0)
        cli_usage("%s: '%s' is not a time such as 250us, 500ms or 5s", name, text);
    return duration_ns;
}

uint64_t cli_count(const char *name, const char *text, uint64_t low, uint64_t high)
{
    uint64_t count;

    if (units_parse_count(text, low, high, &count) != 0)
        cli_usage("%s: '%s' is not a whole number from %ju to %ju", name, text, (uintmax_t)low,
                  (uintmax_t)high);
    return count;
}
