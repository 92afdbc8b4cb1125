/* A transport as slow as one likes: ranks of this process (rbe_comm_threads_new) behind a wire of a given rate in each
 * direction and rounds of 25 microseconds. A call's bytes start to travel when all ranks have called, and take as long as
 * they would there; who waits for them sleeps.
 */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include "rbe/comm.h"

typedef struct bench_wire {
    rbe_comm comm;          /* what rbe_fit gets */
    const rbe_comm *behind; /* what does the work; NULL: nothing */
    double gbit;            /* 0: no limit */
    double bytes, seconds;  /* sent by this rank; in sums */
} bench_wire;

/* `background`: as rbe_comm has it. behind NULL: rank 0 of `size` of which the others do at the same time what it does, and
 * are not there. */
void bench_wire_make(bench_wire *wire, const rbe_comm *behind, size_t size, double gbit, bool background);

#endif
