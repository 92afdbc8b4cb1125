/* How much a step of rbe_fit takes from its tape. */
#ifndef RBE_TRAIN_MEMORY_H
#define RBE_TRAIN_MEMORY_H

#include "rbe/train.h"

/* Input, model and cross-entropy, forward and backward, of `rows` rows: the argument of rbe_tape_reserve. */
size_t rbe_step_tape_bytes(const rbe_model *model, size_t rows);

#endif
