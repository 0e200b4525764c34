/* pingpong.c - how long does a server take to answer these very bytes?
 *
 * Sends a request over TCP or UDP and waits, spinning, until as many bytes are back as the answer is known to
 * have; then the next. With --depth N, N requests are under way. What the bytes mean is the server's affair:
 * a GET of redis or of memcached, or an echo. `pingpong --serve` is such an echo: raw TCP or UDP, spinning,
 * the floor of all the others.
 */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <signal.h>
#include <unistd.h>

#include "../workloads/workload.h"
#include "histogram.h"
#include "transport.h"
#include "units.h"

#define BYTES_MAX (1u << 20)
#define DONE_MIN  100 /* fewer requests are no measurement */

struct arguments {
    struct address server;
    bool udp, serve;
    char *request;
    size_t request_bytes, answer_bytes;
    uint64_t depth, seconds;
};

static const struct argp_option options[] = {
    {"udp", 'u', NULL, 0, "Over UDP instead of TCP", 0},
    {"serve", 's', NULL, 0, "Answer: REQUEST-BYTES in, ANSWER-BYTES out", 0},
    {"request", 'r', "TEXT", 0, "What to send; \\r and \\n are understood", 0},
    {"request-bytes", 'R', "N", 0, "Send so many bytes, whatever they are", 0},
    {"answer-bytes", 'a', "N", 0, "How many bytes come back for each", 0},
    {"depth", 'd', "N", 0, "Requests under way (default: 1)", 0},
    {"seconds", 't', "N", 0, "How long to measure (default: 1)", 0},
    {0},
};

/* In place; returns the length. */
static size_t unescape(char *text)
{
    char *to = text;

    for (const char *at = text; *at; at++) {
        if (at[0] == '\\' && (at[1] == 'r' || at[1] == 'n'))
            *to++ = *++at == 'r' ? '\r' : '\n';
        else
            *to++ = *at;
    }
    return (size_t)(to - text);
}

static uint64_t count_of(const char *text, uint64_t most, struct argp_state *state)
{
    uint64_t count = 0;

    if (units_parse_count(text, 1, most, &count) != 0)
        argp_error(state, "'%s' is not a number from 1 to %" PRIu64, text, most);
    return count;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct arguments *arguments = state->input;

    switch (key) {
    case 'u':
        arguments->udp = true;
        return 0;
    case 's':
        arguments->serve = true;
        return 0;
    case 'r':
        arguments->request = text;
        arguments->request_bytes = unescape(text);
        return 0;
    case 'R':
        arguments->request_bytes = count_of(text, BYTES_MAX, state);
        arguments->request = calloc(1, arguments->request_bytes);
        return arguments->request ? 0 : ENOMEM;
    case 'a':
        arguments->answer_bytes = count_of(text, BYTES_MAX, state);
        return 0;
    case 'd':
        arguments->depth = count_of(text, 4096, state);
        return 0;
    case 't':
        arguments->seconds = count_of(text, 3600, state);
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 0 || address_parse(text, 0, &arguments->server) != 0)
            argp_error(state, "'%s' is not of the form host:port", text);
        return 0;
    case ARGP_KEY_END:
        if (state->arg_num != 1 || !arguments->request || !arguments->answer_bytes)
            argp_error(state, "an address, --request (or --request-bytes) and --answer-bytes are needed");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static socklen_t address_bytes(const struct address *address)
{
    return address->sa.sa_family == AF_INET6 ? sizeof(address->in6) : sizeof(address->in);
}

static int open_socket(const struct arguments *arguments)
{
    int one = 1, fd = socket(arguments->server.sa.sa_family, arguments->udp ? SOCK_DGRAM : SOCK_STREAM, 0);

    if (fd < 0)
        workload_fail("socket: %s", strerror(errno));
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    return fd;
}

static void set_spinning(const struct arguments *arguments, int fd)
{
    int one = 1;

    if (!arguments->udp)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        workload_fail("fcntl: %s", strerror(errno));
}

/* ---- the server ---- */

static int accept_one(const struct arguments *arguments)
{
    int listener = open_socket(arguments), fd = listener;
    struct sockaddr_storage peer;
    socklen_t peer_bytes = sizeof(peer);

    if (bind(listener, &arguments->server.sa, address_bytes(&arguments->server)) < 0)
        workload_fail("bind: %s", strerror(errno));
    if (!arguments->udp && (listen(listener, 1) < 0 || (fd = accept(listener, NULL, NULL)) < 0))
        workload_fail("accept: %s", strerror(errno));
    if (arguments->udp) { /* the first datagram tells who talks to us */
        if (recvfrom(fd, NULL, 0, MSG_PEEK, (struct sockaddr *)&peer, &peer_bytes) < 0 ||
            connect(fd, (struct sockaddr *)&peer, peer_bytes) < 0)
            workload_fail("connect: %s", strerror(errno));
    }
    set_spinning(arguments, fd);
    return fd;
}

static void send_all(int fd, const char *bytes, size_t count)
{
    while (count > 0) {
        ssize_t sent = send(fd, bytes, count, MSG_NOSIGNAL);

        if (sent < 0 && errno != EAGAIN)
            workload_fail("send: %s", strerror(errno));
        if (sent > 0) {
            bytes += sent;
            count -= (size_t)sent;
        }
    }
}

static void serve(const struct arguments *arguments)
{
    char *buffer = calloc(1, BYTES_MAX);
    int fd = accept_one(arguments);
    size_t have = 0;

    if (!buffer)
        workload_fail("no memory");
    for (;;) {
        ssize_t bytes = recv(fd, buffer, BYTES_MAX, 0);

        if (bytes == 0 || (bytes < 0 && errno != EAGAIN))
            return; /* the client has gone */
        for (have += bytes > 0 ? (size_t)bytes : 0; have >= arguments->request_bytes;
             have -= arguments->request_bytes)
            send_all(fd, buffer, arguments->answer_bytes);
    }
}

/* ---- the client ---- */

static size_t receive_some(int fd, char *buffer)
{
    ssize_t bytes = recv(fd, buffer, BYTES_MAX, 0);

    if (bytes == 0)
        workload_fail("the server closed the connection");
    if (bytes < 0 && errno != EAGAIN && errno != EINTR)
        workload_fail("recv: %s", strerror(errno));
    return bytes > 0 ? (size_t)bytes : 0;
}

static int connect_to(const struct arguments *arguments)
{
    for (double give_up = seconds_now() + 10;;) {
        int fd = open_socket(arguments);

        if (connect(fd, &arguments->server.sa, address_bytes(&arguments->server)) == 0) {
            set_spinning(arguments, fd);
            return fd;
        }
        close(fd);
        if (seconds_now() > give_up)
            workload_fail("connect: %s", strerror(errno));
        usleep(10000);
    }
}

/* Until `end`: a batch of `depth` requests at a time, as a pipelining client sends them. Returns requests
 * answered. */
static uint64_t exchange(const struct arguments *arguments, int fd, const char *batch, char *buffer,
                         double end, struct histogram *latencies)
{
    size_t batch_bytes = arguments->request_bytes * arguments->depth;
    size_t expected = arguments->answer_bytes * arguments->depth;
    uint64_t done = 0;
    double start;

    while ((start = seconds_now()) < end) {
        send_all(fd, batch, batch_bytes);
        for (size_t have = 0; have < expected;) {
            have += receive_some(fd, buffer);
            if (have > expected)
                workload_fail("the answer is longer than expected: %.*s", 200, buffer);
            if (have < expected && seconds_now() > start + 10)
                workload_fail("no answer within 10 s; %zu of %zu bytes: %.*s", have, expected,
                              (int)(have & 127), buffer);
        }
        histogram_add(latencies, (uint64_t)((seconds_now() - start) * 1e9));
        done += arguments->depth;
    }
    return done;
}

static void measure(const struct arguments *arguments)
{
    char *batch = malloc(arguments->request_bytes * arguments->depth), *buffer = malloc(BYTES_MAX);
    static struct histogram warm, latencies;
    int fd = connect_to(arguments);
    double start;
    uint64_t done;

    if (!batch || !buffer)
        workload_fail("no memory");
    for (uint64_t i = 0; i < arguments->depth; i++)
        memcpy(batch + i * arguments->request_bytes, arguments->request, arguments->request_bytes);
    exchange(arguments, fd, batch, buffer, seconds_now() + 0.1, &warm);
    start = seconds_now();
    done = exchange(arguments, fd, batch, buffer, start + (double)arguments->seconds, &latencies);
    if (done < DONE_MIN)
        workload_fail("only %" PRIu64 " requests were answered: too little work", done);
    workload_result("rate", (double)done / (seconds_now() - start), "requests/s");
    workload_result("p50", (double)histogram_quantile(&latencies, 0.5) / 1e3, "us");
    workload_result("p99", (double)histogram_quantile(&latencies, 0.99) / 1e3, "us");
}

int main(int argc, char **argv)
{
    const struct argp parser = {.options = options,
                                .parser = parse,
                                .args_doc = "HOST:PORT",
                                .doc = "how long does a server take to answer these very bytes?"};
    struct arguments arguments = {.depth = 1, .seconds = 1};

    prctl(PR_SET_PDEATHSIG, SIGTERM);
    argp_parse(&parser, argc, argv, 0, NULL, &arguments);
    if (arguments.udp && arguments.depth > 1)
        workload_fail("--udp goes with --depth 1 only: a datagram more might get lost");
    if (arguments.serve)
        serve(&arguments);
    else
        measure(&arguments);
    return 0;
}
