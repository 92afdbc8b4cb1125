/* One batch through a model to its loss: what a training step and an evaluation begin with. */
#ifndef RBE_TRAIN_BATCH_H
#define RBE_TRAIN_BATCH_H

#include "rbe/train.h"

/* Logits, a row for each sample (else INPUT_DIMENSION_MISMATCH), and their mean cross-entropy. Fails as the tape does,
 * with the first error that it met. */
rbe_status rbe_batch_forward(const rbe_model *model, rbe_tape *tape, const rbe_batch *batch, rbe_var **logits,
                             rbe_var **loss);

#endif
