/* queue.c - many lines in flight from one thread */
#include <cxe.h>
#include <stdio.h>
#include <stdlib.h>

#define LINES 65536
#define DEPTH 1024

static void die(const char *what)
{
    fprintf(stderr, "queue: %s: %s\n", what, cxe_last_error());
    exit(1);
}

/* Starts what the queue takes, collects what is done, until all lines are read. */
static void read_all(struct cxe_queue *queue, struct cxe_region *region, char (*lines)[CXE_LINE_BYTES])
{
    struct cxe_completion done[64];
    unsigned started = 0, finished = 0;

    while (finished < LINES) {
        while (started < LINES && cxe_queue_read(queue, region, (uint64_t)started * CXE_LINE_BYTES,
                                                 lines[started], CXE_LINE_BYTES, NULL) == 0)
            started++;
        int count = cxe_queue_wait(queue, done, 64, 1000000000);
        if (count < 0)
            die("waiting");
        for (int i = 0; i < count; i++)
            if (done[i].result < 0)
                die("reading a line");
        finished += (unsigned)count;
    }
}

int main(void)
{
    static char lines[LINES][CXE_LINE_BYTES];
    struct cxe_connection *pool;
    struct cxe_region *region;
    struct cxe_queue *queue;

    if (cxe_connect(&(struct cxe_connect_options){0}, &pool) < 0 ||
        cxe_region_create(pool, "lines", sizeof(lines), CXE_REGION_EPHEMERAL, &region) < 0 ||
        cxe_queue_open(pool, DEPTH, &queue) < 0)
        die("starting");
    read_all(queue, region, lines);
    printf("%d lines read\n", LINES);
    cxe_queue_close(queue);
    cxe_region_close(region);
    return cxe_disconnect(pool) < 0;
}
