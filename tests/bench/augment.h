/* What augmentation costs, against the training step that uses the batch. */
#ifndef BENCH_AUGMENT_H
#define BENCH_AUGMENT_H

#include "step.h"

/* A step of inputs-hidden-10 with a compressed layer that takes its inputs as an image, and its batch; taken in turns with
 * a batch of augmented images, affine and elastic. `ratio` is the time of the augmented batch over that of the step. */
bench_timing bench_augment(const bench_step_options *options);

#endif
