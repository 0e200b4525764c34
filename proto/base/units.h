/* units.h - what people type and read: sizes, durations, counts */
#ifndef CXE_BASE_UNITS_H
#define CXE_BASE_UNITS_H

#include <stddef.h>
#include <stdint.h>

/* Parses "4096", "64K", "64M", "2G", "1T" (powers of 1024; an optional "iB" or "B" may follow the letter)
 * into bytes. Whole decimal numbers only, whatever the locale; no sign, no space, no fraction. -EINVAL: not
 * of that form; -ERANGE: does not fit 64 bits. */
int units_parse_bytes(const char *text, uint64_t *bytes_out);

/* Parses "250us", "200ms", "3s", "2m" into nanoseconds; a bare number is refused, since its unit is a guess.
 * -EINVAL, -ERANGE as above. */
int units_parse_duration(const char *text, uint64_t *ns_out);

/* Parses a whole decimal number in low..high. -EINVAL: not a number; -ERANGE: outside. */
int units_parse_count(const char *text, uint64_t low, uint64_t high, uint64_t *count_out);

/* "64.0 MiB", "512 B": for people. Returns `buffer`. */
char *units_format_bytes(uint64_t bytes, char *buffer, size_t buffer_bytes);

/* "4.2 us", "1.30 ms": for people. Returns `buffer`. */
char *units_format_duration(uint64_t ns, char *buffer, size_t buffer_bytes);

#endif
