/* mailbox.h - messages to a worker from other threads
 *
 * A message is memory of whoever owns it, with a `struct mail` in it, so that to post cannot fail and needs
 * no allocation. A worker looks into its mailbox in each turn of its loop, at the price of one load, and is
 * woken if it sleeps.
 */
#ifndef FABRICD_MAILBOX_H
#define FABRICD_MAILBOX_H

#include <stdbool.h>
#include <stdint.h>

struct mailboxes;

/* What a message is about: its receiver knows the structure around it by that. */
enum mail_kind {
    MAIL_WAITER,  /* struct coherence_waiter: what it waited for may have come */
    MAIL_BINDING, /* struct coherence_binding: there is news for the agent */
    MAIL_ORDER,   /* struct worker_order */
};

struct mail {
    uint8_t kind;      /* enum mail_kind; fixed */
    uint8_t posted;    /* atomic: it lies in a mailbox */
    struct mail *next; /* the mailbox's */
};

/* For workers 0..workers-1. -ENOMEM, or what eventfd said. */
int mailboxes_open(unsigned workers, struct mailboxes **mailboxes_out);
void mailboxes_close(struct mailboxes *mailboxes);

/* Any thread; does not block. Does nothing if the mail lies in a mailbox already: its receiver looks at what
 * it says only after taking it out. A mail always goes to the same worker. */
void mailbox_post(struct mailboxes *mailboxes, unsigned worker, struct mail *mail);

/* Ends the worker's sleep, or its next one. Any thread. */
void mailbox_wake(struct mailboxes *mailboxes, unsigned worker);

/* The rest by the worker's own thread. */

/* All that is there, as a chain for mailbox_next; NULL: nothing. */
struct mail *mailbox_take(struct mailboxes *mailboxes, unsigned worker);
/* Takes the oldest off the chain; from here on it may be posted again. NULL: that was all. */
struct mail *mailbox_next(struct mail **chain);
/* Does it lie in a mailbox, or in a chain that is being worked off? Then it must not be freed yet. Stable
 * once nobody else knows the mail any more. */
bool mail_posted(const struct mail *mail);

/* Readable when the worker was woken. */
int mailbox_fd(const struct mailboxes *mailboxes, unsigned worker);
/* Around a sleep: who posts from now on wakes. False: there is mail, do not sleep. */
bool mailbox_doze(struct mailboxes *mailboxes, unsigned worker);
void mailbox_rise(struct mailboxes *mailboxes, unsigned worker);

#endif
