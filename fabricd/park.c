/* park.c - see park.h */
#include "park.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

static struct parked *parked_alloc(unsigned worker)
{
    struct parked *parked = calloc(1, sizeof(*parked));

    if (!parked)
        return NULL;
    parked->waiter.mail.kind = MAIL_WAITER;
    parked->waiter.worker = worker;
    return parked;
}

int park_init(struct park *park, unsigned worker)
{
    *park = (struct park){.worker = worker, .spare = parked_alloc(worker)};
    park->tenants = calloc(UINT16_MAX + 1, sizeof(*park->tenants)); /* memory only where it is touched */
    if (park->spare && park->tenants)
        return 0;
    park_fini(park);
    return -ENOMEM;
}

void park_fini(struct park *park)
{
    CHECK(park->all.count == 0);
    free(park->spare);
    free(park->tenants);
    park->spare = NULL;
    park->tenants = NULL;
}

static uint64_t bytes_of(const struct parked *parked)
{
    return sizeof(*parked) + parked->body_bytes + parked->values_bytes;
}

struct coherence_waiter *park_waiter(struct park *park, uint16_t tenant)
{
    const struct park_use *own = &park->tenants[tenant];

    if (park->all.count + own->count >= PARK_REQUESTS_MAX || park->all.bytes + own->bytes >= PARK_BYTES_MAX)
        return NULL;
    return &park->spare->waiter;
}

struct parked *park_keep(struct park *park, uint16_t tenant, struct parked **list, const uint8_t *body,
                         size_t body_bytes, const uint8_t *values, size_t values_bytes,
                         const struct execution *execution)
{
    struct parked *parked = park->spare, *next = parked_alloc(park->worker);
    uint8_t *copy = next ? malloc(body_bytes + values_bytes) : NULL;

    if (!copy) {
        free(next);
        coherence_leave(&parked->waiter); /* it may lie in the mailbox, and stays the spare */
        return NULL;
    }
    parked->body = memcpy(copy, body, body_bytes);
    parked->values = memcpy(copy + body_bytes, values, values_bytes);
    parked->body_bytes = body_bytes;
    parked->values_bytes = values_bytes;
    parked->execution = *execution;
    parked->next = *list;
    parked->link = list;
    if (parked->next)
        parked->next->link = &parked->next;
    *list = parked;
    park->spare = next;
    parked->tenant = tenant;
    park->all.count++;
    park->all.bytes += bytes_of(parked);
    park->tenants[tenant].count++;
    park->tenants[tenant].bytes += bytes_of(parked);
    return parked;
}

void park_drop(struct park *park, struct parked *parked)
{
    CHECK(!parked->timer.set);
    coherence_leave(&parked->waiter);
    *parked->link = parked->next;
    if (parked->next)
        parked->next->link = parked->link;
    park->all.count--;
    park->all.bytes -= bytes_of(parked);
    park->tenants[parked->tenant].count--;
    park->tenants[parked->tenant].bytes -= bytes_of(parked);
    free(parked->body);
    parked->session = NULL;
    parked->dropped = true;
    if (!mail_posted(&parked->waiter.mail))
        free(parked);
}

bool park_came_out(struct parked *parked)
{
    if (parked->dropped)
        free(parked);
    else if (parked->session)
        return true;
    return false;
}
