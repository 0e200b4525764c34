/* directory.pml - the directory's protocol for one page, without bounds on how often anything happens
 *
 * The same protocol as fabricd/directory.c, said a second time: its names for states, accesses and messages are
 * those of fabricd/directory.h and proto/wire, which tests/integration/promela.sh compares. What the tests of
 * the source cannot do, this can: programs without end, and any number of faults. It leaves out what the source
 * adds without changing the protocol: several pages, bits that stand for several agents, full windows, readers
 * let through together.
 *
 * Instead of values there is a mark for each place where the page's data lies: whether it is the newest. A store
 * clears all and sets its own. An id of a snoop is its being the one that is open; a late copy of an older one is
 * `echo`.
 *
 * NO_LEASES and NO_DOUBLES leave out what makes the number of states large. Each FLAW_* must make spin find
 * something.
 */
#ifndef CLIENTS
#define CLIENTS 2
#endif
#define LINE   CLIENTS       /* the request of somebody without a mapping */
#define STRAY  (CLIENTS + 1) /* the duplicate of a client's read */
#define SLOTS  (CLIENTS + 2)
#define NOBODY 255

mtype = { DIRECTORY_HOME, DIRECTORY_SHARED, DIRECTORY_OWNED };
mtype = { DIRECTORY_LOAD, DIRECTORY_STORE, DIRECTORY_READ_SHARE, DIRECTORY_READ_OWN };
mtype = { BI_SNP_DATA, BI_SNP_INV, BI_SNP_GONE };
mtype = { BI_STATE_INVALID, BI_STATE_SHARED };
mtype = { MEM_RD, MEM_WR, MEM_RD_SHARED, MEM_RD_ANY, MEM_CLN_EVCT, CAS, BI_ATTACH, BI_DETACH, BI_RSP };

/* A client's copy. */
mtype = { ABSENT, FETCHING, CLEAN, OWNED, DIRTY, WRITING, LEAVING };
/* Where a message is. */
mtype = { IDLE, SENT, LOST, PARKED, ANSWERED };

/* The server. */
mtype state = DIRECTORY_HOME;
byte owner = NOBODY;
bool sharer[CLIENTS];
bool memory_newest = true;
bool agent_lives[CLIENTS];

/* The page's transaction. */
chan queue = [SLOTS] of { mtype, byte, byte }; /* access, in whose name, which request */
bool busy;
byte ready = NOBODY; /* the request let through */
mtype kind;
byte spared;
byte open_count;
bool open[CLIENTS];

/* Requests, their answers, and what they carry. */
mtype request[SLOTS];
mtype request_at[SLOTS] = IDLE;
bool request_newest[SLOTS];
bool refused[SLOTS];
byte stray_for;

/* Snoops and answers to them, one open for each client. */
mtype snoop_at[CLIENTS] = IDLE; /* ANSWERED: the client has seen it */
bool echo[CLIENTS];
mtype told[CLIENTS] = IDLE; /* BI_SNP_GONE on its way */
mtype response_at[CLIENTS] = IDLE;
mtype response[CLIENTS];
bool response_dirty[CLIENTS], response_newest[CLIENTS];
mtype control[CLIENTS] = IDLE;

/* The clients. */
mtype copy[CLIENTS] = ABSENT;
bool copy_newest[CLIENTS], snooped[CLIENTS], lives[CLIENTS];

/* Of use within one atomic step only. */
hidden byte a, b;
hidden byte yes;
hidden mtype how;
hidden byte who, slot;

inline stored()
{
    memory_newest = false;
    for (b : 0 .. CLIENTS - 1) {
        copy_newest[b] = false;
        response_newest[b] = false;
    }
    for (b : 0 .. SLOTS - 1) {
        request_newest[b] = false;
    }
}

/* D1 on what the clients really have. */
inline check_writers()
{
    a = 0;
    yes = false;
    for (b : 0 .. CLIENTS - 1) {
        if
        :: copy[b] == OWNED || copy[b] == DIRTY || copy[b] == WRITING -> a++; yes = true
        :: copy[b] == CLEAN -> a++
        :: else
        fi
    }
    assert(!yes || a == 1);
    b = 0;
    a = 0;
    yes = false
}

/* Directory. */

#define reads(x)  (x == DIRECTORY_LOAD || x == DIRECTORY_READ_SHARE)
#define grants(x) (x == DIRECTORY_READ_SHARE || x == DIRECTORY_READ_OWN)
#define holds(i)  ((state == DIRECTORY_SHARED && sharer[i]) || (state == DIRECTORY_OWNED && owner == i))
#define but(i)    (grants(how) && who == i)

/* yes = somebody must be snooped before `how` by `who` */
inline conflicts()
{
    yes = false;
    for (b : 0 .. CLIENTS - 1) {
        if
        :: holds(b) && !but(b) && !(reads(how) && state == DIRECTORY_SHARED) -> yes = true
        :: else
        fi
    }
    b = 0
}

inline ask()
{
    if
    :: reads(how) -> kind = BI_SNP_DATA
    :: else -> kind = BI_SNP_INV
    fi;
    if
    :: grants(how) -> spared = who
    :: else -> spared = NOBODY
    fi;
    for (b : 0 .. CLIENTS - 1) {
        if
        :: holds(b) && b != spared ->
            open[b] = true;
            open_count++;
            snoop_at[b] = SENT
        :: else
        fi
    }
    b = 0
}

inline normalise()
{
    yes = false;
    for (b : 0 .. CLIENTS - 1) {
        yes = yes || sharer[b]
    }
    b = 0;
    if
    :: state == DIRECTORY_SHARED && !yes -> state = DIRECTORY_HOME
    :: else
    fi;
    yes = false
}

inline advance()
{
    if
    :: len(queue) == 0 -> busy = false
    :: else ->
        queue?<how, who, slot>;
        conflicts();
        if
        :: yes -> ask()
        :: else -> ready = slot
        fi
    fi;
    how = 0; who = 0; slot = 0; yes = false
}

inline asked()
{
    if
    :: open_count == 0 ->
        if
        :: kind == BI_SNP_INV && state == DIRECTORY_SHARED && spared != NOBODY && sharer[spared] ->
            state = DIRECTORY_OWNED;
            owner = spared;
            for (b : 0 .. CLIENTS - 1) {
                sharer[b] = false
            }
        :: kind == BI_SNP_INV && state == DIRECTORY_SHARED && !(spared != NOBODY && sharer[spared]) ->
            state = DIRECTORY_HOME;
            for (b : 0 .. CLIENTS - 1) {
                sharer[b] = false
            }
        :: else
        fi;
        kind = 0;
        spared = 0;
        b = 0;
        advance()
    :: else
    fi
}

inline close_snoop(i, kept)
{
    open[i] = false;
    open_count--;
    snoop_at[i] = IDLE;
    if
    :: state == DIRECTORY_OWNED && kept == BI_STATE_SHARED ->
        state = DIRECTORY_SHARED;
        sharer[i] = true;
        owner = NOBODY
    :: state == DIRECTORY_OWNED && kept != BI_STATE_SHARED ->
        state = DIRECTORY_HOME;
        owner = NOBODY
    :: else
    fi;
    asked()
}

inline access_of(s)
{
    if
    :: request[s] == MEM_RD_SHARED -> how = DIRECTORY_READ_SHARE
    :: request[s] == MEM_RD_ANY -> how = DIRECTORY_READ_OWN
    :: request[s] == MEM_RD -> how = DIRECTORY_LOAD
    :: request[s] == CAS -> how = DIRECTORY_STORE
    fi;
    if
    :: s == STRAY -> who = stray_for
    :: s == LINE -> who = NOBODY
    :: else -> who = s
    fi
}

inline answer(s, no)
{
    refused[s] = no;
    if
    :: s == STRAY ->
        request_at[s] = IDLE;
        request[s] = 0;
        request_newest[s] = false;
        refused[s] = false;
        stray_for = 0
    :: else -> request_at[s] = ANSWERED
    fi
}

/* The access of request s, whose conflicts are over; how and who are set. */
inline perform(s)
{
    if
    :: how == DIRECTORY_LOAD -> assert(memory_newest)
    :: how == DIRECTORY_STORE ->
        assert(memory_newest);
        stored();
        memory_newest = true;
        state = DIRECTORY_HOME;
        owner = NOBODY;
        for (b : 0 .. CLIENTS - 1) {
            sharer[b] = false
        }
    :: how == DIRECTORY_READ_SHARE ->
        request_newest[s] = memory_newest;
        if
        :: state == DIRECTORY_OWNED -> assert(owner == who)
        :: else ->
            state = DIRECTORY_SHARED;
            sharer[who] = true
        fi
    :: how == DIRECTORY_READ_OWN ->
        request_newest[s] = memory_newest;
        state = DIRECTORY_OWNED;
        owner = who;
        for (b : 0 .. CLIENTS - 1) {
            sharer[b] = false
        }
    fi;
    b = 0;
    answer(s, false)
}

inline next()
{
    queue?_, _, _;
    ready = NOBODY;
    advance()
}

/* A fenced agent's requests. */
#define is_refused(s) (who != NOBODY && (refused[s] || !agent_lives[who]))

proctype Server(byte s)
{
end:
    do
    :: atomic {
        request_at[s] == SENT && request[s] != MEM_WR && request[s] != MEM_CLN_EVCT ->
        access_of(s);
        conflicts();
        if
        :: is_refused(s) -> answer(s, true)
        :: !is_refused(s) && (busy || yes) ->
            request_at[s] = PARKED;
            queue!how, who, s;
            if
            :: !busy ->
                busy = true;
                ask()
            :: else
            fi
        :: else -> perform(s)
        fi;
        how = 0; who = 0; yes = false
       }
    :: atomic {
        request_at[s] == PARKED && ready == s ->
        access_of(s);
        if
        :: is_refused(s) -> answer(s, true)
        :: else -> perform(s)
        fi;
        next()
       }
    :: atomic {
        s < CLIENTS && request_at[s] == SENT && request[s] == MEM_WR ->
        if
#ifndef FLAW_LATE_WRITE_ACCEPTED
        :: !agent_lives[s] || refused[s] || !(state == DIRECTORY_OWNED && owner == s) -> answer(s, true)
#endif
        :: else ->
            memory_newest = request_newest[s];
            answer(s, false)
        fi
       }
    :: atomic {
        s < CLIENTS && request_at[s] == SENT && request[s] == MEM_CLN_EVCT ->
        if
        :: agent_lives[s] && !refused[s] && !busy && state == DIRECTORY_OWNED && owner == s ->
            state = DIRECTORY_HOME;
            owner = NOBODY
        :: agent_lives[s] && !refused[s] && !busy && state == DIRECTORY_SHARED ->
            sharer[s] = false;
            normalise()
        :: else
        fi;
        answer(s, false)
       }
    od
}

/* BI_RSP, agents that come and go, snoops sent again. */
inline detach(i)
{
    agent_lives[i] = false;
    control[i] = IDLE;
    told[i] = BI_SNP_GONE;
    if
    :: state == DIRECTORY_OWNED && owner == i ->
        /* what it did not write back is lost */
        stored();
        memory_newest = true
    :: else
    fi;
    if
    :: request_at[i] == SENT || request_at[i] == PARKED -> refused[i] = true
    :: else
    fi;
    if
    :: request_at[STRAY] != IDLE && stray_for == i -> refused[STRAY] = true
    :: else
    fi;
    response_at[i] = IDLE;
    response[i] = 0;
    response_dirty[i] = false;
    response_newest[i] = false;
    echo[i] = false;
    if
    :: open[i] -> close_snoop(i, BI_STATE_INVALID)
    :: else -> snoop_at[i] = IDLE
    fi;
    if
    :: state == DIRECTORY_OWNED && owner == i ->
        state = DIRECTORY_HOME;
        owner = NOBODY
    :: else
    fi;
    sharer[i] = false;
    normalise()
}

proctype Agent(byte i)
{
end:
    do
    :: atomic {
        response_at[i] == BI_RSP -> /* behind the lines that changed */
        if
        :: response_dirty[i] ->
            assert(state == DIRECTORY_OWNED && owner == i);
            memory_newest = response_newest[i]
        :: else
        fi;
        response_at[i] = IDLE;
        response_dirty[i] = false;
        response_newest[i] = false;
        how = response[i];
        response[i] = 0;
        if
        :: open[i] -> close_snoop(i, how)
        :: else
        fi;
        how = 0
       }
#ifdef FLAW_FENCED_TOO_EARLY
    :: atomic { agent_lives[i] -> detach(i) }
#else
    :: atomic { agent_lives[i] && !lives[i] && control[i] != BI_ATTACH -> detach(i) } /* silent, or BI_DETACH */
#endif
    :: atomic { control[i] == BI_ATTACH -> control[i] = IDLE; agent_lives[i] = true; lives[i] = true; told[i] = IDLE }
#ifndef FLAW_SNOOP_NOT_REPEATED
    :: atomic { snoop_at[i] == LOST -> snoop_at[i] = SENT }
#endif
    od
}

/* Client. */

inline send(i, what)
{
    request[i] = what;
    request_at[i] = SENT;
    request_newest[i] = false;
    refused[i] = false
}

inline drop(i)
{
    copy[i] = ABSENT;
    copy_newest[i] = false
}

inline fetched(i)
{
    if
    :: refused[i] -> drop(i)
#ifndef FLAW_FETCH_NOT_DISCARDED
    :: !refused[i] && snooped[i] -> drop(i)
#endif
    :: else ->
        copy_newest[i] = request_newest[i];
        if
        :: request[i] == MEM_RD_ANY -> copy[i] = OWNED
        :: else -> copy[i] = CLEAN
        fi
    fi;
    snooped[i] = false
}

inline answered(i)
{
    if
    :: request[i] == MEM_RD_SHARED || request[i] == MEM_RD_ANY -> fetched(i)
    :: request[i] == MEM_WR && copy[i] == WRITING -> copy[i] = OWNED
    :: request[i] == MEM_CLN_EVCT -> drop(i)
    :: else
    fi;
    request_at[i] = IDLE;
    request[i] = 0;
    request_newest[i] = false;
    refused[i] = false;
    check_writers()
}

inline give_up(i)
{
    lives[i] = false;
    if
    :: copy[i] == FETCHING -> snooped[i] = true
    :: copy[i] == LEAVING
    :: else -> drop(i)
    fi
}

#define idle(i) (request_at[i] == IDLE)

proctype Client(byte i)
{
    do
    :: atomic { idle(i) && lives[i] && copy[i] == ABSENT -> copy[i] = FETCHING; send(i, MEM_RD_SHARED) }
    :: atomic { idle(i) && lives[i] && copy[i] == ABSENT -> copy[i] = FETCHING; send(i, MEM_RD_ANY) }
    :: atomic { copy[i] == CLEAN || copy[i] == OWNED || copy[i] == DIRTY -> assert(copy_newest[i]) }
    :: atomic {
#ifdef FLAW_STORES_UNASKED
        copy[i] == CLEAN ||
#endif
        copy[i] == OWNED || copy[i] == DIRTY ->
        stored();
        copy[i] = DIRTY;
        copy_newest[i] = true;
        check_writers()
       }
    :: atomic { idle(i) && copy[i] == CLEAN -> drop(i); copy[i] = FETCHING; send(i, MEM_RD_ANY) }
    :: atomic { copy[i] == CLEAN || copy[i] == OWNED -> drop(i) }
    :: atomic { idle(i) && (copy[i] == CLEAN || copy[i] == OWNED) -> drop(i); copy[i] = LEAVING; send(i, MEM_CLN_EVCT) }
    :: atomic {
        idle(i) && copy[i] == DIRTY ->
        copy[i] = WRITING;
        send(i, MEM_WR);
        request_newest[i] = copy_newest[i]
       }
    :: atomic { request_at[i] == ANSWERED -> answered(i) }
#ifndef NO_LEASES
    :: atomic { lives[i] -> give_up(i) } /* its lease is over, by its own clock */
    :: atomic { lives[i] && idle(i) -> give_up(i); control[i] = BI_DETACH }
#endif
    :: atomic { !lives[i] && !agent_lives[i] && idle(i) && control[i] == IDLE -> control[i] = BI_ATTACH }
    :: atomic { idle(i) && control[i] != BI_ATTACH -> break }
    od
}

inline respond(i, kept, dirty)
{
    response_at[i] = BI_RSP;
    response[i] = kept;
#ifndef FLAW_LOSES_STORES
    response_dirty[i] = dirty;
    response_newest[i] = dirty && copy_newest[i]
#endif
}

/* A snoop of the kind that is open (or, of an old one, that may be). */
inline obey(i)
{
    if
    :: copy[i] == FETCHING -> snooped[i] = true; respond(i, BI_STATE_INVALID, false)
    :: copy[i] == ABSENT || copy[i] == LEAVING -> respond(i, BI_STATE_INVALID, false)
    :: (copy[i] == CLEAN || copy[i] == OWNED || copy[i] == DIRTY) && kind == BI_SNP_DATA ->
        respond(i, BI_STATE_SHARED, (copy[i] == DIRTY));
#ifdef FLAW_KEEPS_OWNERSHIP
        copy[i] = (copy[i] == CLEAN -> CLEAN : OWNED)
#else
        copy[i] = CLEAN
#endif
    :: (copy[i] == CLEAN || copy[i] == OWNED || copy[i] == DIRTY) && kind != BI_SNP_DATA ->
        respond(i, BI_STATE_INVALID, (copy[i] == DIRTY));
#ifdef FLAW_KEEPS_COPY
        if
        :: copy[i] == CLEAN
        :: else -> drop(i)
        fi
#else
        drop(i)
#endif
    fi
}

proctype Snooped(byte i)
{
end:
    do
    :: atomic {
        snoop_at[i] == SENT && lives[i] && copy[i] != WRITING && response_at[i] == IDLE ->
        snoop_at[i] = ANSWERED;
        obey(i)
       }
    :: atomic { snoop_at[i] == SENT && !lives[i] -> snoop_at[i] = LOST } /* nobody listens */
#ifdef FLAW_OLD_ANSWER_COUNTS
    :: atomic {
        echo[i] && lives[i] && copy[i] != WRITING && response_at[i] == IDLE ->
        echo[i] = false;
        obey(i)
       }
#else
    :: atomic { echo[i] -> echo[i] = false } /* its id was seen */
#endif
    :: atomic { told[i] == BI_SNP_GONE -> told[i] = IDLE; if :: lives[i] -> give_up(i) :: else fi }
    od
}

/* Somebody without a mapping. */
proctype Line()
{
    do
    :: atomic { idle(LINE) -> send(LINE, MEM_RD) }
    :: atomic { idle(LINE) -> send(LINE, CAS) }
    :: atomic { request_at[LINE] == ANSWERED -> request_at[LINE] = IDLE; request[LINE] = 0; refused[LINE] = false }
    :: atomic { idle(LINE) -> break }
    od
}

/* Late is what others overtake, and that is any message; here is what else can happen to them. */
proctype Network(byte i)
{
end:
    do
    :: atomic { snoop_at[i] == SENT -> snoop_at[i] = LOST }
    :: atomic { snoop_at[i] == ANSWERED -> echo[i] = true } /* a second copy comes later */
    :: atomic { /* the answer to a read is lost, and the read repeated */
        request_at[i] == ANSWERED && (request[i] == MEM_RD_SHARED || request[i] == MEM_RD_ANY) && !refused[i] ->
        request_newest[i] = false;
        request_at[i] = SENT;
        refused[i] = !agent_lives[i]
       }
#ifndef NO_DOUBLES
    :: atomic { /* a read is doubled */
        request_at[i] == SENT && (request[i] == MEM_RD_SHARED || request[i] == MEM_RD_ANY) && idle(STRAY) ->
        request[STRAY] = request[i];
        refused[STRAY] = refused[i];
        stray_for = i;
        request_at[STRAY] = SENT
       }
#endif
    od
}

init
{
    atomic {
        for (a : 0 .. CLIENTS - 1) {
            agent_lives[a] = true;
            lives[a] = true;
            run Client(a);
            run Snooped(a);
            run Agent(a);
            run Network(a)
        }
        for (a : 0 .. SLOTS - 1) {
            run Server(a)
        }
        a = 0;
        run Line()
    }
}
