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

#include "base/parallel.h"
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

/* ---- rows are shared out as tasks ---------------------------------------------------------------------------- */

/* Rows of `n` values each. */
typedef struct row_task {
    size_t n;
    const float *x, *g;
    float *y, *gx;
    const int32_t *labels;
    double *losses;
} row_task;

/* Exponentials are slow: a task takes a few hundred values. */
static void run_rows(const rbe_var *x, rbe_range_task *run, row_task *r) {
    r->n = rbe_tensor_columns(&x->value);
    rbe_parallel_ranges(rbe_tensor_rows(&x->value), 1 + 511 / r->n, run, r);
}

static rbe_status run_backward(rbe_var *self, rbe_range_task *run) {
    rbe_var *x = self->parents[0];
    if (!x->needs_grad) return RBE_OK;
    row_task r = {.g = self->grad, .y = self->value.data, .gx = rbe_grad_zeroed(x)};
    if (!r.gx) return rbe_last_status();
    run_rows(x, run, &r);
    return RBE_OK;
}

/* ---- softmax ------------------------------------------------------------------------------------------------- */

static void softmax_gradient_rows(void *context, size_t first, size_t count) {
    const row_task *r = context;
    for (size_t row = first * r->n; row < (first + count) * r->n; row += r->n) {
        const float *y = r->y + row, *g = r->g + row;
        double dot = 0.0;
#pragma omp simd reduction(+ : dot)
        for (size_t i = 0; i < r->n; i++) dot += (double)g[i] * (double)y[i];
        for (size_t i = 0; i < r->n; i++) r->gx[row + i] += y[i] * (g[i] - (float)dot);
    }
}

static rbe_status softmax_backward(rbe_var *self) { return run_backward(self, softmax_gradient_rows); }

static void softmax_rows(void *context, size_t first, size_t count) {
    const row_task *r = context;
    for (size_t row = first * r->n; row < (first + count) * r->n; row += r->n)
        softmax_row(r->x + row, largest(r->x + row, r->n), r->y + row, r->n);
}

rbe_var *rbe_softmax(rbe_var *x) {
    rbe_var *y = rbe_node_like("softmax", x, RBE_FULL(softmax_backward), 0);
    if (!rbe_ok(y)) return y;
    run_rows(x, softmax_rows, &(row_task){.x = x->value.data, .y = y->value.data});
    return y;
}

/* ---- log_softmax --------------------------------------------------------------------------------------------- */

static void log_softmax_gradient_rows(void *context, size_t first, size_t count) {
    const row_task *r = context;
    for (size_t row = first * r->n; row < (first + count) * r->n; row += r->n) {
        const float *y = r->y + row, *g = r->g + row;
        double sum = 0.0;
#pragma omp simd reduction(+ : sum)
        for (size_t i = 0; i < r->n; i++) sum += (double)g[i];
        for (size_t i = 0; i < r->n; i++) r->gx[row + i] += g[i] - expf(y[i]) * (float)sum;
    }
}

static rbe_status log_softmax_backward(rbe_var *self) { return run_backward(self, log_softmax_gradient_rows); }

static void log_softmax_rows(void *context, size_t first, size_t count) {
    const row_task *r = context;
    for (size_t row = first * r->n; row < (first + count) * r->n; row += r->n) {
        const float *in = r->x + row;
        float *out = r->y + row;
        const float max = largest(in, r->n), log_z = (float)log(softmax_row(in, max, out, r->n));
        for (size_t i = 0; i < r->n; i++) out[i] = (in[i] - max) - log_z;
    }
}

rbe_var *rbe_log_softmax(rbe_var *x) {
    rbe_var *y = rbe_node_like("log_softmax", x, RBE_FULL(log_softmax_backward), 0);
    if (!rbe_ok(y)) return y;
    run_rows(x, log_softmax_rows, &(row_task){.x = x->value.data, .y = y->value.data});
    return y;
}

/* ---- cross-entropy ------------------------------------------------------------------------------------------- */

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

static void cross_entropy_rows(void *context, size_t first, size_t count) {
    const row_task *r = context;
    for (size_t row = first; row < first + count; row++) {
        const float *x = r->x + row * r->n;
        const float max = largest(x, r->n);
        r->losses[row] = log(softmax_row(x, max, r->y + row * r->n, r->n)) - ((double)x[r->labels[row]] - (double)max);
    }
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
    rbe_var *loss = rbe_node("cross_entropy", &logits, 1, 1, (const size_t[]){1}, RBE_FULL(cross_entropy_backward),
                             sizeof(classification));
    if (!rbe_ok(loss)) return loss;
    rbe_arena *arena = rbe_tape_arena(loss);
    float *softmax = rbe_arena_take(arena, rows * n, sizeof *softmax);
    rbe_arena_mark mark = rbe_arena_here(arena);
    double *losses = softmax ? rbe_arena_take(arena, rows, sizeof *losses) : NULL;
    if (!losses) return rbe_tape_fail_last(loss);
    *(classification *)loss->context = (classification){labels, softmax};
    run_rows(logits, cross_entropy_rows,
             &(row_task){.x = logits->value.data, .y = softmax, .labels = labels, .losses = losses});
    double sum = 0.0;
    for (size_t row = 0; row < rows; row++) sum += losses[row];
    rbe_arena_return(arena, mark);
    loss->value.data[0] = (float)(sum / (double)rows);
    return loss;
}
