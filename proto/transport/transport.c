/* transport.c - from the name of a transport to an endpoint */
#include "transport.h"

#include <errno.h>
#include <string.h>

#include "atomic.h"
#include "eth.h"
#include "fault.h"
#include "log.h"
#include "ofi.h"

const char *transport_provider(const char *transport)
{
    if (strcmp(transport, "ofi") == 0)
        return "tcp";
    return strncmp(transport, "ofi:", 4) == 0 && transport[4] != '\0' ? transport + 4 : NULL;
}

/* The seed is for the process. Did all its endpoints draw the same numbers, the losses that one begins with
 * would be the first of every other as well. */
static void make_seed_its_own(struct fault_spec *spec)
{
    static uint64_t opened;

    if (spec->seed)
        spec->seed += fetch_add_relaxed(&opened, 1u);
}

/* Puts the faults around `inner`, which it takes over. */
static int wrap(struct fault_spec *spec, struct endpoint *inner, struct endpoint **endpoint_out)
{
    int error;

    if (!spec) {
        *endpoint_out = inner;
        return 0;
    }
    make_seed_its_own(spec);
    error = fault_wrap(inner, spec, NULL, NULL, endpoint_out);
    if (error)
        endpoint_close(inner);
    return error;
}

/* Both texts are looked at before anything is opened. *spec_out: NULL for no faults, else `storage`. */
static int check_names(const char **transport, const char *fault_spec, struct fault_spec *storage,
                       struct fault_spec **spec_out)
{
    char reason[FAULT_ERROR_BYTES];

    if (!*transport)
        *transport = "eth";
    if (strcmp(*transport, "eth") != 0 && !transport_provider(*transport)) {
        log_error("unknown transport \"%s\"; expected eth, ofi or ofi:PROVIDER", *transport);
        return -EINVAL;
    }
    *spec_out = fault_spec ? storage : NULL;
    if (fault_spec && fault_parse(fault_spec, storage, reason) != 0) {
        log_error("%s", reason);
        return -EINVAL;
    }
    return 0;
}

int transport_connect(const char *transport, const struct address *server, const char *fault_spec,
                      struct endpoint **endpoint_out)
{
    struct fault_spec storage, *spec;
    struct endpoint *inner;
    int error = check_names(&transport, fault_spec, &storage, &spec);

    if (error)
        return error;
    if (transport_provider(transport))
        error = ofi_connect(transport_provider(transport), server, &inner);
    else
        error = eth_connect(server, &inner);
    return error ? error : wrap(spec, inner, endpoint_out);
}

int transport_listen(const char *transport, const struct address *local, unsigned shard, unsigned shard_count,
                     const char *fault_spec, struct endpoint **endpoint_out)
{
    struct fault_spec storage, *spec;
    struct endpoint *inner;
    int error = check_names(&transport, fault_spec, &storage, &spec);

    if (error)
        return error;
    if (!transport_provider(transport))
        error = eth_listen(local, shard, shard_count, &inner);
    else if (shard == 0)
        error = ofi_listen(transport_provider(transport), local, &inner);
    else
        error = -EOPNOTSUPP;
    return error ? error : wrap(spec, inner, endpoint_out);
}
