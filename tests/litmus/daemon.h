/* daemon.h - a real fabricd in a process of its own, on loopback */
#ifndef TESTS_LITMUS_DAEMON_H
#define TESTS_LITMUS_DAEMON_H

#include <stdint.h>
#include <sys/types.h>

#include "cxe.h"

struct daemon {
    pid_t pid;
    char directory[32]; /* its runtime directory, ours to remove */
    char address[32];
    char key_file[64]; /* where its public key lies */
};

/* Starts it and waits until it says who it is. Before the caller has threads: it forks. Fails the test
 * otherwise. `fault` may be NULL. */
void daemon_start(struct daemon *daemon, unsigned workers, const char *fault);
/* It must end well. */
void daemon_stop(struct daemon *daemon);

/* Any process may connect. Negative errno. */
int daemon_connect(const struct daemon *daemon, const char *fault, enum cxe_encryption encryption,
                   struct cxe_connection **connection_out);

#endif
