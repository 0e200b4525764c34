/* fds.h - our descriptors: out of the program's way, and safe from it
 *
 * Programs count on low numbers being theirs, and daemons close whatever they find open. Ours have numbers of
 * their own, high up; closing one does nothing, and another file cannot be put in its place.
 */
#ifndef CXE_PRELOAD_FDS_H
#define CXE_PRELOAD_FDS_H

#include <stdbool.h>

#define FDS_COUNT 128

/* Chooses the numbers: below the limit on open files. -EMFILE: the limit leaves no room. */
int fds_init(void);

/* The numbers in question: first to end - 1. */
unsigned fds_first(void);
unsigned fds_end(void);

/* Moves a descriptor that the library just opened to one of them. Returns the new number; a negative value is
 * handed through, -EMFILE: there are too many. Async-signal-safe. */
int fds_adopt(int fd);

/* Another descriptor for the same file, among ours. As fds_adopt. */
int fds_duplicate(int fd);

/* Keeps the program from closing a descriptor that already has one of our numbers. */
void fds_keep(int fd);

/* Closes one of ours. */
int fds_close(int fd);

bool fds_is_ours(int fd);

#endif
