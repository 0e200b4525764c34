/* counter.c - a number in a line of its own; see cxe_sync.h */
#include <string.h>

#include "cxe_sync.h"
#include "word.h"

int cxe_counter_init(struct cxe_region *region, uint64_t offset, uint64_t value)
{
    uint8_t line[CXE_LINE_BYTES] = {0};
    int error = word_check(region, offset, CXE_COUNTER_BYTES);

    if (error)
        return error;
    memcpy(line, &value, sizeof(value));
    return cxe_write(region, offset, line, sizeof(line));
}

int cxe_counter_add(struct cxe_region *region, uint64_t offset, uint64_t amount, uint64_t *value_out)
{
    uint64_t old;
    int error = word_check(region, offset, CXE_COUNTER_BYTES);

    if (!error)
        error = cxe_fetch(region, CXE_FETCH_ADD, offset, sizeof(amount), &amount, &old);
    if (!error)
        *value_out = old + amount;
    return error;
}

int cxe_counter_read(struct cxe_region *region, uint64_t offset, uint64_t *value_out)
{
    int error = word_check(region, offset, CXE_COUNTER_BYTES);

    return error ? error : word_read(region, offset, value_out);
}

int cxe_counter_wait(struct cxe_region *region, uint64_t offset, uint64_t least, uint64_t timeout_ns,
                     uint64_t *value_out)
{
    const uint64_t deadline_ns = word_deadline_ns(timeout_ns);
    uint64_t value;
    int error = cxe_counter_read(region, offset, &value);

    while (!error && value < least)
        error = word_wait(region, offset, value, deadline_ns, &value);
    if (!error)
        *value_out = value;
    return error;
}
