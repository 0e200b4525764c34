/* program.c - see program.h */
#include "program.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "cxe.h"

uint64_t program_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 * NS_PER_MS + (uint64_t)now.tv_nsec;
}

void *program_map_journal(const char *path, size_t bytes, bool fresh)
{
    int fd = open(path, O_RDWR | (fresh ? O_CREAT | O_TRUNC : 0), 0600);
    void *journal;

    if (fd < 0 || (fresh && ftruncate(fd, (off_t)bytes) < 0)) {
        perror(path);
        exit(2);
    }
    journal = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (journal == MAP_FAILED) {
        perror("mmap");
        exit(2);
    }
    return journal;
}

struct cxe_region *program_open_region(const char *name, uint64_t timeout_ns)
{
    struct cxe_connect_options options = {.timeout_ns = timeout_ns};
    struct cxe_connection *connection;
    struct cxe_region *region;

    if (cxe_connect(&options, &connection) < 0 || cxe_region_open(connection, name, &region) < 0) {
        fprintf(stderr, "%s: %s\n", program_invocation_short_name, cxe_last_error());
        exit(2);
    }
    return region;
}

long program_count_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    long count = 0;

    while (folder && readdir(folder))
        count++;
    if (folder)
        closedir(folder);
    return count;
}
