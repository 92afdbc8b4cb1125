/* A whole training step, compressed against dense. */
#ifndef BENCH_STEP_H
#define BENCH_STEP_H

#include <stddef.h>

#include "interleaved.h"

typedef struct bench_step_options {
    size_t inputs, hidden, batch, block, group;
    double ratio;
    bool one_thread, quick;
} bench_step_options;

typedef struct bench_step_result {
    bench_timing timing;
    double error;              /* of the logits, against the same network with decompressed weights */
    size_t values;             /* of the compressed network */
    size_t bytes, dense_bytes; /* parameters with positions, gradients and the optimiser's state */
} bench_step_result;

bench_step_result bench_step(const bench_step_options *options);

#endif
