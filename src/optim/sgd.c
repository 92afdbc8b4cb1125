/* Stochastic gradient descent with momentum.
 *
 *     u = g + decay p
 *     plain      p -= r u
 *     momentum   m = momentum m + u;  p -= r m
 *     Nesterov   m = momentum m + u;  p -= r (u + momentum m)
 */
#include "base/parallel.h"
#include "optim/optim_internal.h"

static size_t state_arrays(const rbe_optim_options *options) { return options->momentum > 0 ? 1 : 0; }

typedef struct parameter {
    float *p, *m;
    const float *g;
    float rate, decay, momentum, own, carried;
} parameter;

static void plain(void *context, size_t first, size_t count) {
    const parameter *all = context;
    const float rate = all->rate, decay = all->decay, *restrict g = all->g + first;
    float *restrict p = all->p + first;
    for (size_t i = 0; i < count; i++) p[i] -= rate * (g[i] + decay * p[i]);
}

/* p -= r (own u + carried m): (0, 1) is heavy-ball momentum, (1, momentum) Nesterov's. */
static void with_momentum(void *context, size_t first, size_t count) {
    const parameter all = *(const parameter *)context;
    const float *restrict g = all.g + first;
    float *restrict p = all.p + first, *restrict m = all.m + first;
    for (size_t i = 0; i < count; i++) {
        float u = g[i] + all.decay * p[i];
        float mi = rbe_flush_subnormal(all.momentum * m[i] + u);
        m[i] = mi;
        p[i] -= all.rate * (all.own * u + all.carried * mi);
    }
}

static void update(const rbe_optim_options *o, size_t step, rbe_param *p, float *const *state) {
    (void)step;
    parameter all = {.p = p->value,
                     .m = state[0],
                     .g = p->grad,
                     .rate = o->lr * p->lr_scale,
                     .decay = p->decays ? o->weight_decay : 0.0f,
                     .momentum = o->momentum,
                     .own = o->nesterov ? 1.0f : 0.0f,
                     .carried = o->nesterov ? o->momentum : 1.0f};
    rbe_parallel_ranges(p->count, RBE_PIECE, all.m ? with_momentum : plain, &all);
}

static const rbe_optim_method sgd = {"sgd", {"sgd.m"}, state_arrays, update, false};

const rbe_optim_method *const rbe_sgd = &sgd;
