/* fuzz_record.c - a hostile network between a sealer and its opener
 *
 * Byte 0 picks the cipher; then each byte is a step: seal a frame and keep it, let time pass, deliver a kept
 * frame, deliver one damaged, or deliver raw bytes of the input. Whatever happens, a counter is taken at most
 * once and only with the body it was sealed with; damage is never taken.
 */
#include <sodium.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "check.h"
#include "record.h"

#define KEPT        16
#define BODY_BYTES  40
#define FRAME_BYTES (BODY_BYTES + RECORD_OVERHEAD)
#define COUNTERS    4096

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
    struct record_sealer sealer;
    struct record_opener opener;
    uint64_t now_ns;
    uint64_t sealed;
    uint8_t kept[KEPT][FRAME_BYTES];
    bool taken[COUNTERS];
};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    CHECK(sodium_init() >= 0);
    return 0;
}

/* The body says its counter all over. */
static void body_of(uint64_t counter, uint8_t body_out[BODY_BYTES])
{
    for (size_t i = 0; i < BODY_BYTES; i += sizeof(counter))
        memcpy(body_out + i, &counter, sizeof(counter));
}

static void seal(struct run *run, uint64_t skip)
{
    uint8_t body[BODY_BYTES];
    uint64_t counter;

    run->sealer.counter += skip;
    if (run->sealer.counter >= COUNTERS)
        return;
    body_of(run->sealer.counter, body);
    CHECK(record_seal(&run->sealer, body, BODY_BYTES, run->kept[run->sealed++ % KEPT], run->now_ns,
                      &counter) == FRAME_BYTES);
}

static void deliver(struct run *run, const uint8_t *genuine, uint8_t damage_at, uint8_t damage)
{
    uint8_t frame[FRAME_BYTES], body[BODY_BYTES];
    uint64_t counter;
    int length;

    memcpy(frame, genuine, sizeof(frame));
    frame[damage_at % FRAME_BYTES] ^= damage;
    length = record_open(&run->opener, frame, sizeof(frame), run->now_ns, &counter);
    if (length < 0)
        return;
    CHECK(damage == 0 && length == BODY_BYTES);
    CHECK(counter < COUNTERS && !run->taken[counter]);
    run->taken[counter] = true;
    body_of(counter, body);
    CHECK(memcmp(frame + RECORD_HEADER_BYTES, body, sizeof(body)) == 0);
}

static void deliver_raw(struct run *run, const uint8_t *data, size_t size)
{
    uint8_t frame[512];

    if (size > sizeof(frame))
        size = sizeof(frame);
    memcpy(frame, data, size);
    CHECK(record_open(&run->opener, frame, size, run->now_ns, NULL) < 0);
}

/* Two bytes to a step: what, and with which argument. */
static void step(struct run *run, uint8_t what, uint8_t argument, const uint8_t *rest, size_t rest_bytes)
{
    switch (what % 6) {
    case 0:
        seal(run, argument % 4 ? 0 : argument);
        break;
    case 1:
        run->now_ns += (argument & 15) * NS_PER_S;
        break;
    case 2:
        run->now_ns += RECORD_REKEY_NS;
        break;
    case 3:
    case 4:
        deliver(run, run->kept[argument % KEPT], 0, 0);
        break;
    case 5:
        if (what < 128)
            deliver(run, run->kept[argument % KEPT], argument, what);
        else
            deliver_raw(run, rest, rest_bytes);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t key[RECORD_KEY_BYTES] = "one key for every input, 32 by.";
    static struct run run;
    enum record_cipher cipher;

    if (size < 1)
        return 0;
    cipher = data[0] % RECORD_CIPHER_COUNT;
    if (!(record_ciphers_available() & 1u << cipher))
        return 0;
    memset(&run, 0, sizeof(run));
    record_sealer_init(&run.sealer, cipher, key, 1, 0);
    record_opener_init(&run.opener, cipher, key);
    for (size_t i = 1; i + 1 < size; i += 2)
        step(&run, data[i], data[i + 1], data + i + 2, size - i - 2);
    return 0;
}
