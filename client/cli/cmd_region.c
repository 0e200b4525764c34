/* cmd_region.c - cxe region: create, list, stat, rm, grow, seal, clone */
#include "cli.h"

#include <stdio.h>
#include <string.h>

#include "units.h"

enum { KEY_EPHEMERAL = CLI_KEY_OWN, KEY_SHARED };

static const struct argp_option flag_options[] = {
    {"ephemeral", KEY_EPHEMERAL, NULL, 0, "Delete it when nobody has used it for a minute", 0},
    {"shared", KEY_SHARED, NULL, 0, "Keep mappings of it coherent: several clients may map and store", 0},
    {0},
};

static error_t take_flag(int key, const char *value, void *into)
{
    uint32_t *flags = into;

    (void)value;
    switch (key) {
    case KEY_EPHEMERAL:
        *flags |= CXE_REGION_EPHEMERAL;
        return 0;
    case KEY_SHARED:
        *flags |= CXE_REGION_SHARED;
        return 0;
    default: /* argp's own keys */
        return ARGP_ERR_UNKNOWN;
    }
}

static uint64_t page_multiple(const char *name, const char *text)
{
    uint64_t bytes = cli_bytes(name, text);

    if (bytes == 0 || bytes % CXE_PAGE_BYTES != 0)
        cli_usage("%s: '%s' is not a multiple of %d bytes above 0", name, text, CXE_PAGE_BYTES);
    return bytes;
}

/* What the library will not take is a wrong argument, and is refused before anything is done. */
static const char *region_name(const char *name, const char *text)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-/";
    size_t length = strlen(text);

    if (length == 0 || length >= CXE_NAME_BYTES || strspn(text, allowed) != length)
        cli_usage("%s: '%s' is not a name of 1 to %d letters, digits, '.', '_', '-' and '/'", name, text,
                  CXE_NAME_BYTES - 1);
    return text;
}

/* ---- output ---- */

static json_t *info_json(const struct cxe_region_info *info)
{
    return json_pack(
        "{s:s, s:o, s:o, s:o, s:i, s:b, s:b, s:b}", "name", info->name, "handle", cli_json_u64(info->handle),
        "bytes", cli_json_u64(info->bytes), "resident_bytes", cli_json_u64(info->resident_bytes), "tenant",
        (int)info->tenant, "sealed", (info->flags & CXE_REGION_SEALED) != 0, "ephemeral",
        (info->flags & CXE_REGION_EPHEMERAL) != 0, "shared", (info->flags & CXE_REGION_SHARED) != 0);
}

static void print_info(const struct cxe_region_info *info)
{
    char size[32], resident[32];

    printf("%-32s %12s %12s  %s%s%s\n", info->name[0] ? info->name : "(unnamed)",
           units_format_bytes(info->bytes, size, sizeof(size)),
           units_format_bytes(info->resident_bytes, resident, sizeof(resident)),
           info->flags & CXE_REGION_SEALED ? "sealed " : "", info->flags & CXE_REGION_SHARED ? "shared " : "",
           info->flags & CXE_REGION_EPHEMERAL ? "ephemeral" : "");
}

/* The last step of what has done something to a region: says what the region is now. */
static int show(struct cxe_region *region)
{
    struct cxe_region_info info;
    int error = cxe_region_stat(region, &info);

    if (error)
        return cli_fail(error, "looking at the region");
    if (cli_json())
        return cli_print_json(info_json(&info));
    print_info(&info);
    return cli_flush();
}

/* ---- subcommands ---- */

static int region_create(int argc, char **argv)
{
    static const struct cli_syntax syntax = {
        .arguments = "NAME SIZE",
        .doc = "Creates a region that reads as zeros.",
        .options = flag_options,
        .option = take_flag,
    };
    struct cxe_connection *connection;
    struct cxe_region *region = NULL;
    char **arguments;
    const char *name;
    uint32_t flags = 0;
    uint64_t bytes;
    int error, status;

    cli_parse(&syntax, argc, argv, &flags, &arguments);
    name = region_name("NAME", arguments[0]);
    bytes = page_multiple("SIZE", arguments[1]);
    status = cli_connect(&connection);
    if (status)
        return status;
    error = cxe_region_create(connection, name, bytes, flags, &region);
    status = error ? cli_fail(error, "region '%s'", name) : show(region);
    cli_close(connection, region);
    return status;
}

#define LIST_BATCH 64

static int list_all(struct cxe_connection *connection, json_t *array)
{
    struct cxe_region_info infos[LIST_BATCH];
    uint64_t cursor = 0;
    int count;

    while ((count = cxe_region_list(connection, &cursor, infos, LIST_BATCH)) > 0)
        for (int i = 0; i < count; i++) {
            if (array)
                json_array_append_new(array, info_json(&infos[i]));
            else
                print_info(&infos[i]);
        }
    return count < 0 ? cli_fail(count, "listing the regions") : CLI_OK;
}

static int region_list(int argc, char **argv)
{
    static const struct cli_syntax syntax = {
        .arguments = "",
        .doc = "Lists the tenant's regions: name, size, memory held, flags.",
    };
    struct cxe_connection *connection;
    json_t *array = NULL;
    int status;

    cli_parse(&syntax, argc, argv, NULL, NULL);
    status = cli_connect(&connection);
    if (status)
        return status;
    if (cli_json())
        array = json_array();
    else
        printf("%-32s %12s %12s  %s\n", "NAME", "SIZE", "HELD", "FLAGS");
    status = list_all(connection, array);
    cli_close(connection, NULL);
    if (array && status == CLI_OK)
        return cli_print_json(array);
    json_decref(array);
    return status == CLI_OK ? cli_flush() : status;
}

static int region_stat(int argc, char **argv)
{
    static const struct cli_syntax syntax = {
        .arguments = "NAME",
        .doc = "Says how long a region is, how much memory it holds, and its flags.",
    };
    struct cxe_connection *connection;
    struct cxe_region *region;
    char **arguments;
    int status;

    cli_parse(&syntax, argc, argv, NULL, &arguments);
    status = cli_open(arguments[0], &connection, &region);
    if (status)
        return status;
    status = show(region);
    cli_close(connection, region);
    return status;
}

static int region_rm(int argc, char **argv)
{
    static const struct cli_syntax syntax = {
        .arguments = "NAME",
        .doc = "Deletes a region.\vIts memory is wiped; whoever has it open gets an error from now on.",
    };
    struct cxe_connection *connection;
    char **arguments;
    int error, status;

    cli_parse(&syntax, argc, argv, NULL, &arguments);
    status = cli_connect(&connection);
    if (status)
        return status;
    error = cxe_region_delete(connection, arguments[0]);
    if (error)
        status = cli_fail(error, "region '%s'", arguments[0]);
    cli_close(connection, NULL);
    if (status == CLI_OK && cli_json())
        return cli_print_json(json_pack("{s:s}", "deleted", arguments[0]));
    return status;
}

static int region_grow(int argc, char **argv)
{
    static const struct cli_syntax syntax = {
        .arguments = "NAME SIZE",
        .doc = "Makes a region SIZE bytes long, which must be more than it is.\vThe new part reads as zeros.",
    };
    struct cxe_connection *connection;
    struct cxe_region *region;
    char **arguments;
    uint64_t bytes;
    int error, status;

    cli_parse(&syntax, argc, argv, NULL, &arguments);
    bytes = page_multiple("SIZE", arguments[1]);
    status = cli_open(arguments[0], &connection, &region);
    if (status)
        return status;
    error = cxe_region_grow(region, bytes);
    status = error ? cli_fail(error, "region '%s'", arguments[0]) : show(region);
    cli_close(connection, region);
    return status;
}

static int region_seal(int argc, char **argv)
{
    static const struct cli_syntax syntax = {
        .arguments = "NAME",
        .doc = "Makes a region read-only for everybody, for good.",
    };
    struct cxe_connection *connection;
    struct cxe_region *region;
    char **arguments;
    int error, status;

    cli_parse(&syntax, argc, argv, NULL, &arguments);
    status = cli_open(arguments[0], &connection, &region);
    if (status)
        return status;
    error = cxe_region_seal(region);
    status = error ? cli_fail(error, "region '%s'", arguments[0]) : show(region);
    cli_close(connection, region);
    return status;
}

static int region_clone(int argc, char **argv)
{
    static const struct cli_syntax syntax = {
        .arguments = "NAME NEW",
        .doc =
            "Makes NEW, a copy of a region as it is now.\vThe two share memory until one of them is written.",
        .options = flag_options,
        .option = take_flag,
    };
    struct cxe_connection *connection;
    struct cxe_region *region, *clone = NULL;
    char **arguments;
    const char *name;
    uint32_t flags = 0;
    int error, status;

    cli_parse(&syntax, argc, argv, &flags, &arguments);
    name = region_name("NEW", arguments[1]);
    status = cli_open(arguments[0], &connection, &region);
    if (status)
        return status;
    error = cxe_region_clone(region, name, flags, &clone);
    status = error ? cli_fail(error, "region '%s'", name) : show(clone);
    if (clone)
        cxe_region_close(clone);
    cli_close(connection, region);
    return status;
}

int cmd_region(int argc, char **argv)
{
    static const struct cli_command commands[] = {
        {"create", region_create, "make a region"},     {"list", region_list, "list the tenant's regions"},
        {"stat", region_stat, "look at one"},           {"rm", region_rm, "delete one"},
        {"grow", region_grow, "make one longer"},       {"seal", region_seal, "make one read-only, for good"},
        {"clone", region_clone, "copy one, as of now"}, {NULL, NULL, NULL},
    };

    return cli_dispatch(commands, "Manages regions.", argc, argv);
}
