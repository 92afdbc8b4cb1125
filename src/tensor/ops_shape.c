/* The same values in another shape:
 *
 *     reshape    in the same order              dL/dx is dL/dy in the shape of x
 *     permute    with dimensions exchanged      dL/dx is dL/dy with them exchanged back
 */
#include <string.h>

#include "base/parallel.h"
#include "tensor/node.h"

static rbe_status reshape_backward(rbe_var *self) {
    rbe_var *x = self->parents[0];
    if (!x->needs_grad) return RBE_OK;
    bool add;
    float *restrict gx = rbe_grad_target(x, &add);
    if (!gx) return rbe_last_status();
    const float *restrict g = self->grad;
    size_t count = rbe_tensor_count(&x->value);
    if (add)
        for (size_t i = 0; i < count; i++) gx[i] += g[i];
    else
        memcpy(gx, g, count * sizeof *gx);
    return RBE_OK;
}

rbe_var *rbe_reshape(rbe_var *x, int dims, const size_t *shape) {
    rbe_var *failed;
    if (!rbe_operands_ok("reshape", &x, 1, &failed)) return failed;
    if (rbe_tensor_check_shape(dims, shape) != RBE_OK)
        return rbe_tape_fail(x, rbe_last_status(), "reshape: %s", rbe_last_error());
    rbe_tensor wanted = rbe_tensor_shaped(NULL, dims, shape);
    if (rbe_tensor_count(&wanted) != rbe_tensor_count(&x->value)) {
        char from[RBE_SHAPE_TEXT], to[RBE_SHAPE_TEXT];
        return rbe_tape_fail(x, RBE_INPUT_DIMENSION_MISMATCH, "reshape: %s has %zu values, %s has %zu",
                             rbe_shape_text(&x->value, from), rbe_tensor_count(&x->value), rbe_shape_text(&wanted, to),
                             rbe_tensor_count(&wanted));
    }
    return rbe_node_view("reshape", x, dims, shape, RBE_FULL(reshape_backward));
}

/* ---- permute ------------------------------------------------------------------------------------------------- */

/* to = from, or added to it, where `to` is contiguous with these extents and `from` is stepped through. */
typedef struct walk {
    size_t extent[RBE_MAX_DIMS], step[RBE_MAX_DIMS];
    const float *from;
    float *to;
    bool add;
} walk;

enum { LAST = RBE_MAX_DIMS - 1 };

static void walk_rows(void *context, size_t first, size_t count) {
    const walk *w = context;
    const size_t n = w->extent[LAST], step = w->step[LAST];
    for (size_t row = first; row < first + count; row++) {
        const float *restrict from = w->from + row % w->extent[2] * w->step[2] +
                                     row / w->extent[2] % w->extent[1] * w->step[1] +
                                     row / w->extent[2] / w->extent[1] * w->step[0];
        float *restrict to = w->to + row * n;
        if (w->add)
            for (size_t i = 0; i < n; i++) to[i] += from[i * step];
        else if (step == 1)
            memcpy(to, from, n * sizeof *to);
        else
            for (size_t i = 0; i < n; i++) to[i] = from[i * step];
    }
}

/* `to` has dimension order[d] of `from` as its dimension d. */
static void exchange(const rbe_tensor *from, const int *order, float *to, bool add) {
    walk w = {.extent = {1, 1, 1, 1}, .from = from->data, .to = to, .add = add};
    const int shift = RBE_MAX_DIMS - from->dims;
    for (int d = 0; d < from->dims; d++) {
        w.extent[d + shift] = from->shape[order[d]];
        w.step[d + shift] = 1;
        for (int below = order[d] + 1; below < from->dims; below++) w.step[d + shift] *= from->shape[below];
    }
    const size_t rows = w.extent[0] * w.extent[1] * w.extent[2];
    rbe_parallel_ranges(rows, 1 + (RBE_PIECE - 1) / w.extent[LAST], walk_rows, &w);
}

static rbe_status permute_backward(rbe_var *self) {
    const int *order = self->context;
    int back[RBE_MAX_DIMS];
    for (int d = 0; d < self->value.dims; d++) back[order[d]] = d;
    bool add;
    float *gx = rbe_grad_target(self->parents[0], &add);
    if (!gx) return rbe_last_status();
    const rbe_tensor g = rbe_tensor_shaped(self->grad, self->value.dims, self->value.shape);
    exchange(&g, back, gx, add);
    return RBE_OK;
}

rbe_var *rbe_permute(rbe_var *x, const int *order) {
    rbe_var *failed;
    if (!rbe_operands_ok("permute", &x, 1, &failed)) return failed;
    if (!order) return rbe_tape_fail(x, RBE_INVALID_ARGUMENT, "permute: the order is NULL");
    const int dims = x->value.dims;
    size_t shape[RBE_MAX_DIMS];
    bool seen[RBE_MAX_DIMS] = {false};
    for (int d = 0; d < dims; d++) {
        if (order[d] < 0 || order[d] >= dims || seen[order[d]])
            return rbe_tape_fail(x, RBE_INVALID_ARGUMENT,
                                 "permute: expected each dimension 0 .. %d once, found %d at place %d", dims - 1,
                                 order[d], d);
        seen[order[d]] = true;
        shape[d] = x->value.shape[order[d]];
    }
    rbe_var *y = rbe_node("permute", &x, 1, dims, shape, RBE_FULL(permute_backward), RBE_MAX_DIMS * sizeof *order);
    if (!rbe_ok(y)) return y;
    memcpy(y->context, order, (size_t)dims * sizeof *order);
    exchange(&x->value, order, y->value.data, false);
    return y;
}
