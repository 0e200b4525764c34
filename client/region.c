/* region.c - regions: naming, making and removing them */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "atomic.h"
#include "connection.h"
#include "error.h"

/* ---- between the wire and the API ---- */

static void info_from_wire(const struct wire_region_info *wire, struct cxe_region_info *info_out)
{
    memset(info_out, 0, sizeof(*info_out));
    memcpy(info_out->name, wire->name, sizeof(info_out->name));
    info_out->name[sizeof(info_out->name) - 1] = '\0';
    info_out->handle = le64_get(wire->handle);
    info_out->bytes = le64_get(wire->size);
    info_out->resident_bytes = le64_get(wire->resident);
    info_out->flags = le32_get(wire->flags);
    info_out->tenant = le32_get(wire->tenant);
}

static int spec_of(const char *name, uint64_t bytes, uint32_t flags, struct wire_region_spec *spec_out)
{
    memset(spec_out, 0, sizeof(*spec_out));
    if (strlen(name) >= sizeof(spec_out->name))
        return fail(-EINVAL, "the region name '%.20s...' is too long: at most %zu characters", name,
                    sizeof(spec_out->name) - 1);
    memcpy(spec_out->name, name, strlen(name));
    spec_out->size = le64_of(bytes);
    spec_out->flags = le32_of(flags);
    return 0;
}

static int make_region(struct cxe_connection *connection, const struct wire_region_info *wire,
                       struct cxe_region **region_out)
{
    struct cxe_region *region = calloc(1, sizeof(*region));
    struct cxe_region_info info;

    if (!region)
        return fail(-ENOMEM, "not enough memory for a region");
    info_from_wire(wire, &info);
    region->connection = connection;
    region->handle = info.handle;
    region->bytes = info.bytes;
    region->flags = info.flags;
    memcpy(region->name, info.name, sizeof(region->name));
    fetch_add_relaxed(&connection->users, 1);
    *region_out = region;
    return 0;
}

/* Create, open and clone differ in the operation only. */
static int request_region(struct cxe_connection *connection, enum opcode opcode, uint64_t handle,
                          const char *name, uint64_t bytes, uint32_t flags, struct cxe_region **region_out)
{
    struct wire_region_spec spec;
    struct wire_region_info info;
    struct op op = {.opcode = (uint8_t)opcode, .region = handle, .operand = &spec, .result = &info};
    int error = spec_of(name, bytes, flags, &spec);

    if (error)
        return error;
    error = connection_run(connection, &op);
    return error ? fail_region(error, name) : make_region(connection, &info, region_out);
}

/* ---- the API ---- */

int cxe_region_create(struct cxe_connection *connection, const char *name, uint64_t bytes, uint32_t flags,
                      struct cxe_region **region_out)
{
    return request_region(connection, OP_REGION_CREATE, 0, name, bytes, flags, region_out);
}

int cxe_region_open(struct cxe_connection *connection, const char *name, struct cxe_region **region_out)
{
    return request_region(connection, OP_REGION_OPEN, 0, name, 0, 0, region_out);
}

int cxe_region_clone(struct cxe_region *region, const char *name, uint32_t flags,
                     struct cxe_region **clone_out)
{
    return request_region(region->connection, OP_REGION_CLONE, region->handle, name ? name : "", 0, flags,
                          clone_out);
}

int cxe_region_close(struct cxe_region *region)
{
    if (load_relaxed(&region->mappings) > 0)
        return fail(-EBUSY, "region '%s' is still mapped", region->name);
    fetch_sub_relaxed(&region->connection->users, 1);
    free(region);
    return 0;
}

/* Stat, grow and seal tell the region's new state. */
static int update_region(struct cxe_region *region, enum opcode opcode, uint64_t offset,
                         struct cxe_region_info *info_out)
{
    struct wire_region_info wire;
    struct op op = {.opcode = (uint8_t)opcode, .region = region->handle, .offset = offset, .result = &wire};
    int error = connection_run(region->connection, &op);

    if (error)
        return fail_region(error, region->name);
    info_from_wire(&wire, info_out);
    store_relaxed(&region->bytes, info_out->bytes);
    store_relaxed(&region->flags, info_out->flags);
    return 0;
}

int cxe_region_stat(struct cxe_region *region, struct cxe_region_info *info_out)
{
    return update_region(region, OP_REGION_STAT, 0, info_out);
}

int cxe_region_grow(struct cxe_region *region, uint64_t bytes)
{
    struct cxe_region_info ignored;

    return update_region(region, OP_REGION_GROW, bytes, &ignored);
}

int cxe_region_seal(struct cxe_region *region)
{
    struct cxe_region_info ignored;

    return update_region(region, OP_REGION_SEAL, 0, &ignored);
}

int cxe_region_delete(struct cxe_connection *connection, const char *name)
{
    struct cxe_region *region;
    struct op op = {.opcode = OP_REGION_DELETE};
    int error = cxe_region_open(connection, name, &region);

    if (error)
        return error;
    op.region = region->handle;
    cxe_region_close(region);
    return fail_region(connection_run(connection, &op), name);
}

#define LIST_ENTRIES 8 /* a page of the list fits the smallest frame */
static_assert(RECORD_OVERHEAD + BODY_HEADER_BYTES + LIST_ENTRIES * sizeof(struct wire_region_info) <=
                  FRAME_BYTES_MIN,
              "a page of the region list fits the smallest frame");

int cxe_region_list(struct cxe_connection *connection, uint64_t *cursor, struct cxe_region_info *infos,
                    size_t most)
{
    struct wire_region_info page[LIST_ENTRIES];
    uint32_t entries = most < LIST_ENTRIES ? (uint32_t)most : LIST_ENTRIES, count = 0;
    struct op op = {.opcode = OP_REGION_LIST, .line_count = entries, .offset = *cursor, .result = page};
    int error;

    if (entries == 0)
        return 0;
    error = connection_run(connection, &op);
    if (error)
        return fail(error, "cannot list the regions: %s", strerror(-error));
    while (count < entries && page[count].handle.raw != 0) {
        info_from_wire(&page[count], &infos[count]);
        *cursor =
            (uint32_t)infos[count].handle + 1ull; /* a handle's low half is the index the list goes by */
        count++;
    }
    return (int)count;
}

uint64_t cxe_region_bytes(const struct cxe_region *region)
{
    return load_relaxed(&region->bytes);
}

int cxe_server_info(struct cxe_connection *connection, struct cxe_server_info *info_out)
{
    struct wire_server_info wire;
    struct op op = {.opcode = OP_SERVER_STAT, .result = &wire};
    int error = connection_run(connection, &op);

    if (error)
        return fail(error, "the server does not say how it is: %s", strerror(-error));
    *info_out = (struct cxe_server_info){
        .incarnation = le64_get(wire.incarnation),
        .uptime_ns = le64_get(wire.uptime_ns),
        .cpu_ns = le64_get(wire.cpu_ns),
        .pool_bytes = le64_get(wire.pool_bytes),
        .pool_free_bytes = le64_get(wire.pool_free_bytes),
        .quota_bytes = le64_get(wire.quota_bytes),
        .used_bytes = le64_get(wire.used_bytes),
        .regions = le64_get(wire.regions),
        .sessions = le64_get(wire.sessions),
        .received_bytes = le64_get(wire.received_bytes),
        .sent_bytes = le64_get(wire.sent_bytes),
        .operations = le64_get(wire.operations),
    };
    return 0;
}
