/* How much of a training step can be shared among threads, and what that promises. */
#ifndef BENCH_SERIAL_H
#define BENCH_SERIAL_H

#include "step.h"

/* Prints the serial remainder of a step, its tasks, the predicted speed-up for 2 .. 16 threads, and the loops that cost
 * most of it at 16; or a line of JSON. */
void bench_serial(const bench_step_options *options, bool json);

#endif
