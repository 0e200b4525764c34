/* fault_spec.c - reads the text that says which faults to inject; see fault.h */
#include "fault.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "units.h"

#define SPEC_BYTES       256
#define PPM_PER_PERCENT  10000u
#define PERCENT_DECIMALS 4

/* "10%", "0.1%": whole and decimal digits, whatever the locale. */
static int parse_percent(const char *text, uint32_t *ppm_out)
{
    uint32_t ppm = 0, weight = PPM_PER_PERCENT;
    int digits = 0;

    for (; *text >= '0' && *text <= '9'; text++, digits++) {
        ppm = ppm * 10 + (uint32_t)(*text - '0') * PPM_PER_PERCENT;
        if (ppm > 100 * PPM_PER_PERCENT)
            return -ERANGE;
    }
    if (digits == 0)
        return -EINVAL;
    if (*text == '.') {
        text++;
        for (digits = 0; *text >= '0' && *text <= '9'; text++, digits++) {
            if (digits == PERCENT_DECIMALS)
                return -EINVAL;
            weight /= 10;
            ppm += (uint32_t)(*text - '0') * weight;
        }
        if (digits == 0)
            return -EINVAL;
    }
    if (strcmp(text, "%") != 0)
        return -EINVAL;
    if (ppm > 100 * PPM_PER_PERCENT)
        return -ERANGE;
    *ppm_out = ppm;
    return 0;
}

static int parse_time(const char *text, uint64_t *ns_out)
{
    if (strcmp(text, "0") == 0) { /* of whatever unit */
        *ns_out = 0;
        return 0;
    }
    return units_parse_duration(text, ns_out);
}

/* "2s..4s"; writes into `text`. */
static int parse_span(char *text, uint64_t *low_ns_out, uint64_t *high_ns_out)
{
    char *dots = strstr(text, "..");
    uint64_t low_ns, high_ns;
    int error;

    if (!dots)
        return -EINVAL;
    *dots = '\0';
    error = parse_time(text, &low_ns);
    if (!error)
        error = parse_time(dots + 2, &high_ns);
    if (error)
        return error;
    if (high_ns < low_ns)
        return -ERANGE;
    *low_ns_out = low_ns;
    *high_ns_out = high_ns;
    return 0;
}

static int parse_drop(char *value, struct fault_spec *spec)
{
    return parse_percent(value, &spec->drop_ppm);
}

static int parse_dup(char *value, struct fault_spec *spec)
{
    return parse_percent(value, &spec->dup_ppm);
}

static int parse_reorder(char *value, struct fault_spec *spec)
{
    return parse_percent(value, &spec->reorder_ppm);
}

static int parse_corrupt(char *value, struct fault_spec *spec)
{
    return parse_percent(value, &spec->corrupt_ppm);
}

static int parse_longest(char *value, struct fault_spec *spec)
{
    return units_parse_count(value, 1, FRAME_BYTES_MAX, &spec->longest_bytes);
}

static int parse_delay(char *value, struct fault_spec *spec)
{
    int error;

    if (strstr(value, ".."))
        error = parse_span(value, &spec->delay_low_ns, &spec->delay_high_ns);
    else {
        error = parse_time(value, &spec->delay_low_ns);
        spec->delay_high_ns = spec->delay_low_ns;
    }
    if (!error && spec->delay_high_ns > 60 * NS_PER_S)
        error = -ERANGE;
    return error;
}

static int parse_cut(char *value, struct fault_spec *spec)
{
    char *at = strchr(value, '@');

    spec->cut_from_ns = 0;
    spec->cut_until_ns = UINT64_MAX;
    if (at) {
        int error = parse_span(at + 1, &spec->cut_from_ns, &spec->cut_until_ns);

        if (error)
            return error;
        *at = '\0';
    }
    if (strcmp(value, "in") == 0)
        spec->cut = FAULT_CUT_IN;
    else if (strcmp(value, "out") == 0)
        spec->cut = FAULT_CUT_OUT;
    else if (strcmp(value, "both") == 0)
        spec->cut = FAULT_CUT_BOTH;
    else
        return -EINVAL;
    return 0;
}

static int parse_seed(char *value, struct fault_spec *spec)
{
    return units_parse_count(value, 1, UINT64_MAX, &spec->seed);
}

static const struct {
    const char *name;
    int (*parse)(char *value, struct fault_spec *spec);
    const char *expected;
} keys[] = {
    {"drop", parse_drop, "a percentage from 0% to 100%"},
    {"dup", parse_dup, "a percentage from 0% to 100%"},
    {"reorder", parse_reorder, "a percentage from 0% to 100%"},
    {"corrupt", parse_corrupt, "a percentage from 0% to 100%"},
    {"longest", parse_longest, "the bytes of the longest frame that gets through"},
    {"delay", parse_delay, "a time or a span of times up to a minute, as in 2ms or 0..2ms"},
    {"cut", parse_cut, "in, out or both, and maybe a span of times, as in both@2s..4s"},
    {"seed", parse_seed, "a number from 1 on"},
};
#define KEY_COUNT (sizeof(keys) / sizeof(keys[0]))

static int parse_item(char *item, struct fault_spec *spec, unsigned *seen, char *error_out)
{
    char *value = strchr(item, '=');
    size_t key = 0;

    if (value)
        *value++ = '\0';
    while (key < KEY_COUNT && strcmp(item, keys[key].name) != 0)
        key++;
    if (key == KEY_COUNT)
        snprintf(error_out, FAULT_ERROR_BYTES,
                 "fault spec: unknown key \"%.40s\"; known are drop, dup, reorder, corrupt, longest, delay, "
                 "cut, seed",
                 item);
    else if (*seen & (1u << key))
        snprintf(error_out, FAULT_ERROR_BYTES, "fault spec: key \"%s\" is given twice", keys[key].name);
    else if (!value)
        snprintf(error_out, FAULT_ERROR_BYTES, "fault spec: key \"%s\" has no value; expected %s",
                 keys[key].name, keys[key].expected);
    else {
        char shown[32];

        snprintf(shown, sizeof(shown), "%s", value); /* the parser may cut the value up */
        *seen |= 1u << key;
        if (keys[key].parse(value, spec) == 0)
            return 0;
        snprintf(error_out, FAULT_ERROR_BYTES, "fault spec: %s=%s: expected %s", keys[key].name, shown,
                 keys[key].expected);
    }
    return -EINVAL;
}

int fault_parse(const char *text, struct fault_spec *spec_out, char error_out[FAULT_ERROR_BYTES])
{
    struct fault_spec spec = {0};
    char copy[SPEC_BYTES], *rest = copy, *item;
    unsigned seen = 0;
    int error = 0;

    if (strlen(text) >= sizeof(copy)) {
        snprintf(error_out, FAULT_ERROR_BYTES, "fault spec: longer than %d characters", SPEC_BYTES - 1);
        return -EINVAL;
    }
    strcpy(copy, text);
    if (*copy == '\0')
        rest = NULL;
    while (!error && (item = strsep(&rest, ",")))
        error = parse_item(item, &spec, &seen, error_out);
    if (!error)
        *spec_out = spec;
    return error;
}
