/* A whole training step, compressed against dense. */
#ifndef BENCH_STEP_H
#define BENCH_STEP_H

#include <stddef.h>

#include "interleaved.h"
#include "rbe/codec.h"

typedef struct bench_step_options {
    size_t inputs, hidden, batch, block, group;
    double ratio;
    const rbe_transform *row_transform, *column_transform; /* NULL: the layer's default */
    bool one_thread, quick;
} bench_step_options;

/* Two networks and a batch. The steps of the compressed and of the dense network are each a bench_work. */
typedef struct bench_training bench_training;

bench_training *bench_training_new(const bench_step_options *options);
void bench_training_free(bench_training *training);
void bench_step_compressed(void *training);
void bench_step_dense(void *training);

typedef struct bench_step_result {
    bench_timing timing;
    double error; /* of the logits, against the same network with decompressed weights */
    const rbe_transform *row_transform, *column_transform; /* of the first layer */
    size_t values;                                         /* of the compressed network */
    size_t bytes, dense_bytes;           /* parameters with positions, gradients and the optimiser's state */
    double operations, dense_operations; /* floating-point operations of the products, of stored values alone */
} bench_step_result;

bench_step_result bench_step(const bench_step_options *options);

/* The compressed network with frozen hidden layers: a step that trains the head alone, taken in turns with a forward pass
 * in inference; `ratio` is the step's time over the pass's. */
bench_timing bench_head(const bench_step_options *options);

/* A checkpoint of the compressed network and Adam, saved to `path`, taken in turns with a step; `ratio` is the checkpoint's
 * time over the step's. */
bench_timing bench_checkpoint(const bench_step_options *options, const char *path);

#endif
