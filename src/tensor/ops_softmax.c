/* The softmax family, row by row (a row is the last dimension), with m = max_j x_j and Z = sum_j exp(x_j - m):
 *
 *     softmax         y_i = exp(x_i - m) / Z          dL/dx_i = y_i (g_i - sum_j g_j y_j)
 *     log_softmax     y_i = (x_i - m) - log Z         dL/dx_i = g_i - exp(y_i) sum_j g_j
 *     cross_entropy   l = (1/N) sum_rows log Z - (x_label - m)
 *                                                     dl/dx_i = (softmax_i - [i = label]) / N
 *
 * where g = dL/dy. Subtracting m first keeps every exponential in 0 .. 1 and Z in 1 .. n.
 */
#include <math.h>

#include "tensor/node.h"

static float largest(const float *x, size_t n) {
    float max = x[0];
    for (size_t i = 1; i < n; i++) max = x[i] > max ? x[i] : max;
    return max;
}

/* y = softmax(x); returns Z. */
static double softmax_row(const float *restrict x, float max, float *restrict y, size_t n) {
    double z = 0.0;
    for (size_t i = 0; i < n; i++) {
        y[i] = expf(x[i] - max);
        z += (double)y[i];
    }
    const float inverse = (float)(1.0 / z);
    for (size_t i = 0; i < n; i++) y[i] *= inverse;
    return z;
}

static rbe_status softmax_backward(rbe_var *self) {
    rbe_var *x = self->parents[0];
    if (!x->needs_grad) return RBE_OK;
    float *gx = rbe_grad_zeroed(x);
    if (!gx) return rbe_last_status();
    size_t n = rbe_tensor_columns(&x->value), count = rbe_tensor_count(&x->value);
    for (size_t row = 0; row < count; row += n) {
        const float *y = self->value.data + row, *g = self->grad + row;
        double dot = 0.0;
#pragma omp simd reduction(+ : dot)
        for (size_t i = 0; i < n; i++) dot += (double)g[i] * (double)y[i];
        for (size_t i = 0; i < n; i++) gx[row + i] += y[i] * (g[i] - (float)dot);
    }
    return RBE_OK;
}

rbe_var *rbe_softmax(rbe_var *x) {
    rbe_var *y = rbe_node_like("softmax", x, softmax_backward, 0);
    if (!rbe_ok(y)) return y;
    size_t n = rbe_tensor_columns(&x->value), count = rbe_tensor_count(&x->value);
    for (size_t row = 0; row < count; row += n) {
        const float *in = x->value.data + row;
        softmax_row(in, largest(in, n), y->value.data + row, n);
    }
    return y;
}

static rbe_status log_softmax_backward(rbe_var *self) {
    rbe_var *x = self->parents[0];
    if (!x->needs_grad) return RBE_OK;
    float *gx = rbe_grad_zeroed(x);
    if (!gx) return rbe_last_status();
    size_t n = rbe_tensor_columns(&x->value), count = rbe_tensor_count(&x->value);
    for (size_t row = 0; row < count; row += n) {
        const float *y = self->value.data + row, *g = self->grad + row;
        double sum = 0.0;
#pragma omp simd reduction(+ : sum)
        for (size_t i = 0; i < n; i++) sum += (double)g[i];
        for (size_t i = 0; i < n; i++) gx[row + i] += g[i] - expf(y[i]) * (float)sum;
    }
    return RBE_OK;
}

rbe_var *rbe_log_softmax(rbe_var *x) {
    rbe_var *y = rbe_node_like("log_softmax", x, log_softmax_backward, 0);
    if (!rbe_ok(y)) return y;
    size_t n = rbe_tensor_columns(&x->value), count = rbe_tensor_count(&x->value);
    for (size_t row = 0; row < count; row += n) {
        const float *in = x->value.data + row;
        float *out = y->value.data + row;
        const float max = largest(in, n), log_z = (float)log(softmax_row(in, max, out, n));
        for (size_t i = 0; i < n; i++) out[i] = (in[i] - max) - log_z;
    }
    return y;
}

/* What the backward of the cross-entropy needs: softmax of the logits, and the labels. */
typedef struct classification {
    const int32_t *labels;
    float *softmax;
} classification;

static rbe_status cross_entropy_backward(rbe_var *self) {
    rbe_var *logits = self->parents[0];
    if (!logits->needs_grad) return RBE_OK;
    bool add;
    float *restrict gx = rbe_grad_target(logits, &add);
    if (!gx) return rbe_last_status();
    const classification *c = self->context;
    const float *restrict softmax = c->softmax;
    size_t n = rbe_tensor_columns(&logits->value), rows = rbe_tensor_rows(&logits->value);
    const float factor = self->grad[0] / (float)rows;
    if (add)
        for (size_t i = 0; i < rows * n; i++) gx[i] += factor * softmax[i];
    else
        for (size_t i = 0; i < rows * n; i++) gx[i] = factor * softmax[i];
    for (size_t row = 0; row < rows; row++) gx[row * n + (size_t)c->labels[row]] -= factor;
    return RBE_OK;
}

rbe_var *rbe_cross_entropy(rbe_var *logits, const int32_t *labels) {
    rbe_var *failed;
    if (!rbe_operands_ok("cross_entropy", &logits, 1, &failed)) return failed;
    if (!labels) return rbe_tape_fail(logits, RBE_INVALID_ARGUMENT, "cross_entropy: the labels are NULL");
    size_t n = rbe_tensor_columns(&logits->value), rows = rbe_tensor_rows(&logits->value);
    if (n < 2)
        return rbe_tape_fail(logits, RBE_INVALID_ARGUMENT,
                             "cross_entropy: expected at least 2 columns of logits, found %zu: of one class the "
                             "probability is always 1 (use two outputs, or another loss)",
                             n);
    for (size_t row = 0; row < rows; row++)
        if (labels[row] < 0 || (size_t)labels[row] >= n)
            return rbe_tape_fail(logits, RBE_INVALID_ARGUMENT,
                                 "cross_entropy: row %zu: expected a label in 0 .. %zu, found %d", row, n - 1,
                                 (int)labels[row]);
    rbe_var *loss =
        rbe_node("cross_entropy", &logits, 1, 1, (const size_t[]){1}, cross_entropy_backward, sizeof(classification));
    if (!rbe_ok(loss)) return loss;
    float *softmax = rbe_arena_take(rbe_tape_arena(loss), rows * n, sizeof *softmax);
    if (!softmax) return rbe_tape_fail_last(loss);
    *(classification *)loss->context = (classification){labels, softmax};
    double sum = 0.0;
    for (size_t row = 0; row < rows; row++) {
        const float *x = logits->value.data + row * n;
        const float max = largest(x, n);
        sum += log(softmax_row(x, max, softmax + row * n, n)) - ((double)x[labels[row]] - (double)max);
    }
    loss->value.data[0] = (float)(sum / (double)rows);
    return loss;
}
