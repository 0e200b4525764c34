/* fake_lane.c - the fake behind lane.h, connection.h, and what the pager needs of regions */
#include "fake_lane.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "atomic.h"
#include "check.h"
#include "clock.h"
#include "fake_agent.h"

struct lane {
    uint32_t held;
    struct op *first, **last;
    void (*heard)(void *context, const struct wire_bi_snp *snoops, unsigned count);
    void *listener;
    bool failed; /* the operation before the next one */
};

/* The lane's own fields of an operation hold when it is due. */
static void set_due(struct op *op, uint64_t due_ns)
{
    op->issued_lines = (uint32_t)(due_ns >> 32);
    op->parts = (uint32_t)due_ns;
}
static uint64_t due(const struct op *op)
{
    return (uint64_t)op->issued_lines << 32 | op->parts;
}

struct fake *fake;
void (*fake_on_write)(const struct op *op);
void (*fake_on_clone)(void);

static void *shared(uint64_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    CHECK(memory != MAP_FAILED);
    return memory;
}

/* ---- the server ---- */

static uint64_t new_region(uint64_t bytes)
{
    uint32_t index = fetch_add_acq_rel(&fake->region_count, 1u);

    CHECK(index < FAKE_REGIONS);
    fake->regions[index].bytes = bytes;
    return index + 1;
}

static struct fake_region *region_of(uint64_t handle)
{
    CHECK(handle && handle <= FAKE_REGIONS);
    return &fake->regions[handle - 1];
}

static int serve_lines(struct op *op)
{
    struct fake_region *region = region_of(op->region);
    uint64_t bytes = (uint64_t)op->line_count * LINE_BYTES;

    CHECK(op->offset + bytes <= region->bytes);
    if (op->opcode != OP_MEM_WR) {
        int error = fake->read_error;

        if (error)
            return error;
        fake->reads++;
        fake->read_lines += op->line_count;
        for (uint64_t page = op->offset / PAGE_BYTES; page * PAGE_BYTES < op->offset + bytes; page++)
            fake->reads_of_page[page & 0xffff]++;
        memcpy(op->result, region->memory + op->offset, bytes);
        return 0;
    }
    if (fake_on_write)
        fake_on_write(op);
    int error = fake->write_error;
    if (error && !fake->write_anyway)
        return error;
    fake->writes++;
    fake->written_lines += op->line_count;
    memcpy(region->memory + op->offset, op->operand, bytes);
    return error;
}

/* Reads and write-backs of a coherent mapping: as any other, for who may. */
static int serve_lines_of_agent(struct op *op)
{
    int rc = fake_agent_enter(op);

    op->given = fake->says_given;
    op->snoop_next = (uint16_t)(fake->snoop_count - fake->snoops_since_given);
    if (!rc)
        rc = serve_lines(op);
    fake_agent_leave();
    return rc;
}

static int serve(struct op *op)
{
    if (fake->shared_region)
        CHECK(op->opcode != OP_MEM_RD && (op->opcode != OP_MEM_WR || op->agent));
    switch (op->opcode) {
    case OP_MEM_RD:
        return serve_lines(op);
    case OP_MEM_WR:
        return op->agent ? serve_lines_of_agent(op) : serve_lines(op);
    case OP_MEM_RD_SHARED:
    case OP_MEM_RD_ANY:
        return serve_lines_of_agent(op);
    case OP_BI_ATTACH:
    case OP_BI_DETACH:
    case OP_BI_RSP:
    case OP_MEM_CLN_EVCT:
        return fake_agent_serve(op);
    case OP_REGION_STAT:
        fake->stats++;
        return 0;
    case OP_REGION_DELETE:
        fake->deletes++;
        return 0;
    }
    CHECK(!"an operation the pager never sends");
    return 0;
}

uint8_t fake_byte(uint64_t offset)
{
    uint64_t mixed = (offset / 8 + 1) * 0x9e3779b97f4a7c15ull;

    return (uint8_t)(mixed >> (8 * (offset % 8))) | 1;
}

uint8_t *fake_memory(const struct cxe_region *region)
{
    return region_of(region->handle)->memory;
}

static struct cxe_connection *new_connection(void)
{
    struct cxe_connection *connection = calloc(1, sizeof(*connection));

    CHECK(connection);
    connection->lane_count = 4;
    for (unsigned i = 0; i < connection->lane_count; i++) {
        connection->lanes[i] = calloc(1, sizeof(struct lane));
        CHECK(connection->lanes[i]);
        connection->lanes[i]->last = &connection->lanes[i]->first;
    }
    return connection;
}

static struct cxe_region *open_region(struct cxe_connection *connection, uint64_t handle)
{
    struct cxe_region *region = calloc(1, sizeof(*region));

    CHECK(region);
    *region = (struct cxe_region){.connection = connection, .handle = handle, .name = "fake"};
    region->bytes = region_of(handle)->bytes;
    connection->users++;
    return region;
}

struct cxe_region *fake_start_shared(uint64_t bytes)
{
    struct cxe_region *region = fake_start(bytes);

    region->flags = CXE_REGION_SHARED;
    fake->shared_region = true;
    return region;
}

struct cxe_region *fake_start(uint64_t bytes)
{
    fake = shared(sizeof(*fake));
    fake->lease_ms = 60000;
    fake->frame_lines = 1020;
    uint64_t handle = new_region(bytes);
    uint8_t *memory = shared(bytes);

    for (uint64_t i = 0; i < bytes; i++)
        memory[i] = fake_byte(i);
    fake->regions[handle - 1].memory = memory;
    /* Clones live where every child finds them: each has its place before the first fork. */
    for (unsigned i = 1; i < FAKE_REGIONS && bytes <= 64 << 20; i++)
        fake->regions[i].memory = shared(bytes);
    return open_region(new_connection(), handle);
}

void fake_stop(struct cxe_region *region)
{
    struct cxe_connection *connection = region->connection;

    CHECK(region->mappings == 0);
    for (unsigned i = 0; i < connection->lane_count; i++) {
        CHECK(!connection->lanes[i]->held);
        CHECK(!connection->lanes[i]->first); /* a leaked operation */
        free(connection->lanes[i]);
    }
    free(connection);
    for (unsigned i = 0; i < FAKE_REGIONS; i++)
        if (fake->regions[i].memory)
            munmap(fake->regions[i].memory, region->bytes);
    free(region);
    munmap(fake, sizeof(*fake));
    fake = NULL;
}

/* ---- regions ---- */

uint64_t cxe_region_bytes(const struct cxe_region *region)
{
    return region->bytes;
}

int cxe_region_clone(struct cxe_region *region, const char *name, uint32_t flags,
                     struct cxe_region **clone_out)
{
    CHECK(!name && flags == CXE_REGION_EPHEMERAL);
    if (fake->clone_error)
        return fake->clone_error;
    if (fake_on_clone)
        fake_on_clone();
    uint64_t handle = new_region(region->bytes);

    memcpy(region_of(handle)->memory, fake_memory(region), region->bytes);
    fake->clones++;
    *clone_out = open_region(region->connection, handle);
    (*clone_out)->flags = flags;
    return 0;
}

int cxe_region_close(struct cxe_region *region)
{
    CHECK(region->mappings == 0);
    region->connection->users--;
    free(region);
    return 0;
}

/* ---- connections ---- */

uint64_t connection_deadline_ns(const struct cxe_connection *connection)
{
    return clock_now_ns() + (connection->timeout_ns ? connection->timeout_ns : 10 * NS_PER_S);
}

bool connection_async_signal_safe(const struct cxe_connection *connection)
{
    (void)connection;
    return true;
}

int connection_reopen(const struct cxe_connection *connection, struct cxe_connection **connection_out)
{
    (void)connection;
    if (fake->reopen_error)
        return fake->reopen_error;
    *connection_out = new_connection();
    return 0;
}

void connection_abandon(struct cxe_connection *connection)
{
    free(connection);
}

/* ---- lanes ---- */

bool lane_hold_try(struct lane *lane)
{
    uint32_t expected = 0;

    return cas_acquire(&lane->held, &expected, 1u);
}

void lane_hold(struct lane *lane)
{
    while (!lane_hold_try(lane))
        sched_yield();
}

void lane_release(struct lane *lane)
{
    CHECK(load_relaxed(&lane->held));
    store_release(&lane->held, 0u);
}

bool lane_is_fit(const struct lane *lane)
{
    (void)lane;
    return true;
}

void lane_offer_core(struct cxe_connection *connection)
{
    (void)connection;
    sched_yield();
}

static struct lane *acquire_try(struct cxe_connection *connection)
{
    static uint32_t next; /* relaxed */
    unsigned start = fetch_add_relaxed(&next, 1u);

    for (unsigned i = 0; i < connection->lane_count; i++) {
        struct lane *lane = connection->lanes[(start + i) % connection->lane_count];

        if (lane_hold_try(lane))
            return lane;
    }
    return NULL;
}

struct lane *lane_acquire(struct cxe_connection *connection)
{
    struct lane *lane;

    while (!(lane = acquire_try(connection)))
        sched_yield();
    return lane;
}

int lane_open(struct cxe_connection *connection, enum lane_kind kind, uint64_t deadline_ns,
              struct lane **lane_out)
{
    struct lane *lane = calloc(1, sizeof(*lane));

    (void)connection;
    (void)deadline_ns;
    CHECK(lane && kind == LANE_LISTENING);
    lane->last = &lane->first;
    *lane_out = lane;
    return 0;
}

void lane_close(struct lane *lane, bool tell)
{
    CHECK(tell && !lane->held && !lane->first);
    free(lane);
}

void lane_listen(struct lane *lane,
                 void (*heard)(void *context, const struct wire_bi_snp *snoops, unsigned count),
                 void *context)
{
    lane->heard = heard;
    lane->listener = context;
}

uint32_t lane_session(const struct lane *lane)
{
    (void)lane;
    return fake->session;
}

static bool deliver_snoops(struct lane *lane)
{
    struct wire_bi_snp snoops[16];
    unsigned n = lane->heard && !fake->gone ? fake_agent_snoops(snoops, 16) : 0;

    if (n)
        lane->heard(lane->listener, snoops, n);
    return n > 0;
}

int lane_listen_wait(struct lane *lane, uint64_t deadline_ns, int wake_fd)
{
    struct pollfd wake = {.fd = wake_fd, .events = POLLIN};
    const struct timespec pause = {.tv_nsec = 20000};

    fake->listens++;
    for (;;) {
        bool heard = deliver_snoops(lane);

        if (lane_progress(lane) || heard)
            return 0;
        if (deadline_ns != UINT64_MAX && clock_now_ns() >= deadline_ns)
            return -ETIMEDOUT;
        if (ppoll(&wake, 1, &pause, NULL) > 0)
            return -EINTR;
    }
}

int lane_drain(struct lane *lane, uint64_t deadline_ns)
{
    while (lane->first) {
        lane_progress(lane);
        if (clock_now_ns() >= deadline_ns)
            return -ETIMEDOUT;
        sched_yield();
    }
    return 0;
}

int lane_post_together(struct lane *lane, struct op *ops, unsigned count)
{
    uint32_t lines = 0;

    for (unsigned i = 0; i < count; i++)
        lines += ops[i].line_count;
    if (lines > fake->frame_lines)
        return -EMSGSIZE;
    for (unsigned i = 0; i < count; i++) {
        lane_post(lane, &ops[i]);
        ops[i].chained = i > 0;
    }
    return 0;
}

void lane_post(struct lane *lane, struct op *op)
{
    CHECK(load_relaxed(&lane->held));
    op->finished = false;
    op->outcome = 0;
    op->next = NULL;
    set_due(op, fake->delay_ns ? clock_now_ns() + fake->delay_ns : 0);
    *lane->last = op;
    lane->last = &op->next;
}

unsigned lane_progress(struct lane *lane)
{
    unsigned completed = 0;

    CHECK(load_relaxed(&lane->held));
    while (lane->first && !fake->gone) {
        struct op *op = lane->first;

        if ((due(op) && clock_now_ns() < due(op)) || fake_agent_parked(op))
            break;
        lane->first = op->next;
        if (!lane->first)
            lane->last = &lane->first;
        op->outcome = op->chained && lane->failed ? -ECANCELED : serve(op);
        lane->failed = op->outcome != 0;
        op->finished = true;
        completed++;
        if (op->done)
            op->done(op, op->outcome);
    }
    return completed;
}

/* Everything posted has left already. */
void lane_push(struct lane *lane)
{
    CHECK(load_relaxed(&lane->held));
}

int lane_wait(struct lane *lane, struct op *op, uint64_t deadline_ns)
{
    while (!op->finished) {
        if (lane_progress(lane))
            continue;
        if (deadline_ns != UINT64_MAX && clock_now_ns() >= deadline_ns)
            return -ETIMEDOUT;
        sched_yield();
    }
    return op->outcome;
}

/* What was sent may still happen: here it does, every other time. */
int lane_cancel(struct lane *lane, struct op *op)
{
    static uint32_t cancelled;
    struct op **at = &lane->first;

    CHECK(load_relaxed(&lane->held));
    while (*at && *at != op)
        at = &(*at)->next;
    CHECK(*at);
    *at = op->next;
    if (!*at)
        lane->last = at;
    op->finished = true;
    op->outcome = -ETIMEDOUT;
    if (op->opcode != OP_MEM_WR && op->opcode != OP_BI_RSP)
        return op->outcome;
    if (fetch_add_relaxed(&cancelled, 1u) % 2)
        serve(op);
    return op->outcome = -CXE_EUNKNOWN;
}

int lane_outlive(struct cxe_connection *connection, struct lane *own, uint64_t deadline_ns)
{
    (void)connection;
    (void)own;
    (void)deadline_ns;
    return 0; /* what is cancelled is done at once, or never */
}

int lane_run(struct lane *lane, struct op *op, uint64_t deadline_ns)
{
    lane_post(lane, op);
    int rc = lane_wait(lane, op, deadline_ns);
    return op->finished ? rc : lane_cancel(lane, op);
}

unsigned lane_frame_lines(const struct lane *lane)
{
    (void)lane;
    return 1020;
}
