/* Normalisation of rows (a row is the last dimension, of n values), with an optional scale w and shift b:
 *
 *     layer_norm   y = w (x - m) r + b    m = mean of x, r = 1 / sqrt(mean of (x - m)^2 + eps)
 *     rms_norm     y = w x r              r = 1 / sqrt(mean of x^2 + eps)
 *
 * With z = (x - m) r and h = w dL/dy, the means over the row:
 *
 *     dL/dx = r (h - mean h - z mean(h z))        (rms_norm: m = 0, and without mean h)
 *     dL/dw = sum over rows of z dL/dy            dL/db = sum over rows of dL/dy
 *
 * m and r are computed in double, in two passes, and kept for the backward. Rows are shared out as tasks, and for the
 * gradients of w and b columns.
 */
#include <math.h>

#include "base/column_sums.h"
#include "base/parallel.h"
#include "tensor/node.h"

/* m and r of a row. */
typedef struct scaling {
    double mean;
    float inverse;
} scaling;

/* z; exact beside a large mean, too. */
static inline float normal(float x, scaling m) { return (float)((double)x - m.mean) * m.inverse; }

typedef struct norm_context {
    scaling *rows; /* NULL: no gradient is wanted */
    double epsilon;
    bool centred;     /* layer_norm */
    int scale, shift; /* which parents they are; 0: none */
} norm_context;

/* What the tasks of one pass read and write. */
typedef struct pass {
    norm_context c;
    size_t n, rows;
    const float *x, *w, *b, *g; /* w, b NULL: none */
    float *y, *gx, *gw;
    bool add;
} pass;

static pass pass_of(const rbe_var *self) {
    const norm_context *c = self->context;
    const rbe_tensor *x = &self->parents[0]->value;
    return (pass){.c = *c,
                  .n = rbe_tensor_columns(x),
                  .rows = rbe_tensor_rows(x),
                  .x = x->data,
                  .w = c->scale ? self->parents[c->scale]->value.data : NULL,
                  .b = c->shift ? self->parents[c->shift]->value.data : NULL,
                  .y = self->value.data,
                  .g = self->grad};
}

static void run_rows(pass *p, rbe_range_task *run) { rbe_parallel_ranges(p->rows, 1 + 4095 / p->n, run, p); }

/* ---- values -------------------------------------------------------------------------------------------------- */

static scaling scaling_of(const norm_context *c, const float *x, size_t n) {
    double mean = 0.0, squares = 0.0;
    if (c->centred) {
#pragma omp simd reduction(+ : mean)
        for (size_t i = 0; i < n; i++) mean += (double)x[i];
        mean /= (double)n;
    }
#pragma omp simd reduction(+ : squares)
    for (size_t i = 0; i < n; i++) squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    return (scaling){mean, (float)(1.0 / sqrt(squares / (double)n + c->epsilon))};
}

static void normalise_rows(void *context, size_t first, size_t count) {
    const pass *p = context;
    const float *restrict w = p->w, *restrict b = p->b;
    for (size_t row = first; row < first + count; row++) {
        const float *restrict x = p->x + row * p->n;
        float *restrict y = p->y + row * p->n;
        const scaling m = scaling_of(&p->c, x, p->n);
        if (p->c.rows) p->c.rows[row] = m;
        for (size_t i = 0; i < p->n; i++) y[i] = normal(x[i], m);
        for (size_t i = 0; w && i < p->n; i++) y[i] *= w[i];
        for (size_t i = 0; b && i < p->n; i++) y[i] += b[i];
    }
}

/* ---- gradients ----------------------------------------------------------------------------------------------- */

static void gradient_rows(void *context, size_t first, size_t count) {
    const pass *p = context;
    const float one = 1.0f, *w = p->w ? p->w : &one;
    const size_t w_steps = p->w ? 1 : 0, n = p->n;
    for (size_t row = first; row < first + count; row++) {
        const float *restrict x = p->x + row * n, *restrict g = p->g + row * n;
        float *restrict gx = p->gx + row * n;
        const scaling m = p->c.rows[row];
        double sum = 0.0, dot = 0.0;
#pragma omp simd reduction(+ : sum, dot)
        for (size_t i = 0; i < n; i++) {
            const float h = g[i] * w[i * w_steps], z = normal(x[i], m);
            sum += (double)h;
            dot += (double)h * (double)z;
        }
        const float mean_h = p->c.centred ? (float)(sum / (double)n) : 0.0f, mean_hz = (float)(dot / (double)n);
        for (size_t i = 0; i < n; i++) {
            const float h = g[i] * w[i * w_steps], z = normal(x[i], m);
            gx[i] = (p->add ? gx[i] : 0.0f) + m.inverse * (h - mean_h - z * mean_hz);
        }
    }
}

enum { COLUMNS = 64 };

/* Columns from the first row to the last. */
static void scale_columns(void *context, size_t first, size_t count) {
    const pass *p = context;
    double total[COLUMNS] = {0};
    for (size_t row = 0; row < p->rows; row++) {
        const float *x = p->x + row * p->n + first, *g = p->g + row * p->n + first;
        const scaling m = p->c.rows[row];
        for (size_t i = 0; i < count; i++) total[i] += (double)g[i] * (double)normal(x[i], m);
    }
    float *gw = p->gw + first;
    for (size_t i = 0; i < count; i++) gw[i] = (float)((p->add ? (double)gw[i] : 0.0) + total[i]);
}

static rbe_status norm_backward(rbe_var *self) {
    pass p = pass_of(self);
    rbe_var *x = self->parents[0], *scale = self->parents[p.c.scale], *shift = self->parents[p.c.shift];
    if (x->needs_grad) {
        p.gx = rbe_grad_target(x, &p.add);
        if (!p.gx) return rbe_last_status();
        run_rows(&p, gradient_rows);
    }
    if (p.c.scale && scale->needs_grad) {
        p.gw = rbe_grad_target(scale, &p.add);
        if (!p.gw) return rbe_last_status();
        rbe_parallel_ranges(p.n, COLUMNS, scale_columns, &p);
    }
    if (p.c.shift && shift->needs_grad) {
        bool add;
        float *gb = rbe_grad_target(shift, &add);
        if (!gb) return rbe_last_status();
        rbe_column_sums(p.g, p.rows, p.n, add, gb);
    }
    return RBE_OK;
}

/* ---- the operations ------------------------------------------------------------------------------------------ */

/* Scale or shift has one value for each column; false, with the failure on the tape. */
static bool fits_columns(const char *operation, const char *what, rbe_var *x, const rbe_var *of_columns) {
    const size_t n = rbe_tensor_columns(&x->value);
    if (of_columns->value.dims == 1 && of_columns->value.shape[0] == n) return true;
    char text[RBE_SHAPE_TEXT];
    rbe_tape_fail(x, RBE_INPUT_DIMENSION_MISMATCH, "%s: expected a %s of shape (%zu), found %s", operation, what, n,
                  rbe_shape_text(&of_columns->value, text));
    return false;
}

static rbe_var *normalise(const char *operation, bool centred, rbe_var *x, rbe_var *scale, rbe_var *shift,
                          float epsilon) {
    rbe_var *operands[3] = {x}, *failed;
    int count = 1;
    norm_context c = {.epsilon = (double)epsilon, .centred = centred};
    if (scale) operands[c.scale = count++] = scale;
    if (shift) operands[c.shift = count++] = shift;
    if (!rbe_operands_ok(operation, operands, count, &failed)) return failed;
    if (!(epsilon >= 0.0f && isfinite(epsilon)))
        return rbe_tape_fail(x, RBE_INVALID_ARGUMENT, "%s: expected a finite epsilon of at least 0, found %g",
                             operation, (double)epsilon);
    if (scale && !fits_columns(operation, "scale", x, scale)) return &x->tape->inert;
    if (shift && !fits_columns(operation, "shift", x, shift)) return &x->tape->inert;
    rbe_var *y = rbe_node(operation, operands, count, x->value.dims, x->value.shape, RBE_FULL(norm_backward), sizeof c);
    if (!rbe_ok(y)) return y;
    if (y->needs_grad) {
        c.rows = rbe_arena_take(rbe_tape_arena(y), rbe_tensor_rows(&x->value), sizeof *c.rows);
        if (!c.rows) return rbe_tape_fail_last(y);
    }
    *(norm_context *)y->context = c;
    pass p = pass_of(y);
    run_rows(&p, normalise_rows);
    return y;
}

rbe_var *rbe_layer_norm(rbe_var *x, rbe_var *scale, rbe_var *shift, float epsilon) {
    return normalise("layer_norm", true, x, scale, shift, epsilon);
}

rbe_var *rbe_rms_norm(rbe_var *x, rbe_var *scale, float epsilon) {
    return normalise("rms_norm", false, x, scale, NULL, epsilon);
}
