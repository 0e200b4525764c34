/* cmd_run.c - cxe run: an unmodified program with its memory on the pool */
#include "cli.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "lane.h"
#include "run.h"
#include "run_program.h"
#include "run_report.h"

#define LOCAL_BYTES_DEFAULT     (64ull << 20)
#define THRESHOLD_BYTES_DEFAULT (64ull << 10)
#define SIZE_BYTES_MAX          (1ull << 43) /* half of the window of addresses that mappings live in */

enum {
    KEY_LOCAL = CLI_KEY_OWN,
    KEY_SIZE,
    KEY_THRESHOLD,
    KEY_MODE,
    KEY_GONE,
    KEY_ALLOCATOR,
    KEY_STRICT,
    KEY_STATS,
};

struct run {
    uint64_t local_bytes, size_bytes, threshold_bytes, deadline_ns;
    enum cxe_fault_mode mode;
    enum cxe_gone_policy gone;
    bool own_allocator, strict;
    const char *stats; /* a file, "-" for standard error; NULL: none */
    struct run_report *report;
    int report_fd;
    char name[CXE_NAME_BYTES];
};

/* ---- arguments ---- */

static void take_gone(struct run *run, const char *value)
{
    if (strcmp(value, "wait") == 0) {
        run->gone = CXE_GONE_WAIT;
    } else if (strcmp(value, "fail-fast") == 0) {
        run->gone = CXE_GONE_FAIL_FAST;
    } else if (strncmp(value, "deadline=", 9) == 0) {
        run->gone = CXE_GONE_DEADLINE;
        run->deadline_ns = cli_duration_ns("--gone=deadline", value + 9);
        if (run->deadline_ns == 0)
            cli_usage("--gone: '%s' leaves no time at all; fail-fast does that", value);
    } else {
        cli_usage("--gone: '%s' is none of wait, fail-fast and deadline=TIME", value);
    }
}

static void take_mode(struct run *run, const char *value)
{
    if (strcmp(value, "auto") == 0)
        run->mode = CXE_FAULT_AUTO;
    else if (strcmp(value, "inline") == 0)
        run->mode = CXE_FAULT_INLINE;
    else if (strcmp(value, "thread") == 0)
        run->mode = CXE_FAULT_THREAD;
    else
        cli_usage("--fault-mode: '%s' is none of auto, inline and thread", value);
}

static void take_allocator(struct run *run, const char *value)
{
    if (strcmp(value, "jemalloc") != 0 && strcmp(value, "own") != 0)
        cli_usage("--allocator: '%s' is neither jemalloc nor own", value);
    run->own_allocator = strcmp(value, "own") == 0;
}

static error_t take_option(int key, const char *value, void *into)
{
    struct run *run = into;

    switch (key) {
    case KEY_LOCAL:
        run->local_bytes = cli_bytes("--local", value);
        if (run->local_bytes < CXE_LOCAL_BYTES_MIN)
            cli_usage("--local: '%s' is too little; at least %dK are needed", value,
                      CXE_LOCAL_BYTES_MIN / 1024);
        return 0;
    case KEY_SIZE:
        run->size_bytes = cli_bytes("--size", value);
        if (run->size_bytes == 0 || run->size_bytes % CXE_PAGE_BYTES || run->size_bytes > SIZE_BYTES_MAX)
            cli_usage("--size: '%s' is not a multiple of 4K from 4K to 8T", value);
        return 0;
    case KEY_THRESHOLD:
        run->threshold_bytes = cli_bytes("--threshold", value);
        return 0;
    case KEY_MODE:
        take_mode(run, value);
        return 0;
    case KEY_GONE:
        take_gone(run, value);
        return 0;
    case KEY_ALLOCATOR:
        take_allocator(run, value);
        return 0;
    case KEY_STRICT:
        run->strict = true;
        return 0;
    case KEY_STATS:
        run->stats = value;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"local", KEY_LOCAL, "SIZE", 0, "Local memory that caches the pool's (default: 64M)", 0},
    {"size", KEY_SIZE, "SIZE", 0, "Pool memory that a program may use (default: half of what is free)", 0},
    {"threshold", KEY_THRESHOLD, "SIZE", 0, "Smaller mappings stay local (default: 64K)", 0},
    {"fault-mode", KEY_MODE, "MODE", 0, "auto, inline or thread (default: auto)", 0},
    {"gone", KEY_GONE, "POLICY", 0,
     "When the server does not answer: wait, fail-fast or deadline=TIME (default: wait)", 0},
    {"allocator", KEY_ALLOCATOR, "NAME", 0,
     "jemalloc in place of libc's, or the program's own (default: jemalloc)", 0},
    {"strict", KEY_STRICT, NULL, 0,
     "No local memory when the pool is full: the program is told that there is none", 0},
    {"stats", KEY_STATS, "FILE", 0, "Write what happened to FILE as JSON, or in words to standard error (-)",
     0},
    {0},
};

/* ---- the server ---- */

/* Is there one, with memory to give? */
static int ask_server(void)
{
    struct cxe_connection *connection;
    struct cxe_server_info info;
    int status = cli_connect(&connection), error;

    if (status)
        return RUN_EXIT_FAILED;
    error = cxe_server_info(connection, &info);
    if (error)
        cli_fail(error, "asking the server");
    cli_close(connection, NULL);
    if (error)
        return RUN_EXIT_FAILED;
    if (info.pool_free_bytes >= CXE_PAGE_BYTES && info.quota_bytes > info.used_bytes)
        return CLI_OK;
    cli_fail_because(-ENOSPC, "the server has no free memory for us");
    return RUN_EXIT_FAILED;
}

static void delete_region(struct cxe_connection *connection, uint64_t handle)
{
    struct op op = {.opcode = OP_REGION_DELETE, .region = handle};
    struct lane *lane = lane_acquire(connection);

    lane_run(lane, &op, clock_now_ns() + NS_PER_S);
    lane_release(lane);
}

/* The regions of processes that are gone. Those that live on keep theirs; the server deletes what is left. */
static void delete_regions(const struct run *run)
{
    struct cxe_connection *connection = NULL;

    for (unsigned i = 0; i < RUN_PROCESSES_MAX; i++) {
        const struct run_process *process = &run->report->processes[i];

        if (!process->process || kill(process->process, 0) == 0 || errno != ESRCH)
            continue;
        if (!connection && cxe_connect(cli_connect_options(), &connection) != 0)
            return;
        delete_region(connection, process->region_handle);
    }
    if (connection)
        cxe_disconnect(connection);
}

/* ---- the environment ---- */

static void set_number(const char *variable, uint64_t value)
{
    char text[24];

    snprintf(text, sizeof(text), "%ju", (uintmax_t)value);
    setenv(variable, text, 1);
}

/* Files are named from the root: the program may change its directory, and its children connect too. */
static void set_path(const char *variable, const char *path)
{
    char *absolute;

    if (!path)
        return;
    absolute = realpath(path, NULL);
    setenv(variable, absolute ? absolute : path, 1);
    free(absolute);
}

static void set_connection(void)
{
    const struct cxe_connect_options *connect = cli_connect_options();

    if (connect->server)
        setenv("CXE_SERVER", connect->server, 1);
    set_path("CXE_SERVER_KEY", connect->server_key ? connect->server_key : getenv("CXE_SERVER_KEY"));
    set_path("CXE_KEY", connect->key_file ? connect->key_file : getenv("CXE_KEY"));
    if (connect->transport)
        setenv("CXE_TRANSPORT", connect->transport, 1);
    if (connect->fault)
        setenv("CXE_FAULT", connect->fault, 1);
    if (connect->encryption == CXE_ENCRYPTION_OFF)
        setenv("CXE_ENCRYPTION", "off", 1);
    if (connect->timeout_ns)
        set_number(RUN_ENV_TIMEOUT, connect->timeout_ns);
}

static void set_environment(const struct run *run)
{
    set_connection();
    setenv(RUN_ENV_NAME, run->name, 1);
    set_number(RUN_ENV_SIZE, run->size_bytes);
    set_number(RUN_ENV_LOCAL, run->local_bytes);
    set_number(RUN_ENV_THRESHOLD, run->threshold_bytes);
    set_number(RUN_ENV_MODE, run->mode);
    set_number(RUN_ENV_GONE, run->gone);
    set_number(RUN_ENV_DEADLINE, run->deadline_ns);
    set_number(RUN_ENV_STRICT, run->strict);
    set_number(RUN_ENV_REPORT, (uint64_t)run->report_fd);
}

/* Where the build puts it and where the installation does: beside the folder this program is in. */
static bool find_preload(char path[PATH_MAX])
{
    static const char *const folders[] = {"lib", "lib/x86_64-linux-gnu", "lib64"};
    char self[PATH_MAX];
    ssize_t bytes = readlink("/proc/self/exe", self, sizeof(self) - 1);
    char *slash;

    if (bytes < 0)
        return false;
    self[bytes] = '\0';
    for (unsigned up = 0; up < 2; up++) {
        slash = strrchr(self, '/');
        if (!slash)
            return false;
        *slash = '\0';
    }
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
        if (snprintf(path, PATH_MAX, "%s/%s/libcxe-preload.so", self, folders[i]) < PATH_MAX &&
            access(path, R_OK) == 0)
            return true;
    return false;
}

static int set_preload(const struct run *run)
{
    const char *before = getenv("LD_PRELOAD");
    char library[PATH_MAX], list[3 * PATH_MAX];

    if (!find_preload(library)) {
        cli_fail_because(-ENOENT,
                         "libcxe-preload.so is missing: it belongs into ../lib, seen from this program");
        return RUN_EXIT_FAILED;
    }
    if (strpbrk(library, " :")) {
        cli_fail_because(-EINVAL, "a library below a path with blanks or colons cannot be preloaded");
        return RUN_EXIT_FAILED;
    }
    if (!run->own_allocator && access(CXE_JEMALLOC, R_OK) != 0) {
        cli_fail_because(-ENOENT,
                         CXE_JEMALLOC " is missing: install libjemalloc2, or choose --allocator own");
        return RUN_EXIT_FAILED;
    }
    if (snprintf(list, sizeof(list), "%s%s%s%s%s", library, run->own_allocator ? "" : ":" CXE_JEMALLOC, "",
                 before && *before ? ":" : "", before ? before : "") >= (int)sizeof(list)) {
        cli_fail_because(-ENAMETOOLONG, "LD_PRELOAD is too long");
        return RUN_EXIT_FAILED;
    }
    setenv("LD_PRELOAD", list, 1);
    return CLI_OK;
}

/* ---- the run ---- */

static int write_stats(const struct run *run, const char *program, int wait_status, uint64_t elapsed_ns)
{
    json_t *object;
    int failed;

    if (!run->stats)
        return CLI_OK;
    if (strcmp(run->stats, "-") == 0 && !cli_json()) {
        run_report_print(run->report, program, elapsed_ns);
        return CLI_OK;
    }
    object = run_report_json(run->report);
    json_object_set_new(object, "program", json_string(program));
    json_object_set_new(object, "elapsed_ns", cli_json_u64(elapsed_ns));
    json_object_set_new(object, "exit_status",
                        WIFEXITED(wait_status) ? json_integer(WEXITSTATUS(wait_status)) : json_null());
    json_object_set_new(object, "signal",
                        WIFSIGNALED(wait_status) ? json_integer(WTERMSIG(wait_status)) : json_null());
    if (strcmp(run->stats, "-") == 0)
        failed = json_dumpf(object, stderr, JSON_INDENT(2)) || fputc('\n', stderr) == EOF;
    else
        failed = json_dump_file(object, run->stats, JSON_INDENT(2));
    json_decref(object);
    return failed ? cli_fail_system(-(errno ? errno : EIO), "--stats: '%s'", run->stats) : CLI_OK;
}

/* Ends as the program did, so that who waits for us learns it. */
static int end_like(int wait_status)
{
    if (WIFEXITED(wait_status))
        return WEXITSTATUS(wait_status);
    signal(WTERMSIG(wait_status), SIG_DFL);
    raise(WTERMSIG(wait_status));
    return 128 + WTERMSIG(wait_status);
}

static int prepare(struct run *run, const char *program, char path[PATH_MAX])
{
    char why[RUN_PROGRAM_WHY_BYTES];
    int error = run_program_find(program, path, why);

    if (error) {
        cli_fail_because(error, why);
        return error == -ENOENT ? 127 : error == -EACCES ? 126 : RUN_EXIT_FAILED;
    }
    if (ask_server() != CLI_OK)
        return RUN_EXIT_FAILED;
    error = run_report_open(&run->report, &run->report_fd);
    if (error) {
        cli_fail_system(error, "counters");
        return RUN_EXIT_FAILED;
    }
    snprintf(run->name, sizeof(run->name), "run-%d", (int)getpid());
    set_environment(run);
    return set_preload(run);
}

int cmd_run(int argc, char **argv)
{
    static const struct cli_syntax syntax = {
        .arguments = "PROGRAM [ARGUMENT...]",
        .doc =
            "Runs a program with its memory on the pool.\vThe program and what it starts allocate pool "
            "memory "
            "in place of their own; nothing else about them changes. The exit status is the program's; 125: "
            "it was not run for one of our reasons, 126: it cannot be executed, 127: there is no such "
            "program.",
        .options = options,
        .option = take_option,
        .rest = true,
    };
    struct run run = {.local_bytes = LOCAL_BYTES_DEFAULT, .threshold_bytes = THRESHOLD_BYTES_DEFAULT};
    char path[PATH_MAX], **program;
    uint64_t start_ns;
    int status, error;

    cli_parse(&syntax, argc, argv, &run, &program);
    status = prepare(&run, program[0], path);
    if (status)
        return status;
    start_ns = clock_now_ns();
    error = run_program_wait(path, program, &status);
    if (error) {
        cli_fail_system(error, "starting %s", path);
        return RUN_EXIT_FAILED;
    }
    delete_regions(&run);
    if (write_stats(&run, program[0], status, clock_now_ns() - start_ns) != CLI_OK && WIFEXITED(status) &&
        WEXITSTATUS(status) == 0)
        return RUN_EXIT_FAILED;
    return end_like(status);
}
