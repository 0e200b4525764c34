/* call_process.c - execve and prctl with arguments on the pool; see call.h */
#include "call.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "pager.h"
#include "scratch.h"
#include "stub.h"

/* A vector of strings, and how much it takes to have it locally. */
struct strings {
    char **vector;
    size_t count;
    size_t bytes; /* of the strings that are on the pool */
};

static struct strings measure(char **vector)
{
    struct strings strings = {.vector = vector};

    for (; vector && vector[strings.count]; strings.count++)
        if (pager_in_window(vector[strings.count]))
            strings.bytes += strlen(vector[strings.count]) + 1;
    return strings;
}

static bool is_local(const struct strings *strings)
{
    return strings->bytes == 0 && !pager_in_window(strings->vector);
}

/* Copies a text to `*text` and moves that on, if the text is on the pool. Returns where it now is. */
static char *make_local(char *original, char **text)
{
    char *local = *text;
    size_t bytes;

    if (!pager_in_window(original))
        return original;
    bytes = strlen(original) + 1;
    memcpy(local, original, bytes);
    *text += bytes;
    return local;
}

static void copy_strings(char **to, const struct strings *strings, char **text)
{
    for (size_t i = 0; i < strings->count; i++)
        to[i] = make_local(strings->vector[i], text);
    to[strings->count] = NULL;
}

/* The kernel reads path, arguments and environment by itself. They are made local; if any of it changes in
 * between, that is the race it would be anyhow. `at` is the index of the path. */
static long execute(struct call_request *request, unsigned at)
{
    long *a = request->arguments;
    struct strings argv = measure((char **)a[at + 1]), envp = measure((char **)a[at + 2]);
    char *path = (char *)a[at], *text;
    size_t path_bytes = pager_in_window(path) ? strlen(path) + 1 : 0;
    char **vectors;

    if (is_local(&argv) && is_local(&envp) && path_bytes == 0)
        return call_verbatim(request);
    vectors =
        scratch_exec((argv.count + envp.count + 2) * sizeof(char *) + argv.bytes + envp.bytes + path_bytes);
    if (!vectors)
        return -ENOMEM;
    text = (char *)(vectors + argv.count + envp.count + 2);
    copy_strings(vectors, &argv, &text);
    copy_strings(vectors + argv.count + 1, &envp, &text);
    a[at] = (long)make_local(path, &text);
    a[at + 1] = argv.vector ? (long)vectors : 0;
    a[at + 2] = envp.vector ? (long)(vectors + argv.count + 1) : 0;
    return call_verbatim(request);
}

long call_execve(struct call_request *request)
{
    return execute(request, 0);
}

long call_execveat(struct call_request *request)
{
    return execute(request, 1);
}

#define TASK_NAME_BYTES 16

long call_prctl(struct call_request *request)
{
    long *a = request->arguments;
    char *original = (char *)a[1];
    char name[TASK_NAME_BYTES];
    long result;

    if (a[0] == PR_SET_NAME && pager_in_window(original)) {
        strncpy(name, original, sizeof(name) - 1);
        name[sizeof(name) - 1] = '\0';
        a[1] = (long)name;
        return call_verbatim(request);
    }
    if (a[0] == PR_GET_NAME && pager_in_window(original)) {
        a[1] = (long)name;
        result = call_verbatim(request);
        memcpy(original, name, sizeof(name));
        return result;
    }
    return call_touched(request);
}
