/* workload.c - see workload.h */
#include "workload.h"

#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "units.h"

#define PAGE 4096u

void workload_fail(const char *format, ...)
{
    va_list arguments;

    fflush(stdout);
    fprintf(stderr, "%s: ", program_invocation_short_name);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

enum { OPTION_TRACE = 256, OPTION_GRAPH };

static const struct argp_option options[] = {
    {"bytes", 'b', "SIZE", 0, "Memory to use, such as 64M", 0},
    {"work", 'w', "N", 0, "How much to do; the default fits the memory", 0},
    {"seed", 's', "N", 0, "Of everything random", 0},
    {"file", 'f', "PATH", 0, "Map this file instead of asking malloc", 0},
    {"trace", OPTION_TRACE, "PATH", 0, "zipf: write the numbers of the pages it touches, 4 bytes each", 0},
    {"graph", OPTION_GRAPH, "PATH", 0, "graph: read it from there; if there is none, make it and write it",
     0},
    {0},
};

static uint64_t number_of(const char *text, struct argp_state *state)
{
    uint64_t number = 0;

    if (units_parse_count(text, 0, UINT64_MAX, &number) != 0)
        argp_error(state, "'%s' is not a number", text);
    return number;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct workload *workload = state->input;

    switch (key) {
    case 'b':
        if (units_parse_bytes(text, &workload->bytes) != 0 || workload->bytes < PAGE)
            argp_error(state, "--bytes: '%s' is not a size of at least 4096, such as 64M", text);
        return 0;
    case 'w':
        workload->work = number_of(text, state);
        return 0;
    case 's':
        workload->seed = number_of(text, state);
        return 0;
    case 'f':
        workload->file = text;
        return 0;
    case OPTION_TRACE:
        workload->trace = text;
        return 0;
    case OPTION_GRAPH:
        workload->graph = text;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

void workload_begin(struct workload *workload, int argc, char **argv)
{
    const struct argp parser = {.options = options, .parser = parse, .doc = workload->question};

    workload->file_fd = -1;
    argp_parse(&parser, argc, argv, 0, NULL, workload);
    if (workload->file) {
        workload->file_fd = open(workload->file, O_RDWR | O_CLOEXEC);
        if (workload->file_fd < 0)
            workload_fail("%s: %s", workload->file, strerror(errno));
    }
    printf("{\"question\": \"%s\"}\n", workload->question);
}

static void *map_file(struct workload *workload, uint64_t bytes)
{
    void *memory;
    struct stat status;

    if (fstat(workload->file_fd, &status) < 0)
        workload_fail("%s: %s", workload->file, strerror(errno));
    if ((uint64_t)status.st_size < workload->file_used + bytes)
        workload_fail("%s has %" PRIu64 " bytes, and %" PRIu64 " are needed", workload->file,
                      (uint64_t)status.st_size, workload->file_used + bytes);
    memory =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, workload->file_fd, (off_t)workload->file_used);
    if (memory == MAP_FAILED)
        workload_fail("%s: %s", workload->file, strerror(errno));
    workload->file_used += bytes;
    memset(memory, 0, bytes);
    return memory;
}

void *workload_memory(struct workload *workload, uint64_t bytes)
{
    void *memory;

    bytes = (bytes + PAGE - 1) / PAGE * PAGE;
    if (workload->file)
        return map_file(workload, bytes);
    if (posix_memalign(&memory, PAGE, bytes) != 0)
        workload_fail("no memory for %" PRIu64 " bytes", bytes);
    memset(memory, 0, bytes);
    return memory;
}

void workload_result(const char *name, double value, const char *unit)
{
    printf("{\"name\": \"%s\", \"value\": %.6g, \"unit\": \"%s\"}\n", name, value, unit);
    fflush(stdout);
}
