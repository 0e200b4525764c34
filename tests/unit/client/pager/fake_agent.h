/* fake_agent.h - what the fake lane needs of fake_agent.c */
#ifndef CXE_TEST_FAKE_AGENT_H
#define CXE_TEST_FAKE_AGENT_H

#include "lane.h"

/* Does the operation wait for a page that the server has in hand? */
bool fake_agent_parked(const struct op *op);
/* Around the reads and write-backs of an agent. -EOWNERDEAD: it is no more. */
int fake_agent_enter(const struct op *op);
void fake_agent_leave(void);
/* Attaching, detaching, answers, evictions. */
int fake_agent_serve(struct op *op);
/* Those to be sent now; returns how many. */
unsigned fake_agent_snoops(struct wire_bi_snp *snoops, unsigned most);

#endif
