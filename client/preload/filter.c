/* filter.c - see filter.h */
#include "filter.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "call.h"
#include "check.h"
#include "stub.h"

#define WINDOW_MASK_HIGH ((uint32_t)(~(PAGER_WINDOW_BYTES - 1) >> 32))
#define WINDOW_BASE_HIGH ((uint32_t)(PAGER_WINDOW_BASE >> 32))
static_assert((PAGER_WINDOW_BYTES & (PAGER_WINDOW_BYTES - 1)) == 0 && PAGER_WINDOW_BYTES >= 1ull << 32,
              "one comparison of the upper half tells an address in the window");
static_assert(PAGER_WINDOW_BASE % PAGER_WINDOW_BYTES == 0, "the window is aligned to its size");

#define X32_BIT     0x40000000
#define CLASSES_MAX 64
#define NUMBERS     512 /* of system calls */
#define JUMPS_MAX   (NUMBERS + CLASSES_MAX)

/* What is asked about a call; calls of the same class share the questions. */
struct class
{
    uint8_t pointers; /* arguments below this index may point into the window */
    uint8_t rule;
    uint8_t rule_argument;
};

struct builder {
    const struct filter_options *options;
    struct sock_filter *program;
    unsigned used;
    bool full;
    struct class classes[CLASSES_MAX];
    unsigned class_count;
    unsigned starts[CLASSES_MAX]; /* of each class' code */
    uint8_t class_of[NUMBERS];    /* the last one stands for all beyond */
    uint16_t runs[NUMBERS];       /* where runs of one class start */
    unsigned run_count;
    struct {
        unsigned at;
        uint8_t class;
    } jumps[JUMPS_MAX]; /* JA instructions to be aimed at a class */
    unsigned jump_count;
};

/* ---- instructions ---- */

static unsigned emit(struct builder *builder, uint16_t code, uint8_t yes, uint8_t no, uint32_t k)
{
    if (builder->used == FILTER_INSTRUCTIONS_MAX) {
        builder->full = true;
        return 0;
    }
    builder->program[builder->used] = (struct sock_filter){code, yes, no, k};
    return builder->used++;
}

static void emit_load(struct builder *builder, size_t offset)
{
    emit(builder, BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t)offset);
}

static void emit_return(struct builder *builder, uint32_t action)
{
    emit(builder, BPF_RET | BPF_K, 0, 0, action);
}

/* Goes on if the comparison holds, else skips `skip` instructions. */
static unsigned emit_unless(struct builder *builder, uint16_t comparison, uint32_t k, uint8_t skip)
{
    return emit(builder, BPF_JMP | comparison | BPF_K, 0, skip, k);
}

/* Skips `skip` instructions if it holds. */
static unsigned emit_if(struct builder *builder, uint16_t comparison, uint32_t k, uint8_t skip)
{
    return emit(builder, BPF_JMP | comparison | BPF_K, skip, 0, k);
}

static size_t low_half(size_t field)
{
    return field;
}

static size_t high_half(size_t field)
{
    return field + 4;
}

static size_t argument_field(unsigned index)
{
    return offsetof(struct seccomp_data, args) + 8 * (size_t)index;
}

static const size_t ip_field = offsetof(struct seccomp_data, instruction_pointer);

/* ---- one class ---- */

/* Traps, unless the call comes from our stub. */
static void emit_trap(struct builder *builder)
{
    emit_load(builder, high_half(ip_field));
    emit_unless(builder, BPF_JEQ, (uint32_t)(STUB_ADDRESS >> 32), 4);
    emit_load(builder, low_half(ip_field));
    emit(builder, BPF_ALU | BPF_AND | BPF_K, 0, 0, ~(uint32_t)(PAGE_BYTES - 1));
    emit_unless(builder, BPF_JEQ, (uint32_t)STUB_ADDRESS, 1);
    emit_return(builder, SECCOMP_RET_ALLOW);
    emit_return(builder, SECCOMP_RET_TRAP | FILTER_COOKIE);
}

#define POINTER_INSTRUCTIONS 3

static void emit_pointers(struct builder *builder, unsigned pointers)
{
    for (unsigned i = 0; i < pointers; i++) {
        unsigned rest = pointers - i - 1;

        emit_load(builder, high_half(argument_field(i)));
        emit(builder, BPF_ALU | BPF_AND | BPF_K, 0, 0, WINDOW_MASK_HIGH);
        emit_if(builder, BPF_JEQ, WINDOW_BASE_HIGH, (uint8_t)(rest * POINTER_INSTRUCTIONS + 1));
    }
    emit_return(builder, SECCOMP_RET_ALLOW);
    if (pointers)
        emit_trap(builder);
}

/* The part of libc's code with the same upper half of the address: traps there, else goes on. */
static void emit_libc_part(struct builder *builder, uintptr_t start, uintptr_t end)
{
    emit_load(builder, high_half(ip_field));
    emit_unless(builder, BPF_JEQ, (uint32_t)(start >> 32), 4);
    emit_load(builder, low_half(ip_field));
    emit_unless(builder, BPF_JGE, (uint32_t)start, 2);
    emit_if(builder, BPF_JGT, (uint32_t)(end - 1), 1);
    emit_return(builder, SECCOMP_RET_TRAP | FILTER_COOKIE);
}

#define LIBC_INSTRUCTIONS 12

/* libc may lie across a boundary of 4 GiB. */
static void emit_libc(struct builder *builder)
{
    uintptr_t start = builder->options->libc_start, end = builder->options->libc_end;
    uintptr_t boundary = (end - 1) & ~(uintptr_t)UINT32_MAX;

    if (boundary > start) {
        emit_libc_part(builder, start, boundary);
        emit_libc_part(builder, boundary, end);
    } else {
        emit_libc_part(builder, start, end);
        emit_libc_part(builder, start, end);
    }
}

static void emit_rule(struct builder *builder, const struct class *class)
{
    size_t field = argument_field(class->rule_argument);

    switch ((enum call_rule) class->rule) {
    case CALL_RULE_NONE:
        return;
    case CALL_RULE_REFUSE:
        emit_return(builder, SECCOMP_RET_ERRNO | ENOSYS);
        return;
    case CALL_RULE_ALWAYS:
        break;
    case CALL_RULE_SET:
        emit_load(builder, low_half(field));
        emit_unless(builder, BPF_JEQ, 0, 2);
        emit_load(builder, high_half(field));
        emit_if(builder, BPF_JEQ, 0, LIBC_INSTRUCTIONS);
        break;
    case CALL_RULE_OUR_FD:
        emit_load(builder, low_half(field));
        emit_unless(builder, BPF_JGE, builder->options->fd_first, LIBC_INSTRUCTIONS + 1);
        emit_if(builder, BPF_JGE, builder->options->fd_end, LIBC_INSTRUCTIONS);
        break;
    case CALL_RULE_UPTO_FD:
        emit_load(builder, low_half(field));
        emit_unless(builder, BPF_JGE, builder->options->fd_first, LIBC_INSTRUCTIONS);
        break;
    }
    emit_libc(builder);
}

/* ---- which class a number is of ---- */

static struct class classify(size_t number)
{
    struct class class = {.pointers = CALL_ARGUMENTS};
    const struct call *call;

    if (number >= call_table_count || !call_table[number].handler)
        return class;
    call = &call_table[number];
    class.pointers = 0;
    class.rule = call->rule;
    class.rule_argument = call->rule_argument;
    for (unsigned i = 0; i < CALL_ARGUMENTS; i++)
        if (call->arguments[i].shape != CALL_VALUE)
            class.pointers = (uint8_t)(i + 1);
    return class;
}

static uint8_t class_index(struct builder *builder, struct class class)
{
    unsigned index;

    for (index = 0; index < builder->class_count; index++)
        if (memcmp(&builder->classes[index], &class, sizeof(class)) == 0)
            return (uint8_t)index;
    CHECK(index < CLASSES_MAX);
    builder->classes[builder->class_count++] = class;
    return (uint8_t)index;
}

static void emit_jump(struct builder *builder, uint8_t class)
{
    CHECK(builder->jump_count < JUMPS_MAX);
    builder->jumps[builder->jump_count].class = class;
    builder->jumps[builder->jump_count++].at = emit(builder, BPF_JMP | BPF_JA, 0, 0, 0);
}

/* Jumps to the class of the number in the accumulator, which is in one of the runs [first, end): by halves.
 */
static void emit_search(struct builder *builder, unsigned first, unsigned end)
{
    unsigned middle = first + (end - first) / 2, jump;

    if (middle == first) {
        emit_jump(builder, builder->class_of[builder->runs[first]]);
        return;
    }
    emit_unless(builder, BPF_JGE, builder->runs[middle], 1);
    jump = emit(builder, BPF_JMP | BPF_JA, 0, 0, 0);
    emit_search(builder, first, middle);
    builder->program[jump].k = builder->used - jump - 1;
    emit_search(builder, middle, end);
}

static void emit_plain(struct builder *builder, uint8_t index)
{
    builder->starts[index] = builder->used;
    emit_pointers(builder, builder->classes[index].pointers);
}

/* What a rule does not trap goes on to the class without one. Jumps lead forward only: that comes later. */
static void emit_ruled(struct builder *builder, uint8_t index)
{
    const struct class plain = {.pointers = builder->classes[index].pointers};

    builder->starts[index] = builder->used;
    emit_rule(builder, &builder->classes[index]);
    emit_jump(builder, class_index(builder, plain));
}

/* Numbers in a row that are of one class. */
static void find_runs(struct builder *builder)
{
    for (unsigned number = 0; number < NUMBERS; number++)
        if (number == 0 || builder->class_of[number] != builder->class_of[number - 1])
            builder->runs[builder->run_count++] = (uint16_t)number;
}

/* ---- the whole ---- */

static void emit_program(struct builder *builder)
{
    emit_load(builder, offsetof(struct seccomp_data, arch));
    emit_if(builder, BPF_JEQ, AUDIT_ARCH_X86_64, 1);
    emit_return(builder, SECCOMP_RET_ALLOW);
    emit_load(builder, offsetof(struct seccomp_data, nr));
    emit_unless(builder, BPF_JGE, X32_BIT, 1);
    emit_return(builder, SECCOMP_RET_ALLOW);
    emit_search(builder, 0, builder->run_count);
    for (unsigned i = 0; i < builder->class_count; i++)
        if (builder->classes[i].rule != CALL_RULE_NONE)
            emit_ruled(builder, (uint8_t)i);
    for (unsigned i = 0; i < builder->class_count; i++)
        if (builder->classes[i].rule == CALL_RULE_NONE)
            emit_plain(builder, (uint8_t)i);
    for (unsigned i = 0; i < builder->jump_count; i++) {
        unsigned at = builder->jumps[i].at;

        builder->program[at].k = builder->starts[builder->jumps[i].class] - at - 1;
    }
}

int filter_build(const struct filter_options *options, struct sock_filter *program)
{
    struct builder builder = {.options = options, .program = program};

    CHECK(call_table_count <= NUMBERS);
    for (size_t number = 0; number < NUMBERS; number++)
        builder.class_of[number] = class_index(&builder, classify(number));
    find_runs(&builder);
    emit_program(&builder);
    return builder.full ? -E2BIG : (int)builder.used;
}

int filter_install(const struct filter_options *options)
{
    static struct sock_filter program[FILTER_INSTRUCTIONS_MAX]; /* too long for a stack; called once */
    struct sock_fprog load = {.filter = program};
    int length = filter_build(options, program);

    if (length < 0)
        return length;
    load.len = (unsigned short)length;
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &load) == 0)
        return 0;
    if (errno != EACCES || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return -errno;
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &load) != 0)
        return -errno;
    return 0;
}
