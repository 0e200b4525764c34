/* fail_alloc.h - for programs that are linked with the library of fail_alloc.c */
#ifndef FAIL_ALLOC_H
#define FAIL_ALLOC_H

#include <stdbool.h>

/* Counts anew; the allocation with this number, from 1, fails. 0: none does. */
void fail_alloc_at(long call);
/* Has it come to that? */
bool fail_alloc_reached(void);
/* Blocks of malloc and its like that nobody has freed. */
long fail_alloc_live(void);

#endif
