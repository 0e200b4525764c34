/* pager_uffd.c - what the pager asks of the kernel */
#include "pager_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "error.h"

/* Linux 6.6, newer than Debian 12's headers. */
#define FEATURE_POISON (1ull << 14)
struct poison_request {
    struct uffdio_range range;
    uint64_t mode;
    int64_t updated;
};
#define IOCTL_POISON _IOWR(UFFDIO, 0x08, struct poison_request)

/* Linux 5.18: what MADV_DONTNEED refuses to do where the program has locked memory. */
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

/* Linux 6.14: "this process" where a pidfd is expected. */
#define PIDFD_SELF_GROUP (-10001)

/* Descriptors that a program is unlikely to close by number, or to reach with a loop over the low ones. */
#define FD_FLOOR_BEST 1000

static int open_raw(enum cxe_fault_mode mode)
{
    int flags = O_CLOEXEC | O_NONBLOCK;

    /* Inline, the kernel's own accesses get EFAULT in any case; this asks for no more than that. */
    if (mode == CXE_FAULT_INLINE)
        flags |= UFFD_USER_MODE_ONLY;
    long fd = syscall(SYS_userfaultfd, flags);
    if (fd < 0 && mode == CXE_FAULT_THREAD && errno == EPERM) {
        int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);

        if (device < 0) {
            errno = EPERM;
            return -1;
        }
        fd = ioctl(device, _IO(0xAA, 0x00), O_CLOEXEC | O_NONBLOCK); /* USERFAULTFD_IOC_NEW, Linux 6.1 */
        close(device);
    }
    return (int)fd;
}

static int open_failed(enum cxe_fault_mode mode)
{
    if (errno == ENOSYS)
        return fail(-ENOSYS, "this kernel has no userfaultfd (CONFIG_USERFAULTFD)");
    if (errno == EPERM && mode == CXE_FAULT_THREAD)
        return fail(-EPERM, "userfaultfd for faults inside system calls is forbidden here: the fault mode "
                            "\"thread\" needs CAP_SYS_PTRACE, access to /dev/userfaultfd, or "
                            "vm.unprivileged_userfaultfd=1");
    if (errno == EPERM)
        return fail(-EPERM, "userfaultfd is forbidden here (by a seccomp filter or a security module)");
    return fail(-errno, "userfaultfd: %s", strerror(errno));
}

/* Out of the way of programs that count on low numbers. */
static int move_high(int fd)
{
    struct rlimit limit;
    int floor = FD_FLOOR_BEST;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < FD_FLOOR_BEST + 64)
        floor = (int)(limit.rlim_cur / 2);
    int high = fcntl(fd, F_DUPFD_CLOEXEC, floor);
    if (high < 0)
        return fd;
    close(fd);
    return high;
}

/* The kernel tells what it has only to a descriptor that then is good for nothing else. */
static int read_features(enum cxe_fault_mode mode, uint64_t *features_out)
{
    struct uffdio_api api = {.api = UFFD_API};
    int fd = open_raw(mode);

    if (fd < 0)
        return open_failed(mode);
    int rc = ioctl(fd, UFFDIO_API, &api);
    close(fd);
    if (rc)
        return fail(-ENOSYS, "this kernel's userfaultfd speaks another version");
    *features_out = api.features;
    return 0;
}

int uffd_open(enum cxe_fault_mode mode, int *fd_out, bool *has_poison_out)
{
    uint64_t features = 0;
    int rc = read_features(mode, &features);

    if (rc)
        return rc;
    if (!(features & UFFD_FEATURE_PAGEFAULT_FLAG_WP))
        return fail(-ENOSYS,
                    "this kernel's userfaultfd lacks write protection (UFFD_FEATURE_PAGEFAULT_FLAG_WP, "
                    "Linux 5.7)");
    if (mode == CXE_FAULT_INLINE && !(features & UFFD_FEATURE_SIGBUS))
        return fail(-ENOSYS,
                    "this kernel's userfaultfd lacks UFFD_FEATURE_SIGBUS (Linux 4.14), which the fault "
                    "mode \"inline\" needs");

    struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP};
    if (mode == CXE_FAULT_INLINE)
        api.features |= UFFD_FEATURE_SIGBUS;
    api.features |= features & FEATURE_POISON;
    int fd = open_raw(mode);
    if (fd < 0)
        return open_failed(mode);
    fd = move_high(fd);
    if (ioctl(fd, UFFDIO_API, &api)) {
        rc = fail(-ENOSYS, "this kernel's userfaultfd refused the features it has: %s", strerror(errno));
        close(fd);
        return rc;
    }
    *has_poison_out = features & FEATURE_POISON;
    *fd_out = fd;
    return 0;
}

int uffd_register(int fd, void *base, uint64_t bytes)
{
    struct uffdio_register request = {
        .range = {.start = (uintptr_t)base, .len = bytes},
        .mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP,
    };
    const uint64_t needed = 1ull << _UFFDIO_COPY | 1ull << _UFFDIO_WRITEPROTECT;

    if (ioctl(fd, UFFDIO_REGISTER, &request))
        return fail(-errno, "userfaultfd does not take the mapping: %s", strerror(errno));
    if ((request.ioctls & needed) != needed)
        return fail(-ENOSYS, "this kernel cannot write-protect anonymous memory through userfaultfd");
    return 0;
}

/* A program that closes descriptors it does not know, by number, may hit ours: then the spare one serves. */
static int call(struct pager *pager, unsigned long request, void *argument)
{
    int rc = ioctl(pager->uffd, request, argument);

    if (rc == 0 || (errno != EBADF && errno != ENOTTY) || pager->uffd_guard < 0)
        return rc;
    pager_complain("the program closed a descriptor of the library; the spare one is used", pager->base);
    pager->uffd = pager->uffd_guard;
    return ioctl(pager->uffd, request, argument);
}

int uffd_install(struct pager *pager, uint32_t page, const uint8_t *data, uint32_t count, bool protect,
                 uint32_t *done_out)
{
    uint64_t done = 0;
    const uint64_t bytes = (uint64_t)count * PAGE_BYTES;

    *done_out = count;
    while (done < bytes) {
        struct uffdio_copy request = {
            .dst = (uintptr_t)page_address(pager, page) + done,
            .src = (uintptr_t)data + done,
            .len = bytes - done,
            .mode = protect ? UFFDIO_COPY_MODE_WP : 0,
        };

        if (call(pager, UFFDIO_COPY, &request) == 0)
            return 0;
        if (request.copy > 0)
            done += (uint64_t)request.copy; /* a part of it; what comes next says why */
        else if (errno == EEXIST)
            done += PAGE_BYTES;
        else if (errno == EAGAIN)
            sched_yield(); /* the address space is being changed; it will be over */
        else
            break;
    }
    *done_out = (uint32_t)(done / PAGE_BYTES);
    return *done_out == count ? 0 : -errno;
}

int uffd_protect(struct pager *pager, uint32_t page, uint32_t count, bool protect)
{
    struct uffdio_writeprotect request = {
        .range = {.start = (uintptr_t)page_address(pager, page), .len = (uint64_t)count * PAGE_BYTES},
        .mode = protect ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
    };

    while (call(pager, UFFDIO_WRITEPROTECT, &request)) {
        if (errno != EAGAIN)
            return -errno;
        sched_yield();
    }
    return 0;
}

/* Without UFFDIO_POISON (before Linux 6.6) an inline mapping leaves the page missing: each access comes to
 * our handler, which sees the state and passes the signal on. Thread mode has no handler: the page loses its
 * protection bits, and the signal is SIGSEGV. */
int uffd_poison(struct pager *pager, uint32_t page)
{
    struct poison_request request = {
        .range = {.start = (uintptr_t)page_address(pager, page), .len = PAGE_BYTES},
    };

    if (!pager->has_poison) {
        if (pager->mode == CXE_FAULT_INLINE)
            return 0;
        if (mprotect(page_address(pager, page), PAGE_BYTES, PROT_NONE))
            return -errno;
        uffd_wake(pager, page);
        return 0;
    }
    while (call(pager, IOCTL_POISON, &request)) {
        if (errno != EAGAIN)
            return -errno;
        sched_yield();
    }
    return 0;
}

void uffd_unpoison(struct pager *pager, uint32_t page)
{
    if (!pager->has_poison && pager->mode == CXE_FAULT_THREAD)
        mprotect(page_address(pager, page), PAGE_BYTES,
                 pager->flags & CXE_MAP_READ_ONLY ? PROT_READ : PROT_READ | PROT_WRITE);
    uffd_drop(pager, &page, 1);
}

void uffd_wake(struct pager *pager, uint32_t page)
{
    struct uffdio_range range = {.start = (uintptr_t)page_address(pager, page), .len = PAGE_BYTES};

    if (pager->mode == CXE_FAULT_THREAD)
        call(pager, UFFDIO_WAKE, &range);
}

/* One system call and one TLB flush for the batch, where the kernel lets a process do that to itself (Linux
 * 6.13): a third of the time of one call each. */
static bool advise_vector(const struct iovec *ranges, uint32_t count)
{
    size_t bytes = 0;

    for (uint32_t i = 0; i < count; i++)
        bytes += ranges[i].iov_len;
    long done =
        syscall(SYS_process_madvise, PIDFD_SELF_GROUP, ranges, (unsigned long)count, MADV_DONTNEED, 0u);
    return done >= 0 && (size_t)done == bytes;
}

bool uffd_vector_advice_works(void)
{
    void *page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool works;

    if (page == MAP_FAILED)
        return false;
    struct iovec range = {page, PAGE_BYTES};
    works = advise_vector(&range, 1);
    munmap(page, PAGE_BYTES);
    return works;
}

void memory_drop(struct pager *pager, uint8_t *base, const uint32_t *pages, uint32_t count)
{
    struct iovec ranges[BATCH_PAGES];
    uint32_t range_count = 0;

    CHECK(count <= BATCH_PAGES);
    for (uint32_t i = 0; i < count; i++) {
        if (i && pages[i] == pages[i - 1] + 1)
            ranges[range_count - 1].iov_len += PAGE_BYTES;
        else
            ranges[range_count++] = (struct iovec){base + (uint64_t)pages[i] * PAGE_BYTES, PAGE_BYTES};
    }
    if (pager->has_vector_advice && range_count > 1 && advise_vector(ranges, range_count))
        return;
    for (uint32_t i = 0; i < range_count; i++)
        if (madvise(ranges[i].iov_base, ranges[i].iov_len, MADV_DONTNEED))
            madvise(ranges[i].iov_base, ranges[i].iov_len, MADV_DONTNEED_LOCKED);
}

void uffd_drop(struct pager *pager, const uint32_t *pages, uint32_t count)
{
    memory_drop(pager, pager->base, pages, count);
}

bool uffd_page_present(struct pager *pager, uint32_t page)
{
    const uint64_t present_or_swapped = 3ull << 62; /* see the kernel's pagemap documentation */
    uint64_t entry;
    off_t at = (off_t)((uintptr_t)page_address(pager, page) / PAGE_BYTES * sizeof(entry));

    if (pager->pagemap_fd < 0 || pread(pager->pagemap_fd, &entry, sizeof(entry), at) != sizeof(entry))
        return true; /* not known; what this would find out is then not noticed */
    return entry & present_or_swapped;
}
