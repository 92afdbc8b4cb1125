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
 * Within a row an operand steps by 1 or stands still. Pieces of the result, whatever rows they touch, are tasks; of the
 * sums over repetitions, strips of columns.
 */
#include <string.h>

#include "base/parallel.h"
#include "base/sizes.h"
#include "tensor/node.h"

/* How operands walk along with the result: for each of its dimensions, how far each operand steps. */
typedef struct walk {
    size_t extent[RBE_MAX_DIMS];
    size_t step[2][RBE_MAX_DIMS];
    size_t every[RBE_MAX_DIMS]; /* steps of the result itself */
    float constant;             /* s of add and sub, the factor of scale */
} walk;

enum { LAST = RBE_MAX_DIMS - 1, COLUMNS = 256 };

static size_t walk_rows(const walk *w) { return w->extent[0] * w->extent[1] * w->extent[2]; }

/* Where row `row` of the result starts in an operand with these steps. */
static size_t row_start(const walk *w, const size_t *step, size_t row) {
    return row % w->extent[2] * step[2] + row / w->extent[2] % w->extent[1] * step[1] +
           row / w->extent[2] / w->extent[1] * step[0];
}

static void set_steps_of_result(walk *w) {
    w->every[LAST] = 1;
    for (int d = LAST; d > 0; d--) w->every[d - 1] = w->every[d] * w->extent[d];
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
    set_steps_of_result(w);
    return true;
}

/* ---- rows: one loop for each way of stepping, all of them vector loops --------------------------------------- */

/* A part of a row: `to` from a and b, of which at least one steps, and a constant. */
typedef void row_function(float *restrict to, const float *a, bool a_steps, const float *b, bool b_steps, float s,
                          size_t n);

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
static void mul_row(float *restrict c, const float *a, bool a_steps, const float *b, bool b_steps, float s, size_t n) {
    (void)s;
    if (a_steps && b_steps) {
        for (size_t i = 0; i < n; i++) c[i] = a[i] * b[i];
    } else {
        const float factor = a_steps ? b[0] : a[0];
        const float *x = a_steps ? a : b;
        /* Not unrolled, it takes half as long again while both arrays are in the second-level cache. */
#pragma GCC unroll 8
        for (size_t i = 0; i < n; i++) c[i] = factor * x[i];
    }
}

/* c = a / b */
static void div_row(float *restrict c, const float *a, bool a_steps, const float *b, bool b_steps, float s, size_t n) {
    (void)s;
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

/* target += g f, where g steps. */
static void accumulate_row(float *restrict target, const float *g, bool g_steps, const float *f, bool f_steps, float s,
                           size_t n) {
    (void)g_steps;
    (void)s;
    if (f_steps) {
        for (size_t i = 0; i < n; i++) target[i] += g[i] * f[i];
    } else {
        const float factor = f[0];
        for (size_t i = 0; i < n; i++) target[i] += factor * g[i];
    }
}

/* f = 1 / b for s = 0, -c / b for s = 1, where c steps. */
static void quotient_slope_row(float *restrict f, const float *c, bool c_steps, const float *b, bool b_steps, float s,
                               size_t n) {
    (void)c_steps;
    for (size_t i = 0; i < n; i++) f[i] = (s == 0.0f ? 1.0f : -c[i]) / b[b_steps ? i : 0];
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

/* ---- tasks --------------------------------------------------------------------------------------------------- */

/* An operand of a pass over the result. */
typedef struct operand {
    const float *data;
    const size_t *step;
} operand;

static const float *operand_at(const walk *w, operand x, size_t row, size_t column) {
    return x.data + row_start(w, x.step, row) + (x.step[LAST] ? column : 0);
}

typedef struct pass {
    const walk *w;
    row_function *run;
    float *to; /* a value for each of the result */
    operand a, b;
    float s;
} pass;

static void pass_range(void *context, size_t first, size_t count) {
    const pass *p = context;
    const size_t n = p->w->extent[LAST], end = first + count;
    for (size_t at = first, some; at < end; at += some) {
        const size_t row = at / n, column = at % n;
        some = rbe_at_most(end - at, n - column);
        p->run(p->to + at, operand_at(p->w, p->a, row, column), p->a.step[LAST], operand_at(p->w, p->b, row, column),
               p->b.step[LAST], p->s, some);
    }
}

static void run_pass(const walk *w, row_function *run, float *to, operand a, operand b, float s) {
    pass p = {w, run, to, a, b, s};
    rbe_parallel_ranges(walk_rows(w) * w->extent[LAST], RBE_PIECE, pass_range, &p);
}

/* sum += g f for an operand that is repeated. */
typedef struct summation {
    const walk *w;
    double *sum;
    const size_t *sum_step;
    operand g, f;
} summation;

static void sum_columns(void *context, size_t first, size_t count) {
    const summation *s = context;
    const bool steps = s->sum_step[LAST];
    for (size_t row = 0; row < walk_rows(s->w); row++)
        gradient_sum_row(s->sum + row_start(s->w, s->sum_step, row) + (steps ? first : 0), steps,
                         operand_at(s->w, s->g, row, first), operand_at(s->w, s->f, row, first), s->f.step[LAST],
                         count);
}

/* A sum along the row itself is not cut. */
static void run_summation(summation s) {
    const size_t n = s.w->extent[LAST];
    rbe_parallel_ranges(n, s.sum_step[LAST] ? COLUMNS : n, sum_columns, &s);
}

/* ---- gradients ----------------------------------------------------------------------------------------------- */

/* Adds to the gradient of operand k, which is self->grad times a factor f. */
static rbe_status operand_backward(rbe_var *self, int k, operand f) {
    rbe_var *x = self->parents[k];
    if (!x->needs_grad) return RBE_OK;
    bool add;
    float *gx = rbe_grad_target(x, &add);
    if (!gx) return rbe_last_status();
    const walk *w = self->context;
    const size_t count = rbe_tensor_count(&x->value);
    const operand g = {self->grad, w->every};
    if (count == rbe_tensor_count(&self->value)) {
        run_pass(w, add ? accumulate_row : mul_row, gx, g, f, 1.0f);
        return RBE_OK;
    }
    rbe_arena *arena = rbe_tape_arena(self);
    const rbe_arena_mark mark = rbe_arena_here(arena);
    double *sum = rbe_arena_take(arena, count, sizeof *sum);
    if (!sum) return rbe_last_status();
    memset(sum, 0, count * sizeof *sum);
    run_summation((summation){w, sum, w->step[k], g, f});
    for (size_t i = 0; i < count; i++) gx[i] = (float)(add ? (double)gx[i] + sum[i] : sum[i]);
    rbe_arena_return(arena, mark);
    return RBE_OK;
}

static const size_t still[RBE_MAX_DIMS] = {0};

static rbe_status sum_backward(rbe_var *self) {
    const walk *w = self->context;
    const float one = 1.0f;
    RBE_TRY(operand_backward(self, 0, (operand){&one, still}));
    return operand_backward(self, 1, (operand){&w->constant, still});
}

/* Operand k, as it walks along with the result. */
static operand walking(const rbe_var *self, int k) {
    const walk *w = self->context;
    return (operand){self->parents[k]->value.data, w->step[k]};
}

static rbe_status product_backward(rbe_var *self) {
    RBE_TRY(operand_backward(self, 0, walking(self, 1)));
    return operand_backward(self, 1, walking(self, 0));
}

/* The factor, 1 / b or -c / b, has a value for each of the result. */
static rbe_status quotient_backward(rbe_var *self) {
    const walk *w = self->context;
    rbe_arena *arena = rbe_tape_arena(self);
    for (int k = 0; k < 2; k++) {
        if (!self->parents[k]->needs_grad) continue;
        if (!rbe_grad_zeroed(self->parents[k])) return rbe_last_status(); /* outlives the scratch */
        const rbe_arena_mark mark = rbe_arena_here(arena);
        float *slope = rbe_arena_take(arena, rbe_tensor_count(&self->value), sizeof *slope);
        if (!slope) return rbe_last_status();
        run_pass(w, quotient_slope_row, slope, (operand){self->value.data, w->every}, walking(self, 1), (float)k);
        RBE_TRY(operand_backward(self, k, (operand){slope, w->every}));
        rbe_arena_return(arena, mark);
    }
    return RBE_OK;
}

static rbe_status scale_backward(rbe_var *self) {
    const walk *w = self->context;
    return operand_backward(self, 0, (operand){&w->constant, still});
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

/* c by one of the row functions and its constant. */
static rbe_var *by_rows(const char *operation, rbe_var *a, rbe_var *b, row_function *run, float s,
                        rbe_backward_function backward) {
    rbe_var *c = broadcast_node(operation, a, b, backward);
    if (!rbe_ok(c)) return c;
    walk *w = c->context;
    w->constant = s;
    run_pass(w, run, c->value.data, walking(c, 0), walking(c, 1), s);
    return c;
}

rbe_var *rbe_add(rbe_var *a, rbe_var *b) { return by_rows("add", a, b, add_row, 1.0f, RBE_FULL(sum_backward)); }

rbe_var *rbe_sub(rbe_var *a, rbe_var *b) { return by_rows("sub", a, b, add_row, -1.0f, RBE_FULL(sum_backward)); }

rbe_var *rbe_mul(rbe_var *a, rbe_var *b) { return by_rows("mul", a, b, mul_row, 1.0f, RBE_FULL(product_backward)); }

rbe_var *rbe_div(rbe_var *a, rbe_var *b) { return by_rows("div", a, b, div_row, 1.0f, RBE_FULL(quotient_backward)); }

rbe_var *rbe_scale(rbe_var *x, float factor) {
    rbe_var *y = rbe_node_like("scale", x, RBE_FULL(scale_backward), sizeof(walk));
    if (!rbe_ok(y)) return y;
    walk *w = y->context;
    *w = (walk){.extent = {1, 1, 1, rbe_tensor_count(&x->value)}, .constant = factor};
    set_steps_of_result(w);
    run_pass(w, mul_row, y->value.data, (operand){x->value.data, w->every}, (operand){&w->constant, still}, 1.0f);
    return y;
}
