/* test_fabricd.c - the daemon as a whole: what stops it from starting, what a signal does */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fabricd.h"
#include "keys.h"

#define PATIENCE_MS 20000
#define KEY_A       "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="

static char directory[] = "/tmp/cxe-fabricd-XXXXXX";

/* A daemon in a child, and what it says. */
struct child {
    pid_t pid;
    int stderr_fd;
    char said[16384];
    size_t said_bytes;
};

static char *in_directory(const char *name)
{
    char *path = NULL;

    cr_assert_gt(asprintf(&path, "%s/%s", directory, name), 0);
    return path;
}

static void setup(void)
{
    cr_assert_not_null(mkdtemp(directory));
    setenv("XDG_RUNTIME_DIR", directory, 1);
}

static void remove_file(const char *name)
{
    char *path = in_directory(name);

    if (unlink(path) != 0)
        rmdir(path);
    free(path);
}

static void teardown(void)
{
    static const char *const names[] = {"f.yaml", "server.key", "server.key.pub", "c.sock", "cxe"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        remove_file(names[i]);
    cr_expect_eq(rmdir(directory), 0, "something was left in %s", directory);
}

TestSuite(fabricd, .init = setup, .fini = teardown, .timeout = 100);

static char *write_config(const char *text)
{
    char *path = in_directory("f.yaml");
    FILE *file = fopen(path, "w");

    fputs(text, file);
    fclose(file);
    return path;
}

/* One worker on any free port, a small pool, and what the test adds. */
#define SMALL "workers: 1\nlisten: ['127.0.0.1:0']\npool: {size: 1M}\nspin: 0us\n"

static void start(struct child *child, const char *config_text, rlim_t open_files)
{
    char *config_file = write_config(config_text);
    const struct options options = {.config_file = config_file};
    int pipe_fds[2];

    *child = (struct child){.pid = -1};
    cr_assert_eq(pipe2(pipe_fds, O_CLOEXEC), 0);
    child->pid = fork();
    cr_assert_geq(child->pid, 0);
    if (child->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nobody behind */
        dup2(pipe_fds[1], STDERR_FILENO);
        if (open_files)
            setrlimit(RLIMIT_NOFILE, &(struct rlimit){open_files, open_files});
        _exit(fabricd_run(&options));
    }
    close(pipe_fds[1]);
    child->stderr_fd = pipe_fds[0];
    free(config_file);
}

/* Reads what the child says until `text` is among it; false: it ended, or it takes too long. */
static bool hears(struct child *child, const char *text)
{
    struct pollfd wait = {.fd = child->stderr_fd, .events = POLLIN};

    while (!strstr(child->said, text)) {
        size_t room = sizeof(child->said) - 1 - child->said_bytes;
        ssize_t got;

        if (room == 0 || poll(&wait, 1, PATIENCE_MS) != 1)
            return false;
        got = read(child->stderr_fd, child->said + child->said_bytes, room);
        if (got <= 0)
            return false;
        child->said_bytes += (size_t)got;
    }
    return true;
}

static void expect_to_hear(struct child *child, const char *text)
{
    cr_assert(hears(child, text), "waited in vain for '%s' in:\n%s", text, child->said);
}

static int exit_status(struct child *child)
{
    int status;

    cr_assert_eq(waitpid(child->pid, &status, 0), child->pid);
    close(child->stderr_fd);
    cr_assert(WIFEXITED(status), "ended by signal %d:\n%s", WTERMSIG(status), child->said);
    return WEXITSTATUS(status);
}

static void stop(struct child *child)
{
    kill(child->pid, SIGTERM);
    cr_expect_eq(exit_status(child), 0);
}

static void expect_refusal(const char *config_text, rlim_t open_files, const char *sentence, int status)
{
    struct child child;

    start(&child, config_text, open_files);
    expect_to_hear(&child, sentence);
    cr_expect_eq(exit_status(&child), status);
}

static unsigned port_of(struct child *child)
{
    unsigned port = 0;

    expect_to_hear(child, " over eth");
    cr_assert_eq(sscanf(strstr(child->said, "listening on "), "listening on 127.0.0.1:%u", &port), 1);
    return port;
}

/* ---- up and down ---- */

Test(fabricd, serves_announces_its_key_and_leaves_nothing_behind)
{
    uint8_t public_key[NOISE_KEY_BYTES];
    char path[128], why[KEYS_WHY_BYTES] = "";
    struct child child;
    struct stat status;

    start(&child, SMALL, 0);
    expect_to_hear(&child, "control socket /");
    snprintf(path, sizeof(path), "%s/cxe/fabricd-%u.pub", directory, port_of(&child));
    cr_assert_eq(stat(path, &status), 0, "%s", path);
    cr_expect_eq(status.st_mode & 0777, 0644);
    cr_expect_eq(keys_read_public(path, public_key, why, sizeof(why)), 0, "%s", why);
    stop(&child);
    cr_expect_neq(access(path, F_OK), 0, "the key is withdrawn");
}

Test(fabricd, sigint_stops_it_too)
{
    struct child child;

    start(&child, SMALL, 0);
    expect_to_hear(&child, "serving ");
    kill(child.pid, SIGINT);
    cr_expect_eq(exit_status(&child), 0);
}

/* ---- what stops it from starting ---- */

Test(fabricd, refuses_to_start_twice_on_one_port)
{
    struct child first, second;
    char config[256], sentence[128];
    unsigned port;

    start(&first, SMALL, 0);
    port = port_of(&first);
    snprintf(config, sizeof(config), "workers: 2\nlisten: ['127.0.0.1:%u']\npool: {size: 1M}\n", port);
    snprintf(sentence, sizeof(sentence), "cannot listen on 127.0.0.1:%u over eth: Address already in use\n",
             port);
    start(&second, config, 0);
    expect_to_hear(&second, sentence);
    cr_expect_eq(exit_status(&second), 1);
    stop(&first);
}

static void start_waiting(struct child *child, unsigned port)
{
    char config[256];

    snprintf(config, sizeof(config), "workers: 2\nlisten: ['127.0.0.1:%u']\npool: {size: 1M}\n", port);
    start(child, config, 0);
    expect_to_hear(child, "waiting up to 5 s for 127.0.0.1:");
}

/* As a killed daemon's sockets are: its io_uring is taken down in the background. */
Test(fabricd, waits_for_a_port_that_becomes_free)
{
    struct child first, second;

    start(&first, SMALL, 0);
    start_waiting(&second, port_of(&first));
    stop(&first);
    expect_to_hear(&second, "serving ");
    stop(&second);
}

Test(fabricd, can_be_stopped_while_it_waits_for_a_port)
{
    struct child first, second;

    start(&first, SMALL, 0);
    start_waiting(&second, port_of(&first));
    kill(second.pid, SIGTERM);
    expect_to_hear(&second, "told to stop");
    cr_expect_eq(exit_status(&second), 1);
    stop(&first);
}

Test(fabricd, refuses_the_control_socket_of_another)
{
    struct child first, second;
    char *path = in_directory("c.sock"), config[256];

    snprintf(config, sizeof(config), SMALL "control_socket: %s\n", path);
    start(&first, config, 0);
    expect_to_hear(&first, "serving ");
    start(&second, config, 0);
    expect_to_hear(&second, "control_socket: another daemon is serving on ");
    cr_expect_eq(exit_status(&second), 1);
    stop(&first);
    free(path);
}

Test(fabricd, refuses_a_key_that_others_can_read)
{
    char *path = in_directory("server.key"), config[256], why[KEYS_WHY_BYTES];
    struct noise_keypair pair;

    keys_generate(&pair);
    cr_assert_eq(keys_write_pair(path, &pair, why, sizeof(why)), 0, "%s", why);
    cr_assert_eq(chmod(path, 0644), 0);
    snprintf(config, sizeof(config), SMALL "key_file: %s\n", path);
    expect_refusal(config, 0, "mode 0644 is too loose for a secret key", 1);
    free(path);
}

Test(fabricd, refuses_a_missing_key)
{
    expect_refusal(SMALL "key_file: /nowhere/server.key\n", 0,
                   "/nowhere/server.key: cannot open the key file", 1);
}

Test(fabricd, refuses_a_pool_larger_than_the_machine)
{
    expect_refusal("workers: 1\nlisten: ['127.0.0.1:0']\npool: {size: 4T}\n", 0,
                   "the pool with its tables needs", 1);
}

Test(fabricd, refuses_too_few_descriptors)
{
    expect_refusal(SMALL, 24, "file descriptors, and the limit is 24", 1);
}

Test(fabricd, refuses_a_wrong_configuration_with_status_2)
{
    expect_refusal("workers: 1\nlisten: ['0.0.0.0:7400']\n", 0, "refusing to listen on 0.0.0.0:7400", 2);
}

/* Without a place for the default socket the daemon serves all the same: data need no control socket. */
Test(fabricd, serves_without_a_runtime_directory)
{
    struct child child;

    setenv("XDG_RUNTIME_DIR", "/nowhere", 1);
    start(&child, SMALL, 0);
    expect_to_hear(&child,
                   "no control socket: cannot make the directory /nowhere/cxe: No such file or directory");
    expect_to_hear(&child, "control socket none");
    stop(&child);
}

/* ---- reload ---- */

Test(fabricd, a_broken_reload_keeps_the_old_configuration)
{
    struct child child;

    start(&child, SMALL "tenants: [{name: a, public_key: " KEY_A "}]\n", 0);
    expect_to_hear(&child, "serving ");
    free(write_config(SMALL "tenants: [{name: a}]\n"));
    kill(child.pid, SIGHUP);
    expect_to_hear(&child,
                   "f.yaml:5: tenants[0]: a tenant needs a public_key; the old configuration stays\n");
    stop(&child);
}

Test(fabricd, a_reload_applies_what_it_can_and_names_the_rest)
{
    struct child child;

    start(&child, SMALL, 0);
    expect_to_hear(&child, "serving ");
    free(write_config(
        "workers: 1\nlisten: ['127.0.0.1:0']\npool: {size: 2M}\nspin: 1us\nlog_level: warning\n"));
    kill(child.pid, SIGHUP);
    expect_to_hear(&child, "reload: spin changed; it takes effect at the next start\n");
    expect_to_hear(&child, "reload: pool.size changed; it takes effect at the next start\n");
    kill(child.pid, SIGTERM);
    cr_expect_not(hears(&child, "stopped"), "log_level: warning hides what is only information");
    cr_expect_eq(exit_status(&child), 0);
}

/* ---- the control socket's orders, through the whole daemon ---- */

Test(fabricd, post_drain_ends_it)
{
    static const char request[] = "POST /drain HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct child child;

    start(&child, SMALL, 0);
    expect_to_hear(&child, "control socket /");
    snprintf(name.sun_path, sizeof(name.sun_path), "%s/cxe/fabricd-%u.sock", directory, port_of(&child));
    cr_assert_eq(connect(fd, (struct sockaddr *)&name, sizeof(name)), 0, "%s", strerror(errno));
    cr_assert_eq(write(fd, request, strlen(request)), (ssize_t)strlen(request));
    cr_expect_eq(exit_status(&child), 0);
    close(fd);
}
