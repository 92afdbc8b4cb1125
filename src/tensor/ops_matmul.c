/* The dense product C = op(A) op(B), where op transposes or not, by CBLAS. With G = dL/dC:
 *
 *     dL/dop(A) = G op(B)^T       dL/dop(B) = op(A)^T G
 *
 * and the transposes of these where op transposes: dL/dA = op(B) G^T, dL/dB = G^T op(A).
 *
 * Dimensions before the last two number the matrices of a batch. Where an operand has extent 1 there, or no dimension,
 * its matrix is repeated, and its gradient is the sum over the repetitions, in the order of the batch. A batch of A
 * that meets a single B is one tall matrix.
 */
#include <limits.h>

#include "base/gemm.h"
#include "tensor/node.h"

enum { BATCH_DIMS = RBE_MAX_DIMS - 2 };

/* The matrices of an operand: how many there are along each dimension of the batch, and the values of one. */
typedef struct matrices {
    float *data;
    size_t batch[BATCH_DIMS], values;
} matrices;

typedef struct layout {
    bool transpose_a, transpose_b;
    size_t m, n, k;
    matrices a, b, c; /* c has the batch of the result */
} layout;

/* The matrix that meets number (i, j) of the result. */
static float *matrix_at(const matrices *x, size_t i, size_t j) {
    return x->data + ((x->batch[0] > 1 ? i : 0) * x->batch[1] + (x->batch[1] > 1 ? j : 0)) * x->values;
}

/* Lists, for each matrix of `to`, the pairs from x and y that are added up in it. */
static void list_pairs(const size_t *batch, const matrices *x, const matrices *y, const matrices *to, const float **xs,
                       const float **ys, float **tos) {
    size_t n = 0;
    for (size_t i = 0; i < to->batch[0]; i++)
        for (size_t j = 0; j < to->batch[1]; j++) {
            *tos++ = matrix_at(to, i, j);
            for (size_t p = i; p < batch[0]; p += to->batch[0])
                for (size_t q = j; q < batch[1]; q += to->batch[1], n++) {
                    xs[n] = matrix_at(x, p, q);
                    ys[n] = matrix_at(y, p, q);
                }
        }
}

/* to = op(x) op(y), or added to it, for all matrices; `shape` has the transposes, extents and add. `self` lends
 * scratch. */
static rbe_status multiply(rbe_var *self, rbe_products shape, const size_t *batch, matrices x, matrices y,
                           matrices to) {
    const size_t pairs = batch[0] * batch[1];
    shape.count = to.batch[0] * to.batch[1];
    shape.terms = pairs / shape.count;
    rbe_arena *arena = rbe_tape_arena(self);
    const rbe_arena_mark mark = rbe_arena_here(arena);
    const float *one[2], **xs = &one[0], **ys = &one[1];
    float *one_to, **tos = &one_to;
    if (pairs > 1) {
        xs = rbe_arena_take(arena, 2 * pairs, sizeof *xs);
        tos = rbe_arena_take(arena, shape.count, sizeof *tos);
        if (!xs || !tos) return rbe_last_status();
        ys = xs + pairs;
    }
    list_pairs(batch, &x, &y, &to, xs, ys, tos);
    shape.a = xs;
    shape.b = ys;
    shape.c = tos;
    const rbe_status status = rbe_gemm_many(&shape);
    rbe_arena_return(arena, mark);
    return status;
}

/* ---- gradients ----------------------------------------------------------------------------------------------- */

static rbe_status gradient_of_a(rbe_var *self, const layout *l, matrices g) {
    bool add;
    matrices ga = l->a;
    ga.data = rbe_grad_target(self->parents[0], &add);
    if (!ga.data) return rbe_last_status();
    if (l->transpose_a)
        return multiply(self, (rbe_products){l->transpose_b, true, add, .m = l->k, .n = l->m, .k = l->n}, l->c.batch,
                        l->b, g, ga);
    return multiply(self, (rbe_products){false, !l->transpose_b, add, .m = l->m, .n = l->k, .k = l->n}, l->c.batch, g,
                    l->b, ga);
}

static rbe_status gradient_of_b(rbe_var *self, const layout *l, matrices g) {
    bool add;
    matrices gb = l->b;
    gb.data = rbe_grad_target(self->parents[1], &add);
    if (!gb.data) return rbe_last_status();
    if (l->transpose_b)
        return multiply(self, (rbe_products){true, l->transpose_a, add, .m = l->n, .n = l->k, .k = l->m}, l->c.batch, g,
                        l->a, gb);
    return multiply(self, (rbe_products){!l->transpose_a, false, add, .m = l->k, .n = l->n, .k = l->m}, l->c.batch,
                    l->a, g, gb);
}

static rbe_status matmul_backward(rbe_var *self) {
    const layout *l = self->context;
    matrices g = l->c;
    g.data = self->grad;
    if (self->parents[0]->needs_grad) RBE_TRY(gradient_of_a(self, l, g));
    return self->parents[1]->needs_grad ? gradient_of_b(self, l, g) : RBE_OK;
}

/* ---- the operation ------------------------------------------------------------------------------------------- */

static size_t extent_from_end(const rbe_tensor *x, int d) { return d <= x->dims ? x->shape[x->dims - d] : 1; }

static matrices matrices_of(const rbe_tensor *x) {
    return (matrices){
        x->data, {extent_from_end(x, 4), extent_from_end(x, 3)}, extent_from_end(x, 2) * extent_from_end(x, 1)};
}

static bool fits_blas(const rbe_tensor *x) {
    return extent_from_end(x, 2) <= INT_MAX && extent_from_end(x, 1) <= INT_MAX;
}

/* Says what is wrong with the shapes; false, with the failure on the tape. */
static bool check_shapes(rbe_var *a, rbe_var *b, const layout *l) {
    char a_text[RBE_SHAPE_TEXT], b_text[RBE_SHAPE_TEXT];
    rbe_shape_text(&a->value, a_text);
    rbe_shape_text(&b->value, b_text);
    const size_t inner_a = extent_from_end(&a->value, l->transpose_a ? 2 : 1);
    const size_t inner_b = extent_from_end(&b->value, l->transpose_b ? 1 : 2);
    if (a->value.dims < 2 || b->value.dims < 2) {
        rbe_tape_fail(a, RBE_INPUT_DIMENSION_MISMATCH, "matmul: expected at least two dimensions, found %s x %s",
                      a_text, b_text);
        return false;
    }
    if (inner_a != inner_b) {
        rbe_tape_fail(a, RBE_INPUT_DIMENSION_MISMATCH, "matmul: %s%s x %s%s: inner extents %zu and %zu differ", a_text,
                      l->transpose_a ? "^T" : "", b_text, l->transpose_b ? "^T" : "", inner_a, inner_b);
        return false;
    }
    for (int d = 0; d < BATCH_DIMS; d++) {
        const size_t of_a = l->a.batch[d], of_b = l->b.batch[d];
        if (of_a == of_b || of_a == 1 || of_b == 1) continue;
        rbe_tape_fail(a, RBE_INPUT_DIMENSION_MISMATCH,
                      "matmul: %s x %s: expected extents before the last two that are equal or 1", a_text, b_text);
        return false;
    }
    if (!fits_blas(&a->value) || !fits_blas(&b->value)) {
        rbe_tape_fail(a, RBE_INVALID_ARGUMENT, "matmul: expected extents of at most %d, found %s x %s", INT_MAX, a_text,
                      b_text);
        return false;
    }
    return true;
}

/* One product instead of a batch of them. */
static void merge_batch_of_a(layout *l) {
    const size_t count = l->a.batch[0] * l->a.batch[1];
    if (l->transpose_a || l->b.batch[0] * l->b.batch[1] != 1) return;
    l->m *= count;
    l->a = (matrices){l->a.data, {1, 1}, l->a.values * count};
    l->c = (matrices){l->c.data, {1, 1}, l->c.values * count};
}

rbe_var *rbe_matmul(rbe_var *a, bool transpose_a, rbe_var *b, bool transpose_b) {
    rbe_var *const operands[] = {a, b};
    rbe_var *failed;
    if (!rbe_operands_ok("matmul", operands, 2, &failed)) return failed;
    layout l = {transpose_a, transpose_b, .a = matrices_of(&a->value), .b = matrices_of(&b->value)};
    if (!check_shapes(a, b, &l)) return &a->tape->inert;
    l.m = extent_from_end(&a->value, transpose_a ? 1 : 2);
    l.n = extent_from_end(&b->value, transpose_b ? 2 : 1);
    l.k = extent_from_end(&a->value, transpose_a ? 2 : 1);
    size_t shape[RBE_MAX_DIMS] = {[BATCH_DIMS] = l.m, l.n};
    for (int d = 0; d < BATCH_DIMS; d++)
        shape[d] = l.c.batch[d] = l.a.batch[d] > l.b.batch[d] ? l.a.batch[d] : l.b.batch[d];
    const int dims = a->value.dims > b->value.dims ? a->value.dims : b->value.dims;
    rbe_var *c =
        rbe_node("matmul", operands, 2, dims, shape + RBE_MAX_DIMS - dims, RBE_FULL(matmul_backward), sizeof l);
    if (!rbe_ok(c)) return c;
    l.c.data = c->value.data;
    l.c.values = l.m * l.n;
    merge_batch_of_a(&l);
    *(layout *)c->context = l;
    const rbe_products product = {transpose_a, transpose_b, .m = l.m, .n = l.n, .k = l.k};
    if (multiply(c, product, l.c.batch, l.a, l.b, l.c) != RBE_OK) return rbe_tape_fail_last(c);
    return c;
}
