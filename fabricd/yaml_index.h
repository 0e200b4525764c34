/* yaml_index.h - where in a YAML text each key and list entry stands
 *
 * libcyaml fills structures but tells lines only roughly, and a value that turns out wrong later has no line
 * at all. This walk over the same text, made first, refuses what no configuration needs (several documents,
 * aliases, keys that are not text, the same key twice, NUL in a value) and notes the line of everything else.
 */
#ifndef FABRICD_YAML_INDEX_H
#define FABRICD_YAML_INDEX_H

#include <stddef.h>

#define YAML_INDEX_ENTRIES_MAX 16384 /* keys and list entries in one text */
#define YAML_INDEX_KEY_BYTES   64    /* including the terminating NUL */
#define YAML_INDEX_DEPTH_MAX   8
#define YAML_PATH_BYTES        128 /* including the terminating NUL */

struct yaml_index;

/* What is wrong, and where. `line` counts from 1; 0: no particular one. */
struct yaml_problem {
    unsigned line;
    char text[256];
};

/* Walks the text. The caller frees the index. -EINVAL, with *problem_out set; -ENOMEM. */
int yaml_index_open(const char *text, size_t text_bytes, struct yaml_index **index_out,
                    struct yaml_problem *problem_out);
void yaml_index_close(struct yaml_index *index);

/* The line of a key ("pool.size") or a list entry ("tenants[2]", counted from 0); 0 if it is not there. */
unsigned yaml_index_line(const struct yaml_index *index, const char *path);

/* The first line of a key whose list positions are not known: "tenants.quota" finds "tenants[2].quota". */
unsigned yaml_index_line_in_any(const struct yaml_index *index, const char *path);

#endif
