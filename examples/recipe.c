/* Models by a recipe, and their training.
 *
 * What the hidden layers may hold together is divided among them in proportion to fan_in + fan_out
 * (rbe_budget_values).
 */
#include "recipe.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

recipe recipe_default(void) {
    return (recipe){.hidden = {.value = {300, 100}, .count = 2},
                    .ratio = 16,
                    .block = 32,
                    .transform = "dct",
                    .alpha = "auto",
                    .quantize_from = 0.5,
                    .epochs = 8,
                    .batch = 256,
                    .schedule = "cosine",
                    .optimizer = "adam",
                    .seed = 1};
}

/* ---- the command line ---------------------------------------------------------------------------------------- */

size_t recipe_options(recipe *r, example_option options[RECIPE_OPTIONS]) {
    const example_option shared[RECIPE_OPTIONS] = {
        {"hidden", EXAMPLE_SIZES, &r->hidden, "N,N,..", "widths of the hidden layers", 1, 65536},
        {"block", EXAMPLE_COUNT, &r->block, "B", "block size, a power of two 8 .. 256", 8, 256},
        {"group", EXAMPLE_COUNT, &r->group, "G",
         r->group
             ? "block rows that share positions"
             : "block rows that share positions (default 16; with growth 4, 2 or 1, the higher the ratio the fewer)",
         1, 65536},
        {"transform", EXAMPLE_TEXT, &r->transform, "NAME",
         "transform of the blocks: dct, haar, db4 .. db20, wht, identity", 0, 0},
        {"row-transform", EXAMPLE_TEXT, &r->row_transform, "NAME", "the same along the outputs only", 0, 0},
        {"column-transform", EXAMPLE_TEXT, &r->column_transform, "NAME", "the same along the inputs only", 0, 0},
        {"alpha", EXAMPLE_TEXT, &r->alpha, "on|off|auto", "the smooth part of each block", 0, 0},
        {"image", EXAMPLE_FLAG, &r->image, NULL, "the first layer takes its inputs as an image", 0, 0},
        {"dropout", EXAMPLE_REAL, &r->dropout, "P", "dropout of the inputs and of each hidden layer", 0, 0.99},
        {"epochs", EXAMPLE_COUNT, &r->epochs, "N", "passes over the training data", 1, 1000000},
        {"batch", EXAMPLE_COUNT, &r->batch, "N", "samples per step", 1, 1000000},
        {"lr", EXAMPLE_REAL, &r->lr, "R", "learning rate (default: depends on the layers)", 1e-9, 1e3},
        {"weight-decay", EXAMPLE_REAL, &r->decay, "D", "weight decay of the optimizer", 0, 1e3},
        {"schedule", EXAMPLE_TEXT, &r->schedule, "constant|cosine", "schedule of the learning rate", 0, 0},
        {"optimizer", EXAMPLE_TEXT, &r->optimizer, "sgd|adam|adamw", "sgd has a momentum of 0.9", 0, 0},
        {"seed", EXAMPLE_SEED, &r->seed, "N", "first seed, of the initial weights and the order of samples", 0, 0},
    };
    memcpy(options, shared, sizeof shared);
    return RECIPE_OPTIONS;
}

void recipe_check(const recipe *r) {
    if ((r->block & (r->block - 1)) != 0) example_fail(2, "--block: expected a power of two, found %zu", r->block);
    example_transform("row", r->row_transform, r->transform);
    example_transform("column", r->column_transform, r->transform);
}

/* ---- the model ----------------------------------------------------------------------------------------------- */

static size_t fan_in(const recipe *r, const rbe_dataset *data, size_t n) {
    return n == 0 ? data->features : r->hidden.value[n - 1];
}

size_t recipe_dense_values(const recipe *r, const rbe_dataset *data) {
    size_t values = 0;
    for (size_t n = 0; n < r->hidden.count; n++) values += fan_in(r, data, n) * r->hidden.value[n];
    return values;
}

static size_t wanted_values(const recipe *r, const rbe_dataset *data) {
    return r->values ? r->values : (size_t)((double)recipe_dense_values(r, data) / r->ratio);
}

/* `values`: that the layer may hold. */
static rbe_layer *compressed_layer(const recipe *r, const rbe_dataset *data, size_t n, size_t values) {
    size_t in = fan_in(r, data, n), out = r->hidden.value[n];
    rbe_linear_options options = {.block = r->block,
                                  .coeffs = r->coeffs,
                                  .row_transform = example_transform("row", r->row_transform, r->transform),
                                  .column_transform = example_transform("column", r->column_transform, r->transform),
                                  .alpha = example_alpha(r->alpha),
                                  .group = r->group,
                                  .seed = r->seed * 1000 + n};
    if (r->coeffs == 0) options.ratio = fmax(1.0, (double)in * (double)out / ((double)values + 0.5));
    if (r->grow && r->group == 0)
        options.group = rbe_growth_group((double)recipe_dense_values(r, data) / (double)wanted_values(r, data));
    if (r->image && n == 0) {
        options.image_height = data->height;
        options.image_width = data->width;
        options.column_transform = NULL; /* the 2-D DCT of the image takes its place */
    }
    return rbe_linear_new(in, out, &options);
}

static void add_hidden_layers(const recipe *r, const rbe_dataset *data, rbe_model *model) {
    rbe_layer_shape shapes[EXAMPLE_MAX_SIZES];
    size_t budgets[EXAMPLE_MAX_SIZES];
    for (size_t n = 0; n < r->hidden.count; n++) shapes[n] = (rbe_layer_shape){fan_in(r, data, n), r->hidden.value[n]};
    if (!r->dense) example_require(rbe_budget_values(shapes, r->hidden.count, wanted_values(r, data), budgets));
    for (size_t n = 0; n < r->hidden.count; n++) {
        const rbe_dense_options dense = {.seed = r->seed * 1000 + n};
        rbe_model_add(model, r->dense ? rbe_dense_new(shapes[n].in, shapes[n].out, &dense)
                                      : compressed_layer(r, data, n, budgets[n]));
        rbe_model_apply(model, rbe_relu);
        if (r->dropout > 0) rbe_model_add(model, rbe_dropout_new((float)r->dropout));
    }
}

/* Of all layers that hold values; the last of them is the head. */
static void set_bits(const recipe *r, rbe_model *model) {
    rbe_layer *layer, *head = NULL;
    for (size_t n = 0; (layer = rbe_model_layer(model, n)); n++) {
        if (!rbe_layer_param(layer, 0)) continue;
        example_require(rbe_layer_set_bits(layer, (unsigned)r->bits));
        head = layer;
    }
    example_require(rbe_layer_set_bits(head, (unsigned)r->head_bits));
}

rbe_model *recipe_model(const recipe *r, const rbe_dataset *data) {
    rbe_model *model = rbe_model_new();
    if (r->dropout > 0) rbe_model_add(model, rbe_dropout_new((float)r->dropout));
    add_hidden_layers(r, data, model);
    const rbe_dense_options head = {.seed = r->seed * 1000 + r->hidden.count};
    rbe_model_add(model, rbe_dense_new(r->hidden.value[r->hidden.count - 1], (size_t)data->classes, &head));
    example_require(rbe_model_status(model));
    set_bits(r, model);
    return model;
}

/* ---- training ------------------------------------------------------------------------------------------------ */

/* Rates that did best on the last 10,000 training images of MNIST, held out from a training on the others. */
rbe_optim_options recipe_optim_options(const recipe *r) {
    double lr = r->lr > 0 ? r->lr : r->dense || r->grow ? 4e-3 : 6e-3;
    return (rbe_optim_options){
        .lr = (float)lr, .momentum = strcmp(r->optimizer, "sgd") == 0 ? 0.9f : 0.0f, .weight_decay = (float)r->decay};
}

static void start_changes(const recipe *r, training *t) {
    const size_t steps = t->steps;
    if (r->grow && !r->dense) t->growth = example_need(rbe_growth_new(t->model, &(rbe_growth_options){.steps = steps}));
    if (r->prune > 0 || r->threshold > 0) {
        rbe_gradual_options gradual = {.final = r->prune, .begin = steps / 10, .end = steps * 3 / 4 + 1};
        if (r->threshold > 0) {
            gradual.prune = (rbe_prune_options){.by = RBE_PRUNE_THRESHOLD, .relative = r->relative};
            gradual.final = r->threshold;
        }
        t->gradual = example_need(rbe_gradual_new(t->model, &gradual));
    }
    if (r->bits > 0 || r->head_bits > 0)
        t->quantiser = example_need(rbe_quantiser_new(t->model, (size_t)(r->quantize_from * (double)steps)));
}

training recipe_start(const recipe *r, const rbe_dataset *train) {
    training t = {.model = recipe_model(r, train)};
    const rbe_optim_options options = recipe_optim_options(r);
    t.augment = r->augment;
    t.augment.seed = r->seed;
    t.optim = example_need(rbe_optim_new(rbe_optim_method_named(r->optimizer), t.model, &options));
    t.fit = (rbe_fit_options){
        .epochs = r->epochs, .batch = r->batch < train->count ? r->batch : train->count, .seed = r->seed};
    example_require(rbe_schedule_kind_named(r->schedule, &t.fit.schedule.kind) ? RBE_OK : rbe_last_status());
    t.steps = t.fit.epochs * ((train->count + t.fit.batch - 1) / t.fit.batch);
    start_changes(r, &t);
    return t;
}

rbe_fit_result training_finish(training *t, const rbe_dataset *train, const rbe_dataset *test) {
    t->fit.routines = t->routines;
    t->fit.augment = &t->augment;
    if (t->gradual) t->routines[t->fit.routine_count++] = rbe_gradual_routine(t->gradual);
    if (t->growth) t->routines[t->fit.routine_count++] = rbe_growth_routine(t->growth);
    if (t->quantiser) t->routines[t->fit.routine_count++] = rbe_quantiser_routine(t->quantiser);
    rbe_fit_result result = resume_fit(&t->resume, t->model, t->optim, train, test, &t->fit, t->path, &t->save);
    rbe_gradual_free(t->gradual);
    rbe_growth_free(t->growth);
    rbe_quantiser_free(t->quantiser);
    rbe_optim_free(t->optim);
    return result;
}
