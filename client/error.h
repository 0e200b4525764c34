/* error.h - the sentence behind cxe_last_error */
#ifndef CXE_CLIENT_ERROR_H
#define CXE_CLIENT_ERROR_H

/* Remembers the sentence for this thread and returns `error`, so that `return fail(-EINVAL, "...")` reads
 * well. Not for signal handlers. */
int fail(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same with the sentence that belongs to an error of an operation on the region of this name. 0 stays 0.
 */
int fail_region(int error, const char *name);

#endif
