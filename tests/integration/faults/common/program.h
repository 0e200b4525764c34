/* program.h - what the programs of the fault scripts have in common */
#ifndef TESTS_FAULTS_PROGRAM_H
#define TESTS_FAULTS_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NS_PER_MS 1000000ull

struct cxe_region;

uint64_t program_now_ns(void);

/* A shared mapping of a file, so that what it holds outlives kill -9; of zeros if `fresh`. Or the program
 * ends. */
void *program_map_journal(const char *path, size_t bytes, bool fresh);

/* Over a connection of its own (timeout_ns 0: the default). Or the program ends, with the library's sentence.
 */
struct cxe_region *program_open_region(const char *name, uint64_t timeout_ns);

/* To be compared with another count: those of the counting itself are in it. */
long program_count_descriptors(void);

#endif
