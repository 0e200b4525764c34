/* test_session.c - the table of a worker's sessions: names, ages, room */
#include "session.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SESSIONS 8
#define SHARD    2
#define SHARDS   3

static struct session_table *table;

static void set_up(void)
{
    cr_assert_eq(session_table_open(SESSIONS, SHARD, SHARDS, &table), 0);
}

static void tear_down(void)
{
    cr_assert(session_table_valid(table));
    session_table_close(table);
}

TestSuite(session, .init = set_up, .fini = tear_down);

static struct session *make(uint32_t number, uint64_t now_ns)
{
    uint8_t ephemeral[NOISE_KEY_BYTES] = {0};
    struct session *session;

    memcpy(ephemeral, &number, sizeof(number));
    session = session_alloc(table, ephemeral, now_ns);
    cr_assert(session_table_valid(table));
    return session;
}

Test(session, a_name_says_its_shard_and_is_never_zero)
{
    for (uint32_t i = 0; i < SESSIONS; i++) {
        struct session *session = make(i, 0);

        cr_assert_neq(session->id, 0);
        cr_assert_eq(session->id % SHARDS, SHARD);
        cr_assert_eq(session_find(table, session->id), session);
    }
}

Test(session, an_old_name_finds_nothing)
{
    struct session *session = make(1, 0);
    uint32_t old = session->id;

    for (int i = 0; i < 5000; i++) { /* often enough for the generations to come round */
        session_free(table, session);
        cr_assert_null(session_find(table, old));
        session = make(1, 0);
        if (session->id == old)
            cr_assert_gt(i, 1000, "the name came back too soon");
        old = session->id;
    }
}

Test(session, any_name_at_all_is_safe_to_look_up)
{
    unsigned seed = (unsigned)time(NULL);

    fprintf(stderr, "seed %u\n", seed);
    srandom(seed);
    make(1, 0);
    for (int i = 0; i < 100000; i++) {
        uint32_t id = (uint32_t)random() << 1 ^ (uint32_t)random();
        struct session *session = session_find(table, id);

        cr_assert(!session || session->id == id);
    }
}

Test(session, it_is_found_by_its_init)
{
    uint8_t ephemeral[NOISE_KEY_BYTES] = {5};
    struct session *session = session_alloc(table, ephemeral, 0);

    make(77, 0);
    cr_assert_eq(session_find_ephemeral(table, ephemeral), session);
    session_free(table, session);
    cr_assert_null(session_find_ephemeral(table, ephemeral));
}

Test(session, the_unconfirmed_expire_first_and_the_silent_before_the_heard)
{
    struct session *first = make(1, 100), *second = make(2, 200), *unconfirmed = make(3, 300);
    uint64_t expires_ns;

    session_heard(table, first, 1000);
    session_heard(table, second, 2000);
    session_heard(table, first, 3000);
    cr_assert_eq(session_next_expiry(table, 60 * NS_PER_S, &expires_ns), unconfirmed);
    cr_assert_eq(expires_ns, 300 + SESSION_UNCONFIRMED_NS);
    session_free(table, unconfirmed);
    cr_assert_eq(session_next_expiry(table, 60 * NS_PER_S, &expires_ns), second);
    cr_assert_eq(expires_ns, 2000 + 60 * NS_PER_S);
}

Test(session, a_full_table_drops_the_oldest_unconfirmed_and_no_other)
{
    struct session *sessions[SESSIONS];

    for (uint32_t i = 0; i < SESSIONS; i++)
        sessions[i] = make(i, i);
    for (uint32_t i = 0; i < SESSIONS; i++)
        if (i != 3)
            session_heard(table, sessions[i], 100 + i);
    cr_assert_not_null(make(100, 200), "number 3 had to go");
    session_heard(table, sessions[3], 300); /* its place has the new one now */
    cr_assert_null(make(101, 400), "everyone is confirmed: no room");
    cr_assert_eq(session_count(table), SESSIONS);
}

Test(session, freeing_while_walking_visits_all)
{
    struct session *session;
    uint32_t cursor = 0, seen = 0;

    for (uint32_t i = 0; i < SESSIONS; i++)
        make(i, 0);
    while ((session = session_next(table, &cursor))) {
        session_free(table, session);
        seen++;
    }
    cr_assert_eq(seen, SESSIONS);
    cr_assert_eq(session_count(table), 0);
}

Test(session, a_freed_session_leaves_no_key_behind)
{
    struct session *session = make(1, 0);

    memset(session->client_public, 0xaa, sizeof(session->client_public));
    session_free(table, session);
    for (size_t i = 0; i < sizeof(session->client_public); i++)
        cr_assert_eq(session->client_public[i], 0);
}
