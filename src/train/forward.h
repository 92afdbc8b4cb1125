/* One batch through a model to its loss: what a training step and an evaluation begin with. */
#ifndef RBE_TRAIN_FORWARD_H
#define RBE_TRAIN_FORWARD_H

#include "rbe/train.h"

/* The model's output and the loss, a variable of one value on this tape. Fails as the tape does, with the first error
 * that it met, or as the loss did. */
rbe_status rbe_batch_forward(const rbe_model *model, rbe_tape *tape, const rbe_batch *batch, const rbe_loss *loss,
                             rbe_var **output, rbe_var **value);

/* What a batch counts in a mean over several: the sum of its weights, which are 1 unless it has some. */
double rbe_batch_weight(const rbe_batch *batch);

/* Puts the loss that the data suggest in the place of none. INVALID_ARGUMENT if they suggest none. */
rbe_status rbe_loss_choose(rbe_loss *loss, bool has_labels, bool has_targets);

#endif
