/* cli.h - what the subcommands of cxe share: arguments, errors, output, the connection */
#ifndef CXE_CLI_CLI_H
#define CXE_CLI_CLI_H

#include <argp.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "cxe.h"

/* Exit statuses; the man page explains them. */
enum cli_exit {
    CLI_OK = 0,
    CLI_FAILED = 1,
    CLI_USAGE = 2,
    CLI_UNKNOWN = 3, /* the operation may or may not have been done */
};

/* ---- subcommands ---- */

/* `run` gets argv[0] = "cxe NAME" and returns an exit status. */
struct cli_command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
};

/* Parses the options before a subcommand, then runs the one of `commands` (ended by a NULL name) that the
 * next argument names. Returns its exit status. A wrong name does not return. */
int cli_dispatch(const struct cli_command *commands, const char *doc, int argc, char **argv);

int cmd_region(int argc, char **argv);
int cmd_read(int argc, char **argv);
int cmd_write(int argc, char **argv);
int cmd_cas(int argc, char **argv);
int cmd_fetch(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_top(int argc, char **argv);
int cmd_keygen(int argc, char **argv);
int cmd_bench(int argc, char **argv);

/* ---- arguments ---- */

/* What a subcommand takes besides the connection options, which all of them take. */
struct cli_syntax {
    const char *arguments; /* one word each, in brackets if it may be missing: "NAME SIZE", "REGION [FILE]" */
    const char *doc;       /* argp's: one sentence, '\v', the rest */
    const struct argp_option *options; /* its own; NULL: none. Keys from CLI_KEY_OWN up, or letters */
    /* Takes one of them; uses cli_usage for a wrong value. ARGP_ERR_UNKNOWN: not ours. NULL: none. */
    error_t (*option)(int key, const char *value, void *into);
    bool rest;    /* the first argument ends the options: what follows is another program's */
    bool no_json; /* it has a --json of its own */
};
#define CLI_KEY_OWN 0x100

/* Parses a subcommand's arguments; `into` is handed to syntax->option. Returns how many positional arguments
 * there are, *arguments_out being the first; as many as syntax->arguments asks for. --help and errors do not
 * return. */
int cli_parse(const struct cli_syntax *syntax, int argc, char **argv, void *into, char ***arguments_out);

/* Each returns the value of the argument or option `name`; a wrong one does not return. */
uint64_t cli_bytes(const char *name, const char *text);  /* "4096", "64M" */
uint64_t cli_offset(const char *name, const char *text); /* the same, or "0x1000" */
uint64_t cli_duration_ns(const char *name, const char *text);
uint64_t cli_count(const char *name, const char *text, uint64_t low, uint64_t high);

/* ---- what went wrong ---- */

/* "cxe: region create: SIZE: '64Q' is not a size such as 64M", then exits with CLI_USAGE. For before anything
 * has been done. */
_Noreturn void cli_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same line for a failed call into the library: its sentence if it left one, else the thing that `format`
 * names and what the errno `error` (negative) means. Returns the exit status. With --json the line is an
 * object. */
int cli_fail(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same for the outcome of a queued operation, which has no sentence. */
int cli_fail_outcome(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same for a system call. */
int cli_fail_system(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same with a sentence that says it all. */
int cli_fail_because(int error, const char *sentence);

/* ---- the connection ---- */

/* What the options said so far; `cmd_run` hands it on to the program it starts. */
struct cxe_connect_options *cli_connect_options(void);

/* True if --json was given. */
bool cli_json(void);

/* Connects as the options say. Returns an exit status; prints why it failed. */
int cli_connect(struct cxe_connection **connection_out);
/* The same, and opens a region. */
int cli_open(const char *name, struct cxe_connection **connection_out, struct cxe_region **region_out);
/* Ends both (either may be NULL). */
void cli_close(struct cxe_connection *connection, struct cxe_region *region);

/* "cxe region create": what is running. */
const char *cli_program(void);

/* ---- output ---- */

/* Prints one object on standard output and drops it. Returns an exit status: CLI_FAILED if it could not be
 * written. */
int cli_print_json(json_t *object);

/* Ends standard output: what a full disk swallowed must not look like success. Returns an exit status. */
int cli_flush(void);

/* A number of up to 64 bits as JSON: a double would lose digits. */
json_t *cli_json_u64(uint64_t value);

#endif
