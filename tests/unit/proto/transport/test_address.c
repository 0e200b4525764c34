/* test_address.c - addresses as people write them */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "transport.h"

static void expect(const char *text, const char *formatted)
{
    struct address address;
    char buffer[64];
    int error = address_parse(text, 7070, &address);

    cr_expect_eq(error, 0, "\"%s\": %s", text, strerror(-error));
    if (!error)
        cr_expect_str_eq(address_format(&address, buffer, sizeof(buffer)), formatted);
}

static void expect_error(const char *text, int error)
{
    struct address address;

    cr_expect_eq(address_parse(text, 7070, &address), error, "\"%s\"", text);
}

Test(address, well_formed)
{
    expect("127.0.0.1:7000", "127.0.0.1:7000");
    expect("127.0.0.1", "127.0.0.1:7070");
    expect("10.1.2.3:0", "10.1.2.3:0");
    expect("10.1.2.3:65535", "10.1.2.3:65535");
    expect("[::1]:7000", "[::1]:7000");
    expect("[::1]", "[::1]:7070");
    expect("::1", "[::1]:7070");
    expect("2001:db8::17", "[2001:db8::17]:7070");
    expect("[2001:DB8:0::17]:1", "[2001:db8::17]:1");
    expect("localhost:80", "127.0.0.1:80");
}

Test(address, malformed)
{
    static const char *const texts[] = {
        "",
        ":",
        ":7000",
        "host:",
        "127.0.0.1:",
        "127.0.0.1:x",
        "1.2.3.4:-1",
        "1.2.3.4: 80",
        "1.2.3.4:+8",
        "127.0.0.1:65536",
        "127.0.0.1:99999999999999999999",
        "[::1",
        "[::1]7000",
        "[::1]:",
        "[]:7000",
        "[127.0.0.1]:80",
        "::1::",
        "[::1]:70:80",
        "1:2:3",
        "[host]:80",
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        expect_error(texts[i], -EINVAL);
}

Test(address, a_host_that_does_not_exist)
{
    expect_error("no-such-host.invalid:7000", -ENOENT);
}

Test(address, a_host_name_of_any_length)
{
    char text[1024];

    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    expect_error(text, -EINVAL);
    text[255] = '\0';
    expect_error(text, -ENOENT);
}

Test(address, equality_is_of_address_and_port)
{
    struct address a, b;

    address_parse("10.0.0.1:1", 0, &a);
    address_parse("10.0.0.1", 1, &b);
    cr_assert(address_equal(&a, &b));
    address_parse("10.0.0.1:2", 0, &b);
    cr_assert_not(address_equal(&a, &b));
    address_parse("10.0.0.2:1", 0, &b);
    cr_assert_not(address_equal(&a, &b));
}

Test(address, loopback)
{
    static const struct {
        const char *text;
        bool loopback;
    } cases[] = {
        {"127.0.0.1", true},
        {"127.255.255.254", true},
        {"128.0.0.1", false},
        {"0.0.0.0", false},
        {"[::1]", true},
        {"[::]", false},
        {"[::2]", false},
        {"10.0.0.1", false},
        {"[fe80::1]", false},
        {"[::ffff:127.0.0.1]", true},
        {"[::ffff:10.0.0.1]", false},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct address address;

        cr_assert_eq(address_parse(cases[i].text, 1, &address), 0);
        cr_expect_eq(address_is_loopback(&address), cases[i].loopback, "%s", cases[i].text);
    }
}

Test(address, a_connection_is_a_number)
{
    struct address address;
    char buffer[64];

    memset(&address, 0, sizeof(address));
    address.peer.id = 3;
    cr_assert_str_eq(address_format(&address, buffer, sizeof(buffer)), "peer 3");
    cr_assert_not(address_is_loopback(&address));
}

Test(address, formatting_never_overruns)
{
    struct address address;
    char buffer[64];

    address_parse("[2001:db8:1:2:3:4:5:6]:65535", 0, &address);
    memset(buffer, 'x', sizeof(buffer));
    address_format(&address, buffer, 8);
    cr_assert_eq(buffer[7], '\0');
    cr_assert_eq(buffer[8], 'x');
}
