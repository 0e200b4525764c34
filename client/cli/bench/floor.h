/* floor.h - the least that the machine takes for the same bytes: what the subject is compared with */
#ifndef CXE_BENCH_FLOOR_H
#define CXE_BENCH_FLOOR_H

#include <stddef.h>

#include "bench.h"

/* The frames of an operation and its answer, as they go over the wire. */
struct floor_frames {
    size_t request_bytes;
    size_t answer_bytes;
};
struct floor_frames floor_frames_of(unsigned opcode, unsigned line_count); /* enum opcode */

/* A process that answers, on a socket or a libfabric connection of its own, and this end of it. */
struct floor_echo;

/* UDP over loopback, plain system calls: a connected socket here, an unconnected one there, both spinning.
 * The answering process sleeps when nothing comes for a moment, as fabricd does. */
int floor_udp_open(int server_cpu, struct floor_echo **echo_out);
/* A libfabric message endpoint of `provider`, both ends polling without waiting. Between rounds the answering
 * process sleeps. */
int floor_ofi_open(const char *provider, int server_cpu, struct floor_echo **echo_out);
/* Ends the answering process. NULL is allowed. */
void floor_close(struct floor_echo *echo);

/* A probe's context: ping-pong of these frames, one at a time. */
struct floor_pingpong {
    struct floor_echo *echo;
    struct floor_frames frames;
};
int floor_pingpong_run(void *context, uint64_t duration_ns, struct bench_sample *sample);

/* A local page fault resolved by the thread that met it: SIGBUS, UFFDIO_COPY, pages in random order. */
struct floor_fault;
int floor_fault_open(struct floor_fault **fault_out);
void floor_fault_close(struct floor_fault *fault);
int floor_fault_run(void *context, uint64_t duration_ns, struct bench_sample *sample);

/* Waking a thread: from the call (a write to what it polls) until it runs. It sleeps as the thread does that
 * answers for a coherent mapping. */
struct floor_wake;
int floor_wake_open(struct floor_wake **wake_out);
void floor_wake_close(struct floor_wake *wake);
int floor_wake_run(void *context, uint64_t duration_ns, struct bench_sample *sample);

#endif
