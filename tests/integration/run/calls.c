/* calls.c - system calls whose arguments and buffers are on the pool and absent, against what they must do */
#include "pool_memory.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define BIG (3u << 20)

static uint8_t pattern(size_t i)
{
    return (uint8_t)(i * 2654435761u >> 13);
}

static uint8_t *filled(size_t bytes)
{
    uint8_t *memory = remote_alloc(bytes);

    for (size_t i = 0; i < bytes; i++)
        memory[i] = pattern(i);
    remote_cold(memory, bytes);
    return memory;
}

static int is_filled(const uint8_t *memory, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (memory[i] != pattern(i))
            return 0;
    return 1;
}

/* ---- files ---- */

static void files(void)
{
    char *name = remote_text("calls.data");
    uint8_t *out = filled(BIG), *in = remote_alloc(BIG);
    struct stat *status = remote_alloc(sizeof(*status));
    struct iovec *vector = remote_alloc(2 * sizeof(*vector));
    int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);

    EXPECT(fd >= 0);
    EXPECT(write(fd, out, BIG) == BIG);
    remote_cold(in, BIG);
    EXPECT(pread(fd, in, BIG, 0) == BIG);
    EXPECT(is_filled(in, BIG));

    memset(in, 0, BIG);
    remote_cold(in, BIG);
    EXPECT(syscall(SYS_pread64, fd, in, (size_t)BIG, 0L) == BIG); /* from libc's own instruction */
    EXPECT(is_filled(in, BIG));
    EXPECT(lseek(fd, 0, SEEK_SET) == 0);
    memset(in, 0, BIG);
    vector[0] = (struct iovec){in, 100000};
    vector[1] = (struct iovec){in + 100000, BIG - 100000};
    remote_cold(vector, sizeof(*vector) * 2);
    EXPECT(readv(fd, vector, 2) == BIG);
    EXPECT(is_filled(in, BIG));
    remote_cold(in, BIG);
    remote_cold(vector, sizeof(*vector) * 2);
    EXPECT(syscall(SYS_pwritev, fd, vector, 2L, (long)BIG, 0L) == BIG);

    EXPECT(stat(name, status) == 0 && status->st_size == 2 * (off_t)BIG);
    remote_cold(name, 16);
    remote_cold(status, sizeof(*status));
    EXPECT(fstat(fd, status) == 0 && status->st_size == 2 * (off_t)BIG);
    EXPECT(setxattr(remote_text("calls.data"), remote_text("user.cxe"), remote_text("value"), 5, 0) == 0 ||
           errno == ENOTSUP || errno == EOPNOTSUPP);
    EXPECT(read(fd, in, 0) == 0);
    EXPECT(pread(fd, in, BIG, 2 * (off_t)BIG - 1000) == 1000); /* the end of the file ends it */
    EXPECT(read(-1, in, 10) == -1 && errno == EBADF);
    EXPECT(unlink(name) == 0);
    close(fd);
}

static void names(void)
{
    char *buffer = remote_alloc(65536), local[4096];
    DIR *directory;
    int found = 0;

    EXPECT(getcwd(local, sizeof(local)) && getcwd(buffer, 65536) && strcmp(buffer, local) == 0);
    EXPECT(symlink(remote_text("there"), remote_text("calls.link")) == 0);
    remote_cold(buffer, 65536);
    EXPECT(readlink(remote_text("calls.link"), buffer, 65536) == 5 && memcmp(buffer, "there", 5) == 0);
    EXPECT(rename(remote_text("calls.link"), remote_text("calls.link2")) == 0);
    directory = opendir("."); /* libc allocates its buffer */
    EXPECT(directory);
    for (struct dirent *entry; (entry = readdir(directory));)
        found += strcmp(entry->d_name, "calls.link2") == 0;
    closedir(directory);
    EXPECT(found == 1);
    EXPECT(unlink(remote_text("calls.link2")) == 0);
}

/* Buffers of libc's own, larger than anything that stays local. */
static void streams(void)
{
    FILE *file = fopen("calls.text", "w+");
    char *buffer = remote_alloc(1 << 20), *line = NULL;
    size_t room = 0, lines = 0;

    EXPECT(file && setvbuf(file, buffer, _IOFBF, 1 << 20) == 0);
    for (int i = 0; i < 100000; i++)
        fprintf(file, "line %d\n", i);
    remote_cold(buffer, 1 << 20);
    EXPECT(fflush(file) == 0);
    remote_cold(buffer, 1 << 20);
    rewind(file);
    while (getline(&line, &room, file) > 0) {
        char expected[32];

        snprintf(expected, sizeof(expected), "line %zu\n", lines++);
        EXPECT(strcmp(line, expected) == 0);
    }
    EXPECT(lines == 100000);
    free(line);
    fclose(file);
    unlink("calls.text");
}

/* ---- pipes and sockets ---- */

struct feeder {
    int fd;
    size_t bytes, step;
};

static void *feed(void *argument)
{
    struct feeder *feeder = argument;
    uint8_t *out = filled(feeder->bytes);
    size_t done = 0;

    while (done < feeder->bytes) {
        size_t count = feeder->bytes - done < feeder->step ? feeder->bytes - done : feeder->step;

        EXPECT(write(feeder->fd, out + done, count) == (ssize_t)count);
        done += count;
    }
    return NULL;
}

static void pipes(void)
{
    struct feeder feeder = {.bytes = BIG, .step = BIG};
    uint8_t *in = remote_alloc(BIG);
    int *ends = remote_alloc(2 * sizeof(int));
    pthread_t thread;
    size_t done = 0;
    ssize_t got;

    EXPECT(pipe(ends) == 0);
    feeder.fd = ends[1];
    EXPECT(pthread_create(&thread, NULL, feed, &feeder) == 0);
    for (; done < BIG; done += (size_t)got) {
        remote_cold(in + done, BIG - done);
        got = read(ends[0], in + done, BIG - done);
        EXPECT(got > 0);
    }
    pthread_join(thread, NULL);
    EXPECT(is_filled(in, BIG));
    /* What is there comes at once; nothing waits for the rest of a large buffer. */
    EXPECT(write(ends[1], "abc", 3) == 3);
    EXPECT(read(ends[0], in, BIG) == 3);
    EXPECT(fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0);
    EXPECT(read(ends[0], in, BIG) == -1 && errno == EAGAIN);
    remote_cold(in, BIG);
    EXPECT(vmsplice(ends[1], &(struct iovec){in, 4096}, 1, 0) == 4096);
    close(ends[0]);
    signal(SIGPIPE, SIG_IGN);
    EXPECT(write(ends[1], in, 10) == -1 && errno == EPIPE);
    close(ends[1]);
}

static void stream_sockets(void)
{
    struct feeder feeder = {.bytes = BIG, .step = 70000};
    uint8_t *in = remote_alloc(BIG);
    int *pair = remote_alloc(2 * sizeof(int)), *count = remote_alloc(sizeof(int));
    pthread_t thread;

    EXPECT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    feeder.fd = pair[0];
    EXPECT(pthread_create(&thread, NULL, feed, &feeder) == 0);
    remote_cold(in, BIG);
    EXPECT(recv(pair[1], in, BIG, MSG_WAITALL) == BIG);
    pthread_join(thread, NULL);
    EXPECT(is_filled(in, BIG));
    EXPECT(send(pair[0], in, 100000, 0) == 100000);
    remote_cold(count, sizeof(*count));
    EXPECT(ioctl(pair[1], FIONREAD, count) == 0 && *count == 100000);
    remote_cold(in, BIG);
    EXPECT(recv(pair[1], in, BIG, MSG_PEEK) == 100000);
    remote_cold(in, BIG);
    EXPECT(recv(pair[1], in, BIG, 0) == 100000);
    EXPECT(is_filled(in, 100000));
    close(pair[0]);
    EXPECT(read(pair[1], in, BIG) == 0);
    close(pair[1]);
}

static void messages(void)
{
    struct sockaddr_un *name = remote_alloc(sizeof(*name)), *from = remote_alloc(sizeof(*from));
    socklen_t *name_bytes = remote_alloc(sizeof(*name_bytes));
    uint8_t *out = filled(150000), *in = remote_alloc(200000);
    struct msghdr *header = remote_alloc(sizeof(*header));
    struct iovec *vector = remote_alloc(2 * sizeof(*vector));
    char *control = remote_alloc(CMSG_SPACE(sizeof(int)));
    int a = socket(AF_UNIX, SOCK_DGRAM, 0), b = socket(AF_UNIX, SOCK_DGRAM, 0), passed;

    memset(name, 0, sizeof(*name));
    name->sun_family = AF_UNIX;
    snprintf(name->sun_path + 1, 64, "cxe-calls-%d", (int)getpid());
    remote_cold(name, sizeof(*name));
    EXPECT(bind(a, (struct sockaddr *)name, sizeof(*name)) == 0);
    *name_bytes = sizeof(*from);
    remote_cold(name_bytes, sizeof(*name_bytes));
    EXPECT(getsockname(a, (struct sockaddr *)from, name_bytes) == 0 && *name_bytes == sizeof(*name));
    EXPECT(memcmp(from, name, sizeof(*name)) == 0);
    remote_cold(name, sizeof(*name));
    remote_cold(out, 150000);
    EXPECT(sendto(b, out, 150000, 0, (struct sockaddr *)name, sizeof(*name)) == 150000); /* one message */
    remote_cold(in, 200000);
    EXPECT(recv(a, in, 200000, 0) == 150000);
    EXPECT(is_filled(in, 150000));

    /* Scattered, with a descriptor. */
    EXPECT(connect(b, (struct sockaddr *)name, sizeof(*name)) == 0);
    vector[0] = (struct iovec){out, 1000};
    vector[1] = (struct iovec){out + 1000, 69000};
    *header = (struct msghdr){.msg_iov = vector,
                              .msg_iovlen = 2,
                              .msg_control = control,
                              .msg_controllen = CMSG_SPACE(sizeof(int))};
    struct cmsghdr *part = CMSG_FIRSTHDR(header);
    *part = (struct cmsghdr){
        .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(part), &a, sizeof(a));
    remote_cold(vector, 2 * sizeof(*vector));
    remote_cold(control, CMSG_SPACE(sizeof(int)));
    remote_cold(out, 70000);
    EXPECT(sendmsg(b, header, 0) == 70000);
    vector[0].iov_base = in;
    vector[1].iov_base = in + 1000;
    memset(in, 0, 70000);
    memset(control, 0, CMSG_SPACE(sizeof(int)));
    remote_cold(in, 70000);
    remote_cold(control, CMSG_SPACE(sizeof(int)));
    EXPECT(recvmsg(a, header, 0) == 70000);
    EXPECT(is_filled(in, 70000));
    memcpy(&passed, CMSG_DATA(CMSG_FIRSTHDR(header)), sizeof(passed));
    EXPECT(fcntl(passed, F_GETFD) >= 0 && passed != a);
    close(passed);

    struct mmsghdr *many = remote_alloc(3 * sizeof(*many));
    for (int i = 0; i < 3; i++)
        many[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &vector[0], .msg_iovlen = 1}};
    vector[0].iov_base = out;
    remote_cold(many, 3 * sizeof(*many));
    EXPECT(sendmmsg(b, many, 3, 0) == 3);
    vector[0].iov_base = in;
    EXPECT(recvmmsg(a, many, 3, MSG_WAITFORONE, NULL) == 3 && many[2].msg_len == 1000);
    close(a);
    close(b);
}

/* ---- waiting ---- */

static void waiting(void)
{
    struct epoll_event *events = remote_alloc(sizeof(*events) * 20000);
    struct pollfd *polled = remote_alloc(sizeof(*polled));
    struct timespec *time = remote_alloc(sizeof(*time));
    fd_set *set = remote_alloc(sizeof(*set));
    sigset_t *mask = remote_alloc(sizeof(*mask));
    int ends[2], epoll = epoll_create1(0);

    EXPECT(pipe(ends) == 0);
    events[0] = (struct epoll_event){.events = EPOLLIN, .data.u64 = 0x1234567890};
    remote_cold(events, sizeof(*events));
    EXPECT(epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &events[0]) == 0);
    EXPECT(write(ends[1], "x", 1) == 1);
    remote_cold(events, sizeof(*events) * 20000);
    EXPECT(epoll_wait(epoll, events, 20000, 1000) == 1 && events[0].data.u64 == 0x1234567890);
    sigfillset(mask);
    remote_cold(mask, sizeof(*mask));
    remote_cold(events, sizeof(*events));
    EXPECT(epoll_pwait(epoll, events, 20000, 1000, mask) == 1 && events[0].data.u64 == 0x1234567890);
    *polled = (struct pollfd){.fd = ends[0], .events = POLLIN};
    remote_cold(polled, sizeof(*polled));
    EXPECT(poll(polled, 1, 1000) == 1 && polled->revents == POLLIN);
    *time = (struct timespec){.tv_nsec = 1000};
    remote_cold(time, sizeof(*time));
    remote_cold(polled, sizeof(*polled));
    EXPECT(ppoll(polled, 1, time, mask) == 1 && polled->revents == POLLIN);
    FD_ZERO(set);
    FD_SET(ends[0], set);
    FD_SET(ends[1], set);
    remote_cold(set, sizeof(*set));
    EXPECT(pselect(ends[1] + 1, set, NULL, NULL, time, mask) == 1 && FD_ISSET(ends[0], set) &&
           !FD_ISSET(ends[1], set));
    remote_cold(time, sizeof(*time));
    EXPECT(nanosleep(time, time) == 0);
    EXPECT(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, time) == 0 && time->tv_sec > 0);
    close(ends[0]);
    close(ends[1]);
    close(epoll);
}

static void various(void)
{
    uint8_t *random = remote_alloc(1 << 20);
    struct flock *lock = remote_alloc(sizeof(*lock));
    int fd = open("calls.lock", O_RDWR | O_CREAT, 0600), zeros = 0;

    remote_cold(random, 1 << 20);
    EXPECT(getrandom(random, 1 << 20, 0) == 1 << 20);
    for (int i = 0; i < 1 << 20; i++)
        zeros += random[i] == 0;
    EXPECT(zeros > 3000 && zeros < 5500);
    *lock = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 10};
    remote_cold(lock, sizeof(*lock));
    EXPECT(fcntl(fd, F_SETLK, lock) == 0);
    close(fd);
    unlink("calls.lock");
    EXPECT(syscall(SYS_io_uring_setup, 8, random) == -1 && errno == ENOSYS);
}

/* ---- threads, in locks that are on the pool ---- */

struct shared {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    long turns;
};

static void *take_turns(void *argument)
{
    struct shared *shared = argument;
    static int next;
    int parity = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED) & 1;

    for (int i = 0; i < 2000; i++) {
        EXPECT(pthread_mutex_lock(&shared->lock) == 0);
        while ((shared->turns & 1) != parity)
            EXPECT(pthread_cond_wait(&shared->changed, &shared->lock) == 0);
        shared->turns++;
        EXPECT(pthread_cond_broadcast(&shared->changed) == 0);
        EXPECT(pthread_mutex_unlock(&shared->lock) == 0);
        if (i % 16 == 0)
            remote_cold(shared, sizeof(*shared));
    }
    return NULL;
}

static void locks(void)
{
    struct shared *shared = remote_alloc(sizeof(*shared));
    pthread_t threads[2];

    pthread_mutex_init(&shared->lock, NULL);
    pthread_cond_init(&shared->changed, NULL);
    for (int i = 0; i < 2; i++)
        EXPECT(pthread_create(&threads[i], NULL, take_turns, shared) == 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    EXPECT(shared->turns == 4000);
}

/* ---- processes ---- */

static char **arguments(void)
{
    char **argv = remote_alloc(4 * sizeof(char *));

    argv[0] = remote_text("sh");
    argv[1] = remote_text("-c");
    argv[2] = remote_text("test \"$CALLS\" = yes && exit 42");
    argv[3] = NULL;
    remote_cold(argv, 4 * sizeof(char *));
    return argv;
}

static char **environment(void)
{
    char **envp = remote_alloc(2 * sizeof(char *));

    envp[0] = remote_text("CALLS=yes");
    envp[1] = NULL;
    remote_cold(envp, 2 * sizeof(char *));
    return envp;
}

static int reap(pid_t child)
{
    int *status = remote_alloc(sizeof(*status));

    remote_cold(status, sizeof(*status));
    EXPECT(child > 0);
    EXPECT(waitpid(child, status, 0) == child);
    return WIFEXITED(*status) ? WEXITSTATUS(*status) : -WTERMSIG(*status);
}

static void processes(void)
{
    char *shell = remote_text("/bin/sh"), **argv = arguments(), **envp = environment();
    posix_spawnattr_t attributes;
    sigset_t all;
    pid_t child = fork();

    if (child == 0) {
        execve(shell, argv, envp);
        _exit(1);
    }
    EXPECT(reap(child) == 42);
    remote_cold(argv[2], 64);
    remote_cold(argv, 32);
    child = vfork();
    if (child == 0) {
        execve(shell, argv, envp);
        _exit(1);
    }
    EXPECT(reap(child) == 42);
    remote_cold(argv[2], 64);
    remote_cold(argv, 32);
    posix_spawnattr_init(&attributes);
    sigfillset(&all);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    EXPECT(posix_spawn(&child, shell, NULL, &attributes, argv, envp) == 0);
    EXPECT(reap(child) == 42);
    EXPECT(WEXITSTATUS(system("exit 7")) == 7);
}

int main(int argc, char **argv)
{
    static void (*const groups[])(void) = {files,    names,   streams, pipes,     stream_sockets,
                                           messages, waiting, locks,   processes, various};
    size_t count = sizeof(groups) / sizeof(groups[0]);

    if (argc > 1 && strcmp(argv[1], "thread") == 0)
        count--; /* the last is about what only traps change */
    for (size_t i = 0; i < count; i++)
        groups[i]();
    puts("fine");
    return 0;
}
