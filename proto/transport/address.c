/* address.c - who is at the other end: parse, print, compare */
#include "transport.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "units.h"

#define HOST_BYTES 256 /* a DNS name has at most 253 */

/* Splits "host:port", "[v6]:port", "host" and "v6" into its parts; *port_out is NULL if there is none. A
 * bare IPv6 address has two colons at least, which no "host:port" has. */
static int split(const char *text, char host_out[HOST_BYTES], const char **port_out)
{
    const char *begin = text, *end, *port = NULL;

    if (*text == '[') {
        begin = text + 1;
        end = strchr(begin, ']');
        if (!end || (end[1] != '\0' && end[1] != ':'))
            return -EINVAL;
        port = end[1] == ':' ? end + 2 : NULL;
    } else {
        end = strchr(text, ':');
        if (end && !strchr(end + 1, ':'))
            port = end + 1;
        else
            end = text + strlen(text);
    }
    if (end == begin || end - begin >= HOST_BYTES)
        return -EINVAL;
    memcpy(host_out, begin, (size_t)(end - begin));
    host_out[end - begin] = '\0';
    *port_out = port;
    return 0;
}

/* UDP cannot try one family after the other, so the choice is made here: IPv4 where the name has it, since
 * that is where a server listens unless told otherwise ("localhost" names both). */
static int resolve(const char *host, int flags, struct address *address_out)
{
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = flags}, *list, *choice = NULL;

    if (getaddrinfo(host, NULL, &hints, &list) != 0)
        return -ENOENT;
    for (struct addrinfo *at = list; at; at = at->ai_next)
        if (at->ai_family == AF_INET || (at->ai_family == AF_INET6 && !choice)) {
            choice = at;
            if (at->ai_family == AF_INET)
                break;
        }
    memset(address_out, 0, sizeof(*address_out));
    if (choice)
        memcpy(address_out, choice->ai_addr, choice->ai_addrlen);
    freeaddrinfo(list);
    return choice ? 0 : -ENOENT;
}

int address_parse(const char *text, uint16_t default_port, struct address *address_out)
{
    char host[HOST_BYTES];
    const char *port_text;
    struct address address;
    uint64_t port = default_port;
    int error = split(text, host, &port_text);
    bool literal;

    if (error)
        return error;
    literal = *text == '[' || strchr(host, ':');
    if (port_text && units_parse_count(port_text, 0, UINT16_MAX, &port) != 0)
        return -EINVAL;
    error = resolve(host, literal ? AI_NUMERICHOST : 0, &address);
    if (error)
        return literal ? -EINVAL : error;
    if (*text == '[' && address.sa.sa_family != AF_INET6)
        return -EINVAL;
    address.in.sin_port = htons((uint16_t)port); /* sin6_port lies at the same offset */
    *address_out = address;
    return 0;
}

static_assert(offsetof(struct sockaddr_in, sin_port) == offsetof(struct sockaddr_in6, sin6_port), "port");

char *address_format(const struct address *address, char *buffer, size_t buffer_bytes)
{
    char host[INET6_ADDRSTRLEN];

    switch (address->sa.sa_family) {
    case AF_INET:
        inet_ntop(AF_INET, &address->in.sin_addr, host, sizeof(host));
        snprintf(buffer, buffer_bytes, "%s:%u", host, ntohs(address->in.sin_port));
        break;
    case AF_INET6:
        inet_ntop(AF_INET6, &address->in6.sin6_addr, host, sizeof(host));
        snprintf(buffer, buffer_bytes, "[%s]:%u", host, ntohs(address->in6.sin6_port));
        break;
    default:
        snprintf(buffer, buffer_bytes, "peer %llu", (unsigned long long)address->peer.id);
    }
    return buffer;
}

bool address_equal(const struct address *a, const struct address *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

bool address_is_loopback(const struct address *address)
{
    const struct in6_addr *v6 = &address->in6.sin6_addr;

    switch (address->sa.sa_family) {
    case AF_INET:
        return ntohl(address->in.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    case AF_INET6:
        return IN6_IS_ADDR_LOOPBACK(v6) || (IN6_IS_ADDR_V4MAPPED(v6) && v6->s6_addr[12] == IN_LOOPBACKNET);
    default:
        return false;
    }
}
