/* shared.c - two processes, each of which could be on a machine of its own, add to one word */
#include <cxe.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static int add(const char *name, unsigned rounds)
{
    struct cxe_connection *pool;
    struct cxe_region *region;
    void *address;
    _Atomic long *total;

    if (cxe_connect(NULL, &pool) < 0 || cxe_region_open(pool, name, &region) < 0 ||
        cxe_map(region, NULL, &address) < 0) {
        fprintf(stderr, "shared: %s\n", cxe_last_error());
        return 1;
    }
    total = address;
    while (rounds--)
        atomic_fetch_add(total, 1);
    return cxe_unmap(address) < 0 || cxe_region_close(region) < 0 || cxe_disconnect(pool) < 0;
}

static int read_total(const char *name, long line[CXE_LINE_BYTES / sizeof(long)])
{
    struct cxe_connection *pool;
    struct cxe_region *region;

    if (cxe_connect(NULL, &pool) < 0 || cxe_region_open(pool, name, &region) < 0 ||
        cxe_read(region, 0, line, CXE_LINE_BYTES) < 0)
        return 1;
    return cxe_region_close(region) < 0 || cxe_disconnect(pool) < 0;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "board";
    long line[CXE_LINE_BYTES / sizeof(long)];
    int status = 1;
    pid_t other = fork();

    if (other == 0)
        return add(name, 20000);
    if (add(name, 30000) || waitpid(other, &status, 0) < 0 || status || read_total(name, line))
        return 1;
    printf("%ld\n", line[0]);
    return 0;
}
