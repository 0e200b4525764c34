/* threads.c - see threads.h */
#include "threads.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

#include "allocate.h"
#include "check.h"
#include "heap.h"
#include "wrap.h"

#define NOTED_MAX 4

struct noted {
    pthread_t *thread;
    size_t stack_bytes;
    thread_main *main;
    void *argument;
};

/* Used where there is one thread: in the constructor. */
static bool deferring;
static struct noted noted[NOTED_MAX];
static unsigned noted_count;

void threads_defer(void)
{
    deferring = true;
}

static int note(pthread_t *thread, const pthread_attr_t *attributes, thread_main *main, void *argument)
{
    struct noted *later = &noted[noted_count];

    if (noted_count == NOTED_MAX)
        return EAGAIN;
    *later = (struct noted){.thread = thread, .main = main, .argument = argument};
    if (attributes)
        pthread_attr_getstacksize(attributes, &later->stack_bytes);
    noted_count++;
    return 0;
}

/* What a thread of the library runs first: all that it allocates is the library's. */
struct start {
    thread_main *main;
    void *argument;
};

static void *run(void *argument)
{
    struct start start = *(struct start *)argument;

    heap_free(argument);
    library_enter();
    return start.main(start.argument);
}

/* libc allocates for a thread, too. */
static int create(pthread_t *thread, const pthread_attr_t *attributes, thread_main *main, void *argument)
{
    struct start *start = heap_alloc(sizeof(*start), sizeof(void *));
    int error;

    if (!start)
        return EAGAIN;
    *start = (struct start){main, argument};
    library_enter();
    error = __real_pthread_create(thread, attributes, run, start);
    library_leave();
    if (error)
        heap_free(start);
    return error;
}

/* Those who asked went on as if there was a thread: it must come to be. */
static void make(const struct noted *later)
{
    pthread_attr_t attributes;

    pthread_attr_init(&attributes);
    if (later->stack_bytes)
        pthread_attr_setstacksize(&attributes, later->stack_bytes);
    CHECK(create(later->thread, &attributes, later->main, later->argument) == 0);
    pthread_attr_destroy(&attributes);
}

void threads_start(void)
{
    sigset_t all, saved;

    sigfillset(&all);
    __wrap_pthread_sigmask(SIG_SETMASK, &all, &saved);
    for (unsigned i = 0; i < noted_count; i++)
        make(&noted[i]);
    noted_count = 0;
    deferring = false;
    __wrap_pthread_sigmask(SIG_SETMASK, &saved, NULL);
}

int threads_create(pthread_t *thread, const pthread_attr_t *attributes, thread_main *main, void *argument)
{
    if (deferring)
        return note(thread, attributes, main, argument);
    return create(thread, attributes, main, argument);
}
