/* word.c - see word.h */
#include "word.h"

#include <string.h>

#include "clock.h"
#include "error.h"
#include "least.h"

int word_check(const struct cxe_region *region, uint64_t offset, uint64_t bytes)
{
    const uint64_t region_bytes = cxe_region_bytes(region);

    if (offset % CXE_LINE_BYTES != 0)
        return fail(-EINVAL, "offset %llu is not a multiple of %d", (unsigned long long)offset,
                    CXE_LINE_BYTES);
    if (offset > region_bytes || bytes > region_bytes - offset)
        return fail(-ERANGE, "%llu bytes at offset %llu leave the region of %llu bytes",
                    (unsigned long long)bytes, (unsigned long long)offset, (unsigned long long)region_bytes);
    return 0;
}

int word_read(struct cxe_region *region, uint64_t offset, uint64_t *value_out)
{
    uint8_t line[CXE_LINE_BYTES];
    const uint64_t line_offset = offset - offset % CXE_LINE_BYTES;
    int error = cxe_read(region, line_offset, line, sizeof(line));

    if (!error)
        memcpy(value_out, line + (offset - line_offset), sizeof(*value_out));
    return error;
}

int word_cas(struct cxe_region *region, uint64_t offset, uint64_t expected, uint64_t desired,
             uint64_t *old_out)
{
    return cxe_cas(region, offset, sizeof(expected), &expected, &desired, old_out);
}

int word_cas_pair(struct cxe_region *region, uint64_t offset, const struct word_pair *expected,
                  const struct word_pair *desired, struct word_pair *old_out)
{
    return cxe_cas(region, offset, sizeof(*expected), expected, desired, old_out);
}

uint64_t word_deadline_ns(uint64_t timeout_ns)
{
    return sum_or_max(clock_now_ns(), timeout_ns);
}

int word_wait(struct cxe_region *region, uint64_t offset, uint64_t expected, uint64_t deadline_ns,
              uint64_t *value_out)
{
    const uint64_t now_ns = clock_now_ns();
    const uint64_t timeout_ns = deadline_ns == UINT64_MAX ? UINT64_MAX : deadline_ns - now_ns;

    if (now_ns >= deadline_ns)
        return fail(-ETIMEDOUT, "the time to wait has passed");
    return cxe_wait(region, offset, sizeof(expected), &expected, timeout_ns, value_out);
}
