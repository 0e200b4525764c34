/* wrap.h - the functions that stand in for libc's within the client library; see wrap.c */
#ifndef CXE_PRELOAD_WRAP_H
#define CXE_PRELOAD_WRAP_H

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/types.h>
#include <time.h>

void *__wrap_mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset);
int __wrap_munmap(void *address, size_t bytes);
int __wrap_mprotect(void *address, size_t bytes, int protection);
int __wrap_madvise(void *address, size_t bytes, int advice);

int __wrap_socket(int domain, int type, int protocol);
int __wrap_epoll_create1(int flags);
int __wrap_open(const char *path, int flags, ...);
int __wrap_fcntl(int fd, int command, ...);
ssize_t __wrap_read(int fd, void *buffer, size_t bytes);
ssize_t __wrap_pread(int fd, void *buffer, size_t bytes, off_t offset);
ssize_t __wrap_write(int fd, const void *buffer, size_t bytes);
int __wrap_eventfd(unsigned value, int flags);
int __wrap_timerfd_create(clockid_t clock, int flags);
int __wrap_close(int fd);
long __wrap_syscall(long number, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms);
int __wrap_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask);
int __wrap_nanosleep(const struct timespec *time, struct timespec *rest);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*main)(void *),
                          void *argument);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*main)(void *),
                          void *argument);

int __wrap_pthread_sigmask(int how, const sigset_t *set, sigset_t *old_out);
void (*__wrap_signal(int number, void (*handler)(int)))(int);

#endif
