/* word.h - words of a region, and waiting for them until a deadline; what sync/ is made of */
#ifndef CXE_SYNC_WORD_H
#define CXE_SYNC_WORD_H

#include "cxe.h"

/* What a line begins with, changed by one compare-and-swap: a state, and whose it is. */
struct word_pair {
    uint64_t state;
    uint64_t owner;
};

/* Whole-line offset, and `bytes` (below 2^63) inside the region. 0, -EINVAL, -ERANGE, with the sentence. */
int word_check(const struct cxe_region *region, uint64_t offset, uint64_t bytes);

int word_read(struct cxe_region *region, uint64_t offset, uint64_t *value_out);
/* `*old_out`: what was there; it was replaced if that equals `expected`. */
int word_cas(struct cxe_region *region, uint64_t offset, uint64_t expected, uint64_t desired,
             uint64_t *old_out);
int word_cas_pair(struct cxe_region *region, uint64_t offset, const struct word_pair *expected,
                  const struct word_pair *desired, struct word_pair *old_out);

/* clock_now_ns time; UINT64_MAX stays for ever. */
uint64_t word_deadline_ns(uint64_t timeout_ns);

/* Until the word is not `expected`. -ETIMEDOUT: at the deadline (at once if it has passed), or the server
 * does not answer. */
int word_wait(struct cxe_region *region, uint64_t offset, uint64_t expected, uint64_t deadline_ns,
              uint64_t *value_out);

#endif
