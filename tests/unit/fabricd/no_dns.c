/* no_dns.c - tests ask no name server: in place of the C library's, a getaddrinfo that knows numbers only */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdlib.h>

/* One block of memory, so that freeaddrinfo below has one thing to free. */
struct answer {
    struct addrinfo info;
    struct sockaddr_in6 address; /* or a sockaddr_in, which is smaller */
};

int getaddrinfo(const char *restrict name, const char *restrict service,
                const struct addrinfo *restrict hints, struct addrinfo **restrict list_out)
{
    struct answer *answer = calloc(1, sizeof(*answer));
    struct sockaddr_in *v4 = (struct sockaddr_in *)&answer->address;

    (void)service;
    if (!answer)
        return EAI_MEMORY;
    answer->info.ai_addr = (struct sockaddr *)&answer->address;
    answer->info.ai_socktype = hints ? hints->ai_socktype : 0;
    if (inet_pton(AF_INET, name, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        answer->info.ai_addrlen = sizeof(*v4);
    } else if (inet_pton(AF_INET6, name, &answer->address.sin6_addr) == 1) {
        answer->address.sin6_family = AF_INET6;
        answer->info.ai_addrlen = sizeof(answer->address);
    } else {
        free(answer);
        return EAI_NONAME;
    }
    answer->info.ai_family = answer->info.ai_addr->sa_family;
    *list_out = &answer->info;
    return 0;
}

void freeaddrinfo(struct addrinfo *list)
{
    free(list); /* the first member of its block */
}
