/* executor_coherent.c - operations of coherent regions: page by page, each when its turn has come
 *
 * An operation that may have to wait goes on where it stood when it is run again: execution.lines_done says
 * how far it is. What a store needs in order not to fail is prepared before each page, for all pages to come:
 * that may take long, so it happens without the lock; and it stays so while anybody waits, since a region
 * that is waited for is neither cloned nor sealed.
 */
#include <errno.h>
#include <string.h>

#include "clock.h"
#include "executor_internal.h"
#include "least.h"
#include "region_coherent.h"

/* One operation on its way. */
struct job {
    const struct region_caller *caller;
    const struct requester *requester;
    const struct op_view *op;
    uint8_t *values;
    struct execution *execution;
};

/* What is left of it, and how much of that lies in the first page. */
struct rest {
    struct region_place place;
    uint64_t page;
    uint64_t bytes; /* all */
    unsigned lines; /* in the page */
};

static struct rest rest_of(const struct job *job)
{
    unsigned done = job->execution->lines_done, left = job->op->line_count - done, room;
    struct rest rest = {.place = {job->op->region, job->op->offset + (uint64_t)done * LINE_BYTES},
                        .bytes = (uint64_t)left * LINE_BYTES};

    rest.page = rest.place.offset / PAGE_BYTES;
    room = PAGE_LINES - rest.place.offset / LINE_BYTES % PAGE_LINES;
    rest.lines = left < room ? left : room;
    return rest;
}

/* With the lock of the region's coherence. -EOWNERDEAD: it never had any, and so no agents. */
static int enter(const struct job *job, struct coherence **coherence_out)
{
    int error = region_find_coherence(job->caller, job->op->region, coherence_out);

    if (error)
        return error;
    return *coherence_out ? coherence_enter(*coherence_out) : -EOWNERDEAD;
}

/* The same, and the number of the operation's agent; 0 if it is for none. */
static int enter_as_agent(const struct job *job, struct coherence **coherence_out, uint16_t *number_out)
{
    int error = enter(job, coherence_out);

    *number_out = 0;
    if (error || job->op->agent == 0)
        return error;
    error = coherence_find_agent(*coherence_out, job->op->agent, number_out);
    if (error)
        coherence_unlock(*coherence_out);
    return error;
}

/* ---- lines ---- */

/* The agent was just given a page. */
static void note_grant(const struct job *job, uint16_t snoop_next)
{
    struct grant *grant = &job->execution->grant;

    if (grant->agent == 0)
        *grant = (struct grant){job->op->region, job->op->agent, snoop_next, false};
    else if (grant->agent != job->op->agent || grant->region != job->op->region)
        grant->several = true;
}

static int read_part(const struct job *job, const struct rest *rest, enum directory_access access)
{
    uint8_t *values = job->values + job->execution->lines_done * (size_t)LINE_BYTES;
    struct coherence_waiter *waiter = job->requester->waiter;
    struct coherence *coherence;
    struct region *region;
    uint16_t number;
    int error;

    if (access == DIRECTORY_READ_OWN) /* so that its write-back cannot fail for lack of memory */
        error = region_prepare(job->caller, rest->place, rest->bytes, LINE_BYTES, &region);
    else
        error = region_check(job->caller, rest->place, rest->bytes, LINE_BYTES);
    if (error)
        return error;
    error = enter_as_agent(job, &coherence, &number);
    if (error)
        return error;
    error = coherence_access(coherence, rest->page, access, number, waiter);
    if (!error) {
        error = region_read_locked(job->caller, rest->place, rest->lines, values);
        if (number != 0) /* before the next in the queue has it snooped for what it was just given */
            note_grant(job, coherence_next_snoop(coherence, number));
        coherence_done(coherence, waiter);
    }
    coherence_unlock(coherence);
    return error;
}

static void store(const struct job *job, struct coherence *coherence, const struct region *region,
                  const struct rest *rest, unsigned lines)
{
    const struct op_view *op = job->op;
    unsigned done = job->execution->lines_done;
    const uint8_t *masks = NULL, *bytes = op->operand;

    if (op->opcode == OP_MEM_WR_PTL) {
        masks = op->operand + done * 8u;
        bytes = op->operand + op->line_count * 8u;
    }
    region_store_prepared(job->caller, region, rest->place, lines, masks, bytes + done * (size_t)LINE_BYTES);
    coherence_stored(coherence, rest->place.offset / LINE_BYTES, lines);
}

static int store_part(const struct job *job, const struct rest *rest)
{
    struct coherence_waiter *waiter = job->requester->waiter;
    struct coherence *coherence;
    struct region *region;
    int error = region_prepare(job->caller, rest->place, rest->bytes, LINE_BYTES, &region);

    if (error)
        return error;
    error = enter(job, &coherence);
    if (error)
        return error;
    error = coherence_access(coherence, rest->page, DIRECTORY_STORE, 0, waiter);
    if (!error) {
        store(job, coherence, region, rest, rest->lines);
        coherence_done(coherence, waiter);
    }
    coherence_unlock(coherence);
    return error;
}

static int run_lines(const struct job *job, enum directory_access access)
{
    while (job->execution->lines_done < job->op->line_count) {
        struct rest rest = rest_of(job);
        int error = access == DIRECTORY_STORE ? store_part(job, &rest) : read_part(job, &rest, access);

        if (error)
            return error;
        job->execution->lines_done += rest.lines;
    }
    return 0;
}

/* An owner's changed lines: they wait for nobody, since others may wait for them. */
static int run_write_back(const struct job *job)
{
    struct rest rest = rest_of(job);
    struct coherence *coherence;
    struct region *region;
    uint16_t number;
    int error = region_prepare(job->caller, rest.place, rest.bytes, LINE_BYTES, &region);

    if (error)
        return error;
    error = enter_as_agent(job, &coherence, &number);
    if (error)
        return error;
    for (uint64_t page = rest.page; page <= (rest.place.offset + rest.bytes - 1) / PAGE_BYTES; page++)
        if (!coherence_owns(coherence, number, page))
            error = -EOWNERDEAD;
    if (!error)
        store(job, coherence, region, &rest, job->op->line_count);
    coherence_unlock(coherence);
    return error;
}

static int run_atomic(const struct job *job)
{
    const struct op_view *op = job->op;
    struct coherence_waiter *waiter = job->requester->waiter;
    uint64_t width = 1ull << op->width_log2;
    struct wire_word operands[2], old;
    struct coherence *coherence;
    struct region *region;
    int error = executor_read_operands(op, operands);

    if (!error)
        error = region_prepare(job->caller, place_of(op), width, width, &region);
    if (!error)
        error = enter(job, &coherence);
    if (error)
        return error;
    error = coherence_access(coherence, op->offset / PAGE_BYTES, DIRECTORY_STORE, 0, waiter);
    if (!error) {
        region_atomic_prepared(job->caller, region, place_of(op), (enum opcode)op->opcode, op->width_log2,
                               operands, &old);
        coherence_stored(coherence, op->offset / LINE_BYTES, 1);
        coherence_done(coherence, waiter);
        memcpy(job->values, &old, sizeof(old));
    }
    coherence_unlock(coherence);
    return error;
}

/* ---- waiting ---- */

/* Reads the word; -EINPROGRESS if that is what it is to differ from, and there is time left. `read` is one of
 * region_read's kind. */
static int look(const struct job *job, const struct wire_wait *wait,
                int (*read)(const struct region_caller *, struct region_place, unsigned, uint8_t *))
{
    const struct op_view *op = job->op;
    uint64_t within = op->offset % LINE_BYTES;
    uint8_t line[LINE_BYTES];
    struct wire_word word = {0};
    int error = read(job->caller, (struct region_place){op->region, op->offset - within}, 1, line);

    if (error)
        return error;
    memcpy(word.bytes, line + within, 1u << op->width_log2);
    if (memcmp(&word, &wait->expected, sizeof(word)) == 0 && wait->timeout_ns.raw != 0 &&
        job->requester->now_ns < job->execution->deadline_ns)
        return -EINPROGRESS;
    memcpy(job->values, &word, sizeof(word));
    return 0;
}

/* Looks at the word under the lock, and waits for its line. */
static int look_or_wait(const struct job *job, const struct wire_wait *wait)
{
    struct coherence_waiter *waiter = job->requester->waiter;
    struct coherence *coherence;
    int error = enter(job, &coherence);

    if (error)
        return error;
    coherence_look_again(coherence, waiter);
    error = coherence_access(coherence, job->op->offset / PAGE_BYTES, DIRECTORY_LOAD, 0, waiter);
    if (!error) {
        error = look(job, wait, region_read_locked);
        coherence_done(coherence, waiter);
        if (error == -EINPROGRESS && coherence_is_settled(coherence))
            coherence_wait_line(coherence, job->op->offset / LINE_BYTES, waiter);
        else if (error == -EINPROGRESS)
            error = -EAGAIN;
    }
    coherence_unlock(coherence);
    return error;
}

static void begin_wait(const struct job *job, const struct wire_wait *wait)
{
    uint64_t timeout_ns = le64_get(wait->timeout_ns), now_ns = job->requester->now_ns;

    if (job->execution->deadline_ns != 0)
        return;
    if (timeout_ns > 0) /* the requester's may be older than the request, and this must not end early */
        now_ns = clock_now_ns();
    job->execution->deadline_ns = sum_or_max(now_ns, timeout_ns);
}

static int run_wait(const struct job *job)
{
    const struct op_view *op = job->op;
    struct wire_word operands[2];
    struct wire_wait wait;
    int error = executor_read_operands(op, operands);

    memcpy(&wait, op->operand, sizeof(wait));
    if (error || wait.reserved.raw != 0)
        return -EINVAL;
    error = region_check(job->caller, place_of(op), 1u << op->width_log2, 1u << op->width_log2);
    begin_wait(job, &wait);
    if (!error)
        error = look(job, &wait, region_read);
    while (error == -EINPROGRESS || error == -EREMOTE || error == -EAGAIN) {
        if (error != -EREMOTE)
            error = region_make_coherent(job->caller, op->region);
        if (error == 0 || error == -EREMOTE)
            error = look_or_wait(job, &wait);
        if (error == -EINPROGRESS)
            return error;
    }
    job->execution->deadline_ns = 0;
    return error;
}

/* ---- agents ---- */

static int run_attach(const struct job *job)
{
    const struct requester *requester = job->requester;
    struct wire_agent_info info = {0};
    uint32_t agent;
    int error;

    if (job->op->offset != 0)
        return -EINVAL;
    /* The client counts its lease from when it sent this, so ours must not begin before it came: the
     * requester's time may be older. */
    error = region_attach(job->caller, job->op->region, job->op->agent, requester->session, clock_now_ns(),
                          &agent);
    if (error)
        return error;
    info.agent = le32_of(agent);
    info.lease_ms = le32_of((uint32_t)(regions_lease_ns(job->caller->regions) / NS_PER_MS));
    memcpy(job->values, &info, sizeof(info));
    return 0;
}

static int run_detach(const struct job *job)
{
    struct coherence *coherence;
    int error;

    if (job->op->offset != 0)
        return -EINVAL;
    error = enter(job, &coherence);
    if (error)
        return error;
    error = coherence_detach(coherence, job->op->agent);
    coherence_unlock(coherence);
    return error;
}

static int answer_snoop(const struct job *job, struct coherence *coherence, uint16_t number)
{
    static const uint8_t zero[sizeof(((struct wire_bi_rsp *)0)->reserved)];
    uint64_t page = job->op->offset / PAGE_BYTES;
    struct wire_bi_rsp answer;
    int error;

    memcpy(&answer, job->op->operand, sizeof(answer));
    if (answer.state > BI_STATE_ASK || memcmp(answer.reserved, zero, sizeof(zero)) != 0)
        return -EINVAL;
    if (answer.state == BI_STATE_ASK)
        return coherence_is_open(coherence, number, page, le16_get(answer.id)) ? 0 : -EOWNERDEAD;
    error = coherence_answer(coherence, number, page, le16_get(answer.id), (enum bi_state)answer.state);
    return error == -ENOENT ? 0 : error; /* nobody waits for it any more: a duplicate */
}

/* BI_RSP and MEM_CLN_EVCT: what an agent says of one page. */
static int run_statement(const struct job *job)
{
    const struct op_view *op = job->op;
    struct coherence *coherence;
    uint16_t number;
    int error = region_check(job->caller, place_of(op), PAGE_BYTES, PAGE_BYTES);

    if (error)
        return error;
    error = enter_as_agent(job, &coherence, &number);
    if (error)
        return error;
    if (op->opcode == OP_BI_RSP)
        error = answer_snoop(job, coherence, number);
    else
        coherence_evicted(coherence, number, op->offset / PAGE_BYTES);
    coherence_unlock(coherence);
    return error;
}

/* What never waits, and so is not refused when nothing more may wait. */
static int run_prompt(const struct job *job)
{
    switch (job->op->opcode) {
    case OP_MEM_WR:
        return run_write_back(job);
    case OP_BI_ATTACH:
        return run_attach(job);
    case OP_BI_DETACH:
        return run_detach(job);
    default:
        return run_statement(job);
    }
}

static bool is_prompt(const struct op_view *op)
{
    return op->agent != 0 ? op->opcode != OP_MEM_RD_SHARED && op->opcode != OP_MEM_RD_ANY
                          : op->opcode == OP_BI_ATTACH;
}

static int run_patient(const struct job *job)
{
    if (!job->requester->waiter)
        return -EBUSY;
    switch (job->op->opcode) {
    case OP_MEM_RD:
        return run_lines(job, DIRECTORY_LOAD);
    case OP_MEM_RD_SHARED:
        return run_lines(job, DIRECTORY_READ_SHARE);
    case OP_MEM_RD_ANY:
        return run_lines(job, DIRECTORY_READ_OWN);
    case OP_MEM_WR:
    case OP_MEM_WR_PTL:
        return run_lines(job, DIRECTORY_STORE);
    case OP_WAIT:
        return run_wait(job);
    default:
        return run_atomic(job);
    }
}

int executor_coherent(struct executor *executor, const struct requester *requester, const struct op_view *op,
                      uint8_t *values_out, struct execution *execution)
{
    const struct region_caller caller = {executor->options.regions, requester->worker, requester->tenant};
    const struct job job = {&caller, requester, op, values_out, execution};
    int error;

    if (is_prompt(op))
        return run_prompt(&job);
    error = run_patient(&job);
    if (error == -EINPROGRESS)
        return error;
    execution->lines_done = 0;
    if (error && requester->waiter)
        coherence_leave(requester->waiter);
    return error;
}
