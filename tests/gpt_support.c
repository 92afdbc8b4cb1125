/* What the tests of the transformer share: see gpt_support.h. */
#include "gpt_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attention_reference.h"
#include "reference.h"
#include "support.h"

const kind kinds[KINDS] = {
    {"dense, learned", true, false, 0},
    {"dense, rotary", true, true, 0},
    {"compressed, learned", false, false, 0},
    {"compressed, rotary", false, true, 0},
    {"dense, learned, dropout", true, false, 0.1},
    {"compressed, rotary, dropout", false, true, 0.2},
};

rbe_gpt_options options_of(const kind *k) {
    return (rbe_gpt_options){.vocabulary = VOCABULARY,
                             .layers = LAYERS,
                             .heads = HEADS,
                             .width = WIDTH,
                             .context = CONTEXT,
                             .dense = k->dense,
                             .ratio = 2,
                             .group = 2,
                             .block = 8,
                             .rotary = k->rotary,
                             .dropout = k->dropout,
                             .seed = 3};
}

rbe_model *new_gpt(const kind *k) {
    const rbe_gpt_options options = options_of(k);
    rbe_model *model = rbe_gpt_new(&options);
    ck_assert_msg(model != NULL, "%s: %s", k->name, rbe_last_error());
    return model;
}

rbe_model *stirred_gpt(const kind *k) {
    rbe_model *model = new_gpt(k);
    rbe_param *param;
    for (size_t n = 0; (param = rbe_model_param(model, n)); n++) {
        float *noise = normals(param->count, 70 + n);
        for (size_t i = 0; i < param->count; i++) param->value[i] += 0.2f * noise[i];
        free(noise);
    }
    return model;
}

const int32_t some_ids[CONTEXT] = {3, 0, 10, 7, 7, 1, 9, 2, 3, 5, 0, 8};

float *logits_of(const rbe_model *model, const int32_t *ids, size_t sequences, size_t places) {
    float *x = test_memory(sequences * places, sizeof *x);
    for (size_t n = 0; n < sequences * places; n++) x[n] = (float)ids[n];
    rbe_tape *tape = rbe_tape_new(&(rbe_tape_options){.inference = true});
    const rbe_tensor *y = rbe_value(rbe_model_forward(model, rbe_input(tape, rbe_tensor_2d(x, sequences, places))));
    ck_assert_ok(rbe_tape_status(tape));
    ck_assert_int_eq(y->dims, 3);
    ck_assert(y->shape[0] == sequences && y->shape[1] == places);
    float *copy = test_memory(rbe_tensor_count(y), sizeof *copy);
    memcpy(copy, y->data, rbe_tensor_count(y) * sizeof *copy);
    rbe_tape_free(tape);
    free(x);
    return copy;
}

rbe_var *loss_of(rbe_tape *tape, void *user) {
    static float x[CONTEXT];
    static int32_t labels[CONTEXT];
    for (size_t n = 0; n < CONTEXT; n++) {
        x[n] = (float)some_ids[n];
        labels[n] = some_ids[(n + 5) % CONTEXT];
    }
    rbe_var *logits = rbe_model_forward(user, rbe_input(tape, rbe_tensor_2d(x, 2, CONTEXT / 2)));
    const size_t flat[2] = {CONTEXT, VOCABULARY};
    return rbe_cross_entropy(rbe_reshape(logits, 2, flat), labels);
}

/* A linear layer's matrix, out x in: to be freed. */
static double *matrix_of(const rbe_model *model, const char *block, const char *part) {
    char path[100];
    snprintf(path, sizeof path, "%s%s", block, part);
    const rbe_layer *layer = rbe_model_find(model, path);
    ck_assert_msg(layer != NULL, "%s", path);
    const rbe_blocks *blocks = rbe_linear_blocks(layer);
    if (!blocks) return widened(rbe_layer_param(layer, 0)->value, rbe_layer_param(layer, 0)->count);
    const rbe_blocks_info info = rbe_blocks_describe(blocks);
    reference *r = reference_new(&info);
    double *w = test_memory(info.out * info.in, sizeof *w);
    reference_dense(r, blocks, w);
    reference_free(r);
    return w;
}

static double *norm_of(const rbe_model *model, const char *block, const char *part, const double *x, size_t rows) {
    double *w = matrix_of(model, block, part), *y = test_memory(rows * WIDTH, sizeof *y);
    for (size_t row = 0; row < rows; row++) {
        double mean = 0.0, square = 0.0;
        for (size_t n = 0; n < WIDTH; n++) mean += x[row * WIDTH + n] / WIDTH;
        for (size_t n = 0; n < WIDTH; n++) square += pow(x[row * WIDTH + n] - mean, 2) / WIDTH;
        for (size_t n = 0; n < WIDTH; n++)
            y[row * WIDTH + n] = (x[row * WIDTH + n] - mean) / sqrt(square + 1e-5) * w[n];
    }
    free(w);
    return y;
}

/* Takes x over. */
static double *product_of(const rbe_model *model, const char *block, const char *part, double *x, size_t rows,
                          size_t in, size_t out) {
    double *w = matrix_of(model, block, part), *y = test_memory(rows * out, sizeof *y);
    reference_forward(w, NULL, x, rows, out, in, y);
    free(w);
    free(x);
    return y;
}

/* Adds a branch to x. */
static void add_branch(double *x, double *branch, size_t rows) {
    for (size_t n = 0; n < rows * WIDTH; n++) x[n] += branch[n];
    free(branch);
}

double *reference_logits(const rbe_model *model, bool rotary, const int32_t *ids, size_t places) {
    double *wte = matrix_of(model, "transformer.", "wte"), *x = test_memory(places * WIDTH, sizeof *x);
    double *wpe = rotary ? NULL : matrix_of(model, "transformer.", "wpe");
    for (size_t n = 0; n < places * WIDTH; n++)
        x[n] = wte[(size_t)ids[n / WIDTH] * WIDTH + n % WIDTH] + (wpe ? wpe[n] : 0.0);
    const layout l = {1, places, HEADS, WIDTH, WIDTH / HEADS};
    for (int layer = 0; layer < LAYERS; layer++) {
        char block[40];
        snprintf(block, sizeof block, "transformer.h.%d.", layer);
        double *qkv =
            product_of(model, block, "attn.c_attn", norm_of(model, block, "ln_1", x, places), places, WIDTH, 3 * WIDTH);
        double *turned = test_memory(places * 3 * WIDTH, sizeof *turned), *y = test_memory(places * WIDTH, sizeof *y);
        if (rotary)
            reference_turn(&l, 10000.0, 0, qkv, turned);
        else
            memcpy(turned, qkv, places * 3 * WIDTH * sizeof *turned);
        reference_attend(&l, turned, NULL, y, NULL, NULL);
        add_branch(x, product_of(model, block, "attn.c_proj", y, places, WIDTH, WIDTH), places);
        double *feed =
            product_of(model, block, "mlp.c_fc", norm_of(model, block, "ln_2", x, places), places, WIDTH, 4 * WIDTH);
        for (size_t n = 0; n < places * 4 * WIDTH; n++) feed[n] = reference_gelu(feed[n]);
        add_branch(x, product_of(model, block, "mlp.c_proj", feed, places, 4 * WIDTH, WIDTH), places);
        free(qkv);
        free(turned);
    }
    double *last = norm_of(model, "transformer.", "ln_f", x, places);
    double *logits = test_memory(places * VOCABULARY, sizeof *logits);
    reference_forward(wte, NULL, last, places, VOCABULARY, WIDTH, logits);
    free(last);
    free(wte);
    free(wpe);
    free(x);
    return logits;
}

void check_pieces(rbe_generator *g, const float *whole, size_t places, unsigned cuts, const char *what) {
    float largest = 0.0f;
    for (size_t n = 0; n < places * VOCABULARY; n++) largest = fmaxf(largest, fabsf(whole[n]));
    rbe_generator_reset(g);
    for (size_t first = 0, end; first < places; first = end) {
        for (end = first + 1; end < places && !(cuts >> (end - 1) & 1);) end++;
        const float *logits;
        ck_assert_ok(rbe_generator_feed(g, some_ids + first, end - first, &logits));
        ck_assert_uint_eq(rbe_generator_places(g), end);
        for (size_t n = 0; n < VOCABULARY; n++)
            ck_assert_msg(fabsf(logits[n] - whole[(end - 1) * VOCABULARY + n]) <= 1e-5f * largest,
                          "%s, cuts %x, place %zu: logit %zu is %g, expected %g", what, cuts, end - 1, n,
                          (double)logits[n], (double)whole[(end - 1) * VOCABULARY + n]);
    }
}

rbe_layer *dense_layer(size_t in, size_t out) { return rbe_dense_new(in, out, &(rbe_dense_options){.no_bias = true}); }
rbe_layer *norm_layer(size_t width) { return rbe_layer_norm_new(width, 0.0f, false, NULL); }

rbe_layer *attention_layer(size_t width, const rbe_attention_options *options) {
    return rbe_attention_new(dense_layer(width, 3 * width), dense_layer(width, width), options, NULL);
}
