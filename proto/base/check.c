/* check.c - how a broken invariant ends the process */
#include "check.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void put(const char *text)
{
    ssize_t ignored = write(STDERR_FILENO, text, strlen(text));
    (void)ignored; /* nothing is left to be done about it */
}

_Noreturn void check_failed(const char *condition, const char *file, int line)
{
    char digits[12];
    char *digit = digits + sizeof(digits) - 1;

    *digit = '\0';
    do {
        *--digit = (char)('0' + line % 10);
        line /= 10;
    } while (line > 0);
    put(file);
    put(":");
    put(digit);
    put(": invariant broken: ");
    put(condition);
    put("\n");
    abort();
}
