/* test_heap.c - the library's heap: blocks are aligned, large enough, apart from each other, and used again
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The preload library hides its functions; the stub stands for the kernel here, too. */
#include "../../../../client/preload/heap.c"

long stub_call(long number, long a, long b, long c, long d, long e, long f)
{
    long result = syscall(number, a, b, c, d, e, f);

    return result < 0 ? -errno : result;
}

#define LIVE 200

struct block {
    unsigned char *memory;
    size_t bytes;
    unsigned char mark;
};

static void check_and_free(struct block *block)
{
    for (size_t i = 0; i < block->bytes; i++)
        cr_assert_eq(block->memory[i], block->mark);
    if (block->memory)
        heap_free(block->memory);
    block->memory = NULL;
    block->bytes = 0;
}

Test(heap, keeps_blocks_apart)
{
    const char *text = getenv("CXE_TEST_SEED");
    unsigned seed = text ? (unsigned)strtoul(text, NULL, 10) : 20260602;
    struct block live[LIVE] = {0};

    cr_log_info("seed %u", seed);
    srand(seed);
    for (unsigned step = 0; step < 20000; step++) {
        struct block *block = &live[rand() % LIVE];
        size_t alignment = (size_t)8 << rand() % 10;

        check_and_free(block);
        block->bytes = (size_t)1 << rand() % 17;
        block->bytes -= (size_t)rand() % block->bytes;
        block->mark = (unsigned char)step;
        block->memory = heap_alloc(block->bytes, alignment);
        cr_assert_not_null(block->memory, "step %u", step);
        cr_assert_eq((uintptr_t)block->memory % alignment, 0, "step %u", step);
        cr_assert_geq(heap_usable_bytes(block->memory), block->bytes);
        cr_assert(heap_owns(block->memory) && heap_owns(block->memory + block->bytes - 1));
        memset(block->memory, block->mark, block->bytes);
    }
    for (unsigned i = 0; i < LIVE; i++)
        check_and_free(&live[i]);
}

Test(heap, uses_what_was_freed)
{
    for (unsigned i = 0; i < 100000; i++) {
        void *memory = heap_alloc(1 << 20, 16);

        cr_assert_not_null(memory, "round %u", i);
        heap_free(memory);
    }
}

Test(heap, says_no_when_it_is_full)
{
    unsigned count = 0;

    cr_assert_null(heap_alloc(HEAP_BYTES + 1, 16));
    cr_assert_null(heap_alloc(SIZE_MAX, 16));
    cr_assert_null(heap_alloc(10, 2 * PAGE_BYTES));
    while (heap_alloc(HEAP_BYTES / 8, 16))
        count++;
    cr_assert_eq(count, 8);
    cr_assert_null(heap_alloc(1, 1));
}

Test(heap, knows_its_own)
{
    int local;
    void *memory = heap_alloc(1, 1);

    cr_assert(heap_owns(memory));
    cr_assert_not(heap_owns(&local));
    cr_assert_not(heap_owns(NULL));
    cr_assert_not(heap_owns((char *)(heap_base + HEAP_BYTES)));
}
