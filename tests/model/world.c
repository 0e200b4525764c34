/* world.c - the actions, the invariants, and what tells states apart */
#include "world.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "check.h"

struct world world;
const char *world_wrong;
uint64_t world_reached[REACHED_KINDS];

static enum flaw flaw_now;

static void on_snoop(void *context, uint16_t agent, uint64_t page, uint16_t id, enum bi_snp kind)
{
    struct agent_name name = {(uint8_t)agent, world.names[agent]};

    (void)context;
    CHECK(world.snoop_count < MESSAGES_MAX && world.response_count < MESSAGES_MAX);
    if (flaw_now == FLAW_SNOOP_NOT_SENT && kind == BI_SNP_INV)
        world.responses[world.response_count++] =
            (struct response){.agent = name, .page = (uint8_t)page, .id = id, .state = BI_STATE_INVALID};
    else
        world.snoops[world.snoop_count++] = (struct snoop){name, (uint8_t)page, (uint8_t)kind, id};
}

/* The waiter says itself that it is ready. */
static void on_ready(void *context, struct directory_waiter *waiter)
{
    (void)context;
    (void)waiter;
}

static const struct directory_ops ops = {on_snoop, on_ready};

void world_open(const struct setup *setup)
{
    memset(&world, 0, sizeof(world));
    flaw_now = setup->flaw;
    world.faults_left = (uint8_t)setup->faults;
    CHECK(directory_open(setup->pages, &ops, NULL, &world.directory) == 0);
    for (unsigned i = 0; i < setup->clients; i++)
        server_attach(i);
}

/* Actions. */

enum action_kind {
    ACT_STEP,
    ACT_REQUEST,
    ACT_ANSWER,
    ACT_FENCE,
    ACT_GIVE_UP,     /* a fault */
    ACT_LOSE_ANSWER, /* a fault */
    ACT_DOUBLE,      /* a fault */
    ACT_SESSION,     /* a fault */
    ACT_REPEAT,
    ACT_PER_CLIENT = ACT_REPEAT + PAGES_MAX,
};

enum message_action { ACT_SNOOP, ACT_LOSE_SNOOP, ACT_DOUBLE_SNOOP, ACT_RESPONSE, ACT_PER_MESSAGE };

unsigned world_actions(const struct setup *setup)
{
    return setup->clients * ACT_PER_CLIENT + MESSAGES_MAX * ACT_PER_MESSAGE + 1;
}

static bool take_fault(void)
{
    if (world.faults_left == 0)
        return false;
    world.faults_left--;
    return true;
}

static bool is_fetch(const struct request *request)
{
    return request->kind == REQUEST_READ_SHARED || request->kind == REQUEST_READ_ANY;
}

/* The answer to a read is lost; the client repeats it, and it is executed again. */
static bool lose_answer(struct client *client)
{
    if (client->request.state != REQUEST_ANSWERED || !is_fetch(&client->request) || !take_fault())
        return false;
    client->request.state = REQUEST_SENT;
    memset(&client->request.waiter, 0, sizeof(client->request.waiter));
    return true;
}

/* A read arrives twice, the second time perhaps very late. */
static bool double_request(struct client *client)
{
    if (client->request.state != REQUEST_SENT || !is_fetch(&client->request) ||
        world.stray.state != REQUEST_IDLE || !take_fault())
        return false;
    world.stray = client->request;
    return true;
}

/* The session ends on which the request waits; the client sends it again on another. */
static bool end_session(struct client *client)
{
    struct request *request = &client->request;

    if (request->state != REQUEST_PARKED || !(is_fetch(request) || request->kind == REQUEST_READ_LINE) ||
        !take_fault())
        return false;
    directory_cancel(world.directory, &request->waiter);
    memset(&request->waiter, 0, sizeof(request->waiter));
    request->state = REQUEST_SENT;
    return true;
}

static bool client_action(const struct setup *setup, unsigned client, unsigned action)
{
    switch (action) {
    case ACT_STEP:
        return client_step(setup, client);
    case ACT_REQUEST:
        return server_request(setup, &world.clients[client].request);
    case ACT_ANSWER:
        return client_answered(setup, client);
    case ACT_FENCE:
        return server_fences(setup, client);
    case ACT_GIVE_UP:
        return world.faults_left && !world.clients[client].fading.name && take_fault() &&
               client_gives_up(setup, client);
    case ACT_LOSE_ANSWER:
        return lose_answer(&world.clients[client]);
    case ACT_DOUBLE:
        return double_request(&world.clients[client]);
    case ACT_SESSION:
        return end_session(&world.clients[client]);
    }
    return action - ACT_REPEAT < setup->pages && server_repeats(setup, client, action - ACT_REPEAT);
}

static bool message_action(const struct setup *setup, unsigned message, enum message_action action)
{
    switch (action) {
    case ACT_SNOOP:
        return message < world.snoop_count && client_snooped(setup, message);
    case ACT_LOSE_SNOOP:
        if (message >= world.snoop_count || !take_fault())
            return false;
        snoop_remove(message);
        return true;
    case ACT_DOUBLE_SNOOP:
        if (message >= world.snoop_count || !take_fault())
            return false;
        CHECK(world.snoop_count < MESSAGES_MAX);
        world.snoops[world.snoop_count++] = world.snoops[message];
        return true;
    case ACT_RESPONSE:
        return message < world.response_count && server_response(setup, message);
    case ACT_PER_MESSAGE:
        break;
    }
    return false;
}

bool world_act(const struct setup *setup, unsigned action)
{
    if (action < setup->clients * ACT_PER_CLIENT)
        return client_action(setup, action / ACT_PER_CLIENT, action % ACT_PER_CLIENT);
    action -= setup->clients * ACT_PER_CLIENT;
    if (action < MESSAGES_MAX * ACT_PER_MESSAGE)
        return message_action(setup, action / ACT_PER_MESSAGE, action % ACT_PER_MESSAGE);
    return server_request(setup, &world.stray);
}

void world_describe(const struct setup *setup, unsigned action, char *text, size_t text_bytes)
{
    static const char *const client_names[] = {
        "goes on",
        "'s request at the server",
        "has its answer",
        "is fenced",
        "gives up its lease",
        "'s answer lost",
        "'s request doubled",
        "'s session ends",
        "is snooped again for page 0",
        "is snooped again for page 1",
    };
    static const char *const message_names[] = {"snoop %u arrives", "snoop %u is lost", "snoop %u is doubled",
                                                "answer %u arrives"};

    if (action < setup->clients * ACT_PER_CLIENT) {
        snprintf(text, text_bytes, "client %u %s", action / ACT_PER_CLIENT,
                 client_names[action % ACT_PER_CLIENT]);
        return;
    }
    action -= setup->clients * ACT_PER_CLIENT;
    if (action < MESSAGES_MAX * ACT_PER_MESSAGE) {
        const char *format = message_names[action % ACT_PER_MESSAGE];

        snprintf(text, text_bytes, "%.*s%u%s", (int)(strchr(format, '%') - format), format,
                 action / ACT_PER_MESSAGE, strchr(format, '%') + 2);
        return;
    }
    snprintf(text, text_bytes, "the doubled request at the server");
}

/* Invariants. */

static bool is_usable(const struct copy *copy)
{
    return copy->state == COPY_CLEAN || copy->state == COPY_DIRTY || copy->state == COPY_WRITING;
}

static bool is_writable(const struct copy *copy)
{
    return copy->state == COPY_DIRTY || copy->state == COPY_WRITING ||
           (copy->state == COPY_CLEAN && copy->owned);
}

/* A grant on its way that its client will use. */
static bool is_coming(const struct client *client, uint8_t page)
{
    const struct request *request = &client->request;

    return request->state == REQUEST_ANSWERED && is_fetch(request) && request->page == page &&
           !request->refused && !client->copies[page].snooped;
}

static void check_page(const struct setup *setup, uint8_t page)
{
    unsigned writers = 0, users = 0;

    for (unsigned i = 0; i < setup->clients; i++) {
        const struct client *client = &world.clients[i];
        const struct copy *copy = &client->copies[page];

        writers += is_writable(copy);
        users += is_usable(copy);
        if (is_usable(copy) && copy->value != world.truth[page])
            world_wrong = "a copy in use is old";
        if (setup->flaw == FLAW_NONE && (is_usable(copy) || is_coming(client, page)) &&
            !directory_holds(world.directory, client->agent.number, page))
            world_wrong = "the directory does not know a copy (D2)";
    }
    if (writers > 1)
        world_wrong = "two writers (D1)";
    else if (writers == 1 && users > 1)
        world_wrong = "a writer and a reader (D1)";
}

static void note_reached(void)
{
    const struct directory *directory = world.directory;

    for (const struct transaction *t = directory->transactions; t; t = t->next) {
        world_reached[REACHED_FULL_WINDOW] += t->cursor != 0;
        world_reached[REACHED_ORPHAN] += t->open && !t->first;
        world_reached[REACHED_READERS_TOGETHER] +=
            t->first && t->first->ready && t->last->ready && t->first->next;
    }
    world_reached[REACHED_STRAY_WAITING] += world.stray.state == REQUEST_PARKED;
}

void world_check(const struct setup *setup)
{
    note_reached();
    for (uint8_t page = 0; page < setup->pages; page++)
        check_page(setup, page);
    if (!directory_valid(world.directory))
        world_wrong = "directory_valid";
}

bool world_finished(const struct setup *setup)
{
    for (unsigned i = 0; i < setup->clients; i++)
        if (world.clients[i].pc < setup->programs[i].length || world.clients[i].request.state != REQUEST_IDLE)
            return false;
    return world.stray.state == REQUEST_IDLE && !world.directory->transactions;
}

/* What tells states apart. */

struct digest {
    uint8_t bytes[1024];
    unsigned count;
};

static void add(struct digest *digest, uint8_t value)
{
    CHECK(digest->count < sizeof(digest->bytes));
    digest->bytes[digest->count++] = value;
}

/* Ids that are older than any window are all alike. */
static uint8_t relative_id(struct agent_name agent, uint16_t id)
{
    uint16_t age;

    if (!server_knows(agent))
        return 0;
    age = (uint16_t)(world.directory->agents[agent.number]->next - id);
    return age < 2 * SNOOPS_MAX + 1 ? (uint8_t)age : 2 * SNOOPS_MAX + 1;
}

static void add_request(struct digest *digest, const struct request *request)
{
    add(digest, request->state);
    if (request->state == REQUEST_IDLE)
        return;
    add(digest, request->kind);
    add(digest, request->page);
    add(digest, request->agent.name);
    add(digest, request->value);
    add(digest, request->expected);
    add(digest, request->state == REQUEST_ANSWERED ? request->result : 0);
    add(digest, request->refused);
}

static void add_client(struct digest *digest, const struct setup *setup, const struct client *client)
{
    add(digest, client->pc);
    add(digest, client->agent.name);
    add(digest, client->agent.number);
    add(digest, client->fading.name);
    add(digest, relative_id(client->agent, client->newest));
    add(digest, (uint8_t)client->seen);
    for (unsigned page = 0; page < setup->pages; page++) {
        const struct copy *copy = &client->copies[page];

        add(digest, (uint8_t)(copy->state | copy->owned << 4 | copy->snooped << 5));
        add(digest, copy->value);
        add(digest, client->last[page]);
    }
    add_request(digest, &client->request);
}

/* Its page, and where among those that wait for agents' windows it stands. */
static void add_transaction(struct digest *digest, const struct setup *setup,
                            const struct transaction *transaction)
{
    add(digest, 0xff);
    add(digest, (uint8_t)transaction->page);
    add(digest, (uint8_t)transaction->kind);
    add(digest, (uint8_t)transaction->open);
    add(digest, (uint8_t)transaction->cursor);
    add(digest, (uint8_t)transaction->requester);
    for (const struct directory_waiter *w = transaction->first; w; w = w->next) {
        add(digest, w->ready ? 0xfe : 0xfd);
        if (w == &world.stray.waiter)
            add(digest, CLIENTS_MAX);
        for (uint8_t i = 0; i < setup->clients; i++)
            if (w == &world.clients[i].request.waiter)
                add(digest, i);
    }
}

static void add_directory(struct digest *digest, const struct setup *setup)
{
    const struct directory *directory = world.directory;

    for (uint8_t page = 0; page < setup->pages; page++) {
        const struct entry *entry = entries_find(&directory->entries, page);
        const struct transaction *transaction = entry ? word_transaction(entry_word(entry)) : NULL;
        uint64_t word = directory_word(directory, page);

        for (unsigned shift = 0; shift < 32; shift += 8)
            add(digest, (uint8_t)(word >> shift));
        if (transaction)
            add_transaction(digest, setup, transaction);
    }
    for (uint16_t n = 1; n <= directory->highest; n++) {
        const struct agent *agent = directory->agents[n];

        add(digest, 0xfc);
        if (!agent)
            continue;
        for (uint16_t id = agent->first; id != agent->next; id++)
            add(digest,
                agent->ring[id % agent->capacity] ? (uint8_t)agent->ring[id % agent->capacity]->page : 0xfb);
        for (const struct transaction *t = agent->blocked; t; t = t->blocked_next)
            add(digest, 0xf0 | (uint8_t)t->page);
    }
}

/* In whatever order they lie there. */
static uint64_t messages_hash(void)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < world.snoop_count; i++) {
        const struct snoop *s = &world.snoops[i];
        uint8_t bytes[] = {s->agent.name, s->page, s->kind, relative_id(s->agent, s->id)};

        sum += XXH3_64bits_withSeed(bytes, sizeof(bytes), 1);
    }
    for (unsigned i = 0; i < world.response_count; i++) {
        const struct response *r = &world.responses[i];
        uint8_t bytes[] = {r->agent.name,
                           r->page,
                           r->state,
                           r->value,
                           r->dirty,
                           r->only_write,
                           relative_id(r->agent, r->id)};

        sum += XXH3_64bits_withSeed(bytes, sizeof(bytes), 2);
    }
    return sum;
}

uint64_t world_hash(const struct setup *setup)
{
    struct digest digest = {.count = 0};

    for (unsigned page = 0; page < setup->pages; page++) {
        add(&digest, world.memory[page]);
        add(&digest, world.truth[page]);
    }
    add(&digest, world.faults_left);
    for (unsigned i = 0; i < setup->clients; i++)
        add_client(&digest, setup, &world.clients[i]);
    add_request(&digest, &world.stray);
    add_directory(&digest, setup);
    return XXH3_64bits_withSeed(digest.bytes, digest.count, messages_hash());
}
