/* units.c - see units.h */
#include "units.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "limits.h"

/* strtoull takes signs, spaces and overflow too kindly; this takes digits and nothing else. */
static int parse_digits(const char **text, uint64_t *value_out)
{
    const char *at = *text;
    uint64_t value = 0;

    if (*at < '0' || *at > '9')
        return -EINVAL;
    for (; *at >= '0' && *at <= '9'; at++)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*at - '0'), &value))
            return -ERANGE;
    *text = at;
    *value_out = value;
    return 0;
}

static int scale(uint64_t value, uint64_t factor, uint64_t *out)
{
    uint64_t scaled;

    if (__builtin_mul_overflow(value, factor, &scaled))
        return -ERANGE;
    *out = scaled;
    return 0;
}

int units_parse_bytes(const char *text, uint64_t *bytes_out)
{
    static const char letters[] = "KMGT";
    const char *letter;
    uint64_t value;
    int error = parse_digits(&text, &value);

    if (error)
        return error;
    if (*text == '\0')
        return scale(value, 1, bytes_out);
    letter = strchr(letters, *text);
    if (!letter)
        return -EINVAL;
    text++;
    if (*text != '\0' && strcmp(text, "B") != 0 && strcmp(text, "iB") != 0)
        return -EINVAL;
    return scale(value, 1ull << (10 * (letter - letters + 1)), bytes_out);
}

int units_parse_duration(const char *text, uint64_t *ns_out)
{
    static const struct {
        const char *suffix;
        uint64_t ns;
    } suffixes[] = {{"ns", 1}, {"us", NS_PER_US}, {"ms", NS_PER_MS}, {"s", NS_PER_S}, {"m", 60 * NS_PER_S}};
    uint64_t value;
    int error = parse_digits(&text, &value);

    if (error)
        return error;
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++)
        if (strcmp(text, suffixes[i].suffix) == 0)
            return scale(value, suffixes[i].ns, ns_out);
    return -EINVAL;
}

int units_parse_count(const char *text, uint64_t low, uint64_t high, uint64_t *count_out)
{
    uint64_t value;
    int error = parse_digits(&text, &value);

    if (error)
        return error;
    if (*text != '\0')
        return -EINVAL;
    if (value < low || value > high)
        return -ERANGE;
    *count_out = value;
    return 0;
}

char *units_format_bytes(uint64_t bytes, char *buffer, size_t buffer_bytes)
{
    static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    unsigned unit = 0;

    /* What would be rounded to 1024.0 belongs to the next unit. */
    while (unit < 6 && value >= (unit == 0 ? 1024 : 1023.95)) {
        value /= 1024;
        unit++;
    }
    snprintf(buffer, buffer_bytes, unit == 0 ? "%.0f %s" : "%.1f %s", value, names[unit]);
    return buffer;
}

char *units_format_duration(uint64_t ns, char *buffer, size_t buffer_bytes)
{
    /* The bounds are where rounding would reach 1000 of the smaller unit. */
    if (ns < NS_PER_MS - 50)
        snprintf(buffer, buffer_bytes, "%.1f us", (double)ns / (double)NS_PER_US);
    else if (ns < NS_PER_S - 5 * NS_PER_US)
        snprintf(buffer, buffer_bytes, "%.2f ms", (double)ns / (double)NS_PER_MS);
    else
        snprintf(buffer, buffer_bytes, "%.2f s", (double)ns / (double)NS_PER_S);
    return buffer;
}
