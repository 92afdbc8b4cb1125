/* Metrics: what a model's outputs are worth, in sums over batches.
 *
 *     error        share of labels at which the row of outputs is not largest
 *     r2           1 - sum (t - y)^2 / sum (t - mean of t)^2, the means of each target column by itself
 *     perplexity   exp(mean loss)
 *
 * The mean of the targets is known only at the end. So sum (t - mean)^2 is kept up to date with each value t, the n-th
 * of its column:  m' = m + (t - m) / n,  sum += (t - m)(t - m')  (Welford 1962).
 */
#include <math.h>

#include "train/forward.h"

/* ---- error --------------------------------------------------------------------------------------------------- */

enum { WRONG, LABELS, ERROR_SUMS };

/* A row whose values are not numbers has no largest one, and counts as wrong. */
static bool right(const float *row, size_t columns, int32_t label) {
    if (isnan(row[label])) return false;
    for (size_t i = 0; i < columns; i++)
        if (i != (size_t)label && !(row[i] < row[label])) return false;
    return true;
}

static rbe_status add_errors(void *user, double *sums, const rbe_tensor *output, const rbe_batch *batch, double loss) {
    (void)user, (void)loss;
    size_t labels = batch->rows * batch->label_width, columns = rbe_tensor_columns(output);
    if (!batch->labels) return rbe_fail(RBE_INVALID_ARGUMENT, "error: the samples have no labels");
    if (rbe_tensor_rows(output) != labels)
        return rbe_fail(RBE_INPUT_DIMENSION_MISMATCH,
                        "error: expected a row of outputs for each of %zu labels, found "
                        "%zu",
                        labels, rbe_tensor_rows(output));
    for (size_t n = 0; n < labels; n++) {
        int32_t label = batch->labels[n];
        if (label < 0 || (size_t)label >= columns)
            return rbe_fail(RBE_INVALID_ARGUMENT,
                            "error: row %zu: expected a label in 0 .. %zu, found %d (another "
                            "loss than a cross-entropy may need another metric)",
                            n, columns - 1, (int)label);
        sums[WRONG] += !right(output->data + n * columns, columns, label);
    }
    sums[LABELS] += (double)labels;
    return RBE_OK;
}

static double error_of(void *user, const double *sums) {
    (void)user;
    return sums[WRONG] / sums[LABELS];
}

const rbe_metric *const rbe_metric_error =
    &(const rbe_metric){.name = "error", .sums = ERROR_SUMS, .add = add_errors, .value = error_of};

/* ---- R^2 ----------------------------------------------------------------------------------------------------- */

enum { SAMPLES, RESIDUAL, TOTAL, MEANS };

static rbe_status add_squares(void *user, double *sums, const rbe_tensor *output, const rbe_batch *batch, double loss) {
    (void)user, (void)loss;
    const rbe_tensor *targets = &batch->targets;
    if (!targets->data) return rbe_fail(RBE_INVALID_ARGUMENT, "r2: the samples have no targets");
    if (rbe_tensor_count(output) != rbe_tensor_count(targets))
        return rbe_fail(RBE_INPUT_DIMENSION_MISMATCH, "r2: expected %zu outputs, as many as targets, found %zu",
                        rbe_tensor_count(targets), rbe_tensor_count(output));
    size_t width = rbe_tensor_columns(targets);
    for (size_t n = 0; n < batch->rows; n++) {
        sums[SAMPLES]++;
        for (size_t j = 0; j < width; j++) {
            double t = (double)targets->data[n * width + j], d = t - (double)output->data[n * width + j];
            double *mean = &sums[MEANS + j], before = t - *mean;
            *mean += before / sums[SAMPLES];
            sums[TOTAL] += before * (t - *mean);
            sums[RESIDUAL] += d * d;
        }
    }
    return RBE_OK;
}

/* With n and m values of means a and b: sum (t - mean)^2 of all is that of each, and (b - a)^2 n m / (n + m) (Chan et al.
 * 1983). */
static void merge_squares(void *user, double *sums, const double *others, size_t count) {
    (void)user;
    const double n = sums[SAMPLES], m = others[SAMPLES];
    if (m == 0) return;
    for (size_t j = MEANS; j < count; j++) {
        const double d = others[j] - sums[j];
        sums[TOTAL] += d * d * n * m / (n + m);
        sums[j] += d * m / (n + m);
    }
    for (size_t j = 0; j < MEANS; j++) sums[j] += others[j];
}

static double r2_of(void *user, const double *sums) {
    (void)user;
    return sums[TOTAL] > 0 ? 1.0 - sums[RESIDUAL] / sums[TOTAL] : (double)NAN;
}

const rbe_metric *const rbe_metric_r2 = &(const rbe_metric){.name = "r2",
                                                            .higher_is_better = true,
                                                            .sums = MEANS,
                                                            .target_sums = 1,
                                                            .add = add_squares,
                                                            .value = r2_of,
                                                            .merge = merge_squares};

/* ---- perplexity ---------------------------------------------------------------------------------------------- */

enum { LOSS, WEIGHT, PERPLEXITY_SUMS };

static rbe_status add_loss(void *user, double *sums, const rbe_tensor *output, const rbe_batch *batch, double loss) {
    (void)user, (void)output;
    double weight = rbe_batch_weight(batch);
    sums[LOSS] += weight * loss;
    sums[WEIGHT] += weight;
    return RBE_OK;
}

static double perplexity_of(void *user, const double *sums) {
    (void)user;
    return exp(sums[LOSS] / sums[WEIGHT]);
}

const rbe_metric *const rbe_metric_perplexity =
    &(const rbe_metric){.name = "perplexity", .sums = PERPLEXITY_SUMS, .add = add_loss, .value = perplexity_of};

/* ---- none ---------------------------------------------------------------------------------------------------- */

const rbe_metric *const rbe_metric_loss = &(const rbe_metric){.name = "loss"};
