/* Stochastic gradient descent with momentum.
 *
 *     u = g + decay p
 *     plain      p -= r u
 *     momentum   m = momentum m + u;  p -= r m
 *     Nesterov   m = momentum m + u;  p -= r (u + momentum m)
 */
#include "optim/optim_internal.h"

static size_t state_arrays(const rbe_optim_options *options) { return options->momentum > 0 ? 1 : 0; }

static void plain(float *restrict p, const float *restrict g, size_t count, float rate, float decay) {
    for (size_t i = 0; i < count; i++) p[i] -= rate * (g[i] + decay * p[i]);
}

/* p -= r (own u + carried m): (0, 1) is heavy-ball momentum, (1, momentum) Nesterov's. */
static void with_momentum(float *restrict p, const float *restrict g, float *restrict m, size_t count, float rate,
                          float decay, float momentum, float own, float carried) {
    for (size_t i = 0; i < count; i++) {
        float u = g[i] + decay * p[i];
        float mi = rbe_flush_subnormal(momentum * m[i] + u);
        m[i] = mi;
        p[i] -= rate * (own * u + carried * mi);
    }
}

static void update(const rbe_optim *optim, const rbe_optim_slot *slot) {
    const rbe_optim_options *o = &optim->options;
    const rbe_param *p = slot->param;
    float rate = o->lr * p->lr_scale;
    float decay = p->decays ? o->weight_decay : 0.0f;
    if (slot->state[0])
        with_momentum(p->value, p->grad, slot->state[0], p->count, rate, decay, o->momentum, o->nesterov ? 1.0f : 0.0f,
                      o->nesterov ? o->momentum : 1.0f);
    else
        plain(p->value, p->grad, p->count, rate, decay);
}

static const rbe_optim_method sgd = {"sgd", state_arrays, update, false};

const rbe_optim_method *const rbe_sgd = &sgd;
