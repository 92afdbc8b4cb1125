/* The dense product C = op(A) op(B), where op transposes or not, by CBLAS. With G = dL/dC:
 *
 *     dL/dop(A) = G op(B)^T       dL/dop(B) = op(A)^T G
 *
 * and the transposes of these where op transposes: dL/dA = op(B) G^T, dL/dB = G^T op(A).
 */
#include <limits.h>

#include "base/gemm.h"
#include "tensor/node.h"

typedef struct transposes {
    bool a, b;
} transposes;

/* c = op(a) op(b), or added to c. */
static void product(const rbe_tensor *a, bool transpose_a, const rbe_tensor *b, bool transpose_b, const rbe_tensor *c,
                    bool add) {
    rbe_gemm(transpose_a, transpose_b, c->shape[0], c->shape[1], a->shape[transpose_a ? 0 : 1], a->data, b->data, add,
             c->data);
}

static rbe_status matmul_backward(rbe_var *self) {
    const transposes *t = self->context;
    rbe_var *a = self->parents[0], *b = self->parents[1];
    rbe_tensor g = rbe_tensor_shaped(self->grad, 2, self->value.shape);
    bool add;
    if (a->needs_grad) {
        rbe_tensor ga = rbe_tensor_shaped(rbe_grad_target(a, &add), 2, a->value.shape);
        if (!ga.data) return rbe_last_status();
        if (t->a)
            product(&b->value, t->b, &g, true, &ga, add);
        else
            product(&g, false, &b->value, !t->b, &ga, add);
    }
    if (b->needs_grad) {
        rbe_tensor gb = rbe_tensor_shaped(rbe_grad_target(b, &add), 2, b->value.shape);
        if (!gb.data) return rbe_last_status();
        if (t->b)
            product(&g, true, &a->value, t->a, &gb, add);
        else
            product(&a->value, !t->a, &g, false, &gb, add);
    }
    return RBE_OK;
}

static bool fits_blas(const rbe_tensor *matrix) { return matrix->shape[0] <= INT_MAX && matrix->shape[1] <= INT_MAX; }

rbe_var *rbe_matmul(rbe_var *a, bool transpose_a, rbe_var *b, bool transpose_b) {
    rbe_var *const operands[] = {a, b};
    rbe_var *failed;
    if (!rbe_operands_ok("matmul", operands, 2, &failed)) return failed;
    char a_text[RBE_SHAPE_TEXT], b_text[RBE_SHAPE_TEXT];
    if (a->value.dims != 2 || b->value.dims != 2)
        return rbe_tape_fail(a, RBE_INPUT_DIMENSION_MISMATCH, "matmul: expected two dimensions, found %s x %s",
                             rbe_shape_text(&a->value, a_text), rbe_shape_text(&b->value, b_text));
    size_t inner_a = a->value.shape[transpose_a ? 0 : 1], inner_b = b->value.shape[transpose_b ? 1 : 0];
    if (inner_a != inner_b)
        return rbe_tape_fail(a, RBE_INPUT_DIMENSION_MISMATCH, "matmul: %s%s x %s%s: inner extents %zu and %zu differ",
                             rbe_shape_text(&a->value, a_text), transpose_a ? "^T" : "",
                             rbe_shape_text(&b->value, b_text), transpose_b ? "^T" : "", inner_a, inner_b);
    if (!fits_blas(&a->value) || !fits_blas(&b->value))
        return rbe_tape_fail(a, RBE_INVALID_ARGUMENT, "matmul: expected extents of at most %d, found %s x %s", INT_MAX,
                             rbe_shape_text(&a->value, a_text), rbe_shape_text(&b->value, b_text));
    const size_t shape[] = {a->value.shape[transpose_a ? 1 : 0], b->value.shape[transpose_b ? 0 : 1]};
    rbe_var *c = rbe_node("matmul", operands, 2, 2, shape, matmul_backward, sizeof(transposes));
    if (!rbe_ok(c)) return c;
    *(transposes *)c->context = (transposes){transpose_a, transpose_b};
    product(&a->value, transpose_a, &b->value, transpose_b, &c->value, false);
    return c;
}
