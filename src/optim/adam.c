/* Adam (Kingma and Ba 2015) and AdamW (Loshchilov and Hutter 2019).
 *
 *     u = g + decay p  (adam),  u = g  (adamw)
 *     m = b1 m + (1 - b1) u                     v = b2 v + (1 - b2) u^2
 *     p -= r m' / (sqrt v' + eps)               m' = m / (1 - b1^t),  v' = v / (1 - b2^t)
 *     p -= lr decay p                           (adamw only)
 *
 * One loop serves both: with `decay` 0 or `keep` 1. The corrections for the start at zero are computed once per
 * step, in double: 1 - b2^t loses every digit of a float when b2 is near 1.
 */
#include <math.h>

#include "base/parallel.h"
#include "optim/optim_internal.h"

typedef struct coefficients {
    float decay, keep;    /* u = g + decay p; p is multiplied by keep */
    float old_m, new_m;   /* b1, 1 - b1 */
    float old_v, new_v;   /* b2, 1 - b2 */
    float rate, v_factor; /* r / (1 - b1^t), 1 / (1 - b2^t) */
    float epsilon;
} coefficients;

static size_t state_arrays(const rbe_optim_options *options) {
    (void)options;
    return 2;
}

typedef struct parameter {
    float *p, *m, *v;
    const float *g;
    coefficients c;
} parameter;

static void apply(void *context, size_t first, size_t count) {
    const parameter *all = context;
    const coefficients c = all->c;
    const float *restrict g = all->g + first;
    float *restrict p = all->p + first, *restrict m = all->m + first, *restrict v = all->v + first;
    for (size_t i = 0; i < count; i++) {
        float u = g[i] + c.decay * p[i];
        float mi = rbe_flush_subnormal(c.old_m * m[i] + c.new_m * u);
        float vi = rbe_flush_subnormal(c.old_v * v[i] + c.new_v * u * u);
        m[i] = mi;
        v[i] = vi;
        p[i] = c.keep * p[i] - c.rate * mi / (sqrtf(c.v_factor * vi) + c.epsilon);
    }
}

static void update(const rbe_optim_options *o, size_t step, rbe_param *p, float *const *state, bool decoupled) {
    double b1 = o->beta1, b2 = o->beta2, t = (double)step;
    double decay = p->decays ? o->weight_decay : 0.0;
    coefficients c = {
        .decay = decoupled ? 0.0f : (float)decay,
        .keep = decoupled ? (float)(1.0 - o->lr * decay) : 1.0f,
        .old_m = o->beta1,
        .new_m = (float)(1.0 - b1),
        .old_v = o->beta2,
        .new_v = (float)(1.0 - b2),
        .rate = (float)((double)o->lr * p->lr_scale / (1.0 - pow(b1, t))),
        .v_factor = (float)(1.0 / (1.0 - pow(b2, t))),
        .epsilon = o->epsilon,
    };
    parameter all = {p->value, state[0], state[1], p->grad, c};
    rbe_parallel_ranges(p->count, RBE_PIECE / 4, apply, &all);
}

static void adam_update(const rbe_optim_options *options, size_t step, rbe_param *param, float *const *state) {
    update(options, step, param, state, false);
}

static void adamw_update(const rbe_optim_options *options, size_t step, rbe_param *param, float *const *state) {
    update(options, step, param, state, true);
}

static const rbe_optim_method adam = {"adam", {"adam.m", "adam.v"}, state_arrays, adam_update, true};
static const rbe_optim_method adamw = {"adamw", {"adamw.m", "adamw.v"}, state_arrays, adamw_update, true};

const rbe_optim_method *const rbe_adam = &adam;
const rbe_optim_method *const rbe_adamw = &adamw;
