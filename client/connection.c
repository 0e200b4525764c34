/* connection.c - connecting: whose server, which keys, how many lanes */
#include "connection.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "atomic.h"
#include "clock.h"
#include "error.h"
#include "keys.h"
#include "lane_internal.h"
#include "least.h"
#include "pager.h"

static_assert(CXE_FRAME_BYTES_MIN == FRAME_BYTES_MIN && CXE_FRAME_BYTES_MAX == FRAME_BYTES_MAX,
              "what cxe.h promises");

#define TIMEOUT_DEFAULT_NS (5 * NS_PER_S)
#define LANES_DEFAULT      4
#define LANES_MIN          2 /* a signal handler that faults while its thread holds one takes the other */

/* ---- memory ---- */

/* Pages of its own, since it holds keys: in no core dump, and wiped when it ends. A forked child needs them,
 * to make its own sessions. */
static struct cxe_connection *alloc_connection(void)
{
    struct cxe_connection *connection =
        mmap(NULL, sizeof(*connection), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (connection == MAP_FAILED)
        return NULL;
    madvise(connection, sizeof(*connection), MADV_DONTDUMP);
    pthread_mutex_init(&connection->resting_mutex, NULL);
    return connection;
}

static void free_connection(struct cxe_connection *connection)
{
    sodium_memzero(connection, sizeof(*connection));
    munmap(connection, sizeof(*connection));
}

/* ---- options ---- */

/* An option, or what the environment says instead of it, or NULL. */
static const char *option_or_env(const char *option, const char *variable)
{
    const char *value = option ? option : getenv(variable);

    return value && *value ? value : NULL;
}

static int copy_text(char *to, size_t room, const char *text, const char *what)
{
    if (strlen(text) >= room)
        return fail(-EINVAL, "%s is too long: at most %zu characters", what, room - 1);
    strcpy(to, text);
    return 0;
}

static int resolve_server(const char *option, struct address *server_out)
{
    const char *text = option_or_env(option, "CXE_SERVER");
    int error = address_parse(text ? text : "127.0.0.1", CXE_PORT_DEFAULT, server_out);

    if (error == -ENOENT)
        return fail(error, "there is no host of the name in server '%s'", text);
    if (error)
        return fail(-EINVAL, "server '%s' is not of the form host, host:port or [v6]:port", text);
    return 0;
}

static unsigned port_of(const struct address *address)
{
    return ntohs(address->sa.sa_family == AF_INET6 ? address->in6.sin6_port : address->in.sin_port);
}

/* A fabricd on this host leaves its public key for us. */
static int read_local_key(const struct address *server, uint8_t key_out[NOISE_KEY_BYTES])
{
    const char *directory = getenv("XDG_RUNTIME_DIR");
    char path[256], why[KEYS_WHY_BYTES], where[64];
    int error;

    if (!address_is_loopback(server))
        return fail(-EINVAL,
                    "the server's public key is missing: give it as server_key or in CXE_SERVER_KEY");
    snprintf(path, sizeof(path), "%s/cxe/fabricd-%u.pub", directory && *directory ? directory : "/run",
             port_of(server));
    error = keys_read_public(path, key_out, why, sizeof(why));
    if (error == -ENOENT)
        return fail(-ECONNREFUSED,
                    "no fabricd has left its public key for %s: is one running there? (looked for %s)",
                    address_format(server, where, sizeof(where)), path);
    return error ? fail(-EINVAL, "%s", why) : 0;
}

static int resolve_server_key(const char *option, const struct address *server,
                              uint8_t key_out[NOISE_KEY_BYTES])
{
    const char *text = option_or_env(option, "CXE_SERVER_KEY");
    char why[KEYS_WHY_BYTES];

    if (!text)
        return read_local_key(server, key_out);
    if (keys_read_public(text, key_out, why, sizeof(why)) < 0)
        return fail(-EINVAL, "%s", why);
    return 0;
}

static int resolve_own_key(const char *option, struct noise_keypair *pair_out)
{
    const char *path = option_or_env(option, "CXE_KEY");
    char why[KEYS_WHY_BYTES];

    if (!path) {
        keys_generate(pair_out);
        return 0;
    }
    if (keys_read_secret(path, pair_out, why, sizeof(why)) < 0)
        return fail(-EACCES, "%s", why);
    return 0;
}

static int resolve_encryption(enum cxe_encryption option, bool *encrypted_out)
{
    const char *text = getenv("CXE_ENCRYPTION");

    if (option != CXE_ENCRYPTION_DEFAULT && option != CXE_ENCRYPTION_OFF)
        return fail(-EINVAL, "encryption %d is none of CXE_ENCRYPTION_DEFAULT, CXE_ENCRYPTION_OFF",
                    (int)option);
    if (text && *text && strcmp(text, "on") != 0 && strcmp(text, "off") != 0)
        return fail(-EINVAL, "CXE_ENCRYPTION is '%s', expected 'on' or 'off'", text);
    *encrypted_out = option == CXE_ENCRYPTION_DEFAULT && !(text && strcmp(text, "off") == 0);
    return 0;
}

static int resolve_frame_bytes(uint32_t option, uint32_t *frame_bytes_max_out)
{
    if (option && (option < FRAME_BYTES_MIN || option > FRAME_BYTES_MAX))
        return fail(-EINVAL, "frames of %u bytes: expected %d to %d, or 0 for what the path carries", option,
                    FRAME_BYTES_MIN, FRAME_BYTES_MAX);
    *frame_bytes_max_out = option ? option : FRAME_BYTES_MAX;
    return 0;
}

static int resolve_options(const struct cxe_connect_options *options, struct cxe_connection *connection)
{
    const char *transport = option_or_env(options->transport, "CXE_TRANSPORT");
    const char *fault = option_or_env(options->fault, "CXE_FAULT");
    int error = resolve_server(options->server, &connection->server);

    if (!error)
        error = resolve_server_key(options->server_key, &connection->server, connection->server_public);
    if (!error)
        error = resolve_own_key(options->key_file, &connection->self);
    if (!error)
        error = resolve_encryption(options->encryption, &connection->encrypted);
    if (!error)
        error = copy_text(connection->transport, sizeof(connection->transport), transport ? transport : "eth",
                          "transport");
    if (!error)
        error = copy_text(connection->fault, sizeof(connection->fault), fault ? fault : "", "fault");
    if (!error)
        error = resolve_frame_bytes(options->frame_bytes, &connection->frame_bytes_max);
    if (!error && options->lanes && (options->lanes < LANES_MIN || options->lanes > CXE_LANES_MAX))
        error = fail(-EINVAL, "%u lanes: expected %d to %d, or 0 for %d", options->lanes, LANES_MIN,
                     CXE_LANES_MAX, LANES_DEFAULT);
    connection->lane_count = options->lanes ? options->lanes : LANES_DEFAULT;
    connection->timeout_ns = options->timeout_ns ? options->timeout_ns : TIMEOUT_DEFAULT_NS;
    return error;
}

/* ---- connecting ---- */

static int explain(const struct cxe_connection *connection, int error)
{
    char where[64];

    address_format(&connection->server, where, sizeof(where));
    switch (-error) {
    case ECONNREFUSED:
        return fail(error, "nothing listens at %s over %s%s", where, connection->transport,
                    transport_provider(connection->transport) ? ", or it takes no more connections" : "");
    case EKEYREJECTED:
        return fail(
            error,
            "the server at %s does not answer to these keys: wrong server key, or ours is unknown there",
            where);
    case ETIMEDOUT:
        return fail(error, "no answer from %s over %s", where, connection->transport);
    case EACCES:
        return fail(error, "the server at %s refuses a session %s encryption", where,
                    connection->encrypted ? "with" : "without");
    case EBUSY:
        return fail(error, "the server at %s takes no more sessions: full, or draining", where);
    default:
        return fail(error, "cannot connect to %s over %s: %s", where, connection->transport,
                    strerror(-error));
    }
}

static void close_lanes(struct cxe_connection *connection, bool tell)
{
    for (unsigned i = 0; i < connection->lane_count; i++)
        lane_close(connection->lanes[i], tell);
    while (connection->resting) {
        struct lane *lane = connection->resting;

        connection->resting = lane->next_resting;
        lane_close(lane, tell);
    }
}

static int open_lanes(struct cxe_connection *connection)
{
    uint64_t deadline_ns = connection_deadline_ns(connection);

    for (unsigned i = 0; i < connection->lane_count; i++) {
        int error = lane_open(connection, LANE_PLAIN, deadline_ns, &connection->lanes[i]);

        if (error) {
            close_lanes(connection, true);
            return explain(connection, error);
        }
    }
    return 0;
}

int cxe_connect(const struct cxe_connect_options *options, struct cxe_connection **connection_out)
{
    static const struct cxe_connect_options defaults;
    struct cxe_connection *connection;
    int error;

    if (sodium_init() < 0)
        return fail(-ENOSYS, "libsodium does not start: no source of random numbers");
    connection = alloc_connection();
    if (!connection)
        return fail(-ENOMEM, "not enough memory for a connection");
    error = resolve_options(options ? options : &defaults, connection);
    if (!error)
        error = open_lanes(connection);
    if (error) {
        free_connection(connection);
        return error;
    }
    *connection_out = connection;
    return 0;
}

int cxe_disconnect(struct cxe_connection *connection)
{
    if (load_relaxed(&connection->users) > 0)
        return fail(-EBUSY, "%u regions or queues of the connection are still open", connection->users);
    close_lanes(connection, true);
    free_connection(connection);
    return 0;
}

int connection_reopen(const struct cxe_connection *connection, struct cxe_connection **connection_out)
{
    struct cxe_connection *fresh = alloc_connection();
    int error;

    if (!fresh)
        return -ENOMEM;
    fresh->server = connection->server;
    memcpy(fresh->server_public, connection->server_public, sizeof(fresh->server_public));
    fresh->self = connection->self;
    strcpy(fresh->transport, connection->transport);
    strcpy(fresh->fault, connection->fault);
    fresh->encrypted = connection->encrypted;
    fresh->timeout_ns = connection->timeout_ns;
    fresh->frame_bytes_max = connection->frame_bytes_max;
    fresh->lane_count = connection->lane_count;
    error = open_lanes(fresh);
    if (error) {
        free_connection(fresh);
        return error;
    }
    *connection_out = fresh;
    return 0;
}

void connection_abandon(struct cxe_connection *connection)
{
    close_lanes(connection, false);
    free_connection(connection);
}

uint64_t connection_deadline_ns(const struct cxe_connection *connection)
{
    return sum_or_max(clock_now_ns(), connection->timeout_ns);
}

int connection_run(struct cxe_connection *connection, struct op *op)
{
    const bool mapped = load_relaxed(&connection->mappings) > 0;
    const uint64_t deadline_ns = connection_deadline_ns(connection);
    struct lane *lane;
    sigset_t saved;
    int result;

    if (mapped)
        signals_block(&saved);
    result = lane_outlive(connection, NULL, deadline_ns);
    if (!result) {
        lane = lane_acquire(connection);
        result = lane_run(lane, op, deadline_ns);
        lane_release(lane);
    }
    if (mapped)
        signals_restore(&saved);
    return result;
}

int connection_take_waiting(struct cxe_connection *connection, struct lane **lane_out)
{
    struct lane *lane;

    pthread_mutex_lock(&connection->resting_mutex);
    lane = connection->resting;
    if (lane)
        connection->resting = lane->next_resting;
    pthread_mutex_unlock(&connection->resting_mutex);
    if (!lane)
        return lane_open(connection, LANE_WAITING, connection_deadline_ns(connection), lane_out);
    *lane_out = lane;
    return 0;
}

void connection_give_waiting(struct cxe_connection *connection, struct lane *lane)
{
    pthread_mutex_lock(&connection->resting_mutex);
    lane->next_resting = connection->resting;
    connection->resting = lane;
    pthread_mutex_unlock(&connection->resting_mutex);
}

bool connection_async_signal_safe(const struct cxe_connection *connection)
{
    return connection->lanes[0]->endpoint->async_signal_safe;
}

int cxe_connection_info(struct cxe_connection *connection, struct cxe_connection_info *info_out)
{
    struct cxe_connection_info info = {.lanes = connection->lane_count, .encrypted = connection->encrypted};

    for (unsigned i = 0; i < connection->lane_count; i++) {
        struct lane *lane = connection->lanes[i];

        lane_hold(lane);
        info.sent_frames += lane->endpoint->sent_frames;
        info.sent_bytes += lane->endpoint->sent_bytes;
        info.received_frames += lane->endpoint->received_frames;
        info.received_bytes += lane->endpoint->received_bytes;
        info.retransmits += lane->repeats + lane->window.repeats;
        if (lane->window.srtt_ns && (info.rtt_ns == 0 || lane->window.srtt_ns < info.rtt_ns))
            info.rtt_ns = lane->window.srtt_ns;
        info.frame_bytes = lane->frame_bytes;
        info.tenant = lane->link.grant.tenant;
        lane_release(lane);
    }
    *info_out = info;
    return 0;
}

int cxe_fence(struct cxe_connection *connection)
{
    (void)connection; /* blocking calls return when they are done: nothing is ever outstanding */
    return 0;
}
