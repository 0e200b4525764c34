/* interpose.h - the functions that the program calls here instead of in libc */
#ifndef CXE_PRELOAD_INTERPOSE_H
#define CXE_PRELOAD_INTERPOSE_H

#include <stdbool.h>

/* Finds the functions that stand behind ours. Once, before the pool is in use. */
void interpose_init(void);

#endif
