/* swish as a user writes it, of public headers alone: `make headers` compiles this file as C11 and as C++11. */
#include "swish.h"

#include <math.h>

/* y = x s with s = 1 / (1 + exp(-k x));  dy/dx = s (1 + k x (1 - s)) */
static rbe_status add_gradient(rbe_var *self, float factor) {
    const float k = *(const float *)self->context;
    rbe_var *x = self->parents[0];
    float *gx = rbe_grad_zeroed(x);
    if (!gx) return rbe_last_status();
    for (size_t i = 0; i < rbe_tensor_count(&x->value); i++) {
        const float v = x->value.data[i], s = 1.0f / (1.0f + expf(-k * v));
        gx[i] += factor * self->grad[i] * s * (1.0f + k * v * (1.0f - s));
    }
    return RBE_OK;
}

static rbe_status swish_backward(rbe_var *self) { return add_gradient(self, 1.0f); }

static rbe_status wrong_backward(rbe_var *self) { return add_gradient(self, 0.99f); }

static rbe_var *forward(rbe_var *x, float k, rbe_backward_function backward) {
    rbe_var *y = rbe_node_like("swish", x, backward, sizeof k);
    if (!rbe_ok(y)) return y;
    *(float *)y->context = k;
    for (size_t i = 0; i < rbe_tensor_count(&x->value); i++)
        y->value.data[i] = x->value.data[i] / (1.0f + expf(-k * x->value.data[i]));
    return y;
}

rbe_var *swish(rbe_var *x, float k) {
    if (!(k > 0.0f))
        return rbe_tape_fail(x, RBE_INVALID_ARGUMENT, "swish: expected a steepness > 0, found %g", (double)k);
    return forward(x, k, swish_backward);
}

rbe_var *wrong_swish(rbe_var *x) { return forward(x, 1.0f, wrong_backward); }
