/* One training step:
 *
 *     batch -> model -> loss -> backward -> on_sum -> on_backward -> clip, optimiser -> on_step
 *
 * A step of several batches has the gradient of one large batch. With W_b the weight of batch b (its rows, or the sum
 * of their weights) and L_b its mean loss, the large one's loss is sum_b W_b L_b / sum_b W_b: the gradients of W_b L_b
 * add up in the parameters, and are divided by the whole weight before on_backward. So it is, too, where on_sum adds the
 * gradients of other ranks.
 */
#include "train/step.h"

#include <math.h>

#include "base/failure.h"
#include "nn/param.h"
#include "optim/optim_internal.h"
#include "tensor/node.h"
#include "train/forward.h"

rbe_status rbe_callback_failed(rbe_status status, size_t failures, const char *what) {
    if (rbe_failure_count() != failures && rbe_last_status() == status) return status;
    if (status == RBE_STOPPED) return rbe_fail(status, "%s", what);
    return rbe_fail(status, "%s: %s", what, rbe_status_message(status));
}

static rbe_status check_step(const rbe_step *step, const rbe_batch *batch) {
    if (!step || !batch)
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_train_step: the %s is NULL", step ? "batch" : "step");
    RBE_TRY(rbe_model_status(step->model));
    if (!step->optim || !step->tape)
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_train_step: the %s is NULL; did its constructor fail?",
                        step->optim ? "tape" : "optimiser");
    return RBE_OK;
}

static rbe_status call_hook(rbe_step *step, rbe_step_hook hook) {
    size_t failures = rbe_failure_count();
    rbe_status status = hook ? hook(step->user, step) : RBE_OK;
    return status == RBE_OK ? RBE_OK : rbe_callback_failed(status, failures, "a callback stopped the training step");
}

/* Says where on the tape a value first was not finite, or a gradient, for which the backward pass runs once more and keeps
 * them all. If none on the tape was, it was a parameter's gradient, which the optimiser has named already. */
static rbe_status locate_instability(rbe_tape *tape) {
    if (rbe_tape_check_finite(tape) == RBE_OK && rbe_backward(tape->loss) == RBE_OK) rbe_tape_check_finite(tape);
    return rbe_fail(RBE_NUMERICAL_INSTABILITY, "%s", rbe_last_error());
}

/* ---- gradients of several batches ---------------------------------------------------------------------------- */

static bool adds_up(const rbe_step *step) { return step->accumulate > 1 || step->on_sum; }

static rbe_status scale_gradients(rbe_step *step, double factor) {
    size_t count;
    float *gradients = rbe_model_gradients(step->model, &count);
    if (!gradients) return rbe_last_status();
    rbe_gradient_scale(gradients, count, (float)factor);
    rbe_param *param;
    for (size_t n = 0; (param = rbe_optim_next_beside(step->optim, &n));)
        rbe_gradient_scale(param->grad, param->count, (float)factor);
    return RBE_OK;
}

/* ---- the step ------------------------------------------------------------------------------------------------ */

/* Adds the gradients of one batch to those that wait. */
static rbe_status add_batch(rbe_step *step, const rbe_batch *batch) {
    double weight = rbe_batch_weight(batch);
    rbe_var *loss;
    RBE_TRY(rbe_batch_forward(step->model, step->tape, batch, &step->loss, &step->output, &loss));
    step->batch_loss = (double)rbe_item(loss);
    if (adds_up(step)) loss = rbe_scale(loss, (float)weight);
    RBE_TRY(rbe_backward_frugal(loss));
    if (!isfinite(step->batch_loss)) return locate_instability(step->tape);
    step->waiting++;
    step->weight += weight;
    return RBE_OK;
}

static rbe_status take_step(rbe_step *step) {
    RBE_TRY(call_hook(step, step->on_sum));
    if (adds_up(step)) RBE_TRY(scale_gradients(step, step->weight > 0 ? 1.0 / step->weight : 0.0));
    step->waiting = 0;
    step->weight = 0;
    RBE_TRY(call_hook(step, step->on_backward));
    rbe_status status = rbe_optim_step(step->optim);
    if (status == RBE_NUMERICAL_INSTABILITY) return locate_instability(step->tape);
    if (status != RBE_OK) return status;
    step->done = true;
    return call_hook(step, step->on_step);
}

rbe_status rbe_train_step(rbe_step *step, const rbe_batch *batch) {
    RBE_TRY(check_step(step, batch));
    if (step->done) rbe_zero_grad(step->model);
    step->done = false;
    rbe_tape_reset(step->tape);
    rbe_status status = add_batch(step, batch);
    if (status == RBE_OK && step->waiting >= step->accumulate) status = take_step(step);
    if (status == RBE_OK) return RBE_OK;
    rbe_zero_grad(step->model);
    step->waiting = 0;
    step->weight = 0;
    return status;
}
