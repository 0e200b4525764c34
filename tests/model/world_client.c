/* world_client.c - what a client does: its program, answers, snoops, and the end of its lease */
#include "world.h"

#include <string.h>

#include "check.h"

static void send(struct client *client, enum request_kind kind, uint8_t page, uint8_t value)
{
    memset(&client->request, 0, sizeof(client->request));
    client->request.state = REQUEST_SENT;
    client->request.kind = kind;
    client->request.page = page;
    client->request.agent = client->agent;
    client->request.value = value;
    client->request.expected = client->last[page];
}

static void fetch(struct client *client, uint8_t page, enum request_kind kind)
{
    client->copies[page] = (struct copy){.state = COPY_FETCHING};
    send(client, kind, page, 0);
}

static uint8_t unique_value(unsigned client, const struct client *self)
{
    return (uint8_t)(1 + client * PROGRAM_MAX + self->pc);
}

static void load(struct client *client, uint8_t page)
{
    struct copy *copy = &client->copies[page];

    if (copy->state == COPY_ABSENT) {
        fetch(client, page, REQUEST_READ_SHARED);
        return;
    }
    client->last[page] = copy->value;
    if (copy->value != world.truth[page])
        world_wrong = "a load saw an old value";
    client->pc++;
}

static void store(const struct setup *setup, struct client *client, uint8_t page, uint8_t value)
{
    struct copy *copy = &client->copies[page];
    bool may = copy->owned || setup->flaw == FLAW_STORES_UNASKED;

    if (copy->state == COPY_ABSENT || !may) {
        fetch(client, page, REQUEST_READ_ANY);
        return;
    }
    copy->state = COPY_DIRTY;
    copy->value = world.truth[page] = value;
    client->pc++;
}

static void write_back(struct client *client, uint8_t page)
{
    client->copies[page].state = COPY_WRITING;
    send(client, REQUEST_WRITE_BACK, page, client->copies[page].value);
}

static void evict(const struct setup *setup, struct client *client, uint8_t page, bool tell)
{
    struct copy *copy = &client->copies[page];

    if (copy->state == COPY_DIRTY) {
        write_back(client, page);
    } else if (copy->state == COPY_CLEAN && tell) {
        *copy =
            (struct copy){.state = setup->flaw == FLAW_FETCHES_WHILE_LEAVING ? COPY_ABSENT : COPY_LEAVING};
        send(client, REQUEST_EVICTED, page, 0);
        if (setup->flaw == FLAW_FETCHES_WHILE_LEAVING && world.stray.state == REQUEST_IDLE) {
            world.stray = client->request;
            client->request.state = REQUEST_IDLE;
            client->pc++;
        }
    } else {
        *copy = (struct copy){.state = COPY_ABSENT};
        client->pc++;
    }
}

bool client_step(const struct setup *setup, unsigned number)
{
    struct client *client = &world.clients[number];
    const struct program *program = &setup->programs[number];
    uint8_t page, value = unique_value(number, client);

    if (client->pc == program->length || client->request.state != REQUEST_IDLE)
        return false;
    page = program->page[client->pc];
    switch ((enum step)program->step[client->pc]) {
    case STEP_LOAD:
        load(client, page);
        return true;
    case STEP_STORE:
        store(setup, client, page, value);
        return true;
    case STEP_READ_LINE:
        send(client, REQUEST_READ_LINE, page, 0);
        return true;
    case STEP_WRITE_LINE:
        send(client, REQUEST_WRITE_LINE, page, value);
        return true;
    case STEP_CAS:
        send(client, REQUEST_CAS, page, value);
        return true;
    case STEP_DROP:
        evict(setup, client, page, false);
        return true;
    case STEP_EVICT:
        evict(setup, client, page, true);
        return true;
    case STEP_SYNC:
        if (client->copies[page].state == COPY_DIRTY)
            write_back(client, page);
        else
            client->pc++;
        return true;
    case STEPS:
        break;
    }
    return false;
}

static void fetched(const struct setup *setup, struct client *client)
{
    const struct request *request = &client->request;
    struct copy *copy = &client->copies[request->page];
    bool discard = copy->snooped && setup->flaw != FLAW_FETCH_NOT_DISCARDED;

    world_reached[REACHED_DISCARD] += discard;
    *copy = (struct copy){.state = COPY_ABSENT};
    if (request->refused || discard)
        return; /* and asks again */
    copy->state = COPY_CLEAN;
    copy->value = request->result;
    copy->owned = request->kind == REQUEST_READ_ANY;
}

bool client_answered(const struct setup *setup, unsigned number)
{
    struct client *client = &world.clients[number];
    struct copy *copy = &client->copies[client->request.page];

    if (client->request.state != REQUEST_ANSWERED)
        return false;
    switch ((enum request_kind)client->request.kind) {
    case REQUEST_READ_SHARED:
    case REQUEST_READ_ANY:
        fetched(setup, client);
        break;
    case REQUEST_READ_LINE:
    case REQUEST_CAS:
        client->last[client->request.page] = client->request.result;
        client->pc++;
        break;
    case REQUEST_WRITE_LINE:
        client->pc++;
        break;
    case REQUEST_WRITE_BACK:
        if (copy->state == COPY_WRITING)
            copy->state = COPY_CLEAN;
        break;
    case REQUEST_EVICTED:
        copy->state = COPY_ABSENT;
        client->pc++;
        break;
    }
    client->request.state = REQUEST_IDLE;
    return true;
}

static void respond(const struct setup *setup, const struct snoop *snoop, enum bi_state state,
                    const struct copy *dirty)
{
    struct response response = {.agent = snoop->agent, .page = snoop->page, .id = snoop->id, .state = state};

    CHECK(world.response_count + 2 <= MESSAGES_MAX);
    if (dirty && setup->flaw != FLAW_LOSES_STORES) {
        response.dirty = true;
        response.value = dirty->value;
    }
    if (response.dirty && setup->flaw == FLAW_ANSWERS_BEFORE_WRITE) {
        response.only_write = true;
        world.responses[world.response_count++] = response;
        response.only_write = response.dirty = false;
    }
    world.responses[world.response_count++] = response;
}

static void obey(const struct setup *setup, struct copy *copy, const struct snoop *snoop)
{
    struct copy dirty = *copy;
    bool was_dirty = copy->state == COPY_DIRTY;

    if (copy->state == COPY_FETCHING)
        copy->snooped = true;
    if (copy->state != COPY_CLEAN && copy->state != COPY_DIRTY) {
        respond(setup, snoop, BI_STATE_INVALID, NULL);
        return;
    }
    copy->state = COPY_CLEAN;
    if (snoop->kind == BI_SNP_DATA) {
        copy->owned = copy->owned && setup->flaw == FLAW_KEEPS_OWNERSHIP;
        respond(setup, snoop, BI_STATE_SHARED, was_dirty ? &dirty : NULL);
        return;
    }
    if (was_dirty || setup->flaw != FLAW_KEEPS_COPY)
        *copy = (struct copy){.state = COPY_ABSENT};
    respond(setup, snoop, BI_STATE_INVALID, was_dirty ? &dirty : NULL);
}

void snoop_remove(unsigned snoop)
{
    world.snoops[snoop] = world.snoops[--world.snoop_count];
}

/* Within the window, whose size the server respects; what is older was answered. */
bool client_has_seen(const struct client *client, uint16_t id)
{
    int16_t age = (int16_t)(client->newest - id);

    return age >= SNOOPS_MAX || (age >= 0 && (client->seen >> age & 1));
}

static void mark_seen(struct client *client, uint16_t id)
{
    int16_t ahead = (int16_t)(id - client->newest);

    if (ahead > 0) {
        client->seen = ahead < 32 ? client->seen << ahead : 0;
        client->newest = id;
        ahead = 0;
    }
    client->seen |= 1u << -ahead;
    client->seen &= (1u << SNOOPS_MAX) - 1;
}

bool client_snooped(const struct setup *setup, unsigned number)
{
    struct snoop snoop = world.snoops[number];
    struct client *client = &world.clients[world.owner_of_name[snoop.agent.name]];
    struct copy *copy = &client->copies[snoop.page];

    /* It waits until the write-back is over, which never waits itself. */
    if (client->agent.name == snoop.agent.name && copy->state == COPY_WRITING)
        return false;
    snoop_remove(number);
    if (client->agent.name != snoop.agent.name)
        return true;
    if (client_has_seen(client, snoop.id)) {
        world_reached[REACHED_OLD_SNOOP]++;
        if (setup->flaw != FLAW_OLD_ANSWER_COUNTS)
            return true;
    } else {
        mark_seen(client, snoop.id);
    }
    obey(setup, copy, &snoop);
    return true;
}

bool client_gives_up(const struct setup *setup, unsigned number)
{
    struct client *client = &world.clients[number];

    if (client->fading.name)
        return false;
    client->fading = client->agent;
    for (unsigned i = world.snoop_count; i-- > 0;)
        if (world.snoops[i].agent.name == client->agent.name)
            snoop_remove(i); /* nobody listens */
    if (setup->flaw == FLAW_FENCED_TOO_EARLY)
        return true;
    for (unsigned page = 0; page < setup->pages; page++) {
        struct copy *copy = &client->copies[page];

        if (copy->state == COPY_FETCHING)
            copy->snooped = true;
        else if (copy->state != COPY_LEAVING)
            *copy = (struct copy){.state = COPY_ABSENT};
    }
    server_attach(number);
    return true;
}
