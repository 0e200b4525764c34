/* private_server.c - see private_server.h */
#include "private_server.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "clock.h"
#include "keys.h"

#define START_NS       (60 * NS_PER_S) /* a pool of many GiB takes as long */
#define CONNECT_TRY_NS (200 * NS_PER_MS)

/* A port nobody has at the moment, over UDP and TCP. Somebody may take it before the daemon does, who then
 * refuses to start: a benchmark can be repeated. */
/* A port that is free for UDP and for TCP (ofi), or -EADDRINUSE: the one that UDP got is taken for TCP. */
static int try_port(in_port_t *port_out)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t address_bytes = sizeof(address);
    const int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0),
              tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int error = 0;

    if (udp < 0 || tcp < 0 || bind(udp, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        getsockname(udp, (struct sockaddr *)&address, &address_bytes) < 0 ||
        bind(tcp, (struct sockaddr *)&address, sizeof(address)) < 0)
        error = -errno;
    if (udp >= 0)
        close(udp);
    if (tcp >= 0)
        close(tcp);
    *port_out = ntohs(address.sin_port);
    return error;
}

static int find_port(in_port_t *port_out)
{
    int error = -EADDRINUSE;

    for (unsigned tries = 0; error == -EADDRINUSE && tries < 64; tries++)
        error = try_port(port_out);
    return error;
}

static int find_program(char *path, size_t path_bytes)
{
    const ssize_t length = readlink("/proc/self/exe", path, path_bytes - 1);
    char *slash;

    if (length < 0)
        return bench_fail(-errno, "/proc/self/exe: %s", strerror(errno));
    path[length] = '\0';
    slash = strrchr(path, '/');
    snprintf(slash + 1, path_bytes - (size_t)(slash + 1 - path), "fabricd");
    if (access(path, X_OK) < 0)
        return bench_fail(-errno, "%s: %s; name a running server with --server", path, strerror(errno));
    return 0;
}

static int make_key(struct private_server *server, char *key_file, size_t key_file_bytes)
{
    char why[KEYS_WHY_BYTES];
    struct noise_keypair pair;
    int error;

    snprintf(server->directory, sizeof(server->directory), "%s/cxe-bench.XXXXXX",
             getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    if (sodium_init() < 0 || !mkdtemp(server->directory)) {
        error = bench_fail(-errno, "%s: %s", server->directory, strerror(errno));
        server->directory[0] = '\0';
        return error;
    }
    snprintf(key_file, key_file_bytes, "%s/key", server->directory);
    snprintf(server->public_key, sizeof(server->public_key), "%s/key.pub", server->directory);
    keys_generate(&pair);
    error = keys_write_pair(key_file, &pair, why, sizeof(why));
    sodium_memzero(&pair, sizeof(pair));
    return error ? bench_fail(error, "%s", why) : 0;
}

/* What fabricd has no option for. */
static int write_config(const struct private_server *server, const char *lease)
{
    char path[PRIVATE_SERVER_PATH_BYTES + 16];
    FILE *file;
    bool written;

    snprintf(path, sizeof(path), "%s/config", server->directory);
    file = fopen(path, "wxe");
    written = file && (!lease || fprintf(file, "lease: %s\n", lease) > 0);
    if ((file && fclose(file) != 0) || !written)
        return bench_fail(-EIO, "%s: %s", path, strerror(errno));
    return 0;
}

static _Noreturn void run_program(const char *program, const struct private_server_options *options,
                                  const char *key_file, const struct private_server *server)
{
    const uint64_t pool_bytes = options->pool_bytes ? options->pool_bytes : PRIVATE_POOL_BYTES;
    char control[PRIVATE_SERVER_PATH_BYTES + 16], config[PRIVATE_SERVER_PATH_BYTES + 16], pool[32];

    snprintf(pool, sizeof(pool), "%ju", (uintmax_t)pool_bytes);
    snprintf(config, sizeof(config), "%s/config", server->directory);
    snprintf(control, sizeof(control), "%s/control", server->directory);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    bench_pin(options->cpu);
    execl(program, "fabricd", "--config", config, "--listen", server->address, "--transport",
          options->transport, "--pool", pool, "--workers", "1", "--key", key_file, "--encryption", "allowed",
          "--control", control, "--log-level", "error", NULL);
    _exit(127);
}

int private_server_start(const struct private_server_options *options, struct private_server *server)
{
    char program[PATH_MAX], key_file[PRIVATE_SERVER_PATH_BYTES + 16];
    in_port_t port;
    int error;

    memset(server, 0, sizeof(*server));
    error = find_program(program, sizeof(program));
    if (!error)
        error = make_key(server, key_file, sizeof(key_file));
    if (!error)
        error = write_config(server, options->lease);
    if (error)
        return error;
    error = find_port(&port);
    if (error)
        return bench_fail(error, "no free port on loopback: %s", strerror(-error));
    snprintf(server->address, sizeof(server->address), "127.0.0.1:%u", port);
    server->pid = fork();
    if (server->pid < 0)
        return bench_fail(-errno, "cannot start fabricd: %s", strerror(errno));
    if (server->pid == 0)
        run_program(program, options, key_file, server);
    return 0;
}

/* Leaves it to be waited for. */
static bool has_ended(pid_t pid)
{
    siginfo_t info = {.si_pid = 0};

    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid;
}

int private_server_connect(const struct private_server *server, const struct cxe_connect_options *options,
                           struct cxe_connection **connection_out)
{
    const uint64_t until_ns = clock_now_ns() + START_NS;
    struct cxe_connect_options mine = *options;
    int error;

    mine.server = server->address;
    mine.server_key = server->public_key;
    do {
        mine.timeout_ns = CONNECT_TRY_NS;
        error = cxe_connect(&mine, connection_out);
        if (!error)
            break;
        if (has_ended(server->pid))
            return bench_fail(-ECHILD, "fabricd ended as soon as it started");
        usleep(10000);
    } while (clock_now_ns() < until_ns);
    if (error)
        return bench_fail(error, "fabricd does not answer: %s", cxe_last_error());
    /* That timeout was for trying; now for one that suits the work. */
    cxe_disconnect(*connection_out);
    mine.timeout_ns = options->timeout_ns;
    error = cxe_connect(&mine, connection_out);
    return error ? bench_fail(error, "fabricd does not answer: %s", cxe_last_error()) : 0;
}

static void remove_directory(const char *path)
{
    DIR *directory = opendir(path);
    struct dirent *entry;

    while (directory && (entry = readdir(directory)))
        unlinkat(dirfd(directory), entry->d_name, 0); /* refuses "." and ".." */
    if (directory)
        closedir(directory);
    rmdir(path);
}

void private_server_stop(struct private_server *server)
{
    if (server->pid > 0) {
        kill(server->pid, SIGTERM);
        waitpid(server->pid, NULL, 0);
    }
    if (server->directory[0] != '\0')
        remove_directory(server->directory);
    memset(server, 0, sizeof(*server));
}
