/* Reductions of all values to one, accumulated in double.
 *
 *     sum                  s = sum_i x_i                      ds/dx_i = 1
 *     mean                 s = (1/n) sum_i x_i                ds/dx_i = 1/n
 *     mean_squared_error   s = (1/n) sum_i (p_i - t_i)^2      ds/dp_i = 2 (p_i - t_i) / n = -ds/dt_i
 */
#include "tensor/node.h"

static const size_t one_value[] = {1};

static double total(const rbe_tensor *x) {
    size_t count = rbe_tensor_count(x);
    const float *values = x->data;
    double sum = 0.0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < count; i++) sum += (double)values[i];
    return sum;
}

/* Gives every value of the parent the same gradient. */
static rbe_status spread(const rbe_var *self, float gradient) {
    rbe_var *x = self->parents[0];
    if (!x->needs_grad) return RBE_OK;
    bool add;
    float *gx = rbe_grad_target(x, &add);
    if (!gx) return rbe_last_status();
    size_t count = rbe_tensor_count(&x->value);
    if (add)
        for (size_t i = 0; i < count; i++) gx[i] += gradient;
    else
        for (size_t i = 0; i < count; i++) gx[i] = gradient;
    return RBE_OK;
}

static rbe_status sum_backward(rbe_var *self) { return spread(self, self->grad[0]); }

rbe_var *rbe_sum(rbe_var *x) {
    rbe_var *s = rbe_node("sum", &x, 1, 1, one_value, sum_backward, 0);
    if (!rbe_ok(s)) return s;
    s->value.data[0] = (float)total(&x->value);
    return s;
}

static rbe_status mean_backward(rbe_var *self) {
    return spread(self, self->grad[0] / (float)rbe_tensor_count(&self->parents[0]->value));
}

rbe_var *rbe_mean(rbe_var *x) {
    rbe_var *s = rbe_node("mean", &x, 1, 1, one_value, mean_backward, 0);
    if (!rbe_ok(s)) return s;
    s->value.data[0] = (float)(total(&x->value) / (double)rbe_tensor_count(&x->value));
    return s;
}

static rbe_status mean_squared_error_backward(rbe_var *self) {
    for (int k = 0; k < 2; k++) {
        rbe_var *x = self->parents[k];
        const rbe_var *other = self->parents[1 - k];
        if (!x->needs_grad) continue;
        bool add;
        float *restrict gx = rbe_grad_target(x, &add);
        if (!gx) return rbe_last_status();
        size_t count = rbe_tensor_count(&x->value);
        const float *a = x->value.data, *b = other->value.data;
        const float factor = 2.0f * self->grad[0] / (float)count;
        if (add)
            for (size_t i = 0; i < count; i++) gx[i] += factor * (a[i] - b[i]);
        else
            for (size_t i = 0; i < count; i++) gx[i] = factor * (a[i] - b[i]);
    }
    return RBE_OK;
}

rbe_var *rbe_mean_squared_error(rbe_var *prediction, rbe_var *target) {
    rbe_var *const operands[] = {prediction, target};
    rbe_var *failed;
    if (!rbe_operands_ok("mean_squared_error", operands, 2, &failed)) return failed;
    if (!rbe_same_shape(&prediction->value, &target->value)) {
        char p[RBE_SHAPE_TEXT], t[RBE_SHAPE_TEXT];
        return rbe_tape_fail(prediction, RBE_INPUT_DIMENSION_MISMATCH,
                             "mean_squared_error: expected equal shapes, found prediction %s and target %s",
                             rbe_shape_text(&prediction->value, p), rbe_shape_text(&target->value, t));
    }
    rbe_var *s = rbe_node("mean_squared_error", operands, 2, 1, one_value, mean_squared_error_backward, 0);
    if (!rbe_ok(s)) return s;
    size_t count = rbe_tensor_count(&prediction->value);
    const float *p = prediction->value.data, *t = target->value.data;
    double sum = 0.0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < count; i++) sum += ((double)p[i] - (double)t[i]) * ((double)p[i] - (double)t[i]);
    s->value.data[0] = (float)(sum / (double)count);
    return s;
}
