/* tenant.h - who may use the daemon: keys, ids and quotas
 *
 * The tenants in force are an immutable table behind one pointer. A reload publishes another table and bumps
 * the generation; workers compare generations and end the sessions of tenants that are gone.
 */
#ifndef FABRICD_TENANT_H
#define FABRICD_TENANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "limits.h"
#include "noise.h"

#define TENANT_QUOTA_UNLIMITED UINT64_MAX

struct tenant {
    char name[TENANT_NAME_BYTES];
    uint8_t public_key[NOISE_KEY_BYTES];
    uint8_t previous_key[NOISE_KEY_BYTES]; /* taken too while keys are rotated */
    uint64_t quota_bytes;
    uint16_t id; /* LD-ID, from 1 */
    bool has_previous_key;
};

/* The one tenant of a daemon without a tenants list: id 1, and whoever comes is it. */
#define TENANT_OPEN_ID   1
#define TENANT_OPEN_NAME "default"

/* Puts a table in force: copies `count` tenants; `open` lets every key in as TENANT_OPEN_ID. Callers take
 * turns (the main thread). Tables once in force are kept until tenants_clear, since a worker may still be
 * reading one: a reload costs their few kilobytes. -ENOMEM: the old table stays in force. */
int tenants_publish(const struct tenant *tenants, unsigned count, bool open);

/* Forgets all tables. No other thread may be looking. */
void tenants_clear(void);

/* The tenant that a proven public key belongs to, or NULL. Looks at every key of the table whichever matches,
 * so that the time tells nothing about who is known. Any thread; does not block; the result stays valid until
 * tenants_clear. */
const struct tenant *tenants_find_by_key(const uint8_t public_key[NOISE_KEY_BYTES]);

/* The tenant of that id, or NULL. As above. */
const struct tenant *tenants_find_by_id(uint16_t id);

/* Counts the tables published; a worker that sees it change (load_acquire) looks at its sessions again. */
const uint64_t *tenants_generation(void);

/* The tenants in force, for listings; *count_out may be 0. Valid until tenants_clear. Any thread. */
const struct tenant *tenants_list(unsigned *count_out);

#endif
