/* config_file.c - from YAML to the texts of the keys, through libcyaml */
#include "config_keys.h"

#include <cyaml/cyaml.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "yaml_index.h"

/* Every value is text to libcyaml; config_keys.c makes numbers of it. libcyaml would take "010" for 8 and
 * "maybe" for true. */
static const cyaml_schema_value_t item_schema = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, CONFIG_VALUE_BYTES_MAX)};

#define FIELD_TEXT(structure, name)                                                                    \
    CYAML_FIELD_STRING_PTR(#name, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct structure, name, 0, \
                           CONFIG_VALUE_BYTES_MAX),
#define FIELD_LIST(structure, name)                                                               \
    CYAML_FIELD_SEQUENCE_COUNT(#name, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct structure, \
                               name.items, name.count, &item_schema, 0, CONFIG_LIST_MAX),
#define FIELD_SECTION(name) \
    CYAML_FIELD_MAPPING(#name, CYAML_FLAG_OPTIONAL, struct config_text, name, name##_fields),

static const cyaml_schema_field_t pool_fields[] = {
#define POOL_KEY(name, kind, expected) FIELD_##kind(config_pool_text, name)
#include "config.def"
    CYAML_FIELD_END};

static const cyaml_schema_field_t metrics_fields[] = {
#define METRICS_KEY(name, kind, expected) FIELD_##kind(config_metrics_text, name)
#include "config.def"
    CYAML_FIELD_END};

static const cyaml_schema_field_t handshake_fields[] = {
#define HANDSHAKE_KEY(name, kind, expected) FIELD_##kind(config_handshake_text, name)
#include "config.def"
    CYAML_FIELD_END};

static const cyaml_schema_field_t tenant_fields[] = {
#define TENANT_KEY(name, kind, expected) FIELD_##kind(config_tenant_text, name)
#include "config.def"
    CYAML_FIELD_END};

static const cyaml_schema_value_t tenant_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct config_tenant_text, tenant_fields)};

static const cyaml_schema_field_t top_fields[] = {
#define TOP_KEY(name, kind, expected) FIELD_##kind(config_text, name)
#include "config.def"
    FIELD_SECTION(pool) FIELD_SECTION(metrics) FIELD_SECTION(handshake)
        CYAML_FIELD_SEQUENCE("tenants", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct config_text, tenants,
                             &tenant_schema, 0, TENANTS_MAX),
    CYAML_FIELD_END};

static const cyaml_schema_value_t top_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct config_text, top_fields)};

/* What libcyaml says about a failure: a message, then where it was, from the inside out. */
struct complaint {
    char message[160];
    char path[YAML_PATH_BYTES]; /* keys joined by dots; positions in lists are left out */
    unsigned line;              /* of the innermost; 0: not told */
};

static void add_outer_key(struct complaint *complaint, const char *key)
{
    char inner[YAML_PATH_BYTES];

    memcpy(inner, complaint->path, sizeof(inner));
    if (strlen(key) + 1 + strlen(inner) < sizeof(complaint->path)) {
        strcpy(complaint->path, key);
        if (inner[0])
            strcat(strcat(complaint->path, "."), inner);
    }
}

__attribute__((format(printf, 3, 0))) static void take_log_line(cyaml_log_t level, void *context,
                                                                const char *format, va_list arguments)
{
    struct complaint *complaint = context;
    char text[256], key[YAML_INDEX_KEY_BYTES];
    const char *where;
    char *newline;

    (void)level;
    vsnprintf(text, sizeof(text), format, arguments);
    if ((newline = strrchr(text, '\n')))
        *newline = '\0'; /* the last one is libcyaml's */
    if (strncmp(text, "Load: ", 6) == 0) {
        if (complaint->message[0] == '\0')
            snprintf(complaint->message, sizeof(complaint->message), "%.150s", text + 6);
        return;
    }
    where = strstr(text, "(line: "); /* a line of the backtrace */
    if (where && complaint->line == 0)
        sscanf(where, "(line: %u", &complaint->line);
    if (sscanf(text, "  in mapping field '%63[^']'", key) == 1)
        add_outer_key(complaint, key);
}

static const char *name_of_shape(const char *cyaml_name)
{
    static const char *const names[][2] = {
        {"SCALAR", "a single value"}, {"STRING", "a single value"},   {"SEQUENCE", "a list"},
        {"SEQUENCE_START", "a list"}, {"MAPPING", "keys and values"}, {"MAPPING_START", "keys and values"}};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(cyaml_name, names[i][0]) == 0)
            return names[i][1];
    return cyaml_name;
}

/* libcyaml's line is that of the value before the unknown key, hence the index. */
static void explain_unknown_key(const struct complaint *complaint, const char *key,
                                const struct yaml_index *index, unsigned *line_out,
                                struct config_problem *problem)
{
    char path[YAML_PATH_BYTES + YAML_INDEX_KEY_BYTES];

    snprintf(path, sizeof(path), "%s%s%s", complaint->path, complaint->path[0] ? "." : "", key);
    *line_out = yaml_index_line_in_any(index, path);
    snprintf(problem->text, sizeof(problem->text), "%s: there is no such key", path);
}

static void explain(const struct complaint *complaint, const struct yaml_index *index, unsigned *line_out,
                    struct config_problem *problem)
{
    static const char unknown_key[] = "Unexpected key: ";
    const char *message = complaint->message, *path = complaint->path;
    const char *separator = path[0] ? ": " : "";
    char wanted[32], found[32];
    unsigned most;

    *line_out = complaint->line;
    if (strncmp(message, unknown_key, strlen(unknown_key)) == 0)
        explain_unknown_key(complaint, message + strlen(unknown_key), index, line_out, problem);
    else if (sscanf(message, "Expecting %31[A-Z_], got event: %31[A-Z_]", wanted, found) == 2)
        snprintf(problem->text, sizeof(problem->text), "%s%sexpected %s, found %s", path, separator,
                 name_of_shape(wanted), name_of_shape(found));
    else if (sscanf(message, "STRING length > %u", &most) == 1)
        snprintf(problem->text, sizeof(problem->text), "%s: expected a value of at most %u bytes", path,
                 most);
    else if (sscanf(message, "Excessive entries (%u max)", &most) == 1)
        snprintf(problem->text, sizeof(problem->text), "%s: expected a list of at most %u entries", path,
                 most);
    else
        snprintf(problem->text, sizeof(problem->text), "%s%s%s", path, separator, message);
}

int config_file_parse(const char *text, size_t text_bytes, const struct yaml_index *index,
                      struct config_text **text_out, unsigned *line_out, struct config_problem *problem_out)
{
    struct complaint complaint = {.line = 0};
    const cyaml_config_t cyaml = {.log_fn = take_log_line,
                                  .log_ctx = &complaint,
                                  .log_level = CYAML_LOG_ERROR,
                                  .mem_fn = cyaml_mem,
                                  .flags = CYAML_CFG_NO_ALIAS};
    cyaml_data_t *data = NULL;
    cyaml_err_t error = cyaml_load_data((const uint8_t *)text, text_bytes, &cyaml, &top_schema, &data, NULL);

    if (error == CYAML_ERR_OOM)
        return -ENOMEM;
    if (error != CYAML_OK) {
        if (complaint.message[0] == '\0')
            snprintf(complaint.message, sizeof(complaint.message), "%s", cyaml_strerror(error));
        explain(&complaint, index, line_out, problem_out);
        return -EINVAL;
    }
    *text_out = (struct config_text *)data;
    return 0;
}

void config_file_free(struct config_text *text)
{
    const cyaml_config_t cyaml = {.mem_fn = cyaml_mem, .flags = CYAML_CFG_NO_ALIAS};

    cyaml_free(&cyaml, &top_schema, text, 0);
}
