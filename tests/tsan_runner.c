/* tsan_runner.c - runs Criterion's tests in plain forked children, for builds under ThreadSanitizer
 *
 * Criterion 2.4 builds the process of each test by hand, and crashes there under ThreadSanitizer before any
 * test runs. The functions here stand before those of the same name in libcriterion and do what the tests of
 * this project need: cases, parameters, fixtures, expected signals and exit codes, timeouts, skipping. The
 * last line is Criterion's.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* The linker names the ends of the sections in which the tests list themselves. */
extern struct criterion_test *__start_cr_tst[], *__stop_cr_tst[];
extern struct criterion_suite *__start_cr_sts[] __attribute__((weak)), *__stop_cr_sts[] __attribute__((weak));

enum { EXIT_FAILED = 101, EXIT_SKIPPED = 102, DEFAULT_TIMEOUT_S = 120 };

static const struct criterion_test *current;
static const struct criterion_suite *current_suite;
static void *parameter;
static bool failed;

static int passed_cases, failed_cases, crashed_cases, skipped_cases;

/* ---- what a test calls; see criterion/abort.h and criterion/event.h ---- */

void criterion_abort_test(void)
{
    _exit(EXIT_FAILED);
}

void criterion_continue_test(void)
{
    failed = true;
}

void criterion_skip_test(const char *format, ...)
{
    va_list args;

    printf("[SKIP] %s::%s: ", current->category, current->name);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    fflush(stdout);
    _exit(EXIT_SKIPPED);
}

void criterion_send_assert(struct criterion_assert_stats *stats)
{
    printf("[----] %s:%u: %s\n", stats->file, stats->line, stats->message);
    fflush(stdout);
}

void cri_asserts_passed_incr(void)
{
}

static const struct criterion_test_extra_data *suite_data(void)
{
    return current_suite ? current_suite->data : NULL;
}

void criterion_internal_test_setup(void)
{
    if (suite_data() && suite_data()->init)
        suite_data()->init();
    if (current->data->init)
        current->data->init();
}

void criterion_internal_test_main(void (*fn)(void))
{
    if (current->data->kind_ == CR_TEST_PARAMETERIZED)
        ((void (*)(void *))fn)(parameter);
    else
        fn();
}

void criterion_internal_test_teardown(void)
{
    if (current->data->fini)
        current->data->fini();
    if (suite_data() && suite_data()->fini)
        suite_data()->fini();
}

/* ---- running them ---- */

static const struct criterion_suite *find_suite(const char *name)
{
    for (struct criterion_suite **suite = __start_cr_sts; suite < __stop_cr_sts; suite++)
        if (*suite && strcmp((*suite)->name, name) == 0)
            return *suite;
    return NULL;
}

static unsigned timeout_s(void)
{
    double timeout = current->data->timeout;

    if (timeout == 0 && suite_data())
        timeout = suite_data()->timeout;
    /* Code under ThreadSanitizer is some ten times slower. */
    return timeout > 0 ? (unsigned)(10 * timeout) + 1 : DEFAULT_TIMEOUT_S;
}

static _Noreturn void run_in_child(void)
{
    alarm(timeout_s());
    current->test();
    fflush(stdout);
    if (failed)
        _exit(EXIT_FAILED);
    exit(0);
}

static void count(int status)
{
    const char *verdict = "FAIL";

    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIPPED) {
        skipped_cases++;
        return;
    }
    if (WIFSIGNALED(status) ? WTERMSIG(status) == current->data->signal && current->data->signal
                            : WEXITSTATUS(status) == current->data->exit_code && !current->data->signal) {
        passed_cases++;
        verdict = "PASS";
    } else if (WIFSIGNALED(status) || WEXITSTATUS(status) != EXIT_FAILED) {
        crashed_cases++;
        verdict = "CRASH";
    } else {
        failed_cases++;
    }
    printf("[%s] %s::%s (status %#x)\n", verdict, current->category, current->name, (unsigned)status);
}

static void run_case(void)
{
    int status = 0;
    pid_t child;

    fflush(stdout);
    child = fork();
    if (child == 0)
        run_in_child();
    if (child < 0 || waitpid(child, &status, 0) != child)
        status = EXIT_FAILED << 8;
    count(status);
}

static void run_test(const struct criterion_test *test)
{
    current = test;
    current_suite = find_suite(test->category);
    if (test->data->disabled || (suite_data() && suite_data()->disabled)) {
        skipped_cases++;
    } else if (test->data->kind_ == CR_TEST_PARAMETERIZED) {
        struct criterion_test_params params = test->data->param_();

        for (size_t i = 0; i < params.length; i++) {
            parameter = (char *)params.params + i * params.size;
            run_case();
        }
    } else {
        run_case();
    }
}

int main(void)
{
    for (struct criterion_test **test = __start_cr_tst; test < __stop_cr_tst; test++)
        if (*test)
            run_test(*test);
    printf("[====] Synthesis: Tested: %d | Passing: %d | Failing: %d | Crashing: %d\n",
           passed_cases + failed_cases + crashed_cases, passed_cases, failed_cases + crashed_cases,
           crashed_cases);
    return failed_cases + crashed_cases > 0;
}
