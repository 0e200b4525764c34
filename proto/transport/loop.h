/* loop.h - a network inside the process, on a clock that only its owner moves
 *
 * For tests and the simulator: what happens depends on the calls alone, so a run can be repeated exactly.
 * A frame sent at time t can be received from t + latency on, in the order of sending. One thread owns the
 * network and all its endpoints. There is no descriptor to sleep on (fd is -1): advance the clock instead.
 */
#ifndef CXE_TRANSPORT_LOOP_H
#define CXE_TRANSPORT_LOOP_H

#include "transport.h"

#define LOOP_INBOX_FRAMES 4096 /* frames under way to one endpoint; more are refused with -EAGAIN */

struct loop_network;

/* Time begins at 1, since 0 often means "never". -ENOMEM. */
int loop_network_open(uint64_t latency_ns, struct loop_network **network_out);

/* After the last of its endpoints was closed. */
void loop_network_close(struct loop_network *network);

/* The network's time. The argument is a struct loop_network: fit for fault_wrap's clock. */
uint64_t loop_now_ns(void *network);

void loop_advance_ns(struct loop_network *network, uint64_t ns);

/* When the next frame arrives anywhere; UINT64_MAX: none is under way. May be in the past. */
uint64_t loop_next_ns(const struct loop_network *network);

/* An endpoint that anyone can send to, at the address in its `local` (a number, AF_UNSPEC). -ENOMEM. */
int loop_listen(struct loop_network *network, struct endpoint **endpoint_out);

/* An endpoint connected to `server`. When nobody is there, the frame is lost and the call after the send
 * reports -ECONNREFUSED, as it does on a host's UDP. -ENOMEM. */
int loop_connect(struct loop_network *network, const struct address *server, struct endpoint **endpoint_out);

#endif
