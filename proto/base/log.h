/* log.h - lines for people, on standard error; rate-limited, without allocation */
#ifndef CXE_BASE_LOG_H
#define CXE_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Lines below this level are dropped; LOG_LEVEL_INFO at start. Any thread. */
void log_set_level(enum log_level level);

/* Writes one line, "<program>: <level>: <text>", in one write(2), so that lines of several threads do not
 * mix. A line that cannot be written is counted (log_dropped) and forgotten: logging never stops the service.
 * Not for signal handlers. */
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Lines lost because standard error did not take them, or because a site's rate was exceeded. */
uint64_t log_dropped(void);

/* One per call site of log_limited: at most `LOG_SITE_BURST` lines a second pass. */
#define LOG_SITE_BURST 5
struct log_site {
    uint64_t window_start_ns; /* relaxed atomics: two threads may let one line too many through */
    uint32_t lines_in_window;
};
bool log_site_allows(struct log_site *site);

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* For anything a peer can provoke. */
#define log_limited(level, ...)           \
    do {                                  \
        static struct log_site log_site_; \
        if (log_site_allows(&log_site_))  \
            log_line(level, __VA_ARGS__); \
    } while (0)

#endif
