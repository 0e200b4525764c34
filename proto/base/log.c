/* log.c - see log.h */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "atomic.h"
#include "clock.h"

#define LOG_LINE_BYTES 1024

static int level_now = LOG_LEVEL_INFO;
static uint64_t dropped;

static const char *const level_names[] = {"error", "warning", "info", "debug"};

void log_set_level(enum log_level level)
{
    store_relaxed(&level_now, (int)level);
}

uint64_t log_dropped(void)
{
    return load_relaxed(&dropped);
}

bool log_site_allows(struct log_site *site)
{
    uint64_t now = clock_now_ns();

    if (now - load_relaxed(&site->window_start_ns) >= NS_PER_S) {
        store_relaxed(&site->window_start_ns, now);
        store_relaxed(&site->lines_in_window, 0);
    }
    if (fetch_add_relaxed(&site->lines_in_window, 1) < LOG_SITE_BURST)
        return true;
    fetch_add_relaxed(&dropped, 1);
    return false;
}

void log_line(enum log_level level, const char *format, ...)
{
    char line[LOG_LINE_BYTES];
    va_list arguments;
    int used, text;

    if ((int)level > load_relaxed(&level_now))
        return;
    used = snprintf(line, sizeof(line), "%s: %s: ", program_invocation_short_name, level_names[level]);
    va_start(arguments, format);
    text = vsnprintf(line + used, sizeof(line) - (size_t)used - 1, format, arguments);
    va_end(arguments);
    if (text < 0)
        text = 0;
    used += text;
    if (used > (int)sizeof(line) - 2)
        used = sizeof(line) - 2;
    line[used++] = '\n';
    if (write(STDERR_FILENO, line, (size_t)used) != used)
        fetch_add_relaxed(&dropped, 1);
}
