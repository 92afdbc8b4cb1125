/* Functions of one value, y = f(x), dL/dx = dL/dy f'(x):
 *
 *     exp      exp x                       f' = y
 *     log      log x                       f' = 1 / x
 *     sqrt     sqrt x                      f' = 1 / (2 y)
 *     abs      |x|                         f' = sign x, 0 at 0
 *     clamp    min(max(x, low), high)      f' = 1 for low <= x <= high, else 0
 *     power    x^p                         f' = p x^(p-1), 0 for p = 0
 *
 * Where f is not defined the value is infinite or NaN, which rbe_tape_check_finite finds.
 */
#include <math.h>

#include "tensor/elementwise.h"

static inline float exp_chain(float g, float x, float y) {
    (void)x;
    return g * y;
}

static void exp_forward_range(void *v, size_t first, size_t count) { rbe_apply(v, first, count, expf); }

static void exp_backward_range(void *v, size_t first, size_t count) { rbe_apply_chain(v, first, count, exp_chain); }

static rbe_status exp_backward(rbe_var *self) { return rbe_elementwise_backward(self, exp_backward_range); }

rbe_var *rbe_exp(rbe_var *x) { return rbe_elementwise("exp", x, exp_forward_range, exp_backward); }

static inline float log_chain(float g, float x, float y) {
    (void)y;
    return g / x;
}

static void log_forward_range(void *v, size_t first, size_t count) { rbe_apply(v, first, count, logf); }

static void log_backward_range(void *v, size_t first, size_t count) { rbe_apply_chain(v, first, count, log_chain); }

static rbe_status log_backward(rbe_var *self) { return rbe_elementwise_backward(self, log_backward_range); }

rbe_var *rbe_log(rbe_var *x) { return rbe_elementwise("log", x, log_forward_range, log_backward); }

static inline float sqrt_chain(float g, float x, float y) {
    (void)x;
    return 0.5f * g / y;
}

static void sqrt_forward_range(void *v, size_t first, size_t count) { rbe_apply(v, first, count, sqrtf); }

static void sqrt_backward_range(void *v, size_t first, size_t count) { rbe_apply_chain(v, first, count, sqrt_chain); }

static rbe_status sqrt_backward(rbe_var *self) { return rbe_elementwise_backward(self, sqrt_backward_range); }

rbe_var *rbe_sqrt(rbe_var *x) { return rbe_elementwise("sqrt", x, sqrt_forward_range, sqrt_backward); }

static inline float abs_chain(float g, float x, float y) {
    (void)y;
    return x > 0.0f ? g : x < 0.0f ? -g : 0.0f;
}

static void abs_forward_range(void *v, size_t first, size_t count) { rbe_apply(v, first, count, fabsf); }

static void abs_backward_range(void *v, size_t first, size_t count) { rbe_apply_chain(v, first, count, abs_chain); }

static rbe_status abs_backward(rbe_var *self) { return rbe_elementwise_backward(self, abs_backward_range); }

rbe_var *rbe_abs(rbe_var *x) { return rbe_elementwise("abs", x, abs_forward_range, abs_backward); }

/* ---- functions with constants of their own ------------------------------------------------------------------- */

typedef struct bounds {
    float low, high;
} bounds;

/* A NaN passes, to be found later. */
static void clamp_forward_range(void *context, size_t first, size_t count) {
    const rbe_values *v = context;
    const bounds b = *(const bounds *)v->constants;
    const float *restrict x = v->x + first;
    float *restrict y = v->y + first;
    for (size_t i = 0; i < count; i++) y[i] = x[i] < b.low ? b.low : x[i] > b.high ? b.high : x[i];
}

static void clamp_backward_range(void *context, size_t first, size_t count) {
    const rbe_values *v = context;
    const bounds b = *(const bounds *)v->constants;
    const float *restrict g = v->g + first, *restrict x = v->x + first;
    float *restrict gx = v->gx + first;
    for (size_t i = 0; i < count; i++) gx[i] = (v->add ? gx[i] : 0.0f) + (x[i] < b.low || x[i] > b.high ? 0.0f : g[i]);
}

static rbe_status clamp_backward(rbe_var *self) { return rbe_elementwise_backward(self, clamp_backward_range); }

rbe_var *rbe_clamp(rbe_var *x, float low, float high) {
    if (!(low <= high))
        return rbe_tape_fail(x, RBE_INVALID_ARGUMENT, "clamp: expected low <= high, found %g and %g", (double)low,
                             (double)high);
    const bounds b = {low, high};
    return rbe_elementwise_with("clamp", x, clamp_forward_range, clamp_backward, &b, sizeof b);
}

static void power_forward_range(void *context, size_t first, size_t count) {
    const rbe_values *v = context;
    const float p = *(const float *)v->constants;
    for (size_t i = first; i < first + count; i++) v->y[i] = powf(v->x[i], p);
}

static void power_backward_range(void *context, size_t first, size_t count) {
    const rbe_values *v = context;
    const float p = *(const float *)v->constants;
    for (size_t i = first; i < first + count; i++) {
        const float slope = p == 0.0f ? 0.0f : p * powf(v->x[i], p - 1.0f);
        v->gx[i] = (v->add ? v->gx[i] : 0.0f) + v->g[i] * slope;
    }
}

static rbe_status power_backward(rbe_var *self) { return rbe_elementwise_backward(self, power_backward_range); }

rbe_var *rbe_power(rbe_var *x, float exponent) {
    if (!isfinite(exponent))
        return rbe_tape_fail(x, RBE_INVALID_ARGUMENT, "power: expected a finite exponent, found %g", (double)exponent);
    return rbe_elementwise_with("power", x, power_forward_range, power_backward, &exponent, sizeof exponent);
}
