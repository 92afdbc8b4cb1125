/* Rotary positions (Su et al. 2021): queries and keys are turned by angles that grow with their place, so that their
 * products depend on the distance of two places alone.
 *
 * In each head of width d, for n below d / 2, the pair (x_n, x_(n + d/2)) at place t is turned by t base^(-2n / d):
 *
 *     y_n = x_n cos - x_(n + d/2) sin,   y_(n + d/2) = x_n sin + x_(n + d/2) cos
 *
 * The gradient is turned back. Values, the last third of a row of qkv, stay as they are.
 */
#include <math.h>
#include <string.h>

#include "base/parallel.h"
#include "tensor/node.h"

typedef struct rotation {
    size_t length, heads, width, first; /* places of a sequence; C; place of the first row */
    float *cosines, *sines;             /* length x d / 2 */
} rotation;

typedef struct turning {
    rotation r;
    const float *from;
    float *to;
    float direction; /* 1, or -1 for the gradient */
    bool add;
} turning;

static void turn_rows(void *context, size_t first, size_t count) {
    const turning *t = context;
    const rotation *r = &t->r;
    const size_t head = r->width / r->heads, half = head / 2, columns = 3 * r->width;
    for (size_t row = first; row < first + count; row++) {
        const float *restrict cosines = r->cosines + row % r->length * half;
        const float *restrict sines = r->sines + row % r->length * half;
        for (size_t h = 0; h < 2 * r->heads; h++) { /* of queries, then of keys */
            const float *restrict x = t->from + row * columns + h * head;
            float *restrict y = t->to + row * columns + h * head;
            for (size_t n = 0; n < half; n++) {
                float c = cosines[n], s = t->direction * sines[n];
                float a = x[n] * c - x[n + half] * s, b = x[n] * s + x[n + half] * c;
                y[n] = t->add ? y[n] + a : a;
                y[n + half] = t->add ? y[n + half] + b : b;
            }
        }
        const float *restrict x = t->from + row * columns + 2 * r->width;
        float *restrict y = t->to + row * columns + 2 * r->width;
        for (size_t n = 0; n < r->width; n++) y[n] = t->add ? y[n] + x[n] : x[n];
    }
}

static void turn(turning *t, const rbe_tensor *x) {
    rbe_parallel_ranges(rbe_tensor_rows(x), 1 + RBE_PIECE / rbe_tensor_columns(x), turn_rows, t);
}

static rbe_status rotary_backward(rbe_var *self) {
    rbe_var *x = self->parents[0];
    turning t = {.r = *(const rotation *)self->context, .from = self->grad, .direction = -1.0f};
    t.to = rbe_grad_target(x, &t.add);
    if (!t.to) return rbe_last_status();
    turn(&t, &x->value);
    return RBE_OK;
}

static void fill_angles(rotation *r, double base) {
    const size_t head = r->width / r->heads, half = head / 2;
    for (size_t n = 0; n < half; n++) {
        double speed = pow(base, -2.0 * (double)n / (double)head);
        for (size_t p = 0; p < r->length; p++) {
            r->cosines[p * half + n] = (float)cos((double)(r->first + p) * speed);
            r->sines[p * half + n] = (float)sin((double)(r->first + p) * speed);
        }
    }
}

rbe_var *rbe_rotary(rbe_var *qkv, size_t heads, double base, size_t first) {
    rbe_var *failed;
    if (!rbe_operands_ok("rotary", &qkv, 1, &failed)) return failed;
    const rbe_tensor *x = &qkv->value;
    const size_t columns = x->shape[x->dims - 1];
    char shape[RBE_SHAPE_TEXT];
    if (x->dims < 2 || heads == 0 || columns % 3 != 0 || columns / 3 % heads != 0 || columns / 3 / heads % 2 != 0)
        return rbe_tape_fail(qkv, RBE_INPUT_DIMENSION_MISMATCH,
                             "rotary: expected (.., places, 3 x width), width an even multiple of %zu heads, found %s",
                             heads, rbe_shape_text(x, shape));
    if (!(base > 1.0 && isfinite(base)))
        return rbe_tape_fail(qkv, RBE_INVALID_ARGUMENT, "rotary: expected a finite base > 1, found %g", base);
    rbe_var *y = rbe_node_like("rotary", qkv, RBE_FULL(rotary_backward), sizeof(rotation));
    if (!rbe_ok(y)) return y;
    rotation *r = y->context;
    *r = (rotation){.length = x->shape[x->dims - 2], .heads = heads, .width = columns / 3, .first = first};
    const size_t angles = r->length * (r->width / heads / 2);
    r->cosines = rbe_tape_take(y, angles, sizeof(float));
    r->sines = r->cosines ? rbe_tape_take(y, angles, sizeof(float)) : NULL;
    if (!r->sines) return rbe_tape_fail_last(y);
    fill_angles(r, base);
    turning t = {.r = *r, .from = x->data, .to = y->value.data, .direction = 1.0f};
    turn(&t, x);
    return y;
}
