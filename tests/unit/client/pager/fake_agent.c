/* fake_agent.c - the server's side of a coherent mapping: one agent, what it holds, snoops
 *
 * The test is the other clients: it reserves a page, snoops it, changes the server's memory, lets it go.
 */
#include "fake_agent.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

#include "atomic.h"
#include "check.h"
#include "fake_lane.h"

static void lock(void)
{
    uint32_t free = 0;

    while (!cas_acquire(&fake->lock, &free, 1u)) {
        free = 0;
        sched_yield();
    }
}

static void unlock(void)
{
    store_release(&fake->lock, 0u);
}

static struct fake_page *page_at(uint64_t offset)
{
    CHECK(offset / PAGE_BYTES < FAKE_PAGES);
    return &fake->pages[offset / PAGE_BYTES];
}

/* A read of a page that the server has in hand waits for it; an answer, as long as the test likes. */
bool fake_agent_parked(const struct op *op)
{
    bool parked = false;

    if (op->opcode == OP_BI_RSP)
        return fake->slow_answers;
    if (op->opcode != OP_MEM_RD_SHARED && op->opcode != OP_MEM_RD_ANY)
        return false;
    lock();
    for (uint64_t at = 0; at < op->line_count * (uint64_t)LINE_BYTES; at += PAGE_BYTES)
        parked |= page_at(op->offset + at)->reserved;
    unlock();
    return parked;
}

static void grant(const struct op *op)
{
    enum fake_holding holding = op->opcode == OP_MEM_RD_ANY ? FAKE_OWNED : FAKE_SHARED;

    for (uint64_t at = 0; at < op->line_count * (uint64_t)LINE_BYTES; at += PAGE_BYTES)
        if (page_at(op->offset + at)->holding < holding)
            page_at(op->offset + at)->holding = holding;
    if (op->opcode == OP_MEM_RD_ANY)
        fake->owned_reads++;
    else
        fake->shared_reads++;
}

void (*fake_on_unknown_answer)(struct fake_page *page);

static int answer_snoop(const struct op *op)
{
    const struct wire_bi_rsp *response = op->operand;
    struct fake_snoop *snoop = &fake->snoops[le16_get(response->id) % FAKE_SNOOPS];

    if (response->state == BI_STATE_ASK)
        return snoop->open && snoop->wire.id.raw == response->id.raw ? 0 : -EOWNERDEAD;
    if (!snoop->open || snoop->wire.id.raw != response->id.raw)
        return 0; /* answered before */
    page_at(op->offset)->holding = response->state == BI_STATE_SHARED ? FAKE_SHARED : FAKE_NOTHING;
    snoop->open = false;
    snoop->state = response->state;
    if (!fake->unknown_answers)
        return 0;
    fake->unknown_answers--;
    if (fake_on_unknown_answer)
        fake_on_unknown_answer(page_at(op->offset));
    return -CXE_EUNKNOWN;
}

static int attach(const struct op *op)
{
    struct wire_agent_info info = {.lease_ms = le32_of(fake->lease_ms)};

    if (fake->attach_error)
        return fake->attach_error;
    fake->attaches++;
    if (!op->agent)
        fake->agent = ++fake->agents;
    else if (op->agent != fake->agent)
        return -EOWNERDEAD;
    if (fake->unknown_attaches) {
        fake->unknown_attaches--;
        return -CXE_EUNKNOWN;
    }
    info.agent = le32_of(fake->agent);
    memcpy(op->result, &info, sizeof(info));
    return 0;
}

void fake_fence(void)
{
    lock();
    fake->agent = 0;
    for (unsigned i = 0; i < FAKE_PAGES; i++)
        fake->pages[i].holding = FAKE_NOTHING;
    unlock();
}

uint16_t fake_snoop(const struct cxe_region *region, uint64_t page, enum bi_snp kind)
{
    lock();
    uint16_t id = (uint16_t)fake->snoop_count++;
    CHECK(!fake->snoops[id % FAKE_SNOOPS].open);
    fake->snoops[id % FAKE_SNOOPS] = (struct fake_snoop){
        .wire = {.region = le64_of(region->handle),
                 .offset = le64_of(page * PAGE_BYTES),
                 .agent = le32_of(fake->agent),
                 .id = le16_of(id),
                 .kind = (uint8_t)kind},
        .open = true,
    };
    unlock();
    return id;
}

bool fake_answered(uint16_t id, enum bi_state *state_out)
{
    lock();
    bool answered = !fake->snoops[id % FAKE_SNOOPS].open;
    *state_out = (enum bi_state)fake->snoops[id % FAKE_SNOOPS].state;
    unlock();
    return answered;
}

void fake_snoop_again(uint16_t id)
{
    lock();
    fake->snoops[id % FAKE_SNOOPS].sent = false;
    fake->snoops[id % FAKE_SNOOPS].open = true;
    fake->first_open = id;
    unlock();
}

void fake_reserve(uint64_t page)
{
    lock();
    fake->pages[page].reserved = true;
    unlock();
}

void fake_unreserve(uint64_t page)
{
    lock();
    fake->pages[page].reserved = false;
    unlock();
}

unsigned fake_agent_snoops(struct wire_bi_snp *snoops, unsigned most)
{
    unsigned n = 0;

    lock();
    while (fake->first_open != fake->snoop_count && !fake->snoops[fake->first_open % FAKE_SNOOPS].open)
        fake->first_open++;
    for (uint32_t i = fake->first_open; i != fake->snoop_count && n < most; i++) {
        struct fake_snoop *snoop = &fake->snoops[i % FAKE_SNOOPS];

        if (snoop->sent || !snoop->open)
            continue;
        snoop->sent = true;
        snoops[n++] = snoop->wire;
    }
    unlock();
    return n;
}

int fake_agent_enter(const struct op *op)
{
    lock();
    if (op->agent != fake->agent)
        return -EOWNERDEAD;
    if (op->opcode != OP_MEM_WR)
        grant(op);
    else if (page_at(op->offset)->holding != FAKE_OWNED) {
        fake->stray_writes++;
        return -EOWNERDEAD;
    }
    return 0;
}

void fake_agent_leave(void)
{
    unlock();
}

int fake_agent_serve(struct op *op)
{
    int rc = 0;

    lock();
    CHECK(op->opcode == OP_BI_ATTACH || op->agent);
    if (op->opcode != OP_BI_ATTACH && op->agent != fake->agent)
        rc = -EOWNERDEAD;
    else if (op->opcode == OP_BI_ATTACH)
        rc = attach(op);
    else if (op->opcode == OP_BI_DETACH)
        fake->agent = 0;
    else if (op->opcode == OP_MEM_CLN_EVCT)
        page_at(op->offset)->holding = FAKE_NOTHING;
    else if (op->opcode == OP_BI_RSP)
        rc = answer_snoop(op);
    unlock();
    return rc;
}
