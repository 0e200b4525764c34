/* world_server.c - what the server does with requests, answers to snoops, and silent agents */
#include "world.h"

#include <errno.h>

#include "check.h"

bool server_knows(struct agent_name agent)
{
    return world.names[agent.number] == agent.name;
}

void server_attach(unsigned client)
{
    uint16_t number;

    CHECK(directory_attach(world.directory, &number) == 0);
    world.clients[client].newest = 0;
    world.clients[client].seen = (1u << SNOOPS_MAX) - 1;
    world.clients[client].agent = (struct agent_name){(uint8_t)number, ++world.names_used};
    world.names[number] = world.names_used;
    world.owner_of_name[world.names_used] = (uint8_t)client;
}

static enum directory_access access_of(const struct request *request)
{
    switch ((enum request_kind)request->kind) {
    case REQUEST_READ_SHARED:
        return DIRECTORY_READ_SHARE;
    case REQUEST_READ_ANY:
        return DIRECTORY_READ_OWN;
    case REQUEST_READ_LINE:
        return DIRECTORY_LOAD;
    case REQUEST_WRITE_LINE:
    case REQUEST_CAS:
    case REQUEST_WRITE_BACK:
    case REQUEST_EVICTED:
        break;
    }
    return DIRECTORY_STORE;
}

static void read_line(struct request *request)
{
    if (world.memory[request->page] != world.truth[request->page])
        world_wrong = "a line operation saw an old value";
    request->result = world.memory[request->page];
}

static void perform(struct request *request)
{
    uint8_t page = request->page;

    switch ((enum request_kind)request->kind) {
    case REQUEST_READ_SHARED:
    case REQUEST_READ_ANY:
        request->result = world.memory[page];
        break;
    case REQUEST_READ_LINE:
        read_line(request);
        break;
    case REQUEST_WRITE_LINE:
        world.memory[page] = world.truth[page] = request->value;
        break;
    case REQUEST_CAS:
        read_line(request);
        if (request->result == request->expected)
            world.memory[page] = world.truth[page] = request->value;
        break;
    case REQUEST_WRITE_BACK:
    case REQUEST_EVICTED:
        break;
    }
}

/* A write-back, which never waits: false if it is refused. */
static bool accept_lines(const struct setup *setup, struct agent_name agent, uint8_t page, uint8_t value)
{
    if (server_knows(agent) && directory_owns(world.directory, agent.number, page)) {
        if (value != world.truth[page])
            world_wrong = "an owner wrote an old value back";
    } else if (setup->flaw != FLAW_LATE_WRITE_ACCEPTED) {
        world_reached[REACHED_LATE_WRITE]++;
        return false;
    }
    world.memory[page] = value;
    return true;
}

static void answer(struct request *request, bool refused)
{
    request->refused = refused;
    request->state = REQUEST_ANSWERED;
    if (request == &world.stray)
        request->state = REQUEST_IDLE; /* its client has had an answer to this number */
}

static bool access_page(const struct setup *setup, struct request *request)
{
    enum directory_access access = access_of(request);
    uint16_t agent = access_grants(access) ? request->agent.number : 0;
    int result;

    if (agent && !server_knows(request->agent)) {
        world_reached[REACHED_REFUSAL]++;
        directory_cancel(world.directory, &request->waiter);
        answer(request, true);
        return true;
    }
    if (setup->flaw == FLAW_READ_NOT_ORDERED && access == DIRECTORY_LOAD) {
        perform(request);
        answer(request, false);
        return true;
    }
    result = directory_access(world.directory, request->page, access, agent, &request->waiter);
    if (result == -EINPROGRESS) {
        request->state = REQUEST_PARKED;
        return true;
    }
    CHECK(result == 0);
    perform(request);
    directory_done(world.directory, &request->waiter);
    answer(request, false);
    return true;
}

/* Arrives, or its turn has come. */
bool server_request(const struct setup *setup, struct request *request)
{
    if (request->state != REQUEST_SENT && !(request->state == REQUEST_PARKED && request->waiter.ready))
        return false;
    switch ((enum request_kind)request->kind) {
    case REQUEST_READ_SHARED:
    case REQUEST_READ_ANY:
    case REQUEST_READ_LINE:
    case REQUEST_WRITE_LINE:
    case REQUEST_CAS:
        return access_page(setup, request);
    case REQUEST_WRITE_BACK:
        answer(request, !accept_lines(setup, request->agent, request->page, request->value));
        return true;
    case REQUEST_EVICTED:
        if (server_knows(request->agent))
            directory_evicted(world.directory, request->agent.number, request->page);
        answer(request, false);
        return true;
    }
    return false;
}

struct open_id {
    uint64_t page;
    uint16_t id;
    enum bi_snp kind;
    bool found;
};

static void find_open(void *context, uint64_t page, uint16_t id, enum bi_snp kind)
{
    struct open_id *open = context;

    if (open->found || open->page != page)
        return;
    open->found = true;
    open->id = id;
    open->kind = kind;
}

static struct open_id open_snoop(uint16_t agent, uint8_t page)
{
    struct open_id open = {.page = page};

    directory_each_snoop(world.directory, agent, SNOOPS_MAX, find_open, &open);
    return open;
}

bool server_response(const struct setup *setup, unsigned number)
{
    struct response response = world.responses[number];
    uint16_t id = response.id;
    int result;

    world.responses[number] = world.responses[--world.response_count];
    if (response.dirty && !accept_lines(setup, response.agent, response.page, response.value))
        return true;
    if (response.only_write || !server_knows(response.agent))
        return true;
    if (setup->flaw == FLAW_OLD_ANSWER_COUNTS) {
        struct open_id open = open_snoop(response.agent.number, response.page);

        if (open.found && (response.state == BI_STATE_INVALID || open.kind == BI_SNP_DATA))
            id = open.id;
    }
    result = directory_answer(world.directory, response.agent.number, response.page, id, response.state);
    if (result != 0 && setup->flaw == FLAW_NONE)
        world_wrong = "an answer found no snoop";
    return true;
}

/* A lost snoop is sent again. */
bool server_repeats(const struct setup *setup, unsigned client, unsigned page)
{
    struct agent_name agent = world.clients[client].agent;
    struct open_id open;

    if (!server_knows(agent) || setup->flaw == FLAW_SNOOP_NOT_REPEATED)
        return false;
    open = open_snoop(agent.number, (uint8_t)page);
    if (!open.found || client_has_seen(&world.clients[client], open.id))
        return false;
    for (unsigned i = 0; i < world.snoop_count; i++)
        if (world.snoops[i].agent.name == agent.name && world.snoops[i].id == open.id)
            return false;
    CHECK(world.snoop_count < MESSAGES_MAX);
    world.snoops[world.snoop_count++] = (struct snoop){agent, (uint8_t)page, (uint8_t)open.kind, open.id};
    return true;
}

/* What it owned and did not write back is lost, and memory is what there is. */
bool server_fences(const struct setup *setup, unsigned client)
{
    struct agent_name agent = world.clients[client].fading;

    if (!agent.name)
        return false;
    for (uint8_t page = 0; page < setup->pages; page++)
        if (directory_owns(world.directory, agent.number, page))
            world.truth[page] = world.memory[page];
    world.clients[client].fading = (struct agent_name){0, 0};
    world.names[agent.number] = 0;
    directory_detach(world.directory, agent.number);
    return true;
}
