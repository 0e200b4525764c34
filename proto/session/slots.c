/* slots.c - see slots.h */
#include "slots.h"

#include <string.h>
#include <xxhash.h>

#include "check.h"
#include "least.h"

void slots_init(struct slots *slots)
{
    memset(slots, 0, sizeof(*slots));
}

static unsigned slot_of(uint64_t seq)
{
    return (unsigned)(seq % SESSION_SLOTS);
}

/* The request that may follow the slot's last. */
static uint64_t next_seq(const struct slot *slot, unsigned index)
{
    if (slot->seq == 0)
        return index == 0 ? SESSION_SLOTS : index;
    return slot->seq + SESSION_SLOTS;
}

/* It is to be executed, unless that has begun. */
static enum slot_verdict judge_parked(const struct slot *slot, uint64_t seq, uint64_t digest)
{
    if (slot->parked != seq)
        return slot->parked > seq ? SLOT_IGNORE : SLOT_SUPERSEDE;
    return slot->parked_digest == digest ? SLOT_WAITS : SLOT_BROKEN;
}

enum slot_verdict slots_judge(const struct slots *slots, uint64_t seq, bool mutates, uint64_t digest)
{
    const struct slot *slot = &slots->slots[slot_of(seq)];

    if (seq == next_seq(slot, slot_of(seq)))
        return slot->parked == 0 ? SLOT_EXECUTE : judge_parked(slot, seq, digest);
    if (seq < slot->seq)
        return SLOT_IGNORE;
    if (seq != slot->seq || mutates != slot->mutates)
        return SLOT_BROKEN;
    if (!mutates)
        return slot->parked == 0 ? SLOT_EXECUTE : judge_parked(slot, seq, digest);
    return digest == slot->digest ? SLOT_REMEMBER : SLOT_BROKEN;
}

void slots_park(struct slots *slots, uint64_t seq, uint64_t digest)
{
    struct slot *slot = &slots->slots[slot_of(seq)];

    CHECK(slot->parked == 0);
    slot->parked = seq;
    slot->parked_digest = digest;
}

void slots_unpark(struct slots *slots, uint64_t seq)
{
    slots->slots[slot_of(seq)].parked = 0;
}

void slots_record(struct slots *slots, uint64_t seq, bool mutates, uint64_t digest, uint16_t done,
                  uint8_t status, const void *values, uint16_t value_bytes)
{
    struct slot *slot = &slots->slots[slot_of(seq)];

    slot->seq = seq;
    slot->mutates = mutates;
    slot->parked = 0;
    if (!mutates)
        return;
    CHECK(value_bytes <= SLOT_RECORD_BYTES);
    slot->digest = digest;
    slot->done = done;
    slot->status = status;
    slot->value_bytes = value_bytes;
    memcpy(slot->values, values, value_bytes);
}

const struct slot *slots_recall(const struct slots *slots, uint64_t seq)
{
    const struct slot *slot = &slots->slots[slot_of(seq)];

    CHECK(slot->seq == seq && slot->mutates);
    return slot;
}

uint64_t slots_beyond(const struct slots *slots)
{
    uint64_t newest = 0;

    for (unsigned i = 0; i < SESSION_SLOTS; i++)
        newest = most(newest, most(slots->slots[i].seq, slots->slots[i].parked));
    return newest + 1;
}

uint64_t slots_digest(const void *body, size_t body_bytes)
{
    return XXH3_64bits(body, body_bytes);
}

bool slots_valid(const struct slots *slots)
{
    for (unsigned i = 0; i < SESSION_SLOTS; i++) {
        const struct slot *slot = &slots->slots[i];

        if (slot->seq != 0 && slot_of(slot->seq) != i)
            return false;
        if (slot->mutates && slot->value_bytes > SLOT_RECORD_BYTES)
            return false;
        if (slot->parked != 0 && (slot_of(slot->parked) != i || slot->parked < slot->seq))
            return false;
    }
    return true;
}
