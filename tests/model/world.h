/* world.h - the directory, a server around it, clients with a program each, and the messages between them
 *
 * Everything that makes up a state lies in `world`, also what the directory allocates, so that a state is
 * saved and restored by copying it. The bounds are small, so that agents share bits and windows are full.
 */
#ifndef MODEL_WORLD_H
#define MODEL_WORLD_H

#include "limits.h"
#undef AGENTS_MAX
#undef SNOOPS_MAX
#undef VECTOR_BITS
#define AGENTS_MAX  5
#define SNOOPS_MAX  2
#define VECTOR_BITS 2

#include "directory_internal.h"

#define CLIENTS_MAX  3
#define PAGES_MAX    2
#define PROGRAM_MAX  6
#define MESSAGES_MAX 12
#define CELLS        16
#define CELL_BYTES   192

/* What a client's program consists of: an operation and a page each. */
enum step {
    STEP_LOAD,       /* through the mapping */
    STEP_STORE,      /* through the mapping */
    STEP_READ_LINE,  /* line operations */
    STEP_WRITE_LINE, /* */
    STEP_CAS,
    STEP_DROP,  /* evicts, silently if it is clean */
    STEP_EVICT, /* evicts and says so */
    STEP_SYNC,  /* writes back */
    STEPS,
};

/* What is broken on purpose. */
enum flaw {
    FLAW_NONE,
    FLAW_KEEPS_COPY,            /* answers an INV without dropping its clean copy */
    FLAW_FETCH_NOT_DISCARDED,   /* answers while it fetches, and uses what then arrives */
    FLAW_OLD_ANSWER_COUNTS,     /* a late snoop is answered again, and the answer taken for a newer one's */
    FLAW_STORES_UNASKED,        /* stores to a copy for reading */
    FLAW_KEEPS_OWNERSHIP,       /* after DATA */
    FLAW_LOSES_STORES,          /* answers a snoop without its changed lines */
    FLAW_ANSWERS_BEFORE_WRITE,  /* answer and changed lines are not one request */
    FLAW_FENCED_TOO_EARLY,      /* the server ends a lease that the client believes in */
    FLAW_LATE_WRITE_ACCEPTED,   /* a fenced agent's write-back reaches memory */
    FLAW_FETCHES_WHILE_LEAVING, /* asks for a page before its MEM_CLN_EVCT is answered */
    FLAW_SNOOP_NOT_SENT,        /* the server takes an INV for answered */
    FLAW_SNOOP_NOT_REPEATED,    /* the server does not repeat a lost snoop */
    FLAW_READ_NOT_ORDERED,      /* a line is read from memory without asking the directory */
    FLAWS,
};

struct program {
    uint8_t step[PROGRAM_MAX], page[PROGRAM_MAX];
    uint8_t length;
};

struct setup {
    struct program programs[CLIENTS_MAX];
    unsigned clients, pages;
    unsigned faults;
    enum flaw flaw;
};

enum request_kind {
    REQUEST_READ_SHARED,
    REQUEST_READ_ANY,
    REQUEST_READ_LINE,
    REQUEST_WRITE_LINE,
    REQUEST_CAS,
    REQUEST_WRITE_BACK,
    REQUEST_EVICTED,
};

enum request_state { REQUEST_IDLE, REQUEST_SENT, REQUEST_PARKED, REQUEST_ANSWERED };

/* Names are never used again, numbers are. */
struct agent_name {
    uint8_t number, name;
};

struct request {
    uint8_t state, kind, page;
    struct agent_name agent;
    uint8_t value, expected; /* to be written */
    uint8_t result;
    bool refused;
    struct directory_waiter waiter;
};

enum copy_state {
    COPY_ABSENT,
    COPY_FETCHING,
    COPY_CLEAN,
    COPY_DIRTY,
    COPY_WRITING, /* protected, a write-back in flight */
    COPY_LEAVING, /* dropped, MEM_CLN_EVCT in flight */
};

struct copy {
    uint8_t state, value;
    bool owned, snooped;
};

struct client {
    uint8_t pc;
    struct agent_name agent;
    struct agent_name fading; /* what it has given up; the server does not know yet. name 0: none */
    uint8_t last[PAGES_MAX];  /* value read, for CAS */
    struct copy copies[PAGES_MAX];
    struct request request;
    uint16_t newest; /* id of a snoop seen */
    uint32_t seen;   /* bit n: that of newest - n, too */
};

/* A snoop on its way. */
struct snoop {
    struct agent_name agent;
    uint8_t page, kind;
    uint16_t id;
};

/* BI_RSP on its way, with the lines that changed. */
struct response {
    struct agent_name agent;
    uint8_t page, state, value;
    bool dirty;
    bool only_write; /* FLAW_ANSWERS_BEFORE_WRITE: the write-back alone */
    uint16_t id;
};

struct world {
    uint64_t cells[CELLS][CELL_BYTES / 8] __attribute__((aligned(16)));
    uint32_t cells_used;
    uint64_t maps[2][8];
    struct directory *directory;
    uint8_t memory[PAGES_MAX], truth[PAGES_MAX]; /* truth: the newest value, wherever it is */
    uint8_t names[AGENTS_MAX + 1];               /* [number] who has it; 0: nobody */
    uint8_t owner_of_name[32];                   /* client */
    uint8_t names_used;
    uint8_t faults_left;
    struct client clients[CLIENTS_MAX];
    struct request stray; /* a duplicate of a client's request */
    struct snoop snoops[MESSAGES_MAX];
    uint8_t snoop_count;
    struct response responses[MESSAGES_MAX];
    uint8_t response_count;
};

/* What a test must have come by, or it has shown little. */
enum reached {
    REACHED_FULL_WINDOW,      /* a transaction waits for an agent's window */
    REACHED_DISCARD,          /* a page that was snooped while it was fetched */
    REACHED_REFUSAL,          /* a request of an agent that was fenced */
    REACHED_LATE_WRITE,       /* a write-back of one */
    REACHED_OLD_SNOOP,        /* a snoop seen before */
    REACHED_STRAY_WAITING,    /* a doubled request waits for its turn */
    REACHED_READERS_TOGETHER, /* several are let through at once */
    REACHED_ORPHAN,           /* a snoop is open, and nobody waits any more */
    REACHED_KINDS,
};

extern struct world world;
extern uint64_t world_reached[REACHED_KINDS]; /* how often, by whatever way */
extern const char *world_wrong;               /* what is wrong in this state; NULL: nothing */

void world_open(const struct setup *setup);
/* How many actions there are, of which most are not possible in a given state. */
unsigned world_actions(const struct setup *setup);
/* False: not possible now, and nothing has happened. */
bool world_act(const struct setup *setup, unsigned action);
/* Says through world_wrong if an invariant of the clients' true state does not hold. */
void world_check(const struct setup *setup);
/* Every program came to its end, and nobody waits. */
bool world_finished(const struct setup *setup);
/* States that differ in nothing that matters have the same. */
uint64_t world_hash(const struct setup *setup);
void world_describe(const struct setup *setup, unsigned action, char *text, size_t text_bytes);

/* The parts. */
bool client_step(const struct setup *setup, unsigned client);
bool client_answered(const struct setup *setup, unsigned client);
bool client_snooped(const struct setup *setup, unsigned snoop);
bool client_gives_up(const struct setup *setup, unsigned client);
bool server_request(const struct setup *setup, struct request *request);
bool server_response(const struct setup *setup, unsigned response);
bool server_fences(const struct setup *setup, unsigned client);
bool server_repeats(const struct setup *setup, unsigned client, unsigned page);
void server_attach(unsigned client);
bool client_has_seen(const struct client *client, uint16_t id);
bool server_knows(struct agent_name agent);
void snoop_remove(unsigned snoop);

#endif
