/* op_check.h - what an operation's arguments must be, for the blocking calls and for queues */
#ifndef CXE_CLIENT_OP_CHECK_H
#define CXE_CLIENT_OP_CHECK_H

#include <stddef.h>
#include <stdint.h>

#include "cxe.h"

/* Whole lines inside the region. 0, -EINVAL, -ERANGE, with the sentence. */
int check_lines(const struct cxe_region *region, uint64_t offset, size_t bytes);
/* An aligned word of 4, 8 or (where `widest` says so) 16 bytes inside the region. */
int check_word(const struct cxe_region *region, uint64_t offset, unsigned width, unsigned widest);
/* The code on the wire, or -EINVAL. */
int opcode_of_atomic(enum cxe_atomic operation);

#endif
