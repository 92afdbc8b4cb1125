/* Arithmetic of two operands with broadcasting, and of one with a constant:
 *
 *     add, sub   c = a + s b, s = 1 or -1       dL/da = dL/dc         dL/db = s dL/dc
 *     mul        c = a b                        dL/da = b dL/dc       dL/db = a dL/dc
 *     div        c = a / b                      dL/da = dL/dc / b     dL/db = -c/b dL/dc
 *     scale      c = factor a                   dL/da = factor dL/dc
 *
 * Shapes are aligned at the last dimension; where an operand has extent 1 or no dimension it is repeated, and its
 * gradient is the sum over the repetitions, accumulated in double.
 *
 * Both directions walk the result row by row. Neighbouring dimensions that all operands step through alike are
 * merged first: operands of one shape become a single row, a matrix plus a bias row becomes rows of that length.
 * Within a row an operand steps by 1 or stands still.
 */
#include <string.h>

#include "tensor/node.h"

/* How operands walk along with the result: for each of its dimensions, how far each operand steps. */
typedef struct walk {
    size_t extent[RBE_MAX_DIMS];
    size_t step[2][RBE_MAX_DIMS];
    float constant; /* s of add and sub, the factor of scale */
} walk;

enum { LAST = RBE_MAX_DIMS - 1 };

static size_t walk_rows(const walk *w) { return w->extent[0] * w->extent[1] * w->extent[2]; }

/* Where row `row` of the result starts in an operand with these steps. */
static size_t row_start(const walk *w, const size_t *step, size_t row) {
    return row % w->extent[2] * step[2] + row / w->extent[2] % w->extent[1] * step[1] +
           row / w->extent[2] / w->extent[1] * step[0];
}

/* Extent of dimension d of RBE_MAX_DIMS when the shape is aligned at the last. */
static size_t aligned_extent(const rbe_tensor *x, int d) {
    int own = d - (RBE_MAX_DIMS - x->dims);
    return own < 0 ? 1 : x->shape[own];
}

/* Finds shape and walk of the result; false if extents that meet are neither equal nor 1. */
static bool broadcast(const rbe_tensor *a, const rbe_tensor *b, size_t shape[RBE_MAX_DIMS], walk *w) {
    *w = (walk){.extent = {1, 1, 1, 1}};
    size_t count_a = 1, count_b = 1;
    int merged = RBE_MAX_DIMS; /* dimensions of the walk from here on are in use */
    for (int d = LAST; d >= 0; d--) {
        const size_t na = aligned_extent(a, d), nb = aligned_extent(b, d);
        if (na != nb && na != 1 && nb != 1) return false;
        const size_t n = na > nb ? na : nb, step_a = na > 1 ? count_a : 0, step_b = nb > 1 ? count_b : 0;
        shape[d] = n;
        count_a *= na;
        count_b *= nb;
        if (n == 1) continue;
        if (merged < RBE_MAX_DIMS && step_a == w->step[0][merged] * w->extent[merged] &&
            step_b == w->step[1][merged] * w->extent[merged]) {
            w->extent[merged] *= n;
        } else {
            merged--;
            w->extent[merged] = n;
            w->step[0][merged] = step_a;
            w->step[1][merged] = step_b;
        }
    }
    return true;
}

/* ---- rows: one loop for each way of stepping, all of them vector loops --------------------------------------- */

/* c = a + s b */
static void add_row(float *restrict c, const float *a, bool a_steps, const float *b, bool b_steps, float s, size_t n) {
    if (a_steps && b_steps) {
        for (size_t i = 0; i < n; i++) c[i] = a[i] + s * b[i];
    } else if (a_steps) {
        const float y = s * b[0];
        for (size_t i = 0; i < n; i++) c[i] = a[i] + y;
    } else {
        const float x = a[0];
        for (size_t i = 0; i < n; i++) c[i] = x + s * b[i];
    }
}

/* c = a b */
static void mul_row(float *restrict c, const float *a, bool a_steps, const float *b, bool b_steps, size_t n) {
    if (a_steps && b_steps) {
        for (size_t i = 0; i < n; i++) c[i] = a[i] * b[i];
    } else {
        const float factor = a_steps ? b[0] : a[0];
        const float *x = a_steps ? a : b;
        for (size_t i = 0; i < n; i++) c[i] = factor * x[i];
    }
}

/* c = a / b */
static void div_row(float *restrict c, const float *a, bool a_steps, const float *b, bool b_steps, size_t n) {
    if (a_steps && b_steps) {
        for (size_t i = 0; i < n; i++) c[i] = a[i] / b[i];
    } else if (a_steps) {
        const float y = b[0];
        for (size_t i = 0; i < n; i++) c[i] = a[i] / y;
    } else {
        const float x = a[0];
        for (size_t i = 0; i < n; i++) c[i] = x / b[i];
    }
}

/* target = g f, or added to it: the gradient of an operand that is not repeated. */
static void gradient_row(float *restrict target, bool add, const float *g, const float *f, bool f_steps, size_t n) {
    if (!add) {
        mul_row(target, g, true, f, f_steps, n);
    } else if (f_steps) {
        for (size_t i = 0; i < n; i++) target[i] += g[i] * f[i];
    } else {
        const float factor = f[0];
        for (size_t i = 0; i < n; i++) target[i] += factor * g[i];
    }
}

/* sum += g f over the repetitions: the gradient of a repeated operand. */
static void gradient_sum_row(double *restrict sum, bool sum_steps, const float *g, const float *f, bool f_steps,
                             size_t n) {
    if (sum_steps) {
        for (size_t i = 0; i < n; i++) sum[i] += (double)g[i] * (double)f[f_steps ? i : 0];
    } else {
        double total = 0.0;
#pragma omp simd reduction(+ : total)
        for (size_t i = 0; i < n; i++) total += (double)g[i] * (double)f[f_steps ? i : 0];
        sum[0] += total;
    }
}

/* ---- gradients ----------------------------------------------------------------------------------------------- */

/* Adds to the gradient of operand k, which is self->grad times a factor f that walks by `f_step`. */
static rbe_status operand_backward(rbe_var *self, int k, const float *f, const size_t *f_step) {
    rbe_var *x = self->parents[k];
    if (!x->needs_grad) return RBE_OK;
    bool add;
    float *gx = rbe_grad_target(x, &add);
    if (!gx) return rbe_last_status();
    const walk *w = self->context;
    const size_t n = w->extent[LAST], rows = walk_rows(w), count = rbe_tensor_count(&x->value);
    const float *g = self->grad;
    if (count == rbe_tensor_count(&self->value)) {
        for (size_t row = 0; row < rows; row++)
            gradient_row(gx + row * n, add, g + row * n, f + row_start(w, f_step, row), f_step[LAST], n);
        return RBE_OK;
    }
    rbe_arena *arena = rbe_tape_arena(self);
    const rbe_arena_mark mark = rbe_arena_here(arena);
    double *sum = rbe_arena_take(arena, count, sizeof *sum);
    if (!sum) return rbe_last_status();
    memset(sum, 0, count * sizeof *sum);
    for (size_t row = 0; row < rows; row++)
        gradient_sum_row(sum + row_start(w, w->step[k], row), w->step[k][LAST], g + row * n,
                         f + row_start(w, f_step, row), f_step[LAST], n);
    for (size_t i = 0; i < count; i++) gx[i] = (float)(add ? (double)gx[i] + sum[i] : sum[i]);
    rbe_arena_return(arena, mark);
    return RBE_OK;
}

static const size_t still[RBE_MAX_DIMS] = {0};

static rbe_status sum_backward(rbe_var *self) {
    const walk *w = self->context;
    const float one = 1.0f;
    RBE_TRY(operand_backward(self, 0, &one, still));
    return operand_backward(self, 1, &w->constant, still);
}

static rbe_status product_backward(rbe_var *self) {
    const walk *w = self->context;
    RBE_TRY(operand_backward(self, 0, self->parents[1]->value.data, w->step[1]));
    return operand_backward(self, 1, self->parents[0]->value.data, w->step[0]);
}

/* Of an operand in a quotient the factor is 1 / b or -c / b: a value for each of the result. */
static void quotient_factors(const rbe_var *self, int k, float *factor) {
    const walk *w = self->context;
    const size_t n = w->extent[LAST], rows = walk_rows(w);
    for (size_t row = 0; row < rows; row++) {
        const float *b = self->parents[1]->value.data + row_start(w, w->step[1], row);
        const float *c = self->value.data + row * n;
        float *f = factor + row * n;
        for (size_t i = 0; i < n; i++) f[i] = (k == 0 ? 1.0f : -c[i]) / b[w->step[1][LAST] ? i : 0];
    }
}

static rbe_status quotient_backward(rbe_var *self) {
    const walk *w = self->context;
    const size_t *e = w->extent, every[RBE_MAX_DIMS] = {e[1] * e[2] * e[3], e[2] * e[3], e[3], 1};
    rbe_arena *arena = rbe_tape_arena(self);
    for (int k = 0; k < 2; k++) {
        if (!self->parents[k]->needs_grad) continue;
        if (!rbe_grad_zeroed(self->parents[k])) return rbe_last_status(); /* outlives the scratch */
        const rbe_arena_mark mark = rbe_arena_here(arena);
        float *factor = rbe_arena_take(arena, rbe_tensor_count(&self->value), sizeof *factor);
        if (!factor) return rbe_last_status();
        quotient_factors(self, k, factor);
        RBE_TRY(operand_backward(self, k, factor, every));
        rbe_arena_return(arena, mark);
    }
    return RBE_OK;
}

static rbe_status scale_backward(rbe_var *self) {
    const walk *w = self->context;
    return operand_backward(self, 0, &w->constant, still);
}

/* ---- the operations ------------------------------------------------------------------------------------------ */

/* A node of the broadcast shape, with its walk as context. */
static rbe_var *broadcast_node(const char *operation, rbe_var *a, rbe_var *b, rbe_backward_function backward) {
    rbe_var *const operands[] = {a, b};
    rbe_var *failed;
    if (!rbe_operands_ok(operation, operands, 2, &failed)) return failed;
    size_t shape[RBE_MAX_DIMS];
    walk w;
    if (!broadcast(&a->value, &b->value, shape, &w)) {
        char a_text[RBE_SHAPE_TEXT], b_text[RBE_SHAPE_TEXT];
        return rbe_tape_fail(a, RBE_INPUT_DIMENSION_MISMATCH,
                             "%s: shapes %s and %s do not broadcast: expected extents that are equal or 1", operation,
                             rbe_shape_text(&a->value, a_text), rbe_shape_text(&b->value, b_text));
    }
    const int dims = a->value.dims > b->value.dims ? a->value.dims : b->value.dims;
    rbe_var *c = rbe_node(operation, operands, 2, dims, shape + RBE_MAX_DIMS - dims, backward, sizeof w);
    if (rbe_ok(c)) *(walk *)c->context = w;
    return c;
}

/* c = a + s b */
static rbe_var *signed_sum(const char *operation, rbe_var *a, float s, rbe_var *b) {
    rbe_var *c = broadcast_node(operation, a, b, sum_backward);
    if (!rbe_ok(c)) return c;
    walk *w = c->context;
    w->constant = s;
    const size_t n = w->extent[LAST], rows = walk_rows(w);
    for (size_t row = 0; row < rows; row++)
        add_row(c->value.data + row * n, a->value.data + row_start(w, w->step[0], row), w->step[0][LAST],
                b->value.data + row_start(w, w->step[1], row), w->step[1][LAST], s, n);
    return c;
}

rbe_var *rbe_add(rbe_var *a, rbe_var *b) { return signed_sum("add", a, 1.0f, b); }

rbe_var *rbe_sub(rbe_var *a, rbe_var *b) { return signed_sum("sub", a, -1.0f, b); }

/* One of mul_row and div_row. */
typedef void row_function(float *restrict c, const float *a, bool a_steps, const float *b, bool b_steps, size_t n);

static rbe_var *by_rows(const char *operation, rbe_var *a, rbe_var *b, row_function *row_of,
                        rbe_backward_function backward) {
    rbe_var *c = broadcast_node(operation, a, b, backward);
    if (!rbe_ok(c)) return c;
    const walk *w = c->context;
    const size_t n = w->extent[LAST], rows = walk_rows(w);
    for (size_t row = 0; row < rows; row++)
        row_of(c->value.data + row * n, a->value.data + row_start(w, w->step[0], row), w->step[0][LAST],
               b->value.data + row_start(w, w->step[1], row), w->step[1][LAST], n);
    return c;
}

rbe_var *rbe_mul(rbe_var *a, rbe_var *b) { return by_rows("mul", a, b, mul_row, product_backward); }

rbe_var *rbe_div(rbe_var *a, rbe_var *b) { return by_rows("div", a, b, div_row, quotient_backward); }

rbe_var *rbe_scale(rbe_var *x, float factor) {
    rbe_var *y = rbe_node_like("scale", x, scale_backward, sizeof(walk));
    if (!rbe_ok(y)) return y;
    const size_t count = rbe_tensor_count(&x->value);
    *(walk *)y->context = (walk){.extent = {1, 1, 1, count}, .constant = factor};
    mul_row(y->value.data, x->value.data, true, &factor, false, count);
    return y;
}
