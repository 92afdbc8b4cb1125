/* Activations, value by value: y = f(x), dL/dx = dL/dy f'(x).
 *
 *     relu      max(x, 0)                              f' = 1 for x > 0, else 0
 *     gelu      x Phi(x) = x/2 erfc(-x / sqrt 2)       f' = Phi(x) + x phi(x)
 *     gelu_tanh x s, s = sigmoid(2 u), u = c (x + a x^3)    f' = s + 2 x s (1 - s) u',  u' = c (1 + 3 a x^2)
 *     tanh      tanh x                                 f' = (1 - y)(1 + y)
 *     sigmoid   1 / (1 + exp(-x))                      f' = y (1 - y)
 *
 * Phi and phi are the distribution and the density of the standard normal law. erfc(-t) = 1 + erf(t), without the
 * cancellation for negative t.
 */
#include <math.h>

#include "tensor/elementwise.h"
#include "tensor/loops.h"

/* Written so that a NaN passes and is found later. */
static inline float relu(float x) { return x < 0.0f ? 0.0f : x; }

static inline float relu_chain(float g, float x, float y) {
    (void)x;
    return y > 0.0f ? g : 0.0f;
}

static void relu_forward_range(void *v, size_t first, size_t count) { rbe_apply(v, first, count, relu); }

static void relu_backward_range(void *v, size_t first, size_t count) { rbe_apply_chain(v, first, count, relu_chain); }

static rbe_status relu_backward(rbe_var *self) { return rbe_elementwise_backward(self, relu_backward_range); }

rbe_var *rbe_relu(rbe_var *x) { return rbe_elementwise("relu", x, relu_forward_range, RBE_FULL(relu_backward)); }

static inline float normal_distribution(float x) { return 0.5f * erfcf(-0.707106781f * x); }

static inline float normal_density(float x) { return 0.398942280f * expf(-0.5f * x * x); }

static inline float gelu(float x) { return x * normal_distribution(x); }

static inline float gelu_chain(float g, float x, float y) {
    (void)y;
    return g * (normal_distribution(x) + x * normal_density(x));
}

static void gelu_forward_range(void *v, size_t first, size_t count) { rbe_apply(v, first, count, gelu); }

static void gelu_backward_range(void *v, size_t first, size_t count) { rbe_apply_chain(v, first, count, gelu_chain); }

static rbe_status gelu_backward(rbe_var *self) { return rbe_elementwise_backward(self, gelu_backward_range); }

rbe_var *rbe_gelu(rbe_var *x) { return rbe_elementwise("gelu", x, gelu_forward_range, RBE_FULL(gelu_backward)); }

static void gelu_tanh_forward_range(void *values, size_t first, size_t count) {
    const rbe_values *v = values;
    rbe_loops_here()->gelu(v->x + first, v->y + first, count);
}

static void gelu_tanh_backward_range(void *values, size_t first, size_t count) {
    const rbe_values *v = values;
    rbe_loops_here()->gelu_chain(v->g + first, v->x + first, v->gx + first, v->add, count);
}

static rbe_status gelu_tanh_backward(rbe_var *self) { return rbe_elementwise_backward(self, gelu_tanh_backward_range); }

rbe_var *rbe_gelu_tanh(rbe_var *x) {
    return rbe_elementwise("gelu_tanh", x, gelu_tanh_forward_range, RBE_FULL(gelu_tanh_backward));
}

static inline float tanh_chain(float g, float x, float y) {
    (void)x;
    return g * ((1.0f - y) * (1.0f + y));
}

static void tanh_forward_range(void *v, size_t first, size_t count) { rbe_apply(v, first, count, tanhf); }

static void tanh_backward_range(void *v, size_t first, size_t count) { rbe_apply_chain(v, first, count, tanh_chain); }

static rbe_status tanh_backward(rbe_var *self) { return rbe_elementwise_backward(self, tanh_backward_range); }

rbe_var *rbe_tanh(rbe_var *x) { return rbe_elementwise("tanh", x, tanh_forward_range, RBE_FULL(tanh_backward)); }

static inline float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

static inline float sigmoid_chain(float g, float x, float y) {
    (void)x;
    return g * (y * (1.0f - y));
}

static void sigmoid_forward_range(void *v, size_t first, size_t count) { rbe_apply(v, first, count, sigmoid); }

static void sigmoid_backward_range(void *v, size_t first, size_t count) {
    rbe_apply_chain(v, first, count, sigmoid_chain);
}

static rbe_status sigmoid_backward(rbe_var *self) { return rbe_elementwise_backward(self, sigmoid_backward_range); }

rbe_var *rbe_sigmoid(rbe_var *x) {
    return rbe_elementwise("sigmoid", x, sigmoid_forward_range, RBE_FULL(sigmoid_backward));
}
