/* oracle.h - what clients did and saw, and whether memory could have behaved so
 *
 * A register is a line or a word of one region. Every write of a run stores another value: the number of its
 * operation here. So a value seen names its writer, whichever region, server or year it is from. Counters are
 * words that are only added 1 to, and read.
 *
 * Operations end done, surely not done, or nobody knows: then they may have been done at any moment from
 * their invocation on, or never.
 */
#ifndef TESTS_SIM_ORACLE_H
#define TESTS_SIM_ORACLE_H

#include <stdbool.h>
#include <stdint.h>

enum oracle_kind {
    ORACLE_READ,
    ORACLE_WRITE,
    ORACLE_SWAP, /* sees what it replaces */
    ORACLE_CAS,  /* replaces `expected`, else only sees */
    ORACLE_ADD,  /* of 1; sees what was there */
};

enum oracle_outcome { ORACLE_UNKNOWN, ORACLE_SETTLED, ORACLE_DONE, ORACLE_NOT_DONE };

/* An operation begins. Returns its number, which is the value it stores (except ADD); never 0, which is what
 * a new region holds. */
uint64_t oracle_begin(unsigned client, uint64_t region, uint32_t place, enum oracle_kind kind,
                      uint64_t expected);

/* It ended; `saw` for those that see something and are done. */
void oracle_end(uint64_t number, enum oracle_outcome outcome, uint64_t saw);

/* Takes back what was done to memory that is lost: nobody knows whether the stores among them were done, and
 * what others of them saw does not count. */
void oracle_lose(const uint64_t *numbers, unsigned count);

/* Looks at everything so far. True, or false with a sentence in `why`: exact for registers (linearizable or
 * not), and for counters that every addition happened once, in an order that fits the clients' clocks. */
bool oracle_check(char *why, unsigned why_bytes);

struct oracle_counts {
    uint64_t operations, done, not_done, unknown, settled, unknown_seen;
};
struct oracle_counts oracle_counts(void);

/* Forgets everything: for the oracle's own tests. */
void oracle_reset(void);

#endif
