/* test_fault.c - faults that can be counted, bounded and repeated */
#include "fault.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "eth.h"
#include "loop.h"

#define LATENCY_NS 1000

/* A loop whose client is wrapped; the server is plain. */
struct rig {
    struct loop_network *network;
    struct endpoint *server, *client;
};

static void rig_open(struct rig *rig, const char *text)
{
    char reason[FAULT_ERROR_BYTES] = "";
    struct fault_spec spec;
    struct endpoint *inner;

    cr_assert_eq(fault_parse(text, &spec, reason), 0, "%s", reason);
    cr_assert_eq(loop_network_open(LATENCY_NS, &rig->network), 0);
    cr_assert_eq(loop_listen(rig->network, &rig->server), 0);
    cr_assert_eq(loop_connect(rig->network, &rig->server->local, &inner), 0);
    cr_assert_eq(fault_wrap(inner, &spec, loop_now_ns, rig->network, &rig->client), 0);
}

static void rig_close(struct rig *rig)
{
    endpoint_close(rig->client);
    endpoint_close(rig->server);
    loop_network_close(rig->network);
}

/* Sends numbered frames and returns how many the server got; order[] says which. */
static unsigned send_numbered(struct rig *rig, uint32_t count, uint64_t gap_ns, uint32_t *order,
                              unsigned order_room)
{
    unsigned got = 0;
    uint32_t number;

    for (uint32_t i = 0; i < count + 2000; i++) {
        if (i < count)
            cr_assert_eq(endpoint_send(rig->client, NULL, &i, sizeof(i)), 0);
        else
            endpoint_arm(rig->client); /* pushes out what was held back */
        loop_advance_ns(rig->network, i < count ? gap_ns : NS_PER_MS);
        while (endpoint_receive(rig->server, &number, sizeof(number), NULL) == sizeof(number))
            if (got < order_room)
                order[got++] = number;
    }
    return got;
}

static void expect_about(uint64_t got, double expected, const char *what)
{
    cr_expect(got > expected * 0.8 && got < expected * 1.2, "%s: %llu, expected about %.0f", what,
              (unsigned long long)got, expected);
}

#define FRAMES 20000
static uint32_t order[2 * FRAMES], again[2 * FRAMES];

Test(fault, drops_as_many_as_asked_for)
{
    struct rig rig;
    unsigned got;

    rig_open(&rig, "drop=10%,seed=42");
    got = send_numbered(&rig, FRAMES, LATENCY_NS, order, 2 * FRAMES);
    cr_assert_eq(got, FRAMES - fault_counts(rig.client).dropped);
    expect_about(FRAMES - got, FRAMES * 0.1, "dropped");
    for (unsigned i = 1; i < got; i++)
        cr_assert_lt(order[i - 1], order[i]);
    rig_close(&rig);
}

Test(fault, doubles_as_many_as_asked_for)
{
    struct rig rig;
    unsigned got;

    rig_open(&rig, "dup=5%,seed=42");
    got = send_numbered(&rig, FRAMES, 20 * LATENCY_NS, order, 2 * FRAMES);
    cr_assert_eq(got, FRAMES + fault_counts(rig.client).doubled);
    expect_about(got - FRAMES, FRAMES * 0.05, "doubled");
    rig_close(&rig);
}

Test(fault, reorders_but_loses_nothing)
{
    static uint8_t seen[FRAMES];
    struct rig rig;
    unsigned got, late = 0;

    rig_open(&rig, "reorder=5%,seed=42");
    got = send_numbered(&rig, FRAMES, 20 * LATENCY_NS, order, 2 * FRAMES);
    cr_assert_eq(got, FRAMES);
    for (unsigned i = 0; i < got; i++) {
        late += i > 0 && order[i] < order[i - 1];
        cr_assert_eq(seen[order[i]]++, 0);
    }
    expect_about(late, FRAMES * 0.05, "out of order");
    rig_close(&rig);
}

Test(fault, loses_what_is_longer)
{
    uint8_t frame[200] = {0}, got[200];
    struct rig rig;

    rig_open(&rig, "longest=100,seed=7");
    for (size_t bytes = 99; bytes <= 102; bytes++) {
        int expected = bytes <= 100 ? (int)bytes : -EAGAIN;

        cr_assert_eq(endpoint_send(rig.client, NULL, frame, bytes), 0);
        loop_advance_ns(rig.network, LATENCY_NS);
        cr_assert_eq(endpoint_receive(rig.server, got, sizeof(got), NULL), expected);
        cr_assert_eq(fault_counts(rig.client).dropped, bytes > 100 ? bytes - 100 : 0);
    }
    rig_close(&rig);
}

Test(fault, corrupts_one_byte)
{
    struct rig rig;
    uint8_t zero[64] = {0}, got[64];
    unsigned damaged = 0, positions = 0;
    uint64_t seen = 0;

    rig_open(&rig, "corrupt=50%,seed=7");
    for (int i = 0; i < 2000; i++) {
        unsigned changed = 0;

        cr_assert_eq(endpoint_send(rig.client, NULL, zero, sizeof(zero)), 0);
        loop_advance_ns(rig.network, LATENCY_NS);
        cr_assert_eq(endpoint_receive(rig.server, got, sizeof(got), NULL), (int)sizeof(got));
        for (unsigned at = 0; at < sizeof(got); at++)
            if (got[at] != 0) {
                changed++;
                seen |= 1ull << at;
            }
        cr_assert_leq(changed, 1);
        damaged += changed;
    }
    positions = (unsigned)__builtin_popcountll(seen);
    expect_about(damaged, 1000, "damaged");
    cr_assert_eq(positions, 64, "every byte position is hit");
    cr_assert_eq(zero[0], 0, "the sender's own bytes stay");
    rig_close(&rig);
}

Test(fault, delays_within_the_span)
{
    struct rig rig;
    uint8_t byte;
    uint64_t least = UINT64_MAX, most = 0;

    rig_open(&rig, "delay=1ms..3ms,seed=3");
    for (int i = 0; i < 300; i++) {
        uint64_t begun = loop_now_ns(rig.network), took;

        cr_assert_eq(endpoint_send(rig.client, NULL, "x", 1), 0);
        while (endpoint_receive(rig.server, &byte, 1, NULL) != 1) {
            loop_advance_ns(rig.network, LATENCY_NS);
            endpoint_arm(rig.client);
        }
        took = loop_now_ns(rig.network) - begun;
        least = took < least ? took : least;
        most = took > most ? took : most;
    }
    cr_expect(least >= NS_PER_MS && least < 1200 * NS_PER_US, "least %llu ns", (unsigned long long)least);
    cr_expect(most > 2800 * NS_PER_US && most <= 3 * NS_PER_MS + 4 * LATENCY_NS, "most %llu ns",
              (unsigned long long)most);
    rig_close(&rig);
}

Test(fault, both_directions_suffer)
{
    struct rig rig;
    unsigned got = 0;
    uint8_t buffer[8];

    rig_open(&rig, "drop=50%,seed=5");
    for (int i = 0; i < 4000; i++) {
        cr_assert_eq(endpoint_send(rig.server, &rig.client->local, "x", 1), 0);
        loop_advance_ns(rig.network, LATENCY_NS);
        got += endpoint_receive(rig.client, buffer, sizeof(buffer), NULL) == 1;
    }
    expect_about(got, 2000, "received");
    cr_assert_eq(rig.client->received_frames, got);
    rig_close(&rig);
}

static const char everything[] = "drop=10%,dup=10%,reorder=10%,corrupt=5%,delay=0..2ms,seed=123";

Test(fault, the_same_seed_gives_the_same_run)
{
    struct rig rig;
    unsigned got, got_again, got_other;
    struct fault_counts counts, counts_again;

    rig_open(&rig, everything);
    got = send_numbered(&rig, FRAMES / 10, 50 * LATENCY_NS, order, 2 * FRAMES);
    counts = fault_counts(rig.client);
    rig_close(&rig);
    rig_open(&rig, everything);
    got_again = send_numbered(&rig, FRAMES / 10, 50 * LATENCY_NS, again, 2 * FRAMES);
    counts_again = fault_counts(rig.client);
    rig_close(&rig);
    cr_assert_eq(got, got_again);
    cr_assert_arr_eq(order, again, got * sizeof(order[0]));
    cr_assert_arr_eq(&counts, &counts_again, sizeof(counts));

    rig_open(&rig, "drop=10%,dup=10%,reorder=10%,corrupt=5%,delay=0..2ms,seed=124");
    got_other = send_numbered(&rig, FRAMES / 10, 50 * LATENCY_NS, again, 2 * FRAMES);
    cr_assert(got_other != got || memcmp(order, again, got * sizeof(order[0])) != 0);
    rig_close(&rig);
}

Test(fault, a_full_store_loses_frames_and_says_so)
{
    struct rig rig;
    unsigned got;

    rig_open(&rig, "delay=50ms,seed=1");
    got = send_numbered(&rig, 1000, 0, order, 2 * FRAMES);
    cr_assert_eq(got, FAULT_HELD_FRAMES);
    cr_assert_eq(fault_counts(rig.client).overflowed, 1000 - FAULT_HELD_FRAMES);
    rig_close(&rig);
}

Test(fault, a_cut_is_one_way_or_both)
{
    struct rig rig;
    uint8_t byte;

    rig_open(&rig, "seed=1");
    for (unsigned cut = FAULT_CUT_NONE; cut <= FAULT_CUT_BOTH; cut++) {
        fault_cut(rig.client, (enum fault_cut)cut);
        cr_assert_eq(endpoint_send(rig.client, NULL, "o", 1), 0);
        cr_assert_eq(endpoint_send(rig.server, &rig.client->local, "i", 1), 0);
        loop_advance_ns(rig.network, LATENCY_NS);
        cr_assert_eq(endpoint_receive(rig.server, &byte, 1, NULL), cut & FAULT_CUT_OUT ? -EAGAIN : 1);
        cr_assert_eq(endpoint_receive(rig.client, &byte, 1, NULL), cut & FAULT_CUT_IN ? -EAGAIN : 1);
    }
    rig_close(&rig);
}

Test(fault, a_cut_takes_what_is_under_way)
{
    struct rig rig;
    uint8_t byte;

    rig_open(&rig, "delay=1ms,seed=1");
    cr_assert_eq(endpoint_send(rig.client, NULL, "o", 1), 0);
    fault_cut(rig.client, FAULT_CUT_BOTH);
    loop_advance_ns(rig.network, 2 * NS_PER_MS);
    endpoint_arm(rig.client);
    fault_cut(rig.client, FAULT_CUT_NONE);
    loop_advance_ns(rig.network, 2 * NS_PER_MS);
    endpoint_arm(rig.client);
    cr_assert_eq(endpoint_receive(rig.server, &byte, 1, NULL), -EAGAIN);
    rig_close(&rig);
}

Test(fault, a_cut_by_the_clock)
{
    struct rig rig;
    uint8_t byte;
    int got[6];

    rig_open(&rig, "cut=out@2ms..4ms,seed=1");
    for (int ms = 0; ms < 6; ms++) {
        endpoint_send(rig.client, NULL, "x", 1);
        loop_advance_ns(rig.network, NS_PER_MS);
        got[ms] = endpoint_receive(rig.server, &byte, 1, NULL) == 1;
    }
    cr_assert(got[0] && got[1] && !got[2] && !got[3] && got[4] && got[5]);
    rig_close(&rig);
}

/* Over a real socket: what is held back must wake a sleeper in time. */
Test(fault, a_delayed_frame_wakes_the_sleeper)
{
    const struct fault_spec spec = {
        .delay_low_ns = 20 * NS_PER_MS, .delay_high_ns = 20 * NS_PER_MS, .seed = 1};
    struct endpoint *server, *inner, *client;
    struct address any, from;
    uint64_t begun_ns = clock_now_ns(), took_ns;
    uint8_t byte;
    struct pollfd poller = {.events = POLLIN};
    int wakes = 0;

    cr_assert_eq(address_parse("127.0.0.1", 0, &any), 0);
    cr_assert_eq(eth_listen(&any, 0, 1, &server), 0);
    cr_assert_eq(eth_connect(&server->local, &inner), 0);
    cr_assert_eq(fault_wrap(inner, &spec, NULL, NULL, &client), 0);
    poller.fd = client->fd;
    cr_assert_eq(endpoint_send(client, NULL, "x", 1), 0);
    while (endpoint_receive(client, &byte, 1, NULL) != 1) {
        if (endpoint_receive(server, &byte, 1, &from) == 1)
            cr_assert_eq(endpoint_send(server, &from, "y", 1), 0);
        if (endpoint_arm(client) == 0)
            cr_assert_eq(poll(&poller, 1, 2000), 1, "slept through it");
        cr_assert_lt(wakes++, 20, "woken in vain");
    }
    took_ns = clock_now_ns() - begun_ns;
    cr_assert(took_ns >= 40 * NS_PER_MS, "20 ms each way took %llu ns", (unsigned long long)took_ns);
    cr_assert_eq(byte, 'y');
    endpoint_close(client);
    endpoint_close(server);
}

Test(fault, a_seed_is_chosen_where_none_is_given)
{
    struct rig rig;
    uint64_t first;

    rig_open(&rig, "");
    first = fault_seed(rig.client);
    cr_assert_neq(first, 0);
    rig_close(&rig);
    rig_open(&rig, "");
    cr_assert_neq(fault_seed(rig.client), first);
    rig_close(&rig);
}

/* ---- the text ---- */

Test(fault_spec, everything_at_once)
{
    struct fault_spec spec;
    char reason[FAULT_ERROR_BYTES];

    cr_assert_eq(
        fault_parse("drop=10%,dup=0.5%,reorder=100%,corrupt=0.0001%,longest=1472,delay=0..2ms,cut=in@1s..2m,"
                    "seed=42",
                    &spec, reason),
        0);
    cr_assert_eq(spec.drop_ppm, 100000);
    cr_assert_eq(spec.dup_ppm, 5000);
    cr_assert_eq(spec.reorder_ppm, 1000000);
    cr_assert_eq(spec.corrupt_ppm, 1);
    cr_assert_eq(spec.longest_bytes, 1472);
    cr_assert_eq(spec.delay_low_ns, 0);
    cr_assert_eq(spec.delay_high_ns, 2 * NS_PER_MS);
    cr_assert_eq(spec.cut, FAULT_CUT_IN);
    cr_assert_eq(spec.cut_from_ns, NS_PER_S);
    cr_assert_eq(spec.cut_until_ns, 120 * NS_PER_S);
    cr_assert_eq(spec.seed, 42);
}

Test(fault_spec, nothing_is_no_faults)
{
    struct fault_spec spec, none = {0};
    char reason[FAULT_ERROR_BYTES];

    cr_assert_eq(fault_parse("", &spec, reason), 0);
    cr_assert_arr_eq(&spec, &none, sizeof(spec));
}

Test(fault_spec, an_error_names_the_key)
{
    static const struct {
        const char *text, *named;
    } cases[] = {
        {"drop=101%", "drop=101%"},
        {"drop=100.0001%", "drop=100.0001%"},
        {"drop=10", "drop=10"},
        {"drop=-1%", "drop=-1%"},
        {"drop=%", "drop=%"},
        {"drop=.5%", "drop=.5%"},
        {"drop=1.%", "drop=1.%"},
        {"drop=0.00001%", "drop=0.00001%"},
        {"drop=1,5%", "drop=1:"},
        {"drop=99999999999999999999%", "drop=9999"},
        {"drop=1% ", "drop=1% "},
        {"drop", "\"drop\" has no value"},
        {"dup=", "dup="},
        {"delay=2", "delay=2"},
        {"delay=3ms..1ms", "delay=3ms..1ms"},
        {"delay=1h", "delay=1h"},
        {"delay=61s", "delay=61s"},
        {"delay=0..18446744073709551615s", "delay=0..1844"},
        {"cut=up", "cut=up"},
        {"cut=both@2s", "cut=both@2s"},
        {"cut=both@4s..2s", "cut=both@4s..2s"},
        {"seed=0", "seed=0"},
        {"seed=-1", "seed=-1"},
        {"seed=18446744073709551616", "seed=1844"},
        {"drop=1%,drop=2%", "\"drop\" is given twice"},
        {"loss=1%", "unknown key \"loss\""},
        {"drop=1%,,dup=1%", "unknown key \"\""},
        {"drop=1%,", "unknown key \"\""},
        {"DROP=1%", "unknown key \"DROP\""},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fault_spec spec = {.seed = 77};
        char reason[FAULT_ERROR_BYTES] = "";

        cr_expect_eq(fault_parse(cases[i].text, &spec, reason), -EINVAL, "\"%s\"", cases[i].text);
        cr_expect(strstr(reason, cases[i].named), "\"%s\" gives: %s", cases[i].text, reason);
        cr_expect_eq(spec.seed, 77, "nothing is written");
    }
}

Test(fault_spec, a_text_of_any_length)
{
    struct fault_spec spec;
    char reason[FAULT_ERROR_BYTES], text[4096];

    for (size_t length = 1; length < sizeof(text); length += 61) {
        memset(text, 'k', length);
        text[length] = '\0';
        cr_assert_eq(fault_parse(text, &spec, reason), -EINVAL);
        cr_assert_lt(strlen(reason), sizeof(reason));
    }
}
