/* daemon.c - see daemon.h */
#include "daemon.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "fabricd.h"

#define PATIENCE_NS (30 * NS_PER_S)
#define STARTS      5 /* somebody else may take the port before the daemon does */

/* A port that is free now. */
static unsigned free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t address_bytes = sizeof(address);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    cr_assert_geq(fd, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&address, &address_bytes), 0);
    close(fd);
    return ntohs(address.sin_port);
}

static _Noreturn void be_daemon(const struct daemon *daemon, unsigned workers, const char *fault)
{
    char count[16];
    struct options options = {.overrides = {{"listen", "--listen", daemon->address},
                                            {"workers", "--workers", count},
                                            {"pool.size", "--pool", "64M"},
                                            {"spin", "--spin", "20us"},
                                            {"encryption", "--encryption", "allowed"},
                                            {"handshake.per_second", "--per-second", "100000"},
                                            {"handshake.burst", "--burst", "10000"},
                                            {"drain_timeout", "--drain-timeout", "0s"},
                                            {"lease", "--lease", "60s"}, /* none is to be lost here */
                                            {"log_level", "--log-level", "error"}},
                              .override_count = 10};

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setenv("XDG_RUNTIME_DIR", daemon->directory, 1);
    snprintf(count, sizeof(count), "%u", workers);
    if (fault)
        options.overrides[options.override_count++] = (struct config_override){"fault", "--fault", fault};
    _exit(fabricd_run(&options));
}

/* True when it has told its key; false if it ended. */
static bool comes_up(struct daemon *daemon)
{
    uint64_t until_ns = clock_now_ns() + PATIENCE_NS;

    while (access(daemon->key_file, R_OK) != 0) {
        if (waitpid(daemon->pid, NULL, WNOHANG) == daemon->pid)
            return false;
        cr_assert_lt(clock_now_ns(), until_ns, "fabricd does not come up");
        usleep(1000);
    }
    return true;
}

void daemon_start(struct daemon *daemon, unsigned workers, const char *fault)
{
    strcpy(daemon->directory, "/tmp/cxe-litmus-XXXXXX");
    cr_assert_not_null(mkdtemp(daemon->directory));
    fflush(stdout); /* or the child prints it again */
    for (unsigned starts = 0; starts < STARTS; starts++) {
        unsigned port = free_port();

        snprintf(daemon->address, sizeof(daemon->address), "127.0.0.1:%u", port);
        snprintf(daemon->key_file, sizeof(daemon->key_file), "%s/cxe/fabricd-%u.pub", daemon->directory,
                 port);
        daemon->pid = fork();
        cr_assert_geq(daemon->pid, 0);
        if (daemon->pid == 0)
            be_daemon(daemon, workers, fault);
        if (comes_up(daemon))
            return;
    }
    cr_assert_fail("fabricd did not start");
}

void daemon_stop(struct daemon *daemon)
{
    char path[64];
    int status = -1;

    kill(daemon->pid, SIGTERM);
    cr_assert_eq(waitpid(daemon->pid, &status, 0), daemon->pid);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "fabricd ended with status %#x",
              (unsigned)status);
    snprintf(path, sizeof(path), "%s/cxe", daemon->directory);
    rmdir(path);
    cr_expect_eq(rmdir(daemon->directory), 0, "something was left in %s", daemon->directory);
}

int daemon_connect(const struct daemon *daemon, const char *fault, enum cxe_encryption encryption,
                   struct cxe_connection **connection_out)
{
    const struct cxe_connect_options options = {
        .server = daemon->address,
        .server_key = daemon->key_file,
        .fault = fault ? fault : "",
        .encryption = encryption,
        .timeout_ns = 60 * NS_PER_S,
        .lanes = 2,
    };

    return cxe_connect(&options, connection_out);
}
