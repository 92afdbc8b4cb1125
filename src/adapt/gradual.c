/* Gradual pruning: the share that is gone, or the threshold, rises as 1 - (1 - u)^3, fast at first, while much is
 * redundant, and slowly in the end (Zhu and Gupta 2017).
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "adapt/prune.h"
#include "base/alloc.h"
#include "nn/layer.h"

struct rbe_gradual {
    rbe_model *model;
    rbe_gradual_options options;
    rbe_layer_count *layers; /* at the beginning; 0 of a layer that is not compressed */
    size_t layer_count;
    size_t coefficients; /* of all of them */
};

static size_t count_of_layer(const rbe_layer *layer) {
    return rbe_blocks_describe(rbe_linear_blocks(layer)).coefficients;
}

static size_t count_coefficients(const rbe_model *model) {
    size_t count = 0;
    const rbe_layer *layer;
    for (size_t n = 0; (layer = rbe_model_layer(model, n)); n++) count += count_of_layer(layer);
    return count;
}

double rbe_prune_schedule(double final, size_t begin, size_t end, size_t step) {
    if (step < begin) return 0.0;
    double rest = step < end && step + 1 < end ? 1.0 - (double)(step + 1 - begin) / (double)(end - begin) : 0.0;
    return final * (1.0 - rest * rest * rest);
}

rbe_status rbe_gradual_step(rbe_gradual *gradual, size_t step) {
    if (!gradual)
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_gradual_step: gradual pruning is NULL; did rbe_gradual_new fail?");
    const rbe_gradual_options *o = &gradual->options;
    if (step + 1 <= o->begin || step + 1 > o->end) return RBE_OK;
    if (step + 1 < o->end && (step + 1 - o->begin) % o->every != 0) return RBE_OK;
    rbe_prune_options prune = o->prune;
    prune.amount = rbe_prune_schedule(o->final, o->begin, o->end, step);
    if (prune.by == RBE_PRUNE_FRACTION) { /* of what is left */
        double stay = (double)gradual->coefficients * (1.0 - prune.amount);
        double now = (double)count_coefficients(gradual->model);
        if (now <= stay) return RBE_OK;
        prune.amount = 1.0 - stay / now;
    }
    return rbe_prune_further(gradual->model, &prune, gradual->layers, gradual->layer_count, NULL);
}

/* ---- as a routine -------------------------------------------------------------------------------------------- */

static rbe_status step_routine(void *user, size_t step) { return rbe_gradual_step(user, step); }

static rbe_status same_options(const rbe_gradual_options *o, rbe_sameness s) {
    RBE_TRY(rbe_same_number(s, "score", o->prune.score));
    RBE_TRY(rbe_same_number(s, "by", o->prune.by));
    RBE_TRY(rbe_same_number(s, "relative", o->prune.relative));
    RBE_TRY(rbe_same_number(s, "per_layer", o->prune.per_layer));
    RBE_TRY(rbe_same_number(s, "no_absorption", o->prune.no_absorption));
    RBE_TRY(rbe_same_number(s, "final", o->final));
    RBE_TRY(rbe_same_number(s, "begin", (double)o->begin));
    RBE_TRY(rbe_same_number(s, "end", (double)o->end));
    RBE_TRY(rbe_same_number(s, "every", (double)o->every));
    return rbe_same_seed(s, "seed", o->prune.seed);
}

static const char *name_of_layer(size_t n, char name[32]) {
    snprintf(name, 32, "layer_%zu", n);
    return name;
}

static rbe_status write_state(void *user, rbe_writer *writer) {
    const rbe_gradual *gradual = user;
    char name[32];
    if (!gradual) return rbe_fail(RBE_INVALID_ARGUMENT, "gradual pruning is NULL; did rbe_gradual_new fail?");
    RBE_TRY(same_options(&gradual->options, (rbe_sameness){.writer = writer}));
    RBE_TRY(rbe_write_number(writer, "coefficients", (double)gradual->coefficients));
    for (size_t n = 0; n < gradual->layer_count; n++)
        RBE_TRY(rbe_write_number(writer, name_of_layer(n, name), (double)gradual->layers[n].coefficients));
    return RBE_OK;
}

static rbe_status read_state(void *user, rbe_reader *reader) {
    rbe_gradual *gradual = user;
    char name[32];
    size_t coefficients;
    if (!gradual) return rbe_fail(RBE_INVALID_ARGUMENT, "gradual pruning is NULL; did rbe_gradual_new fail?");
    RBE_TRY(same_options(&gradual->options, (rbe_sameness){.reader = reader}));
    RBE_TRY(rbe_read_count(reader, "coefficients", 1, SIZE_MAX / 4096, &coefficients));
    size_t *counts = rbe_alloc(gradual->layer_count, sizeof *counts);
    rbe_status status = counts ? RBE_OK : rbe_last_status();
    for (size_t n = 0; status == RBE_OK && n < gradual->layer_count; n++)
        status = rbe_read_count(reader, name_of_layer(n, name), 0, SIZE_MAX / 4096, &counts[n]);
    for (size_t n = 0; status == RBE_OK && n < gradual->layer_count; n++) gradual->layers[n].coefficients = counts[n];
    if (status == RBE_OK) gradual->coefficients = coefficients;
    rbe_free(counts);
    return status;
}

rbe_routine rbe_gradual_routine(rbe_gradual *gradual) {
    return (rbe_routine){
        .name = "gradual pruning", .step = step_routine, .write = write_state, .read = read_state, .user = gradual};
}

/* ---- making and freeing -------------------------------------------------------------------------------------- */

static rbe_status check_final(const rbe_gradual_options *o) {
    switch (o->prune.by) {
    case RBE_PRUNE_FRACTION:
        if (o->final >= 0.0 && o->final <= 1.0) return RBE_OK;
        return rbe_fail(RBE_INVALID_ARGUMENT, "gradual pruning: expected a final share of 0 .. 1, found %g", o->final);
    case RBE_PRUNE_THRESHOLD:
        if (o->final >= 0.0 && isfinite(o->final)) return RBE_OK;
        return rbe_fail(RBE_INVALID_ARGUMENT, "gradual pruning: expected a finite threshold >= 0, found %g", o->final);
    case RBE_PRUNE_TO_BYTES: break;
    }
    return rbe_fail(RBE_INVALID_ARGUMENT,
                    "gradual pruning: expected a share or a threshold, found an amount of kind %d", (int)o->prune.by);
}

static rbe_status check_options(const rbe_gradual_options *o) {
    if (!o) return rbe_fail(RBE_INVALID_ARGUMENT, "gradual pruning: the options are NULL");
    RBE_TRY(check_final(o));
    if (o->begin >= o->end)
        return rbe_fail(RBE_INVALID_ARGUMENT, "gradual pruning: expected begin < end, found %zu and %zu", o->begin,
                        o->end);
    if (o->end > SIZE_MAX / 2)
        return rbe_fail(RBE_INVALID_ARGUMENT, "gradual pruning: expected an end of at most %zu, found %zu",
                        SIZE_MAX / 2, o->end);
    if (o->prune.single_values || (o->prune.score != RBE_PRUNE_MAGNITUDE && o->prune.score != RBE_PRUNE_RANDOM))
        return rbe_fail(RBE_INVALID_ARGUMENT, "gradual pruning: expected magnitude or random scores of whole entries");
    if (o->prune.by == RBE_PRUNE_THRESHOLD && o->prune.score != RBE_PRUNE_MAGNITUDE)
        return rbe_fail(RBE_INVALID_ARGUMENT, "gradual pruning: a threshold needs magnitude scores");
    if (o->prune.relative && o->prune.by != RBE_PRUNE_THRESHOLD)
        return rbe_fail(RBE_INVALID_ARGUMENT, "gradual pruning: only a threshold can be relative");
    return RBE_OK;
}

static rbe_status remember_layers(rbe_gradual *gradual) {
    size_t count = 0;
    while (rbe_model_layer(gradual->model, count)) count++;
    gradual->layers = rbe_alloc(count, sizeof *gradual->layers);
    if (!gradual->layers) return rbe_last_status();
    for (size_t n = 0; n < count; n++) {
        const rbe_layer *layer = rbe_model_layer(gradual->model, n);
        gradual->layers[n] = (rbe_layer_count){layer, count_of_layer(layer)};
    }
    gradual->layer_count = count;
    return RBE_OK;
}

rbe_gradual *rbe_gradual_new(rbe_model *model, const rbe_gradual_options *options) {
    if (rbe_model_status(model) != RBE_OK || check_options(options) != RBE_OK) return NULL;
    size_t coefficients = count_coefficients(model);
    if (coefficients == 0) {
        rbe_fail(RBE_INVALID_ARGUMENT, "gradual pruning: the model has no compressed layer");
        return NULL;
    }
    rbe_gradual *gradual = rbe_alloc(1, sizeof *gradual);
    if (!gradual) return NULL;
    *gradual = (rbe_gradual){.model = model, .options = *options, .coefficients = coefficients};
    if (gradual->options.every == 0) gradual->options.every = (options->end - options->begin + 19) / 20;
    if (remember_layers(gradual) == RBE_OK) return gradual;
    rbe_gradual_free(gradual);
    return NULL;
}

void rbe_gradual_free(rbe_gradual *gradual) {
    if (!gradual) return;
    rbe_free(gradual->layers);
    rbe_free(gradual);
}
