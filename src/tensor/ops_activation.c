/* Activations, value by value: y = f(x), dL/dx = dL/dy f'(x).
 *
 *     relu      max(x, 0)                              f' = 1 for x > 0, else 0
 *     gelu      x Phi(x) = x/2 erfc(-x / sqrt 2)       f' = Phi(x) + x phi(x)
 *     tanh      tanh x                                 f' = (1 - y)(1 + y)
 *     sigmoid   1 / (1 + exp(-x))                      f' = y (1 - y)
 *
 * Phi and phi are the distribution and the density of the standard normal law. erfc(-t) = 1 + erf(t), without the
 * cancellation for negative t.
 */
#include <math.h>

#include "tensor/node.h"

/* The loops see f as a constant: inlined into each activation, that of relu becomes vector instructions. */
#define INLINED static inline __attribute__((always_inline))

INLINED rbe_var *activation(const char *operation, rbe_var *x, float (*f)(float x), rbe_backward_function backward) {
    rbe_var *y = rbe_node_like(operation, x, backward, 0);
    if (!rbe_ok(y)) return y;
    size_t count = rbe_tensor_count(&x->value);
    const float *restrict in = x->value.data;
    float *restrict out = y->value.data;
    for (size_t i = 0; i < count; i++) out[i] = f(in[i]);
    return y;
}

/* `chain` gives dL/dx from g = dL/dy, x and y. */
INLINED rbe_status activation_backward(const rbe_var *self, float (*chain)(float g, float x, float y)) {
    rbe_var *x = self->parents[0];
    if (!x->needs_grad) return RBE_OK;
    bool add;
    float *restrict gx = rbe_grad_target(x, &add);
    if (!gx) return rbe_last_status();
    size_t count = rbe_tensor_count(&x->value);
    const float *restrict g = self->grad, *restrict in = x->value.data, *restrict out = self->value.data;
    if (add)
        for (size_t i = 0; i < count; i++) gx[i] += chain(g[i], in[i], out[i]);
    else
        for (size_t i = 0; i < count; i++) gx[i] = chain(g[i], in[i], out[i]);
    return RBE_OK;
}

/* Written so that a NaN passes and is found later. */
static inline float relu(float x) { return x < 0.0f ? 0.0f : x; }

static inline float relu_chain(float g, float x, float y) {
    (void)x;
    return y > 0.0f ? g : 0.0f;
}

static rbe_status relu_backward(rbe_var *self) { return activation_backward(self, relu_chain); }

rbe_var *rbe_relu(rbe_var *x) { return activation("relu", x, relu, relu_backward); }

static inline float normal_distribution(float x) { return 0.5f * erfcf(-0.707106781f * x); }

static inline float normal_density(float x) { return 0.398942280f * expf(-0.5f * x * x); }

static inline float gelu(float x) { return x * normal_distribution(x); }

static inline float gelu_chain(float g, float x, float y) {
    (void)y;
    return g * (normal_distribution(x) + x * normal_density(x));
}

static rbe_status gelu_backward(rbe_var *self) { return activation_backward(self, gelu_chain); }

rbe_var *rbe_gelu(rbe_var *x) { return activation("gelu", x, gelu, gelu_backward); }

static inline float tanh_chain(float g, float x, float y) {
    (void)x;
    return g * ((1.0f - y) * (1.0f + y));
}

static rbe_status tanh_backward(rbe_var *self) { return activation_backward(self, tanh_chain); }

rbe_var *rbe_tanh(rbe_var *x) { return activation("tanh", x, tanhf, tanh_backward); }

static inline float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

static inline float sigmoid_chain(float g, float x, float y) {
    (void)x;
    return g * (y * (1.0f - y));
}

static rbe_status sigmoid_backward(rbe_var *self) { return activation_backward(self, sigmoid_chain); }

rbe_var *rbe_sigmoid(rbe_var *x) { return activation("sigmoid", x, sigmoid, sigmoid_backward); }
