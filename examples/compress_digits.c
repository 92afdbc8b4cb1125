/* Compresses a trained dense classifier of handwritten digits, fitted to the activations of some training images,
 * and says what that costs in accuracy: as it is, and after fine-tuning. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common.h"
#include "rbe/io.h"

typedef struct settings {
    const char *data, *model, *transform, *row_transform, *column_transform, *alpha;
    example_sizes hidden;
    double ratio, lr, fine_tune_lr;
    size_t block, group, epochs, batch, samples, fine_tune, overlap, threads;
    uint64_t seed;
    bool image, no_order, plain;
} settings;

static settings read_settings(int argc, char **argv) {
    settings s = {.data = "data",
                  .transform = "dct",
                  .alpha = "auto",
                  .hidden = {.value = {300, 100}, .count = 2},
                  .ratio = 16,
                  .lr = 2e-3,
                  .fine_tune_lr = 2e-3,
                  .block = 16,
                  .group = 1,
                  .epochs = 12,
                  .batch = 128,
                  .samples = 4000,
                  .seed = 1};
    const example_option options[] = {
        {"data", EXAMPLE_TEXT, &s.data, "DIR", "folder with the four IDX files, plain or .gz", 0, 0},
        {"model", EXAMPLE_TEXT, &s.model, "FILE",
         "the dense model; if there is no such file, it is trained and written there", 0, 0},
        {"hidden", EXAMPLE_SIZES, &s.hidden, "N,N,..", "widths of the hidden layers", 1, 65536},
        {"epochs", EXAMPLE_COUNT, &s.epochs, "N", "passes over the training data, for the dense model", 1, 1000000},
        {"lr", EXAMPLE_REAL, &s.lr, "R", "learning rate of the dense model", 1e-9, 1e3},
        {"batch", EXAMPLE_COUNT, &s.batch, "N", "samples per step", 1, 1000000},
        {"ratio", EXAMPLE_REAL, &s.ratio, "R", "dense values per stored value of the hidden layers", 1, 1e6},
        {"block", EXAMPLE_COUNT, &s.block, "B", "block size, a power of two 8 .. 256", 8, 256},
        {"group", EXAMPLE_COUNT, &s.group, "G", "block rows that share positions", 1, 65536},
        {"transform", EXAMPLE_TEXT, &s.transform, "NAME",
         "transform along both axes: dct, haar, wht, identity, .. or adaptive", 0, 0},
        {"row-transform", EXAMPLE_TEXT, &s.row_transform, "NAME", "the same along the outputs only", 0, 0},
        {"column-transform", EXAMPLE_TEXT, &s.column_transform, "NAME", "the same along the inputs only", 0, 0},
        {"alpha", EXAMPLE_TEXT, &s.alpha, "on|off|auto", "the smooth part of each block", 0, 0},
        {"overlap", EXAMPLE_COUNT, &s.overlap, "N", "rows and columns by which blocks overlap", 0, 128},
        {"image", EXAMPLE_FLAG, &s.image, NULL, "take the inputs of the first layer as an image", 0, 0},
        {"no-order", EXAMPLE_FLAG, &s.no_order, NULL,
         "leave hidden units as they are; by default similar ones become neighbours", 0, 0},
        {"samples", EXAMPLE_COUNT, &s.samples, "N", "training images to fit to", 2, 60000},
        {"plain", EXAMPLE_FLAG, &s.plain, NULL, "keep the largest coefficients, and do not fit them", 0, 0},
        {"fine-tune", EXAMPLE_COUNT, &s.fine_tune, "N", "epochs of training after compression", 0, 1000},
        {"fine-tune-lr", EXAMPLE_REAL, &s.fine_tune_lr, "R", "learning rate of --fine-tune", 1e-9, 1e3},
        {"seed", EXAMPLE_SEED, &s.seed, "N", "seed of the initial weights and the order of samples", 0, 0},
        {"threads", EXAMPLE_COUNT, &s.threads, "N", "threads (default: one per processor)", 1, RBE_MAX_THREADS},
    };
    example_parse(argc, argv, "Compresses a trained classifier of 28 x 28 digits and tests it.", options,
                  sizeof options / sizeof *options);
    if (strcmp(s.transform, "adaptive") == 0) s.transform = NULL;
    example_transform("row", s.row_transform, s.transform);
    example_transform("column", s.column_transform, s.transform);
    return s;
}

/* ---- the dense model ----------------------------------------------------------------------------------------- */

static void train(rbe_model *model, const settings *s, const rbe_dataset *data, const rbe_dataset *test, size_t epochs,
                  double lr, const char *label) {
    rbe_optim *optim = rbe_optim_new(rbe_optim_method_named("adam"), model, &(rbe_optim_options){.lr = (float)lr});
    example_need(optim);
    rbe_fit_options options = {.epochs = epochs,
                               .batch = s->batch,
                               .seed = s->seed,
                               .schedule = {.kind = RBE_COSINE, .base = (float)lr},
                               .label = label,
                               .progress = stderr};
    rbe_fit_result result;
    example_require(rbe_fit(model, optim, data, test, &options, &result));
    rbe_optim_free(optim);
}

static rbe_model *dense_model(const settings *s, const rbe_dataset *data, const rbe_dataset *test) {
    if (s->model && access(s->model, F_OK) == 0) {
        rbe_model *loaded = rbe_model_load(s->model);
        example_need(loaded);
        return loaded;
    }
    rbe_model *model = rbe_model_new();
    for (size_t n = 0; n <= s->hidden.count; n++) {
        size_t in = n == 0 ? data->features : s->hidden.value[n - 1];
        size_t out = n < s->hidden.count ? s->hidden.value[n] : (size_t)data->classes;
        rbe_model_add(model, rbe_dense_new(in, out, &(rbe_dense_options){.seed = s->seed * 1000 + n}));
        if (n < s->hidden.count) rbe_model_apply(model, rbe_relu);
    }
    example_require(rbe_model_status(model));
    train(model, s, data, test, s->epochs, s->lr, "dense");
    if (s->model) example_require(rbe_model_save(model, s->model, NULL));
    return model;
}

/* ---- compression --------------------------------------------------------------------------------------------- */

/* The first `count` images as floats. */
static float *sample_images(const rbe_dataset *data, size_t count) {
    float *x = malloc(count * data->features * sizeof *x);
    example_need(x);
    for (size_t n = 0; n < count * data->features; n++)
        x[n] = data->pixels ? (float)data->pixels[n] / 255.0f : data->values[n];
    return x;
}

/* relu(layer(x)), and frees x */
static float *next_activations(const rbe_layer *layer, float *x, size_t count) {
    size_t in = rbe_layer_inputs(layer), out = rbe_layer_outputs(layer);
    float *y = malloc(count * out * sizeof *y);
    example_need(y);
    rbe_tape *tape = rbe_tape_new(&(rbe_tape_options){.inference = true});
    rbe_var *h = rbe_relu(rbe_layer_forward(layer, rbe_input(tape, rbe_tensor_2d(x, count, in))));
    example_require(rbe_tape_status(tape));
    memcpy(y, rbe_value(h)->data, count * out * sizeof *y);
    rbe_tape_free(tape);
    free(x);
    return y;
}

static rbe_layer *compress_layer(const settings *s, const rbe_dataset *data, const rbe_layer *dense, bool first,
                                 const float *x) {
    size_t in = rbe_layer_inputs(dense), out = rbe_layer_outputs(dense);
    const rbe_transform *column = example_transform("column", s->column_transform, s->transform);
    rbe_compress_options options = {.block = s->block,
                                    .ratio = s->ratio,
                                    .row_transform = example_transform("row", s->row_transform, s->transform),
                                    .column_transform = first && s->image ? NULL : column,
                                    .alpha = example_alpha(s->alpha),
                                    .group = s->group,
                                    .overlap = s->overlap,
                                    .image_height = first && s->image ? data->height : 0,
                                    .image_width = first && s->image ? data->width : 0,
                                    .adaptive = !s->transform,
                                    .samples = s->plain ? NULL : x,
                                    .sample_count = s->plain ? 0 : s->samples};
    float *bias = malloc(out * sizeof *bias);
    example_need(bias);
    memcpy(bias, rbe_layer_param(dense, 1)->value, out * sizeof *bias);
    rbe_blocks *blocks;
    rbe_compress_report r;
    example_require(rbe_compress_weights(&blocks, bias, &r, rbe_layer_param(dense, 0)->value, out, in, &options));
    rbe_layer *layer = rbe_linear_from_blocks(blocks, bias, out, NULL);
    example_need(layer);
    printf("%4zu -> %-4zu %7.2fx %7.2fx %10.4f %10.4f %9.2f  %s, %s\n", in, out, r.value_ratio, r.byte_ratio,
           r.relative_error, r.output_error, r.seconds, rbe_transform_name(r.row_transform),
           rbe_transform_name(r.column_transform));
    free(bias);
    return layer;
}

/* All layers but the last, each fitted to what the compressed ones before it give. */
static rbe_model *compressed_model(const settings *s, const rbe_dataset *data, const rbe_model *dense) {
    size_t layers = 0;
    while (rbe_model_layer(dense, layers)) layers++;
    for (size_t n = 0; !s->no_order && n + 1 < layers; n++) {
        const rbe_layer *a = rbe_model_layer(dense, n), *b = rbe_model_layer(dense, n + 1);
        example_require(rbe_order_hidden_units(rbe_layer_param(a, 0)->value, rbe_layer_param(a, 1)->value,
                                               rbe_layer_outputs(a), rbe_layer_inputs(a), rbe_layer_param(b, 0)->value,
                                               rbe_layer_outputs(b), NULL));
    }
    printf("\nHow many times fewer values and smaller than the dense layer; relative errors:\n"
           "%-12s %8s %8s %10s %10s %9s  %s\n",
           "layer", "fewer", "smaller", "of W", "of outputs", "seconds", "transforms");
    rbe_model *model = rbe_model_new();
    float *x = sample_images(data, s->samples);
    for (size_t n = 0; n < layers; n++) {
        const rbe_layer *layer = rbe_model_layer(dense, n);
        if (n + 1 == layers) {
            rbe_model_add(model, rbe_dense_from_weights(rbe_layer_inputs(layer), rbe_layer_outputs(layer),
                                                        rbe_layer_param(layer, 0)->value,
                                                        rbe_layer_param(layer, 1)->value, NULL));
            break;
        }
        rbe_layer *compressed = compress_layer(s, data, layer, n == 0, x);
        rbe_model_add(model, compressed);
        rbe_model_apply(model, rbe_relu);
        x = next_activations(compressed, x, s->samples);
    }
    free(x);
    example_require(rbe_model_status(model));
    return model;
}

static void say(const char *what, const rbe_model *model, const rbe_dataset *test) {
    rbe_evaluation e;
    example_require(rbe_evaluate(model, test, 500, &e));
    printf("%-12s test error %5.2f %% (+- %.2f)\n", what, 100.0 * e.error, 100.0 * e.error_uncertainty);
}

int main(int argc, char **argv) {
    settings s = read_settings(argc, argv);
    if (s.threads) example_require(rbe_set_threads((int)s.threads));
    rbe_dataset data, test;
    example_require(rbe_dataset_read_folder(&data, s.data, true));
    example_require(rbe_dataset_read_folder(&test, s.data, false));
    if (s.samples > data.count) s.samples = data.count;

    rbe_model *dense = dense_model(&s, &data, &test);
    say("dense", dense, &test);
    rbe_model *model = compressed_model(&s, &data, dense);
    say("\ncompressed", model, &test);
    if (s.fine_tune) {
        train(model, &s, &data, NULL, s.fine_tune, s.fine_tune_lr, "fine-tune");
        say("fine-tuned", model, &test);
    }
    rbe_layer_cost cost = rbe_model_describe_cost(model);
    char bytes[EXAMPLE_NUMBER_SIZE], dense_bytes[EXAMPLE_NUMBER_SIZE], smaller[EXAMPLE_NUMBER_SIZE];
    printf("%s bytes of parameters, dense %s: %s\n", example_number(cost.bytes, bytes),
           example_number(cost.dense_bytes, dense_bytes), example_smaller(cost.bytes, cost.dense_bytes, smaller));
    rbe_model_free(model);
    rbe_model_free(dense);
    rbe_dataset_free(&data);
    rbe_dataset_free(&test);
    return 0;
}
