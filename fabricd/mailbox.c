/* mailbox.c - see mailbox.h
 *
 * A mailbox is a stack that many push and one takes whole. That nobody sleeps on mail: the sender pushes,
 * then looks at `dozing`; the worker sets `dozing`, then looks at the stack; both with sequential
 * consistency, so one of them sees the other.
 */
#include "mailbox.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "atomic.h"
#include "check.h"
#include "limits.h"
#include "log.h"

struct mailbox {
    _Alignas(64) struct mail *newest; /* atomic */
    bool dozing;                      /* atomic; written by the worker */
    int fd;
};

struct mailboxes {
    unsigned workers;
    struct mailbox boxes[];
};

int mailboxes_open(unsigned workers, struct mailboxes **mailboxes_out)
{
    size_t bytes = sizeof(struct mailboxes) + workers * sizeof(struct mailbox);
    struct mailboxes *mailboxes;

    CHECK(workers > 0 && workers <= WORKERS_MAX);
    mailboxes = aligned_alloc(64, bytes);
    if (!mailboxes)
        return -ENOMEM;
    memset(mailboxes, 0, bytes);
    while (mailboxes->workers < workers) {
        int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

        if (fd < 0) {
            int error = -errno;

            mailboxes_close(mailboxes);
            return error;
        }
        mailboxes->boxes[mailboxes->workers++].fd = fd;
    }
    *mailboxes_out = mailboxes;
    return 0;
}

void mailboxes_close(struct mailboxes *mailboxes)
{
    if (!mailboxes)
        return;
    for (unsigned i = 0; i < mailboxes->workers; i++)
        close(mailboxes->boxes[i].fd);
    free(mailboxes);
}

void mailbox_wake(struct mailboxes *mailboxes, unsigned worker)
{
    const uint64_t one = 1;

    if (write(mailboxes->boxes[worker].fd, &one, sizeof(one)) < 0)
        log_warn("cannot wake worker %u: %s", worker, strerror(errno));
}

void mailbox_post(struct mailboxes *mailboxes, unsigned worker, struct mail *mail)
{
    struct mailbox *box = &mailboxes->boxes[worker];
    struct mail *newest;

    if (exchange_acq_rel(&mail->posted, 1))
        return;
    newest = load_relaxed(&box->newest);
    do
        mail->next = newest;
    while (!cas_seq_cst(&box->newest, &newest, mail));
    if (load_seq_cst(&box->dozing))
        mailbox_wake(mailboxes, worker);
}

struct mail *mailbox_take(struct mailboxes *mailboxes, unsigned worker)
{
    struct mailbox *box = &mailboxes->boxes[worker];
    struct mail *mail, *chain = NULL;

    if (!load_relaxed(&box->newest))
        return NULL;
    mail = exchange_acq_rel(&box->newest, NULL);
    while (mail) { /* the newest is first: turn them round */
        struct mail *next = mail->next;

        mail->next = chain;
        chain = mail;
        mail = next;
    }
    return chain;
}

struct mail *mailbox_next(struct mail **chain)
{
    struct mail *mail = *chain;

    if (!mail)
        return NULL;
    *chain = mail->next;
    /* Partner: the same exchange in mailbox_post. Who found it posted said so before we look. */
    exchange_acq_rel(&mail->posted, 0);
    return mail;
}

bool mail_posted(const struct mail *mail)
{
    return load_acquire(&mail->posted);
}

int mailbox_fd(const struct mailboxes *mailboxes, unsigned worker)
{
    return mailboxes->boxes[worker].fd;
}

bool mailbox_doze(struct mailboxes *mailboxes, unsigned worker)
{
    struct mailbox *box = &mailboxes->boxes[worker];

    store_seq_cst(&box->dozing, true);
    if (!load_seq_cst(&box->newest))
        return true;
    store_relaxed(&box->dozing, false);
    return false;
}

void mailbox_rise(struct mailboxes *mailboxes, unsigned worker)
{
    struct mailbox *box = &mailboxes->boxes[worker];
    uint64_t ignored;

    store_relaxed(&box->dozing, false);
    if (read(box->fd, &ignored, sizeof(ignored)) < 0)
        return; /* nobody called; a frame or a time did */
}
