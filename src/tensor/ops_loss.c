/* Losses of float targets, the mean over all n values; with d = p - t:
 *
 *     binary_cross_entropy   max(x, 0) - x t + log(1 + exp(-|x|))           dl/dx = (sigmoid(x) - t) / n
 *                                                                           dl/dt = -x / n
 *     huber                  d^2 / 2 for |d| <= delta, else                 dl/dp = min(max(d, -delta), delta) / n
 *                            delta (|d| - delta / 2)                        dl/dt = -dl/dp
 *
 * The first is -t log s - (1 - t) log(1 - s) with s = sigmoid(x), where neither logarithm can overflow. Pieces of the
 * values are summed as tasks, in double, and the sums from the first to the last.
 */
#include <math.h>

#include "base/parallel.h"
#include "base/sizes.h"
#include "tensor/node.h"

enum { PIECE = 2048 };

/* What the tasks of one pass read and write. */
typedef struct pass {
    const float *p, *t;
    double *sums; /* of pieces */
    float *grad;  /* of p or of t */
    float factor; /* dL/dl / n */
    float delta;
    bool add;
} pass;

static rbe_var *loss(const char *operation, rbe_var *prediction, rbe_var *target, float delta, rbe_range_task *sum,
                     rbe_backward_function backward) {
    rbe_var *const operands[] = {prediction, target};
    rbe_var *l = rbe_node(operation, operands, 2, 1, (const size_t[]){1}, backward, sizeof delta);
    if (!rbe_ok(l)) return l;
    *(float *)l->context = delta;
    const size_t count = rbe_tensor_count(&prediction->value), pieces = rbe_pieces(count, PIECE);
    rbe_arena *arena = rbe_tape_arena(l);
    const rbe_arena_mark mark = rbe_arena_here(arena);
    pass p = {.p = prediction->value.data, .t = target->value.data, .delta = delta};
    p.sums = rbe_arena_take(arena, pieces, sizeof *p.sums);
    if (!p.sums) return rbe_tape_fail_last(l);
    rbe_parallel_ranges(count, PIECE, sum, &p);
    double total = 0.0;
    for (size_t n = 0; n < pieces; n++) total += p.sums[n];
    rbe_arena_return(arena, mark);
    l->value.data[0] = (float)(total / (double)count);
    return l;
}

/* `gradients` are those of the prediction and of the target. */
static rbe_status loss_backward(rbe_var *self, rbe_range_task *const gradients[2]) {
    const size_t count = rbe_tensor_count(&self->parents[0]->value);
    pass p = {.p = self->parents[0]->value.data,
              .t = self->parents[1]->value.data,
              .factor = self->grad[0] / (float)count,
              .delta = *(const float *)self->context};
    for (int k = 0; k < 2; k++) {
        if (!self->parents[k]->needs_grad) continue;
        p.grad = rbe_grad_target(self->parents[k], &p.add);
        if (!p.grad) return rbe_last_status();
        rbe_parallel_ranges(count, PIECE, gradients[k], &p);
    }
    return RBE_OK;
}

/* Whether the operands can be compared value by value. If not, *failed is what the operation returns. */
static bool comparable(const char *operation, rbe_var *prediction, rbe_var *target, rbe_var **failed) {
    if (!rbe_operands_ok(operation, (rbe_var *const[]){prediction, target}, 2, failed)) return false;
    if (rbe_same_shape(&prediction->value, &target->value)) return true;
    char p[RBE_SHAPE_TEXT], t[RBE_SHAPE_TEXT];
    *failed = rbe_tape_fail(prediction, RBE_INPUT_DIMENSION_MISMATCH,
                            "%s: expected equal shapes, found prediction %s and target %s", operation,
                            rbe_shape_text(&prediction->value, p), rbe_shape_text(&target->value, t));
    return false;
}

/* ---- binary cross-entropy ------------------------------------------------------------------------------------ */

static void entropy_range(void *context, size_t first, size_t count) {
    const pass *p = context;
    double sum = 0.0;
    for (size_t i = first; i < first + count; i++) {
        const double x = (double)p->p[i];
        sum += fmax(x, 0.0) - x * (double)p->t[i] + (double)log1pf(expf(-fabsf(p->p[i])));
    }
    p->sums[first / PIECE] = sum;
}

static void entropy_logit_range(void *context, size_t first, size_t count) {
    const pass *p = context;
    for (size_t i = first; i < first + count; i++) {
        const float slope = 1.0f / (1.0f + expf(-p->p[i])) - p->t[i];
        p->grad[i] = (p->add ? p->grad[i] : 0.0f) + p->factor * slope;
    }
}

static void entropy_target_range(void *context, size_t first, size_t count) {
    const pass *p = context;
    for (size_t i = first; i < first + count; i++) p->grad[i] = (p->add ? p->grad[i] : 0.0f) - p->factor * p->p[i];
}

static rbe_status entropy_backward(rbe_var *self) {
    return loss_backward(self, (rbe_range_task *const[]){entropy_logit_range, entropy_target_range});
}

rbe_var *rbe_binary_cross_entropy(rbe_var *logits, rbe_var *target) {
    rbe_var *failed;
    if (!comparable("binary_cross_entropy", logits, target, &failed)) return failed;
    for (size_t i = 0; i < rbe_tensor_count(&target->value); i++)
        if (!(target->value.data[i] >= 0.0f && target->value.data[i] <= 1.0f))
            return rbe_tape_fail(logits, RBE_INVALID_ARGUMENT,
                                 "binary_cross_entropy: value %zu: expected a target in 0 .. 1, found %g", i,
                                 (double)target->value.data[i]);
    return loss("binary_cross_entropy", logits, target, 0.0f, entropy_range, entropy_backward);
}

/* ---- huber --------------------------------------------------------------------------------------------------- */

static void huber_range(void *context, size_t first, size_t count) {
    const pass *p = context;
    const double delta = (double)p->delta;
    double sum = 0.0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = first; i < first + count; i++) {
        const double d = fabs((double)p->p[i] - (double)p->t[i]);
        sum += d <= delta ? 0.5 * d * d : delta * (d - 0.5 * delta);
    }
    p->sums[first / PIECE] = sum;
}

/* grad = sign dl/dp, or added to it. */
static void huber_gradient(const pass *p, float sign, size_t first, size_t count) {
    const float delta = p->delta, factor = sign * p->factor, *restrict prediction = p->p + first;
    const float *restrict target = p->t + first;
    float *restrict grad = p->grad + first;
    const bool add = p->add;
    for (size_t i = 0; i < count; i++) {
        const float d = prediction[i] - target[i], slope = d < -delta ? -delta : d > delta ? delta : d;
        grad[i] = (add ? grad[i] : 0.0f) + factor * slope;
    }
}

static void huber_prediction_range(void *p, size_t first, size_t count) { huber_gradient(p, 1.0f, first, count); }

static void huber_target_range(void *p, size_t first, size_t count) { huber_gradient(p, -1.0f, first, count); }

static rbe_status huber_backward(rbe_var *self) {
    return loss_backward(self, (rbe_range_task *const[]){huber_prediction_range, huber_target_range});
}

rbe_var *rbe_huber(rbe_var *prediction, rbe_var *target, float delta) {
    rbe_var *failed;
    if (!comparable("huber", prediction, target, &failed)) return failed;
    if (!(delta > 0.0f && isfinite(delta)))
        return rbe_tape_fail(prediction, RBE_INVALID_ARGUMENT, "huber: expected a finite delta > 0, found %g",
                             (double)delta);
    return loss("huber", prediction, target, delta, huber_range, huber_backward);
}
