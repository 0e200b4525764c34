/* call_table.c - the system calls of x86-64 Linux and what their arguments point at; see call.h */
#include "call.h"

#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/times.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <mqueue.h>
#include <time.h>

/* The kernel's, not libc's. */
#define KERNEL_SIGSET_BYTES 8
#define KERNEL_TERM_BYTES   36

#define V                   \
    {                       \
        CALL_VALUE, 0, 0, 0 \
    }
#define P                     \
    {                         \
        CALL_POINTER, 0, 0, 0 \
    }
#define TEXT               \
    {                      \
        CALL_TEXT, 0, 0, 0 \
    }
#define IN(bytes)              \
    {                          \
        CALL_IN, 0, (bytes), 0 \
    }
#define IO(bytes)                 \
    {                             \
        CALL_INOUT, 0, (bytes), 0 \
    }
#define INS(by, unit)                    \
    {                                    \
        CALL_IN_COUNTED, (by), (unit), 0 \
    }
#define IOS(by, unit)                       \
    {                                       \
        CALL_INOUT_COUNTED, (by), (unit), 0 \
    }
#define OUTS(by, unit)               \
    {                                \
        CALL_RESULT, (by), (unit), 0 \
    }
#define NAME(by)              \
    {                         \
        CALL_NAME, (by), 1, 0 \
    }
#define BITS(by)              \
    {                         \
        CALL_BITS, (by), 0, 0 \
    }
#define MESSAGE(shape)              \
    {                               \
        (shape), 2, 1, sizeof(long) \
    }

#define TIME  sizeof(struct timespec)
#define TIMES (2 * sizeof(struct timespec))

#define COPIED(name, ...)        [SYS_##name] = {call_copied, CALL_RULE_NONE, 0, {__VA_ARGS__}}
#define SPECIAL(name, fn, ...)   [SYS_##name] = {fn, CALL_RULE_NONE, 0, {__VA_ARGS__}}
#define ALWAYS(name, fn, ...)    [SYS_##name] = {fn, CALL_RULE_ALWAYS, 0, {__VA_ARGS__}}
#define IF_SET(name, fn, a, ...) [SYS_##name] = {fn, CALL_RULE_SET, (a), {__VA_ARGS__}}
#define REFUSED(name)            [SYS_##name] = {call_verbatim, CALL_RULE_REFUSE, 0, {V}}
/* Numbers only, or pointers that the kernel does not follow, or follows into a thread's own memory. */
#define PLAIN(name) [SYS_##name] = {call_verbatim, CALL_RULE_NONE, 0, {V}}

const struct call call_table[] = {
    /* bytes */
    SPECIAL(read, call_stream, V, P),
    SPECIAL(write, call_stream, V, P),
    SPECIAL(pread64, call_stream, V, P),
    SPECIAL(pwrite64, call_stream, V, P),
    ALWAYS(readv, call_stream, V, P),
    ALWAYS(writev, call_stream, V, P),
    ALWAYS(preadv, call_stream, V, P),
    ALWAYS(pwritev, call_stream, V, P),
    ALWAYS(preadv2, call_stream, V, P),
    ALWAYS(pwritev2, call_stream, V, P),
    ALWAYS(vmsplice, call_stream, V, P),
    SPECIAL(sendto, call_stream, V, P, V, V, P),
    SPECIAL(recvfrom, call_stream, V, P, V, V, P, P),
    SPECIAL(getrandom, call_stream, P),
    ALWAYS(sendmsg, call_sendmsg, V, P),
    ALWAYS(recvmsg, call_recvmsg, V, P),
    ALWAYS(sendmmsg, call_sendmmsg, V, P),
    ALWAYS(recvmmsg, call_recvmmsg, V, P, V, V, P),
    COPIED(sendfile, V, V, IO(8)),
    COPIED(splice, V, IO(8), V, IO(8)),
    COPIED(copy_file_range, V, IO(8), V, IO(8)),
    COPIED(getdents, V, OUTS(2, 1)),
    COPIED(getdents64, V, OUTS(2, 1)),

    /* descriptors */
    [SYS_close] = {call_close, CALL_RULE_OUR_FD, 0, {V}},
    [SYS_close_range] = {call_close_range, CALL_RULE_UPTO_FD, 1, {V}},
    [SYS_dup2] = {call_dup2, CALL_RULE_OUR_FD, 1, {V}},
    [SYS_dup3] = {call_dup2, CALL_RULE_OUR_FD, 1, {V}},
    COPIED(pipe, IO(8)),
    COPIED(pipe2, IO(8)),
    SPECIAL(fcntl, call_fcntl, V, V, P),
    SPECIAL(ioctl, call_ioctl, V, V, P),
    COPIED(poll, IOS(1, 8)),
    IF_SET(ppoll, call_ppoll, 3, IOS(1, 8), IO(TIME), V, IN(KERNEL_SIGSET_BYTES)),
    COPIED(select, V, BITS(0), BITS(0), BITS(0), IO(sizeof(struct timeval))),
    IF_SET(pselect6, call_pselect6, 5, V, BITS(0), BITS(0), BITS(0), IO(TIME), IN(16)),
    COPIED(epoll_ctl, V, V, V, IN(sizeof(struct epoll_event))),
    COPIED(epoll_wait, V, OUTS(2, sizeof(struct epoll_event))),
    IF_SET(epoll_pwait, call_epoll_pwait, 4, V, OUTS(2, sizeof(struct epoll_event)), V, V,
           IN(KERNEL_SIGSET_BYTES)),
    IF_SET(epoll_pwait2, call_epoll_pwait, 4, V, OUTS(2, sizeof(struct epoll_event)), V, IN(TIME),
           IN(KERNEL_SIGSET_BYTES)),
    REFUSED(io_uring_setup), /* the kernel would follow pointers that it was given in shared memory */
    REFUSED(io_setup),

    /* sockets */
    COPIED(connect, V, INS(2, 1)),
    COPIED(bind, V, INS(2, 1)),
    COPIED(accept, V, NAME(2), IO(4)),
    COPIED(accept4, V, NAME(2), IO(4)),
    COPIED(getsockname, V, NAME(2), IO(4)),
    COPIED(getpeername, V, NAME(2), IO(4)),
    COPIED(setsockopt, V, V, V, INS(4, 1)),
    COPIED(getsockopt, V, V, V, NAME(4), IO(4)),
    COPIED(socketpair, V, V, V, IO(8)),

    /* names of files */
    COPIED(open, TEXT),
    COPIED(openat, V, TEXT),
    COPIED(openat2, V, TEXT, INS(3, 1)),
    COPIED(creat, TEXT),
    COPIED(access, TEXT),
    COPIED(faccessat, V, TEXT),
    COPIED(faccessat2, V, TEXT),
    COPIED(stat, TEXT, IO(sizeof(struct stat))),
    COPIED(lstat, TEXT, IO(sizeof(struct stat))),
    COPIED(fstat, V, IO(sizeof(struct stat))),
    COPIED(newfstatat, V, TEXT, IO(sizeof(struct stat))),
    COPIED(statx, V, TEXT, V, V, IO(sizeof(struct statx))),
    COPIED(statfs, TEXT, IO(sizeof(struct statfs))),
    COPIED(fstatfs, V, IO(sizeof(struct statfs))),
    COPIED(truncate, TEXT),
    COPIED(getcwd, OUTS(1, 1)),
    COPIED(chdir, TEXT),
    COPIED(chroot, TEXT),
    COPIED(rename, TEXT, TEXT),
    COPIED(renameat, V, TEXT, V, TEXT),
    COPIED(renameat2, V, TEXT, V, TEXT),
    COPIED(link, TEXT, TEXT),
    COPIED(linkat, V, TEXT, V, TEXT),
    COPIED(symlink, TEXT, TEXT),
    COPIED(symlinkat, TEXT, V, TEXT),
    COPIED(unlink, TEXT),
    COPIED(unlinkat, V, TEXT),
    COPIED(mkdir, TEXT),
    COPIED(mkdirat, V, TEXT),
    COPIED(rmdir, TEXT),
    COPIED(mknod, TEXT),
    COPIED(mknodat, V, TEXT),
    COPIED(readlink, TEXT, OUTS(2, 1)),
    COPIED(readlinkat, V, TEXT, OUTS(3, 1)),
    COPIED(chmod, TEXT),
    COPIED(fchmodat, V, TEXT),
    COPIED(chown, TEXT),
    COPIED(lchown, TEXT),
    COPIED(fchownat, V, TEXT),
    COPIED(utime, TEXT, IN(16)),
    COPIED(utimes, TEXT, IN(2 * sizeof(struct timeval))),
    COPIED(futimesat, V, TEXT, IN(2 * sizeof(struct timeval))),
    COPIED(utimensat, V, TEXT, IN(TIMES)),
    COPIED(setxattr, TEXT, TEXT, INS(3, 1)),
    COPIED(lsetxattr, TEXT, TEXT, INS(3, 1)),
    COPIED(fsetxattr, V, TEXT, INS(3, 1)),
    COPIED(getxattr, TEXT, TEXT, OUTS(3, 1)),
    COPIED(lgetxattr, TEXT, TEXT, OUTS(3, 1)),
    COPIED(fgetxattr, V, TEXT, OUTS(3, 1)),
    COPIED(listxattr, TEXT, OUTS(2, 1)),
    COPIED(llistxattr, TEXT, OUTS(2, 1)),
    COPIED(flistxattr, V, OUTS(2, 1)),
    COPIED(removexattr, TEXT, TEXT),
    COPIED(lremovexattr, TEXT, TEXT),
    COPIED(fremovexattr, V, TEXT),
    COPIED(inotify_add_watch, V, TEXT),
    COPIED(memfd_create, TEXT),

    /* memory */
    SPECIAL(mmap, call_mmap, P),
    SPECIAL(munmap, call_munmap, P),
    SPECIAL(mremap, call_mremap, P),
    SPECIAL(mprotect, call_mprotect, P),
    SPECIAL(pkey_mprotect, call_mprotect, P),
    SPECIAL(madvise, call_madvise, P),
    SPECIAL(msync, call_ignored, P),
    SPECIAL(mlock, call_mlock, P),
    SPECIAL(mlock2, call_mlock, P),
    SPECIAL(munlock, call_ignored, P),
    SPECIAL(mbind, call_ignored, P),

    /* processes */
    ALWAYS(execve, call_execve, P, P, P),
    ALWAYS(execveat, call_execveat, V, P, P, P),
    COPIED(wait4, V, IO(4), V, IO(sizeof(struct rusage))),
    COPIED(waitid, V, V, IO(sizeof(siginfo_t)), V, IO(sizeof(struct rusage))),
    SPECIAL(prctl, call_prctl, V, P),
    COPIED(getrlimit, V, IO(sizeof(struct rlimit))),
    COPIED(setrlimit, V, IN(sizeof(struct rlimit))),
    COPIED(prlimit64, V, V, IN(sizeof(struct rlimit)), IO(sizeof(struct rlimit))),
    COPIED(getrusage, V, IO(sizeof(struct rusage))),
    COPIED(times, IO(sizeof(struct tms))),
    COPIED(sysinfo, IO(sizeof(struct sysinfo))),
    COPIED(uname, IO(sizeof(struct utsname))),
    COPIED(getgroups, OUTS(0, 4)),
    COPIED(setgroups, V, INS(0, 4)),
    COPIED(getresuid, IO(4), IO(4), IO(4)),
    COPIED(getresgid, IO(4), IO(4), IO(4)),
    COPIED(getcpu, IO(4), IO(4)),
    COPIED(sched_setaffinity, V, V, INS(1, 1)),
    COPIED(sched_getaffinity, V, V, OUTS(1, 1)),
    COPIED(sched_setparam, V, IN(sizeof(struct sched_param))),
    COPIED(sched_getparam, V, IO(sizeof(struct sched_param))),
    COPIED(sched_setscheduler, V, V, IN(sizeof(struct sched_param))),
    COPIED(sched_rr_get_interval, V, IO(TIME)),

    /* signals */
    ALWAYS(rt_sigaction, call_rt_sigaction, V, P, P),
    IF_SET(rt_sigprocmask, call_rt_sigprocmask, 1, V, P, P),
    ALWAYS(rt_sigsuspend, call_rt_sigsuspend, P),
    ALWAYS(sigaltstack, call_sigaltstack, P, P),
    COPIED(rt_sigpending, IO(KERNEL_SIGSET_BYTES)),
    COPIED(rt_sigtimedwait, IN(KERNEL_SIGSET_BYTES), IO(sizeof(siginfo_t)), IN(TIME)),
    COPIED(rt_sigqueueinfo, V, V, IN(sizeof(siginfo_t))),
    COPIED(rt_tgsigqueueinfo, V, V, V, IN(sizeof(siginfo_t))),
    COPIED(signalfd, V, IN(KERNEL_SIGSET_BYTES)),
    COPIED(signalfd4, V, IN(KERNEL_SIGSET_BYTES)),

    /* time */
    COPIED(nanosleep, IN(TIME), IO(TIME)),
    COPIED(clock_nanosleep, V, V, IN(TIME), IO(TIME)),
    COPIED(clock_gettime, V, IO(TIME)),
    COPIED(clock_getres, V, IO(TIME)),
    COPIED(clock_settime, V, IN(TIME)),
    COPIED(gettimeofday, IO(sizeof(struct timeval)), IO(8)),
    COPIED(settimeofday, IN(sizeof(struct timeval)), IN(8)),
    COPIED(time, IO(8)),
    COPIED(adjtimex, IO(sizeof(struct timex))),
    COPIED(clock_adjtime, V, IO(sizeof(struct timex))),
    COPIED(getitimer, V, IO(sizeof(struct itimerval))),
    COPIED(setitimer, V, IN(sizeof(struct itimerval)), IO(sizeof(struct itimerval))),
    COPIED(timer_create, V, IN(sizeof(struct sigevent)), IO(4)),
    COPIED(timer_settime, V, V, IN(sizeof(struct itimerspec)), IO(sizeof(struct itimerspec))),
    COPIED(timer_gettime, V, IO(sizeof(struct itimerspec))),
    COPIED(timerfd_settime, V, V, IN(sizeof(struct itimerspec)), IO(sizeof(struct itimerspec))),
    COPIED(timerfd_gettime, V, IO(sizeof(struct itimerspec))),

    /* messages and semaphores of System V and POSIX */
    COPIED(msgsnd, V, MESSAGE(CALL_IN_COUNTED)),
    COPIED(msgrcv, V, MESSAGE(CALL_INOUT_COUNTED)),
    COPIED(semop, V, INS(2, sizeof(struct sembuf))),
    COPIED(semtimedop, V, INS(2, sizeof(struct sembuf)), V, IN(TIME)),
    COPIED(mq_open, TEXT, V, V, IN(sizeof(struct mq_attr))),
    COPIED(mq_unlink, TEXT),
    COPIED(mq_timedsend, V, INS(2, 1), V, V, IN(TIME)),
    COPIED(mq_timedreceive, V, OUTS(2, 1), V, IO(4), IN(TIME)),
    COPIED(mq_getsetattr, V, IN(sizeof(struct mq_attr)), IO(sizeof(struct mq_attr))),

    /* The kernel compares and wakes by address: a copy would be another futex. A page that was there when the
     * wait began may go afterwards. */
    SPECIAL(futex, call_touched, P, V, V, P, P),

    /* Created with a stack pointer: the child would return from our stub on another stack. */
    PLAIN(clone),
    PLAIN(clone3),
    PLAIN(fork),
    PLAIN(vfork),
    /* Its arguments are whatever was in the registers. */
    PLAIN(rt_sigreturn),
    PLAIN(exit),
    PLAIN(exit_group),

    PLAIN(set_tid_address),
    PLAIN(set_robust_list),
    PLAIN(rseq),
    PLAIN(arch_prctl),
    PLAIN(mincore),
    PLAIN(shmat),
    PLAIN(shmdt),
    PLAIN(lseek),
    PLAIN(brk),
    PLAIN(sched_yield),
    PLAIN(dup),
    PLAIN(pause),
    PLAIN(alarm),
    PLAIN(getpid),
    PLAIN(gettid),
    PLAIN(getppid),
    PLAIN(socket),
    PLAIN(shutdown),
    PLAIN(listen),
    PLAIN(kill),
    PLAIN(tkill),
    PLAIN(tgkill),
    PLAIN(flock),
    PLAIN(fsync),
    PLAIN(fdatasync),
    PLAIN(syncfs),
    PLAIN(sync),
    PLAIN(sync_file_range),
    PLAIN(fadvise64),
    PLAIN(readahead),
    PLAIN(fallocate),
    PLAIN(ftruncate),
    PLAIN(fchdir),
    PLAIN(fchmod),
    PLAIN(fchown),
    PLAIN(umask),
    PLAIN(getuid),
    PLAIN(getgid),
    PLAIN(geteuid),
    PLAIN(getegid),
    PLAIN(setuid),
    PLAIN(setgid),
    PLAIN(setpgid),
    PLAIN(getpgid),
    PLAIN(getpgrp),
    PLAIN(setsid),
    PLAIN(getsid),
    PLAIN(getpriority),
    PLAIN(setpriority),
    PLAIN(personality),
    PLAIN(mlockall),
    PLAIN(munlockall),
    PLAIN(membarrier),
    PLAIN(epoll_create),
    PLAIN(epoll_create1),
    PLAIN(eventfd),
    PLAIN(eventfd2),
    PLAIN(timerfd_create),
    PLAIN(inotify_init),
    PLAIN(inotify_init1),
    PLAIN(tee),
    PLAIN(restart_syscall),
};

const size_t call_table_count = sizeof(call_table) / sizeof(call_table[0]);
