/* fixture.c - see fixture.h */
#include "fixture.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <setjmp.h>
#include <signal.h>

#include "atomic.h"

uint8_t *map_region(struct cxe_region *region, uint64_t local_bytes, struct cxe_map_options options)
{
    void *address = NULL;

    options.local_bytes = local_bytes;
    int rc = cxe_map(region, &options, &address);
    if (rc == -EPERM && options.fault_mode == CXE_FAULT_THREAD)
        cr_skip_test("userfaultfd may not serve faults of the kernel here");
    cr_assert_eq(rc, 0, "%s", cxe_last_error());
    return address;
}

uint8_t *map_zeros(struct cxe_region *region, uint64_t local_bytes)
{
    return map_zeros_under(region, local_bytes, (struct cxe_map_options){0});
}

uint8_t *map_zeros_under(struct cxe_region *region, uint64_t local_bytes, struct cxe_map_options options)
{
    struct pager_options more = {.new_region = true};
    void *address = NULL;

    options.local_bytes = local_bytes;
    int rc = pager_map(region, &options, &more, &address);
    cr_assert_eq(rc, 0, "%s", cxe_last_error());
    return address;
}

void finish(struct cxe_region *region, void *address)
{
    int rc = cxe_unmap(address);

    cr_assert_eq(rc, 0, "%s", cxe_last_error());
    fake_stop(region);
}

struct cxe_map_info info_of(const void *address)
{
    struct cxe_map_info info;

    cr_assert_eq(cxe_map_info(address, &info), 0);
    return info;
}

void check_valid(void *address)
{
    const char *broken = pager_valid(pager_find(address));

    cr_assert_null(broken, "%s", broken);
}

static sigjmp_buf guard;

static void jump(int number)
{
    (void)number;
    siglongjmp(guard, 1);
}

/* Through the library's handler to ours, and out of both with a jump. */
static bool guarded(uint8_t *address, bool write, uint8_t value)
{
    struct sigaction action = {.sa_handler = jump}, old_bus, old_segv;
    volatile bool fine = false;

    pager_sigaction(&action, &old_bus);
    sigaction(SIGSEGV, &action, &old_segv);
    if (sigsetjmp(guard, 1) == 0) {
        if (write)
            store_relaxed(address, value);
        else
            (void)load_relaxed(address);
        fine = true;
    }
    pager_sigaction(&old_bus, NULL);
    sigaction(SIGSEGV, &old_segv, NULL);
    return fine;
}

bool can_read(const uint8_t *address)
{
    return guarded((uint8_t *)(uintptr_t)address, false, 0);
}

bool can_write(uint8_t *address, uint8_t value)
{
    return guarded(address, true, value);
}
