/* error.h - the sentence behind cxe_last_error */
#ifndef CXE_CLIENT_ERROR_H
#define CXE_CLIENT_ERROR_H

/* Remembers the sentence for this thread and returns `error`, so that `return fail(-EINVAL, "...")` reads
 * well. Not for signal handlers. */
int fail(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
