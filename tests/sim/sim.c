/* sim.c - see sim.h */
#include "sim.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define FIBERS 1
#else
#define FIBERS 0
#endif

#define THREADS_MAX       4096
#define STACK_BYTES       (512ull << 10)
#define STACK_PITCH_BYTES (1ull << 20)      /* the gap catches what runs over */
#define STACKS_BASE       0x3e0000000000ull /* nothing else lies there, with and without AddressSanitizer */
#define STEP_NS           6000              /* at most; a look at the clock and what is done until the next */
#define PREEMPT_PPM       5000              /* how often a step is a long one, */
#define PREEMPT_NS        (400 * NS_PER_US) /* at most */
#define FAILED            3                 /* exit status */

struct sim_thread {
    void *stack;
    size_t stack_bytes;
    void *stack_pointer; /* while it does not run */
    struct sim_node *node;
    char name[24];
    void *(*main)(void *);
    void *argument;
    uint64_t wake_ns;
    struct sim_thread *joiner;
    bool finished, gone, at_rest;
    void *fake_stack; /* AddressSanitizer's */
};

static struct {
    bool begun, trace;
    uint64_t now_ns, hash, switches;
    struct dice steps;
    struct sim_thread *threads; /* THREADS_MAX */
    unsigned thread_count;
    unsigned *alive; /* numbers of threads */
    unsigned alive_count;
    struct sim_thread *self;
    void (*inspect)(void);
    unsigned inspect_every, until_inspection;
    bool inspecting;
    uint64_t mean_blocks;
    struct dice interruptions;
} sim;

/* Pieces of code that may still run before the next interruption. */
static uint64_t blocks_left = UINT64_MAX;

/* ---- random numbers ---- */

static uint64_t mix(uint64_t z) /* splitmix64, Steele et al. 2014 */
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

struct dice dice_of(uint64_t seed, const char *purpose)
{
    uint64_t state = mix(seed + 0x9e3779b97f4a7c15u);

    while (*purpose)
        state = mix(state ^ (uint8_t)*purpose++);
    return (struct dice){state};
}

uint64_t dice_draw(struct dice *dice)
{
    return mix(dice->state += 0x9e3779b97f4a7c15u);
}

uint64_t dice_below(struct dice *dice, uint64_t bound)
{
    return (uint64_t)(((unsigned __int128)dice_draw(dice) * bound) >> 64);
}

uint64_t dice_between(struct dice *dice, uint64_t low, uint64_t high)
{
    return low + dice_below(dice, high - low + 1);
}

bool dice_chance(struct dice *dice, uint32_t ppm)
{
    return dice_below(dice, 1000000) < ppm;
}

/* ---- what happened ---- */

void sim_mix(uint64_t value)
{
    sim.hash = mix(sim.hash + value);
}

static void print_where(FILE *to)
{
    fprintf(to, "%12.6f %-10s ", (double)sim.now_ns / 1e9, sim.self ? sim.self->name : "");
}

void sim_note(const char *format, ...)
{
    char text[400];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    sim_mix(sim.now_ns);
    for (const char *at = text; *at; at++)
        sim_mix((uint8_t)*at);
    if (!sim.trace)
        return;
    print_where(stdout);
    puts(text);
}

void sim_fail(const char *format, ...)
{
    va_list arguments;

    fflush(stdout);
    print_where(stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    fflush(stderr);
    _exit(FAILED);
}

/* ---- switching ---- */

static void leave_for(struct sim_thread *from, const struct sim_thread *to)
{
#if FIBERS
    __sanitizer_start_switch_fiber(from->finished ? NULL : &from->fake_stack, to->stack, to->stack_bytes);
#else
    (void)from;
    (void)to;
#endif
}

static void arrived(struct sim_thread *self)
{
#if FIBERS
    __sanitizer_finish_switch_fiber(self->fake_stack, NULL, NULL);
#else
    (void)self;
#endif
}

/* Saves the registers that a call preserves on the stack, and the stack pointer to *from; then takes both
 * from `to`. The C library's swapcontext would do the same, with a system call each time. */
void sim_switch_stacks(void **from, void *to);
#if defined(__x86_64__)
__asm__(".text\n"
        ".globl sim_switch_stacks\n"
        ".type sim_switch_stacks, @function\n"
        "sim_switch_stacks:\n"
        "    push %rbp\n    push %rbx\n    push %r12\n    push %r13\n    push %r14\n    push %r15\n"
        "    mov %rsp, (%rdi)\n"
        "    mov %rsi, %rsp\n"
        "    pop %r15\n    pop %r14\n    pop %r13\n    pop %r12\n    pop %rbx\n    pop %rbp\n"
        "    ret\n"
        ".size sim_switch_stacks, .-sim_switch_stacks\n");
#define SAVED_REGISTERS 6
#else
#error "sim_switch_stacks is written for x86-64 only"
#endif

static void switch_to(struct sim_thread *to)
{
    struct sim_thread *from = sim.self;

    sim.self = to;
    leave_for(from, to);
    sim_switch_stacks(&from->stack_pointer, to->stack_pointer);
    arrived(from);
}

static uint64_t due_ns(const struct sim_thread *thread)
{
    uint64_t wake_ns = thread->wake_ns;

    if (thread->node && thread->node->stopped_until_ns > wake_ns)
        wake_ns = thread->node->stopped_until_ns;
    return wake_ns;
}

static struct sim_thread *first_due(void)
{
    struct sim_thread *first = NULL;
    uint64_t first_ns = SIM_NEVER;

    for (unsigned i = 0; i < sim.alive_count; i++) {
        struct sim_thread *thread = &sim.threads[sim.alive[i]];
        uint64_t at_ns = due_ns(thread);

        if (at_ns < first_ns) {
            first = thread;
            first_ns = at_ns;
        }
    }
    if (!first)
        sim_fail("nothing will ever happen again");
    return first;
}

static void inspect(void)
{
    if (!sim.inspect || sim.inspecting || sim.until_inspection-- > 0)
        return;
    sim.until_inspection = sim.inspect_every;
    sim.inspecting = true;
    sim.inspect();
    sim.inspecting = false;
}

/* Gives way to whoever is due first, perhaps oneself. */
static void give_way(void)
{
    struct sim_thread *next;
    int saved_errno = errno;

    inspect();
    next = first_due();
    sim.switches++;
    if (due_ns(next) > sim.now_ns)
        sim.now_ns = due_ns(next);
    sim_mix((uint64_t)(next - sim.threads) ^ sim.now_ns << 12);
    if (next != sim.self)
        switch_to(next);
    errno = saved_errno; /* it is a thread's own */
}

void sim_sleep_until(uint64_t wake_ns)
{
    if (sim.inspecting)
        return;
    sim.self->wake_ns = wake_ns > sim.now_ns ? wake_ns : sim.now_ns;
    give_way();
    sim.self->wake_ns = SIM_NEVER; /* awake: sim_wake_at has nothing to say */
}

void sim_step(void)
{
    uint64_t ns = dice_chance(&sim.steps, PREEMPT_PPM) ? dice_below(&sim.steps, PREEMPT_NS)
                                                       : dice_below(&sim.steps, STEP_NS);

    sim_sleep_until(sim.now_ns + 1 + ns);
}

static void draw_interruption(void)
{
    blocks_left = sim.mean_blocks ? 1 + dice_below(&sim.interruptions, 2 * sim.mean_blocks) : UINT64_MAX;
}

void sim_set_preemption(uint64_t mean_blocks)
{
    sim.mean_blocks = mean_blocks;
    draw_interruption();
}

/* Called by the compiler's doing at the beginning of each basic block (-fsanitize-coverage=trace-pc). */
void __sanitizer_cov_trace_pc(void);
void __sanitizer_cov_trace_pc(void)
{
    if (__builtin_expect(--blocks_left > 0, 1))
        return;
    draw_interruption();
    sim_sleep(1 + dice_below(&sim.interruptions,
                             dice_chance(&sim.interruptions, 100000) ? NS_PER_MS / 2 : 20 * NS_PER_US));
}

void sim_wake_at(struct sim_thread *thread, uint64_t wake_ns)
{
    if (thread != sim.self && wake_ns < thread->wake_ns)
        thread->wake_ns = wake_ns > sim.now_ns ? wake_ns : sim.now_ns;
}

void sim_set_at_rest(bool at_rest)
{
    sim.self->at_rest = at_rest;
}

bool sim_at_rest(const struct sim_thread *thread)
{
    return thread->at_rest || thread->finished || thread->gone;
}

/* ---- threads ---- */

static void forget_alive(const struct sim_thread *thread)
{
    unsigned number = (unsigned)(thread - sim.threads), kept = 0;

    for (unsigned i = 0; i < sim.alive_count; i++)
        if (sim.alive[i] != number)
            sim.alive[kept++] = sim.alive[i];
    sim.alive_count = kept;
    if (thread->node)
        thread->node->threads--;
}

static void thread_entry(void)
{
    struct sim_thread *self = sim.self;

    arrived(self);
    self->wake_ns = SIM_NEVER;
    self->main(self->argument);
    self->finished = true;
    if (self->joiner)
        sim_wake_at(self->joiner, sim.now_ns);
    forget_alive(self);
    give_way();
    CHECK(!"a finished thread runs");
}

static struct sim_thread *new_thread(const char *name)
{
    struct sim_thread *thread = &sim.threads[sim.thread_count];

    CHECK(sim.thread_count < THREADS_MAX);
    snprintf(thread->name, sizeof(thread->name), "%s", name);
    sim.alive[sim.alive_count++] = sim.thread_count++;
    return thread;
}

/* The stack as sim_switch_stacks expects it: registers, and where to return to. */
static void prepare_stack(struct sim_thread *thread)
{
    void **at = (void **)((uint8_t *)thread->stack + thread->stack_bytes);

    *--at = NULL; /* where thread_entry would return to; and the stack is aligned as behind a call */
    *--at = (void *)(uintptr_t)thread_entry;
    for (unsigned i = 0; i < SAVED_REGISTERS; i++)
        *--at = NULL;
    thread->stack_pointer = at;
}

struct sim_thread *sim_spawn(struct sim_node *node, const char *name, void *(*main)(void *), void *argument)
{
    struct sim_thread *thread = new_thread(name);
    void *place = (void *)(STACKS_BASE + (uint64_t)(thread - sim.threads) * STACK_PITCH_BYTES); // NOLINT

    thread->stack_bytes = STACK_BYTES;
    thread->stack = mmap(place, STACK_BYTES, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    CHECK(thread->stack == place);
    thread->node = node;
    thread->main = main;
    thread->argument = argument;
    thread->wake_ns = sim.now_ns + dice_below(&sim.steps, 50 * NS_PER_US);
    if (node)
        node->threads++;
    prepare_stack(thread);
    return thread;
}

struct sim_thread *sim_self(void)
{
    return sim.self;
}

struct sim_node *sim_node_of(const struct sim_thread *thread)
{
    return thread->node;
}

bool sim_finished(const struct sim_thread *thread)
{
    return thread->finished || thread->gone;
}

void sim_join(struct sim_thread *thread)
{
    while (!sim_finished(thread)) {
        thread->joiner = sim.self;
        sim_sleep_until(SIM_NEVER);
    }
}

/* ---- nodes ---- */

void sim_stop_node(struct sim_node *node, uint64_t until_ns)
{
    node->stopped_until_ns = until_ns;
}

void sim_kill_node(struct sim_node *node)
{
    for (unsigned i = sim.alive_count; i-- > 0;) {
        struct sim_thread *thread = &sim.threads[sim.alive[i]];

        if (thread->node != node)
            continue;
        CHECK(thread != sim.self);
        thread->gone = true;
        if (thread->joiner)
            sim_wake_at(thread->joiner, sim.now_ns);
        forget_alive(thread);
    }
    node->stopped_until_ns = 0;
}

/* ---- a simulation ---- */

/* The director runs on the process's own stack. */
static void note_own_stack(struct sim_thread *director)
{
    pthread_attr_t attributes;

    CHECK(pthread_getattr_np(pthread_self(), &attributes) == 0);
    pthread_attr_getstack(&attributes, &director->stack, &director->stack_bytes);
    pthread_attr_destroy(&attributes);
}

void sim_begin(uint64_t seed, bool trace)
{
    CHECK(!sim.begun);
    sim.threads = mmap(NULL, THREADS_MAX * sizeof(*sim.threads), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    sim.alive = calloc(THREADS_MAX, sizeof(*sim.alive));
    CHECK(sim.threads != MAP_FAILED && sim.alive);
    sim.steps = dice_of(seed, "steps");
    sim.interruptions = dice_of(seed, "interruptions");
    sim.hash = mix(seed);
    sim.now_ns = 1000 * NS_PER_S; /* a machine that has been up for a while */
    sim.trace = trace;
    sim.self = new_thread("director");
    note_own_stack(sim.self);
    sim.begun = true;
}

bool sim_running(void)
{
    return sim.begun;
}

uint64_t sim_hash(void)
{
    return sim.hash;
}

uint64_t sim_switches(void)
{
    return sim.switches;
}

uint64_t sim_now_ns(void)
{
    return sim.now_ns;
}

static uint64_t scaled(uint64_t ns, int64_t ppm)
{
    return ns + (uint64_t)((__int128)ns * ppm / 1000000);
}

uint64_t sim_clock_ns(void)
{
    const struct sim_node *node = sim.self->node;

    return node ? node->clock_offset_ns + scaled(sim.now_ns, node->clock_ppm) : sim.now_ns;
}

uint64_t sim_pause_ns(uint64_t clock_ns)
{
    const struct sim_node *node = sim.self->node;

    return node && clock_ns < SIM_NEVER / 2 ? scaled(clock_ns, -node->clock_ppm) : clock_ns;
}

void sim_set_inspector(void (*inspector)(void), unsigned every_switches)
{
    sim.inspect = inspector;
    sim.inspect_every = every_switches;
    sim.until_inspection = every_switches;
}
