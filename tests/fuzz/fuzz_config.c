/* fuzz_config.c - configurations as nobody would write them: taken whole or refused with one printable
 * sentence
 *
 * The first byte says what the rest is: even: the file; odd: a patch to a complete one, so that every key is
 * reached without a corpus: two bytes where, one byte how much to cut out, the rest is put in.
 */
#include <netdb.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "config.h"

#define INPUT_BYTES_MAX 16384

/* Asks no name server; numbers are all that the fuzzer needs. */
#include "../unit/fabricd/no_dns.c"

static const char complete[] =
    "listen: ['127.0.0.1:7001', '[::1]:7002']\n"
    "transport: ofi:tcp\n"
    "workers: 2\n"
    "cpus: [0, 0]\n"
    "spin: 20us\n"
    "encryption: allowed\n"
    "key_file: /etc/cxe/server.key\n"
    "control_socket: /tmp/x.sock\n"
    "idle_timeout: 30s\n"
    "drain_timeout: 250ms\n"
    "log_level: debug\n"
    "fault: drop=10%,delay=0..2ms\n"
    "pool: {size: 3M, nodes: [0], policy: preferred, huge_pages: true, prefault: false}\n"
    "metrics:\n"
    "  listen: 127.0.0.1:9400\n"
    "handshake:\n"
    "  per_second: 50\n"
    "  burst: 5\n"
    "tenants:\n"
    "  - name: a\n"
    "    id: 9\n"
    "    public_key: AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n"
    "    previous_key: AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=\n"
    "    quota: 1G\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t patch(const uint8_t *data, size_t size, char *text)
{
    size_t at = (size_t)(data[0] | data[1] << 8) % sizeof(complete);
    size_t left = sizeof(complete) - 1 - at, cut = data[2] < left ? data[2] : left;

    memcpy(text, complete, at);
    memcpy(text + at, data + 3, size - 3);
    memcpy(text + at + size - 3, complete + at + cut, left - cut);
    return sizeof(complete) - 1 - cut + size - 3;
}

static char *print(const struct config *config, size_t *bytes_out)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, bytes_out);

    CHECK(out);
    config_print(config, out);
    CHECK(fclose(out) == 0);
    return text;
}

/* What was taken, printed, must be taken again as the same. */
static void check_taken(const struct config *config)
{
    struct config_problem problem;
    struct config *again;
    size_t once_bytes, twice_bytes;
    char *once = print(config, &once_bytes), *twice;

    for (size_t i = 0; i < once_bytes; i++)
        if ((unsigned char)once[i] >= 0x80) { /* there are characters that YAML takes as escapes only */
            free(once);
            return;
        }
    if (config_load_text(once, once_bytes, "again", NULL, 0, &again, &problem) != 0) {
        fprintf(stderr, "%s\n%s\n", problem.text, once);
        abort();
    }
    twice = print(again, &twice_bytes);
    if (once_bytes != twice_bytes || memcmp(once, twice, once_bytes) != 0) {
        fprintf(stderr, "%s---\n%s", once, twice);
        abort();
    }
    config_free(again);
    free(once);
    free(twice);
}

static void check_refused(const struct config_problem *problem)
{
    size_t bytes = strnlen(problem->text, sizeof(problem->text));

    CHECK(bytes > 0 && bytes < sizeof(problem->text));
    for (size_t i = 0; i < bytes; i++)
        CHECK((unsigned char)problem->text[i] >= ' ');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char text[INPUT_BYTES_MAX + sizeof(complete)];
    struct config_problem problem = {""};
    struct config *config;
    size_t bytes = size - 1;

    if (size < 1 || size > INPUT_BYTES_MAX)
        return -1;
    if (data[0] % 2 == 0)
        memcpy(text, data + 1, bytes);
    else if (size < 4)
        return -1;
    else
        bytes = patch(data + 1, bytes, text);
    if (config_load_text(text, bytes, "f", NULL, 0, &config, &problem) == 0) {
        check_taken(config);
        config_free(config);
    } else {
        check_refused(&problem);
    }
    return 0;
}
