/* One batch through a model to its loss. Operations of a model are the caller's, so that what comes out is checked
 * before labels are read by it. */
#include "train/batch.h"

#include "tensor/node.h"

rbe_status rbe_batch_forward(const rbe_model *model, rbe_tape *tape, const rbe_batch *batch, rbe_var **logits,
                             rbe_var **loss) {
    *logits = rbe_model_forward(model, rbe_input(tape, batch->x));
    RBE_TRY(rbe_tape_report(tape));
    size_t rows = rbe_tensor_rows(rbe_value(*logits));
    if (rows != batch->rows)
        return rbe_fail(RBE_INPUT_DIMENSION_MISMATCH, "the model gave %zu rows of outputs for %zu samples", rows,
                        batch->rows);
    *loss = rbe_cross_entropy(*logits, batch->labels);
    return rbe_tape_report(tape);
}
