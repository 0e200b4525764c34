/* test_map.c - what cxe_map takes and what it refuses, with a sentence that names the thing */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "atomic.h"
#include "fixture.h"

static void refused(struct cxe_region *region, struct cxe_map_options options, int error, const char *word)
{
    void *address = (void *)1;

    cr_assert_eq(cxe_map(region, &options, &address), error, "%s", cxe_last_error());
    cr_assert(strstr(cxe_last_error(), word), "'%s' lacks '%s'", cxe_last_error(), word);
    cr_assert_eq(address, (void *)1);
    cr_assert_eq(region->mappings, 0);
}

Test(map, refuses_bad_options)
{
    struct cxe_region *region = fake_start(MIB);

    refused(region, (struct cxe_map_options){.offset = 1}, -EINVAL, "offset");
    refused(region, (struct cxe_map_options){.bytes = 4095}, -EINVAL, "bytes");
    refused(region, (struct cxe_map_options){.offset = MIB}, -ERANGE, "region");
    refused(region, (struct cxe_map_options){.bytes = MIB + PAGE}, -ERANGE, "region");
    refused(region, (struct cxe_map_options){.offset = PAGE, .bytes = MIB}, -ERANGE, "region");
    refused(region, (struct cxe_map_options){.local_bytes = CXE_LOCAL_BYTES_MIN - 1}, -EINVAL, "local_bytes");
    refused(region, (struct cxe_map_options){.fault_mode = 3}, -EINVAL, "fault_mode");
    refused(region, (struct cxe_map_options){.gone_policy = 3}, -EINVAL, "gone_policy");
    refused(region, (struct cxe_map_options){.gone_policy = CXE_GONE_DEADLINE}, -EINVAL, "gone_deadline_ns");
    refused(region, (struct cxe_map_options){.flags = 16}, -EINVAL, "flags");
    refused(region, (struct cxe_map_options){.address = (void *)0x1001}, -EINVAL, "address");
    region->flags = CXE_REGION_SEALED;
    refused(region, (struct cxe_map_options){0}, -EACCES, "sealed");
    region->flags = 0;
    fake_stop(region);
}

Test(map, defaults)
{
    struct cxe_region *region = fake_start(4 * MIB);
    void *address;

    cr_assert_eq(cxe_map(region, NULL, &address), 0);
    struct cxe_map_info info = info_of(address);
    cr_assert_eq(info.bytes, 4 * MIB);
    cr_assert_eq(info.local_bytes, MIB);
    cr_assert_eq(info.fault_mode, CXE_FAULT_INLINE);
    cr_assert(pager_in_window(address));
    finish(region, address);
}

Test(map, a_part_of_a_region)
{
    struct cxe_region *region = fake_start(4 * MIB);
    uint8_t *memory = map_region(region, MIB, (struct cxe_map_options){.offset = MIB, .bytes = MIB});

    cr_assert_eq(memory[77], fake_byte(MIB + 77));
    memory[78] = 1;
    cr_assert_eq(cxe_sync(memory, MIB), 0);
    cr_assert_eq(fake_memory(region)[MIB + 78], 1);
    finish(region, memory);
}

Test(map, twice_is_busy)
{
    struct cxe_region *region = fake_start(MIB);
    uint8_t *memory = map_region(region, MIB, (struct cxe_map_options){0});
    void *other;

    cr_assert_eq(cxe_map(region, NULL, &other), -EBUSY);
    cr_assert_eq(cxe_unmap(memory), 0);
    memory = map_region(region, MIB, (struct cxe_map_options){0});
    finish(region, memory);
}

Test(map, at_an_address)
{
    struct cxe_region *region = fake_start(MIB);
    void *outside = (void *)0x7d0000000000;

    cr_assert_eq(mmap(outside, MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0),
                 outside);
    refused(region, (struct cxe_map_options){.address = outside}, -EEXIST, "mapped");
    munmap(outside, MIB);
    uint8_t *memory = map_region(region, MIB, (struct cxe_map_options){.address = outside});
    cr_assert_eq(memory, outside);
    cr_assert_not(pager_in_window(memory));
    cr_assert_eq(memory[9 * PAGE], fake_byte(9 * PAGE));
    cr_assert_eq(cxe_unmap(memory), 0);
    cr_assert_eq(pager_outside_count, 0);

    void *inside = (void *)(uintptr_t)(PAGER_WINDOW_BASE + 8192);
    memory = map_region(region, MIB, (struct cxe_map_options){.address = inside});
    cr_assert_eq(memory, inside);
    cr_assert_eq(memory[9 * PAGE], fake_byte(9 * PAGE));
    finish(region, memory);
}

Test(map, read_only)
{
    struct cxe_region *region = fake_start(MIB);
    uint8_t *memory = map_region(region, MIB, (struct cxe_map_options){.flags = CXE_MAP_READ_ONLY});

    cr_assert_eq(memory[PAGE], fake_byte(PAGE));
    cr_assert_not(can_write(memory + PAGE, 1));
    cr_assert_not(can_write(memory + 2 * PAGE, 1));
    finish(region, memory);
}

Test(map, low_limits)
{
    struct cxe_region *region = fake_start(16 * MIB);
    struct rlimit low = {64 * MIB, RLIM_INFINITY}, old, few = {4, RLIM_INFINITY};

    getrlimit(RLIMIT_AS, &old);
    low.rlim_max = old.rlim_max;
    setrlimit(RLIMIT_AS, &low);
    refused(region, (struct cxe_map_options){.local_bytes = CXE_LOCAL_BYTES_MIN}, -ENOMEM, "");
    setrlimit(RLIMIT_AS, &old);
    getrlimit(RLIMIT_NOFILE, &old);
    few.rlim_max = old.rlim_max;
    setrlimit(RLIMIT_NOFILE, &few);
    refused(region, (struct cxe_map_options){.local_bytes = CXE_LOCAL_BYTES_MIN}, -EMFILE, "userfaultfd");
    setrlimit(RLIMIT_NOFILE, &old);
    fake_stop(region);
}

static void forbid_userfaultfd(int error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = 4, .filter = code};

    cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    cr_assert_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

Test(map, userfaultfd_is_forbidden)
{
    struct cxe_region *region = fake_start(MIB);

    forbid_userfaultfd(EPERM);
    refused(region, (struct cxe_map_options){0}, -EPERM, "forbidden");
    fake_stop(region);
}

Test(map, userfaultfd_is_missing)
{
    struct cxe_region *region = fake_start(MIB);

    forbid_userfaultfd(ENOSYS);
    refused(region, (struct cxe_map_options){0}, -ENOSYS, "CONFIG_USERFAULTFD");
    fake_stop(region);
}

/* Nothing stays behind. */
Test(map, over_and_over)
{
    struct cxe_region *region = fake_start(MIB);
    uint8_t *memory = NULL;
    int lowest = dup(0);

    close(lowest);
    for (unsigned i = 0; i < 200; i++) {
        memory =
            map_region(region, MIB, (struct cxe_map_options){.fault_mode = i % 2 ? CXE_FAULT_THREAD : 0});
        memory[(i % 256) * PAGE] = 1;
        if (i < 199)
            cr_assert_eq(cxe_unmap(memory), 0);
    }
    finish(region, memory);
    int now = dup(0);
    cr_assert_eq(now, lowest);
    cr_assert_eq(fcntl(1000, F_GETFD), -1);
    close(now);
}
