/* ycsb.c - how many operations a second does a redis-server do for one client that waits for each?
 *
 * The six core workloads of YCSB over redis's own protocol, records of one value, keys by Zipf's law (D: the
 * latest). E scans through an ordered index, as YCSB's own binding for redis does. Every value tells its key
 * and version and is checked to the last byte. Source: Cooper et al., Benchmarking Cloud Serving Systems with
 * YCSB (2010).
 */
#include <argp.h>
#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "histogram.h"
#include "units.h"
#include "workload.h"
#include "zipf_law.h"

#define VALUE_BYTES_MAX 65536
#define SCAN_MAX        100
#define LOAD_BATCH      256

/* Shares of operations in percent; what is left over reads. */
static const struct mix {
    char name;
    unsigned update, insert, scan, modify;
    bool latest;
} mixes[] = {
    {'A', 50, 0, 0, 0, false}, {'B', 5, 0, 0, 0, false},  {'C', 0, 0, 0, 0, false},
    {'D', 0, 5, 0, 0, true},   {'E', 0, 5, 95, 0, false}, {'F', 0, 0, 0, 50, false},
};

struct client {
    redisContext *redis;
    const char *socket;
    uint64_t records, value_bytes, seconds, state;
    const char *workloads; /* letters */
    bool load;
    struct zipf zipf;
    char value[VALUE_BYTES_MAX];
};

/* ---- values: 24 characters that say whose they are, then what follows from them ---- */

static void make_value(struct client *client, uint64_t record, uint64_t version)
{
    uint64_t state = mix64(record ^ mix64(version));

    snprintf(client->value, VALUE_BYTES_MAX, "%011" PRIu64 ",%012" PRIu64, record, version);
    for (uint64_t at = 24; at < client->value_bytes; at += 8) {
        uint64_t word = random64(&state), left = client->value_bytes - at;

        memcpy(client->value + at, &word, left < 8 ? left : 8);
    }
}

static void check_value(struct client *client, uint64_t record, const redisReply *reply)
{
    uint64_t version = 0;

    if (reply->type != REDIS_REPLY_STRING || reply->len != client->value_bytes)
        workload_fail("record %" PRIu64 " is missing or has another length", record);
    if (sscanf(reply->str, "%*11[0-9],%12" SCNu64, &version) != 1)
        workload_fail("record %" PRIu64 " does not say its version", record);
    make_value(client, record, version);
    if (memcmp(client->value, reply->str, reply->len) != 0)
        workload_fail("record %" PRIu64 " is not what it was", record);
}

/* ---- commands ---- */

static redisReply *reply_of(struct client *client, void *reply)
{
    redisReply *found = reply;

    if (!found || found->type == REDIS_REPLY_ERROR)
        workload_fail("redis: %s", found ? found->str : client->redis->errstr);
    return found;
}

static void read_record(struct client *client, uint64_t record)
{
    redisReply *reply = reply_of(client, redisCommand(client->redis, "GET user%" PRIu64, record));

    check_value(client, record, reply);
    freeReplyObject(reply);
}

static void write_record(struct client *client, uint64_t record, uint64_t version)
{
    make_value(client, record, version);
    freeReplyObject(reply_of(client, redisCommand(client->redis, "SET user%" PRIu64 " %b", record,
                                                  client->value, (size_t)client->value_bytes)));
}

static void insert_record(struct client *client)
{
    uint64_t record = client->records++;

    write_record(client, record, 0);
    freeReplyObject(
        reply_of(client, redisCommand(client->redis, "ZADD index %" PRIu64 " %" PRIu64, record, record)));
}

static void scan_records(struct client *client, uint64_t first)
{
    uint64_t count = 1 + random_below(&client->state, SCAN_MAX);
    redisReply *index =
        reply_of(client, redisCommand(client->redis, "ZRANGEBYSCORE index %" PRIu64 " +inf LIMIT 0 %" PRIu64,
                                      first, count));

    if (index->elements == 0)
        workload_fail("the index has nothing from record %" PRIu64 " on", first);
    for (size_t i = 0; i < index->elements; i++)
        read_record(client, strtoull(index->element[i]->str, NULL, 10));
    freeReplyObject(index);
}

/* ---- runs ---- */

static void load(struct client *client)
{
    double start = seconds_now();

    for (uint64_t first = 0; first < client->records; first += LOAD_BATCH) {
        uint64_t end = first + LOAD_BATCH < client->records ? first + LOAD_BATCH : client->records;

        for (uint64_t record = first; record < end; record++) {
            make_value(client, record, 0);
            redisAppendCommand(client->redis, "SET user%" PRIu64 " %b", record, client->value,
                               (size_t)client->value_bytes);
            redisAppendCommand(client->redis, "ZADD index %" PRIu64 " %" PRIu64, record, record);
        }
        for (uint64_t i = 0; i < 2 * (end - first); i++) {
            void *reply = NULL;

            redisGetReply(client->redis, &reply);
            freeReplyObject(reply_of(client, reply));
        }
    }
    workload_result("load", (double)client->records / (seconds_now() - start), "records/s");
}

static uint64_t pick(struct client *client, const struct mix *mix)
{
    uint64_t rank = zipf_next(&client->zipf, &client->state);

    /* The latest are the most popular; else popularity is scattered. */
    return mix->latest ? client->records - rank % client->records - 1 : mix64(rank) % client->zipf.count;
}

static void operate(struct client *client, const struct mix *mix)
{
    unsigned draw = (unsigned)random_below(&client->state, 100);
    uint64_t record = pick(client, mix);

    if (draw < mix->update) {
        write_record(client, record, random_below(&client->state, 1000000));
    } else if ((draw -= mix->update) < mix->insert) {
        insert_record(client);
    } else if ((draw -= mix->insert) < mix->scan) {
        scan_records(client, record);
    } else if ((draw -= mix->scan) < mix->modify) {
        read_record(client, record);
        write_record(client, record, random_below(&client->state, 1000000));
    } else {
        read_record(client, record);
    }
}

static uint64_t run_for(struct client *client, const struct mix *mix, double seconds,
                        struct histogram *latencies)
{
    double end = seconds_now() + seconds;
    uint64_t done = 0;

    for (double now = seconds_now(); now < end; done++) {
        double start = now;

        operate(client, mix);
        now = seconds_now();
        histogram_add(latencies, (uint64_t)((now - start) * 1e9));
    }
    return done;
}

static void run(struct client *client, const struct mix *mix)
{
    struct histogram *latencies = calloc(2, sizeof(*latencies));
    char name[] = "ycsb_X.p99";
    uint64_t done;

    if (!latencies)
        workload_fail("no memory");
    run_for(client, mix, (double)client->seconds / 2, &latencies[0]); /* until the popular ones are near */
    done = run_for(client, mix, (double)client->seconds, &latencies[1]);
    if (done < 100)
        workload_fail("only %" PRIu64 " operations: too little work", done);
    name[5] = mix->name;
    workload_result(name, (double)histogram_quantile(&latencies[1], 0.99) / 1e3, "us");
    name[6] = '\0';
    workload_result(name, (double)done / (double)client->seconds, "operations/s");
    free(latencies);
}

/* ---- arguments ---- */

static const struct argp_option options[] = {
    {"records", 'n', "N", 0, "How many records there are (default: 100000)", 0},
    {"value-bytes", 'v', "N", 0, "Length of a value, from 32 (default: 256)", 0},
    {"load", 'l', NULL, 0, "First fill the store", 0},
    {"workloads", 'w', "LETTERS", 0, "Which to run (default: ABCDEF)", 0},
    {"seconds", 't', "N", 0, "Measuring time of each (default: 2)", 0},
    {0},
};

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct client *client = state->input;
    int error = 0;

    switch (key) {
    case 'n':
        error = units_parse_count(text, 1000, 1ull << 32, &client->records);
        break;
    case 'v':
        error = units_parse_count(text, 32, VALUE_BYTES_MAX, &client->value_bytes);
        break;
    case 't':
        error = units_parse_count(text, 1, 3600, &client->seconds);
        break;
    case 'l':
        client->load = true;
        break;
    case 'w':
        client->workloads = text;
        break;
    case ARGP_KEY_ARG:
        client->socket = text;
        break;
    case ARGP_KEY_END:
        if (!client->socket)
            argp_error(state, "the path of the server's socket is needed");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    if (error)
        argp_error(state, "'%s' is out of range, or no number", text);
    return 0;
}

int main(int argc, char **argv)
{
    static const char question[] =
        "how many operations a second does a redis-server do for one client that waits for each?";
    const struct argp parser = {.options = options, .parser = parse, .args_doc = "SOCKET", .doc = question};
    static struct client client = {
        .records = 100000, .value_bytes = 256, .seconds = 2, .state = 1, .workloads = "ABCDEF"};

    argp_parse(&parser, argc, argv, 0, NULL, &client);
    printf("{\"question\": \"%s\"}\n", question);
    client.redis = redisConnectUnix(client.socket);
    if (!client.redis || client.redis->err)
        workload_fail("%s: %s", client.socket, client.redis ? client.redis->errstr : "no memory");
    client.zipf = zipf_of(client.records);
    if (client.load)
        load(&client);
    for (const char *letter = client.workloads; *letter; letter++) {
        const struct mix *mix = &mixes[(*letter - 'A') % 6];

        if (*letter < 'A' || *letter > 'F')
            workload_fail("there is no workload %c: A to F", *letter);
        run(&client, mix);
    }
    redisFree(client.redis);
    return 0;
}
