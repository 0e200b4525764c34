/* broken.h - defects to order: a simulator that does not find them proves nothing */
#ifndef TESTS_SIM_BROKEN_H
#define TESTS_SIM_BROKEN_H

#include <stdbool.h>
#include <stdint.h>

/* Turns the defect of that name on, for this process. False: there is none of that name. */
bool broken_set(const char *name, uint64_t seed);

/* The names, for loops; NULL behind the last. */
const char *broken_name(unsigned index);

/* Asked by sim_kernel.c when a page is to be dropped. */
bool broken_page_stays(void);

#endif
