/* history.c - what an event means, and how it is printed; see history.h */
#include "history.h"

#include <inttypes.h>
#include <stdio.h>

bool history_step(const struct history_event *event, uint64_t value, uint64_t *value_out)
{
    bool stores = event->kind != HISTORY_READ && (event->kind != HISTORY_CAS || value == event->expected);

    if (!event->unknown && event->kind != HISTORY_WRITE && event->seen != value)
        return false;
    *value_out = value;
    if (stores)
        *value_out = event->kind == HISTORY_ADD ? value + event->argument : event->argument;
    return true;
}

const char *history_print(const struct history_event *event)
{
    static const char *const names[] = {"read", "write", "swap", "cas", "add"};
    static _Thread_local char text[200];
    int length = snprintf(text, sizeof(text), "process %u: %s", event->process, names[event->kind]);

    if (event->kind == HISTORY_CAS)
        length += snprintf(text + length, sizeof(text) - (size_t)length, " %" PRIu64 " ->", event->expected);
    if (event->kind != HISTORY_READ)
        length += snprintf(text + length, sizeof(text) - (size_t)length, " %" PRIu64, event->argument);
    if (event->unknown)
        snprintf(text + length, sizeof(text) - (size_t)length, ", from %" PRIu64 " on, outcome unknown",
                 event->invoked_ns);
    else
        snprintf(text + length, sizeof(text) - (size_t)length,
                 ", saw %" PRIu64 ", from %" PRIu64 " to %" PRIu64, event->seen, event->invoked_ns,
                 event->returned_ns);
    return text;
}
