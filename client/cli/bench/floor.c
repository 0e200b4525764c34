/* floor.c - see floor.h: the UDP echo, and what both echoes share */
#include "floor_internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "atomic.h"
#include "clock.h"
#include "codec.h"

#define ECHO_SPIN_NS        (200 * NS_PER_US) /* then the answering process sleeps */
#define SOCKET_BUFFER_BYTES (8 << 20)         /* as in the eth transport */

struct floor_frames floor_frames_of(unsigned opcode, unsigned line_count)
{
    return (struct floor_frames){
        .request_bytes =
            RECORD_OVERHEAD + BODY_HEADER_BYTES + codec_op_bytes((enum opcode)opcode, line_count),
        .answer_bytes =
            RECORD_OVERHEAD + BODY_HEADER_BYTES + codec_result_bytes((enum opcode)opcode, line_count),
    };
}

int floor_fork(int server_cpu, void (*serve)(void *context), void *context, pid_t *child_out)
{
    const pid_t parent = getpid();
    const pid_t child = fork();

    if (child < 0)
        return bench_fail(-errno, "cannot start the echo process: %s", strerror(errno));
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent || bench_pin(server_cpu) != 0)
            _exit(1);
        serve(context);
        _exit(1);
    }
    *child_out = child;
    return 0;
}

int floor_pingpong_run(void *context, uint64_t duration_ns, struct bench_sample *sample)
{
    const struct floor_pingpong *pingpong = context;
    struct floor_echo *echo = pingpong->echo;
    const uint64_t begin_ns = clock_now_ns();
    uint64_t now_ns = begin_ns;
    int error = echo->begin ? echo->begin(echo) : 0;
    bool room = true;

    while (!error && room && now_ns - begin_ns < duration_ns) {
        const uint64_t start_ns = clock_now_ns();

        error = echo->exchange(echo, &pingpong->frames);
        now_ns = clock_now_ns();
        if (!error)
            room = bench_note(sample, now_ns - start_ns);
    }
    sample->elapsed_ns = now_ns - begin_ns;
    if (!error && echo->end)
        error = echo->end(echo);
    return error ? bench_fail(error, "the floor's echo process does not answer: %s", strerror(-error)) : 0;
}

void floor_close(struct floor_echo *echo)
{
    if (!echo)
        return;
    if (echo->child > 0) {
        kill(echo->child, SIGKILL);
        waitpid(echo->child, NULL, 0);
    }
    echo->close(echo);
}

/* ---- UDP ---- */

struct udp_echo {
    struct floor_echo echo;
    int fd;
    uint8_t frame[FLOOR_BYTES_MAX];
};

static _Noreturn void udp_serve(void *context)
{
    static uint8_t frame[FLOOR_BYTES_MAX];
    const int fd = *(const int *)context;
    uint64_t heard_ns = clock_now_ns();

    for (;;) {
        struct sockaddr_in from;
        socklen_t from_bytes = sizeof(from);
        ssize_t count =
            recvfrom(fd, frame, sizeof(frame), MSG_DONTWAIT, (struct sockaddr *)&from, &from_bytes);
        struct floor_request request;

        if (count < (ssize_t)sizeof(request)) {
            if (clock_now_ns() - heard_ns > ECHO_SPIN_NS)
                poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, -1);
            cpu_relax();
            continue;
        }
        memcpy(&request, frame, sizeof(request));
        if (request.magic == FLOOR_MAGIC && request.answer_bytes <= sizeof(frame))
            sendto(fd, frame, request.answer_bytes, MSG_DONTWAIT, (struct sockaddr *)&from, from_bytes);
        heard_ns = clock_now_ns();
    }
}

static int udp_exchange(struct floor_echo *echo, const struct floor_frames *frames)
{
    struct udp_echo *udp = (struct udp_echo *)echo; /* its first member */
    const struct floor_request request = {FLOOR_MAGIC, (uint32_t)frames->answer_bytes};
    uint64_t idle = 0, until_ns = 0;

    memcpy(udp->frame, &request, sizeof(request));
    if (sendto(udp->fd, udp->frame, frames->request_bytes, MSG_DONTWAIT, NULL, 0) < 0)
        return -errno;
    while (recvfrom(udp->fd, udp->frame, sizeof(udp->frame), MSG_DONTWAIT, NULL, NULL) < 0) {
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
        if (++idle % 1024 != 0) /* the clock is looked at rarely: it is not part of the floor */
            continue;
        if (until_ns == 0)
            until_ns = clock_now_ns() + FLOOR_TIMEOUT_NS;
        else if (clock_now_ns() > until_ns)
            return -ETIMEDOUT;
    }
    return 0;
}

static void udp_close(struct floor_echo *echo)
{
    struct udp_echo *udp = (struct udp_echo *)echo;

    close(udp->fd);
    free(udp);
}

static int udp_socket(struct sockaddr_in *address)
{
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), bytes = SOCKET_BUFFER_BYTES;
    socklen_t address_bytes = sizeof(*address);

    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    if (bind(fd, (struct sockaddr *)address, sizeof(*address)) < 0 ||
        getsockname(fd, (struct sockaddr *)address, &address_bytes) < 0) {
        int error = -errno;

        close(fd);
        return error;
    }
    return fd;
}

int floor_udp_open(int server_cpu, struct floor_echo **echo_out)
{
    struct udp_echo *udp = calloc(1, sizeof(*udp));
    struct sockaddr_in server, client;
    int server_fd, error;

    if (!udp)
        return bench_fail(-ENOMEM, "no memory");
    server_fd = udp_socket(&server);
    udp->fd = udp_socket(&client);
    udp->echo = (struct floor_echo){.exchange = udp_exchange, .close = udp_close};
    if (server_fd < 0 || udp->fd < 0 || connect(udp->fd, (struct sockaddr *)&server, sizeof(server)) < 0)
        error = bench_fail(-errno, "no socket for the floor: %s", strerror(errno));
    else
        error = floor_fork(server_cpu, udp_serve, &server_fd, &udp->echo.child);
    if (server_fd >= 0)
        close(server_fd); /* the child has it */
    if (error) {
        udp_close(&udp->echo);
        return error;
    }
    *echo_out = &udp->echo;
    return 0;
}
