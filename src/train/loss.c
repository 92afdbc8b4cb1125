/* The losses that a training knows, each the mean of the samples' losses l_i, weighted if the samples have weights:
 *
 *     sum_i w_i l_i / sum_i w_i        0 if all weights are
 *
 *     cross-entropy        l_i = mean over the sample's labels of -log softmax(output)[label]
 *     mean squared error   l_i = mean over the sample's targets of (output - target)^2
 *
 * Without weights each is one operation; with them it is built of others, with the factors w_i / sum w as an input.
 */
#include <string.h>

#include "tensor/node.h"
#include "train/forward.h"

double rbe_batch_weight(const rbe_batch *batch) {
    if (!batch->weights) return (double)batch->rows;
    double sum = 0.0;
    for (size_t n = 0; n < batch->rows; n++) sum += (double)batch->weights[n];
    return sum;
}

/* An input of zeros beside `output`, of the tape's memory: NULL, with the error on the tape, when that is short. */
static float *take_zeros(rbe_var *output, size_t count) {
    float *zeros = rbe_arena_take(rbe_tape_arena(output), count, sizeof *zeros);
    if (zeros) return memset(zeros, 0, count * sizeof *zeros);
    rbe_tape_fail_last(output);
    return NULL;
}

/* w_i / sum w, divided by the number of values over which a sample's mean is taken. */
static float factor_of(const rbe_batch *batch, size_t sample, double sum, size_t values) {
    return sum > 0 ? (float)((double)batch->weights[sample] / sum / (double)values) : 0.0f;
}

/* - sum of factors times log-probabilities: the factors stand at the labels, with zeros elsewhere. */
static rbe_var *weighted_cross_entropy(rbe_tape *tape, rbe_var *logits, const rbe_batch *batch) {
    size_t columns = rbe_tensor_columns(&logits->value), labels = batch->rows * batch->label_width;
    double sum = rbe_batch_weight(batch);
    float *factors = take_zeros(logits, labels * columns);
    for (size_t n = 0; factors && n < labels; n++) {
        int32_t label = batch->labels[n];
        if (label < 0 || (size_t)label >= columns)
            return rbe_tape_fail(logits, RBE_INVALID_ARGUMENT,
                                 "cross_entropy: row %zu: expected a label in 0 .. %zu, found %d", n, columns - 1,
                                 (int)label);
        factors[n * columns + (size_t)label] = -factor_of(batch, n / batch->label_width, sum, batch->label_width);
    }
    rbe_tensor at_labels = rbe_tensor_shaped(factors, logits->value.dims, logits->value.shape);
    return rbe_sum(rbe_mul(rbe_log_softmax(logits), rbe_input(tape, at_labels)));
}

rbe_var *rbe_loss_cross_entropy(void *user, rbe_tape *tape, rbe_var *output, const rbe_batch *batch) {
    (void)user;
    if (!rbe_ok(output)) return output;
    if (!batch->labels) return rbe_tape_fail(output, RBE_INVALID_ARGUMENT, "cross_entropy: the samples have no labels");
    size_t rows = rbe_tensor_rows(&output->value);
    if (rows != batch->rows * batch->label_width)
        return rbe_tape_fail(output, RBE_INPUT_DIMENSION_MISMATCH,
                             "the model gave %zu rows of outputs for %zu samples (labels of each: %zu)", rows,
                             batch->rows, batch->label_width);
    if (!batch->weights || rbe_tensor_columns(&output->value) < 2) return rbe_cross_entropy(output, batch->labels);
    return weighted_cross_entropy(tape, output, batch);
}

static rbe_var *weighted_squared_error(rbe_tape *tape, rbe_var *output, rbe_var *target, const rbe_batch *batch) {
    double sum = rbe_batch_weight(batch);
    float *factors = take_zeros(output, batch->rows);
    for (size_t n = 0; factors && n < batch->rows; n++)
        factors[n] = factor_of(batch, n, sum, rbe_tensor_columns(&batch->targets));
    rbe_var *difference = rbe_sub(output, target);
    rbe_var *column = rbe_input(tape, rbe_tensor_2d(factors, batch->rows, 1));
    return rbe_sum(rbe_mul(rbe_mul(difference, difference), column));
}

rbe_var *rbe_loss_mean_squared_error(void *user, rbe_tape *tape, rbe_var *output, const rbe_batch *batch) {
    (void)user;
    if (!rbe_ok(output)) return output;
    if (!batch->targets.data)
        return rbe_tape_fail(output, RBE_INVALID_ARGUMENT, "mean_squared_error: the samples have no targets");
    rbe_var *target = rbe_input(tape, batch->targets);
    if (!batch->weights || !rbe_same_shape(&output->value, &batch->targets))
        return rbe_mean_squared_error(output, target);
    return weighted_squared_error(tape, output, target, batch);
}

rbe_status rbe_loss_choose(rbe_loss *loss, bool has_labels, bool has_targets) {
    if (loss->function) return RBE_OK;
    if (has_labels == has_targets)
        return rbe_fail(RBE_INVALID_ARGUMENT, "expected a loss, for samples that have %s",
                        has_labels ? "labels and targets" : "neither labels nor targets");
    loss->function = has_labels ? rbe_loss_cross_entropy : rbe_loss_mean_squared_error;
    return RBE_OK;
}
