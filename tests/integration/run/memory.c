/* memory.c - mmap, munmap, mremap, mprotect and madvise on the pool do what they do on any memory
 *
 * Arguments: nothing, or "full": the pool is smaller than what is asked for, "strict": and nothing may be
 * local.
 */
#include "pool_memory.h"

#include <setjmp.h>
#include <signal.h>
#include <unistd.h>

#define MIB (1ul << 20)

static void *map(void *hint, size_t bytes, int protection, int flags)
{
    return mmap(hint, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
}

static int all(const uint8_t *memory, uint8_t byte, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (memory[i] != byte)
            return 0;
    return 1;
}

static void what_goes_where(void)
{
    const int both = PROT_READ | PROT_WRITE;

    EXPECT(is_remote(map(NULL, MIB, both, 0)));
    EXPECT(is_remote(map(NULL, MIB + 1, both, MAP_NORESERVE)));
    EXPECT(!is_remote(map(NULL, 4096, both, 0)));
    EXPECT(!is_remote(map(NULL, MIB, PROT_NONE, 0)));
    EXPECT(!is_remote(map(NULL, MIB, both | PROT_EXEC, 0)));
    EXPECT(!is_remote(map(NULL, MIB, both, MAP_STACK)));
    EXPECT(!is_remote(mmap(NULL, MIB, both, MAP_SHARED | MAP_ANONYMOUS, -1, 0)));
    EXPECT(is_remote(malloc(16 * MIB)));
    EXPECT(!is_remote(&errno));
}

static void reuse(void)
{
    uint8_t *memory = map(NULL, 4 * MIB, PROT_READ | PROT_WRITE, 0), *again;

    EXPECT(all(memory, 0, 4 * MIB));
    memset(memory, 0x5a, 4 * MIB);
    remote_cold(memory, 4 * MIB);
    EXPECT(all(memory, 0x5a, 4 * MIB));
    EXPECT(munmap(memory + MIB, 2 * MIB) == 0); /* a hole */
    EXPECT(all(memory, 0x5a, MIB) && all(memory + 3 * MIB, 0x5a, MIB));
    again = map(NULL, 2 * MIB, PROT_READ | PROT_WRITE, 0);
    EXPECT(again == memory + MIB); /* the lowest that fits */
    EXPECT(all(again, 0, 2 * MIB));
    EXPECT(map(memory, MIB, PROT_READ | PROT_WRITE, MAP_FIXED_NOREPLACE) == MAP_FAILED && errno == EEXIST);
    EXPECT(map(memory, MIB, PROT_READ | PROT_WRITE, MAP_FIXED) == memory && all(memory, 0, MIB));
    EXPECT(all(memory + 3 * MIB, 0x5a, MIB));
    EXPECT(munmap(memory, 4 * MIB) == 0);
    EXPECT(munmap(memory, 4 * MIB) == 0); /* as with the kernel */
    EXPECT(map(memory + MIB, MIB, PROT_READ | PROT_WRITE, 0) ==
           memory + MIB); /* a hint that can be followed */
    EXPECT(munmap(memory + MIB, MIB) == 0);
    EXPECT(munmap(memory + 1, MIB) == -1 && errno == EINVAL);
    EXPECT(munmap(memory, 0) == -1 && errno == EINVAL);
}

static void discards(void)
{
    uint8_t *memory = map(NULL, MIB, PROT_READ | PROT_WRITE, 0);

    memset(memory, 1, MIB);
    remote_cold(memory, MIB / 2);
    EXPECT(madvise(memory + 65536, 65536, MADV_DONTNEED) == 0);
    EXPECT(all(memory, 1, 65536) && all(memory + 65536, 0, 65536) && all(memory + 131072, 1, MIB - 131072));
    EXPECT(posix_madvise(memory, MIB, POSIX_MADV_DONTNEED) == 0);
    EXPECT(all(memory, 1, 65536));
    EXPECT(madvise(memory, MIB, MADV_WILLNEED) == 0);
    EXPECT(madvise(memory, MIB, MADV_SEQUENTIAL) == 0);
    EXPECT(madvise(memory, MIB, MADV_HUGEPAGE) == 0);
    EXPECT(madvise(memory, MIB, MADV_WIPEONFORK) == -1 && errno == EINVAL);
    EXPECT(madvise(memory, MIB, 9999) == -1 && errno == EINVAL);
    EXPECT(mlock(memory, 4096) == -1 && errno == ENOMEM);
    EXPECT(msync(memory, MIB, MS_SYNC) == 0);
    munmap(memory, MIB);
}

static void moves(void)
{
    uint8_t *memory = map(NULL, 3 * MIB, PROT_READ | PROT_WRITE, 0), *fence, *moved;

    memset(memory, 7, 3 * MIB);
    EXPECT(munmap(memory + MIB, 2 * MIB) == 0);
    EXPECT(mremap(memory, MIB, 2 * MIB, 0) == memory); /* there is room behind it */
    EXPECT(all(memory, 7, MIB) && all(memory + MIB, 0, MIB));
    EXPECT(mremap(memory, 2 * MIB, MIB, 0) == memory);
    fence = map(memory + MIB, MIB, PROT_READ | PROT_WRITE, MAP_FIXED_NOREPLACE);
    EXPECT(fence == memory + MIB && all(fence, 0, MIB));
    EXPECT(mremap(memory, MIB, 2 * MIB, 0) == MAP_FAILED && errno == ENOMEM);
    remote_cold(memory, MIB);
    moved = mremap(memory, MIB, 3 * MIB, MREMAP_MAYMOVE);
    EXPECT(moved != MAP_FAILED && moved != memory);
    EXPECT(all(moved, 7, MIB) && all(moved + MIB, 0, 2 * MIB));
    EXPECT(map(memory, MIB, PROT_READ | PROT_WRITE, MAP_FIXED_NOREPLACE) == memory && all(memory, 0, MIB));
    EXPECT(mremap(memory, MIB, MIB, MREMAP_MAYMOVE | MREMAP_FIXED, moved) == MAP_FAILED && errno == EINVAL);
    munmap(memory, 2 * MIB);
    munmap(moved, 3 * MIB);
}

static sigjmp_buf back;

static void on_segv(int number)
{
    siglongjmp(back, number);
}

static void protections(void)
{
    volatile uint8_t *memory = map(NULL, MIB, PROT_READ | PROT_WRITE, 0);
    int caught;

    memset((void *)memory, 3, MIB);
    signal(SIGSEGV, on_segv);
    EXPECT(mprotect((void *)memory, 65536, PROT_READ) == 0);
    remote_cold((void *)memory, MIB);
    EXPECT(memory[5] == 3 && memory[65536] == 3);
    caught = sigsetjmp(back, 1);
    if (!caught)
        memory[6] = 4;
    EXPECT(caught == SIGSEGV && memory[6] == 3);
    memory[65536] = 4;
    EXPECT(mprotect((void *)memory, MIB, PROT_NONE) == -1 && errno == ENOMEM); /* refused, not ignored */
    EXPECT(munmap((void *)memory, MIB) == 0);
    EXPECT(map((void *)memory, MIB, PROT_READ | PROT_WRITE, MAP_FIXED_NOREPLACE) == memory);
    memory[6] = 4; /* whoever gets it next may write */
    munmap((void *)memory, MIB);
    signal(SIGSEGV, SIG_DFL);
}

/* 32 MiB are asked for, half of it is there. */
static void full_pool(int strict)
{
    unsigned remote = 0, local = 0, none = 0;
    uint8_t *pieces[32];

    for (int i = 0; i < 32; i++) {
        pieces[i] = map(NULL, MIB, PROT_READ | PROT_WRITE, 0);
        if (pieces[i] == MAP_FAILED)
            none++;
        else if (is_remote(pieces[i]))
            remote++;
        else
            local++;
        if (pieces[i] != MAP_FAILED)
            memset(pieces[i], i, MIB);
    }
    EXPECT(remote > 10 && remote < 17);
    EXPECT(strict ? none > 14 && local == 0 : local > 14 && none == 0);
    for (int i = 0; i < 32; i++)
        if (pieces[i] != MAP_FAILED)
            EXPECT(all(pieces[i], (uint8_t)i, MIB) && munmap(pieces[i], MIB) == 0);
    EXPECT(is_remote(map(NULL, MIB, PROT_READ | PROT_WRITE, 0)));
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        full_pool(strcmp(argv[1], "strict") == 0);
    } else {
        what_goes_where();
        reuse();
        discards();
        moves();
        protections();
    }
    puts("fine");
    return 0;
}
