/* check.h - CHECK: an invariant whose breach must stop the process, in every build */
#ifndef CXE_BASE_CHECK_H
#define CXE_BASE_CHECK_H

/* For memory safety and coherence only; never for peer input, system calls or allocation.
 * Async-signal-safe: formats into a stack buffer, writes to standard error, aborts. */
_Noreturn void check_failed(const char *condition, const char *file, int line);

#define CHECK(condition)                                  \
    do {                                                  \
        if (__builtin_expect(!(condition), 0))            \
            check_failed(#condition, __FILE__, __LINE__); \
    } while (0)

#endif
