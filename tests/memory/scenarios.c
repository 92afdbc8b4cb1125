#include "scenarios.h"

#include <stdio.h>
#include <string.h>

#include "rbe/rbe.h"

enum { FEATURES = 48, HIDDEN = 40, CLASSES = 4, SAMPLES = 96, BATCH = 32 };

/* FNV-1a over the bytes. */
static void add_to(uint64_t *sum, const void *values, size_t bytes) {
    for (const unsigned char *byte = values; bytes > 0; byte++, bytes--) *sum = (*sum ^ *byte) * 0x100000001b3U;
}

static rbe_status make_data(rbe_dataset *data) {
    static float x[SAMPLES * FEATURES];
    int32_t labels[SAMPLES];
    for (int n = 0; n < SAMPLES; n++) {
        labels[n] = n % CLASSES;
        for (int f = 0; f < FEATURES; f++) x[n * FEATURES + f] = (float)((f * (labels[n] + 2) + n) % 17) / 17.0F;
    }
    return rbe_dataset_from_floats(data, x, labels, SAMPLES, FEATURES, CLASSES);
}

/* Appends a layer; a constructor that failed has said why. */
static rbe_status add_layer(rbe_model *model, rbe_layer *layer) {
    if (!layer) return rbe_last_status();
    return rbe_model_add(model, layer);
}

/* Compressed layers without and with a cache, and a dense head. *model is to be freed in any case. */
static rbe_status make_model(rbe_model **model) {
    const rbe_linear_options first = {.block = 8, .ratio = 4, .alpha = RBE_ALPHA_ON, .seed = 1};
    const rbe_linear_options second = {.block = 16, .ratio = 4, .use_cache = true, .seed = 2};
    *model = rbe_model_new();
    if (!*model) return rbe_last_status();
    RBE_TRY(add_layer(*model, rbe_linear_new(FEATURES, HIDDEN, &first)));
    RBE_TRY(rbe_model_apply(*model, rbe_relu));
    RBE_TRY(add_layer(*model, rbe_linear_new(HIDDEN, HIDDEN, &second)));
    RBE_TRY(rbe_model_apply(*model, rbe_gelu));
    return add_layer(*model, rbe_dense_new(HIDDEN, CLASSES, &(rbe_dense_options){.seed = 3}));
}

static void sum_of_model(const rbe_model *model, uint64_t *sum) {
    const rbe_param *param;
    for (size_t n = 0; (param = rbe_model_param(model, n)); n++)
        add_to(sum, param->value, param->count * sizeof *param->value);
    const char *text = rbe_model_metadata(model, "classes");
    if (text) add_to(sum, text, strlen(text));
}

/* ---- training, with growth or without ------------------------------------------------------------------------- */

static rbe_status grow_step(void *growth, const rbe_progress *progress) {
    return rbe_growth_step(growth, progress->step);
}

static rbe_status fit(bool grown, const char *log, uint64_t *sum) {
    enum { EPOCHS = 4, STEPS = EPOCHS * SAMPLES / BATCH };
    rbe_dataset data = {0};
    rbe_model *model = NULL;
    rbe_status status = make_data(&data);
    if (status == RBE_OK) status = make_model(&model);
    rbe_optim *optim = NULL;
    if (status == RBE_OK) {
        optim = rbe_optim_new(rbe_adam, model, &(rbe_optim_options){.clip_norm = 1});
        if (!optim) status = rbe_last_status();
    }
    rbe_growth *growth = NULL;
    if (status == RBE_OK && grown) {
        growth = rbe_growth_new(model, &(rbe_growth_options){.steps = STEPS, .every = 2});
        if (!growth) status = rbe_last_status();
    }
    if (status == RBE_OK)
        status = rbe_fit(model, optim, &data, &data,
                         &(rbe_fit_options){.epochs = EPOCHS,
                                            .batch = BATCH,
                                            .schedule = {.kind = RBE_COSINE},
                                            .csv_path = log,
                                            .log_every = 1,
                                            .on_step = growth ? grow_step : NULL,
                                            .user = growth},
                         NULL);
    if (status == RBE_OK) sum_of_model(model, sum);
    rbe_growth_free(growth);
    rbe_optim_free(optim);
    rbe_model_free(model);
    rbe_dataset_free(&data);
    return status;
}

static rbe_status train(const char *path, uint64_t *sum) { return fit(false, path, sum); }
static rbe_status grow(const char *path, uint64_t *sum) { return fit(true, path, sum); }

/* ---- regression: weighted targets, several batches a step, the best model kept, prediction ------------------------ */

static rbe_status regress_on(rbe_model *model, const char *path, uint64_t *sum) {
    static float x[SAMPLES * FEATURES], targets[SAMPLES * CLASSES], weights[SAMPLES], y[SAMPLES * CLASSES];
    for (int n = 0; n < SAMPLES * FEATURES; n++) x[n] = (float)(n * 29 % 97) / 97.0F;
    for (int n = 0; n < SAMPLES * CLASSES; n++) targets[n] = (float)(n * 31 % 89) / 89.0F;
    for (int n = 0; n < SAMPLES; n++) weights[n] = (float)(1 + n % 3);
    rbe_dataset data = {0}, last;
    RBE_TRY(rbe_dataset_from_targets(&data, x, targets, SAMPLES, FEATURES, CLASSES));
    rbe_dataset weighted = data; /* whose weights are our own */
    weighted.weights = weights;
    rbe_status status = rbe_dataset_split(&weighted, SAMPLES / 4, &last);
    rbe_optim *optim = rbe_optim_new(rbe_adam, model, NULL);
    if (status == RBE_OK && !optim) status = rbe_last_status();
    if (status == RBE_OK)
        status = rbe_fit(
            model, optim, &weighted, &last,
            &(rbe_fit_options){.epochs = 4, .batch = BATCH / 4, .accumulate = 4, .patience = 2, .best_path = path},
            NULL);
    if (status == RBE_OK) status = rbe_predict(model, x, SAMPLES, y);
    if (status == RBE_OK) add_to(sum, y, sizeof y);
    rbe_optim_free(optim);
    rbe_dataset_free(&data);
    return status;
}

static rbe_status regress(const char *path, uint64_t *sum) {
    rbe_model *model = NULL;
    rbe_status status = make_model(&model);
    if (status == RBE_OK) status = regress_on(model, path, sum);
    rbe_model_free(model);
    return status;
}

/* ---- compression: with activations, then once more into other blocks ------------------------------------------- */

static rbe_status compress(const char *path, uint64_t *sum) {
    (void)path;
    static float weights[HIDDEN * FEATURES], back[HIDDEN * FEATURES];
    for (int n = 0; n < HIDDEN * FEATURES; n++) weights[n] = (float)(n * 37 % 101) / 101.0F - 0.5F;
    rbe_dataset data = {0};
    RBE_TRY(make_data(&data));
    rbe_blocks *blocks = NULL, *again = NULL;
    rbe_status status = rbe_compress_weights(
        &blocks, NULL, NULL, weights, HIDDEN, FEATURES,
        &(rbe_compress_options){.block = 8, .ratio = 4, .samples = data.values, .sample_count = SAMPLES});
    if (status == RBE_OK)
        status = rbe_recompress(&again, NULL, NULL, blocks,
                                &(rbe_compress_options){.block = 16, .target_error = 0.9, .group = 1});
    if (status == RBE_OK) status = rbe_decompress(again, back);
    if (status == RBE_OK) add_to(sum, back, sizeof back);
    rbe_blocks_free(blocks);
    rbe_blocks_free(again);
    rbe_dataset_free(&data);
    return status;
}

/* ---- inference: by a tape, in evaluation, and safely ------------------------------------------------------------ */

static rbe_status infer_on(const rbe_model *model, const rbe_dataset *data, uint64_t *sum) {
    rbe_evaluation evaluation;
    RBE_TRY(rbe_evaluate(model, data, BATCH, &evaluation));
    add_to(sum, &evaluation.loss, sizeof evaluation.loss);

    /* Where the compressed product finds no memory, the decompressed one, which rounds differently, may find some. */
    static float y[SAMPLES * HIDDEN];
    const rbe_tensor input = rbe_tensor_2d(data->values, SAMPLES, FEATURES);
    rbe_tensor output = rbe_tensor_2d(y, SAMPLES, HIDDEN);
    const rbe_layer *first = rbe_model_layer(model, 0);
    RBE_TRY(rbe_linear_forward_safe(first, &input, &output, NULL));
    if (rbe_linear_count(first).fallback_count > 0)
        return rbe_fail(RBE_INSUFFICIENT_MEMORY, "the safe product fell back");
    add_to(sum, y, sizeof y);

    rbe_tape *tape = rbe_tape_new(NULL);
    const rbe_var *answer = rbe_model_forward(model, rbe_input(tape, rbe_tensor_2d(data->values, 1, FEATURES)));
    rbe_status status = tape ? rbe_tape_status(tape) : rbe_last_status();
    if (status == RBE_OK) add_to(sum, rbe_value(answer)->data, CLASSES * sizeof(float));
    rbe_tape_free(tape);
    return status;
}

static rbe_status infer(const char *path, uint64_t *sum) {
    (void)path;
    rbe_dataset data = {0};
    rbe_model *model = NULL;
    rbe_status status = make_data(&data);
    if (status == RBE_OK) status = make_model(&model);
    if (status == RBE_OK) status = infer_on(model, &data, sum);
    rbe_model_free(model);
    rbe_dataset_free(&data);
    return status;
}

/* ---- files ------------------------------------------------------------------------------------------------------ */

static rbe_status save(const char *path, uint64_t *sum) {
    rbe_model *model = NULL;
    rbe_status status = make_model(&model);
    const rbe_save_options options = {.store = RBE_STORE_INT8};
    size_t bytes = 0;
    if (status == RBE_OK) status = rbe_model_set_metadata(model, "classes", "four");
    if (status == RBE_OK) status = rbe_model_stored_bytes(model, &options, &bytes);
    if (status == RBE_OK) status = rbe_model_save(model, path, &options);
    if (status == RBE_OK) sum_of_model(model, sum);
    add_to(sum, &bytes, sizeof bytes);
    rbe_model_free(model);
    return status;
}

static rbe_status load(const char *path, uint64_t *sum) {
    rbe_model *model = rbe_model_load(path);
    if (!model) return rbe_last_status();
    sum_of_model(model, sum);
    rbe_model_free(model);
    return RBE_OK;
}

/* As a stream, which is a copy in memory. */
static rbe_status load_stream(const char *path, uint64_t *sum) {
    FILE *stream = fopen(path, "rb");
    if (!stream) return rbe_fail(RBE_INSUFFICIENT_MEMORY, "no memory for a stream");
    rbe_model *model = rbe_model_load_stream(stream);
    rbe_status status = model ? RBE_OK : rbe_last_status();
    if (model) sum_of_model(model, sum);
    rbe_model_free(model);
    fclose(stream);
    return status;
}

const scenario scenarios[] = {
    {"train", train},     {"compress", compress}, {"infer", infer}, {"grow", grow},
    {"regress", regress}, {"save", save},         {"load", load},   {"stream", load_stream},
};
const int scenario_count = sizeof scenarios / sizeof *scenarios;
