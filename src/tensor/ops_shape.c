/* Reshape: the same values, in the same order, in another shape. The gradient is that of the result. */
#include <string.h>

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
    return rbe_node_view("reshape", x, dims, shape, reshape_backward);
}
