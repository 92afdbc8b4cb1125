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

#include "base/parallel.h"
#include "tensor/node.h"

/* The loops see f as a constant: inlined into each activation, that of relu becomes vector instructions. */
#define INLINED static inline __attribute__((always_inline))

/* y = f(x) for a range of the values; gx = or += chain(g, x, y). */
typedef struct values {
    const float *x, *g;
    float *y, *gx;
    bool add;
} values;

INLINED void apply(const values *v, size_t first, size_t count, float (*f)(float x)) {
    const float *restrict in = v->x + first;
    float *restrict out = v->y + first;
    for (size_t i = 0; i < count; i++) out[i] = f(in[i]);
}

INLINED void apply_chain(const values *v, size_t first, size_t count, float (*chain)(float g, float x, float y)) {
    const float *restrict g = v->g + first, *restrict x = v->x + first, *restrict y = v->y + first;
    float *restrict gx = v->gx + first;
    if (v->add)
        for (size_t i = 0; i < count; i++) gx[i] += chain(g[i], x[i], y[i]);
    else
        for (size_t i = 0; i < count; i++) gx[i] = chain(g[i], x[i], y[i]);
}

static rbe_var *activation(const char *operation, rbe_var *x, rbe_range_task *forward, rbe_backward_function backward) {
    rbe_var *y = rbe_node_like(operation, x, backward, 0);
    if (!rbe_ok(y)) return y;
    values v = {.x = x->value.data, .y = y->value.data};
    rbe_parallel_ranges(rbe_tensor_count(&x->value), RBE_PIECE, forward, &v);
    return y;
}

static rbe_status activation_backward(const rbe_var *self, rbe_range_task *chain) {
    rbe_var *x = self->parents[0];
    if (!x->needs_grad) return RBE_OK;
    values v = {.x = x->value.data, .y = self->value.data, .g = self->grad};
    v.gx = rbe_grad_target(x, &v.add);
    if (!v.gx) return rbe_last_status();
    rbe_parallel_ranges(rbe_tensor_count(&x->value), RBE_PIECE, chain, &v);
    return RBE_OK;
}

/* Written so that a NaN passes and is found later. */
static inline float relu(float x) { return x < 0.0f ? 0.0f : x; }

static inline float relu_chain(float g, float x, float y) {
    (void)x;
    return y > 0.0f ? g : 0.0f;
}

static void relu_forward_range(void *v, size_t first, size_t count) { apply(v, first, count, relu); }

static void relu_backward_range(void *v, size_t first, size_t count) { apply_chain(v, first, count, relu_chain); }

static rbe_status relu_backward(rbe_var *self) { return activation_backward(self, relu_backward_range); }

rbe_var *rbe_relu(rbe_var *x) { return activation("relu", x, relu_forward_range, relu_backward); }

static inline float normal_distribution(float x) { return 0.5f * erfcf(-0.707106781f * x); }

static inline float normal_density(float x) { return 0.398942280f * expf(-0.5f * x * x); }

static inline float gelu(float x) { return x * normal_distribution(x); }

static inline float gelu_chain(float g, float x, float y) {
    (void)y;
    return g * (normal_distribution(x) + x * normal_density(x));
}

static void gelu_forward_range(void *v, size_t first, size_t count) { apply(v, first, count, gelu); }

static void gelu_backward_range(void *v, size_t first, size_t count) { apply_chain(v, first, count, gelu_chain); }

static rbe_status gelu_backward(rbe_var *self) { return activation_backward(self, gelu_backward_range); }

rbe_var *rbe_gelu(rbe_var *x) { return activation("gelu", x, gelu_forward_range, gelu_backward); }

static inline float tanh_chain(float g, float x, float y) {
    (void)x;
    return g * ((1.0f - y) * (1.0f + y));
}

static void tanh_forward_range(void *v, size_t first, size_t count) { apply(v, first, count, tanhf); }

static void tanh_backward_range(void *v, size_t first, size_t count) { apply_chain(v, first, count, tanh_chain); }

static rbe_status tanh_backward(rbe_var *self) { return activation_backward(self, tanh_backward_range); }

rbe_var *rbe_tanh(rbe_var *x) { return activation("tanh", x, tanh_forward_range, tanh_backward); }

static inline float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

static inline float sigmoid_chain(float g, float x, float y) {
    (void)x;
    return g * (y * (1.0f - y));
}

static void sigmoid_forward_range(void *v, size_t first, size_t count) { apply(v, first, count, sigmoid); }

static void sigmoid_backward_range(void *v, size_t first, size_t count) { apply_chain(v, first, count, sigmoid_chain); }

static rbe_status sigmoid_backward(rbe_var *self) { return activation_backward(self, sigmoid_backward_range); }

rbe_var *rbe_sigmoid(rbe_var *x) { return activation("sigmoid", x, sigmoid_forward_range, sigmoid_backward); }
