/* Writes small models of random values, which together have every kind of layer that can be exported, every transform and
 * every block size: make_models DIR. */
#include <stdio.h>
#include <stdlib.h>

#include "rbe/gpt.h"
#include "rbe/io.h"
#include "rbe/op.h"

/* NULL ends the program. */
static void *need(void *made) {
    if (made) return made;
    fprintf(stderr, "make_models: %s\n", rbe_last_error());
    exit(1);
}

static rbe_layer *residual(rbe_layer *inside) { return need(rbe_residual_new(need(inside), NULL)); }

/* ---- models ---------------------------------------------------------------------------------------------------- */

/* Each transform along both axes, with groups of different sizes. */
static rbe_model *transforms(void) {
    rbe_model *model = need(rbe_model_new());
    const rbe_transform *transform;
    for (size_t n = 0; (transform = rbe_transform_at(n)); n++)
        rbe_model_add(model, residual(rbe_linear_new(20, 20,
                                                     &(rbe_linear_options){.block = 8,
                                                                           .ratio = 4,
                                                                           .row_transform = transform,
                                                                           .column_transform = transform,
                                                                           .group = 1 + n % 3,
                                                                           .init_scale = 0.3,
                                                                           .seed = n})));
    return model;
}

/* Each block size. */
static rbe_model *blocks(void) {
    rbe_model *model = need(rbe_model_new());
    size_t width = 100;
    for (size_t block = 8; block <= 256; block *= 2) {
        const size_t next = width + 7;
        rbe_model_add(model, rbe_linear_new(width, next, &(rbe_linear_options){.block = block, .seed = block}));
        width = next;
    }
    return model;
}

/* An image, blocks that overlap, smooth functions, dense layers, norms, sequences, and all operations. */
static rbe_model *layers(void) {
    static const char *const names[] = {"relu", "gelu", "gelu_tanh", "tanh", "sigmoid"};
    rbe_model *model = need(rbe_model_new());
    rbe_layer *twice = need(rbe_sequential_new(NULL));
    rbe_layer_add(twice, rbe_dense_new(37, 37, &(rbe_dense_options){.no_bias = true}));
    rbe_layer_add(twice, rbe_dropout_new(0.5f));
    rbe_model_add(model,
                  rbe_linear_new(77, 50, &(rbe_linear_options){.block = 8, .image_height = 7, .image_width = 11}));
    rbe_model_add(model, rbe_linear_new(50, 37, &(rbe_linear_options){.block = 16, .overlap = 5, .group = 2}));
    rbe_model_add(model, rbe_rms_norm_new(37, 1e-5f, NULL));
    rbe_model_add(
        model, residual(rbe_linear_new(37, 37, &(rbe_linear_options){.block = 8, .ratio = 4, .alpha = RBE_ALPHA_ON})));
    rbe_model_add(model, rbe_repeat_new(residual(twice), 2, NULL));
    rbe_model_add(model, rbe_layer_norm_new(37, 0.0f, false, NULL));
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        rbe_layer *branch = need(rbe_sequential_new(NULL));
        rbe_layer_add(branch, rbe_dense_new(37, 37, &(rbe_dense_options){.seed = n}));
        rbe_layer_add(branch, rbe_operation_new(rbe_operation_named(names[n])));
        rbe_model_add(model, residual(branch));
    }
    rbe_model_add(model, rbe_operation_new(rbe_softmax));
    rbe_model_add(model, rbe_dense_new(37, 9, NULL));
    rbe_model_add(model, rbe_operation_new(rbe_log_softmax));
    return model;
}

static rbe_model *of_text(bool rotary) {
    const rbe_gpt_options options = {.vocabulary = 11,
                                     .layers = 2,
                                     .heads = 2,
                                     .width = 16,
                                     .context = 6,
                                     .ratio = 4,
                                     .block = 8,
                                     .transform = rbe_transform_named("dct"),
                                     .rotary = rotary};
    return need(rbe_gpt_new(&options));
}

static rbe_model *text(void) { return of_text(false); }
static rbe_model *rotary(void) { return of_text(true); }

/* ---- files ----------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    rbe_model *(*make)(void);
} models[] = {{"transforms", transforms}, {"blocks", blocks}, {"layers", layers}, {"text", text}, {"rotary", rotary}};

/* What starts at 0, biases and smooth functions, too. */
static void add_noise(rbe_model *model) {
    rbe_rng *rng = need(rbe_rng_new(1, 0));
    rbe_param *param;
    for (size_t n = 0; (param = rbe_model_param(model, n)); n++)
        for (size_t i = 0; i < param->count; i++) param->value[i] += 0.05f * (float)rbe_rng_normal(rng);
    rbe_rng_free(rng);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "Usage: make_models DIR\n");
        return 2;
    }
    for (size_t n = 0; n < sizeof models / sizeof *models; n++) {
        char path[1000];
        rbe_model *model = models[n].make();
        add_noise(model);
        snprintf(path, sizeof path, "%s/%s.safetensors", argv[1], models[n].name);
        if (rbe_model_status(model) != RBE_OK || rbe_model_save(model, path, NULL) != RBE_OK) need(NULL);
        rbe_model_free(model);
    }
    return 0;
}
