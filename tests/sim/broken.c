/* broken.c - see broken.h
 *
 * Each defect sits where two modules meet, so that the linker (--wrap) can put it there and the code under
 * test stays as it is.
 */
#include "broken.h"

#include <errno.h>
#include <string.h>

#include "check.h"
#include "cxe.h"
#include "lane_internal.h"
#include "pager_snoop.h"
#include "region_access.h"
#include "sim.h"
#include "slots.h"

enum defect {
    NOTHING,
    SLOTS_FORGET,
    UNKNOWN_IS_FAILURE,
    WRITES_VANISH,
    READS_ARE_OLD,
    LINES_TEAR,
    PAGES_STAY,
    LEASES_LAST,
    DEFECTS
};

static const char *const names[DEFECTS] = {
    [SLOTS_FORGET] = "slots-forget",             /* a repeat is executed again */
    [UNKNOWN_IS_FAILURE] = "unknown-is-failure", /* a lost session's requests "were not done" */
    [WRITES_VANISH] = "writes-vanish",           /* some writes are answered and not done */
    [READS_ARE_OLD] = "reads-are-old",           /* some reads give what was there before */
    [LINES_TEAR] = "lines-tear",                 /* some reads take half a line from before */
    [PAGES_STAY] = "pages-stay",                 /* a client keeps a page that it says it has given up */
    [LEASES_LAST] = "leases-last",               /* a client takes its lease for longer than it is */
};

static enum defect defect;
static struct dice dice;

const char *broken_name(unsigned index)
{
    return index + 1 < DEFECTS ? names[index + 1] : NULL;
}

bool broken_set(const char *name, uint64_t seed)
{
    for (unsigned i = 1; i < DEFECTS; i++)
        if (strcmp(names[i], name) == 0)
            defect = (enum defect)i;
    dice = dice_of(seed, "defects");
    return defect != NOTHING;
}

static bool now(enum defect which, uint32_t ppm)
{
    return defect == which && dice_chance(&dice, ppm);
}

enum slot_verdict __real_slots_judge(const struct slots *slots, uint64_t seq, bool mutates, uint64_t digest);
enum slot_verdict __wrap_slots_judge(const struct slots *slots, uint64_t seq, bool mutates, uint64_t digest);
enum slot_verdict __wrap_slots_judge(const struct slots *slots, uint64_t seq, bool mutates, uint64_t digest)
{
    enum slot_verdict verdict = __real_slots_judge(slots, seq, mutates, digest);

    return verdict == SLOT_REMEMBER && now(SLOTS_FORGET, 200000) ? SLOT_EXECUTE : verdict;
}

void __real_lane_fail_mutations(struct lane *lane, struct frame *frame);
void __wrap_lane_fail_mutations(struct lane *lane, struct frame *frame);
void __wrap_lane_fail_mutations(struct lane *lane, struct frame *frame)
{
    if (defect == UNKNOWN_IS_FAILURE)
        lane_fail_frame(lane, frame, -ETIMEDOUT);
    else
        __real_lane_fail_mutations(lane, frame);
}

int __real_region_write(const struct region_caller *caller, struct region_place place, uint32_t lines,
                        const uint8_t *data);
int __wrap_region_write(const struct region_caller *caller, struct region_place place, uint32_t lines,
                        const uint8_t *data);
int __wrap_region_write(const struct region_caller *caller, struct region_place place, uint32_t lines,
                        const uint8_t *data)
{
    if (now(WRITES_VANISH, 20000))
        return 0;
    return __real_region_write(caller, place, lines, data);
}

bool broken_page_stays(void)
{
    return now(PAGES_STAY, 10000);
}

void __real_lease_tick(struct pager *pager, uint64_t now_ns);
void __wrap_lease_tick(struct pager *pager, uint64_t now_ns);
void __wrap_lease_tick(struct pager *pager, uint64_t now_ns)
{
    __real_lease_tick(pager, now_ns);
    if (defect == LEASES_LAST)
        store_relaxed(&pager->snooper->valid_until_ns, UINT64_MAX);
}

/* Keeps one line that was read earlier. */
static void serve_old(uint64_t handle, uint64_t offset, uint8_t *line, size_t bytes)
{
    static uint64_t kept_handle, kept_offset;
    static uint8_t kept[LINE_BYTES];

    if (kept_handle == handle && kept_offset == offset && dice_chance(&dice, 300000)) {
        memcpy(line, kept, bytes);
        kept_handle = 0;
    } else if (kept_handle == 0 || dice_chance(&dice, 1000)) {
        kept_handle = handle;
        kept_offset = offset;
        memcpy(kept, line, LINE_BYTES);
    }
}

int __real_region_read(const struct region_caller *caller, struct region_place place, uint32_t lines,
                       uint8_t *data_out);
int __wrap_region_read(const struct region_caller *caller, struct region_place place, uint32_t lines,
                       uint8_t *data_out);
int __wrap_region_read(const struct region_caller *caller, struct region_place place, uint32_t lines,
                       uint8_t *data_out)
{
    int error = __real_region_read(caller, place, lines, data_out);

    if (!error && (defect == READS_ARE_OLD || defect == LINES_TEAR))
        serve_old(place.handle, place.offset, data_out, defect == LINES_TEAR ? LINE_BYTES / 2 : LINE_BYTES);
    return error;
}
