/* sim_kernel.h - the kernel's part of a mapping: which pages are there, protected, poisoned
 *
 * Takes the place of client/pager_uffd.c. The memory itself is ordinary and always there; who plays the
 * program looks here before each access, as the machine would in its page tables.
 */
#ifndef TESTS_SIM_KERNEL_H
#define TESTS_SIM_KERNEL_H

#include <stdbool.h>
#include <stdint.h>

/* Told right when it happens. */
struct kernel_watcher {
    void (*installed)(void *context, uint32_t page);
    /* Memory is given up for lost: what was stored there since it was installed. */
    void (*lost)(void *context, uint32_t page);
    void *context;
};
void kernel_watch(const void *base, const struct kernel_watcher *watcher);

/* An access of the program's: faults until the page lets it pass. 0: do it now, at once; -EFAULT: SIGBUS. */
int kernel_access(void *address, bool write);

#endif
