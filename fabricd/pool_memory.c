/* pool_memory.c - see pool_memory.h */
#include "pool_memory.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_BYTES_MAX 16384

/* Reads a small file of /proc, /sys or the cgroup file system; false if there is none. */
static bool read_file(const char *root, const char *path, char text_out[FILE_BYTES_MAX])
{
    char whole[PATH_MAX];
    size_t bytes = 0;
    ssize_t got;
    int fd;

    if (snprintf(whole, sizeof(whole), "%s%s", root, path) >= (int)sizeof(whole))
        return false;
    fd = open(whole, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    while (bytes < FILE_BYTES_MAX - 1 && (got = read(fd, text_out + bytes, FILE_BYTES_MAX - 1 - bytes)) > 0)
        bytes += (size_t)got;
    close(fd);
    text_out[bytes] = '\0';
    return bytes > 0;
}

/* The number behind `key` in a file of "key number" lines; 0 if it is not there. */
static uint64_t number_behind(const char *text, const char *key)
{
    const char *at = strstr(text, key);

    return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

static void tighten(struct pool_memory *memory, uint64_t bytes, const char *path)
{
    if (bytes >= memory->bytes)
        return;
    memory->bytes = bytes;
    snprintf(memory->source, sizeof(memory->source), "%.*s", (int)sizeof(memory->source) - 1, path);
}

/* The names of the files of one version of the memory controller. */
struct controller {
    const char *mount, *limit, *usage, *cache_key;
};
static const struct controller controller_v1 = {"/sys/fs/cgroup/memory", "memory.limit_in_bytes",
                                                "memory.usage_in_bytes", "\ntotal_inactive_file "};
static const struct controller controller_v2 = {"/sys/fs/cgroup", "memory.max", "memory.current",
                                                "\ninactive_file "};

static bool read_group_file(const char *root, const struct controller *controller, const char *group,
                            const char *file, char path_out[PATH_MAX], char text_out[FILE_BYTES_MAX])
{
    int length = snprintf(path_out, PATH_MAX, "%s%s/%s", controller->mount, group, file);

    return length < PATH_MAX && read_file(root, path_out, text_out);
}

static void limit_by_group(const char *root, const struct controller *controller, const char *group,
                           struct pool_memory *memory)
{
    char text[FILE_BYTES_MAX], path[PATH_MAX];
    uint64_t limit, usage, cache = 0;

    if (!read_group_file(root, controller, group, controller->usage, path, text))
        return;
    usage = strtoull(text, NULL, 10);
    if (read_group_file(root, controller, group, "memory.stat", path, text))
        cache = number_behind(text, controller->cache_key);
    if (!read_group_file(root, controller, group, controller->limit, path, text))
        return;
    if (text[0] < '0' || text[0] > '9') /* "max" */
        return;
    limit = strtoull(text, NULL, 10);
    usage -= cache < usage ? cache : usage;
    tighten(memory, limit > usage ? limit - usage : 0, path);
}

/* A group is bound by all its ancestors too. */
static void limit_by_groups(const char *root, const struct controller *controller, char *group,
                            struct pool_memory *memory)
{
    for (;;) {
        char *slash = strrchr(group, '/');

        limit_by_group(root, controller, strcmp(group, "/") == 0 ? "" : group, memory);
        if (!slash || group[0] == '\0')
            return;
        *slash = '\0';
    }
}

/* A line of /proc/self/cgroup: "number:controllers:/path". */
static void limit_by_line(const char *root, char *line, struct pool_memory *memory)
{
    char *controllers = strchr(line, ':');
    char *group = controllers ? strchr(controllers + 1, ':') : NULL;

    if (!group)
        return;
    *group++ = '\0';
    controllers++;
    if (controllers[0] == '\0')
        limit_by_groups(root, &controller_v2, group, memory);
    else if (strcmp(controllers, "memory") == 0)
        limit_by_groups(root, &controller_v1, group, memory);
}

void pool_memory_available(const char *root, struct pool_memory *memory_out)
{
    struct pool_memory memory = {.bytes = UINT64_MAX, .source = "nothing"};
    char text[FILE_BYTES_MAX], *next = text, *line;

    if (read_file(root, "/proc/meminfo", text) && strstr(text, "MemAvailable:"))
        tighten(&memory, number_behind(text, "MemAvailable:") * 1024, "/proc/meminfo");
    if (read_file(root, "/proc/self/cgroup", text))
        while ((line = strsep(&next, "\n")))
            limit_by_line(root, line, &memory);
    *memory_out = memory;
}

void pool_memory_of_nodes(const char *root, uint64_t node_mask, struct pool_memory *memory_out)
{
    struct pool_memory memory = {.source = "/sys/devices/system/node"};
    char text[FILE_BYTES_MAX], path[PATH_MAX];

    for (unsigned node = 0; node < 64; node++) {
        if (!(node_mask >> node & 1))
            continue;
        snprintf(path, sizeof(path), "/sys/devices/system/node/node%u/meminfo", node);
        if (!read_file(root, path, text))
            continue;
        memory.bytes += number_behind(text, "MemFree:") * 1024;
        memory.bytes +=
            number_behind(text, "Active(file):") * 1024; /* the first hit; "Inactive" has no capital */
        memory.bytes += number_behind(text, "Inactive(file):") * 1024;
    }
    *memory_out = memory;
}

void pool_memory_huge(const char *root, uint64_t *pages_out, uint64_t *page_bytes_out)
{
    char text[FILE_BYTES_MAX];

    *pages_out = 0;
    *page_bytes_out = 0;
    if (!read_file(root, "/proc/meminfo", text))
        return;
    *pages_out = number_behind(text, "HugePages_Free:");
    *page_bytes_out = number_behind(text, "Hugepagesize:") * 1024;
}
