/* test_log.c - one line, one write, and never in the way */
#include "log.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int reader;
static char text[1 << 20];

/* Standard error of this test's own process, into a pipe that never blocks. */
static void capture(void)
{
    int ends[2];

    cr_assert_eq(pipe2(ends, O_NONBLOCK), 0);
    cr_assert_geq(dup2(ends[1], STDERR_FILENO), 0);
    close(ends[1]);
    fcntl(ends[0], F_SETPIPE_SZ, 1 << 20);
    reader = ends[0];
}

static const char *captured(void)
{
    size_t used = 0;
    ssize_t got;

    while ((got = read(reader, text + used, sizeof(text) - 1 - used)) > 0)
        used += (size_t)got;
    text[used] = '\0';
    return text;
}

static unsigned count_lines(const char *lines)
{
    unsigned count = 0;

    for (; (lines = strchr(lines, '\n')); lines++)
        count++;
    return count;
}

TestSuite(log, .init = capture);

Test(log, a_line_names_program_and_level)
{
    char expected[256];

    log_error("cannot open %s: %d", "door", 7);
    snprintf(expected, sizeof(expected), "%s: error: cannot open door: 7\n", program_invocation_short_name);
    cr_expect_str_eq(captured(), expected);
}

Test(log, levels_below_are_silent)
{
    log_debug("not by default");
    cr_expect_str_eq(captured(), "");
    log_set_level(LOG_LEVEL_DEBUG);
    log_debug("now");
    cr_expect(strstr(captured(), "debug: now"));
    log_set_level(LOG_LEVEL_ERROR);
    log_warn("no more");
    log_info("no more");
    cr_expect_str_eq(captured(), "");
    log_error("always");
    cr_expect_eq(count_lines(captured()), 1);
}

Test(log, a_long_line_is_cut_and_still_ends)
{
    static char huge[8192];
    const char *line;

    memset(huge, 'x', sizeof(huge) - 1);
    log_error("%s", huge);
    line = captured();
    cr_expect_eq(count_lines(line), 1);
    cr_expect_leq(strlen(line), 1024);
    cr_expect_gt(strlen(line), 900);
    cr_expect_eq(line[strlen(line) - 1], '\n');
    for (size_t length = 900; length < 1100; length++) {
        huge[length] = '\0';
        log_error("%s", huge);
        huge[length] = 'x';
        line = captured();
        cr_expect_eq(count_lines(line), 1);
        cr_expect_eq(line[strlen(line) - 1], '\n', "%zu", length);
    }
}

/* A peer may provoke a line as often as it likes. */
Test(log, a_provoked_line_is_limited)
{
    unsigned passed;

    for (int i = 0; i < 1000; i++)
        log_limited(LOG_LEVEL_WARN, "peer did %d", i);
    passed = count_lines(captured());
    cr_expect(passed >= LOG_SITE_BURST && passed <= 2 * LOG_SITE_BURST, "%u lines", passed);
    cr_expect_eq(log_dropped(), 1000 - passed);
    log_warn("other lines pass");
    cr_expect_eq(count_lines(captured()), 1);
}

Test(log, sites_are_limited_each_for_itself)
{
    for (int i = 0; i < 100; i++) {
        log_limited(LOG_LEVEL_WARN, "one");
        log_limited(LOG_LEVEL_WARN, "two");
    }
    cr_expect_geq(count_lines(captured()), 2 * LOG_SITE_BURST);
}

/* Disk full, reader gone, descriptor closed: the service goes on and counts. */
Test(log, a_line_that_cannot_be_written_is_counted)
{
    int full = open("/dev/full", O_WRONLY);

    if (full < 0)
        cr_skip_test("no /dev/full");
    cr_assert_geq(dup2(full, STDERR_FILENO), 0);
    log_error("into the void");
    close(STDERR_FILENO);
    log_error("into nothing");
    cr_expect_eq(log_dropped(), 2);
}

#define THREADS 4
#define LINES   200

static void *log_many(void *argument)
{
    for (int i = 0; i < LINES; i++)
        log_info("thread %s %s %s", (const char *)argument, (const char *)argument, (const char *)argument);
    return NULL;
}

Test(log, lines_of_threads_do_not_mix)
{
    static char names[THREADS][100];
    pthread_t threads[THREADS];
    char *line, *rest;
    unsigned lines = 0;

    for (int i = 0; i < THREADS; i++) {
        memset(names[i], 'a' + i, sizeof(names[i]) - 1);
        cr_assert_eq(pthread_create(&threads[i], NULL, log_many, names[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    captured();
    for (rest = text; (line = strsep(&rest, "\n")) && *line; lines++) {
        char *name = strstr(line, "thread ");

        cr_assert(name, "%s", line);
        name += strlen("thread ");
        for (char *at = name; *at; at++)
            cr_assert(*at == ' ' || *at == *name, "%s", line);
    }
    cr_expect_eq(lines, THREADS * LINES);
}
