/* One batch through a model to its loss. Operations of a model and the loss are the caller's: what comes out is checked
 * before it is used. */
#include "train/forward.h"

#include "base/failure.h"
#include "tensor/node.h"

static rbe_status check_loss(const rbe_tape *tape, const rbe_var *loss) {
    RBE_TRY(rbe_tape_report(tape));
    if (loss->tape != tape) return rbe_fail(RBE_INVALID_ARGUMENT, "the loss is a variable of another tape");
    char shape[RBE_SHAPE_TEXT];
    if (rbe_tensor_count(&loss->value) == 1) return RBE_OK;
    return rbe_fail(RBE_INVALID_ARGUMENT, "expected a loss of one value, found shape %s",
                    rbe_shape_text(&loss->value, shape));
}

rbe_status rbe_batch_forward(const rbe_model *model, rbe_tape *tape, const rbe_batch *batch, const rbe_loss *loss,
                             rbe_var **output, rbe_var **value) {
    rbe_loss chosen = *loss;
    RBE_TRY(rbe_loss_choose(&chosen, batch->labels, batch->targets.data));
    if (batch->tokens && batch->token_width < 1)
        return rbe_fail(RBE_INVALID_ARGUMENT, "the batch has sequences of ids, expected a token_width of at least 1");
    *output =
        rbe_model_forward(model, batch->tokens ? rbe_input_ids(tape, batch->tokens, batch->rows, batch->token_width)
                                               : rbe_input(tape, batch->x));
    RBE_TRY(rbe_tape_report(tape));
    size_t failures = rbe_failure_count();
    *value = chosen.function(chosen.user, tape, *output, batch);
    if (*value) return check_loss(tape, *value);
    RBE_TRY(rbe_tape_report(tape));
    if (rbe_failure_count() != failures) return rbe_last_status();
    return rbe_fail(RBE_INVALID_ARGUMENT, "expected a loss, found NULL");
}
