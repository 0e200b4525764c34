/* changes.c - see changes.h */
#include "changes.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEAST_CHANGE 0.03 /* of the old value */

const char *const verdict_names[VERDICT_COUNT] = {
    [VERDICT_SAME] = "same",   [VERDICT_BETTER] = "better",     [VERDICT_WORSE] = "worse",
    [VERDICT_MOVED] = "moved", [VERDICT_UNJUDGED] = "unjudged", [VERDICT_GONE] = "gone",
    [VERDICT_NEW] = "new",
};

/* A median with its quartiles. */
struct spread {
    double low, middle, high;
};

static json_t *find(json_t *figures, const char *name)
{
    json_t *figure;
    size_t i;

    json_array_foreach(figures, i, figure)
    {
        const char *own = json_string_value(json_object_get(figure, "name"));

        if (own && strcmp(own, name) == 0)
            return figure;
    }
    return NULL;
}

/* False: not all of it is there. */
static bool read_spread(json_t *figure, const char *value, const char *quartiles, struct spread *spread_out)
{
    json_t *middle = json_object_get(figure, value), *ends = json_object_get(figure, quartiles);
    json_t *low = json_array_get(ends, 0), *high = json_array_get(ends, 1);

    if (!json_is_number(middle) || !json_is_number(low) || !json_is_number(high))
        return false;
    *spread_out = (struct spread){json_number_value(low), json_number_value(middle), json_number_value(high)};
    return true;
}

/* 1: more beyond the noise, -1: less, 0: neither. */
static int direction(const struct spread *old, const struct spread *new)
{
    if (fabs(new->middle - old->middle) <= LEAST_CHANGE * fabs(old->middle))
        return 0;
    if (new->low > old->high)
        return 1;
    return new->high < old->low ? -1 : 0;
}

static enum verdict judge(json_t *old, json_t *new, struct change *change)
{
    const json_t *more_is_better = json_object_get(new, "more_is_better");
    struct spread was, is;
    int moved;

    if (!json_is_boolean(more_is_better) || !read_spread(old, "value", "quartiles", &was) ||
        !read_spread(new, "value", "quartiles", &is))
        return VERDICT_UNJUDGED;
    change->old = was.middle;
    change->new = is.middle;
    moved = direction(&was, &is);
    if (moved == 0)
        return VERDICT_SAME;
    if (read_spread(old, "ratio", "ratio_quartiles", &was) &&
        read_spread(new, "ratio", "ratio_quartiles", &is) && direction(&was, &is) != moved)
        return VERDICT_MOVED;
    return (moved > 0) == json_is_true(more_is_better) ? VERDICT_BETTER : VERDICT_WORSE;
}

static void add(struct changes *changes, json_t *old, json_t *new)
{
    struct change *change = &changes->changes[changes->count];
    json_t *known = new ? new : old;

    change->name = json_string_value(json_object_get(known, "name"));
    change->unit = json_string_value(json_object_get(known, "unit"));
    if (!change->name)
        return;
    if (!old)
        change->verdict = VERDICT_NEW;
    else
        change->verdict = new ? judge(old, new, change) : VERDICT_GONE;
    changes->counts[change->verdict]++;
    changes->count++;
}

int changes_find(json_t *old, json_t *new, struct changes **changes_out)
{
    json_t *was = json_object_get(old, "figures"), *is = json_object_get(new, "figures"), *figure;
    struct changes *changes;
    size_t i;

    if (json_array_size(was) == 0 || json_array_size(is) == 0) /* of what is no array, 0 */
        return -EINVAL;
    changes = calloc(1, sizeof(*changes) +
                            (json_array_size(was) + json_array_size(is)) * sizeof(changes->changes[0]));
    if (!changes)
        return -ENOMEM;
    json_array_foreach(is, i, figure)
    {
        const char *name = json_string_value(json_object_get(figure, "name"));

        add(changes, name ? find(was, name) : NULL, figure);
    }
    json_array_foreach(was, i, figure)
    {
        const char *name = json_string_value(json_object_get(figure, "name"));

        if (name && !find(is, name))
            add(changes, figure, NULL);
    }
    *changes_out = changes;
    return 0;
}

/* ---- machines ---- */

/* What is another one in every run. */
static bool is_of_the_run(const char *key)
{
    return strcmp(key, "date") == 0 || strcmp(key, "commit") == 0 || strcmp(key, "steal_percent") == 0;
}

bool changes_of_machine(json_t *old, json_t *new, char *text, size_t text_bytes)
{
    json_t *was = json_object_get(old, "machine"), *is = json_object_get(new, "machine"), *value;
    const char *key;
    size_t used = 0;

    text[0] = '\0';
    json_object_foreach(was, key, value)
    {
        json_t *other = json_object_get(is, key);
        char *before, *after;

        if (is_of_the_run(key) || !other || json_equal(value, other) || used >= text_bytes)
            continue;
        before = json_dumps(value, JSON_ENCODE_ANY);
        after = json_dumps(other, JSON_ENCODE_ANY);
        used += (size_t)snprintf(text + used, text_bytes - used, "%s%s (%s, then %s)", used ? ", " : "", key,
                                 before ? before : "?", after ? after : "?");
        free(before);
        free(after);
    }
    return used > 0;
}
