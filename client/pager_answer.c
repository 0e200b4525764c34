/* pager_answer.c - answers to snoops on their way to the server, with the lines that changed
 *
 * The lines stand in front of the answer in one request, of which the server does nothing behind what fails.
 * If they fill more than a frame they go first, and the answer follows when the server has said that it has
 * them. The page is BUSY until all of it is over: an answer whose fate is unknown is sent again, and its
 * lines must not overwrite what we might have been granted and changed in between.
 */
#include "pager_snoop.h"

#include <errno.h>

struct answer *answer_take(struct snooper *snooper)
{
    for (unsigned i = 0; i < ANSWERS; i++) {
        struct answer *answer = &snooper->answers[i];

        if (answer->taken)
            continue;
        answer->taken = true;
        answer->in_hand = answer->asking = answer->told = answer->unsure = false;
        answer->changed = answer->retry_ns = answer->verify_ns = 0;
        snooper->answer_count++;
        return answer;
    }
    return NULL;
}

void answer_give(struct snooper *snooper, struct answer *answer)
{
    answer->taken = false;
    snooper->answer_count--;
}

/* ---- sending ---- */

static struct op *add_op(struct pager *pager, struct answer *answer, enum opcode opcode)
{
    struct op *op = &answer->ops[answer->op_count++];

    *op = (struct op){
        .opcode = (uint8_t)opcode,
        .agent = answer->agent,
        .region = pager->region->handle,
        .offset = answer->region_offset,
    };
    return op;
}

static void add_lines(struct pager *pager, struct answer *answer)
{
    uint64_t left = answer->changed;

    while (left) {
        unsigned line = (unsigned)__builtin_ctzll(left);
        uint64_t from = ~(left >> line);
        unsigned lines = from ? (unsigned)__builtin_ctzll(from) : PAGE_LINES;
        struct op *op = add_op(pager, answer, OP_MEM_WR);

        op->line_count = lines;
        op->offset += (uint64_t)line * LINE_BYTES;
        op->operand = answer->copy + (uint64_t)line * LINE_BYTES;
        left &= lines == PAGE_LINES ? 0 : ~(((1ull << lines) - 1) << line);
    }
}

static void add_question(struct pager *pager, struct answer *answer)
{
    answer->question = (struct wire_bi_rsp){.id = le16_of(answer->id), .state = BI_STATE_ASK};
    add_op(pager, answer, OP_BI_RSP)->operand = &answer->question;
}

static void add_answer(struct pager *pager, struct answer *answer)
{
    answer->response = (struct wire_bi_rsp){.id = le16_of(answer->id), .state = answer->state};
    add_op(pager, answer, OP_BI_RSP)->operand = &answer->response;
    answer->told = true;
}

static void send_lines(struct pager *pager, struct answer *answer)
{
    answer->op_count = 0;
    answer->asking = answer->told = false;
    add_lines(pager, answer);
    for (unsigned i = 0; i < answer->op_count; i++)
        lane_post(pager->snooper->lane, &answer->ops[i]);
}

static void send_question(struct pager *pager, struct answer *answer)
{
    answer->op_count = 0;
    answer->asking = true;
    answer->told = false;
    add_question(pager, answer);
    lane_post(pager->snooper->lane, &answer->ops[0]);
}

/* If an earlier try may have been done, the page may be others' by now, or ours anew in the server's eyes:
 * then the lines go only if the snoop is still open, since while it is nothing can have happened to the page.
 */
void answer_send(struct pager *pager, struct answer *answer)
{
    answer->op_count = 0;
    answer->retry_ns = 0;
    answer->asking = false;
    if (answer->unsure && answer->changed)
        add_question(pager, answer);
    add_lines(pager, answer);
    add_answer(pager, answer);
    if (answer->op_count == 1) {
        lane_post(pager->snooper->lane, &answer->ops[0]);
        return;
    }
    if (lane_post_together(pager->snooper->lane, answer->ops, answer->op_count) == 0)
        return;
    if (answer->unsure)
        send_question(pager, answer);
    else
        send_lines(pager, answer);
}

static void send_rest(struct pager *pager, struct answer *answer)
{
    answer->op_count = 0;
    add_answer(pager, answer);
    lane_post(pager->snooper->lane, &answer->ops[0]);
}

/* ---- afterwards ---- */

/* The server has all of the page. It is in memory, protected, if a shared copy may stay. */
static void settle_page(struct pager *pager, struct answer *answer)
{
    uint32_t page = answer->page, print = page_extra(load_acquire(&pager->words[page]));

    print_give(pager, print);
    fetch_sub_relaxed(&pager->dirty_pages, 1u);
    if (answer->state == BI_STATE_SHARED) {
        page_leave(pager, page, PAGE_CLEAN, 0, PAGE_OWNED, 0);
    } else {
        page_leave(pager, page, PAGE_ABSENT, 0, PAGE_OWNED | PAGE_HOT, 0);
        evict_unreserve(pager, 1);
    }
}

static void let_go(struct snooper *snooper, struct answer *answer)
{
    answer->in_hand = false;
    snooper->in_hand--;
}

static void settle(struct pager *pager, struct answer *answer)
{
    if (answer->in_hand) {
        settle_page(pager, answer);
        let_go(pager->snooper, answer);
        count(&pager->counters.written_pages, 1);
        count(&pager->counters.written_lines, (uint64_t)__builtin_popcountll(answer->changed));
    }
    count(&pager->counters.snoops, 1);
    answer_give(pager->snooper, answer);
}

static void lose(struct pager *pager, struct answer *answer)
{
    if (answer->in_hand) {
        lease_lose_page(pager, answer->page);
        let_go(pager->snooper, answer);
    }
}

/* Of all its operations the first error; -EINPROGRESS: some are not over. */
static int outcome_of(const struct answer *answer)
{
    int first = 0;

    for (unsigned i = 0; i < answer->op_count; i++) {
        if (!answer->ops[i].finished)
            return -EINPROGRESS;
        if (!first)
            first = answer->ops[i].outcome;
    }
    return first;
}

/* Refused, after a try of which nobody knows whether it was done: either it was, and the page is not ours any
 * more; or the agent is no more, and the stores are lost. The lease tells. */
static void verify(struct snooper *snooper, struct answer *answer, uint64_t now_ns)
{
    answer->verify_ns = now_ns;
    answer->retry_ns = UINT64_MAX;
    snooper->renew_ns = now_ns;
}

static void failed(struct pager *pager, struct answer *answer, int error, uint64_t now_ns)
{
    answer->unsure |= error == -CXE_EUNKNOWN;
    if (error == -EOWNERDEAD && answer->unsure) {
        verify(pager->snooper, answer, now_ns);
    } else if (error == -EOWNERDEAD) {
        answer->retry_ns = UINT64_MAX; /* the fence sees to it */
        lease_lost(pager, answer->agent);
    } else if (pager_error_is_final(error)) {
        lose(pager, answer);
        answer_give(pager->snooper, answer);
    } else {
        answer->retry_ns = now_ns + RETRY_PAUSE_NS;
    }
}

static void collect(struct pager *pager, struct answer *answer, uint64_t now_ns)
{
    if (answer->retry_ns) {
        if (answer->verify_ns && pager->snooper->alive_ns > answer->verify_ns)
            settle(pager, answer);
        else if (now_ns >= answer->retry_ns)
            answer_send(pager, answer);
        return;
    }
    int error = outcome_of(answer);
    if (error == -EINPROGRESS)
        return;
    if (answer->agent != pager->snooper->attached)
        answer_give(pager->snooper, answer); /* fenced meanwhile: it holds nothing any more */
    else if (error)
        failed(pager, answer, error, now_ns);
    else if (answer->asking)
        send_lines(pager, answer);
    else if (!answer->told)
        send_rest(pager, answer);
    else
        settle(pager, answer);
}

void answer_collect_all(struct pager *pager, uint64_t now_ns)
{
    struct snooper *snooper = pager->snooper;

    for (unsigned i = 0, left = snooper->answer_count; left; i++) {
        if (!snooper->answers[i].taken)
            continue;
        collect(pager, &snooper->answers[i], now_ns);
        left--;
    }
}

void answer_forget_all(struct pager *pager)
{
    struct snooper *snooper = pager->snooper;

    for (unsigned i = 0; i < ANSWERS; i++) {
        struct answer *answer = &snooper->answers[i];

        if (!answer->taken)
            continue;
        lose(pager, answer);
        if (answer->retry_ns)
            answer_give(snooper, answer);
    }
}

uint64_t answer_next_ns(const struct snooper *snooper)
{
    uint64_t next_ns = UINT64_MAX;

    for (unsigned i = 0, left = snooper->answer_count; left; i++) {
        const struct answer *answer = &snooper->answers[i];

        if (!answer->taken)
            continue;
        if (answer->retry_ns && answer->retry_ns < next_ns)
            next_ns = answer->retry_ns;
        left--;
    }
    return next_ns;
}
