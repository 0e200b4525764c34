/* reconnector.c - connects, does one addition, disconnects, over and over: does anything stay behind?
 *
 *   reconnector REGION TIMES
 *
 * Prints a line of JSON: how many additions were done, and how this process's memory (KiB) and descriptors
 * grew between a fifth of the times and the end. Exit status 1: a connection failed.
 */
#include <stdio.h>
#include <stdlib.h>

#include "cxe.h"
#include "program.h"

static long resident_kib(void)
{
    FILE *file = fopen("/proc/self/status", "re");
    char line[256];
    long kib = -1;

    while (file && fgets(line, sizeof(line), file))
        if (sscanf(line, "VmRSS: %ld", &kib) == 1)
            break;
    if (file)
        fclose(file);
    return kib;
}

/* One addition over a connection of its own. */
static int add_one(const char *name)
{
    struct cxe_connect_options options = {.lanes = 2};
    struct cxe_connection *connection;
    struct cxe_region *region;
    uint64_t one = 1, old;
    int error = cxe_connect(&options, &connection);

    if (error)
        return error;
    error = cxe_region_open(connection, name, &region);
    if (!error) {
        error = cxe_fetch(region, CXE_FETCH_ADD, 0, sizeof(one), &one, &old);
        cxe_region_close(region);
    }
    cxe_disconnect(connection);
    return error;
}

int main(int argc, char **argv)
{
    long times = argc == 3 ? atol(argv[2]) : 0, done, kib = 0, fds = 0;

    if (times < 5) {
        fprintf(stderr, "usage: reconnector REGION TIMES\n");
        return 2;
    }
    for (done = 0; done < times; done++) {
        if (done == times / 5) {
            kib = resident_kib();
            fds = program_count_descriptors();
        }
        if (add_one(argv[1]) < 0) {
            fprintf(stderr, "reconnector: %s\n", cxe_last_error());
            break;
        }
    }
    printf("{\"done\": %ld, \"grown_kib\": %ld, \"grown_descriptors\": %ld}\n", done, resident_kib() - kib,
           program_count_descriptors() - fds);
    return done < times;
}
