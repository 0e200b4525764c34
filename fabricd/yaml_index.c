/* yaml_index.c - see yaml_index.h */
#include "yaml_index.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct entry {
    char path[YAML_PATH_BYTES];
    unsigned line;
};

struct yaml_index {
    struct entry *entries; /* sorted by path once the walk is over */
    size_t count;
    size_t room;
};

/* A list or mapping that the walk is inside of. */
struct level {
    char path[YAML_PATH_BYTES]; /* of the list or mapping itself; "" at the top */
    char key[YAML_INDEX_KEY_BYTES];
    bool is_mapping;
    bool has_key;   /* a mapping's key was read, its value is next */
    unsigned count; /* a list's entries so far */
};

struct walk {
    struct yaml_index *index;
    struct yaml_problem *problem;
    struct level levels[YAML_INDEX_DEPTH_MAX];
    unsigned depth;
    unsigned documents;
};

__attribute__((format(printf, 3, 4))) static int refuse(struct walk *walk, unsigned line, const char *format,
                                                        ...)
{
    va_list arguments;

    walk->problem->line = line;
    va_start(arguments, format);
    vsnprintf(walk->problem->text, sizeof(walk->problem->text), format, arguments);
    va_end(arguments);
    return -EINVAL;
}

static int note(struct walk *walk, const char *path, unsigned line)
{
    struct yaml_index *index = walk->index;
    struct entry *entries;

    if (index->count == YAML_INDEX_ENTRIES_MAX)
        return refuse(walk, line, "more than %d keys and entries in one file", YAML_INDEX_ENTRIES_MAX);
    if (index->count == index->room) {
        index->room = index->room ? 2 * index->room : 64;
        entries = realloc(index->entries, index->room * sizeof(*entries));
        if (!entries)
            return -ENOMEM;
        index->entries = entries;
    }
    snprintf(index->entries[index->count].path, YAML_PATH_BYTES, "%s", path);
    index->entries[index->count++].line = line;
    return 0;
}

static int take_key(struct walk *walk, struct level *level, const yaml_event_t *event, unsigned line)
{
    char path[YAML_PATH_BYTES];
    size_t key_bytes = event->data.scalar.length;
    int written;

    if (key_bytes == 0 || key_bytes >= YAML_INDEX_KEY_BYTES)
        return refuse(walk, line, "a key of %zu bytes; expected 1 to %d", key_bytes,
                      YAML_INDEX_KEY_BYTES - 1);
    memcpy(level->key, event->data.scalar.value, key_bytes);
    level->key[key_bytes] = '\0';
    level->has_key = true;
    written = snprintf(path, sizeof(path), "%s%s%s", level->path, level->path[0] ? "." : "", level->key);
    if (written < 0 || (size_t)written >= sizeof(path))
        return refuse(walk, line, "%.40s: the key's path is longer than %d bytes", level->key,
                      YAML_PATH_BYTES);
    return note(walk, path, line);
}

/* The path of the value that begins now, which the enclosing level has made room for. */
static int begin_value(struct walk *walk, unsigned line, char path_out[YAML_PATH_BYTES])
{
    struct level *level;
    int written;

    path_out[0] = '\0';
    if (walk->depth == 0)
        return 0;
    level = &walk->levels[walk->depth - 1];
    if (level->is_mapping) {
        if (!level->has_key)
            return refuse(walk, line, "expected a key of plain text, found a list or mapping");
        level->has_key = false;
        written =
            snprintf(path_out, YAML_PATH_BYTES, "%s%s%s", level->path, level->path[0] ? "." : "", level->key);
        return written < YAML_PATH_BYTES ? 0 : refuse(walk, line, "nested too deeply");
    }
    written = snprintf(path_out, YAML_PATH_BYTES, "%s[%u]", level->path, level->count++);
    if (written >= YAML_PATH_BYTES)
        return refuse(walk, line, "nested too deeply");
    return note(walk, path_out, line);
}

static int take_scalar(struct walk *walk, const yaml_event_t *event, unsigned line)
{
    struct level *level = walk->depth > 0 ? &walk->levels[walk->depth - 1] : NULL;
    char path[YAML_PATH_BYTES];

    if (memchr(event->data.scalar.value, '\0', event->data.scalar.length))
        return refuse(walk, line, "a NUL character");
    if (level && level->is_mapping && !level->has_key)
        return take_key(walk, level, event, line);
    return begin_value(walk, line, path);
}

static int enter(struct walk *walk, bool is_mapping, unsigned line)
{
    struct level *level;
    char path[YAML_PATH_BYTES];
    int error = begin_value(walk, line, path);

    if (error)
        return error;
    if (walk->depth == YAML_INDEX_DEPTH_MAX)
        return refuse(walk, line, "nested too deeply");
    level = &walk->levels[walk->depth++];
    *level = (struct level){.is_mapping = is_mapping};
    memcpy(level->path, path, sizeof(path));
    return 0;
}

static int take_event(struct walk *walk, const yaml_event_t *event)
{
    unsigned line = (unsigned)event->start_mark.line + 1;

    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (walk->documents++ > 0)
            return refuse(walk, line, "a second document; expected one");
        return 0;
    case YAML_ALIAS_EVENT:
        return refuse(walk, line, "aliases (*name) are not taken; write the value out");
    case YAML_SCALAR_EVENT:
        return take_scalar(walk, event, line);
    case YAML_MAPPING_START_EVENT:
        return enter(walk, true, line);
    case YAML_SEQUENCE_START_EVENT:
        return enter(walk, false, line);
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
        walk->depth--;
        return 0;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        return 0;
    }
    return 0;
}

static int walk_events(struct walk *walk, yaml_parser_t *parser)
{
    yaml_event_t event;
    bool at_end = false;
    int error = 0;

    while (!at_end && !error) {
        if (!yaml_parser_parse(parser, &event)) {
            if (parser->error == YAML_MEMORY_ERROR)
                return -ENOMEM;
            return refuse(walk, (unsigned)parser->problem_mark.line + 1, "not valid YAML: %s",
                          parser->problem ? parser->problem : "unreadable");
        }
        error = take_event(walk, &event);
        at_end = event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    return error;
}

/* By path; the same path twice in the order of the text. */
static int compare_entries(const void *a, const void *b)
{
    const struct entry *left = a, *right = b;
    int order = strcmp(left->path, right->path);

    return order ? order : (left->line > right->line) - (left->line < right->line);
}

static int refuse_duplicates(struct walk *walk)
{
    const struct entry *entries = walk->index->entries;

    for (size_t i = 1; i < walk->index->count; i++)
        if (strcmp(entries[i - 1].path, entries[i].path) == 0)
            return refuse(walk, entries[i].line, "%s: the key is given twice, first on line %u",
                          entries[i].path, entries[i - 1].line);
    return 0;
}

int yaml_index_open(const char *text, size_t text_bytes, struct yaml_index **index_out,
                    struct yaml_problem *problem_out)
{
    struct walk walk = {.problem = problem_out};
    yaml_parser_t parser;
    int error;

    walk.index = calloc(1, sizeof(*walk.index));
    if (!walk.index)
        return -ENOMEM;
    if (!yaml_parser_initialize(&parser)) {
        error = -ENOMEM;
        goto free_index;
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, text_bytes);
    error = walk_events(&walk, &parser);
    yaml_parser_delete(&parser);
    if (error)
        goto free_index;
    if (walk.index->count > 0)
        qsort(walk.index->entries, walk.index->count, sizeof(struct entry), compare_entries);
    error = refuse_duplicates(&walk);
    if (error)
        goto free_index;
    *index_out = walk.index;
    return 0;
free_index:
    yaml_index_close(walk.index);
    return error;
}

void yaml_index_close(struct yaml_index *index)
{
    if (!index)
        return;
    free(index->entries);
    free(index);
}

static int compare_path(const void *path, const void *entry)
{
    return strcmp(path, ((const struct entry *)entry)->path);
}

unsigned yaml_index_line(const struct yaml_index *index, const char *path)
{
    const struct entry *found = NULL;

    if (index->count > 0)
        found = bsearch(path, index->entries, index->count, sizeof(*found), compare_path);
    return found ? found->line : 0;
}

/* Is `path` the path of an entry, positions left out? */
static bool matches_without_positions(const char *entry, const char *path)
{
    while (*entry) {
        const char *close = *entry == '[' ? strchr(entry, ']') : NULL;

        if (close)
            entry = close + 1;
        else if (*entry++ != *path++)
            return false;
    }
    return *path == '\0';
}

unsigned yaml_index_line_in_any(const struct yaml_index *index, const char *path)
{
    unsigned line = 0;

    for (size_t i = 0; i < index->count; i++) {
        const struct entry *entry = &index->entries[i];

        if ((line == 0 || entry->line < line) && matches_without_positions(entry->path, path))
            line = entry->line;
    }
    return line;
}
