/* test_units.c - numbers as people type them, sensible and absurd */
#include "units.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <locale.h>
#include <string.h>

#define UNTOUCHED 0x5ca1ab1eu

struct number {
    const char *text;
    int error;
    uint64_t value;
};

static void expect_all(const struct number *cases, size_t count, int (*parse)(const char *, uint64_t *))
{
    for (size_t i = 0; i < count; i++) {
        uint64_t value = UNTOUCHED;

        cr_expect_eq(parse(cases[i].text, &value), cases[i].error, "\"%s\"", cases[i].text);
        cr_expect_eq(value, cases[i].error ? UNTOUCHED : cases[i].value, "\"%s\" gives %llu", cases[i].text,
                     (unsigned long long)value);
    }
}

#define EXPECT_ALL(cases, parse) expect_all(cases, sizeof(cases) / sizeof(cases[0]), parse)

static const struct number bytes_cases[] = {
    {"0", 0, 0},
    {"1", 0, 1},
    {"4096", 0, 4096},
    {"007", 0, 7},
    {"64K", 0, 65536},
    {"64KB", 0, 65536},
    {"64KiB", 0, 65536},
    {"64M", 0, 64ull << 20},
    {"2G", 0, 2ull << 30},
    {"1T", 0, 1ull << 40},
    {"16777215T", 0, 16777215ull << 40},
    {"18446744073709551615", 0, UINT64_MAX},
    {"18014398509481983K", 0, UINT64_MAX - 1023},
    {"18446744073709551616", -ERANGE, 0},
    {"99999999999999999999999999999999", -ERANGE, 0},
    {"18014398509481984K", -ERANGE, 0},
    {"16777216T", -ERANGE, 0},
    {"18446744073709551615T", -ERANGE, 0},
    {"16E", -EINVAL, 0},
    {"1P", -EINVAL, 0},
    {"1.5G", -EINVAL, 0},
    {"1,5G", -EINVAL, 0},
    {"-1", -EINVAL, 0},
    {"+1", -EINVAL, 0},
    {"", -EINVAL, 0},
    {" 1", -EINVAL, 0},
    {"1 ", -EINVAL, 0},
    {"1 K", -EINVAL, 0},
    {"\t1", -EINVAL, 0},
    {"K", -EINVAL, 0},
    {"1k", -EINVAL, 0},
    {"1KK", -EINVAL, 0},
    {"1Ki", -EINVAL, 0},
    {"1KiBs", -EINVAL, 0},
    {"1B", -EINVAL, 0},
    {"0x10", -EINVAL, 0},
    {"1e3", -EINVAL, 0},
    {"1_000", -EINVAL, 0},
    {"NaN", -EINVAL, 0},
    {"inf", -EINVAL, 0},
    {"\xef\xbb\xbf"
     "1",
     -EINVAL, 0},
    {"\xd9\xa1", -EINVAL, 0}, /* an Arabic one */
};

Test(units, bytes)
{
    EXPECT_ALL(bytes_cases, units_parse_bytes);
}

static const struct number duration_cases[] = {
    {"0s", 0, 0},
    {"1ns", 0, 1},
    {"250us", 0, 250000},
    {"200ms", 0, 200000000},
    {"3s", 0, 3000000000},
    {"2m", 0, 120000000000},
    {"18446744073s", 0, 18446744073000000000u},
    {"18446744073709551615ns", 0, UINT64_MAX},
    {"18446744074s", -ERANGE, 0},
    {"18446744073709551616ns", -ERANGE, 0},
    {"307445735m", -ERANGE, 0},
    {"1", -EINVAL, 0},
    {"0", -EINVAL, 0},
    {"1h", -EINVAL, 0},
    {"1d", -EINVAL, 0},
    {"1 s", -EINVAL, 0},
    {"1S", -EINVAL, 0},
    {"1.5s", -EINVAL, 0},
    {"-1s", -EINVAL, 0},
    {"s", -EINVAL, 0},
    {"", -EINVAL, 0},
    {"1ss", -EINVAL, 0},
    {"1m30s", -EINVAL, 0},
};

Test(units, durations)
{
    EXPECT_ALL(duration_cases, units_parse_duration);
}

static int parse_port(const char *text, uint64_t *out)
{
    return units_parse_count(text, 1, 65535, out);
}

static const struct number count_cases[] = {
    {"1", 0, 1},         {"65535", 0, 65535}, {"0", -ERANGE, 0},   {"65536", -ERANGE, 0},
    {"1K", -EINVAL, 0},  {"", -EINVAL, 0},    {"-1", -EINVAL, 0},  {"99999999999999999999", -ERANGE, 0},
    {"1.0", -EINVAL, 0}, {"0x1", -EINVAL, 0}, {"one", -EINVAL, 0}, {" 1", -EINVAL, 0},
};

Test(units, counts)
{
    EXPECT_ALL(count_cases, parse_port);
}

/* A decimal comma of the user's locale must change nothing. */
Test(units, the_locale_does_not_matter)
{
    char buffer[32];

    setlocale(LC_ALL, "de_DE.UTF-8");
    EXPECT_ALL(bytes_cases, units_parse_bytes);
    EXPECT_ALL(duration_cases, units_parse_duration);
    cr_expect_str_eq(units_format_bytes(1536, buffer, sizeof(buffer)), "1.5 KiB");
}

Test(units, bytes_for_people)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = {
        {0, "0 B"},
        {1, "1 B"},
        {1023, "1023 B"},
        {1024, "1.0 KiB"},
        {1536, "1.5 KiB"},
        {64ull << 20, "64.0 MiB"},
        {(1ull << 20) - 1, "1.0 MiB"},
        {(1ull << 30) - 1, "1.0 GiB"},
        {1ull << 40, "1.0 TiB"},
        {1ull << 50, "1.0 PiB"},
        {UINT64_MAX, "16.0 EiB"},
    };
    char buffer[32];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        cr_expect_str_eq(units_format_bytes(cases[i].bytes, buffer, sizeof(buffer)), cases[i].text, "%s",
                         buffer);
}

Test(units, durations_for_people)
{
    static const struct {
        uint64_t ns;
        const char *text;
    } cases[] = {
        {0, "0.0 us"},         {49, "0.0 us"},         {4200, "4.2 us"},         {999949, "999.9 us"},
        {999999, "1.00 ms"},   {1000000, "1.00 ms"},   {1300000, "1.30 ms"},     {999990000, "999.99 ms"},
        {999999999, "1.00 s"}, {1000000000, "1.00 s"}, {90000000000, "90.00 s"},
    };
    char buffer[32];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        cr_expect_str_eq(units_format_duration(cases[i].ns, buffer, sizeof(buffer)), cases[i].text, "%s",
                         buffer);
}

Test(units, formatting_never_overruns)
{
    char buffer[8];

    memset(buffer, 'x', sizeof(buffer));
    units_format_bytes(UINT64_MAX, buffer, 4);
    cr_expect_eq(buffer[3], '\0');
    cr_expect_eq(buffer[4], 'x');
}
