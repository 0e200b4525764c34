/* explore.h - every state that can be reached, each once */
#ifndef MODEL_EXPLORE_H
#define MODEL_EXPLORE_H

#include "world.h"

struct found {
    uint64_t states, steps;
    const char *wrong; /* NULL: nothing; then from every state the end can be reached */
    char trace[8192];  /* the shortest way to it */
};

/* Explores from the start until something is wrong or everything was seen. */
void explore(const struct setup *setup, struct found *found);

#endif
