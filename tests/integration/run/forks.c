/* forks.c - a child has the memory of the moment of the fork, and neither sees what the other does after it
 */
#include "pool_memory.h"

#include <pthread.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB   (1ul << 20)
#define BYTES (12 * MIB)

static uint64_t *memory;

static void fill(uint64_t seed)
{
    for (size_t i = 0; i < BYTES / 8; i++)
        memory[i] = i * 0x9e3779b97f4a7c15ull + seed;
}

static int holds(uint64_t seed)
{
    for (size_t i = 0; i < BYTES / 8; i++)
        if (memory[i] != i * 0x9e3779b97f4a7c15ull + seed)
            return 0;
    return 1;
}

static int reap(pid_t child)
{
    int status;

    EXPECT(child > 0);
    EXPECT(waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void snapshot(void)
{
    int ready[2];
    char byte;
    pid_t child;

    fill(1);
    EXPECT(pipe(ready) == 0);
    child = fork();
    if (child == 0) {
        EXPECT(read(ready[0], &byte, 1) == 1); /* the parent has changed everything by now */
        EXPECT(holds(1));
        fill(3);
        remote_cold(memory, BYTES);
        EXPECT(holds(3));
        _exit(0);
    }
    fill(2);
    remote_cold(memory, BYTES);
    EXPECT(write(ready[1], "x", 1) == 1);
    EXPECT(reap(child) == 0);
    EXPECT(holds(2));
    close(ready[0]);
    close(ready[1]);
}

/* The child of a child, and memory that comes and goes in all of them. */
static void generations(void)
{
    pid_t child;

    fill(4);
    child = fork();
    if (child == 0) {
        char *fresh = malloc(2 * MIB);

        EXPECT(is_remote(fresh));
        memset(fresh, 1, 2 * MIB);
        fill(5);
        child = fork();
        if (child == 0) {
            EXPECT(holds(5) && fresh[MIB] == 1);
            free(fresh);
            _exit(0);
        }
        free(fresh);
        EXPECT(reap(child) == 0);
        EXPECT(holds(5));
        exit(0); /* with destructors */
    }
    EXPECT(reap(child) == 0);
    EXPECT(holds(4));
}

static volatile int stop;

static void *churn(void *unused)
{
    unsigned state = 12345;

    (void)unused;
    while (!stop) {
        size_t bytes = 1000 + (state = state * 1103515245u + 12345) % (256 * 1024);
        uint8_t *piece = malloc(bytes);

        EXPECT(piece);
        memset(piece, (int)bytes, bytes);
        EXPECT(piece[bytes - 1] == (uint8_t)bytes);
        free(piece);
    }
    return NULL;
}

/* Other threads allocate while this one forks: their locks must not stay taken in the child. */
static void among_threads(void)
{
    pthread_t threads[3];

    for (int i = 0; i < 3; i++)
        EXPECT(pthread_create(&threads[i], NULL, churn, NULL) == 0);
    for (int i = 0; i < 10; i++) {
        pid_t child = fork();

        if (child == 0) {
            void *pieces[64];

            for (int j = 0; j < 64; j++)
                pieces[j] = memset(malloc((size_t)(j + 1) * 3000), j, (size_t)(j + 1) * 3000);
            for (int j = 0; j < 64; j++)
                free(pieces[j]);
            _exit(9);
        }
        EXPECT(reap(child) == 9);
    }
    stop = 1;
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
}

/* A child that libc's fork did not make has no mapping: it must not read zeros. */
static void behind_our_back(void)
{
    pid_t child;

    fill(6);
    remote_cold(memory, BYTES);
    child = (pid_t)syscall(SYS_fork);
    if (child == 0)
        _exit(memory[4096] == 0 ? 1 : 2);
    EXPECT(reap(child) == -11);
    EXPECT(holds(6));
}

int main(void)
{
    memory = remote_alloc(BYTES);
    snapshot();
    generations();
    among_threads();
    behind_our_back();
    puts("fine");
    return 0;
}
