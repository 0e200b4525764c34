/* threads.h - the library's own threads, made when they can be
 *
 * A thread starts with every signal blocked. If a filter comes into force before it has unblocked SIGSYS, its
 * first trapped call kills the process. So until there is a filter threads are noted, and made a little
 * later.
 */
#ifndef CXE_PRELOAD_THREADS_H
#define CXE_PRELOAD_THREADS_H

#include <pthread.h>

typedef void *thread_main(void *argument);

/* From now on threads are noted only. */
void threads_defer(void);

/* Makes those that were noted, and from now on at once. */
void threads_start(void);

/* pthread_create for the library. EAGAIN: too many are noted. `thread` must last: of one that is noted, it is
 * written when that is made, and says nothing before. */
int threads_create(pthread_t *thread, const pthread_attr_t *attributes, thread_main *main, void *argument);

#endif
