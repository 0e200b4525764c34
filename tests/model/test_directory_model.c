/* test_directory_model.c - the directory and its clients, in every order of events and with a fault
 *
 * Each pair (and triple) of short programs is run in every interleaving of its steps, of the messages between
 * clients and server, and of one fault wherever it can strike: a snoop lost or doubled, the answer to a read
 * lost, a read doubled, a session or a lease at its end. In every state the clients' true copies are looked
 * at: never two writers, nothing old in use; every read sees the last write; and from every state all can
 * come to their end.
 *
 * CXE_MODEL_DEPTH (2) is the length of the programs of a pair, CXE_MODEL_FAULTS (1) how many faults there
 * are; CXE_MODEL_TRACE shows how each flaw is found.
 */
#include "explore.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct found found;
static uint64_t states_total, setups_total;

static unsigned from_environment(const char *name, unsigned otherwise)
{
    const char *text = getenv(name);

    return text ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

static void append(struct program *program, enum step step, uint8_t page)
{
    program->step[program->length] = (uint8_t)step;
    program->page[program->length++] = page;
}

static const char step_letters[] = "LSrwCdeb";

static const char *program_text(const struct setup *setup)
{
    static char text[CLIENTS_MAX * (2 * PROGRAM_MAX + 2)];
    size_t at = 0;

    for (unsigned i = 0; i < setup->clients; i++) {
        for (unsigned k = 0; k < setup->programs[i].length; k++) {
            text[at++] = step_letters[setup->programs[i].step[k]];
            text[at++] = (char)('0' + setup->programs[i].page[k]);
        }
        text[at++] = ' ';
    }
    text[at] = '\0';
    return text;
}

/* "S0L1": store to page 0, load from page 1 */
static struct program program_of(const char *text)
{
    struct program program = {.length = 0};

    for (; *text; text += 2)
        append(&program, (enum step)(strchr(step_letters, text[0]) - step_letters), (uint8_t)(text[1] - '0'));
    return program;
}

static void must_be_right(const struct setup *setup)
{
    explore(setup, &found);
    states_total += found.states;
    setups_total++;
    cr_assert_null(found.wrong, "%s: %s\n%s", program_text(setup), found.wrong, found.trace);
}

static void report(const char *what)
{
    fprintf(stderr, "%s: %llu programs, %llu states\n", what, (unsigned long long)setups_total,
            (unsigned long long)states_total);
}

/* The program with the given number, of all that have this length. */
static struct program nth_program(unsigned length, unsigned pages, unsigned n)
{
    struct program program = {.length = 0};

    for (unsigned i = 0; i < length; i++, n /= STEPS * pages)
        append(&program, (enum step)(n % STEPS), (uint8_t)(n / STEPS % pages));
    return program;
}

static unsigned program_count(unsigned length, unsigned pages)
{
    unsigned count = 1;

    while (length-- > 0)
        count *= STEPS * pages;
    return count;
}

Test(directory_model, two_clients_one_page)
{
    unsigned length = from_environment("CXE_MODEL_DEPTH", 2), count = program_count(length, 1);
    struct setup setup = {.clients = 2, .pages = 1, .faults = from_environment("CXE_MODEL_FAULTS", 1)};

    for (unsigned a = 0; a < count; a++)
        for (unsigned b = a; b < count; b++) {
            setup.programs[0] = nth_program(length, 1, a);
            setup.programs[1] = nth_program(length, 1, b);
            must_be_right(&setup);
        }
    report("two clients, one page");
}

Test(directory_model, three_clients_one_page)
{
    unsigned count = program_count(1, 1);
    struct setup setup = {.clients = 3, .pages = 1, .faults = from_environment("CXE_MODEL_FAULTS", 1)};

    for (unsigned a = 0; a < count; a++)
        for (unsigned b = a; b < count; b++)
            for (unsigned c = b; c < count; c++) {
                setup.programs[0] = nth_program(1, 1, a);
                setup.programs[1] = nth_program(1, 1, b);
                setup.programs[2] = nth_program(1, 1, c);
                must_be_right(&setup);
            }
    report("three clients, one page");
}

static struct setup setup_of(const char *const programs[CLIENTS_MAX], unsigned faults)
{
    struct setup setup = {.pages = 1, .faults = faults};

    for (; setup.clients < CLIENTS_MAX && programs[setup.clients]; setup.clients++) {
        setup.programs[setup.clients] = program_of(programs[setup.clients]);
        if (strchr(programs[setup.clients], '1'))
            setup.pages = 2;
    }
    return setup;
}

/* Programs that meet what the short ones do not: two pages, longer ways, full windows. */
static const char *const chosen[][CLIENTS_MAX] = {
    {"S0S1", "S1S0"},   {"S0L1", "S1L0"}, {"L0L1", "S0S1"},   {"S0e0L0", "L0S0"},     {"S0b0S0", "w0r0"},
    {"S0S1S1", "L0L1"}, {"C0C0", "S0L0"}, {"S0", "L0", "L0"}, {"S0S1S1", "L1", "r0"},
};

static const char *const reached_names[] = {
    "a full window",
    "a fetched page discarded",
    "a fenced agent's request",
    "a fenced agent's write-back",
    "a snoop seen before",
    "a doubled request that waits",
    "readers let through together",
    "a snoop nobody waits for",
};

Test(directory_model, chosen_programs_meet_everything)
{
    for (unsigned i = 0; i < sizeof(chosen) / sizeof(chosen[0]); i++) {
        struct setup setup = setup_of(chosen[i], from_environment("CXE_MODEL_FAULTS", 1));

        must_be_right(&setup);
    }
    report("chosen programs");
    for (unsigned i = 0; i < REACHED_KINDS; i++) {
        fprintf(stderr, "  %s: %llu times\n", reached_names[i], (unsigned long long)world_reached[i]);
        cr_expect_gt(world_reached[i], 0, "%s did not happen", reached_names[i]);
    }
}

/* Each flaw must be found, by what the clients see and not by what the directory says of itself. */
static const char *const flaw_names[] = {
    "none",
    "a clean copy outlives its INV",
    "a page snooped while it was fetched is used",
    "an old answer counts for a new snoop",
    "a store to a copy for reading",
    "ownership kept after DATA",
    "changed lines not sent",
    "the answer overtakes the changed lines",
    "fenced before the client gave up",
    "a fenced agent's write-back accepted",
    "a page asked for before its eviction is answered",
    "a snoop not sent",
    "a lost snoop not repeated",
    "a line read without asking the directory",
};

static const char *const tempting[][CLIENTS_MAX] = {
    {"S0", "S0"},       {"L0L0", "S0"},   {"L0S0", "L0S0"},   {"S0L0", "S0r0"},
    {"S0b0S0", "w0r0"}, {"L0e0S0", "S0"}, {"S0e0S0", "S0L0"}, {"L0L0", "S0S0"},
};

static bool is_found(enum flaw flaw)
{
    for (unsigned i = 0; i < sizeof(tempting) / sizeof(tempting[0]); i++) {
        struct setup setup = setup_of(tempting[i], 1);

        setup.flaw = flaw;
        explore(&setup, &found);
        if (found.wrong) {
            fprintf(stderr, "%s: found with %s: %s\n%s", flaw_names[flaw], program_text(&setup), found.wrong,
                    getenv("CXE_MODEL_TRACE") ? found.trace : "");
            return true;
        }
    }
    return false;
}

Test(directory_model, every_flaw_is_found)
{
    for (enum flaw flaw = FLAW_NONE + 1; flaw < FLAWS; flaw++)
        cr_expect(is_found(flaw), "not found: %s", flaw_names[flaw]);
    cr_assert_not(is_found(FLAW_NONE), "found without a flaw: %s\n%s", found.wrong, found.trace);
}
