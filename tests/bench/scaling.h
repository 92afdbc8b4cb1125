/* A training step on several threads against one. */
#ifndef BENCH_SCALING_H
#define BENCH_SCALING_H

#include "step.h"

/* Prints the time of a step on so many threads over that on one, taken in turns, by the clock on the wall. busy: beside
 * a loop that never pauses, on the second of the program's processors. */
void bench_scaling(const bench_step_options *options, size_t threads, bool busy, bool json);

#endif
