/* Gradual pruning: the share that is gone rises as 1 - (1 - u)^3, fast at first, while much is redundant, and
 * slowly in the end (Zhu and Gupta 2017).
 */
#include <math.h>

#include "base/alloc.h"
#include "rbe/adapt.h"

struct rbe_gradual {
    rbe_model *model;
    rbe_optim *optim;
    rbe_gradual_options options;
    size_t coefficients; /* at the beginning */
};

static size_t count_coefficients(const rbe_model *model) {
    size_t count = 0;
    const rbe_layer *layer;
    for (size_t n = 0; (layer = rbe_model_layer(model, n)); n++)
        count += rbe_blocks_describe(rbe_linear_blocks(layer)).coefficients;
    return count;
}

double rbe_prune_schedule(double final, size_t begin, size_t end, size_t step) {
    if (step < begin) return 0.0;
    double rest = step < end && step + 1 < end ? 1.0 - (double)(step + 1 - begin) / (double)(end - begin) : 0.0;
    return final * (1.0 - rest * rest * rest);
}

rbe_status rbe_gradual_step(rbe_gradual *gradual, size_t step) {
    if (!gradual) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_gradual_step: it is NULL: it could not be made");
    const rbe_gradual_options *o = &gradual->options;
    if (step + 1 <= o->begin || step + 1 > o->end) return RBE_OK;
    if (step + 1 < o->end && (step + 1 - o->begin) % o->every != 0) return RBE_OK;
    double stay = (double)gradual->coefficients * (1.0 - rbe_prune_schedule(o->final, o->begin, o->end, step));
    double now = (double)count_coefficients(gradual->model);
    if (now <= stay) return RBE_OK;
    rbe_prune_options prune = o->prune;
    prune.by = RBE_PRUNE_FRACTION;
    prune.amount = 1.0 - stay / now;
    return rbe_prune(gradual->model, gradual->optim, &prune, NULL);
}

static rbe_status check_options(const rbe_gradual_options *o) {
    if (!o) return rbe_fail(RBE_INVALID_ARGUMENT, "gradual pruning: the options are NULL");
    if (!(o->final >= 0.0 && o->final <= 1.0))
        return rbe_fail(RBE_INVALID_ARGUMENT, "gradual pruning: expected a final share of 0 .. 1, found %g", o->final);
    if (o->begin >= o->end)
        return rbe_fail(RBE_INVALID_ARGUMENT, "gradual pruning: expected begin < end, found %zu and %zu", o->begin,
                        o->end);
    if (o->end > SIZE_MAX / 2)
        return rbe_fail(RBE_INVALID_ARGUMENT, "gradual pruning: expected an end of at most %zu, found %zu",
                        SIZE_MAX / 2, o->end);
    if (o->prune.single_values || (o->prune.score != RBE_PRUNE_MAGNITUDE && o->prune.score != RBE_PRUNE_RANDOM))
        return rbe_fail(RBE_INVALID_ARGUMENT, "gradual pruning: expected magnitude or random scores of whole entries");
    return RBE_OK;
}

rbe_gradual *rbe_gradual_new(rbe_model *model, rbe_optim *optim, const rbe_gradual_options *options) {
    if (rbe_model_status(model) != RBE_OK || check_options(options) != RBE_OK) return NULL;
    size_t coefficients = count_coefficients(model);
    if (coefficients == 0) {
        rbe_fail(RBE_INVALID_ARGUMENT, "gradual pruning: the model has no compressed layer");
        return NULL;
    }
    rbe_gradual *gradual = rbe_alloc(1, sizeof *gradual);
    if (!gradual) return NULL;
    *gradual = (rbe_gradual){model, optim, *options, coefficients};
    if (gradual->options.every == 0) gradual->options.every = (options->end - options->begin + 19) / 20;
    return gradual;
}

void rbe_gradual_free(rbe_gradual *gradual) { rbe_free(gradual); }
