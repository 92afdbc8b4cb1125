/* How much a step of rbe_fit takes from its tape. */
#ifndef RBE_TRAIN_MEMORY_H
#define RBE_TRAIN_MEMORY_H

#include "rbe/train.h"

/* Input, model and cross-entropy, forward and backward, of `rows` rows: the argument of rbe_tape_reserve. */
size_t rbe_step_tape_bytes(const rbe_model *model, size_t rows);

/* Makes room on an empty tape for steps, or forward passes, of `batch` samples of `data`. Of a sequence's many layers few
 * gradients live at a time (rbe_backward_frugal): room for the values is made, and the first steps take what they need
 * beside it. */
rbe_status rbe_step_reserve(rbe_tape *tape, const rbe_model *model, const rbe_dataset *data, size_t batch);

#endif
