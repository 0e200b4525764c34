/* test_config.c - what the configuration takes, and the sentence for what it does not */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "config_keys.h"

#define KEY_A "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
#define KEY_B "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="

static int load(const char *text, struct config **config_out, struct config_problem *problem_out)
{
    return config_load_text(text, strlen(text), "f.yaml", NULL, 0, config_out, problem_out);
}

static struct config *load_good(const char *text)
{
    struct config_problem problem = {""};
    struct config *config = NULL;

    cr_assert_eq(load(text, &config, &problem), 0, "%s", problem.text);
    return config;
}

Test(config, says_nothing_gets_safe_defaults)
{
    struct config *config = load_good("# only a comment\n");
    char address[64];

    cr_assert_eq(config->listen_count, 1);
    cr_assert_str_eq(address_format(&config->listen[0], address, sizeof(address)), "127.0.0.1:7400");
    cr_assert(config_is_local(config));
    cr_assert_eq(config->encryption, ENCRYPTION_REQUIRED);
    cr_assert(config->pool.prefault);
    cr_assert_not(config->metrics_on);
    cr_assert_geq(config->workers, 1);
    cr_assert_eq(config->tenant_count, 0);
    config_free(config);
}

static const char full[] = "listen: ['0.0.0.0:7001', '[::1]:7002']\n"
                           "transport: ofi:tcp\n"
                           "workers: 1\n"
                           "spin: 20us\n"
                           "lease: 200ms\n"
                           "encryption: allowed\n"
                           "key_file: /etc/cxe/it's.key\n"
                           "control_socket: /tmp/x.sock\n"
                           "idle_timeout: 30s\n"
                           "drain_timeout: 250ms\n"
                           "log_level: debug\n"
                           "fault: drop=10%,seed=7\n"
                           "pool:\n"
                           "  size: 3M\n"
                           "  nodes: [0]\n"
                           "  policy: preferred\n"
                           "  huge_pages: true\n"
                           "  prefault: false\n"
                           "metrics:\n"
                           "  listen: 127.0.0.1:9400\n"
                           "handshake:\n"
                           "  per_second: 50\n"
                           "  burst: 5\n"
                           "tenants:\n"
                           "  - name: a\n"
                           "    id: 9\n"
                           "    public_key: " KEY_A "\n"
                           "    quota: 1G\n"
                           "  - name: b\n"
                           "    public_key: " KEY_B "\n"
                           "    previous_key: AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=\n";

Test(config, reads_every_key)
{
    struct config *config = load_good(full);
    char address[64];

    cr_assert_eq(config->listen_count, 2);
    cr_assert_str_eq(address_format(&config->listen[1], address, sizeof(address)), "[::1]:7002");
    cr_assert_not(config_is_local(config));
    cr_assert_str_eq(config->transport, "ofi:tcp");
    cr_assert_eq(config->workers, 1);
    cr_assert_eq(config->spin_ns, 20 * NS_PER_US);
    cr_assert_eq(config->lease_ns, 200 * NS_PER_MS);
    cr_assert_eq(config->encryption, ENCRYPTION_ALLOWED);
    cr_assert_str_eq(config->key_file, "/etc/cxe/it's.key");
    cr_assert_str_eq(config->control_socket, "/tmp/x.sock");
    cr_assert_eq(config->idle_timeout_ns, 30 * NS_PER_S);
    cr_assert_eq(config->drain_timeout_ns, 250 * NS_PER_MS);
    cr_assert_eq(config->log_level, LOG_LEVEL_DEBUG);
    cr_assert_str_eq(config->fault, "drop=10%,seed=7");
    cr_assert_eq(config->pool.total_bytes, 3u << 20);
    cr_assert_eq(config->pool.node_mask, 1);
    cr_assert_eq(config->pool.policy, POOL_PREFERRED);
    cr_assert(config->pool.huge_pages);
    cr_assert_not(config->pool.prefault);
    cr_assert(config->metrics_on);
    cr_assert_eq(config->handshake.inits_per_second, 50);
    cr_assert_eq(config->handshake.burst, 5);
    cr_assert_eq(config->tenant_count, 2);
    cr_assert_eq(config->tenants[0].id, 9);
    cr_assert_eq(config->tenants[0].quota_bytes, 1u << 30);
    cr_assert_eq(config->tenants[1].id, 2, "the position, from 1");
    cr_assert_eq(config->tenants[1].quota_bytes, TENANT_QUOTA_UNLIMITED);
    cr_assert(config->tenants[1].has_previous_key);
    cr_assert_eq(config->tenants[1].previous_key[31], 3);
    config_free(config);
}

static char *printed(const struct config *config)
{
    char *text = NULL;
    size_t text_bytes;
    FILE *out = open_memstream(&text, &text_bytes);

    config_print(config, out);
    fclose(out);
    return text;
}

/* Every key that the file can say must be in the print, or a round trip would lose it. */
Test(config, prints_what_it_reads)
{
    struct config *first = load_good(full), *second;
    char *once = printed(first), *twice;

    for (unsigned i = 0; i < config_key_count; i++) {
        const char *dot = strrchr(config_keys[i].path, '.');

        cr_assert(strstr(once, dot ? dot + 1 : config_keys[i].path), "%s is not printed",
                  config_keys[i].path);
    }
    for (unsigned i = 0; i < config_tenant_key_count; i++)
        cr_assert(strstr(once, config_tenant_keys[i].name), "%s is not printed", config_tenant_keys[i].name);
    second = load_good(once);
    twice = printed(second);
    cr_assert_str_eq(once, twice);
    cr_assert_null(config_restart_needed(first, second, &(unsigned){0}));
    cr_assert_eq(memcmp(first->tenants, second->tenants, 2 * sizeof(struct tenant)), 0);
    free(once);
    free(twice);
    config_free(first);
    config_free(second);
}

/* ---- refusals ---- */

struct refusal {
    const char *text;
    const char *sentence;
};

static const struct refusal refusals[] = {
    {"foo: 1\n", "f.yaml:1: foo: there is no such key"},
    {"workers: 1\npool:\n  size: 64M\n  polcy: bind\n", "f.yaml:4: pool.polcy: there is no such key"},
    {"tenants:\n  - name: a\n    nmae: b\n", "f.yaml:3: tenants.nmae: there is no such key"},
    {"workers: 1\nspin: 1us\nworkers: 2\n", "f.yaml:3: workers: the key is given twice, first on line 1"},
    {"workers: x\n", "f.yaml:1: workers: expected a whole number from 1 to 64, found 'x'"},
    {"workers: -1\n", "f.yaml:1: workers: expected a whole number from 1 to 64, found '-1'"},
    {"workers: 010.\n", "f.yaml:1: workers: expected a whole number from 1 to 64, found '010.'"},
    {"workers: 0x1\n", "f.yaml:1: workers: expected a whole number from 1 to 64, found '0x1'"},
    {"workers: 65\n", "f.yaml:1: workers: expected a whole number from 1 to 64, found '65'"},
    {"workers:\n", "f.yaml:1: workers: expected a whole number from 1 to 64, found ''"},
    {"workers: [1]\n", "f.yaml:1: workers: expected a single value, found a list"},
    {"\n\npool: 3\n", "f.yaml:3: pool: expected keys and values, found a single value"},
    {"listen: 127.0.0.1:7400\n", "f.yaml:1: listen: expected a list, found a single value"},
    {"listen:\n  - 127.0.0.1:1\n  - 127.0.0.1:99999\n",
     "f.yaml:3: listen: expected an address host:port, found '127.0.0.1:99999'"},
    {"listen: ['127.0.0.1:1','127.0.0.1:2','127.0.0.1:3','127.0.0.1:4','127.0.0.1:5']\n",
     "f.yaml:1: listen: too many values at '127.0.0.1:5'"},
    {"workers: 2\nlisten: ['127.0.0.1:0']\n",
     "f.yaml: listen: port 0 (any that is free) needs workers: 1, found 2"},
    {"pool: {size: -1}\n",
     "f.yaml:1: pool.size: expected a size of whole pages from 1M to 8T, such as 64M or 2G, found '-1'"},
    {"pool: {size: 16E}\n",
     "f.yaml:1: pool.size: expected a size of whole pages from 1M to 8T, such as 64M or 2G, found '16E'"},
    {"pool: {size: '1,5M'}\n",
     "f.yaml:1: pool.size: expected a size of whole pages from 1M to 8T, such as 64M or 2G, found '1,5M'"},
    {"pool: {size: 9T}\n",
     "f.yaml:1: pool.size: expected a size of whole pages from 1M to 8T, such as 64M or 2G, found '9T'"},
    {"pool: {size: 99999999999999999999G}\n",
     "f.yaml:1: pool.size: expected a size of whole pages from 1M to 8T, "
     "such as 64M or 2G, found '99999999999999999999G'"},
    {"pool: {policy: bund}\n", "f.yaml:1: pool.policy: expected bind, interleave or preferred, found 'bund'"},
    {"pool: {huge_pages: maybe}\n", "f.yaml:1: pool.huge_pages: expected true or false, found 'maybe'"},
    {"pool: {policy: preferred}\n",
     "f.yaml: pool.policy: preferred takes exactly one entry in pool.nodes, found 0"},
    {"lease: 199ms\n", "f.yaml:1: lease: expected a time from 200ms to 60s, such as 1s, found '199ms'"},
    {"lease: 2m\n", "f.yaml:1: lease: expected a time from 200ms to 60s, such as 1s, found '2m'"},
    {"spin: 50\n", "f.yaml:1: spin: expected a time from 0us to 10ms, such as 50us, found '50'"},
    {"spin: 1s\n", "f.yaml:1: spin: expected a time from 0us to 10ms, such as 50us, found '1s'"},
    {"encryption: maybe\n", "f.yaml:1: encryption: expected required, allowed or off, found 'maybe'"},
    {"log_level: loud\n", "f.yaml:1: log_level: expected error, warning, info or debug, found 'loud'"},
    {"transport: rdma\n", "f.yaml:1: transport: expected eth, ofi or ofi:PROVIDER, found 'rdma'"},
    {"fault: drop=lots\n",
     "f.yaml:1: fault: expected faults such as drop=10%,dup=5%,seed=42, found 'drop=lots'"},
    {"workers: 1\ncpus: [0, 0]\n", "f.yaml: cpus: expected one CPU for each of the 1 workers, found 2"},
    {"key_file: \"a\\0b\"\n", "f.yaml:1: a NUL character"},
    {"a: &x 1\nb: *x\n", "f.yaml:2: aliases (*name) are not taken; write the value out"},
    {"workers: 1\n---\nworkers: 2\n", "f.yaml:2: a second document; expected one"},
    {"? [a]\n: 1\n", "f.yaml:1: expected a key of plain text, found a list or mapping"},
    {"a: [[[[[[[[[1]]]]]]]]]\n", "f.yaml:1: nested too deeply"},
    {"- a\n", "f.yaml:1: expected keys and values, found a list"},
    {"hello\n", "f.yaml:1: expected keys and values, found a single value"},
    {"workers: 1\n\tspin: 2\n", "f.yaml:2: not valid YAML: found a tab character that violates indentation"},
    {"workers: '\xff\xfe'\n", "f.yaml:1: not valid YAML: invalid leading UTF-8 octet"},
    {"log_level: \"\\x1b[31mred\"\n",
     "f.yaml:1: log_level: expected error, warning, info or debug, found '?[31mred'"},
    {"\"a\\nb\\e[2J\": 1\n", "f.yaml:1: a?b?[2J: there is no such key"},
    {"tenants:\n  - name: a\n", "f.yaml:2: tenants[0]: a tenant needs a public_key"},
    {"tenants:\n  - public_key: " KEY_A "\n", "f.yaml:2: tenants[0]: a tenant needs a name"},
    {"tenants:\n  - name: 'a b'\n    public_key: " KEY_A "\n",
     "f.yaml:2: tenants[0].name: expected a name of 1 to 31 letters, digits, '.', '_' or '-', found 'a b'"},
    {"tenants:\n  - name: a\n    public_key: AAAA\n",
     "f.yaml:3: tenants[0].public_key: expected a public key (44 characters of base64) or a file with one, "
     "as cxe "
     "keygen writes, found 'AAAA'"},
    {"tenants:\n  - name: a\n    public_key: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
     "f.yaml:3: tenants[0].public_key: expected a public key (44 characters of base64) or a file with one, "
     "as cxe "
     "keygen writes, found 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA...'"},
    {"tenants:\n  - {name: a, public_key: " KEY_A "}\n  - {name: a, public_key: " KEY_B "}\n",
     "f.yaml:3: tenants[1]: the same name as tenants[0]"},
    {"tenants:\n  - {name: a, public_key: " KEY_A "}\n  - {name: b, public_key: " KEY_A "}\n",
     "f.yaml:3: tenants[1]: the same key as tenants[0]"},
    {"tenants:\n  - {name: a, public_key: " KEY_A "}\n  - {name: b, public_key: " KEY_B
     ", previous_key: " KEY_A "}\n",
     "f.yaml:3: tenants[1]: the same key as tenants[0]"},
    {"tenants:\n  - {name: a, id: 2, public_key: " KEY_A "}\n  - {name: b, public_key: " KEY_B "}\n",
     "f.yaml:3: tenants[1]: the same id (by default the position, from 1) as tenants[0]"},
    {"tenants:\n  - {name: a, id: 65536, public_key: " KEY_A "}\n",
     "f.yaml:2: tenants[0].id: expected a whole number from 1 to 65535, found '65536'"},
    {"tenants:\n  - {name: a, quota: 1.5G, public_key: " KEY_A "}\n",
     "f.yaml:2: tenants[0].quota: expected a size such as 64M or 2G, or unlimited, found '1.5G'"},
    {"listen: ['0.0.0.0:7400']\nworkers: 1\n", "f.yaml: refusing to listen on 0.0.0.0:7400 without tenants "
                                               "and a key: add tenants: and key_file:, or listen "
                                               "on 127.0.0.1"},
    {"listen: ['0.0.0.0:7400']\nkey_file: k\n",
     "f.yaml: refusing to listen on 0.0.0.0:7400 without tenants: add tenants:, or listen on 127.0.0.1"},
    {"listen: ['0.0.0.0:7400']\ntenants: [{name: a, public_key: " KEY_A "}]\n",
     "f.yaml: refusing to listen on 0.0.0.0:7400 without a key: add key_file:, or listen on 127.0.0.1"},
};

Test(config, refuses_in_one_sentence_with_file_line_and_key)
{
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        struct config_problem problem = {""};
        struct config *config = NULL;

        cr_expect_eq(load(refusals[i].text, &config, &problem), -EINVAL, "taken:\n%s", refusals[i].text);
        cr_expect_str_eq(problem.text, refusals[i].sentence);
        cr_expect_null(config);
    }
}

/* A byte order mark is what some editors put in front; YAML allows it. */
Test(config, takes_a_byte_order_mark)
{
    struct config *config = load_good("\xef\xbb\xbfworkers: 1\n");

    cr_assert_eq(config->workers, 1);
    config_free(config);
}

static char *repeat(const char *head, const char *unit, size_t count)
{
    size_t unit_bytes = strlen(unit);
    char *text = malloc(strlen(head) + count * unit_bytes + 1), *at = stpcpy(text, head);

    for (size_t i = 0; i < count; i++, at += unit_bytes)
        memcpy(at, unit, unit_bytes);
    *at = '\0';
    return text;
}

Test(config, refuses_a_very_long_line)
{
    char *text = repeat("key_file: ", "x", 100000);
    struct config_problem problem = {""};
    struct config *config = NULL;

    cr_assert_eq(load(text, &config, &problem), -EINVAL);
    cr_assert_str_eq(problem.text, "f.yaml:1: key_file: expected a value of at most 4096 bytes");
    free(text);
}

Test(config, refuses_a_very_long_key)
{
    char *text = repeat("", "x", 1000);
    struct config_problem problem = {""};
    struct config *config = NULL;

    strcpy(text + 990, ": 1\n");
    cr_assert_eq(load(text, &config, &problem), -EINVAL);
    cr_assert_str_eq(problem.text, "f.yaml:1: a key of 990 bytes; expected 1 to 63");
    free(text);
}

Test(config, refuses_too_many_tenants_before_keeping_them)
{
    char *text = repeat("tenants:\n", "  - {name: a}\n", TENANTS_MAX + 1);
    struct config_problem problem = {""};
    struct config *config = NULL;

    cr_assert_eq(load(text, &config, &problem), -EINVAL);
    cr_assert_str_eq(problem.text, "f.yaml:1026: tenants: expected a list of at most 1024 entries");
    free(text);
}

Test(config, refuses_more_entries_than_any_configuration_has)
{
    char *text = repeat("cpus:\n", "- 0\n", 100000);
    struct config_problem problem = {""};
    struct config *config = NULL;

    cr_assert_eq(load(text, &config, &problem), -EINVAL);
    cr_assert_str_eq(problem.text, "f.yaml:16385: more than 16384 keys and entries in one file");
    free(text);
}

/* ---- the command line above the file ---- */

Test(config, options_override_the_file)
{
    static const char text[] = "workers: 2\nlisten: ['127.0.0.1:1', '127.0.0.1:2']\npool: {size: 1G}\n";
    const struct config_override overrides[] = {
        {"workers", "--workers", "1"}, {"listen", "--listen", "127.0.0.1:0"}, {"pool.size", "--pool", "2M"}};
    struct config_problem problem = {""};
    struct config *config = NULL;

    cr_assert_eq(config_load_text(text, strlen(text), "f.yaml", overrides, 3, &config, &problem), 0, "%s",
                 problem.text);
    cr_assert_eq(config->workers, 1);
    cr_assert_eq(config->listen_count, 1);
    cr_assert_eq(config->pool.total_bytes, 2u << 20);
    config_free(config);
}

Test(config, a_wrong_option_is_named_as_typed)
{
    const struct config_override override = {"pool.size", "--pool", "64X"};
    struct config_problem problem = {""};
    struct config *config = NULL;

    cr_assert_eq(config_load(NULL, &override, 1, &config, &problem), -EINVAL);
    cr_assert_str_eq(problem.text,
                     "--pool: expected a size of whole pages from 1M to 8T, such as 64M or 2G, found '64X'");
}

Test(config, an_option_cannot_open_the_daemon_to_the_world_either)
{
    const struct config_override override = {"listen", "--listen", "[::]:7400"};
    struct config_problem problem = {""};
    struct config *config = NULL;

    cr_assert_eq(config_load(NULL, &override, 1, &config, &problem), -EINVAL);
    cr_assert_str_eq(problem.text,
                     "refusing to listen on [::]:7400 without tenants and a key: add tenants: and "
                     "key_file:, or listen on 127.0.0.1");
}

/* ---- files ---- */

Test(config, names_a_file_that_is_not_there)
{
    struct config_problem problem = {""};
    struct config *config = NULL;

    cr_assert_eq(config_load("/nowhere/f.yaml", NULL, 0, &config, &problem), -ENOENT);
    cr_assert_str_eq(problem.text,
                     "/nowhere/f.yaml: cannot read the configuration: No such file or directory");
}

Test(config, refuses_what_is_no_regular_file)
{
    struct config_problem problem = {""};
    struct config *config = NULL;

    cr_assert_eq(config_load("/dev/zero", NULL, 0, &config, &problem), -EINVAL);
    cr_assert_str_eq(problem.text, "/dev/zero: expected a regular file");
}

Test(config, refuses_a_file_of_a_billion_tenants_unread)
{
    char path[] = "/tmp/cxe-config-XXXXXX";
    struct config_problem problem = {""};
    struct config *config = NULL;
    int fd = mkstemp(path);

    cr_assert_geq(fd, 0);
    cr_assert_eq(ftruncate(fd, 16000000000), 0);
    cr_assert_eq(config_load(path, NULL, 0, &config, &problem), -EINVAL);
    cr_assert(strstr(problem.text, ": expected a file of at most 1048576 bytes"), "%s", problem.text);
    close(fd);
    unlink(path);
}

/* ---- what a reload can apply ---- */

Test(config, tells_what_needs_a_restart)
{
    struct config *running = load_good("workers: 1\nlog_level: info\n");
    struct config *live =
        load_good("workers: 1\nlog_level: debug\ntenants: [{name: a, public_key: " KEY_A "}]\n");
    unsigned cursor = 0;
    struct config *larger = load_good("workers: 1\nspin: 1us\npool: {size: 512M}\n");

    cr_assert_null(config_restart_needed(running, live, &(unsigned){0}));
    cr_assert_str_eq(config_restart_needed(running, larger, &cursor), "spin");
    cr_assert_str_eq(config_restart_needed(running, larger, &cursor), "pool.size");
    cr_assert_null(config_restart_needed(running, larger, &cursor));
    config_free(running);
    config_free(live);
    config_free(larger);
}

/* ---- damage ---- */

/* Whatever one byte becomes, the answer is a configuration or a sentence. */
Test(config, survives_any_one_byte_changed)
{
    char text[sizeof(full)];

    for (size_t at = 0; at + 1 < sizeof(full); at++)
        for (unsigned bit = 0; bit < 8; bit += 3) {
            struct config_problem problem = {""};
            struct config *config = NULL;

            memcpy(text, full, sizeof(full));
            text[at] ^= (char)(1u << bit);
            if (config_load_text(text, sizeof(full) - 1, "f.yaml", NULL, 0, &config, &problem) == 0)
                config_free(config);
            else
                cr_assert_neq(problem.text[0], '\0');
        }
}

/* ---- the manual and the examples ---- */

/* The root of the source tree, from where this file lies. */
static char *source_path(const char *name)
{
    char *path = malloc(strlen(__FILE__) + strlen(name) + 1), *end;

    strcpy(path, __FILE__);
    end = strstr(path, "tests/unit/fabricd/");
    cr_assert_not_null(end);
    strcpy(end, name);
    return path;
}

static char *read_source(const char *name)
{
    char *path = source_path(name), *text = calloc(1, 1 << 18);
    FILE *file = fopen(path, "r");

    cr_assert_not_null(file, "%s", path);
    cr_assert_lt(fread(text, 1, (1 << 18) - 1, file), (1 << 18) - 1);
    fclose(file);
    free(path);
    return text;
}

static void expect_row(const char *manual, const char *format, const char *key)
{
    char row[96];

    snprintf(row, sizeof(row), "\n| `%s", format);
    snprintf(row + strlen(row), sizeof(row) - strlen(row), "%s` |", key);
    cr_expect(strstr(manual, row) != NULL, "docs/OPERATIONS.md has no row for %s%s", format, key);
}

Test(config, the_manual_has_a_row_for_every_key)
{
    char *manual = read_source("docs/OPERATIONS.md");

    for (unsigned i = 0; i < config_key_count; i++)
        expect_row(manual, "", config_keys[i].path);
    for (unsigned i = 0; i < config_tenant_key_count; i++)
        expect_row(manual, "tenants[].", config_tenant_keys[i].name);
    free(manual);
}

Test(config, the_examples_are_right)
{
    static const char *const names[] = {"configs/fabricd.yaml", "configs/network.yaml"};

    for (unsigned i = 0; i < 2; i++) {
        char *path = source_path(names[i]);
        struct config_problem problem = {""};
        struct config *config = NULL;

        cr_expect_eq(config_load(path, NULL, 0, &config, &problem), 0, "%s", problem.text);
        config_free(config);
        free(path);
    }
}
