/* call.h - system calls on pool memory, carried out so that the kernel sees local memory only
 *
 * In inline mode the kernel cannot fetch a page: a system call that meets an absent one fails with EFAULT,
 * perhaps after it took bytes out of a socket. So no system call gets to see the pool's addresses. call_table
 * says for each of them which arguments are pointers and how much is behind them; the filter is made of it
 * (filter.c), and so is what happens to a call that was trapped.
 */
#ifndef CXE_PRELOAD_CALL_H
#define CXE_PRELOAD_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CALL_ARGUMENTS 6

struct call_request {
    long number;
    long arguments[CALL_ARGUMENTS];
    uint64_t *mask; /* the signal mask that the thread goes back to */
};

/* What is behind an argument. */
enum call_shape {
    CALL_VALUE = 0,  /* nothing: a number */
    CALL_POINTER,    /* the handler knows */
    CALL_IN,         /* bytes that the kernel reads */
    CALL_INOUT,      /* bytes that it writes, perhaps not all, or after reading them */
    CALL_IN_COUNTED, /* the same, as many as another argument says */
    CALL_INOUT_COUNTED,
    CALL_RESULT, /* it writes as many as it returns; another argument says how many fit */
    CALL_TEXT,   /* it reads up to a NUL */
    CALL_NAME,   /* it writes up to *(socklen_t *)another */
    CALL_BITS,   /* a descriptor set of as many bits as another argument says */
};

struct call_argument {
    uint8_t shape;      /* enum call_shape */
    uint8_t counted_by; /* the other argument's index */
    uint16_t unit_bytes;
    uint16_t more_bytes; /* in front of what is counted */
};

/* When the filter traps a call besides on an argument that points into the window. All but REFUSE ask that it
 * comes from libc: what else is at libc's addresses in a program executed later, without us, is improbable.
 */
enum call_rule {
    CALL_RULE_NONE = 0,
    CALL_RULE_ALWAYS,
    CALL_RULE_SET,     /* the argument `rule_argument` is not 0 */
    CALL_RULE_OUR_FD,  /* it is one of the descriptor numbers we keep for ourselves */
    CALL_RULE_UPTO_FD, /* it is not below them */
    CALL_RULE_REFUSE,  /* never let it through: -ENOSYS */
};

typedef long call_handler(struct call_request *request);

struct call {
    call_handler *handler; /* NULL: not listed; see call_touched */
    uint8_t rule;          /* enum call_rule */
    uint8_t rule_argument;
    struct call_argument arguments[CALL_ARGUMENTS];
};

/* Indexed by number. */
extern const struct call call_table[];
extern const size_t call_table_count;

/* Carries out a call; returns what the kernel would. Async-signal-safe. */
long call_emulate(struct call_request *request);

static inline long call_direct(long number, long a, long b, long c, long d, long e, long f)
{
    struct call_request request = {.number = number, .arguments = {a, b, c, d, e, f}};

    return call_emulate(&request);
}

/* How many calls were carried out so, for statistics. */
uint64_t call_count(void);

/* ---- handlers ---- */

/* With copies of what the table describes. */
call_handler call_copied;
/* For calls we know nothing of: touches the pages that the arguments point at and hopes that they stay;
 * repeats on EFAULT. Right for calls that do nothing before they look at their arguments. */
call_handler call_touched;
/* As it is. */
call_handler call_verbatim;

/* call_stream.c: bytes of files, pipes and sockets, in pieces */
call_handler call_stream;
/* call_message.c */
call_handler call_sendmsg, call_recvmsg, call_sendmmsg, call_recvmmsg;
/* call_signal.c */
call_handler call_rt_sigaction, call_rt_sigprocmask, call_rt_sigsuspend, call_sigaltstack;
call_handler call_ppoll, call_pselect6, call_epoll_pwait;
/* call_memory.c */
call_handler call_munmap, call_mremap, call_madvise, call_mprotect, call_mmap, call_mlock, call_ignored;
/* call_process.c */
call_handler call_execve, call_execveat, call_prctl;
/* call_file.c */
call_handler call_close, call_close_range, call_dup2, call_fcntl, call_ioctl;

#endif
