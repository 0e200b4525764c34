/* floor_fault.c - the floor of a page fault: SIGBUS and UFFDIO_COPY, nothing remote; see floor.h */
#include "floor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"
#include "limits.h"

#define FAULT_PAGES 16384

struct floor_fault {
    int uffd;
    uint8_t *memory;
    uint32_t order[FAULT_PAGES]; /* a permutation: each page is met once, then all are dropped */
    size_t next;
};

/* For the handler, which has no other way to know. */
static struct floor_fault *current;
static uint8_t source_page[PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));

static void resolve(int number, siginfo_t *info, void *context)
{
    const uintptr_t address = (uintptr_t)info->si_addr & ~(uintptr_t)(PAGE_BYTES - 1);
    struct uffdio_copy copy = {.dst = address, .src = (uintptr_t)source_page, .len = PAGE_BYTES};
    const uintptr_t begin = (uintptr_t)current->memory;

    (void)number;
    (void)context;
    if (address < begin || address >= begin + (uintptr_t)FAULT_PAGES * PAGE_BYTES ||
        ioctl(current->uffd, UFFDIO_COPY, &copy) < 0)
        abort(); /* a fault that is not the benchmark's, or one that would come again for ever */
}

static int open_uffd(struct floor_fault *fault)
{
    struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_SIGBUS};
    struct uffdio_register range = {
        .range = {.start = (uintptr_t)fault->memory, .len = (uint64_t)FAULT_PAGES * PAGE_BYTES},
        .mode = UFFDIO_REGISTER_MODE_MISSING};

    fault->uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
    if (fault->uffd < 0 || ioctl(fault->uffd, UFFDIO_API, &api) < 0 ||
        ioctl(fault->uffd, UFFDIO_REGISTER, &range) < 0)
        return bench_fail(-errno, "no userfaultfd for the floor: %s", strerror(errno));
    return 0;
}

int floor_fault_open(struct floor_fault **fault_out)
{
    struct floor_fault *fault = calloc(1, sizeof(*fault));
    int error;

    if (!fault)
        return bench_fail(-ENOMEM, "no memory");
    fault->uffd = -1;
    memset(source_page, 0xCE, sizeof(source_page));
    bench_shuffle(fault->order, FAULT_PAGES);
    fault->memory = mmap(NULL, (size_t)FAULT_PAGES * PAGE_BYTES, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (fault->memory == MAP_FAILED) {
        fault->memory = NULL;
        error = bench_fail(-errno, "no address space for the floor: %s", strerror(errno));
    } else {
        madvise(fault->memory, (size_t)FAULT_PAGES * PAGE_BYTES, MADV_NOHUGEPAGE);
        error = open_uffd(fault);
    }
    if (error) {
        floor_fault_close(fault);
        return error;
    }
    *fault_out = fault;
    return 0;
}

void floor_fault_close(struct floor_fault *fault)
{
    if (!fault)
        return;
    if (fault->memory)
        munmap(fault->memory, (size_t)FAULT_PAGES * PAGE_BYTES);
    if (fault->uffd >= 0)
        close(fault->uffd);
    free(fault);
}

static uint64_t touch(struct floor_fault *fault)
{
    volatile const uint8_t *page = fault->memory + (size_t)fault->order[fault->next] * PAGE_BYTES;
    uint64_t start_ns, end_ns;

    start_ns = clock_now_ns();
    (void)*page;
    end_ns = clock_now_ns();
    if (++fault->next == FAULT_PAGES) {
        madvise(fault->memory, (size_t)FAULT_PAGES * PAGE_BYTES, MADV_DONTNEED);
        fault->next = 0;
    }
    return end_ns - start_ns;
}

int floor_fault_run(void *context, uint64_t duration_ns, struct bench_sample *sample)
{
    const struct sigaction ours = {.sa_sigaction = resolve, .sa_flags = SA_SIGINFO | SA_NODEFER};
    struct sigaction before;
    const uint64_t begin_ns = clock_now_ns();
    bool room = true;

    current = context;
    sigaction(SIGBUS, &ours, &before); /* the library's own handler has nothing to do meanwhile */
    while (room && clock_now_ns() - begin_ns < duration_ns)
        room = bench_note(sample, touch(current));
    sample->elapsed_ns = clock_now_ns() - begin_ns;
    sigaction(SIGBUS, &before, NULL);
    return 0;
}
