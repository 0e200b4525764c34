/* error.c - see error.h */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>

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
