/* Operations that map each value by itself, cut into ranges of values. */
#ifndef RBE_TENSOR_ELEMENTWISE_H
#define RBE_TENSOR_ELEMENTWISE_H

#include <string.h>

#include "base/parallel.h"
#include "tensor/node.h"

/* The loops see f as a constant: inlined into each operation, that of relu becomes vector instructions. */
#define RBE_INLINED static inline __attribute__((always_inline))

/* What a range works on: y = f(x), or gx = (add ? gx : 0) + chain(g, x, y). */
typedef struct rbe_values {
    const float *x, *g;
    float *y, *gx;
    bool add;
    const void *constants; /* of the operation, as rbe_elementwise_with was given them */
} rbe_values;

RBE_INLINED void rbe_apply(const rbe_values *v, size_t first, size_t count, float (*f)(float x)) {
    const float *restrict in = v->x + first;
    float *restrict out = v->y + first;
    for (size_t i = 0; i < count; i++) out[i] = f(in[i]);
}

RBE_INLINED void rbe_apply_chain(const rbe_values *v, size_t first, size_t count,
                                 float (*chain)(float g, float x, float y)) {
    const float *restrict g = v->g + first, *restrict x = v->x + first, *restrict y = v->y + first;
    float *restrict gx = v->gx + first;
    if (v->add)
        for (size_t i = 0; i < count; i++) gx[i] += chain(g[i], x[i], y[i]);
    else
        for (size_t i = 0; i < count; i++) gx[i] = chain(g[i], x[i], y[i]);
}

/* The operation whose `forward` fills in ranges of y. A copy of the constants becomes the variable's context. */
static inline rbe_var *rbe_elementwise_with(const char *operation, rbe_var *x, rbe_range_task *forward,
                                            rbe_backward_function backward, const void *constants, size_t bytes) {
    rbe_var *y = rbe_node_like(operation, x, backward, bytes);
    if (!rbe_ok(y)) return y;
    if (bytes > 0) memcpy(y->context, constants, bytes);
    rbe_values v = {.x = x->value.data, .y = y->value.data, .constants = y->context};
    rbe_parallel_ranges(rbe_tensor_count(&x->value), RBE_PIECE, forward, &v);
    return y;
}

static inline rbe_var *rbe_elementwise(const char *operation, rbe_var *x, rbe_range_task *forward,
                                       rbe_backward_function backward) {
    return rbe_elementwise_with(operation, x, forward, backward, NULL, 0);
}

/* Its backward, whose `chain` fills in ranges of gx. */
static inline rbe_status rbe_elementwise_backward(const rbe_var *self, rbe_range_task *chain) {
    rbe_var *x = self->parents[0];
    if (!x->needs_grad) return RBE_OK;
    rbe_values v = {.x = x->value.data, .y = self->value.data, .g = self->grad, .constants = self->context};
    v.gx = rbe_grad_target(x, &v.add);
    if (!v.gx) return rbe_last_status();
    rbe_parallel_ranges(rbe_tensor_count(&x->value), RBE_PIECE, chain, &v);
    return RBE_OK;
}

#endif
