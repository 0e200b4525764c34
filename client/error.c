/* error.c - see error.h */
#include "error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cxe.h"

static _Thread_local char sentence[512];

int fail(int error, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(sentence, sizeof(sentence), format, arguments);
    va_end(arguments);
    return error;
}

const char *cxe_last_error(void)
{
    return sentence;
}

int fail_region(int error, const char *name)
{
    switch (-error) {
    case 0:
        return 0;
    case ENOENT:
        return fail(error, "there is no region '%s'", name);
    case EEXIST:
        return fail(error, "there is a region '%s' already", name);
    case EINVAL:
        return fail(error,
                    "region '%s': a name is 1 to 63 of A-Z a-z 0-9 . _ - / and a size a multiple of 4096",
                    name);
    case EDQUOT:
        return fail(error, "region '%s' would exceed the tenant's quota", name);
    case ENOSPC:
        return fail(error, "the pool has no room for region '%s'", name);
    case EACCES:
        return fail(error, "region '%s' is sealed: it can only be read", name);
    case ESTALE:
        return fail(error, "region '%s' is gone: deleted, or the server restarted", name);
    case ETIMEDOUT:
        return fail(error, "region '%s': the server did not answer in time", name);
    case ENOTRECOVERABLE:
        return fail(error, "region '%s': nobody can tell whether it was done; the server's session was lost",
                    name);
    default:
        return fail(error, "region '%s': %s", name, strerror(-error));
    }
}
