/* fuzz_answer.c - a lane with requests in flight takes whatever a server may answer
 *
 * The first byte says how many operations of which kinds are in flight; the rest are answers, each with its
 * length in two bytes in front. Whatever comes, no result is written outside its buffer (AddressSanitizer
 * looks), every operation ends at most once, and the lane's invariants hold.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "lane_internal.h"

#define OPERATIONS 8
#define LINES      40

static unsigned finished[OPERATIONS];

static void on_done(struct op *op, int result)
{
    CHECK(result <= 0);
    CHECK(++finished[(uintptr_t)op->context] == 1);
}

/* Nothing leaves: there is no network here. */
static int swallow(struct endpoint *endpoint, const struct address *to, const void *frame, size_t frame_bytes)
{
    (void)endpoint, (void)to, (void)frame, (void)frame_bytes;
    return 0;
}

static struct lane *make_lane(void)
{
    static const struct endpoint_ops ops = {.send = swallow};
    static struct endpoint endpoint = {.ops = &ops, .fd = -1, .frame_bytes_max = FRAME_BYTES_1500};
    static const uint8_t key[RECORD_KEY_BYTES] = {1};
    static struct frame frames[SESSION_SLOTS]; /* megabytes: too much to clear for each run */
    static struct lane lane_memory;
    struct lane *lane = &lane_memory;

    memset(lane, 0, offsetof(struct lane, received));
    lane->endpoint = &endpoint;
    lane->frame_bytes = FRAME_BYTES_1500;
    for (unsigned i = 0; i < SESSION_SLOTS; i++) {
        frames[i].op_count = 0;
        frames[i].rest = false;
        lane->frames[i] = &frames[i];
    }
    window_init(&lane->window);
    record_sealer_init(&lane->link.sealer, RECORD_CIPHER_PLAIN, key, 1, 0);
    lane->link.up = true;
    return lane;
}

static void post_operations(struct lane *lane, uint8_t kinds, struct op *ops,
                            uint8_t (*results)[LINES * LINE_BYTES], const uint8_t *operand)
{
    for (unsigned i = 0; i < OPERATIONS; i++) {
        bool atomic = kinds >> i & 1;

        ops[i] = (struct op){
            .opcode = atomic ? OP_FETCH_ADD : (i % 2 ? OP_MEM_RD : OP_MEM_WR),
            .width_log2 = atomic ? 3 : 0,
            .line_count = atomic ? 0 : LINES,
            .operand = operand,
            .result = results[i],
            .done = on_done,
            .context = (void *)(uintptr_t)i,
        };
        lane_post(lane, &ops[i]);
    }
    lane_fill(lane);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t operand[LINES * LINE_BYTES];
    uint8_t(*results)[LINES * LINE_BYTES] = malloc(OPERATIONS * sizeof(*results));
    struct op ops[OPERATIONS];
    struct lane *lane;

    if (size == 0 || !results) {
        free(results);
        return 0;
    }
    record_ciphers_available();
    memset(finished, 0, sizeof(finished));
    lane = make_lane();
    post_operations(lane, data[0], ops, results, operand);
    for (data++, size--; size > 2 && !lane->broken;) {
        size_t body_bytes = (size_t)data[0] | (size_t)(data[1] & 7) << 8;

        data += 2;
        size -= 2;
        if (body_bytes > size)
            body_bytes = size;
        if (codec_check_body(data, body_bytes) == 0 && data[0] == BODY_RESPONSE)
            lane_answer(lane, data, body_bytes, 2);
        lane_fill(lane);
        CHECK(lane_valid(lane));
        data += body_bytes;
        size -= body_bytes;
    }
    free(results);
    return 0;
}
