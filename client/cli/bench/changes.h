/* changes.h - what differs between two files of figures, beyond the noise of each */
#ifndef CXE_BENCH_CHANGES_H
#define CXE_BENCH_CHANGES_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* What became of a figure. */
enum verdict {
    VERDICT_SAME,   /* within the noise */
    VERDICT_BETTER, /* the quartiles do not overlap, and the median moved by more than 3 % */
    VERDICT_WORSE,
    VERDICT_MOVED,    /* so did its floor: it was the machine */
    VERDICT_UNJUDGED, /* which direction is better is not said, or its parts are missing */
    VERDICT_GONE,     /* only in the old file */
    VERDICT_NEW,      /* only in the new file */
    VERDICT_COUNT,
};

extern const char *const verdict_names[VERDICT_COUNT];

struct change {
    const char *name, *unit; /* belong to the documents */
    enum verdict verdict;
    double old, new;
};

struct changes {
    size_t count;
    unsigned counts[VERDICT_COUNT];
    struct change changes[]; /* as in the new file, then what is gone */
};

/* Compares two documents {"machine", "figures"}. -EINVAL: one has no figures; -ENOMEM. The caller frees
 * *changes_out. */
int changes_find(json_t *old, json_t *new, struct changes **changes_out);

/* How the machines differ, as a text for people: "cpu (X, then Y), cores (2, then 4)". False: not at all. */
bool changes_of_machine(json_t *old, json_t *new, char *text, size_t text_bytes);

#endif
