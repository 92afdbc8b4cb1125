/* Models in temporary files; pruning one and measuring what is left of it. */
#include "sweep.h"

#include <string.h>
#include <unistd.h>

enum { FORWARD_ROWS = 256, FORWARD_ROUNDS = 41 };

/* ---- the originals ------------------------------------------------------------------------------------------- */

double sweep_error(const sweep *s, const rbe_model *model) {
    rbe_evaluation e;
    example_require(rbe_evaluate(model, &s->test, SWEEP_SAMPLES_AT_A_TIME, &e));
    return 100.0 * e.error;
}

rbe_model *sweep_train(const sweep *s, recipe r, size_t n) {
    r.seed += n;
    training t = recipe_start(&r, &s->train);
    t.fit.progress = stderr;
    training_finish(&t, &s->train, NULL);
    return t.model;
}

rbe_model *sweep_load(const sweep *s, size_t n) { return example_need(rbe_model_load(s->originals[n].path)); }

void sweep_begin(sweep *s) {
    double errors[SWEEP_MAX_SEEDS];
    experiment_data(s->data, &s->train, &s->test);
    for (size_t n = 0; n < s->seeds; n++) {
        rbe_model *model = s->load ? example_need(rbe_model_load(s->load)) : sweep_train(s, s->recipe, n);
        experiment_temporary(s->originals[n].path);
        example_require(rbe_model_save(model, s->originals[n].path, NULL));
        errors[n] = s->originals[n].error = sweep_error(s, model);
        rbe_model_free(model);
    }
    s->error = spread_of(errors, s->seeds);
}

void sweep_end(sweep *s) {
    for (size_t n = 0; n < s->seeds; n++) unlink(s->originals[n].path);
    rbe_dataset_free(&s->train);
    rbe_dataset_free(&s->test);
}

/* ---- a copy, pruned ------------------------------------------------------------------------------------------ */

/* One epoch more. */
static double tune(const sweep *s, rbe_model *model) {
    rbe_optim *optim = example_need(rbe_optim_new(rbe_adam, model, &(rbe_optim_options){.lr = 1e-3f}));
    rbe_fit_result result;
    const rbe_fit_options options = {
        .epochs = 1, .batch = s->recipe.batch, .seed = 99, .schedule = {.kind = RBE_COSINE}};
    example_require(rbe_fit(model, optim, &s->train, &s->test, &options, &result));
    rbe_optim_free(optim);
    return 100.0 * result.test.error;
}

/* Coefficients that are stored; judged one by one, those that are not 0. */
static size_t coefficients(const sweep *s, const rbe_layer *layer) {
    const rbe_param *param = rbe_layer_param(layer, 0);
    if (!s->single) return param->count;
    size_t count = 0;
    for (size_t n = 0; n < param->count; n++) count += param->value[n] != 0.0f;
    return count;
}

static void count_removed(const sweep *s, const rbe_model *whole, const rbe_model *pruned, sweep_outcome *o) {
    size_t before = 0, after = 0, found = 0;
    const rbe_layer *layer;
    for (size_t n = 0; (layer = rbe_model_layer(whole, n)); n++) {
        if (!rbe_linear_blocks(layer)) continue;
        if (found == SWEEP_MAX_LAYERS) example_fail(1, "expected at most %d compressed layers", SWEEP_MAX_LAYERS);
        size_t all = rbe_layer_param(layer, 0)->count, left = coefficients(s, rbe_model_layer(pruned, n));
        o->removed_of_layer[found++] = all > 0 ? 100.0 * (double)(all - left) / (double)all : 0.0;
        before += all;
        after += left;
    }
    o->removed = before > 0 ? 100.0 * (double)(before - after) / (double)before : 0.0;
}

sweep_outcome sweep_prune(const sweep *s, size_t n, rbe_model *copy, const rbe_prune_options *options) {
    sweep_outcome o;
    rbe_model *whole = sweep_load(s, n);
    example_require(rbe_prune(copy, options, &o.report));
    count_removed(s, whole, copy, &o);
    o.error = sweep_error(s, copy);
    o.file_bytes = experiment_file_bytes(copy, NULL);
    double seconds[2];
    time_forward((rbe_model *const[]){whole, copy}, 2, FORWARD_ROWS, FORWARD_ROUNDS, seconds);
    o.speed = seconds[0] / seconds[1];
    o.tuned_error = tune(s, copy);
    rbe_model_free(whole);
    rbe_model_free(copy);
    return o;
}
