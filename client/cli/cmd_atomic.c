/* cmd_atomic.c - cxe cas, cxe fetch: one word, changed in one step */
#include "cli.h"

#include <stdio.h>
#include <string.h>

enum { KEY_WIDTH = CLI_KEY_OWN };

/* Values are little endian in memory, as is every machine this runs on, so a word of any width begins at the
 * address of the widest. */
typedef unsigned __int128 u128; /* not a struct; the language spells it in two words */

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "a narrow word is the start of a wide one");

static const struct argp_option width_options[] = {
    {"width", KEY_WIDTH, "BYTES", 0, "Of the word (default: 8)", 0},
    {0},
};

static error_t take_width(int key, const char *value, void *into)
{
    unsigned *width = into;

    if (key != KEY_WIDTH)
        return ARGP_ERR_UNKNOWN;
    *width = (unsigned)cli_count("--width", value, 1, 16);
    if (*width != 4 && *width != 8 && *width != 16)
        cli_usage("--width: '%s' is not 4, 8 or 16", value);
    return 0;
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return 16;
}

static u128 parse_word(const char *name, const char *text, unsigned width)
{
    bool hex = strncmp(text, "0x", 2) == 0;
    const char *at = hex ? text + 2 : text;
    unsigned base = hex ? 16 : 10;
    const u128 most = width == 16 ? ~(u128)0 : ((u128)1 << (8 * width)) - 1;
    u128 value = 0;

    if (*at == '\0')
        cli_usage("%s: '%s' is not a number such as 42 or 0x2a", name, text);
    for (; *at; at++) {
        unsigned digit = (unsigned)digit_of(*at);

        if (digit >= base)
            cli_usage("%s: '%s' is not a number such as 42 or 0x2a", name, text);
        if (value > (most - digit) / base)
            cli_usage("%s: '%s' does not fit %u bytes", name, text, width);
        value = value * base + digit;
    }
    return value;
}

static uint64_t word_offset(const char *text, unsigned width)
{
    uint64_t offset = cli_offset("OFFSET", text);

    if (offset % width != 0)
        cli_usage("OFFSET: '%s' is not a multiple of the word's %u bytes", text, width);
    return offset;
}

static char *format_word(u128 value, unsigned width, char text[40])
{
    if (width == 16)
        snprintf(text, 40, "0x%016jx%016jx", (uintmax_t)(value >> 64), (uintmax_t)(uint64_t)value);
    else
        snprintf(text, 40, "0x%0*jx", (int)(2 * width), (uintmax_t)(uint64_t)value);
    return text;
}

int cmd_cas(int argc, char **argv)
{
    static const struct cli_syntax syntax = {
        .arguments = "REGION OFFSET EXPECTED DESIRED",
        .doc = "Replaces a word by DESIRED if it is EXPECTED.\vPrints what the word was and whether it was "
               "replaced. "
               "The exit status is 0 if it was, 1 if not or if the command failed, 3 if nobody can tell.",
        .options = width_options,
        .option = take_width,
    };
    struct cxe_connection *connection;
    struct cxe_region *region;
    char **arguments, text[40];
    unsigned width = 8;
    u128 expected, desired, old = 0;
    uint64_t offset;
    int error, status;

    cli_parse(&syntax, argc, argv, &width, &arguments);
    offset = word_offset(arguments[1], width);
    expected = parse_word("EXPECTED", arguments[2], width);
    desired = parse_word("DESIRED", arguments[3], width);
    status = cli_open(arguments[0], &connection, &region);
    if (status)
        return status;
    error = cxe_cas(region, offset, width, &expected, &desired, &old);
    if (error)
        status = cli_fail(error, "region '%s', offset %s", arguments[0], arguments[1]);
    cli_close(connection, region);
    if (error)
        return status;
    format_word(old, width, text);
    if (cli_json())
        status = cli_print_json(json_pack("{s:s, s:b}", "old", text, "swapped", old == expected));
    else
        status = printf("%s %s\n", text, old == expected ? "swapped" : "not swapped") < 0 ? CLI_FAILED
                                                                                          : cli_flush();
    return status ? status : old == expected ? CLI_OK : CLI_FAILED;
}

static enum cxe_atomic parse_atomic(const char *text)
{
    static const char *const names[] = {
        [CXE_FETCH_ADD] = "add", [CXE_SWAP] = "swap",     [CXE_FETCH_AND] = "and", [CXE_FETCH_OR] = "or",
        [CXE_FETCH_XOR] = "xor", [CXE_FETCH_MIN] = "min", [CXE_FETCH_MAX] = "max",
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(text, names[i]) == 0)
            return (enum cxe_atomic)i;
    cli_usage("OPERATION: '%s' is not add, swap, and, or, xor, min or max", text);
}

int cmd_fetch(int argc, char **argv)
{
    static const struct cli_syntax syntax = {
        .arguments = "REGION OFFSET OPERATION VALUE",
        .doc = "Changes a word in one step and prints what it was.\vOPERATION is add, swap, and, or, xor, "
               "min or max "
               "(the last two compare without sign). Words of 4 and 8 bytes.",
        .options = width_options,
        .option = take_width,
    };
    struct cxe_connection *connection;
    struct cxe_region *region;
    enum cxe_atomic operation;
    char **arguments, text[40];
    unsigned width = 8;
    u128 operand, old = 0;
    uint64_t offset;
    int error, status;

    cli_parse(&syntax, argc, argv, &width, &arguments);
    if (width == 16)
        cli_usage("--width: '16' is for cas; here it is 4 or 8");
    offset = word_offset(arguments[1], width);
    operation = parse_atomic(arguments[2]);
    operand = parse_word("VALUE", arguments[3], width);
    status = cli_open(arguments[0], &connection, &region);
    if (status)
        return status;
    error = cxe_fetch(region, operation, offset, width, &operand, &old);
    if (error)
        status = cli_fail(error, "region '%s', offset %s", arguments[0], arguments[1]);
    cli_close(connection, region);
    if (error)
        return status;
    format_word(old, width, text);
    if (cli_json())
        return cli_print_json(json_pack("{s:s}", "old", text));
    puts(text);
    return cli_flush();
}
