/* touch.c - how long does it take to touch a page that is not in memory?
 *
 * Maps a file, or takes memory of its own and has it swapped out, and touches pages one after the other: in
 * random order for the latency of one, in sequence for the bandwidth of a scan. Every page starts with its
 * own number, which is checked, so that a page which was in memory after all, or came back wrong, shows.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../workloads/workload.h"
#include "histogram.h"

#define PAGE 4096u

static uint64_t number_of(uint64_t page)
{
    return mix64(page) | 1;
}

static void fill(uint8_t *memory, uint64_t pages)
{
    for (uint64_t page = 0; page < pages; page++) {
        uint64_t number = number_of(page);

        memcpy(memory + page * PAGE, &number, sizeof(number));
    }
}

/* How many pages are in memory. */
static uint64_t resident(uint8_t *memory, uint64_t pages, uint8_t *present)
{
    uint64_t count = 0;

    if (mincore(memory, pages * PAGE, present) < 0)
        workload_fail("mincore: %s", strerror(errno));
    for (uint64_t page = 0; page < pages; page++)
        count += present[page] & 1;
    return count;
}

/* Asks for the pages to leave, until they have: what is being written to a swap file leaves when it is there,
 * and stays in the swap cache unless a memory cgroup leaves no room for it.
 */
static void evict(const struct workload *workload, uint8_t *memory, uint64_t pages)
{
    uint8_t *present = malloc(pages);
    uint64_t left = pages;

    if (!present)
        workload_fail("no memory");
    for (unsigned tries = 0; left > pages / 100 && tries < 20; tries++) {
        if (workload->file && msync(memory, pages * PAGE, MS_SYNC) < 0)
            workload_fail("msync: %s", strerror(errno));
        if (madvise(memory, pages * PAGE, workload->file ? MADV_DONTNEED : MADV_PAGEOUT) < 0)
            workload_fail("madvise: %s", strerror(errno));
        if (workload->file && posix_fadvise(workload->file_fd, 0, 0, POSIX_FADV_DONTNEED) != 0)
            workload_fail("posix_fadvise: %s", strerror(errno));
        left = resident(memory, pages, present);
        usleep(tries * 1000);
    }
    if (left > pages / 4)
        workload_fail("%" PRIu64 " of %" PRIu64 " pages stay in memory: there is nothing to measure", left,
                      pages);
    free(present);
}

static void touch(const uint8_t *memory, uint64_t page)
{
    uint64_t number;

    memcpy(&number, memory + page * PAGE, sizeof(number));
    if (number != number_of(page))
        workload_fail("page %" PRIu64 " is not what it was", page);
}

static void touch_random(struct workload *workload, uint8_t *memory, uint64_t pages)
{
    static struct histogram latencies;
    uint64_t touches = workload->work ? workload->work : 20000, stride = pages * 618 / 1000 | 1;

    while (pages % stride == 0 && stride > 1)
        stride -= 2;
    if (touches > pages)
        touches = pages;
    madvise(memory, pages * PAGE, MADV_RANDOM);
    for (uint64_t i = 0, page = random_below(&workload->seed, pages); i < touches; i++) {
        double start = seconds_now();

        touch(memory, page);
        histogram_add(&latencies, (uint64_t)((seconds_now() - start) * 1e9));
        page = (page + stride + random_below(&workload->seed, 2) * 2) % pages;
    }
    workload_result("p50", (double)histogram_quantile(&latencies, 0.5) / 1e3, "us");
    workload_result("p99", (double)histogram_quantile(&latencies, 0.99) / 1e3, "us");
}

static void touch_all(const struct workload *workload, uint8_t *memory, uint64_t pages)
{
    double start = seconds_now();

    madvise(memory, pages * PAGE,
            workload->file ? MADV_SEQUENTIAL : MADV_NORMAL); /* swap reads ahead anyway */
    for (uint64_t page = 0; page < pages; page++)
        touch(memory, page);
    workload_result("scan", (double)(pages * PAGE) / (seconds_now() - start) / 1e6, "MB/s");
}

int main(int argc, char **argv)
{
    struct workload workload = {
        .question = "how long does it take to touch a page that is not in memory?",
        .bytes = 256ull << 20,
        .seed = 1,
    };
    uint64_t pages;
    uint8_t *memory;

    workload_begin(&workload, argc, argv);
    pages = workload.bytes / PAGE;
    memory = workload_memory(&workload, pages * PAGE);
    madvise(memory, pages * PAGE, MADV_NOHUGEPAGE);
    fill(memory, pages);
    evict(&workload, memory, pages);
    touch_random(&workload, memory, pages);
    evict(&workload, memory, pages);
    touch_all(&workload, memory, pages);
    return 0;
}
