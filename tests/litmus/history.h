/* history.h - what clients did to one word, and whether one order of it all explains what they saw
 *
 * A history is linearizable if each operation can be put at one moment between its invocation and its return
 * so that, done in that order one by one, every operation sees what it saw (Herlihy and Wing, 1990). A word
 * is independent of every other, so histories are checked word by word.
 *
 * An operation whose outcome nobody knows may have been done at any moment after its invocation, or never.
 * One that is known not to have been done has no place in a history.
 *
 * Pure: no I/O, no clock. a precedes b if a.returned_ns < b.invoked_ns.
 */
#ifndef TESTS_HISTORY_H
#define TESTS_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum history_kind {
    HISTORY_READ,
    HISTORY_WRITE, /* stores `argument`, sees nothing */
    HISTORY_SWAP,  /* stores `argument`, sees what was there */
    HISTORY_CAS,   /* stores `argument` if `expected` was there, sees what was there */
    HISTORY_ADD,   /* adds `argument`, sees what was there */
};

struct history_event {
    uint64_t invoked_ns;
    uint64_t returned_ns; /* meaningless if unknown */
    uint64_t argument;
    uint64_t expected;
    uint64_t seen; /* meaningless if unknown, and for WRITE */
    uint32_t process;
    uint8_t kind; /* enum history_kind */
    bool unknown;
};

/* Why a history is refused: a sentence, and the events it is about (equal if it is one). */
struct history_fault {
    const char *what;
    size_t first, second;
};

/* The O(n) check, of histories in which every store names what it replaced: READ, SWAP and CAS, where each
 * value stored is stored by one event only and is not `initial`; only a CAS may be unknown. Then the stores
 * form a chain, each read belongs behind one link, and all that is left to check is time. 0: linearizable;
 * -EILSEQ: not, and `fault_out` says why; -EINVAL: no such history; -ENOMEM. */
int history_check_chain(const struct history_event *events, size_t count, uint64_t initial,
                        struct history_fault *fault_out);

/* The general check, of any history: the search of Wing and Gong (1993) with Lowe's memo (2017) of pairs
 * (operations done, value) that lead nowhere. Looks at no more than `states_max` such pairs.
 * 0; -EILSEQ; -E2BIG: undecided after `states_max`; -ENOMEM. */
int history_check(const struct history_event *events, size_t count, uint64_t initial, size_t states_max);

/* Does the event, done when the word is `value`, see what it saw? If so *value_out is the word afterwards. */
bool history_step(const struct history_event *event, uint64_t value, uint64_t *value_out);

/* One line of text, for reports: valid until the next call by this thread. */
const char *history_print(const struct history_event *event);

#endif
