/* run_program.c - see run_program.h */
#include "run_program.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "run.h"

#define HEAD_BYTES  4096 /* of a file: the ELF header, its program headers, or the first line of a script */
#define SCRIPTS_MAX 4    /* the kernel's own limit */

/* ---- finding ---- */

static bool is_program(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0 && S_ISREG(status.st_mode);
}

/* The directories of PATH; an empty one is the current directory. */
static int search(const char *name, char path[PATH_MAX])
{
    const char *directories = getenv("PATH");
    int error = -ENOENT;

    if (!directories)
        directories = "/bin:/usr/bin";
    for (const char *at = directories;; at++) {
        size_t bytes = strcspn(at, ":");

        if (snprintf(path, PATH_MAX, "%.*s/%s", bytes ? (int)bytes : 1, bytes ? at : ".", name) < PATH_MAX &&
            is_program(path)) {
            if (access(path, X_OK) == 0)
                return 0;
            error = -EACCES;
        }
        at += bytes;
        if (*at == '\0')
            return error;
    }
}

static int locate(const char *name, char path[PATH_MAX])
{
    struct stat status;

    if (!strchr(name, '/'))
        return search(name, path);
    if (snprintf(path, PATH_MAX, "%s", name) >= PATH_MAX)
        return -ENAMETOOLONG;
    if (stat(path, &status) != 0)
        return errno == ENOTDIR ? -ENOENT : -errno;
    return S_ISREG(status.st_mode) && access(path, X_OK) == 0 ? 0 : -EACCES;
}

/* ---- looking inside ---- */

static ssize_t read_head(const char *path, char head[HEAD_BYTES])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got;

    if (fd < 0)
        return -errno;
    got = read(fd, head, HEAD_BYTES - 1);
    close(fd);
    if (got >= 0)
        head[got] = '\0';
    return got < 0 ? -errno : got;
}

/* A dynamic loader, which is what reads LD_PRELOAD. */
static bool has_loader(const char *head, size_t bytes)
{
    Elf64_Ehdr header;
    Elf64_Phdr part;

    memcpy(&header, head, sizeof(header));
    for (unsigned i = 0; i < header.e_phnum; i++) {
        uint64_t at = header.e_phoff + (uint64_t)i * sizeof(part);

        if (header.e_phoff > bytes || at + sizeof(part) > bytes)
            return false;
        memcpy(&part, head + at, sizeof(part));
        if (part.p_type == PT_INTERP)
            return true;
    }
    return false;
}

static int check_elf(const char *path, const char *head, size_t bytes, char why[RUN_PROGRAM_WHY_BYTES])
{
    Elf64_Ehdr header;

    if (bytes >= sizeof(header))
        memcpy(&header, head, sizeof(header));
    if (bytes < sizeof(header) || header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != EM_X86_64)
        snprintf(why, RUN_PROGRAM_WHY_BYTES, "%s is not a program for x86-64", path);
    else if (!has_loader(head, bytes))
        snprintf(why, RUN_PROGRAM_WHY_BYTES,
                 "%s is linked statically: no library can be loaded into it, which takes a dynamic program",
                 path);
    else
        return 0;
    return -ENOEXEC;
}

/* The dynamic loader ignores LD_PRELOAD in programs that gain rights. */
static int check_rights(const char *path, char why[RUN_PROGRAM_WHY_BYTES])
{
    struct stat status;
    bool gains = stat(path, &status) == 0 && ((status.st_mode & S_ISUID && status.st_uid != geteuid()) ||
                                              (status.st_mode & S_ISGID && status.st_gid != getegid()));

    if (!gains && (geteuid() == 0 || getxattr(path, "security.capability", NULL, 0) < 0))
        return 0;
    snprintf(
        why, RUN_PROGRAM_WHY_BYTES,
        "%s runs with more rights than yours (setuid or capabilities): no library of yours is loaded into it",
        path);
    return -ENOEXEC;
}

/* "#! /bin/sh -e": what runs the script. False: the line names none. */
static bool interpreter_of(const char *head, char path[PATH_MAX])
{
    const char *start = head + 2 + strspn(head + 2, " \t");
    size_t bytes = strcspn(start, " \t\r\n");

    if (bytes == 0 || bytes >= PATH_MAX)
        return false;
    memcpy(path, start, bytes);
    path[bytes] = '\0';
    return true;
}

static int inspect(const char *program, char why[RUN_PROGRAM_WHY_BYTES])
{
    char path[PATH_MAX], head[HEAD_BYTES];
    ssize_t bytes;

    snprintf(path, sizeof(path), "%s", program);
    for (unsigned depth = 0; depth <= SCRIPTS_MAX; depth++) {
        bytes = read_head(path, head);
        if (bytes < 0) { /* executable, but not readable: the kernel does not mind, so neither do we */
            return bytes == -EACCES ? check_rights(path, why) : (int)bytes;
        }
        if (bytes >= SELFMAG && memcmp(head, ELFMAG, SELFMAG) == 0) {
            int error = check_elf(path, head, (size_t)bytes, why);

            return error ? error : check_rights(path, why);
        }
        if (strncmp(head, "#!", 2) != 0 || !interpreter_of(head, path))
            break;
    }
    snprintf(why, RUN_PROGRAM_WHY_BYTES, "%s is neither a program for x86-64 nor a script that names one",
             program);
    return -ENOEXEC;
}

int run_program_find(const char *name, char path[PATH_MAX], char why[RUN_PROGRAM_WHY_BYTES])
{
    int error = locate(name, path);

    if (error == -EACCES)
        snprintf(why, RUN_PROGRAM_WHY_BYTES, "'%s' is not an executable file", name);
    else if (error)
        snprintf(why, RUN_PROGRAM_WHY_BYTES, "there is no program '%s'%s", name,
                 strchr(name, '/') ? "" : " in the directories of PATH");
    if (error)
        return error == -EACCES ? error : -ENOENT;
    error = inspect(path, why);
    if (error == 0 || error == -ENOEXEC)
        return error;
    snprintf(why, RUN_PROGRAM_WHY_BYTES, "%s: %s", path, strerror(-error));
    return -EACCES;
}

/* ---- running ---- */

/* Sent to us rather than to it by mistake: timeout(1), a supervisor, kill. */
static const int forwarded[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGTERM, SIGUSR1,
                                SIGUSR2, SIGALRM, SIGCONT, SIGWINCH};

static void waited_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGCHLD);
    for (size_t i = 0; i < sizeof(forwarded) / sizeof(forwarded[0]); i++)
        sigaddset(set, forwarded[i]);
}

_Noreturn static void become(const char *path, char **argv, const sigset_t *mask)
{
    char process[24];

    snprintf(process, sizeof(process), "%d", (int)getpid());
    setenv(RUN_ENV_PROCESS, process, 1);
    sigprocmask(SIG_SETMASK, mask, NULL);
    execv(path, argv);
    fprintf(stderr, "cxe: run: %s: %s\n", path, strerror(errno));
    _exit(errno == ENOENT ? 127 : 126);
}

int run_program_wait(const char *path, char **argv, int *status_out)
{
    sigset_t set, saved;
    siginfo_t info;
    pid_t child;

    waited_signals(&set);
    sigprocmask(SIG_BLOCK, &set, &saved);
    child = fork();
    if (child < 0)
        return -errno;
    if (child == 0)
        become(path, argv, &saved);
    for (;;) {
        int number = sigwaitinfo(&set, &info);

        if (number == SIGCHLD || number < 0) {
            if (waitpid(child, status_out, WNOHANG) == child)
                break;
        } else if (info.si_code <= 0) { /* from a process; the terminal sends its own to everybody */
            kill(child, number);
        }
    }
    sigprocmask(SIG_SETMASK, &saved, NULL);
    return 0;
}
