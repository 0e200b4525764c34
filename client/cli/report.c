/* report.c - what the user is told, and how the program ends; see cli.h */
#include "cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *reason_of(int error)
{
    const char *text = strerrordesc_np(-error);

    return text ? text : "unknown error";
}

/* What an errno means as the outcome of an operation on a region. */
static const char *outcome_of(int error)
{
    switch (-error) {
    case CXE_EUNKNOWN:
        return "nobody can tell whether it was done";
    case EACCES:
        return "the region is sealed";
    case ERANGE:
        return "that is behind the region's end";
    case ESTALE:
        return "the region is gone: deleted, or the server restarted";
    case ETIMEDOUT:
        return "the server did not answer in time";
    case EHWPOISON:
        return "the data is lost";
    }
    return reason_of(error);
}

static void print_error(const char *name, const char *sentence)
{
    json_t *object;

    if (!cli_json()) {
        const char *command = strchr(cli_program(), ' ');

        fprintf(stderr, "cxe: %s%s%s\n", command ? command + 1 : "", command ? ": " : "", sentence);
        return;
    }
    object = json_pack("{s:s, s:s, s:s}", "command", cli_program(), "error", name, "message", sentence);
    json_dumpf(object, stderr, JSON_COMPACT | JSON_PRESERVE_ORDER);
    fputc('\n', stderr);
    json_decref(object);
}

void cli_usage(const char *format, ...)
{
    char sentence[512];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(sentence, sizeof(sentence), format, arguments);
    va_end(arguments);
    print_error("USAGE", sentence);
    exit(CLI_USAGE);
}

int cli_fail_because(int error, const char *sentence)
{
    const char *name = strerrorname_np(-error);

    print_error(error == -CXE_EUNKNOWN ? "CXE_EUNKNOWN" : name ? name : "EIO", sentence);
    return error == -CXE_EUNKNOWN ? CLI_UNKNOWN : CLI_FAILED;
}

static int fail_with(int error, const char *reason, const char *format, va_list arguments)
{
    char sentence[1024];
    size_t used;

    vsnprintf(sentence, sizeof(sentence), format, arguments);
    used = strlen(sentence);
    snprintf(sentence + used, sizeof(sentence) - used, ": %s", reason);
    return cli_fail_because(error, sentence);
}

int cli_fail(int error, const char *format, ...)
{
    const char *sentence = cxe_last_error();
    va_list arguments;
    int status;

    if (*sentence)
        return cli_fail_because(error, sentence);
    va_start(arguments, format);
    status = fail_with(error, outcome_of(error), format, arguments);
    va_end(arguments);
    return status;
}

int cli_fail_outcome(int error, const char *format, ...)
{
    va_list arguments;
    int status;

    va_start(arguments, format);
    status = fail_with(error, outcome_of(error), format, arguments);
    va_end(arguments);
    return status;
}

int cli_fail_system(int error, const char *format, ...)
{
    va_list arguments;
    int status;

    va_start(arguments, format);
    status = fail_with(error, reason_of(error), format, arguments);
    va_end(arguments);
    return status;
}

int cli_connect(struct cxe_connection **connection_out)
{
    int error = cxe_connect(cli_connect_options(), connection_out);

    if (!error)
        return CLI_OK;
    cli_fail(error, "connecting");
    return error == -EINVAL ? CLI_USAGE : CLI_FAILED;
}

int cli_open(const char *name, struct cxe_connection **connection_out, struct cxe_region **region_out)
{
    struct cxe_connection *connection;
    int status = cli_connect(&connection);
    int error;

    if (status)
        return status;
    error = cxe_region_open(connection, name, region_out);
    if (error) {
        status = cli_fail(error, "region '%s'", name);
        cxe_disconnect(connection);
        return status;
    }
    *connection_out = connection;
    return CLI_OK;
}

void cli_close(struct cxe_connection *connection, struct cxe_region *region)
{
    if (region)
        cxe_region_close(region);
    if (connection)
        cxe_disconnect(connection);
}

int cli_flush(void)
{
    if (fflush(stdout) != 0 || ferror(stdout))
        return cli_fail_system(-errno, "standard output");
    return CLI_OK;
}

int cli_print_json(json_t *object)
{
    json_dumpf(object, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    putchar('\n');
    json_decref(object);
    return cli_flush();
}

json_t *cli_json_u64(uint64_t value)
{
    /* jansson's integers are signed. What exceeds them (a random incarnation) is written as text. */
    char text[24];

    if (value <= INT64_MAX)
        return json_integer((json_int_t)value);
    snprintf(text, sizeof(text), "%ju", (uintmax_t)value);
    return json_string(text);
}
