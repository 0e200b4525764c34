/* test_mailbox.c - every mail arrives, once, in order, and nobody sleeps on it */
#include "mailbox.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>

#include "atomic.h"
#include "check.h"
#include "memory_fixture.h"

static struct mailboxes *open_boxes(unsigned workers)
{
    struct mailboxes *mailboxes;

    cr_assert_eq(mailboxes_open(workers, &mailboxes), 0);
    return mailboxes;
}

Test(mailbox, an_empty_one_gives_nothing)
{
    struct mailboxes *mailboxes = open_boxes(2);
    struct mail *chain = mailbox_take(mailboxes, 1);

    cr_expect_null(chain);
    cr_expect_null(mailbox_next(&chain));
    mailboxes_close(mailboxes);
}

Test(mailbox, the_oldest_comes_first)
{
    struct mailboxes *mailboxes = open_boxes(2);
    struct mail mails[4] = {0}, *chain;

    for (unsigned i = 0; i < 4; i++)
        mailbox_post(mailboxes, 1, &mails[i]);
    cr_expect_null(mailbox_take(mailboxes, 0));
    chain = mailbox_take(mailboxes, 1);
    for (unsigned i = 0; i < 4; i++)
        cr_expect_eq(mailbox_next(&chain), &mails[i]);
    cr_expect_null(mailbox_next(&chain));
    mailboxes_close(mailboxes);
}

Test(mailbox, a_mail_lies_in_it_once)
{
    struct mailboxes *mailboxes = open_boxes(1);
    struct mail mail = {0}, *chain;

    cr_expect_not(mail_posted(&mail));
    mailbox_post(mailboxes, 0, &mail);
    mailbox_post(mailboxes, 0, &mail);
    chain = mailbox_take(mailboxes, 0);
    cr_expect(mail_posted(&mail), "in a chain it is not free either");
    cr_expect_eq(mailbox_next(&chain), &mail);
    cr_expect_not(mail_posted(&mail));
    cr_expect_null(mailbox_next(&chain));
    mailbox_post(mailboxes, 0, &mail);
    chain = mailbox_take(mailboxes, 0);
    cr_expect_eq(mailbox_next(&chain), &mail);
    mailboxes_close(mailboxes);
}

static bool is_called(const struct mailboxes *mailboxes, unsigned worker)
{
    struct pollfd readable = {.fd = mailbox_fd(mailboxes, worker), .events = POLLIN};

    return poll(&readable, 1, 0) == 1;
}

Test(mailbox, only_who_sleeps_is_woken)
{
    struct mailboxes *mailboxes = open_boxes(1);
    struct mail mails[3] = {0};

    mailbox_post(mailboxes, 0, &mails[0]);
    cr_expect_not(is_called(mailboxes, 0));
    cr_expect_not(mailbox_doze(mailboxes, 0), "there is mail");
    mailbox_post(mailboxes, 0, &mails[1]);
    cr_expect_not(is_called(mailboxes, 0), "it did not go to sleep");
    mailbox_take(mailboxes, 0);
    cr_expect(mailbox_doze(mailboxes, 0));
    mailbox_post(mailboxes, 0, &mails[2]);
    cr_expect(is_called(mailboxes, 0));
    mailbox_rise(mailboxes, 0);
    cr_expect_not(is_called(mailboxes, 0));
    mailbox_wake(mailboxes, 0);
    cr_expect(is_called(mailboxes, 0));
    mailboxes_close(mailboxes);
}

#define SENDERS 3
#define MAILS   20000

struct letter {
    struct mail mail; /* first */
    uint64_t asked;   /* how often it was posted, under its sender's eyes; atomic */
    uint64_t seen;    /* what the receiver read of that last */
};

static struct {
    struct mailboxes *mailboxes;
    struct letter letters[SENDERS];
    unsigned finished; /* senders; atomic */
} shared;

static void *send_many(void *argument)
{
    struct letter *letter = argument;

    for (uint64_t i = 1; i <= MAILS; i++) {
        store_relaxed(&letter->asked, i);
        mailbox_post(shared.mailboxes, 0, &letter->mail);
    }
    fetch_add_acq_rel(&shared.finished, 1);
    mailbox_wake(shared.mailboxes, 0);
    return NULL;
}

/* What was written before a post is seen by whoever takes the mail, also if it lay there already. */
Test(mailbox, nothing_is_lost_between_threads, .timeout = 120)
{
    pthread_t threads[SENDERS];
    bool over = false;

    shared.mailboxes = open_boxes(1);
    for (unsigned i = 0; i < SENDERS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, send_many, &shared.letters[i]), 0);
    while (!over) {
        struct mail *chain, *mail;

        over = load_acquire(&shared.finished) == SENDERS; /* before the last look */
        chain = mailbox_take(shared.mailboxes, 0);
        while ((mail = mailbox_next(&chain))) {
            struct letter *letter = (struct letter *)mail;

            letter->seen = load_relaxed(&letter->asked);
        }
        if (!over && mailbox_doze(shared.mailboxes, 0)) {
            struct pollfd readable = {.fd = mailbox_fd(shared.mailboxes, 0), .events = POLLIN};

            cr_assert_geq(poll(&readable, 1, 60000), 1, "nobody woke the receiver");
            mailbox_rise(shared.mailboxes, 0);
        }
    }
    for (unsigned i = 0; i < SENDERS; i++) {
        pthread_join(threads[i], NULL);
        cr_expect_eq(shared.letters[i].seen, MAILS);
    }
    mailboxes_close(shared.mailboxes);
}
